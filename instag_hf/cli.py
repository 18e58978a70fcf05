"""Words in, calls out: one command per verb. What a command prints on stdout is data; words for people go to stderr."""

import contextlib
import json
import logging
import os
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from instag_hf import __version__
from instag_hf.errors import InstagError, Interrupted

if TYPE_CHECKING:
    from datasets import Dataset

    from instag_hf.tagger import Columns, Tagger

SHOWN_ROWS = 120  # a demo prints its whole sample; of a longer dataset the beginning


class _Commands(click.Group):
    """Turns the package's own errors into one sentence and exit code 1, and Ctrl-C into 130 and a way to go on."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (Interrupted, KeyboardInterrupt):
            click.echo("\nstopped; run the same command again, and it goes on where it stopped", err=True)
            context.exit(130)
        except InstagError as error:
            if context.params.get("debug"):
                raise
            click.echo(f"error: {error}", err=True)
            context.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="instag")
@click.option("--debug", is_flag=True, help="Show whole errors and what is going on.")
def cli(debug: bool) -> None:
    """Tag instruction data by intention (InsTag), and make use of the tags.

    \b
    Example:
        instag prompt "Write a haiku about rain."
    """
    if debug:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    else:  # a run that ends early leaves tasks behind in the loop of `datasets`, and asyncio would list them all
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def _tagger_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that make a Tagger; names and meanings are those of its fields."""
    options = [
        click.option("--engine", default=None, help='Where the tagger runs: "embedded" (default) or "openai".'),
        click.option("--model", default=None, help="The model's id on its server, or the path of a GGUF file."),
        click.option("--recipe", default=None, help="How the model is asked: a recipe's name or your own TOML file."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@click.argument("source", metavar="INPUT")
@click.option("-o", "--output", required=True, help="A .parquet, .jsonl, .jsonl.gz or .csv file, else a folder.")
@click.option("--limit", type=click.IntRange(min=1), help="Tag only this many rows from the beginning.")
@click.option("--split", help="Which split, where INPUT has several.")
@click.option("--column", help="The column that holds the query; found by its name if not given.")
@click.option(
    "--turns",
    type=click.Choice(["all", "first", "last"]),
    default="all",
    show_default=True,
    help="Which user turns of a conversation are tagged.",
)
@_tagger_options
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT and instag_* columns that are there already.")
def tag(
    source: str,
    output: str,
    limit: int | None,
    split: str | None,
    column: str | None,
    turns: str,
    overwrite: bool,
    **asked: str | None,
) -> None:
    """Add intention tags to every row of INPUT.

    INPUT is a dataset on the Hub, a Parquet, JSONL, CSV or Arrow file (text also with .gz), or a folder. A stopped run
    goes on where it stopped: replies are kept in $INSTAG_HOME as they arrive. Prints the path of the result.

    \b
    Example:
        instag tag dolly.jsonl -o dolly.tagged.parquet --limit 100
    """
    from instag_hf import pipeline

    pipeline.check_target(output, overwrite=overwrite)
    tagger = _tagger(column=column, turns=turns, overwrite=overwrite, **asked)
    tagged = _tag(pipeline.load(source, split=split, limit=limit), tagger)
    click.echo(pipeline.save(tagged, output))


@cli.command()
@click.argument("text")
@_tagger_options
def prompt(text: str, **asked: str | None) -> None:
    """Print exactly what would be sent for one query; nothing is sent.

    A raw prompt is printed as it is, a chat as the JSON of its messages.

    \b
    Example:
        instag prompt "Write a haiku about rain." --engine openai --model OFA-Sys/InsTagger
    """
    from instag_hf.rows import queries

    query = queries({"query": text})[0]
    sent = _tagger(**asked).request(query).prompt
    if isinstance(sent, str):
        click.echo(sent, nl=False)
    else:
        click.echo(json.dumps([message._asdict() for message in sent], ensure_ascii=False, indent=2))


@cli.command()
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

    dataset = pipeline.load(data or str(pipeline.SAMPLE), limit=limit)
    tagged = _tag(dataset, _tagger(engine="embedded"))
    for line in _table(tagged):
        click.echo(line)
    target = Path(output) / "tagged.parquet"
    click.echo(pipeline.save(tagged, str(target)))


@cli.group()
def replies() -> None:
    """Look after the reply store in $INSTAG_HOME.

    \b
    Example:
        instag replies stats
    """


@replies.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def stats(as_json: bool) -> None:
    """Print how many replies there are, of which models, and what they take on disk.

    \b
    Example:
        instag replies stats --json
    """
    from instag_hf.replies import store

    found = store().stats()
    each = found.bytes / found.replies if found.replies else 0.0
    if as_json:
        facts = {
            **found._asdict(),
            "path": str(found.path),
            "replies": found.replies,
            "bytes_per_reply": round(each, 1),
        }
        click.echo(json.dumps(facts))
        return
    click.echo(f"{found.path}: {found.replies:,} replies, {found.bytes / 1e6:.1f} MB, {each:.0f} bytes each")
    for model, count in found.models.items():
        click.echo(f"{count:>10,}  {model}")


@replies.command()
@click.argument("others", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
def merge(others: tuple[Path, ...]) -> None:
    """Take over the replies of other stores, such as those of other machines.

    \b
    Example:
        instag replies merge other/replies.sqlite
    """
    from instag_hf.replies import store

    for other in others:
        click.echo(f"{store().merge(other):,} new replies from {other}")


@replies.command()
@click.option("--model", help="Delete the replies of this model.")
@click.option("--older-than", "days", type=click.FloatRange(min=0), help="Delete replies older than this many days.")
def prune(model: str | None, days: float | None) -> None:
    """Delete replies that are not wanted any more; those of a model, of an age, or of both.

    \b
    Example:
        instag replies prune --older-than 90
    """
    from instag_hf.replies import store

    click.echo(f"{store().prune(model=model, older_than_days=days):,} replies deleted")


def _tagger(**asked: Any) -> "Tagger":
    from instag_hf.tagger import Tagger

    return Tagger(**{name: value for name, value in asked.items() if value is not None})


def _tag(dataset: "Dataset", tagger: "Tagger") -> "Dataset":
    from instag_hf import pipeline

    started = time.monotonic()
    with _progress(len(dataset)) as on_row:
        tagged = pipeline.tag(dataset, tagger, on_row=on_row)
    failed = pipeline.failures(tagged)
    took = time.monotonic() - started
    click.echo(f"{_summary(len(tagged), failed)} in {took:.0f} s ({len(tagged) / took:.1f} rows/s)", err=True)
    return tagged


@contextlib.contextmanager
def _progress(rows: int) -> Iterator[Callable[["Columns"], None]]:
    """Show one bar with rows/s, failures and the time left."""
    from tqdm import tqdm

    from instag_hf.rows import ERROR

    failed = 0
    with tqdm(total=rows, unit="row", desc="tagging", file=sys.stderr, mininterval=0.5) as bar:

        def on_row(columns: "Columns") -> None:
            nonlocal failed
            failed += bool(columns[ERROR])
            bar.set_postfix(failed=failed, refresh=False)
            bar.update()

        yield on_row


def _summary(rows: int, failed: Counter[str]) -> str:
    total = sum(failed.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in failed.most_common())
    return f"{rows:,} rows: {rows - total:,} tagged, {total:,} failed" + (f" ({kinds})" if kinds else "")


def _table(tagged: "Dataset") -> Iterator[str]:
    from instag_hf.rows import ERROR, TAGS, queries

    shown = tagged.select(range(min(SHOWN_ROWS, len(tagged))))
    yield f"{'query':<52}  tags"
    for row in shown:
        told = "; ".join(row[TAGS]) if not row[ERROR] else f"! {row[ERROR]}"
        asked = "" if row[ERROR] else " / ".join(queries({k: v for k, v in row.items() if not k.startswith("instag_")}))
        yield f"{_fit(asked, 52)}  {_fit(told, 100).rstrip()}"
    if len(shown) < len(tagged):
        yield f"… and {len(tagged) - len(shown):,} more rows"


def _fit(text: str, width: int) -> str:
    """Cut and pad text to columns of a terminal, without the control characters that a dataset may hold."""
    plain = " ".join("".join(c if unicodedata.category(c)[0] != "C" else " " for c in text).split())
    fitted, used = "", 0
    for char in plain:
        wide = 2 if unicodedata.east_asian_width(char) in "WF" else 0 if unicodedata.combining(char) else 1
        if used + wide > width - 1:
            return fitted + "…" + " " * (width - used - 1)
        fitted, used = fitted + char, used + wide
    return fitted + " " * (width - used)


def main() -> None:
    """Run the command line; under the name `hf-instag` it is an extension of `hf` too."""
    os.environ.setdefault(
        "HF_DATASETS_DISABLE_PROGRESS_BARS", "1"
    )  # ours tells more, and two would overwrite each other
    cli(prog_name=Path(sys.argv[0]).name)
