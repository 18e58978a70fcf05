"""Datasets in and out, and the stages between, in one call each: what the command line and `make demo` run."""

import asyncio
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from instag_hf.agreement import tag_f1
from instag_hf.embeddings import MINILM, Embedder
from instag_hf.errors import InputError, Interrupted, RowError
from instag_hf.replies import Reply, store
from instag_hf.rows import ERROR, TAGS, check_columns, queries
from instag_hf.tagger import Columns, Row, Tagger, features

if TYPE_CHECKING:
    from datasets import Dataset

SAMPLE = Path(__file__).parent / "data" / "sample.jsonl"
READERS = {"parquet": "parquet", "jsonl": "json", "json": "json", "csv": "csv", "arrow": "arrow"}
WRITERS = ("parquet", "jsonl", "csv")


def load(source: str, *, split: str | None = None, limit: int | None = None) -> "Dataset":
    """Load a dataset from a local file or folder, or from the Hub.

    Args:
        source: A Parquet, JSONL, CSV or Arrow file (`.gz` too for text), a folder of such files or one that
            `save_to_disk` wrote, else the id of a dataset on the Hub.
        split: Which split, where there are several.
        limit: Rows to keep from the beginning.

    Raises:
        InputError: There is no such file, format, dataset or split, or no row in it.
    """
    found = _load_local(Path(source)) if Path(source).exists() else _load_hub(source)
    dataset = _one_split(found, source, split)
    if not len(dataset):
        raise InputError(f"input: expected rows in {source}, found none.")
    return dataset if limit is None else dataset.select(range(min(limit, len(dataset))))


def save(dataset: "Dataset", target: str) -> Path:
    """Write a dataset where and how the name says, whole or not at all.

    Args:
        dataset: What to write.
        target: A file ending in .parquet, .jsonl, .jsonl.gz or .csv; any other name is a folder for `load_from_disk`.

    Raises:
        InputError: It cannot be written there.
    """
    path = Path(target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".instag-") as scratch:
            written = Path(scratch) / path.name
            _write(dataset, written)
            if path.is_dir():
                shutil.rmtree(path)
            written.replace(path)
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
    if path.suffix.lstrip(".") in {"json", "arrow", "gz"} and _format(path) not in WRITERS:
        raise InputError(f"output: expected .parquet, .jsonl, .jsonl.gz, .csv or a folder, found {path.name}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise InputError(f"output: could not write into {path.parent}: {error}. Choose another place.") from error


def tag(dataset: "Dataset", tagger: Tagger, *, on_row: Callable[[Columns], None] | None = None) -> "Dataset":
    """Tag a dataset, and tell every finished row to `on_row`.

    The same as `dataset.map(tagger.tag)`, with a place for a progress bar that knows about failures, and a Ctrl-C that
    always ends the run.

    Raises:
        Interrupted: Somebody pressed Ctrl-C.
    """
    from datasets.fingerprint import Hasher

    check_columns(dataset.column_names, column=tagger.column, overwrite=tagger.overwrite)
    with _CtrlC() as stop:
        one = stop.watch(tagger.tag)

        async def watched(row: Row) -> Columns:
            columns = await one(row)
            if on_row is not None:
                on_row(columns)
            return columns

        return dataset.map(
            watched,
            features=type(dataset.features)({**dataset.features, **features()}),
            new_fingerprint=Hasher.hash([dataset._fingerprint, tagger]),
        )


def evaluate(
    dataset: "Dataset",
    tagger: Tagger,
    *,
    gold: str = "tags",
    embedder: str | Embedder | None = MINILM,
    on_row: Callable[[Columns], None] | None = None,
) -> dict[str, Any]:
    """Score a tagger against gold tags.

    Args:
        dataset: Rows with one query each and a column of gold tags; with a column `source`, each source is scored too.
        tagger: Whom to score.
        gold: The column of gold tags.
        embedder: For the fuzzy match; `None` leaves it out.
        on_row: Told every finished row.

    Returns:
        `tagger`, its name; `agreement`, as `agreement.tag_f1` found it, where a failed row counts without tags;
        `failed` and `failures`, rows by kind; `tokens_a_reply`; `rows_a_second`, and `kept_replies`, how many were in
        the store before.

    Raises:
        InputError: The column of gold tags is missing, or has no list.
    """
    if gold not in dataset.column_names:
        raise InputError(f'evaluate: expected a column "{gold}" of gold tags, found {dataset.column_names}.')
    wanted = [list(tags or ()) for tags in dataset[gold]]
    before = _replies(dataset, tagger)
    started = time.monotonic()
    tagged = tag(dataset, tagger, on_row=on_row)
    took = time.monotonic() - started
    failed = failures(tagged)
    agreed = tag_f1(
        tagged[TAGS],
        wanted,
        embedder=embedder,
        sources=dataset["source"] if "source" in dataset.column_names else None,
    )
    tokens = [reply.completion_tokens for reply in _replies(dataset, tagger)]
    return {
        "tagger": tagger.name,
        "agreement": agreed.to_dict(),
        "failed": failed.total(),
        "failures": dict(failed),
        "tokens_a_reply": round(sum(tokens) / max(1, len(tokens)), 1),
        "rows_a_second": round(len(tagged) / took, 1),
        "kept_replies": len(before),
    }


def _replies(dataset: "Dataset", tagger: Tagger) -> list[Reply]:
    """Take what the store has for the queries of a dataset."""
    found = []
    for row in dataset:
        try:
            asked = queries(row, column=tagger.column, turns=tagger.turns)
        except RowError:
            continue
        found += [reply for query in asked if (reply := store().get(tagger.request(query).key))]
    return found


class _CtrlC:
    """Turns Ctrl-C into an ordinary error of the tasks under way; a second Ctrl-C acts at once.

    Raised in the middle of a loop, `KeyboardInterrupt` can lose a task's next step. That task never ends, and neither
    does `datasets`, which waits for every task that it cancels.
    """

    def __init__(self) -> None:
        self.pressed = False
        self.tasks: dict[asyncio.Task[Any], asyncio.AbstractEventLoop] = {}

    def __enter__(self) -> Self:
        in_main_thread = threading.current_thread() is threading.main_thread()
        self.before = signal.getsignal(signal.SIGINT)
        self.listens = in_main_thread and self.before is signal.default_int_handler
        if self.listens:
            signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.listens:
            signal.signal(signal.SIGINT, self.before)
        if self.pressed and kind is None:  # pressed when no row was under way any more
            raise Interrupted("stopped by Ctrl-C")

    def watch(self, work: Callable[[Row], Awaitable[Columns]]) -> Callable[[Row], Awaitable[Columns]]:
        """Let a coroutine function raise `Interrupted` as soon as Ctrl-C is pressed."""

        async def interruptible(row: Row) -> Columns:
            task = asyncio.current_task()
            if task is None or self.pressed:
                raise Interrupted("stopped by Ctrl-C")
            self.tasks[task] = asyncio.get_running_loop()
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # `map` looks at the first only
            try:
                return await work(row)
            except asyncio.CancelledError:
                if self.pressed:
                    raise Interrupted("stopped by Ctrl-C") from None
                raise
            finally:
                del self.tasks[task]

        return interruptible

    def _press(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, self.before)
        self.pressed = True
        for task, loop in self.tasks.items():
            loop.call_soon_threadsafe(task.cancel)


def failures(dataset: "Dataset") -> Counter[str]:
    """Count failed rows by kind of failure: "row", "parse", "truncated", "reply", "refused"."""
    return Counter(error.partition(":")[0] for error in dataset[ERROR] if error)


def _write(dataset: "Dataset", path: Path) -> None:
    compression = "gzip" if path.suffix == ".gz" else None
    kind = _format(path)
    if kind == "parquet":
        dataset.to_parquet(path)
    elif kind == "jsonl":
        dataset.to_json(path, compression=compression, force_ascii=False)
    elif kind == "csv":
        dataset.to_csv(path, compression=compression)
    else:
        dataset.save_to_disk(path)


def _format(path: Path) -> str:
    endings = [ending.lstrip(".").lower() for ending in path.suffixes]
    if endings and endings[-1] == "gz":
        endings.pop()
    return endings[-1] if endings else ""


def _load_local(path: Path) -> object:
    import datasets

    if path.is_dir():
        if (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
            return datasets.load_from_disk(path)
        try:
            return datasets.load_dataset(str(path))
        except (FileNotFoundError, datasets.exceptions.DatasetGenerationError) as error:
            raise InputError(f"input: expected a folder of data files, found {path}: {error}") from error
    kind = READERS.get(_format(path))
    if kind is None:
        raise InputError(f"input: expected a file ending in {list(READERS)} (and .gz), found {path.name}.")
    try:
        return datasets.load_dataset(kind, data_files=str(path))
    except (ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise InputError(f"input: could not read {path} as {kind}: {error.__cause__ or error}") from error


def _load_hub(source: str) -> object:
    import datasets
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return datasets.load_dataset(source)
    except (datasets.exceptions.DatasetNotFoundError, HFValidationError, HfHubHTTPError, ConnectionError) as error:
        raise InputError(
            f"input: expected a local file or folder, or a dataset on the Hub, found {source!r}: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _one_split(found: object, source: str, split: str | None) -> "Dataset":
    import datasets

    if isinstance(found, datasets.Dataset):
        return found
    if not isinstance(found, datasets.DatasetDict):
        raise InputError(f"input: expected a dataset in {source}, found {type(found).__name__}.")
    if split is None and len(found) == 1:
        return next(iter(found.values()))
    if split not in found:
        asked = f"no split {split!r}" if split else "several"
        raise InputError(f"input: {source} has the splits {list(found)}, {asked}. Name one with --split.")
    return found[split]
