"""The commands that go the whole way: `run`, `rerun`, and `demo`, which shows it on a sample."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from instag_hf.cli.normalizing import funnel, vocabulary_options, with_steps
from instag_hf.cli.selecting import METHODS, SETTINGS, bounds, check_exclude, limits_options, method_of
from instag_hf.cli.shown import command_line, table
from instag_hf.cli.tagging import make_tagger, reading_options, tag_all, tagger_options
from instag_hf.rows import fit

if TYPE_CHECKING:
    from datasets import Dataset

    from instag_hf.pipeline import Outcome, Plan
    from instag_hf.selection import Rules

SHOWN = 10  # rows of the subset
OWN = {name: option for name, option in SETTINGS.items() if name != "embedder"}  # which is the vocabulary's here


def method_options(command: Any) -> Any:
    """Add the options that belong to one method each."""
    for name, (method, kind, text) in reversed(OWN.items()):
        command = click.option(f"--{name.replace('_', '-')}", type=kind, help=f"Of {method}. {text}")(command)
    return command


@click.command("run")
@click.argument("source", metavar="INPUT")
@click.option("-o", "--output", required=True, help="The folder for all that is made.")
@reading_options
@tagger_options
@click.option("--vocabulary", help="Apply this vocabulary, a folder or a Hub id, instead of fitting one.")
@vocabulary_options
@click.option("-n", "n", default=6_000, show_default=True, type=click.IntRange(min=1), help="How many rows to choose.")
@click.option("--method", type=click.Choice(METHODS), default=METHODS[0], show_default=True, help="How to choose.")
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True, help="Of what is drawn.")
@limits_options
@method_options
@click.option("--publish", metavar="REPO", help="Publish the rows chosen as this dataset on the Hub.")
@click.option("--license", help="Of what is published: an id of the Hub or a name; the source's if not given.")
@click.option("--private", is_flag=True, help="Make a new repo private.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if a run wrote it, and instag_* columns.")
def run(source: str, output: str, publish: str | None, license: str | None, private: bool, **given: Any) -> None:
    """Go the whole way with INPUT: tag, normalize, report, select, and write a card.

    OUTPUT gets tagged.parquet, the vocabulary, report.html and report.json, subset.parquet, and the dataset card with
    instag.json, from which `instag rerun` does it again. A stopped run goes on where it stopped. Prints the folder, and
    the address of what was published.

    \b
    Example:
        instag run dolly.jsonl -o made --min-count 1 --steps frequency -n 1
    """
    from instag_hf import pipeline

    found = pipeline.run(
        _plan(source, **given),
        output,
        publish=publish,
        license=license,
        private=private,
        overwrite=given["overwrite"],
        commands=[command_line()],
        tag=tag_all,
        on_stage=_say,
    )
    _tell(found)
    click.echo(found.folder)
    if found.published:
        click.echo(found.published.url)


@click.command("rerun")
@click.argument("where", metavar="REPO")
@click.option("-o", "--output", help="The folder for all that is made; nothing is kept if not given.")
@click.option("--source", default="", help="Where the rows lie here, if they were of a local file.")
@click.option("--model", default="", help="Where the tagger's weights lie here, if they were a local file.")
@click.option("--exclude", default="", help="Where the excluded queries lie here, if they were of a local file.")
@click.option("--embedder", default="", help="Where the model that embeds tags lies here, if it was a local folder.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if a run wrote it.")
def rerun(where: str, output: str | None, overwrite: bool, **here: str) -> None:
    """Do again what `instag run` did and REPO holds, and say whether the rows are the same.

    REPO is a dataset on the Hub, owner/name or owner/name@revision, or a folder that `instag run` wrote. Rows are read
    at the revision that was recorded. Models need not answer the same to the last bit on every machine; with the
    replies in $INSTAG_HOME, they do. Prints how many rows are the same.

    \b
    Example:
        instag rerun made-run --source dolly.jsonl
    """
    from instag_hf import pipeline

    found = pipeline.rerun(
        where,
        output,
        **here,
        overwrite=overwrite,
        commands=(command_line(),),
        tag=tag_all,
        on_stage=_say,
    )
    for note in found.notes:
        click.echo(note, err=True)
    _tell(found.outcome)
    click.echo(found)
    if output:
        click.echo(found.outcome.folder)


@click.command()
@click.option("--data", default=None, help="A dataset of your own; the bundled sample of 120 rows if not given.")
@click.option("--limit", type=click.IntRange(min=1), help="Take only this many rows from the beginning.")
@click.option("-o", "--output", default="out", show_default=True, help="The folder to write to.")
def demo(data: str | None, limit: int | None, output: str) -> None:
    """Run every stage on a small dataset with the embedded tagger, and print what comes out.

    \b
    Example:
        instag demo --limit 12 -o out
    """
    from instag_hf import pipeline
    from instag_hf.normalizer import Settings

    source = data or str(pipeline.SAMPLE)
    rows = len(pipeline.load(source, limit=limit))
    min_count = 2 if rows >= 40 else 1
    stemmer = "porter" if importlib.util.find_spec("snowballstemmer") else "none"
    plan = pipeline.Plan(
        source=source,
        limit=limit,
        tagger=make_tagger(engine="embedded"),
        normalizer=Settings(steps=("frequency", "spelling"), min_count=min_count, stemmer=stemmer),
        n=max(1, rows // 4),
    )
    found = pipeline.run(
        plan, output, overwrite=True, charts=rows > 1, commands=[command_line()], tag=tag_all, on_stage=_say
    )
    for line in _shown(found, min_count):
        click.echo(line)


def _plan(
    source: str,
    *,
    n: int,
    method: str,
    seed: int,
    vocabulary: str | None,
    exclude: str | None,
    exclude_column: str | None,
    **given: Any,
) -> "Plan":
    from instag_hf import pipeline
    from instag_hf.normalizer import Settings

    def some(names: Any) -> dict[str, Any]:
        return {name: given[name] for name in names if given.get(name) is not None}

    check_exclude(exclude, exclude_column)
    settings = with_steps(some(Settings.__dataclass_fields__.keys() - {"column"}))
    if vocabulary and settings:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(settings))
        raise click.UsageError(f"expected a saved vocabulary as it is, found {options} beside --vocabulary.")
    return pipeline.Plan(
        source=source,
        split=given["split"],
        limit=given["limit"],
        tagger=make_tagger(
            **some(("engine", "model", "adapter", "structured", "recipe", "column", "turns", "overwrite"))
        ),
        normalizer=Settings(**settings),
        vocabulary=vocabulary or "",
        n=n,
        method=method_of(method, {name: given[name] for name in OWN}),
        rules=_rules(seed, given),
        exclude=pipeline.Excluded(source=exclude, column=exclude_column) if exclude else None,
    )


def _rules(seed: int, given: dict[str, Any]) -> "Rules":
    from instag_hf.selection import Rules

    return Rules(
        seed=seed,
        per_tag=bounds("--per-tag", given["per_tag"]),
        per_source=bounds("--per-source", given["per_source"]),
        source_column=given["source_column"],
        weight_column=given["weight_column"],
        match=given["match"],
        text_column=given["column"],
    )


def _say(doing: str) -> None:
    click.echo(f"{doing} …", err=True)


def _tell(found: "Outcome") -> None:
    """Say to people what came out."""
    for line in (*funnel(found.normalizer), *_counted(found), *found.notes):
        click.echo(line, err=True)


def _counted(found: "Outcome") -> Iterator[str]:
    total, chosen = found.report.total, found.selection
    covered = "–" if total.coverage is None else f"{total.coverage:.1%}"
    queries = "not known" if total.tags_per_query is None else f"{total.tags_per_query:.2f}"
    yield f"diversity: {covered} of the {found.report.vocabulary:,} tags; complexity: {queries} raw tags a query"
    yield (
        f"selection: {len(chosen):,} of {chosen.pool_rows:,} rows, {chosen.coverage:.1%} of their tags, "
        f"{chosen.complexity:.2f} tags a row"
    )


def _shown(found: "Outcome", min_count: int) -> Iterator[str]:
    """Show a demo's outcome: the rows, the vocabulary, the figures, the subset, and where all of it is."""
    yield from table(found.pool)
    yield ""
    yield f"vocabulary: tags of at least {min_count} rows (the paper's 20 is for 17 datasets), spellings merged"
    yield from funnel(found.normalizer)
    yield ""
    yield from _counted(found)
    yield ""
    yield f"{'chosen, in this order':<52}  tags"
    yield from _chosen(found.subset.select(range(min(SHOWN, len(found.subset)))))
    yield ""
    yield from found.notes
    yield from (str(found.folder / name) for name in sorted(path.name for path in Path(found.folder).iterdir()))


def _chosen(rows: "Dataset") -> Iterator[str]:
    from instag_hf.rows import NORMALIZED, queries
    from instag_hf.rows.stored import stored

    for row in stored(rows):
        asked = queries({name: value for name, value in row.items() if not name.startswith("instag_")})
        yield f"{fit(' / '.join(asked), 52)}  {fit('; '.join(row[NORMALIZED]), 100).rstrip()}"
