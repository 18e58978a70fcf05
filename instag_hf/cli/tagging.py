"""The commands that tag: `tag`, `merge`, `prompt`."""

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from instag_hf.cli.shown import progress, summary
from instag_hf.rows import TURN_POLICIES

if TYPE_CHECKING:
    from datasets import Dataset

    from instag_hf.tagger import Tagger


def turns_option(told: str = "Which user turns the tags are of.") -> Callable[..., Any]:
    """Make the option that says which turns of a conversation count; `told` is its help."""
    return click.option("--turns", type=click.Choice(TURN_POLICIES), default="all", show_default=True, help=told)


def tagger_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that make a Tagger; names and meanings are those of its fields."""
    options = [
        click.option(
            "--engine",
            default=None,
            help='Where it runs: "embedded", "local", "openai" or "tgi"; $INSTAG_ENGINE if not given, else "embedded".',
        ),
        click.option(
            "--model",
            default=None,
            help="The model's id on its server or on the Hub, a folder (local), or the path of a GGUF file; "
            "$INSTAG_MODEL if not given.",
        ),
        click.option("--adapter", default=None, help="The LoRA adapter that the server applies, by its name there."),
        click.option(
            "--structured/--no-structured", default=None, help="Whether the server holds the model to a JSON list."
        ),
        click.option("--recipe", default=None, help="How the model is asked: a recipe's name or your own TOML file."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which rows of INPUT are tagged, and what of them."""
    options = [
        click.option("--limit", type=click.IntRange(min=1), help="Take only this many rows from the beginning."),
        click.option("--split", help="Which split, where INPUT has several."),
        click.option("--column", help="The column that holds the query; found by its name if not given."),
        turns_option("Which user turns of a conversation are tagged."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("source", metavar="INPUT")
@click.option("-o", "--output", required=True, help="A .parquet, .jsonl, .jsonl.gz or .csv file, else a folder.")
@click.option(
    "--shard", help="Tag one of equal parts, such as 0/4, the first of four, into a .parquet file of its own."
)
@reading_options
@tagger_options
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT and instag_* columns that are there already.")
def tag(
    source: str,
    output: str,
    limit: int | None,
    shard: str | None,
    split: str | None,
    column: str | None,
    turns: str,
    overwrite: bool,
    **asked: str | bool | None,
) -> None:
    """Add intention tags to every row of INPUT.

    INPUT is a dataset on the Hub, a Parquet, JSONL, CSV or Arrow file (text also with .gz), or a folder. A stopped run
    goes on where it stopped: replies are kept in $INSTAG_HOME as they arrive. Prints the path of the result.

    \b
    Example:
        instag tag dolly.jsonl -o dolly.tagged.parquet --limit 100
    """
    from instag_hf import pipeline
    from instag_hf.pipeline.shards import Shard

    part = Shard.parse(shard) if shard else Shard(0, 1)
    target = part.path(output) if shard else output
    pipeline.check_target(target, overwrite=overwrite)
    tagger = make_tagger(column=column, turns=turns, overwrite=overwrite, **asked)
    tagged = tag_all(part.take(pipeline.load(source, split=split, limit=limit)), tagger)
    click.echo(pipeline.save(tagged, target))


@click.command()
@click.argument("shards", metavar="SHARD...", nargs=-1, required=True)
@click.option("-o", "--output", required=True, help="A .parquet, .jsonl, .jsonl.gz or .csv file, else a folder.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it is there already.")
def merge(shards: tuple[str, ...], output: str, overwrite: bool) -> None:
    """Put the shards that `instag tag --shard` wrote together again, as if all had been tagged at once.

    SHARD is each of the Parquet files; or one folder that has them, or one dataset on the Hub. Shards that are missing,
    doubled, or not of one run are refused. Prints the path of the result.

    \b
    Example:
        instag merge shards -o tagged.parquet
    """
    from instag_hf import pipeline
    from instag_hf.pipeline.shards import merge_shards

    pipeline.check_target(output, overwrite=overwrite)
    click.echo(pipeline.save(merge_shards(shards), output))


@click.command()
@click.argument("text")
@tagger_options
def prompt(text: str, **asked: str | bool | None) -> None:
    """Print exactly what would be sent for one query; nothing is sent.

    A raw prompt is printed as it is, a chat as the JSON of its messages.

    \b
    Example:
        instag prompt "Write a haiku about rain." --engine openai --model OFA-Sys/InsTagger
    """
    from instag_hf.rows import queries

    query = queries({"query": text})[0]
    sent = make_tagger(**asked).request(query).prompt
    if isinstance(sent, str):
        click.echo(sent, nl=False)
    else:
        click.echo(json.dumps([message._asdict() for message in sent], ensure_ascii=False, indent=2))


def make_tagger(**asked: Any) -> "Tagger":
    """Make a Tagger of the options that were given."""
    from instag_hf.tagger import Tagger

    return Tagger(**{name: value for name, value in asked.items() if value is not None})


def tag_all(dataset: "Dataset", tagger: "Tagger") -> "Dataset":
    """Tag a dataset with a bar, and say how it went."""
    from instag_hf import pipeline

    started = time.monotonic()
    with progress(len(dataset), "tagging", tagger) as on_row:
        tagged = pipeline.tag(dataset, tagger, on_row=on_row)
    failed = pipeline.failures(tagged)
    took = time.monotonic() - started
    click.echo(f"{summary(len(tagged), failed)} in {took:.0f} s ({len(tagged) / took:.1f} rows/s)", err=True)
    return tagged
