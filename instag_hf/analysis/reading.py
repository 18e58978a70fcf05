"""Datasets in, numbers for each row and each query out: what every figure of a report is counted from.

Arrow columns are read batch by batch, so that texts are never held all at once.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from instag_hf.errors import InputError, RowError
from instag_hf.prompts import Recipe, load_recipe, recipe_names
from instag_hf.rows import ADDED, ERROR, NORMALIZED, TAGGER, TAGS, TURN_POLICIES, TURNS, Shape, find_shape, queries
from instag_hf.rows.columns import TagColumn, as_texts, class_names, count_taggers, label, read_tags

if TYPE_CHECKING:
    import datasets

    from instag_hf.rows.columns import Tagged

BATCH = 10_000
MOST_PARTS = 200
UNKNOWN = -1
NO_VALUE = "(none)"

_Column: TypeAlias = pa.Array | list[Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """How datasets are to be read: the arguments of `report` of the same names, and whether raw tags will not do."""

    column: str | None = None
    by: str | None = None
    query: str | None = None
    turns: str = "all"
    recipe: Recipe | str | None = None
    mixed: bool = False
    normalized: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Everything that is counted, of all datasets together.

    Attributes:
        column: The column of tags that was read.
        tags: The tags of each row.
        parts: Names of the datasets, splits or values that are compared; one, "all", where nothing is.
        part: Shape (rows,), int32: the place of each row's part in `parts`.
        kinds: Kinds of failures.
        kind: Shape (rows,), int32: the place of each row's kind in `kinds`, -1 where it did not fail.
        unread: Shape (rows,), bool: a row that did not fail, whose query cannot be read.
        query_row: Shape (queries,), int64: the row of each query; `None` where no query is known.
        query_tags: Shape (queries,), int64: tags of each query, -1 where not known.
        query_chars: Shape (queries,), int64: length of each query in characters, -1 where not known.
        query_cut: Shape (queries,), bool: longer than the recipe's bound; `None` where no recipe is known.
        taggers: Who tagged, by the column `instag_tagger`.
        recipes: Names of the recipes whose bounds were used.
    """

    column: str
    tags: TagColumn
    parts: list[str]
    part: np.ndarray
    kinds: list[str]
    kind: np.ndarray
    unread: np.ndarray
    query_row: np.ndarray | None
    query_tags: np.ndarray
    query_chars: np.ndarray
    query_cut: np.ndarray | None
    taggers: tuple[str, ...]
    recipes: tuple[str, ...]


def read_rows(data: "Tagged | Mapping[str, Any]", asked: Asked) -> Rows:
    """Read one dataset, or several by their names.

    Raises:
        InputError: What `report` refuses.
    """
    if asked.turns not in TURN_POLICIES:
        raise InputError(f"report: expected turns of {list(TURN_POLICIES)}, found {asked.turns!r}.")
    several = isinstance(data, Mapping)
    named: dict[str, Any] = dict(data) if isinstance(data, Mapping) else {"all": data}
    if not named:
        raise InputError("report: expected datasets, found none.")
    if several and asked.by:
        raise InputError(
            f'report: expected one dataset with by="{asked.by}", found {len(named)}. Join them, or name one.'
        )
    column = _counted_column(named, asked.column)
    if asked.normalized and asked.column is None and column == TAGS and any(map(_names, named.values())):
        raise InputError(
            f'report: expected a column "{NORMALIZED}", for the normalizer\'s vocabulary is of canonical tags, found '
            f'"{TAGS}". Run ds.map(normalizer.normalize, batched=True) (instag normalize --vocabulary), or name the '
            "column with column=."
        )
    reader = _Reader(asked, column, list(named) if several else [])
    columns = [read_tags(one, column, mixed=True) for one in named.values()]
    for (name, one), tags in zip(named.items(), columns, strict=True):
        reader.read(name, one, tags)
    return reader.finish(_join(columns))


def texts_of(data: Any, asked: Asked) -> Iterator[list[list[str]]]:
    """Take the queries out of a dataset, batch by batch; a row whose query cannot be read has none."""
    names = _names(data)
    shape = _shape(names, asked)
    if shape is None:  # its rows count all the same, or those of the dataset after it would have the wrong numbers
        for batch in _batches(data, names[:1]):
            yield [[]] * len(batch[names[0]])
        return
    for batch in _batches(data, [shape.column, *shape.context]):
        counts, texts = _read_texts(batch, shape, asked)
        flat = iter(texts.to_pylist())
        yield [[next(flat) for _ in range(count)] for count in counts]


def _counted_column(named: Mapping[str, Any], column: str | None) -> str:
    if column is not None:
        return column
    found = {name: set(_names(one)) for name, one in named.items() if hasattr(one, "column_names")}
    for known in (NORMALIZED, TAGS):
        having = [name for name, names in found.items() if known in names]
        if having and len(having) == len(found):  # lists of tags beside them are what they are
            return known
        if having and known == NORMALIZED:
            lacking = [name for name in found if name not in having]
            raise InputError(
                f"report: expected tags of one kind to compare, found {NORMALIZED} in {having} and not in {lacking}. "
                "Normalize all of them, or name the column with column=."
            )
    if not found:
        return TAGS  # lists of tags
    have = {name: sorted(names) for name, names in found.items()}
    raise InputError(
        f'report: expected a column "{NORMALIZED}" or "{TAGS}", found {have}. Name a column of tags with column=.'
    )


def _names(data: Any) -> list[str]:
    names = getattr(data, "column_names", [])
    return list(next(iter(data), {})) if names is None else list(names)  # a streaming dataset may not know them yet


def _shape(names: Sequence[str], asked: Asked) -> Shape | None:
    ours = {*ADDED, NORMALIZED, asked.column, asked.by}
    if asked.query is not None and asked.query not in names:
        raise InputError(f'report: expected a column "{asked.query}" of queries, found columns {list(names)}.')
    try:
        return find_shape([name for name in names if name not in ours], asked.query)
    except InputError:
        return None


def _batches(data: "datasets.Dataset | datasets.IterableDataset", names: Sequence[str]) -> Iterator[dict[str, _Column]]:
    import datasets

    wanted = list(dict.fromkeys(names))
    if not wanted:
        return
    if isinstance(data, datasets.Dataset):
        for table in data.select_columns(wanted).with_format("arrow").iter(BATCH):
            yield {name: table.column(name).combine_chunks() for name in wanted}
    else:
        for batch in data.with_format(None).iter(BATCH):
            yield {name: batch[name] for name in wanted}


def _read_texts(batch: Mapping[str, _Column], shape: Shape, asked: Asked) -> tuple[np.ndarray, pa.Array]:
    """Return the number of queries of each row, and all queries one after the other."""
    read = {name: batch[name] for name in (shape.column, *shape.context)}
    if not shape.conversation and all(_is_text(values) for values in read.values()):
        texts = _plain_texts([_clean(values) for values in read.values()])
        found = pc.is_valid(texts)
        return found.to_numpy(zero_copy_only=False).astype(np.int64), texts.filter(found)
    lists = [values.to_pylist() if isinstance(values, pa.Array) else values for values in read.values()]
    each = [_queries(dict(zip(read, values, strict=True)), asked) for values in zip(*lists, strict=True)]
    counts = np.array([len(texts) for texts in each], np.int64)
    return counts, pa.array([text for texts in each for text in texts], pa.large_string())


def _queries(row: Mapping[str, Any], asked: Asked) -> list[str]:
    try:
        return queries(row, column=asked.query, turns=asked.turns)
    except RowError:
        return []


def _is_text(values: _Column) -> bool:
    return isinstance(values, pa.Array) and (pa.types.is_string(values.type) or pa.types.is_large_string(values.type))


def _clean(values: pa.Array) -> pa.Array:
    texts = values.cast(pa.large_string())
    return pc.utf8_trim_whitespace(pc.replace_substring(texts, "\0", "\ufffd"))


def _plain_texts(columns: Sequence[pa.Array]) -> pa.Array:
    """Do for columns of plain text what `rows.queries` does for a row; nothing where it finds nothing."""
    texts = pc.if_else(pc.equal(columns[0], ""), pa.scalar(None, pa.large_string()), columns[0])
    for extra in columns[1:]:
        joined = pc.binary_join_element_wise(texts, extra, pa.scalar("\n", pa.large_string()))
        texts = pc.if_else(pc.not_equal(pc.fill_null(extra, ""), ""), joined, texts)
    return texts


def _join(columns: Sequence[TagColumn]) -> TagColumn:
    place: dict[str, int] = {}
    codes = []
    for column in columns:
        to = np.array([place.setdefault(name, len(place)) for name in column.names], np.int32)
        codes.append(to[column.codes] if len(to) else column.codes)
    starts = np.concatenate([[0], *(column.lengths for column in columns)]).cumsum()
    failed: Counter[str] = sum((column.failed for column in columns), Counter())
    return TagColumn(list(place), np.concatenate(codes), starts, failed)


class _Text(NamedTuple):
    """What a batch's texts tell: queries of each row, and of each query its length and whether it is cut."""

    counts: np.ndarray
    chars: np.ndarray
    cut: np.ndarray


class _Reader:
    """Gathers the columns beside the tags, dataset after dataset."""

    def __init__(self, asked: Asked, column: str, parts: list[str]) -> None:
        self.asked = asked
        self.column = column
        self.parts = {name: place for place, name in enumerate(parts)}
        self.kinds: dict[str, int] = {}
        self.taggers: Counter[str] = Counter()
        self.arrays: dict[str, list[np.ndarray]] = {
            name: [np.zeros(0, kind)]
            for name, kind in {
                "part": np.int32,
                "kind": np.int32,
                "unread": bool,
                "query_row": np.int64,
                "query_tags": np.int64,
                "query_chars": np.int64,
                "query_cut": bool,
            }.items()
        }
        self.rows = 0
        self.counted = True  # whether every dataset tells how many queries a row has
        self.bounded = True  # whether every dataset tells what recipe's bound they had
        self.recipes: set[str] = set()

    def read(self, name: str, data: Any, tags: TagColumn) -> None:
        names = _names(data)
        shape = _shape(names, self.asked)
        self.counted &= shape is not None or TURNS in names
        recipe = self._recipe(data, names)
        self.bounded &= shape is not None and recipe is not None
        self.recipes |= {recipe.name} if recipe else set()
        by = self.asked.by
        if by is not None and by not in names:
            raise InputError(f'report: expected a column "{by}", found columns {names}. Name one of them with by=.')
        beside = [column for column in (ERROR, TURNS, by) if column in names]
        wanted = beside + ([] if shape is None else [shape.column, *shape.context])
        fixed = self.parts.get(name, 0)
        lengths = tags.lengths
        done = 0
        for batch in _batches(data, wanted):
            length = len(next(iter(batch.values())))
            self._add("part", self._part(batch, data) if by else np.full(length, fixed))
            self._read_batch(batch, shape, lengths[done : done + length], recipe)
            done += length
            self.rows += length
        if not wanted:
            self._add("part", np.full(len(tags), fixed))
            self._add("kind", np.full(len(tags), UNKNOWN))
            self._add("unread", np.zeros(len(tags), bool))
            self.rows += len(tags)

    def _read_batch(
        self, batch: Mapping[str, _Column], shape: Shape | None, lengths: np.ndarray, recipe: Recipe | None
    ) -> None:
        kind = self._kind(batch, len(lengths))
        fine = kind == UNKNOWN
        self._add("kind", kind)
        text = None if shape is None else self._text(batch, shape, recipe)
        told, counts, tags = _turns(batch.get(TURNS), len(lengths))
        if text is None:
            self.counted &= bool((told | ~fine).all())
        else:
            self._check(counts, text, fine & told)
            counts = np.where(told, counts, text.counts)
            single = np.where(~told & (text.counts == 1), lengths, UNKNOWN).repeat(counts)
            single[told.repeat(counts)] = tags
            tags = single
        kept = fine.repeat(counts)
        rows = np.arange(self.rows, self.rows + len(lengths)).repeat(counts)
        self._add("query_row", rows[kept])
        self._add("query_tags", tags[kept])
        self._add("unread", fine & (text.counts == 0) if text is not None else np.zeros(len(lengths), bool))
        self._add_text(text, counts, fine)

    def _add_text(self, text: _Text | None, counts: np.ndarray, fine: np.ndarray) -> None:
        """Line up lengths with queries; a row whose text cannot be read may still tell its number of queries."""
        total = int(counts[fine].sum())
        chars, cut = np.full(total, UNKNOWN), np.zeros(total, bool)
        if text is not None:
            known = (fine & (text.counts > 0)).repeat(counts)[fine.repeat(counts)]
            chars[known] = text.chars[fine.repeat(text.counts)]
            cut[known] = text.cut[fine.repeat(text.counts)]
        self._add("query_chars", chars)
        self._add("query_cut", cut)

    def _check(self, counts: np.ndarray, text: _Text, told: np.ndarray) -> None:
        wrong = np.flatnonzero(told & (text.counts > 0) & (text.counts != counts))
        if len(wrong):
            raise InputError(
                f'report: row {self.rows + wrong[0]}: expected {counts[wrong[0]]} queries as in "{TURNS}", found '
                f"{text.counts[wrong[0]]}. Say which turns were tagged with turns=, or which column with query=."
            )

    def _text(self, batch: Mapping[str, _Column], shape: Shape, recipe: Recipe | None) -> _Text:
        counts, texts = _read_texts(batch, shape, self.asked)
        cut = np.zeros(len(texts), bool) if recipe is None else _is_cut(texts, recipe)
        return _Text(counts, pc.utf8_length(texts).to_numpy(zero_copy_only=False), cut)

    def _kind(self, batch: Mapping[str, _Column], length: int) -> np.ndarray:
        kind = np.full(length, UNKNOWN)
        if ERROR in batch:
            errors = pc.fill_null(as_texts(batch[ERROR]), "")
            failed = pc.not_equal(errors, "")
            names = [text.partition(":")[0] for text in errors.filter(failed).to_pylist()]
            kind[failed.to_numpy(zero_copy_only=False)] = [self.kinds.setdefault(n, len(self.kinds)) for n in names]
        return kind

    def _part(self, batch: Mapping[str, _Column], data: Any) -> np.ndarray:
        values = batch[str(self.asked.by)]
        values = values.to_pylist() if isinstance(values, pa.Array) else values
        nested = next((value for value in values if isinstance(value, list | Mapping)), None)
        if nested is not None:
            raise InputError(
                f'report: expected one value a row in "{self.asked.by}", found {str(nested)[:80]}. '
                "Choose a column that names sources or splits."
            )
        classes = class_names(data, self.asked.by)
        named = {value: label(value, classes) or NO_VALUE for value in set(values)}
        for name in sorted(named.values()):
            self.parts.setdefault(name, len(self.parts))
        if len(self.parts) > MOST_PARTS:
            raise InputError(
                f'report: expected at most {MOST_PARTS} different values in "{self.asked.by}", found more. '
                "Choose a column that names sources or splits."
            )
        return np.array([self.parts[named[value]] for value in values], np.int32)

    def _recipe(self, data: Any, names: Sequence[str]) -> Recipe | None:
        """Find what bound the queries had: as asked, else that of the one recipe that the taggers name."""
        taggers: Counter[str] = Counter()
        for batch in _batches(data, [TAGGER]) if TAGGER in names else ():
            taggers.update(count_taggers(batch[TAGGER]))
        self.taggers += taggers
        if self.asked.recipe is not None:
            return load_recipe(self.asked.recipe) if isinstance(self.asked.recipe, str) else self.asked.recipe
        used = {tagger.rpartition("#")[0].rpartition("/")[2] for tagger in taggers}
        return load_recipe(*used) if len(used) == 1 and used <= set(recipe_names()) else None

    def _add(self, name: str, values: np.ndarray) -> None:
        self.arrays[name].append(values)

    def finish(self, tags: TagColumn) -> Rows:
        if len(self.taggers) > 1 and not self.asked.mixed:
            told = ", ".join(f"{name} ({rows:,} rows)" for name, rows in self.taggers.most_common())
            raise InputError(f"report: expected rows of one tagger, found {told}. Allow it with mixed=True.")
        arrays = {name: np.concatenate(parts) for name, parts in self.arrays.items()}
        return Rows(
            column=self.column,
            tags=tags,
            parts=list(self.parts) or ["all"],
            part=arrays["part"].astype(np.int32),
            kinds=list(self.kinds),
            kind=arrays["kind"].astype(np.int32),
            unread=arrays["unread"],
            query_row=arrays["query_row"] if self.counted else None,
            query_tags=arrays["query_tags"],
            query_chars=arrays["query_chars"],
            query_cut=arrays["query_cut"] if self.bounded else None,
            taggers=tuple(sorted(self.taggers)),
            recipes=tuple(sorted(self.recipes)),
        )


def _turns(values: _Column | None, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which rows tell their queries (adopted tags do not), how many, and the tags of each query told."""
    if values is None:
        return np.zeros(rows, bool), np.zeros(rows, np.int64), np.zeros(0, np.int64)
    lists = pa.array(values, pa.list_(pa.int32())) if isinstance(values, list) else values
    try:
        lists = lists.cast(pa.large_list(pa.int64()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f'report: expected "{TURNS}" to be lists of numbers, found {lists.type}.') from error
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    told = lists.is_valid().to_numpy(zero_copy_only=False)
    return told, counts, lists.flatten().to_numpy(zero_copy_only=False)


def _is_cut(texts: pa.Array, recipe: Recipe) -> np.ndarray:
    """Find queries that the recipe cuts, counted as it counts: with its control strings broken up."""
    for marker in recipe.markers:
        texts = pc.replace_substring(texts, marker, f"{marker[:1]} {marker[1:]}")
    cut: np.ndarray = pc.greater(pc.binary_length(texts), recipe.max_query_bytes).to_numpy(zero_copy_only=False)
    return cut
