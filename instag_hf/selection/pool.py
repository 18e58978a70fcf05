"""A dataset in, what choosing needs of it as numbers out: tags, and on request sources, weights and lengths."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from instag_hf.errors import InputError, RowError
from instag_hf.rows import ERROR, NORMALIZED, TAGS, find_shape, queries
from instag_hf.rows.columns import BATCH, TagColumn, as_texts, class_names, label, read_tags
from instag_hf.rows.stored import stored

if TYPE_CHECKING:
    from datasets import Dataset

Bound: TypeAlias = int | tuple[int, int | None]
Bounds: TypeAlias = Bound | Mapping[str, Bound]

MATCHES = ("exact", "folded")
RAW_TAGS = (
    f"select: reads {TAGS}, for there is no {NORMALIZED}. Raw tags spell one intention in many ways, so that rows seem "
    f"more diverse than they are; add {NORMALIZED} with ds.map(normalizer.normalize, batched=True)."
)
NO_CAP = np.iinfo(np.int64).max
SIGNIFICANT = 30  # bits that decide which of two floats is the larger


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """What holds whatever the method: which columns are read, which rows may be chosen, and how many of a kind.

    Attributes:
        column: The column of tag lists; `None` takes `instag_normalized`, else `instag_tags`.
        seed: Of what is drawn, 0 or more.
        per_tag: How many of the chosen rows may and must have a tag: a number is a cap, `(least, most)` a quota and a
            cap, where `None` is no cap; either for every tag, or for single tags in a mapping. Quotas are filled first,
            in the method's order; where caps and quotas compete for the same rows, that may miss a choice that would
            meet them all, and is refused.
        per_source: The same for the values of `source_column`.
        source_column: Where a row says which dataset it is from.
        exclude: A dataset, or texts, none of whose queries may be chosen, such as a benchmark's.
        match: When two queries are equal: "exact", or "folded", without regard to case and white space.
        weight_column: Numbers from 0 on that make a row more wanted, such as a quality. The number of tags, the
            rarity, the length and the information gain are multiplied by it, and chances are in proportion to it.
        text_column: The column that holds the query, for lengths and for `exclude`; `None` finds it by its name.
        mixed: Whether rows may be of several taggers.
    """

    column: str | None = None
    seed: int = 42
    per_tag: Bounds | None = None
    per_source: Bounds | None = None
    source_column: str = "source"
    exclude: "Dataset | Iterable[str] | None" = None
    match: str = "folded"
    weight_column: str | None = None
    text_column: str | None = None
    mixed: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, before anything is read.

        Raises:
            InputError: `match` or `seed` is of no known kind, or a cap or quota is no range.
        """
        for kind, bounds in (("tag", self.per_tag), ("source", self.per_source)):
            if bounds is not None:
                ranges_of(kind, bounds)
        if self.match not in MATCHES:
            raise InputError(f"select: expected match to be one of {list(MATCHES)}, found {self.match!r}.")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"select: expected a seed that is a whole number from 0 on, found {self.seed!r}.")
        if isinstance(self.exclude, Iterator):  # could be read once only, and would exclude nothing the second time
            object.__setattr__(self, "exclude", tuple(self.exclude))


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """What there is to choose from.

    Attributes:
        tags: The tags of every row; of failed rows none.
        open: Shape (rows,), bool: whether a row may be chosen at all.
        skipped: Why other rows may not, and how many: the kinds of failures, and "excluded".
        weights: Shape (rows,), float64; `None` where there is no such column.
        sources: The source of each row as a list of one; `None` where it was not asked for.
        lengths: Shape (rows,), int64: characters of the row's queries; `None` where they were not asked for.
        notes: What the user should hear about.
    """

    tags: TagColumn
    open: np.ndarray
    skipped: Counter[str]
    weights: np.ndarray | None = None
    sources: TagColumn | None = None
    lengths: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Count the rows, also those that may not be chosen."""
        return len(self.open)

    @property
    def counts(self) -> np.ndarray:
        """How many rows that may be chosen have each tag; shape (names,), int64."""
        return counts_of(self.tags, np.flatnonzero(self.open))

    @property
    def characters(self) -> np.ndarray:
        """The lengths of queries, where they must be there.

        Raises:
            InputError: They were not read.
        """
        if self.lengths is None:
            raise InputError("select: expected the lengths of queries, found none. Read the pool with lengths=True.")
        return self.lengths

    def weighted(self, values: np.ndarray) -> np.ndarray:
        """Multiply values, one for each row, by the weights, if there are any."""
        return values if self.weights is None else steady(values * self.weights)


def read_pool(
    ds: "Dataset", rules: Rules, *, lengths: bool = False, sources: bool = False, tagged: bool = True
) -> Pool:
    """Read what choosing needs, and nothing else.

    Args:
        ds: Tagged rows.
        rules: Which columns, and which rows may not be chosen.
        lengths: Whether the lengths of queries are wanted.
        sources: Whether sources are wanted even if `rules` do not limit them.
        tagged: Whether rows have tags already; else they are read as rows without any.

    Raises:
        InputError: `ds` is no dataset in memory or on disk, a column is missing or holds something else, or there are
            rows of several taggers.
    """
    _check_dataset(ds)
    _check_named(ds, rules)
    tags, notes = _read_tags(ds, rules) if tagged else (_no_tags(ds), ())
    available = _succeeded(ds) if tagged else np.ones(len(ds), bool)
    skipped = Counter({f"failed: {kind}": count for kind, count in tags.failed.items()})
    measured = None
    if lengths or rules.exclude is not None:
        measured, forbidden = _read_texts(ds, rules)
        unreadable = available & (measured < 0)
        if unreadable.any():
            skipped["no text"] = int(unreadable.sum())
            available &= ~unreadable
        if rules.exclude is not None:
            skipped["excluded"] = int((available & forbidden).sum())
            available &= ~forbidden
    return Pool(
        tags=tags,
        open=available,
        skipped=skipped,
        weights=None if rules.weight_column is None else _read_weights(ds, rules.weight_column, available),
        sources=_read_sources(ds, rules.source_column) if sources or rules.per_source is not None else None,
        lengths=measured,
        notes=notes,
    )


def ranges_of(kind: str, bounds: Bounds) -> dict[str, tuple[int, int]]:
    """Read the least and the most rows of each named group, or under "" of every one.

    Raises:
        InputError: A bound is no range.
    """
    if not isinstance(bounds, Mapping):
        return {"": _range(kind, "every", bounds)}
    return {name: _range(kind, repr(name), bound) for name, bound in bounds.items()}


def _range(kind: str, name: str, bound: object) -> tuple[int, int]:
    low, high = (
        (0, bound) if isinstance(bound, int) else bound if isinstance(bound, tuple) and len(bound) == 2 else (-1, 0)
    )
    high = NO_CAP if high is None else high
    if isinstance(low, int) and isinstance(high, int) and 0 <= low <= high:
        return low, int(high)
    raise InputError(
        f"select: expected per_{kind} to be a cap or (least, most) with 0 <= least <= most, found {bound!r} for {name}."
    )


def gather(tags: TagColumn, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lay the tags of some rows end to end.

    Returns:
        The codes, and where each row begins in them; shapes (assignments,) and (rows + 1,).
    """
    lengths = tags.starts[rows + 1] - tags.starts[rows]
    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    places = np.repeat(tags.starts[rows] - starts[:-1], lengths)
    places += np.arange(len(places))
    return tags.codes[places], starts


def counts_of(tags: TagColumn, rows: np.ndarray) -> np.ndarray:
    """Count how many of some rows have each tag; shape (names,), int64."""
    return np.bincount(gather(tags, rows)[0], minlength=len(tags.names))


def steady(values: np.ndarray) -> np.ndarray:
    """Round floats from 0 on to nine digits, so that ties are ties on every machine.

    The last bits of a sum or a power depend on the processor, and would break ties by chance.
    """
    spare = np.int64(52 - SIGNIFICANT)
    bits = np.ascontiguousarray(values, np.float64).view(np.int64)
    rounded: np.ndarray = (((bits + (np.int64(1) << (spare - 1))) >> spare) << spare).view(np.float64)
    return rounded


def stable_order(values: np.ndarray, bound: int) -> np.ndarray:
    """Sort whole numbers from 0 to below `bound`, equal ones in their order, in linear time."""
    low = np.argsort((values & 0xFFFF).astype(np.uint16), kind="stable")  # a radix sort for 16 bits, not for more
    if bound <= 1 << 16:
        return low
    high = np.argsort((values[low] >> 16).astype(np.uint16 if bound <= 1 << 32 else np.int64), kind="stable")
    return low[high]


def _check_named(ds: "Dataset", rules: Rules) -> None:
    """Refuse names of columns that are not there, also where nothing needs them: they are slips of the pen."""
    own = Rules.source_column
    for told, name in (("text_column", rules.text_column), ("source_column", rules.source_column)):
        if name not in (None, own) and name not in ds.column_names:
            raise InputError(
                f'select: expected a column "{name}", found columns {ds.column_names}. Name another with {told}=.'
            )


def _check_dataset(ds: object) -> None:
    import datasets

    if isinstance(ds, datasets.Dataset):
        return
    if isinstance(ds, datasets.IterableDataset):
        raise InputError(
            "select: expected a Dataset, found an IterableDataset, whose rows cannot be gone back to. "
            "Load it without streaming=True, or write it to Parquet first."
        )
    if isinstance(ds, datasets.DatasetDict | datasets.IterableDatasetDict):
        raise InputError(
            f"select: expected a Dataset, found the splits {list(ds)}. Name one, such as ds[{list(ds)[0]!r}]."
        )
    raise InputError(f"select: expected a Dataset, found {type(ds).__name__}. Make one with Dataset.from_list(rows).")


def _read_tags(ds: "Dataset", rules: Rules) -> tuple[TagColumn, tuple[str, ...]]:
    column, notes = _tag_column(ds.column_names, rules.column)
    return read_tags(ds, column, mixed=rules.mixed), notes


def _no_tags(ds: "Dataset") -> TagColumn:
    return TagColumn([], np.zeros(0, np.int32), np.zeros(len(ds) + 1, np.int64))


def _tag_column(found: list[str], asked: str | None) -> tuple[str, tuple[str, ...]]:
    for name in (NORMALIZED, TAGS) if asked is None else (asked,):
        if name in found:
            return name, (RAW_TAGS,) if asked is None and name == TAGS else ()
    wanted = f'"{asked}"' if asked else f'"{NORMALIZED}" or "{TAGS}"'
    raise InputError(
        f"select: expected a column {wanted} of tag lists, found columns {found}. "
        "Tag the rows first with ds.map(instag.tag), or name the column with column=."
    )


def _arrow(ds: "Dataset", column: str, what: str) -> Iterator[pa.Array]:
    if column not in ds.column_names:
        raise InputError(f'select: expected a column "{column}" of {what}, found columns {ds.column_names}. Name one.')
    for table in ds.select_columns([column]).with_format("arrow").iter(BATCH):
        yield table.column(column).combine_chunks()


def _succeeded(ds: "Dataset") -> np.ndarray:
    if ERROR not in ds.column_names:
        return np.ones(len(ds), bool)
    fine = [
        pc.equal(pc.fill_null(as_texts(errors), ""), "").to_numpy(zero_copy_only=False)
        for errors in _arrow(ds, ERROR, "errors")
    ]
    return np.concatenate(fine) if fine else np.zeros(0, bool)


def _read_weights(ds: "Dataset", column: str, available: np.ndarray) -> np.ndarray:
    parts = []
    for found in _arrow(ds, column, "weights"):
        if not (pa.types.is_integer(found.type) or pa.types.is_floating(found.type) or pa.types.is_null(found.type)):
            raise InputError(f'select: expected numbers in "{column}", found {found.type}. Name another weight_column.')
        parts.append(pc.fill_null(found.cast(pa.float64()), float("nan")).to_numpy(zero_copy_only=False))
    weights = np.concatenate(parts) if parts else np.zeros(0)
    wrong = np.flatnonzero(available & ~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise InputError(
            f'select: expected numbers from 0 on in "{column}", found {weights[wrong[0]]} in row {wrong[0]} and others '
            f"in {len(wrong):,} rows in all. Fill or filter them first."
        )
    return np.where(available, weights, 0.0)


def _read_sources(ds: "Dataset", column: str) -> TagColumn:
    place: dict[str, int] = {}
    parts = []
    classes = class_names(ds, column)
    for found in _arrow(ds, column, "sources"):
        if pa.types.is_nested(found.type):
            raise InputError(f'select: expected one source a row in "{column}", found {found.type}. Name another.')
        words = pc.fill_null(found.cast(pa.large_string()), "").dictionary_encode()
        names = words.dictionary.to_pylist()
        if classes is not None:
            names = [label(int(number) if number else None, classes) for number in names]
        to = np.array([place.setdefault(name, len(place)) for name in names], np.int32)
        parts.append(to[words.indices.to_numpy()])
    codes = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    return TagColumn(list(place), codes, np.arange(len(codes) + 1))


def _read_texts(ds: "Dataset", rules: Rules) -> tuple[np.ndarray, np.ndarray]:
    """Measure each row's queries in characters, -1 where there is none, and find the rows that are excluded."""
    unwanted = set() if rules.exclude is None else {_folded(text, rules.match) for text in _texts_of(rules.exclude)}
    if rules.exclude is not None and not unwanted:
        raise InputError("select: expected queries to exclude, found none. Leave exclude out, or name their column.")
    lengths, found = np.full(len(ds), -1), np.zeros(len(ds), bool)
    for row, asked in enumerate(_queries_of(ds, rules.text_column, "Name it with text_column=.")):
        if asked:
            lengths[row] = sum(map(len, asked))
            found[row] = bool(unwanted) and any(_folded(query, rules.match) in unwanted for query in asked)
    return lengths, found


def _texts_of(exclude: "Dataset | Iterable[str]") -> Iterator[str]:
    import datasets

    if isinstance(exclude, datasets.Dataset):
        for asked in _queries_of(exclude, None, 'Give its texts instead, such as exclude=ds["column"].'):
            yield from asked
        return
    if isinstance(exclude, str | Mapping) or not isinstance(exclude, Iterable):
        raise InputError(f"select: expected exclude to be a Dataset or texts, found {type(exclude).__name__}.")
    for text in exclude:
        if not isinstance(text, str):
            raise InputError(
                f"select: expected exclude to be texts, found {type(text).__name__} among them. "
                "Give a Dataset, or the column that holds its queries."
            )
        yield text


def _queries_of(ds: "Dataset", column: str | None, remedy: str) -> Iterator[list[str]]:
    try:
        shape = find_shape(ds.column_names, column)
    except InputError as error:
        wanted = "of queries" if column is None else f'"{column}"'
        raise InputError(f"select: expected a column {wanted}, found columns {ds.column_names}. {remedy}") from error
    for row in stored(ds.select_columns([shape.column, *shape.context])):
        try:
            yield queries(row, column=column)
        except RowError:
            yield []


def _folded(text: str, match: str) -> str:
    return " ".join(text.casefold().split()) if match == "folded" else text.strip()
