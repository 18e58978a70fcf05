"""Datasets in and out: local files of any usual format, folders, the Hub; what is written is whole or not there."""

import contextlib
import glob
import gzip
import os
import re
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from instag_hf.errors import InputError
from instag_hf.hub.committing import network_errors
from instag_hf.hub.tables import check_files, to_parquet
from instag_hf.pipeline.cells import with_lists, write_csv
from instag_hf.rows import TAGGER

if TYPE_CHECKING:
    from datasets import Dataset

READERS = {"parquet": "parquet", "jsonl": "json", "json": "json", "csv": "csv", "arrow": "arrow"}
WRITERS = ("parquet", "jsonl", "csv")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
MOST_PUBLIC_BYTES = 2_000_000_000


def load(source: str, *, split: str | None = None, limit: int | None = None) -> "Dataset":
    """Load a dataset from a local file or folder, or from the Hub.

    Args:
        source: A Parquet, JSONL, CSV or Arrow file (`.gz` too for text), a folder of such files or one that
            `save_to_disk` wrote, else the id of a dataset on the Hub, or `owner/name@revision`.
        split: Which split, where there are several.
        limit: Rows to keep from the beginning.

    Raises:
        InputError: There is no such file, format, dataset or split, or no row in it.
    """
    if limit is not None and limit < 1:
        raise InputError(f"input: expected a limit of 1 row or more, found {limit}.")
    found = _load_local(Path(source)) if os.path.exists(source) else load_hub(source)  # no name is too long for `os`
    dataset = with_lists(_one_split(found, source, split))
    return dataset if limit is None else dataset.select(range(min(limit, len(dataset))))


def load_public(source: str, *, split: str | None = None) -> "Dataset":
    """Load a dataset that everybody may read: from the Hub without a token, and never a file of this machine.

    For names that strangers give.

    Args:
        source: The id of a public dataset on the Hub, with its owner.
        split: Which split, where there are several.

    Raises:
        InputError: There is no such public dataset or split, it is larger than `MOST_PUBLIC_BYTES`, or it has no row.
    """
    from huggingface_hub import HfApi

    # `datasets` takes any name that is there for a folder, and a dataset that it once loaded from its cache.
    if not HUB_ID.fullmatch(source) or os.path.exists(source):
        raise InputError(f"input: expected the id of a dataset on the Hub, such as owner/name, found {source!r}.")
    # The client raises ValueError for a name that no repo can have.
    trouble: tuple[type[BaseException], ...] = (*network_errors(), ValueError)
    try:
        info = HfApi(token=False).dataset_info(source, files_metadata=True)
    except trouble as error:
        raise InputError(f"input: expected a public dataset on the Hub, found {source!r}: {_line(error)}") from error
    size = sum(file.size or 0 for file in info.siblings or ())
    if size > MOST_PUBLIC_BYTES or info.gated:
        found = "a gated one" if info.gated else f"{size:,}"
        raise InputError(
            f"input: expected a public dataset of at most {MOST_PUBLIC_BYTES:,} bytes, found {found}: {source}."
        )
    return _one_split(load_hub(source, token=False), source, split)


def save(dataset: "Dataset", target: str) -> Path:
    """Write a dataset where and how the name says, whole or not at all.

    Args:
        dataset: What to write.
        target: A file ending in .parquet, .jsonl or .csv, the latter two perhaps with .gz; any other name is a folder
            for `load_from_disk`.

    Raises:
        InputError: It cannot be written there, or a folder would take in files of this machine that rows name.
    """
    path = Path(target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".instag-") as scratch:
            written = Path(scratch) / path.name
            _write(dataset, written)
            _put(written, path, Path(scratch))
    except OSError as error:
        raise InputError(
            f"output: could not write {target}: {error}. Choose another place; nothing is asked twice."
        ) from error
    return path


def check_target(target: str, *, overwrite: bool = False) -> None:
    """Refuse an output that could not be written, before anything is spent on it.

    Raises:
        InputError: It is there already and may not be replaced, or has the ending of a format we do not write.
    """
    path = Path(target)
    if path.exists() and not overwrite:
        raise InputError(f"output: {target} is there already. Choose another name, or allow it with --overwrite.")
    if path.is_dir() and not (path / "dataset_info.json").is_file():
        raise InputError(f"output: {target} is a folder that holds something else. Choose another name.")
    ending = path.suffix.lstrip(".").lower()
    packed = ending == "gz"  # Parquet is compressed inside
    if ending in {"json", "arrow"} or (packed and _format(path) not in {"jsonl", "csv"}):
        raise InputError(f"output: expected .parquet, .jsonl, .jsonl.gz, .csv, .csv.gz or a folder, found {path.name}.")
    _check_writable(path)


def check_folder(target: str | Path, ours: Collection[str], *, overwrite: bool = False) -> None:
    """Refuse a folder that could not be written as a whole, before anything is spent on it.

    Args:
        target: The folder, which is replaced if it is there.
        ours: Names of what a folder may hold to be replaced.
        overwrite: Whether it may be replaced.

    Raises:
        InputError: It is there and may not be replaced, holds something of others, or cannot be written.
    """
    path = Path(target).resolve()
    if Path.cwd().is_relative_to(path):  # whoever stands in a folder would stand in none when it is replaced
        raise InputError(f"output: expected another folder than {target}, which we are in. Choose another name.")
    held = sorted(each.name for each in path.iterdir()) if path.is_dir() else []
    if path.is_file() or (held and not overwrite):
        raise InputError(f"output: {target} is there already. Choose another name, or allow it with --overwrite.")
    others = [name for name in held if name not in ours]
    if others:
        raise InputError(f"output: {target} is a folder that holds something else ({others[0]}). Choose another name.")
    _check_writable(path)


@contextlib.contextmanager
def whole_folder(target: str | Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes the target at the end, whole or not at all.

    Raises:
        InputError: It cannot be written.
    """
    path = Path(target).resolve()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".instag-") as scratch:
        written = Path(scratch) / "new" / path.name
        written.mkdir(parents=True)
        yield written
        try:
            _put(written, path, Path(scratch))
        except OSError as error:
            raise InputError(f"output: could not write {target}: {error}. Choose another place.") from error


def _put(written: Path, path: Path, scratch: Path) -> None:
    """Move what was written to its place; what was there goes with `scratch`, or back if that fails."""
    old = scratch / "old"
    if path.is_dir() or (path.exists() and written.is_dir()):  # a file takes the place of a file in one step
        path.replace(old)
    try:
        written.replace(path)
    except OSError:
        if old.exists():
            old.replace(path)
        raise


def _check_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise InputError(f"output: could not write into {path.parent}: {error}. Choose another place.") from error


def is_file_name(target: str) -> bool:
    """Tell whether `save` would write one file of that name, and not a folder."""
    return _format(Path(target)) in WRITERS


def _write(dataset: "Dataset", path: Path) -> None:
    packed = path.suffix.lower() == ".gz"
    kind = _format(path)
    if kind == "parquet":
        to_parquet(dataset, path)
    elif kind == "jsonl":
        dataset.to_json(path, compression="gzip" if packed else None, force_ascii=False)
    elif kind == "csv":
        with (gzip.open if packed else open)(path, "wt", encoding="utf-8", newline="") as file:
            write_csv(dataset, file)
    else:
        check_files(dataset)  # for it puts the files that rows name into them
        dataset.save_to_disk(path)


def _format(path: Path) -> str:
    endings = [ending.lstrip(".").lower() for ending in path.suffixes]
    if endings and endings[-1] == "gz":
        endings.pop()
    return endings[-1] if endings else ""


def _load_local(path: Path) -> object:
    import datasets

    if path.is_dir():
        if any((path / name).is_file() for name in ("dataset_info.json", "dataset_dict.json")):
            with _told(f"input: expected a folder that save_to_disk wrote, found {path}"):
                return datasets.load_from_disk(path)
        _check_name(path.resolve(), "*?[")
        with _told(f"input: expected a folder of data files, found {path}"):
            return datasets.load_dataset(str(path))
    kind = READERS.get(_format(path))
    if kind is None:
        raise InputError(f"input: expected a file ending in {list(READERS)} (and .gz), found {path.name}.")
    whole = os.path.abspath(path)
    _check_name(whole)
    if path.suffix.lower() == ".gz":  # its name is also that of what is in it
        _check_name(path.name, "*?[")
    with _told(f"input: could not read {path} as {kind}"):
        found = datasets.load_dataset(kind, data_files=glob.escape(whole))
        for part in found.values() if kind == "json" else ():
            part.data.validate(full=True)  # JSON is taken in whatever its encoding, and fails where it is used
        return found


def _check_name(whole: str | Path, marks: str = "") -> None:
    """Refuse a name that `datasets` would take for a pattern, or for a file in an archive, and read other rows."""
    found = [mark for mark in (*marks, "::") if mark in str(whole)]
    if found:
        raise InputError(f"input: expected a name without {found[0]}, found {whole}. Rename it, or move what is in it.")


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Say in one sentence why `datasets` cannot read something, in place of whatever it raises."""
    import datasets
    import yaml

    try:
        yield
    except InputError:
        raise
    except StopIteration as error:  # of a file of no line
        raise InputError(f"{what}: there is no row in it.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{what}: the head of its README.md is no YAML: {_line(error)}") from error
    # ValueError where a config must be named, RuntimeError for a loading script.
    except (*network_errors(), OSError, ValueError, RuntimeError, datasets.exceptions.DatasetGenerationError) as error:
        raise InputError(f"{what}: {_line(error)}") from error


def load_hub(source: str, *, token: bool | None = None) -> object:
    """Load all splits of a dataset on the Hub, with the settings of their taggers, where it keeps those.

    Args:
        source: The dataset's id, perhaps with `@revision`.
        token: `False` for what everybody may read, whose settings are left where they are.

    Raises:
        InputError: There is no such dataset, or it cannot be reached.
    """
    import datasets

    from instag_hf.hub.working import learn_taggers

    name, _, revision = source.partition("@")
    with _told(f"input: expected a local file or folder, or a dataset on the Hub, found {source!r}"):
        found = datasets.load_dataset(name, revision=revision or None, token=token)
        if token is not False and any(TAGGER in columns for columns in found.column_names.values()):
            learn_taggers(name, revision=revision or None)
        return found


def _line(error: BaseException) -> str:
    """Say in one line what went wrong; `datasets` often has the reason in the cause alone."""
    said = str(error.__cause__ or error) or type(error).__name__
    return " ".join(said.split())[:300]


def _one_split(found: object, source: str, split: str | None) -> "Dataset":
    import datasets

    if isinstance(found, datasets.DatasetDict):
        if split is None and len(found) == 1:
            split = next(iter(found))
        if split not in found:
            asked = f"no split {split!r}" if split else "several"
            raise InputError(f"input: {source} has the splits {list(found)}, {asked}. Name one with --split.")
        found = found[split]
    if not isinstance(found, datasets.Dataset):
        raise InputError(f"input: expected a dataset in {source}, found {type(found).__name__}.")
    if not len(found):
        raise InputError(f"input: expected rows in {source}, found none.")
    return found
