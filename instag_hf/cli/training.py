"""The commands that make a tagger and measure one: `train-tagger`, `eval-tagger`."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from instag_hf.cli.shown import command_line, progress
from instag_hf.cli.tagging import make_tagger, tagger_options, turns_option
from instag_hf.rows import fit

if TYPE_CHECKING:
    from instag_hf.tagger import Tagger
    from instag_hf.training.examples import Example

FROM_0, FROM_1 = click.IntRange(min=0), click.IntRange(min=1)
ABOVE_0 = click.FloatRange(min=0, min_open=True)

SETTINGS: dict[str, tuple[Any, str]] = {  # options of `train-tagger` that are fields of training.Settings
    "epochs": (ABOVE_0, "Passes over the rows."),
    "max_steps": (FROM_0, "Stop after so many steps, whatever the epochs say."),
    "learning_rate": (ABOVE_0, "The highest learning rate."),
    "batch_size": (FROM_1, "Rows for each step, on average."),
    "batch_tokens": (FROM_1, "Tokens that go through the model at once, at most; what memory allows."),
    "rank": (FROM_0, "Rank of LoRA on all linear layers; 0 trains every weight."),
    "alpha": (FROM_1, "LoRA's alpha."),
    "min_tag_count": (FROM_1, "Leave tags of fewer rows than this out of the replies."),
    "decoys": (click.FloatRange(0, 1), "Copies of rows whose text orders other tags, for each row, 0 to 1."),
    "seed": (FROM_0, "Of everything that is drawn."),
}


def settings_options(settings: dict[str, tuple[Any, str]]) -> Callable[[Any], Any]:
    """Add an option for each field of a preset; one that is not given stays the preset's."""

    def add(command: Any) -> Any:
        for name, (kind, text) in reversed(settings.items()):
            words = name.replace("_", "-")
            flag = f"--{words}/--no-{words}" if kind is bool else f"--{words}"
            option = click.option(flag, type=kind, default=None, help=f"{text} From the preset if not given.")
            command = option(command)
        return command

    return add


@click.command("train-tagger")
@click.argument("source", metavar="TAGGED")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="A folder for the result.")
@click.option("--tags", default="instag_tags", show_default=True, help="The column of tags.")
@click.option("--explanations", is_flag=True, help="Teach the explanations too, as in the paper.")
@click.option("--vocabulary", help="Id of the vocabulary that the tags are from, kept with the tagger.")
@click.option("--column", help="The column that holds the query; found by its name if not given.")
@turns_option()
@click.option("--limit", type=click.IntRange(min=1), help="Take only this many rows from the beginning.")
@click.option("--dev", help="Rows of the same columns to watch the loss on, and to score the tagger on in the end.")
@click.option("--base", default="", help="A GGUF file, a folder or the Hub id of a model; ours if not given.")
@click.option("--start", default="", help="A GGUF adapter to go on from.")
@click.option("--recipe", help='How the tagger is asked; "embedded" if not given, with explanations "open".')
@click.option("--preset", type=click.Choice(["mini", "paper"]), default="mini", show_default=True, help="Settings.")
@click.option(
    "--write",
    "formats",
    multiple=True,
    type=click.Choice(["adapter", "gguf", "merged"]),
    help="What to write; may be given again. Adapter and gguf if not given, merged with rank 0.",
)
@click.option("--licenses", type=click.Path(path_type=Path), help="A table of source, licence, tier; for the record.")
@click.option("--tier", "tiers", multiple=True, help="Take only sources of this tier; may be given again.")
@settings_options(SETTINGS)
def train_tagger(
    source: str,
    output: Path,
    tags: str,
    explanations: bool,
    vocabulary: str | None,
    column: str | None,
    turns: str,
    limit: int | None,
    dev: str | None,
    base: str,
    start: str,
    recipe: str | None,
    preset: str,
    formats: tuple[str, ...],
    licenses: Path | None,
    tiers: tuple[str, ...],
    **given: Any,
) -> None:
    """Train a tagger on the rows of TAGGED, which the pipeline tagged or people did.

    A stopped run goes on from its last checkpoint when the same command is run again. Writes an adapter, the same for
    llama.cpp, and training.json with every setting and score. Prints the path of that file.

    \b
    Example:
        instag train-tagger tagged.jsonl -o my-tagger --tags tags --max-steps 2
    """
    from instag_hf import pipeline, training
    from instag_hf.embeddings import embed
    from instag_hf.prompts import load_recipe
    from instag_hf.training.examples import read_examples, read_licenses, with_licenses

    settings = dataclasses.replace(
        training.PRESETS[preset], **{name: value for name, value in given.items() if value is not None}
    )

    def read(name: str, limit: int | None = None) -> tuple[list["Example"], Mapping[str, int]]:
        rows = pipeline.load(name, limit=limit)
        found, dropped = read_examples(rows, tags=tags, explanations=explanations, column=column, turns=turns)
        if dropped:
            told = ", ".join(f"{count:,} rows ({why})" for why, count in dropped.items())
            click.echo(f"left out of {Path(name).name}: {told}", err=True)
        return found, dropped

    examples, dropped = read(source, limit)
    if licenses:
        examples = with_licenses(examples, read_licenses(licenses), tiers)
    elif tiers:
        raise click.UsageError("--tier needs a table of tiers: --licenses FILE")
    job = training.Job(
        examples=examples,
        dev=read(dev)[0] if dev else (),
        recipe=load_recipe(recipe or ("open" if explanations else "embedded")),
        output=output,
        base=base,
        start=start,
        settings=settings,
        formats=formats or (("adapter", "gguf") if settings.rank else ("merged",)),
        notes={
            "command": command_line(),
            "tags": tags,
            "vocabulary": vocabulary or "",
            "left_out": dict(dropped),
            "tiers": list(tiers),
        },
    )
    scored = dev and not base and "gguf" in job.formats
    if scored:
        embed(["tag"])  # what the fuzzy match is missing is told now, not after a training of hours
    facts = training.train_tagger(job)
    if dev and scored:
        tagger = make_tagger(model=str(output / training.GGUF), recipe=job.recipe, column=column, turns=turns)
        training.record(output, facts | {"scores": _score(tagger, dev, tags)})
    click.echo(output / training.RECORD)


@click.command("eval-tagger")
@click.argument("source", metavar="GOLD")
@click.option("--gold", default="tags", show_default=True, help="The column of gold tags.")
@click.option("--column", help="The column that holds the query; found by its name if not given.")
@turns_option("Which user turns of a conversation are tagged.")
@click.option("--limit", type=click.IntRange(min=1), help="Take only this many rows from the beginning.")
@click.option("--embedder", help="A sentence-transformers model for the fuzzy match; all-MiniLM-L6-v2 if not given.")
@click.option("--no-fuzzy", is_flag=True, help="Leave the fuzzy match out.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@tagger_options
def eval_tagger(
    source: str,
    gold: str,
    column: str | None,
    turns: str,
    limit: int | None,
    embedder: str | None,
    no_fuzzy: bool,
    as_json: bool,
    **asked: str | bool | None,
) -> None:
    """Score a tagger against rows that have gold tags, such as people's.

    Prints precision, recall and F1 by exact and by fuzzy match (an embedding's cosine above 0.8), for all rows and for
    each source where rows have one; failures; tags for each query, tokens for each reply and rows for each second.

    \b
    Example:
        instag eval-tagger tagged.jsonl --gold tags --no-fuzzy
    """
    from instag_hf import pipeline
    from instag_hf.embeddings import MINILM

    rows = pipeline.load(source, limit=limit)
    tagger = make_tagger(column=column, turns=turns, **asked)
    with progress(len(rows), "tagging", tagger) as on_row:
        scores = pipeline.evaluate(
            rows, tagger, gold=gold, embedder=None if no_fuzzy else embedder or MINILM, on_row=on_row
        )
    if as_json:
        click.echo(json.dumps(scores, ensure_ascii=False))
        return
    for line in _scores(scores):
        click.echo(line)


def _score(tagger: "Tagger", dev: str, gold: str) -> dict[str, Any]:
    from instag_hf import pipeline

    rows = pipeline.load(dev)
    with progress(len(rows), "scoring", tagger) as on_row:
        scores = pipeline.evaluate(rows, tagger, gold=gold, on_row=on_row)
    for line in _scores(scores):
        click.echo(line, err=True)
    return scores


def _scores(scores: Mapping[str, Any]) -> Iterator[str]:
    agreed = scores["agreement"]
    left_out = f"; left out, since they have no gold, {scores['gold_failed']:,}" if scores["gold_failed"] else ""
    yield f"{scores['tagger']}: {agreed['queries']:,} queries, {scores['failed']:,} failed{left_out}"
    yield f"{'':<24}{'precision':>10}{'recall':>10}{'F1':>10}   95 % of resamples"
    for label, name, interval in (
        ("exact match", "exact", "interval"),
        ("… mean of each query's", "exact_macro", None),
        ("fuzzy match", "fuzzy", "fuzzy_interval"),
    ):
        if agreed[name]:
            figures = "".join(f"{agreed[name][key]:>10.3f}" for key in ("precision", "recall", "f1"))
            yield f"{label:<24}{figures}" + ("   {:.3f}-{:.3f}".format(*agreed[interval]) if interval else "")
    yield f"tags for each query     {agreed['predicted']:>10.2f}   (gold {agreed['gold']:.2f})"
    yield f"tokens for each reply   {scores['tokens_a_reply']:>10.1f}"
    kept = f"   ({scores['kept_replies']:,} replies were in the store already)" if scores["kept_replies"] else ""
    yield f"rows/s                  {scores['rows_a_second']:>10.1f}{kept}"
    for source, score in sorted(agreed["sources"].items()):
        yield f"  {fit(source or 'no source', 40)}  F1 {score['f1']:.3f}"
