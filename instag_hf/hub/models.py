"""A trained tagger or chat model on disk, as the files of a repo from which llama.cpp, peft or transformers load it."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instag_hf.cards import TAGGER_FACTS, model_card, tagger_card, tagger_facts, tagger_notice, taglm_card
from instag_hf.cards.filling import fill_card, keys_of
from instag_hf.errors import InputError
from instag_hf.hub.committing import CARD, Content
from instag_hf.mtbench import Scores
from instag_hf.training import ADAPTER, CONTROL, GGUF, MERGED, MODEL, RECORD

NOTICE = "NOTICE.md"
_MODEL = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
_ADAPTER = re.compile(r"adapter_config\.json|adapter_model\.safetensors")
_CONFIG = re.compile(r"config\.json")
SCORES = "scores.json"  # what `instag mt-bench --json` printed, beside the record


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
    """A model's files.

    Attributes:
        files: Path in the repo, and content or file.
        facts: The record of its training.
        shipped: Whether it is the tagger that ships with the package, whose card and notice say more.
    """

    files: Mapping[str, Content]
    facts: Mapping[str, Any]
    shipped: bool = False

    @property
    def license(self) -> str | None:
        """The licence that is known without being told."""
        return "other" if self.shipped else None

    def replaces(self, path: str) -> bool:
        """Tell whether a file of the repo is of weights that these replace, and would be loaded in their place."""
        merged = "config.json" in self.files
        if merged or "adapter_config.json" in self.files:
            return bool(_MODEL.fullmatch(path) or (_ADAPTER if merged else _CONFIG).fullmatch(path))
        return False

    def card(self, repo_id: str, name: str, existing: str, terms: Mapping[str, Any]) -> str:
        """Render its card into the one that is there."""
        if self.shipped:
            own = tagger_card(self.facts, name=name)
            return fill_card("model", existing, keys_of(own), own.split("---\n", 2)[2], heading="")
        sizes = {
            path: len(held) if isinstance(held, bytes) else held.stat().st_size for path, held in self.files.items()
        }
        facts = {**self.facts, "repo": repo_id, "license": terms, "files": sizes}
        render = taglm_card if facts.get("kind") == "lm" else model_card
        return render(facts, name=name, existing=existing)


def read_weights(path: Path) -> Weights:
    """Find what there is to publish of a model.

    Merged weights lie at the root of a repo, where transformers looks, else the adapter, where peft does; checkpoints
    stay here.

    Raises:
        InputError: There is no model, or no record of its training.
    """
    if not path.exists():
        raise InputError(
            f"hub: expected a folder that train-tagger or train-lm wrote, or a tagger's GGUF file, found no {path}."
        )
    facts = _record(path)
    if facts.get("kind") == "lm":
        facts |= {"scores": _scores(path / SCORES), "control_scores": _scores(path / CONTROL / SCORES)}
    if path.is_file():
        files: dict[str, Content] = {GGUF: path}
    else:
        merged, adapter = _folder(path / MERGED) or _folder(path / MODEL), _folder(path / ADAPTER)
        files = {**merged, **({f"{ADAPTER}/{name}": held for name, held in adapter.items()} if merged else adapter)}
        if (path / GGUF).is_file():
            files[GGUF] = path / GGUF
    if not files:
        raise InputError(f"hub: expected {GGUF}, {ADAPTER}, {MERGED} or {MODEL} in {path}, found none of them.")
    files = {
        name: _without_folders(held, facts) if name.endswith("adapter_config.json") and isinstance(held, Path) else held
        for name, held in files.items()
    }
    shipped = _is_shipped(files.get(GGUF))
    if shipped:
        facts = tagger_facts()
        files[NOTICE] = tagger_notice(facts, name="instagger-mini").encode()
    return Weights(files={**files, RECORD: _json(facts)}, facts=facts, shipped=shipped)


def _record(path: Path) -> dict[str, Any]:
    places = [path / RECORD] if path.is_dir() else [path.with_suffix(".json"), path.parent / RECORD]
    for place in places:
        if place.is_file():
            return _facts(place.read_bytes(), place)
    raise InputError(
        f"hub: expected the record of the training, {RECORD}, beside {path.name}, found none. A card is made of it."
    )


def _facts(held: bytes, path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(held)
    except ValueError as error:
        raise InputError(f"hub: expected a JSON object in {path}, found {error}.") from error
    if not isinstance(facts, dict):
        raise InputError(f"hub: expected a JSON object in {path}, found {str(facts)[:40]!r}.")
    return facts


def _scores(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return Scores.from_dict(json.loads(path.read_text(encoding="utf-8"))).to_dict()
    except ValueError as error:
        raise InputError(f"hub: expected what instag mt-bench --json prints in {path}, found {error}.") from error


def _folder(path: Path) -> dict[str, Content]:
    found = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else []
    # What peft writes into its card is nothing but placeholders.
    return {each.relative_to(path).as_posix(): each for each in found if each.name != CARD}


def _without_folders(held: Path, facts: Mapping[str, Any]) -> bytes:
    """Name the base as others can find it; the folders of a machine tell them nothing."""
    config = _facts(held.read_bytes(), held)
    base = config.get("base_model_name_or_path") or ""
    if Path(base).is_absolute() or Path(base).exists():
        config["base_model_name_or_path"] = str(facts.get("base", "")).partition("@")[0]
    return _json(config)


def _is_shipped(gguf: Content | None) -> bool:
    if not isinstance(gguf, Path):
        return False
    known = json.loads(TAGGER_FACTS.read_text(encoding="utf-8"))["adapter_sha256"]
    with gguf.open("rb") as file:
        return bool(hashlib.file_digest(file, "sha256").hexdigest() == known)


def _json(facts: Mapping[str, Any]) -> bytes:
    return (json.dumps(facts, ensure_ascii=False, indent=2) + "\n").encode()
