"""A tagged dataset in, its tags as numbers out: what counting, normalizing and selecting all read.

Strings are read once, batch by batch, so that ten million rows cost four bytes a tag and eight a row.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from instag_hf.errors import InputError
from instag_hf.rows import ERROR, TAGGER, TAGS

if TYPE_CHECKING:
    import datasets

    Tagged: TypeAlias = datasets.Dataset | datasets.IterableDataset | Iterable[Sequence[str]]

BATCH = 50_000
STREAMED = 5_000
NOT_TOLD = "(not told)"


@dataclasses.dataclass(frozen=True, eq=False)
class TagColumn:
    """A column of tag lists: row `i` has the tags `names[codes[starts[i] : starts[i + 1]]]`, each once.

    Attributes:
        names: The distinct tags, in the order in which they first appear.
        codes: Shape (assignments,), int32: places in `names`, row after row, each row's in its own order.
        starts: Shape (rows + 1,), int64: where each row begins in `codes`.
        failed: Rows that carry an error, by its kind ("parse", "row", …). They are in `starts`, with no tags.
    """

    names: list[str]
    codes: np.ndarray
    starts: np.ndarray
    failed: Counter[str] = dataclasses.field(default_factory=Counter)

    def __len__(self) -> int:
        """Count the rows, failed ones too."""
        return len(self.starts) - 1

    def __iter__(self) -> Iterator[list[str]]:
        for start, end in zip(self.starts[:-1], self.starts[1:], strict=True):
            yield [self.names[code] for code in self.codes[start:end]]

    @property
    def lengths(self) -> np.ndarray:
        """The number of tags of each row; shape (rows,), int64."""
        return np.diff(self.starts)

    @property
    def row_numbers(self) -> np.ndarray:
        """The row of each assignment; shape (assignments,), int64."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def holders(self) -> np.ndarray:
        """The rows that have each tag, those of the first tag first, in order; shape (assignments,), int64."""
        return self.row_numbers[np.argsort(self.codes, kind="stable")]

    @property
    def counts(self) -> np.ndarray:
        """The number of rows that have each tag; shape (names,), int64."""
        return np.bincount(self.codes, minlength=len(self.names))

    def relabel(self, targets: Sequence[str | None]) -> Self:
        """Give every tag another name, or none, which drops it; a row keeps one of equal names.

        Args:
            targets: The new name of each of `names`.
        """
        names = list(dict.fromkeys(target for target in targets if target is not None))
        place = {name: code for code, name in enumerate(names)}
        to = np.array([-1 if target is None else place[target] for target in targets], np.int32)
        codes = to[self.codes] if len(to) else self.codes
        kept = codes >= 0
        rows, codes = _once(self.row_numbers[kept], codes[kept], len(names))
        return type(self)(names, codes, _starts(rows, len(self)), self.failed)


def label(value: Any, classes: Sequence[str] | None) -> str:
    """Name a value of a column such as "source".

    Args:
        value: What a row has.
        classes: What `class_names` returned.

    Returns:
        Its text; "" where there is none, as -1 says of a class.

    Example:
        >>> label("alpaca", None), label(0, ["alpaca", "dolly"]), label(None, None)
        ('alpaca', 'alpaca', '')
    """
    if value is None or (classes is not None and value < 0):
        return ""
    return str(value if classes is None else classes[value])


def class_names(rows: Any, column: str | None) -> Sequence[str] | None:
    """Return the names of a dataset's column of classes; `None` where its values name themselves."""
    names: Sequence[str] | None = getattr((getattr(rows, "features", None) or {}).get(column), "names", None)
    return names


def as_texts(values: "pa.Array | Sequence[str | None]") -> pa.Array:
    """Return a column as Arrow's texts, also one that is nothing throughout, whose type is none."""
    kind = pa.large_string()
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)


def count_taggers(values: "pa.Array | Sequence[str | None]") -> Counter[str]:
    """Count the rows of each tagger; whoever is not named goes by `NOT_TOLD`, for it may be another one."""
    counted = pc.fill_null(as_texts(values), "").value_counts().to_pylist()
    return Counter({item["values"] or NOT_TOLD: item["counts"] for item in counted})


def read_tags(tagged: "Tagged", column: str = TAGS, *, mixed: bool = False) -> TagColumn:
    """Read a column of tag lists; rows that carry an error are counted and have no tags.

    Args:
        tagged: A dataset, also a streaming one, or tag lists. Tags that a row has twice count once.
        column: The column of tags, where there are columns.
        mixed: Whether rows may be of several taggers.

    Raises:
        InputError: The column is missing or is no list of texts, or several taggers tagged the rows.

    Example:
        >>> column = read_tags([["math", "sums", "math"], [], ["sums"]])
        >>> column.names, column.lengths.tolist()
        (['math', 'sums'], [2, 0, 1])
    """
    reader = _Reader()
    taggers: Counter[str] = Counter()
    for table in _tables(tagged, column):
        errors = table.column(ERROR) if ERROR in table.column_names else None
        reader.add(_lists(table.column(column), column, reader.rows), errors)
        if TAGGER in table.column_names:
            taggers.update(count_taggers(table.column(TAGGER).combine_chunks()))
    if len(taggers) > 1 and not mixed:
        told = ", ".join(f"{name} ({rows:,} rows)" for name, rows in taggers.most_common())
        raise InputError(f"tags: expected rows of one tagger, found {told}. Allow it with mixed=True.")
    return reader.finish()


def _tables(tagged: "Tagged", column: str) -> Iterator[pa.Table]:
    import datasets

    if isinstance(tagged, datasets.DatasetDict | datasets.IterableDatasetDict):
        raise InputError(f"tags: expected one dataset, found the splits {list(tagged)}. Name one.")
    if not isinstance(tagged, datasets.Dataset | datasets.IterableDataset):
        yield from _tables_of_lists(tagged, column)
        return
    if tagged.column_names is not None:  # a streaming dataset may not know them yet
        _need(column, tagged.column_names)
        tagged = tagged.select_columns([name for name in (column, ERROR, TAGGER) if name in tagged.column_names])
    if isinstance(tagged, datasets.Dataset):
        yield from tagged.with_format("arrow").iter(BATCH)
        return
    done = 0
    for batch in tagged.with_format(None).iter(STREAMED):  # as Arrow, a mapped stream's empty lists have no type
        _need(column, list(batch))
        lists = _typed(batch[column], column, done)
        done += len(lists)
        others = {name: pa.array(batch[name], pa.string()) for name in (ERROR, TAGGER) if name in batch}
        yield pa.table({column: lists, **others})


def _tables_of_lists(lists: Iterable[Sequence[str]], column: str) -> Iterator[pa.Table]:
    if isinstance(lists, str | Mapping) or not isinstance(lists, Iterable):
        raise InputError(f"tags: expected a dataset or lists of tags, found {type(lists).__name__}.")
    rows = iter(lists)
    done = 0
    while batch := list(islice(rows, BATCH)):
        yield pa.table({column: _typed(batch, column, done)})
        done += len(batch)


def _typed(batch: Sequence[Any], column: str, done: int) -> pa.Array:
    for row, tags in enumerate(batch, done):
        if tags is not None and (isinstance(tags, str | Mapping) or not isinstance(tags, Iterable)):
            raise InputError(f'tags: row {row}: expected "{column}" to be a list of tags, found {type(tags).__name__}.')
    try:
        return pa.array([tags and list(tags) for tags in batch], pa.list_(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:  # the last of a lone surrogate
        raise InputError(
            f'tags: expected "{column}" to be lists of texts, found something else from row {done} on: {error}'
        ) from error


def _need(column: str, found: Sequence[str]) -> None:
    if column not in found:
        raise InputError(
            f'tags: expected a column "{column}" of tag lists, found columns {list(found)}. Name one of them.'
        )


def _lists(found: pa.ChunkedArray, column: str, done: int) -> pa.LargeListArray:
    kind = found.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not (
        pa.types.is_string(kind.value_type)
        or pa.types.is_large_string(kind.value_type)
        or pa.types.is_null(kind.value_type)
    ):
        raise InputError(f'tags: expected the column "{column}" to be lists of texts, found {kind}.')
    lists = found.combine_chunks().cast(pa.large_list(pa.large_string()))
    if lists.flatten().null_count:
        row = next(row for row, tags in enumerate(lists.to_pylist(), done) if tags and None in tags)
        raise InputError(f'tags: row {row}: expected texts in "{column}", found a tag that is nothing.')
    return lists


class _Reader:
    """Gathers batches into one column, in memory that grows with assignments and not with text."""

    def __init__(self) -> None:
        self.place: dict[str, int] = {}
        self.rows = 0
        self.codes: list[np.ndarray] = []
        self.lengths: list[np.ndarray] = []
        self.failed: Counter[str] = Counter()

    def add(self, lists: pa.LargeListArray, errors: pa.ChunkedArray | None) -> None:
        if errors is not None:
            lists = self._without_failed(lists, errors)
        words = lists.flatten().dictionary_encode()
        to = np.array([self.place.setdefault(name, len(self.place)) for name in words.dictionary.to_pylist()], np.int32)
        codes = to[words.indices.to_numpy()] if len(to) else np.zeros(0, np.int32)
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
        rows, codes = _once(np.repeat(np.arange(len(lists)), lengths), codes, len(self.place))
        self.codes.append(codes)
        self.lengths.append(np.bincount(rows, minlength=len(lists)))
        self.rows += len(lists)

    def _without_failed(self, lists: pa.LargeListArray, errors: pa.ChunkedArray) -> pa.LargeListArray:
        texts = pc.fill_null(as_texts(errors.combine_chunks()), "")
        failed = pc.not_equal(texts, "")
        self.failed.update(text.partition(":")[0] for text in texts.filter(failed).to_pylist())
        return pc.if_else(failed, pa.scalar(None, lists.type), lists)

    def finish(self) -> TagColumn:
        codes = np.concatenate(self.codes) if self.codes else np.zeros(0, np.int32)
        starts = np.zeros(self.rows + 1, np.int64)
        np.cumsum(np.concatenate(self.lengths) if self.lengths else [], out=starts[1:])
        return TagColumn(list(self.place), codes, starts, self.failed)


def _once(rows: np.ndarray, codes: np.ndarray, names: int) -> tuple[np.ndarray, np.ndarray]:
    """Leave out what a row has twice; `rows` must not fall."""
    pairs = rows.astype(np.int64) * max(names, 1) + codes
    first = np.sort(np.unique(pairs, return_index=True)[1])
    return rows[first], codes[first]


def _starts(rows: np.ndarray, total: int) -> np.ndarray:
    starts = np.zeros(total + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=total), out=starts[1:])
    return starts
