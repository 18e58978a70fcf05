"""What every training shares: the base, LoRA, a folder that a stopped run goes on in, and the record of it all."""

import hashlib
import importlib
import importlib.metadata
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from instag_hf.engines import embedded
from instag_hf.engines.local import load
from instag_hf.errors import InputError, MissingError
from instag_hf.rows import clean
from instag_hf.rows.written import write_whole
from instag_hf.training.gguf import PREFIX, LoraFile, load_gguf

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RECORD = "training.json"
ADAPTER = "adapter"
MERGED = "merged"
CHECKPOINTS = "checkpoints"

FROM_0 = ("max_steps", "total_tokens", "rank", "evaluations", "seed")
FROM_1 = ("batch_size", "batch_tokens", "device_rows", "max_tokens", "alpha", "min_tag_count")
ABOVE_0 = ("epochs", "learning_rate")


def check_numbers(settings: Any) -> None:
    """Refuse numbers among the fields of a training's settings by which nothing can be trained.

    Raises:
        InputError: Which one, and what it may be.
    """
    for name, value in vars(settings).items():
        if name in FROM_0 + FROM_1:
            least = int(name in FROM_1)
            fine, wanted = isinstance(value, int) and value >= least, f"to be a whole number from {least} on"
        elif name in ABOVE_0:
            fine, wanted = _is_number(value) and value > 0, "to be a number above 0"
        elif name == "weight_decay":
            fine, wanted = _is_number(value) and value >= 0, "to be a number from 0 on"
        elif name == "warmup":
            fine, wanted = _is_number(value) and 0 <= value < 1, "to be a share from 0 to below 1"
        elif name == "decoys":
            fine, wanted = _is_number(value) and 0 <= value <= 1, "of 0 to 1 for each row"
        else:
            continue
        if not fine:
            raise InputError(f"train: expected {name} {wanted}, found {value!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def record(output: Path, facts: Mapping[str, Any]) -> None:
    """Write the facts of a run into its folder."""
    write_whole(output / RECORD, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def load_base(base: str, *, exact: bool = False) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load a model to train and its tokenizer, with plain matrices where the file has quantized ones.

    Args:
        base: A GGUF file, a folder or a Hub id; nothing for the embedded tagger's base.
        exact: Whether to load in float32 and not in bfloat16, which is too coarse for the small steps of weights that
            are trained themselves.
    """
    import torch

    # On a CPU, where rows are short, eager attention is a fifth faster than PyTorch's own.
    attention = None if torch.cuda.is_available() else "eager"
    model = base or str(embedded.find_base())
    return load(model, dtype=torch.float32 if exact else torch.bfloat16, attention=attention)


class Lora(Protocol):
    """Settings that say how LoRA is put on a base."""

    @property
    def rank(self) -> int:
        """LoRA's rank."""

    @property
    def alpha(self) -> int:
        """LoRA's alpha."""


def add_lora(model: "PreTrainedModel", settings: Lora, start: str = "") -> "PeftModel":
    """Put LoRA on all linear layers, new or as a GGUF adapter left it.

    Raises:
        InputError: `start` is no adapter for this base.
    """
    import peft
    import torch

    names = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    modules = [name for name in names if name != "lm_head"]
    found = load_gguf(Path(start), model.config, modules) if start else None
    if found:
        _check_shapes(found, model, start)
    rank = len(next(iter(found.matrices.values()))[0]) if found else settings.rank
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=_alpha(found.alpha) if found else settings.alpha,
        target_modules=modules,
        task_type="CAUSAL_LM",
    )
    lora = peft.get_peft_model(model, config)
    config.base_model_name_or_path = ""  # peft would ask the Hub for a folder; `name_base` names it
    if found:
        state = {
            f"{PREFIX}{module}.lora_{side}.weight": torch.tensor(matrix)
            for module, pair in found.matrices.items()
            for side, matrix in zip("AB", pair, strict=True)
        }
        peft.set_peft_model_state_dict(lora, state)
    return lora


def _alpha(alpha: float) -> Any:
    """Write a whole alpha without its point; another one stays as it is, since a rounded one is another adapter."""
    return int(alpha) if alpha.is_integer() else alpha


def _check_shapes(found: LoraFile, model: "PreTrainedModel", start: str) -> None:
    rank = len(next(iter(found.matrices.values()))[0])
    for name, (a, b) in found.matrices.items():
        base: Any = model.get_submodule(name)
        wanted = ((rank, base.in_features), (base.out_features, rank))
        if (a.shape, b.shape) != wanted:
            raise InputError(
                f"adapter: expected matrices of the shapes {wanted} for {name}, found {(a.shape, b.shape)} in "
                f"{Path(start).name}. Choose an adapter of this base, with one rank."
            )


def base_name(base: str) -> str:
    """Name a base the same on every machine: the folders of one tell others nothing."""
    named = Path(base).name if Path(base).exists() else base
    return named if base else f"{embedded.BASE_REPO}@{embedded.BASE_REVISION}/{embedded.BASE_FILE}"


def name_base(adapter: Path, base: str) -> None:
    """Write into an adapter what it is put on: a Hub id or a folder; a GGUF file's folder would tell others nothing."""
    (adapter / "README.md").unlink(missing_ok=True)  # names that folder too, and says nothing of the data
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base_name(base) if base.endswith(".gguf") else base or embedded.BASE_REPO
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def checkpointing(wanted: bool) -> dict[str, Any]:
    """Ask a Trainer to compute activations twice and not keep them, by the name that the installed transformers has."""
    import transformers

    newer = "activation_checkpointing"
    known = newer in transformers.TrainingArguments.__dataclass_fields__
    return {newer if known else "gradient_checkpointing": wanted}


def versions(*names: str) -> dict[str, str]:
    """Return the versions of packages that decide a training's result."""
    return {name: importlib.metadata.version(name) for name in names}


def digest(items: Sequence[Any]) -> str:
    """Return the SHA-256 of what is taught, item by item."""
    found = hashlib.sha256()
    for item in items:
        found.update(json.dumps(item, ensure_ascii=False).encode())
    return found.hexdigest()


def log_of(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Keep the entries of a Trainer's history that hold a loss."""
    return [entry for entry in history if "loss" in entry or "eval_loss" in entry]


def prepare(output: Path, facts: Mapping[str, Any], *, again: bool = False) -> bool:
    """Refuse a folder that holds another job; say whether there is a checkpoint to go on from.

    A checkpoint that was being written when the run was killed is deleted: nothing can go on from it.

    Args:
        output: The folder.
        facts: What the job is.
        again: Whether the same job may be finished already.

    Raises:
        InputError: The folder holds a finished training, or another one, or cannot be written.
    """
    plan = output / CHECKPOINTS / "job.json"
    told = {name: fact for name, fact in facts.items() if name != "command"}  # its words may differ in a folder's name
    text = clean(json.dumps(told, indent=2, ensure_ascii=False))
    held = plan.read_text(encoding="utf-8") if plan.is_file() else None  # asked once: another process may write it now
    same = held == text
    if held is not None and not same:
        raise InputError(f"train: {output} holds a training with other settings or data. Choose another folder.")
    if (output / RECORD).is_file() and not (again and same):
        raise InputError(f"train: {output} holds a finished training already. Choose another folder.")
    try:
        if not same:
            write_whole(plan, text)
    except OSError as error:
        raise InputError(f"train: could not write into {output}: {error}. Choose another folder.") from error
    for checkpoint in plan.parent.glob("checkpoint-*"):
        if not _is_complete(checkpoint):
            shutil.rmtree(checkpoint, ignore_errors=True)
    return any(plan.parent.glob("checkpoint-*"))


def _is_complete(checkpoint: Path) -> bool:
    """Look for what a Trainer writes last; a process may have been killed while it did."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def known(output: Path) -> dict[str, Any] | None:
    """Read the record of a training that is done; `None` where none is."""
    path = output / RECORD
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


def need_packages(*more: str) -> None:
    """Refuse to begin without the packages for training.

    Raises:
        MissingError: One of them is not installed.
    """
    for name in ("accelerate", "peft", "torch", "transformers", *more):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise MissingError(f'train: needs {error.name}. pip install "instag-hf[train]"') from error
