"""The command that says what is in tagged datasets: `report`."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from instag_hf.cli.tagging import turns_option

if TYPE_CHECKING:
    from datasets import Dataset

    from instag_hf.analysis import Normalizer, Report
    from instag_hf.charts import Chart

LARGE = 100_000  # rows from which on it takes long enough to say what is going on


@click.command("report")
@click.argument("sources", metavar="INPUT...", nargs=-1, required=True)
@click.option("-o", "--output", help="Write a page to search and sort to this .html file.")
@click.option("--by", help='Compare the values of this column, such as "source".')
@click.option("--column", help="The column of tags; instag_normalized if not given, else instag_tags.")
@click.option("--query", help="The column that holds the query; found by its name if not given.")
@turns_option()
@click.option("--vocabulary", help="Measure coverage of this vocabulary: a folder, or a Hub id.")
@click.option("--split", help="Which split, where INPUT has several.")
@click.option("--mixed", is_flag=True, help="Allow rows of several taggers.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it is there already.")
def show_report(
    sources: tuple[str, ...],
    output: str | None,
    column: str | None,
    vocabulary: str | None,
    split: str | None,
    mixed: bool,
    as_json: bool,
    overwrite: bool,
    **read: Any,
) -> None:
    """Say what is in a tagged dataset: diversity, complexity, and more. Several are compared.

    Prints tables; with -o it writes a page instead, one file that needs no network, and prints its path. The page shows
    the same, charts, and every tag with its neighbours and example queries, to search and sort.

    \b
    Example:
        instag report tagged.jsonl --column tags --by source -o report.html
    """
    from instag_hf import analysis
    from instag_hf.charts import page

    if output:
        _check(output, overwrite)
    data = _load(sources, split)
    _tell(data, "counting")
    found = analysis.report(data, normalizer=_normalizer(vocabulary), column=column, mixed=mixed, **read)
    if output:
        _tell(data, "writing a page of")
        charts, no_charts = _draw(found)
        title = f"Tags of {', '.join(data) if isinstance(data, dict) else _name(sources[0])}"
        text = page.render_page(found, data, title=title, charts=charts, no_charts=no_charts, **read)
        click.echo(page.write_page(text, output), err=as_json)
    if as_json:
        click.echo(json.dumps(found.to_dict(), ensure_ascii=False))
    elif not output:
        click.echo(str(found))


def _check(output: str, overwrite: bool) -> None:
    from instag_hf import pipeline
    from instag_hf.errors import InputError

    if Path(output).suffix.lower() not in {".html", ".htm"}:
        raise InputError(f"report: expected an output ending in .html, found {Path(output).name}.")
    pipeline.check_target(output, overwrite=overwrite)


def _load(sources: Sequence[str], split: str | None) -> "Dataset | dict[str, Dataset]":
    """Load one dataset, or several by the shortest names that tell them apart."""
    from instag_hf import pipeline

    again = [source for source, times in Counter(sources).items() if times > 1]
    if again:
        raise click.UsageError(f"expected different inputs to compare, found {again[0]} more than once")
    if len(sources) == 1:
        return pipeline.load(sources[0], split=split)
    short = Counter(map(_name, sources))
    names = [_name(source) if short[_name(source)] == 1 else source for source in sources]
    return {name: pipeline.load(source, split=split) for name, source in zip(names, sources, strict=True)}


def _name(source: str) -> str:
    return Path(source).name or source


def _tell(data: "Dataset | Mapping[str, Dataset]", doing: str) -> None:
    rows = sum(map(len, data.values())) if isinstance(data, Mapping) else len(data)
    if rows >= LARGE:
        click.echo(f"{doing} {rows:,} rows …", err=True)


def _normalizer(vocabulary: str | None) -> "Normalizer | None":
    if vocabulary is None:
        return None
    from instag_hf.normalizer import TagNormalizer

    return TagNormalizer.from_pretrained(vocabulary)


def _draw(found: "Report") -> "tuple[Sequence[Chart], str]":
    """Draw the charts, or say why there are none."""
    from instag_hf.charts import draw
    from instag_hf.errors import MissingError

    try:
        return draw(found), ""
    except MissingError as error:
        return (), f"No charts: {error}"
