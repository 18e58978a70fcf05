"""The command that makes and applies a vocabulary: `normalize`."""

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from instag_hf.rows import fit

if TYPE_CHECKING:
    from datasets import Dataset

    from instag_hf.normalizer import TagNormalizer

SHOWN = 20
STEPS = ("frequency", "spelling", "meaning", "association")  # the room's, which is not loaded for --help


def vocabulary_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that are fields of the normalizer's `Settings`."""
    options = [
        click.option("--steps", help="The steps to take, separated by commas; all four if not given."),
        click.option("--min-count", type=click.IntRange(min=1), help="Rows that a raw tag needs; the paper's is 20."),
        click.option("--stemmer", type=click.Choice(["porter", "snowball", "none"]), help="What groups spellings."),
        click.option("--embedder", help="The model that embeds tags: a Hub id or a folder."),
        click.option(
            "--max-distance", type=click.FloatRange(0, 2), help="Cosine distance up to which two tags are near."
        ),
        click.option("--min-samples", type=click.IntRange(min=1), help="How dense a cluster of near tags must be."),
        click.option(
            "--min-support", type=click.IntRange(min=1), help="Rows of an association rule; the paper's is 40."
        ),
        click.option(
            "--min-confidence",
            type=click.FloatRange(0, 1, min_open=True),
            help="Share of rows in which a rule must hold.",
        ),
        click.option("--guards/--no-guards", default=None, help="Whether to keep apart what embeddings confuse."),
        click.option(
            "--unseen", type=click.Choice(["drop", "keep"]), help="What becomes of tags that the fit did not see."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("source", metavar="INPUT")
@click.option("-o", "--output", help="A .parquet, .jsonl, .jsonl.gz or .csv file, else a folder.")
@click.option("--save", help="The folder to save the vocabulary to.")
@click.option("--vocabulary", help="Apply this one, a folder or a Hub id, instead of fitting one.")
@click.option("--dry-run", is_flag=True, help="Print the funnel and twenty merges of each step, and write nothing.")
@click.option("--split", help="Which split, where INPUT has several.")
@click.option("--column", help="The column of raw tags; instag_tags if not given.")
@click.option("--mixed", is_flag=True, default=None, help="Allow rows of several taggers.")
@vocabulary_options
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT, SAVE and a column instag_normalized.")
def normalize(
    source: str,
    output: str | None,
    save: str | None,
    vocabulary: str | None,
    dry_run: bool,
    split: str | None,
    overwrite: bool,
    **asked: Any,
) -> None:
    """Merge the raw tags of INPUT into a vocabulary, and add them as the column instag_normalized.

    INPUT is a tagged dataset: a file, a folder or a Hub id. Prints the paths of what it wrote; the funnel goes to
    stderr.

    \b
    Example:
        instag normalize tagged.jsonl --column tags --min-count 5 -o normalized.parquet --save vocabulary
    """
    from instag_hf import pipeline

    asked = {name: value for name, value in asked.items() if value is not None}
    if not dry_run:
        _check(output, save, vocabulary, overwrite)
    dataset = pipeline.load(source, split=split)
    if output and not (dry_run or overwrite):
        _check_column(dataset)
    normalizer = _applied(vocabulary, asked) if vocabulary else _fitted(dataset, asked)
    if dry_run:
        for line in [*funnel(normalizer), *_merges(normalizer)]:
            click.echo(line)
        return
    for line in funnel(normalizer):
        click.echo(line, err=True)
    if save:
        click.echo(normalizer.save_pretrained(save))
    if output:
        click.echo(pipeline.save(_normalized(dataset, normalizer), output))


def _check(output: str | None, save: str | None, vocabulary: str | None, overwrite: bool) -> None:
    """Refuse what would fail, or overwrite something, after the work is done."""
    from pathlib import Path

    from instag_hf import pipeline

    if not output and not (save and not vocabulary):
        raise click.UsageError("expected where to write, found neither. Give -o or, for the vocabulary, --save.")
    if output and save:
        rows, folder = Path(output).resolve(), Path(save).resolve()
        if rows in (folder, *folder.parents):
            raise click.UsageError(f"expected two places, found --save {save} in -o {output}, which takes its place.")
        if folder in rows.parents:
            raise click.UsageError(f"expected two places, found -o {output} in --save {save}, a vocabulary's folder.")
    if output:
        pipeline.check_target(output, overwrite=overwrite)
    if save and Path(save).is_file():
        raise click.UsageError(f"expected a folder to save the vocabulary to, found the file {save}.")
    if save and Path(save).exists() and not overwrite:
        raise click.UsageError(f"expected a folder that is not there, found {save}. Allow it with --overwrite.")
    if save and not Path(save).exists():
        pipeline.check_target(save)


def _fitted(dataset: "Dataset", asked: dict[str, Any]) -> "TagNormalizer":
    from instag_hf.normalizer import TagNormalizer

    return TagNormalizer.fit(dataset, **with_steps(asked))


def with_steps(asked: dict[str, Any]) -> dict[str, Any]:
    """Take the steps apart, if they were given."""
    if "steps" not in asked:
        return asked
    return asked | {"steps": [step.strip() for step in asked["steps"].split(",") if step.strip()]}


def _applied(vocabulary: str, asked: dict[str, Any]) -> "TagNormalizer":
    from instag_hf.normalizer import TagNormalizer

    fixed = sorted(set(asked) - {"unseen", "column", "mixed"})
    if fixed:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in fixed)
        raise click.UsageError(f"expected a saved vocabulary as it is, found {options} beside --vocabulary.")
    normalizer = TagNormalizer.from_pretrained(vocabulary)
    return normalizer.with_policy(unseen=asked.get("unseen"), column=asked.get("column"))


def _check_column(dataset: "Dataset") -> None:
    from instag_hf.errors import InputError
    from instag_hf.rows import NORMALIZED

    if NORMALIZED in dataset.column_names:
        raise InputError(f"normalize: the dataset already has the column {NORMALIZED}. Allow it with --overwrite.")


def _normalized(dataset: "Dataset", normalizer: "TagNormalizer") -> "Dataset":
    counted = normalizer.fates(dataset)
    told = ", ".join(f"{count:,} {fate}" for fate, count in counted.items() if count)
    click.echo(f"{counted.total():,} assignments: {told}", err=True)
    return dataset.map(normalizer.normalize, batched=True)


def funnel(normalizer: "TagNormalizer") -> Iterator[str]:
    """Show what each step left."""
    failed = normalizer.failed.total()
    yield f"{normalizer.rows:,} rows" + (f", {failed:,} failed and skipped" if failed else "")
    yield f"{'step':<13}{'tags':>10}{'assignments':>14}"
    for step in normalizer.funnel:
        yield f"{step.step:<13}{step.tags:>10,}{step.assignments:>14,}"
    yield f"{len(normalizer.prevented):,} merges prevented; vocabulary {normalizer.id}"


def _merges(normalizer: "TagNormalizer") -> Iterator[str]:
    """Show twenty merges of each step, drawn by a fixed seed, and twenty that were prevented."""
    draw = random.Random(0)
    changed = [row for row in normalizer.table() if row["step"]]
    for step in (*STEPS, "review"):
        rows = [row for row in changed if row["step"] == step]
        if rows:
            yield f"\n{step}: {len(rows):,} tags"
        for row in draw.sample(rows, min(SHOWN, len(rows))):
            by = f"{row['similarity']:.3f} {row['near']}" if step == "meaning" else row["rule"]
            to = row["canonical"] if row["canonical"] is not None else "(dropped)"
            yield f"  {fit(row['tag'], 40)} {row['rows']:>7,}  {fit(to, 40)} {fit(by or '', 60).rstrip()}".rstrip()
    if normalizer.prevented:
        yield f"\nprevented: {len(normalizer.prevented):,}"
    for pair in draw.sample(normalizer.prevented, min(SHOWN, len(normalizer.prevented))):
        yield f"  {fit(pair.tag, 40)} {fit(pair.other, 40)} {fit(f'{pair.step}: {pair.reason}', 60).rstrip()}"
