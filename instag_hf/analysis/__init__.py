"""Tagged datasets in, `Report` out: diversity, complexity and what else there is to see (paper section 3.4).

Diversity is the share of a vocabulary that a dataset's tags cover, complexity the mean number of tags of its queries.
The number of tags grows with the length of a query, so the report says how strongly it does.
"""

import dataclasses
import html
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from instag_hf.analysis.counting import expected_tags, most_frequent_pairs, rank_correlation
from instag_hf.analysis.reading import UNKNOWN, Asked, Rows, read_rows
from instag_hf.errors import InputError
from instag_hf.normalizer import FunnelStep, TagNormalizer
from instag_hf.prompts import Recipe
from instag_hf.rows.columns import TagColumn

if TYPE_CHECKING:
    from instag_hf.rows.columns import Tagged

SHOWN = 20


class Normalizer(Protocol):
    """What a report needs to know of a normalizer: `TagNormalizer` fits, and so does `Vocabulary`."""

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """Canonical tags, and the rows that had them when it was fitted."""

    @property
    def funnel(self) -> Sequence[FunnelStep]:
        """What each step left."""


class Vocabulary(NamedTuple):
    """A list of tags to measure coverage of, where there is no normalizer."""

    vocabulary: Mapping[str, int]
    funnel: Sequence[FunnelStep] = ()


class TagCount(NamedTuple):
    """A tag, and the rows that have it."""

    tag: str
    rows: int


class PairCount(NamedTuple):
    """Two tags in alphabetical order, and the rows that have both."""

    first: str
    second: str
    rows: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lengths:
    """Length of queries in characters, and how the number of tags goes with it.

    Attributes:
        queries: Queries whose text was read.
        mean: Characters.
        median: Characters.
        p95: Characters that 95 % of the queries do not exceed.
        correlation: Spearman's between length and tags of a query, -1 to 1; `None` where tags are not known query by
            query, or all are equal.
    """

    queries: int
    mean: float
    median: float
    p95: float
    correlation: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What is in one dataset, split or source. A share or mean of nothing is `None`.

    Attributes:
        rows: All rows.
        failures: Rows that failed, by kind; they count in nothing below.
        unread: Rows that did not fail, whose query cannot be read; they lack in `lengths` alone.
        queries: Queries; `None` where neither a column of queries nor `instag_turns` tells.
        cut: Queries that were longer than the recipe's bound; `None` where the recipe is not known.
        tags: Distinct tags.
        assignments: Tags of all rows, each once a row.
        coverage: Diversity: the share of the vocabulary that is in the tags, 0 to 1.
        tags_per_query: Complexity: mean number of tags over all queries, as `instag_turns` has them; a row without
            counts its own tags if it is one query. `None` where such a row is several.
        tags_per_row: Mean number of counted tags over rows.
        distribution: Rows by number of tags.
        spectrum: Tags by number of rows.
        curve: Sizes of random subsets, and the coverage that is expected of them (exact, nothing is drawn).
        lengths: Length of queries; `None` where none was read.
        top: The most frequent tags.
        rare: The rarest tags.
        pairs: The most frequent pairs of tags.
        alone: Tags that no other dataset of the report has; 0 where there is no other.
        alone_top: The most frequent of them.
    """

    rows: int
    failures: dict[str, int]
    unread: int
    queries: int | None
    cut: int | None
    tags: int
    assignments: int
    coverage: float | None
    tags_per_query: float | None
    tags_per_row: float | None
    distribution: dict[int, int]
    spectrum: dict[int, int]
    curve: tuple[tuple[int, float], ...]
    lengths: Lengths | None
    top: tuple[TagCount, ...]
    rare: tuple[TagCount, ...]
    pairs: tuple[PairCount, ...]
    alone: int = 0
    alone_top: tuple[TagCount, ...] = ()

    @property
    def failed(self) -> int:
        """All rows that failed."""
        return sum(self.failures.values())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What `report` found; `print` shows it as tables.

    Attributes:
        column: The column of tags that was counted.
        taggers: Who tagged, where rows say so.
        recipes: The recipes whose bound decides which queries were cut.
        vocabulary: Tags that coverage is a share of.
        of_union: Whether these are the tags of all datasets together, for lack of a normalizer's vocabulary.
        total: All rows together.
        parts: Each dataset, split or value of `by`; empty where nothing is compared.
        recall: `recall[row][column]` is the share of row's tags that column has too (paper figure 2b), 0 to 1.
        funnel: What each step of normalizing left when the normalizer was fitted.
    """

    column: str
    taggers: tuple[str, ...]
    recipes: tuple[str, ...]
    vocabulary: int
    of_union: bool
    total: Summary
    parts: dict[str, Summary]
    recall: dict[str, dict[str, float | None]]
    funnel: tuple[FunnelStep, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        plain = dataclasses.asdict(self)
        for summary in (plain["total"], *plain["parts"].values()):
            for name in ("top", "rare", "pairs", "alone_top"):
                summary[name] = [item._asdict() for item in summary[name]]
            for name in ("distribution", "spectrum"):
                summary[name] = {str(number): count for number, count in summary[name].items()}
            summary["curve"] = [list(point) for point in summary["curve"]]
        return {
            **plain,
            "taggers": list(self.taggers),
            "recipes": list(self.recipes),
            "funnel": [step._asdict() for step in self.funnel],
        }

    def __str__(self) -> str:
        from instag_hf.analysis.tables import lines

        return "\n".join(lines(self))

    def _repr_html_(self) -> str:
        """Show the tables in a notebook; a tag is a stranger's text."""
        return f'<pre style="white-space: pre; overflow-x: auto">{html.escape(str(self))}</pre>'


def report(
    data: "Tagged | Mapping[str, Tagged]",
    *,
    normalizer: Normalizer | None = None,
    column: str | None = None,
    by: str | None = None,
    query: str | None = None,
    turns: str = "all",
    recipe: Recipe | str | None = None,
    mixed: bool = False,
    shown: int = SHOWN,
) -> Report:
    """Count what is in a tagged dataset, or compare several as the paper does (section 3.4).

    Failed rows are counted by kind and skipped. Where `instag_turns` says how many tags each query has, complexity by
    query is of those, as the tagger gave them: a row's normalized tags are no longer told apart by query.

    Args:
        data: A dataset, also a streaming one; several by their names, such as a `DatasetDict`; or lists of tags.
        normalizer: Whose vocabulary coverage is a share of, and whose funnel is shown; without one coverage is a share
            of all tags in `data`.
        column: The column of tags; `instag_normalized` by default, where it is not there `instag_tags`.
        by: A column whose values are compared with each other, such as "source".
        query: The column of queries; found by its name by default, as when tagging.
        turns: Which user turns were tagged: "all", "first" or "last".
        recipe: Whose bound decides which queries were cut; by default the shipped recipe that `instag_tagger` names.
        mixed: Whether rows may be of several taggers.
        shown: How many top tags, rare tags and pairs to keep.

    Raises:
        InputError: A column is missing or of the wrong type, rows of several taggers are mixed, or raw tags would be
            measured by a `TagNormalizer` without `column`.

    Example:
        >>> found = report([["math", "sums"], ["math"]])
        >>> found.total.tags, found.total.tags_per_row
        (2, 1.5)
    """
    if shown < 0:
        raise InputError(f"report: expected shown of 0 or more, found {shown}.")
    canonical = isinstance(normalizer, TagNormalizer)
    asked = Asked(column=column, by=by, query=query, turns=turns, recipe=recipe, mixed=mixed, normalized=canonical)
    rows = read_rows(data, asked)
    names = rows.tags.names
    known = dict.fromkeys(names, 0) if normalizer is None else normalizer.vocabulary
    inside = np.array([name in known for name in names], bool)
    fine = rows.kind == UNKNOWN
    everything = np.ones(len(fine), bool)
    total = _summary(rows, everything, _only(rows.tags, fine), inside, len(known), shown)
    parts: dict[str, Summary] = {}
    counts = []
    for place in _order(rows, by is not None) if by is not None or isinstance(data, Mapping) else ():
        mine = rows.part == place
        tags = _only(rows.tags, mine & fine)
        parts[rows.parts[place]] = _summary(rows, mine, tags, inside, len(known), shown)
        counts.append(tags.counts)
    present = np.array([each > 0 for each in counts], bool).reshape(len(parts), len(names))
    if len(parts) > 1:
        single = present.sum(axis=0) == 1
        parts = {
            name: _with_alone(part, names, each * single, shown)
            for (name, part), each in zip(parts.items(), counts, strict=True)
        }
    return Report(
        column=rows.column,
        taggers=rows.taggers,
        recipes=rows.recipes,
        vocabulary=len(known),
        of_union=normalizer is None,
        total=total,
        parts=parts,
        recall=_recall(list(parts), present),
        funnel=tuple(normalizer.funnel) if normalizer else (),
    )


def _only(column: TagColumn, rows: np.ndarray) -> TagColumn:
    """Keep some rows, and all names."""
    starts = np.concatenate([[0], np.cumsum(column.lengths[rows])])
    return TagColumn(column.names, column.codes[rows.repeat(column.lengths)], starts)


def _order(rows: Rows, by_size: bool) -> list[int]:
    """Keep datasets in the order given, and put the values of a column in that of their rows."""
    sizes = np.bincount(rows.part, minlength=len(rows.parts))
    places = range(len(rows.parts))
    return sorted(places, key=lambda place: (-sizes[place], rows.parts[place])) if by_size else list(places)


def _summary(
    rows: Rows, mine: np.ndarray, column: TagColumn, inside: np.ndarray, vocabulary: int, shown: int
) -> Summary:
    """Summarize the rows that are `mine`; `column` has the tags of those that did not fail."""
    fine = mine & (rows.kind == UNKNOWN)
    counts, lengths = column.counts, column.lengths
    failures = np.bincount(rows.kind[mine & ~fine], minlength=len(rows.kinds)).tolist()
    covered = expected_tags(counts[inside], len(lengths))
    return Summary(
        rows=int(mine.sum()),
        failures={kind: count for kind, count in zip(rows.kinds, failures, strict=True) if count},
        unread=int(rows.unread[mine].sum()),
        tags=int((counts > 0).sum()),
        assignments=int(counts.sum()),
        coverage=int((counts[inside] > 0).sum()) / vocabulary if vocabulary else None,
        tags_per_row=float(lengths.mean()) if len(lengths) else None,
        distribution=_tally(lengths),
        spectrum=_tally(counts[counts > 0]),
        curve=tuple((size, tags / vocabulary) for size, tags in covered) if vocabulary else (),
        top=_ranked(column.names, counts, shown),
        rare=_ranked(column.names, counts, shown, rarest=True),
        pairs=tuple(PairCount(*pair) for pair in most_frequent_pairs(column, shown)) if shown else (),
        **_of_queries(rows, fine),
    )


def _of_queries(rows: Rows, fine: np.ndarray) -> dict[str, Any]:
    if rows.query_row is None:
        return {"queries": None, "cut": None, "tags_per_query": None, "lengths": None}
    mine = fine[rows.query_row]
    tags, chars = rows.query_tags[mine], rows.query_chars[mine]
    return {
        "queries": len(tags),
        "cut": None if rows.query_cut is None else int(rows.query_cut[mine].sum()),
        "tags_per_query": float(tags.mean()) if len(tags) and (tags != UNKNOWN).all() else None,
        "lengths": _lengths(tags, chars),
    }


def _lengths(tags: np.ndarray, chars: np.ndarray) -> Lengths | None:
    read = chars != UNKNOWN
    tags, chars = tags[read], chars[read]
    if not len(chars):
        return None
    return Lengths(
        queries=len(chars),
        mean=float(chars.mean()),
        median=float(np.median(chars)),
        p95=float(np.quantile(chars, 0.95, method="inverted_cdf")),
        correlation=rank_correlation(chars, tags) if (tags != UNKNOWN).all() else None,
    )


def _tally(values: np.ndarray) -> dict[int, int]:
    numbers, counts = np.unique(values, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def _ranked(names: Sequence[str], counts: np.ndarray, most: int, *, rarest: bool = False) -> tuple[TagCount, ...]:
    """Take the most frequent tags, or the rarest, the first in the alphabet where rows are equal."""
    there = np.flatnonzero(counts)
    if not most or not len(there):
        return ()
    sign = 1 if rarest else -1
    values = sign * counts[there]
    if len(there) > most:
        there = there[values <= np.partition(values, most - 1)[most - 1]]
    ordered = sorted(there.tolist(), key=lambda code: (sign * counts[code], names[code]))
    return tuple(TagCount(names[code], int(counts[code])) for code in ordered[:most])


def _with_alone(summary: Summary, names: Sequence[str], counts: np.ndarray, shown: int) -> Summary:
    return dataclasses.replace(summary, alone=int((counts > 0).sum()), alone_top=_ranked(names, counts, shown))


def _recall(labels: Sequence[str], present: np.ndarray) -> dict[str, dict[str, float | None]]:
    shared = np.zeros((len(labels), len(labels)), np.int64)
    for some in _slices(present):
        shared += (some @ some.T).astype(np.int64)
    own = shared.diagonal()
    return {
        one: {other: int(shared[i, j]) / int(own[i]) if own[i] else None for j, other in enumerate(labels)}
        for i, one in enumerate(labels)
    }


def _slices(present: np.ndarray, width: int = 100_000) -> Iterator[np.ndarray]:
    """Cut a wide table into narrow ones of floats: products of floats are fast, and exact for counts as small."""
    for begin in range(0, present.shape[1], width):
        yield present[:, begin : begin + width].astype(np.float32)
