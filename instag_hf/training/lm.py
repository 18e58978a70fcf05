"""Conversations in, a chat model out: the paper's TagLM, by trl's SFTTrainer (paper section 4.1).

Rows reach the trainer in tokens with their labels, so that the loss is on assistants' turns alone, whatever trl's
version makes of a template. One process trains by itself, several under `accelerate launch`.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instag_hf.errors import InputError
from instag_hf.training.conversations import (
    Prepared,
    Talk,
    Taught,
    check_template,
    read_talks,
    set_template,
    teach_all,
    up_to,
)
from instag_hf.training.progress import progress_bar
from instag_hf.training.runs import (
    ADAPTER,
    CHECKPOINTS,
    MERGED,
    RECORD,
    add_lora,
    base_name,
    check_numbers,
    checkpointing,
    digest,
    known,
    load_base,
    log_of,
    name_base,
    need_packages,
    prepare,
    record,
    versions,
)

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

MODEL = "model"
CONTROL = "random"  # the folder of a control, in that of the result


@dataclasses.dataclass(frozen=True, kw_only=True)
class LMSettings:
    """How a chat model is trained; the defaults are the paper's for TagLM (section 4.1).

    Attributes:
        template: How a conversation is written: "vicuna" (FastChat's v1.1, the paper's), or "own", the base's.
        epochs: Passes over the rows.
        max_steps: Steps after which to stop, whatever the epochs say; 0 is no bound.
        total_tokens: Tokens of rows to train on, at most and within a row's length, whatever the epochs say; 0 is no
            bound. Two datasets are compared fairly over as many.
        learning_rate: The highest learning rate; it rises for the first `warmup` of all steps, then falls as a cosine.
        warmup: Share of the steps, 0 to below 1; the paper does not say.
        weight_decay: AdamW's; the paper does not say.
        batch_size: Rows for each step, over all devices.
        device_rows: Rows that go through a device at once, at most; what its memory allows.
        max_tokens: Length of a row; a longer one is cut at its end. The paper does not say; FastChat's is 2,048.
        packing: Whether rows are laid end to end, up to `max_tokens`; each still sees itself alone, and a step then
            takes so many of those.
        rank: Rank of LoRA on all linear layers; 0 trains every weight.
        alpha: LoRA's alpha.
        evaluations: How often the loss of held-out rows is measured on the way, besides before and after; at least 2,
            or 0.
        seed: Of everything that is drawn.
    """

    template: str = "vicuna"
    epochs: float = 5
    max_steps: int = 0
    total_tokens: int = 0
    learning_rate: float = 2e-5
    warmup: float = 0.03
    weight_decay: float = 0.0
    batch_size: int = 128
    device_rows: int = 4
    max_tokens: int = 2048
    packing: bool = False
    rank: int = 0
    alpha: int = 32
    evaluations: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what nothing can be trained by, before anything is loaded.

        Raises:
            InputError: A number is out of its range.
        """
        check_numbers(self)
        if self.evaluations == 1:
            raise InputError("train: expected evaluations to be 0, or 2 or more, found 1.")


LM_PRESETS = {
    "taglm": LMSettings(),
    "chat": LMSettings(template="own"),
    "lora": LMSettings(template="own", epochs=3, learning_rate=2e-4, batch_size=16, rank=16),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LMJob:
    """One training of a chat model: what to teach, to whom, and where the result goes.

    Attributes:
        rows: Rows of any shape that the rows room understands, with answers.
        base: A GGUF file, a folder or the Hub id of a causal LM; "" for the embedded tagger's base.
        output: A folder for the result.
        settings: How it is trained.
        eval_rows: Rows to measure the loss on, before, on the way and after; none by default.
        column: The column of the query or the conversation; found by its name by default.
        reply: The column of the answer, where the query stands alone; found by its name by default.
        merge: Whether to write whole weights too, where LoRA was trained.
        notes: What else the record shall say.
    """

    rows: "Dataset"
    base: str
    output: Path
    settings: LMSettings = LM_PRESETS["taglm"]
    eval_rows: "Dataset | None" = None
    column: str | None = None
    reply: str | None = None
    merge: bool = False
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what are no rows, before anything is loaded.

        Raises:
            InputError: They are the splits of a dataset.
        """
        for rows in (self.rows, self.eval_rows):
            if isinstance(rows, Mapping):
                raise InputError(f"train: expected a Dataset, found the splits {list(rows)}. Name one of them.")


def train(ds: "Dataset", base: str, output: str | Path, **given: Any) -> dict[str, Any]:
    """Fine-tune a causal LM on the conversations of a dataset, such as a selected subset.

    A stopped run goes on from its last checkpoint when the same call is made again; another one in the same folder is
    refused. The folder gets `model/` (or `adapter/` with LoRA), with the tokenizer and the chat template that it was
    trained with, and `training.json`.

    Args:
        ds: Rows of any shape that the rows room understands, with answers.
        base: A GGUF file, a folder or the Hub id of a causal LM; "" for the embedded tagger's base.
        output: A folder for the result.
        given: Further fields of `LMJob`: `settings` (the paper's by default), `eval_rows`, `column`, `reply`, `merge`,
            `notes`.

    Returns:
        The facts of the run, as `training.json` has them. Losses are of what an assistant says: `loss` that of the
        run, by token; `eval_loss` the mean over held-out rows of each row's, and `eval_loss_before` that of the base.

    Raises:
        InputError: The call cannot work, or the folder holds another training.
        MissingError: A package for training is not installed, or the base is not to be had.
    """
    return train_lm(LMJob(rows=ds, base=base, output=Path(output), **given))


def train_lm(job: LMJob, *, again: bool = False) -> dict[str, Any]:
    """Do a job; see `train`. With `again`, the facts of the same job in the same folder are returned if it is done."""
    if not again and (job.output / RECORD).is_file():
        raise InputError(f"train: {job.output} holds a finished training already. Choose another folder.")
    return _train(job)


def train_with_control(job: LMJob, pool: "Dataset", *, draw_seed: int = 42) -> dict[str, Any]:
    """Do a job, and the same with as many rows drawn at random from a pool, into `random/`.

    A selection is worth what it does better than chance, so the record holds the control's beside its own.

    Args:
        job: With the selected rows.
        pool: What they were selected from.
        draw_seed: Of the random rows.

    Raises:
        InputError: As `train`, or the pool has fewer rows that can be drawn.
    """
    from instag_hf.selection import Rules, choose

    if "control" in (known(job.output) or {}):
        raise InputError(f"train: {job.output} holds a finished training already. Choose another folder.")
    drawn = choose(pool, len(job.rows), "random", Rules(seed=draw_seed)).rows(pool)
    if len(drawn) < len(job.rows):
        raise InputError(
            f"train: expected a pool from which {len(job.rows):,} rows can be drawn, found {len(drawn):,} that can."
        )
    facts = _train(job)
    notes = {**job.notes, "draw_seed": draw_seed}
    facts["control"] = _train(dataclasses.replace(job, rows=drawn, output=job.output / CONTROL, notes=notes))
    if first_process():
        record(job.output, facts)
    return facts


def _train(job: LMJob) -> dict[str, Any]:
    """Do a job, unless the folder holds its record already: of two, the first was done when the second was stopped."""
    need_packages("trl")
    import transformers

    settings = job.settings
    read = read_talks(job.rows, column=job.column, reply=job.reply)
    held_out = read_talks(job.eval_rows or [], column=job.column, reply=job.reply)
    _check(read.found, settings)
    facts = _facts(read.found, job) | {
        "left_out": dict(read.left_out),
        "turns_dropped": read.turns_dropped,
        "eval_rows": len(held_out.found),
        "eval_left_out": dict(held_out.left_out),
        "eval_turns_dropped": held_out.turns_dropped,
        "eval_sha256": digest(held_out.found),
    }
    resume = prepare(job.output, facts, again=True)
    if (done := known(job.output)) is not None:
        return done
    transformers.set_seed(settings.seed)
    model, tokenizer = load_base(job.base, exact=not settings.rank)
    set_template(tokenizer, settings.template)
    taught = teach_all(read.found, tokenizer, settings.max_tokens)
    watched = teach_all(held_out.found, tokenizer, settings.max_tokens)
    rows = up_to(taught.rows, settings.total_tokens, settings.seed) if settings.total_tokens else taught.rows
    if not rows:
        raise InputError("train: no row has an answer within max_tokens and total_tokens. Raise them.")
    learner = add_lora(model, settings) if settings.rank else model
    trainer = _trainer(learner, tokenizer, _arguments(job, watched, resume=resume), rows, watched.rows)
    result = trainer.train(resume_from_checkpoint=resume)
    facts |= _counted(taught, rows, watched) | {
        "template": str(tokenizer.chat_template),
        "steps": result.global_step,
        "loss": result.training_loss,
        "log": log_of(trainer.state.log_history),
        "versions": versions("torch", "transformers", "trl", "peft", "accelerate"),
    }
    if watched.rows:
        measured = [entry for entry in facts["log"] if "eval_loss" in entry]
        last = measured[-1] if measured[-1]["step"] == result.global_step else trainer.evaluate()
        facts |= {"eval_loss_before": measured[0]["eval_loss"], "eval_loss": last["eval_loss"]}
    _save(trainer, tokenizer, job)
    if trainer.is_world_process_zero():
        record(job.output, facts)
    return facts


def _check(talks: Sequence[Talk], settings: LMSettings) -> None:
    if not talks:
        raise InputError("train: expected rows with a query and an answer, found none.")
    check_template(settings.template)
    devices = processes()
    if settings.batch_size % (devices * _device_rows(settings)):
        raise InputError(
            f"train: expected a batch size that {devices} devices with {_device_rows(settings)} rows at once divide, "
            f"found {settings.batch_size}. Change batch_size or device_rows."
        )


def _device_rows(settings: LMSettings) -> int:
    return max(1, min(settings.device_rows, settings.batch_size // processes()))


def _facts(talks: Sequence[Talk], job: LMJob) -> dict[str, Any]:
    sources = Counter((talk.source, talk.license) for talk in talks)
    return {
        "kind": "lm",
        "base": base_name(job.base),
        "settings": dataclasses.asdict(job.settings),
        "rows": len(talks),
        "rows_sha256": digest(talks),
        "sources": [
            {"source": source, "license": license, "rows": rows} for (source, license), rows in sources.most_common()
        ],
        **job.notes,
    }


def _counted(taught: Prepared, rows: Sequence[Taught], watched: Prepared) -> dict[str, Any]:
    """Count what went in: an epoch's rows and tokens, those that the loss is on, and what length cost."""
    return {
        "rows_an_epoch": len(rows),
        "tokens_an_epoch": sum(len(row.input_ids) for row in rows),
        "taught_tokens_an_epoch": sum(row.taught for row in rows),
        "rows_cut": taught.cut,
        "rows_too_long": taught.too_long,
        "eval_rows_too_long": watched.too_long,
    }


def _trainer(
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    arguments: "SFTConfig",
    rows: Sequence[Taught],
    watched: Sequence[Taught],
) -> "SFTTrainer":
    import transformers
    from datasets import Dataset
    from trl.trainer.sft_trainer import SFTTrainer

    def table(some: Sequence[Taught]) -> Dataset:
        return Dataset.from_dict({name: [getattr(row, name) for row in some] for name in Taught._fields})

    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=table(rows),
        eval_dataset=table(watched) if watched else None,
        processing_class=tokenizer,
    )
    trainer.pop_callback(transformers.ProgressCallback)  # it prints to stdout
    trainer.pop_callback(transformers.PrinterCallback)
    trainer.add_callback(progress_bar())
    return trainer


def _arguments(job: LMJob, watched: Prepared, *, resume: bool) -> "SFTConfig":
    import torch
    from trl.trainer.sft_config import SFTConfig

    settings, cuda = job.settings, torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(job.output / CHECKPOINTS),
        num_train_epochs=1 if settings.total_tokens else settings.epochs,
        max_steps=settings.max_steps or -1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup,  # below 1 it is a share
        weight_decay=settings.weight_decay,
        per_device_train_batch_size=_device_rows(settings),
        per_device_eval_batch_size=1,  # a mean over rows then, however many devices there are
        gradient_accumulation_steps=settings.batch_size // (processes() * _device_rows(settings)),
        max_length=settings.max_tokens,
        packing=settings.packing,
        eval_packing=False,
        optim="adamw_torch_fused" if cuda else "adamw_torch",
        use_cpu=not cuda,
        bf16=not settings.rank and cuda,
        **checkpointing(cuda and not settings.rank),
        eval_strategy="steps" if watched.rows and settings.evaluations else "no",
        eval_on_start=bool(watched.rows) and not resume,
        eval_steps=1 / max(2, settings.evaluations),
        save_strategy="steps",
        save_steps=0.1,
        save_total_limit=2,
        logging_steps=0.02,
        disable_tqdm=True,
        prediction_loss_only=True,
        dataloader_pin_memory=cuda,
        seed=settings.seed,
        report_to="none",
    )


def _save(trainer: "SFTTrainer", tokenizer: "PreTrainedTokenizerBase", job: LMJob) -> None:
    """Write the result; every process takes part, since each may hold a part of the weights."""
    folder = job.output / (ADAPTER if job.settings.rank else MODEL)
    trainer.save_model(str(folder))
    if not trainer.is_world_process_zero():
        return
    for name in ("training_args.bin", "README.md"):  # a pickle, and a card that says nothing of the data
        (folder / name).unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    if job.settings.rank:
        name_base(folder, job.base)
    if job.settings.rank and job.merge:
        model: Any = trainer.accelerator.unwrap_model(trainer.model)
        merged = model.merge_and_unload()
        merged.save_pretrained(job.output / MERGED)
        tokenizer.save_pretrained(job.output / MERGED)


def processes() -> int:
    """How many processes train together; `accelerate launch` says so to each."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def first_process() -> bool:
    """Whether this process speaks and writes for all that train together."""
    return (os.environ.get("RANK") or "0") == "0"
