"""The command that trains a chat model on selected rows: `train-lm`."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from instag_hf.cli.shown import command_line
from instag_hf.cli.training import ABOVE_0, FROM_0, FROM_1, settings_options

SETTINGS: dict[str, tuple[Any, str]] = {  # options of `train-lm` that are fields of training.LMSettings
    "template": (str, 'How a conversation is written: "vicuna", as in the paper, or "own", the base\'s.'),
    "epochs": (ABOVE_0, "Passes over the rows."),
    "max_steps": (FROM_0, "Stop after so many steps, whatever the epochs say."),
    "total_tokens": (FROM_0, "Train on so many tokens of rows, whatever the epochs say."),
    "learning_rate": (ABOVE_0, "The highest learning rate."),
    "batch_size": (FROM_1, "Rows for each step, over all devices."),
    "device_rows": (FROM_1, "Rows that go through a device at once, at most."),
    "max_tokens": (FROM_1, "Length of a row; a longer one is cut at its end."),
    "packing": (bool, "Lay rows end to end."),
    "rank": (FROM_0, "Rank of LoRA on all linear layers; 0 trains every weight."),
    "alpha": (FROM_1, "LoRA's alpha."),
    "seed": (FROM_0, "Of everything that is drawn."),
}


@click.command("train-lm")
@click.argument("source", metavar="SELECTED")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="A folder for the result.")
@click.option(
    "--base", default="", help="A GGUF file, a folder or the Hub id of a model; the embedded one if not given."
)
@click.option(
    "--preset",
    type=click.Choice(["taglm", "chat", "lora"]),
    default="taglm",
    show_default=True,
    help="The paper's values, the same with the base's own template, or LoRA.",
)
@click.option("--eval-dataset", help="Rows to measure the loss on, before, on the way and after.")
@click.option("--compare", type=click.Choice(["random"]), help="Train on as many random rows of --pool too.")
@click.option("--pool", help="What SELECTED was selected from, tagged.")
@click.option("--draw-seed", default=42, show_default=True, type=click.IntRange(min=0), help="Of the random rows.")
@click.option("--column", help="The column of the query or the conversation; found by its name if not given.")
@click.option("--reply", help="The column of the answer; found by its name if not given.")
@click.option("--split", help="Which split, where there are several.")
@click.option("--limit", type=click.IntRange(min=1), help="Take only this many rows from the beginning.")
@click.option("--merge", is_flag=True, help="Write whole weights too, where LoRA is trained.")
@settings_options(SETTINGS)
def train_lm(
    source: str,
    output: Path,
    base: str,
    preset: str,
    eval_dataset: str | None,
    compare: str | None,
    pool: str | None,
    draw_seed: int,
    column: str | None,
    reply: str | None,
    split: str | None,
    limit: int | None,
    merge: bool,
    **given: Any,
) -> None:
    """Train a chat model on the conversations of SELECTED, with the loss on what the assistant says.

    A stopped run goes on from its last checkpoint when the same command is run again. Writes the model (or an adapter
    with LoRA) and training.json, and prints the path of that file. For several GPUs run it under accelerate: the
    files in examples/accelerate say how.

    \b
    Example:
        instag train-lm dolly.jsonl -o my-lm --preset lora --batch-size 1 --max-steps 1
    """
    if bool(compare) != bool(pool):
        raise click.UsageError("--compare random needs --pool, from which the random rows are drawn, and the other way")
    from instag_hf import pipeline, training

    job = training.LMJob(
        rows=pipeline.load(source, split=split, limit=limit),
        base=base,
        output=output,
        settings=dataclasses.replace(
            training.LM_PRESETS[preset], **{name: value for name, value in given.items() if value is not None}
        ),
        eval_rows=pipeline.load(eval_dataset, split=split) if eval_dataset else None,
        column=column,
        reply=reply,
        merge=merge,
        notes={"command": command_line()},
    )
    if pool:
        facts = training.train_with_control(job, pipeline.load(pool, split=split), draw_seed=draw_seed)
    else:
        facts = training.train_lm(job)
    if training.first_process():
        for line in _told(facts):
            click.echo(line, err=True)
        click.echo(output / training.RECORD)


def _told(facts: Mapping[str, Any]) -> Iterator[str]:
    """Say to people what went in and what came out, the control beside the selection."""
    yield f"{'':<22}{'selected':>12}" + (f"{'random':>12}" if "control" in facts else "")
    both = [facts, *([facts["control"]] if "control" in facts else [])]
    for name, label in (
        ("rows", "rows"),
        ("steps", "steps"),
        ("tokens_an_epoch", "tokens an epoch"),
        ("loss", "loss"),
        ("eval_loss_before", "eval loss, the base's"),
        ("eval_loss", "eval loss"),
    ):
        if all(name in one for one in both):
            shown = (f"{one[name]:,.4f}" if "loss" in name else f"{one[name]:,}" for one in both)
            yield f"{label:<22}" + "".join(f"{value:>12}" for value in shown)
    left_out = {f"row {why}": count for why, count in facts["left_out"].items()}
    left_out |= {"row too long": facts["rows_too_long"]} if facts["rows_too_long"] else {}
    for what, count in left_out.items():
        yield f"left out: {what}, {count:,}"
    if facts["turns_dropped"]:
        yield f"dropped: turns before the first query or after the last answer, {facts['turns_dropped']:,}"
