"""Tagged rows in, a tagger out: the paper's own loop, for any base model, on a CPU or a GPU (paper section 5).

The loop itself is the Trainer of transformers, and LoRA is peft's. What is ours is what a tagger needs: the prompt that
it will be asked with, the loss on its reply alone, batches of like length, and a record of everything.
"""

import dataclasses
import hashlib
import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instag_hf.errors import InputError
from instag_hf.prompts import Recipe
from instag_hf.training.examples import Encoded, Example, batches, collate, encode_all, leave_out_rare, with_decoys
from instag_hf.training.gguf import check_gguf, lora_matrices, save_gguf
from instag_hf.training.progress import progress_bar
from instag_hf.training.runs import (
    ADAPTER,
    CHECKPOINTS,
    MERGED,
    add_lora,
    base_name,
    check_numbers,
    checkpointing,
    digest,
    load_base,
    log_of,
    name_base,
    need_packages,
    prepare,
    record,
    versions,
)

if TYPE_CHECKING:
    import transformers
    from transformers import PreTrainedTokenizerBase

GGUF = "tagger.gguf"
FORMATS = ("adapter", "gguf", "merged")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How a tagger is trained; the defaults suit a small base and a laptop.

    Attributes:
        epochs: Passes over the examples.
        max_steps: Steps after which to stop, whatever the epochs say; 0 is no bound.
        learning_rate: The highest learning rate; it rises for the first `warmup` of all steps, then falls as a cosine.
        warmup: Share of the steps, 0 to below 1.
        weight_decay: AdamW's.
        batch_size: Examples for each step, on average.
        batch_tokens: Tokens with padding that go through the model at once, at most.
        rank: Rank of LoRA on all linear layers; 0 trains every weight.
        alpha: LoRA's alpha.
        min_tag_count: Tags of fewer examples than this are left out of the replies, where others remain.
        decoys: Copies of examples whose text orders other tags, for each example, 0 to 1.
        seed: Of everything that is drawn.
    """

    epochs: float = 2
    max_steps: int = 0
    learning_rate: float = 6e-4
    warmup: float = 0.04
    weight_decay: float = 0.0
    batch_size: int = 16
    batch_tokens: int = 1024
    rank: int = 16
    alpha: int = 32
    min_tag_count: int = 2
    decoys: float = 0.03
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what nothing can be trained by, before anything is loaded.

        Raises:
            InputError: A number is out of its range.
        """
        check_numbers(self)


# The paper's InsTagger: LLaMA-2 7B, every weight, one epoch, since more over-fit (paper section 5, appendix C).
PRESETS = {
    "mini": Settings(),
    "paper": Settings(
        epochs=1, learning_rate=2e-5, batch_size=512, batch_tokens=8192, rank=0, min_tag_count=1, decoys=0.0
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One training: what to teach, to whom, and where the result goes.

    Attributes:
        examples: What to teach.
        recipe: How the tagger will be asked.
        output: A folder for the result.
        dev: Examples to watch the loss on; none if empty.
        base: A GGUF file, a folder or the Hub id of a causal LM; the embedded tagger's base by default.
        start: A GGUF adapter to go on from, or nothing.
        settings: How it is trained.
        formats: What to write: "adapter" (peft's), "gguf" (an adapter for llama.cpp) and "merged" (whole weights).
        notes: What else the record shall say, such as rows left out and the vocabulary of the tags.
    """

    examples: Sequence[Example]
    recipe: Recipe
    output: Path
    dev: Sequence[Example] = ()
    base: str = ""
    start: str = ""
    settings: Settings = Settings()
    formats: tuple[str, ...] = ("adapter", "gguf")
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def train_tagger(job: Job) -> dict[str, Any]:
    """Train a tagger and write its adapter, or its weights where every weight is trained.

    A stopped run goes on from its last checkpoint when the same job is started again; another job in the same folder
    is refused.

    Returns:
        The facts of the run, as `training.json` has them.

    Raises:
        InputError: The job cannot be done, or the folder holds another one.
        MissingError: A package for training is not installed, or the base is not to be had.
    """
    need_packages()
    import transformers
    from peft.helpers import disable_input_dtype_casting

    _check(job)
    facts = _facts(job)
    resume = prepare(job.output, facts)
    transformers.set_seed(job.settings.seed)
    model, tokenizer = load_base(job.base, exact=not job.settings.rank)
    if "gguf" in job.formats:
        check_gguf(model.config)
    taught = with_decoys(
        leave_out_rare(job.examples, job.settings.min_tag_count), job.settings.decoys, job.settings.seed
    )
    encoded, unfit = encode_all(taught, job.recipe, tokenizer)
    if not encoded:
        raise InputError(f"train: no row's tags can be written as {job.recipe.format}. Choose another recipe.")
    dev, dev_unfit = encode_all(job.dev, job.recipe, tokenizer)
    learner = add_lora(model, job.settings, job.start) if job.settings.rank else model
    trainer = _trainer(learner, tokenizer, job, encoded, dev)
    with disable_input_dtype_casting(learner):  # autocast casts already, and peft's copies in float32 take time
        result = trainer.train(resume_from_checkpoint=resume)
    facts |= {
        "examples_taught": len(encoded),
        "examples_unfit": unfit,
        "dev_unfit": dev_unfit,
        "tokens_an_epoch": sum(len(item.prompt) + len(item.reply) for item in encoded),
        "steps": result.global_step,
        "loss": result.training_loss,
        "log": log_of(trainer.state.log_history),
        "versions": versions("torch", "transformers", "peft"),
    }
    if trainer.is_world_process_zero():
        _save(learner, tokenizer, job)
        record(job.output, facts)
    return facts


def _trainer(
    model: Any, tokenizer: "PreTrainedTokenizerBase", job: Job, encoded: Sequence[Encoded], dev: Sequence[Encoded]
) -> "transformers.Trainer":
    import transformers

    groups = batches(encoded, job.settings.batch_tokens)
    base = model.get_base_model() if job.settings.rank else model
    narrow = "logits_to_keep" in inspect.signature(base.forward).parameters
    held_out = batches(dev, job.settings.batch_tokens)
    trainer = transformers.Trainer(
        model=model,
        args=_arguments(job, groups, watched=bool(held_out)),
        train_dataset=groups,
        eval_dataset=held_out or None,
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id or 0, narrow=narrow),
    )
    trainer.pop_callback(transformers.ProgressCallback)  # it prints to stdout
    trainer.pop_callback(transformers.PrinterCallback)
    trainer.add_callback(progress_bar())
    return trainer


def _arguments(job: Job, groups: Sequence[Sequence[Encoded]], *, watched: bool) -> "transformers.TrainingArguments":
    import torch
    import transformers

    settings, cuda = job.settings, torch.cuda.is_available()
    rows = sum(map(len, groups)) / len(groups)
    return transformers.TrainingArguments(
        output_dir=str(job.output / CHECKPOINTS),
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup,  # below 1 it is a share
        weight_decay=settings.weight_decay,
        per_device_train_batch_size=1,  # an item is a batch already
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=max(1, round(settings.batch_size / rows)),
        optim="adamw_torch_fused" if cuda else "adamw_torch",
        use_cpu=not cuda,
        bf16=True,
        **checkpointing(cuda and not settings.rank),
        eval_strategy="steps" if watched else "no",
        eval_steps=0.25,
        save_strategy="steps",
        save_steps=0.05,
        save_total_limit=2,
        logging_steps=0.02,
        disable_tqdm=True,
        remove_unused_columns=False,
        prediction_loss_only=True,
        label_names=["labels"],
        dataloader_pin_memory=cuda,
        seed=settings.seed,
        report_to="none",
    )


def _save(model: Any, tokenizer: "PreTrainedTokenizerBase", job: Job) -> None:
    if job.settings.rank:
        import peft

        if "adapter" in job.formats:
            model.save_pretrained(job.output / ADAPTER)
            name_base(job.output / ADAPTER, job.base)
        if "gguf" in job.formats:
            matrices = dict(lora_matrices(peft.get_peft_model_state_dict(model)))
            save_gguf(matrices, model.peft_config["default"].lora_alpha, model.config, job.output / GGUF)
        if "merged" in job.formats:
            model = model.merge_and_unload()
    if "merged" in job.formats:
        model.save_pretrained(job.output / MERGED)
        tokenizer.save_pretrained(job.output / MERGED)


def _check(job: Job) -> None:
    if not job.examples:
        raise InputError("train: expected rows with a query and tags, found none.")
    if unknown := sorted(set(job.formats) - set(FORMATS)):
        raise InputError(f"train: expected formats of {list(FORMATS)}, found {unknown}.")
    if not job.settings.rank and (job.start or set(job.formats) != {"merged"}):
        raise InputError("train: rank 0 trains every weight and writes no adapter. Ask for the format merged alone.")
    if job.start and not Path(job.start).is_file():
        raise InputError(f"train: expected a GGUF adapter to start from, found no file {job.start}.")
    if job.recipe.format == "compact" and any(any(example.explanations) for example in job.examples):
        raise InputError(
            f"train: the recipe {job.recipe.name} has no place for explanations. "
            'Choose one of the format json, such as "open", or leave explanations out.'
        )


def _facts(job: Job) -> dict[str, Any]:
    sources = Counter((example.source, example.license) for example in job.examples)
    return {
        "base": base_name(job.base),
        "start": hashlib.sha256(Path(job.start).read_bytes()).hexdigest() if job.start else "",
        "recipe": {"name": job.recipe.name, "sha256": job.recipe.sha256},
        "settings": dataclasses.asdict(job.settings),
        "examples": len(job.examples),
        "examples_sha256": digest(job.examples),
        "sources": [
            {"source": source, "license": license, "rows": rows} for (source, license), rows in sources.most_common()
        ],
        **job.notes,
    }
