"""Columns of tags in, the rows worth keeping out: the paper's sampling, its controls, and information gain.

Algorithms 1 to 3 are of the paper's appendix H.
"""

import dataclasses
import warnings
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from instag_hf.errors import InputError
from instag_hf.rows.columns import TagColumn
from instag_hf.selection.gains import InformationGain
from instag_hf.selection.limits import Gate, check_quotas, read_limits
from instag_hf.selection.methods import Chosen, Longest, Method, Random, Rarity
from instag_hf.selection.pool import Bounds, Pool, Rules, counts_of, read_pool
from instag_hf.selection.rounds import ComplexityBands, ComplexityFirst, CoverageLevels, codes_of

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "METHODS",
    "ComplexityBands",
    "ComplexityFirst",
    "CoverageLevels",
    "InformationGain",
    "Longest",
    "Method",
    "Random",
    "Rarity",
    "Rules",
    "Selection",
    "choose",
    "select",
]

ROUND = "instag_round"
GAIN = "instag_gain"

_ALL: tuple[type[Any], ...] = (
    ComplexityFirst,
    ComplexityBands,
    CoverageLevels,
    InformationGain,
    Rarity,
    Random,
    Longest,
)
METHODS: dict[str, type[Any]] = {kind.name: kind for kind in _ALL}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """Which rows were chosen, in which order, and why.

    Attributes:
        method: How they were chosen.
        asked: How many rows were asked for.
        pool_rows: How many rows there were, also those that could not be chosen.
        indices: Shape (chosen,), int64: row numbers in the order chosen.
        rounds: Shape (chosen,), int32: the round that took each row, from 1 on; 0 for a row that a quota asked for.
        gains: Shape (chosen,), float64: what the method valued each row by: the number of tags it brought, its
            information gain, rarity, length, or weight in a draw.
        brought: The tags that each row brought, those that no earlier row of its round had. Rows taken for quotas count
            as the beginning of the first round.
        coverage: Share of the tags of all rows that could be chosen, 0 to 1.
        complexity: Tags for each chosen row, on average.
        skipped: Rows that could not be chosen, by the reason: kinds of failures, "excluded", "no tags", "no text".
        rules: What held whatever the method, the seed among it; `records.facts_of` writes it down.
        notes: What the user should hear about.
    """

    method: Method
    asked: int
    pool_rows: int
    indices: np.ndarray
    rounds: np.ndarray
    gains: np.ndarray
    brought: list[list[str]]
    coverage: float
    complexity: float
    skipped: Counter[str]
    rules: Rules = Rules()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Count the chosen rows."""
        return len(self.indices)

    def rows(self, ds: "Dataset", *, reasons: bool = False) -> "Dataset":
        """Take the chosen rows out of the dataset they were chosen from, in the order chosen.

        Args:
            ds: The dataset.
            reasons: Whether to add the columns `instag_round` and `instag_gain`, the tags that each row brought.

        Raises:
            InputError: `ds` has another number of rows, or has one of these columns already.
        """
        from datasets import List, Value

        if len(ds) != self.pool_rows:
            raise InputError(
                f"select: expected the dataset of {self.pool_rows:,} rows that was chosen from, found {len(ds):,} rows."
            )
        chosen = ds.select(self.indices)
        if not reasons:
            return chosen
        taken = [name for name in (ROUND, GAIN) if name in ds.column_names]
        if taken:
            raise InputError(
                f"select: the dataset already has the columns {taken}. Remove them with ds.remove_columns, or leave "
                "reasons out."
            )
        chosen = chosen.add_column(ROUND, self.rounds, feature=Value("int32"))
        return chosen.add_column(GAIN, self.brought, feature=List(Value("string")))


def select(
    ds: "Dataset",
    n: int,
    method: str | Method = "complexity-first",
    *,
    column: str | None = None,
    seed: int = 42,
    per_tag: Bounds | None = None,
    per_source: Bounds | None = None,
    source_column: str = "source",
    exclude: "Dataset | Iterable[str] | None" = None,
    match: str = "folded",
    weight_column: str | None = None,
    text_column: str | None = None,
    mixed: bool = False,
    reasons: bool = False,
) -> "Dataset":
    """Select `n` rows that stand for many tags and hard queries; by default the paper's Algorithm 1 (appendix H).

    The same input and seed give the same rows on any machine. The order of the input decides ties only, except for
    methods that draw ("random", "coverage-levels"), whose draws belong to row numbers. Rows that failed are never
    selected. If fewer rows than `n` can be taken, a warning says so.

    Args:
        ds: Tagged rows.
        n: How many rows, 1 or more.
        method: A name, or an object for settings of its own: "complexity-first", "complexity-bands",
            "coverage-levels", "information-gain", "rarity", "random", "longest"; the classes are in
            `instag_hf.selection`.
        column: The column of tag lists; `None` takes `instag_normalized`, else `instag_tags` with a warning.
        seed: Of what is drawn, 0 or more.
        per_tag: A cap for every tag, or caps and quotas as in `Rules`: `{"poetry": 50, "math": (100, None)}`. A row
            counts for each of its tags.
        per_source: The same for sources. Rows that quotas ask for are taken first.
        source_column: Where a row says which dataset it is from.
        exclude: A dataset, or texts, none of whose queries may be chosen, such as a benchmark's.
        match: When two queries are equal: "exact", or "folded", without regard to case and white space.
        weight_column: Numbers from 0 on that make a row more wanted, such as a quality; see `Rules`.
        text_column: The column that holds the query, where lengths or `exclude` need it.
        mixed: Whether rows may be of several taggers.
        reasons: Whether to add the columns `instag_round` and `instag_gain`, the tags that each row brought.

    Returns:
        The rows in the order chosen, all columns kept.

    Raises:
        InputError: The call cannot work, no row can be chosen, or a quota cannot be met.

    Example:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"instag_normalized": [["math"], ["math", "proof"], ["poetry"], ["math"]]})
        >>> select(ds, 3)["instag_normalized"][:]
        [['math', 'proof'], ['poetry'], ['math']]
    """
    rules = Rules(
        column=column,
        seed=seed,
        per_tag=per_tag,
        per_source=per_source,
        source_column=source_column,
        exclude=exclude,
        match=match,
        weight_column=weight_column,
        text_column=text_column,
        mixed=mixed,
    )
    selection = choose(ds, n, method, rules)
    for note in selection.notes:
        warnings.warn(note, stacklevel=2)
    return selection.rows(ds, reasons=reasons)


def choose(ds: "Dataset", n: int, method: str | Method = "complexity-first", rules: Rules | None = None) -> Selection:
    """Choose rows as `select` does, and return which and why instead of the rows themselves.

    Raises:
        InputError: As in `select`.

    Example:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"instag_normalized": [["math"], ["math", "proof"], ["poetry"], ["math"]]})
        >>> selection = choose(ds, 3)
        >>> selection.indices.tolist(), selection.rounds.tolist(), selection.brought
        ([1, 2, 0], [1, 1, 2], [['math', 'proof'], ['poetry'], ['math']])
    """
    rules = rules or Rules()
    how = method_of(method)
    n = check_n(n)
    pool = read_pool(ds, rules, lengths=how.needs_text)
    return choose_from(pool, n, how, rules)


def choose_from(pool: Pool, n: int, method: Method, rules: Rules) -> Selection:
    """Choose rows of a pool that was read already.

    Raises:
        InputError: As in `select`.
    """
    skipped = pool.skipped.copy()
    if method.needs_tags:
        available = pool.open & (pool.tags.lengths > 0)
        skipped["no tags"] = int(pool.open.sum() - available.sum())
        pool = dataclasses.replace(pool, open=available)
    left = pool.open.copy()
    for _ in range(method.earlier):
        left[_choose(pool, left, n, method, rules).rows] = False
    chosen = _choose(pool, left, n, method, rules)
    if not chosen.rows:
        told = ", ".join(f"{count:,} {reason}" for reason, count in skipped.items() if count)
        raise InputError(
            f"select: expected rows that {method.name} can choose, found none among {len(pool):,} rows"
            + (f" ({told})" if told else "")
            + (f", {method.earlier} bands before this one having taken all" if method.earlier else "")
            + ". Tag the rows first, or loosen what is excluded."
        )
    notes = [*pool.notes, *chosen.notes]
    if len(chosen.rows) < n:
        notes.append(
            f"select: expected {n:,} rows, found {len(chosen.rows):,} that {method.name} can take; "
            "no other row is left" + (" that the caps allow." if rules.per_tag or rules.per_source else ".")
        )
    indices = np.array(chosen.rows, np.int64)
    covered, of_all = np.count_nonzero(counts_of(pool.tags, indices)), np.count_nonzero(pool.counts)
    return Selection(
        method=method,
        asked=n,
        pool_rows=len(pool),
        indices=indices,
        rounds=np.array(chosen.rounds, np.int32),
        gains=np.array(chosen.gains, np.float64),
        brought=list(_brought(pool.tags, chosen)),
        coverage=covered / of_all if of_all else 0.0,
        complexity=float(pool.tags.lengths[indices].mean()),
        skipped=+skipped,
        rules=rules,
        notes=tuple(notes),
    )


def method_of(method: str | Method) -> Method:
    """Return a method of its name, with its default settings.

    Raises:
        InputError: There is no such method.
    """
    if not isinstance(method, str):
        return method
    if method not in METHODS:
        raise InputError(f"select: expected one of the methods {list(METHODS)}, found {method!r}.")
    made: Method = METHODS[method]()
    return made


def check_n(n: int) -> int:
    """Refuse a number of rows that cannot be meant, and return it as a number that JSON has.

    Raises:
        InputError: `n` is no whole number from 1 on.
    """
    if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 1:
        raise InputError(f"select: expected n to be a whole number from 1 on, found {n!r}.")
    return int(n)


def _choose(pool: Pool, left: np.ndarray, n: int, method: Method, rules: Rules) -> Chosen:
    """Take the rows that quotas ask for, then the rest, by the same method."""
    limits = read_limits(pool, rules, n)
    first = Chosen()
    nobody = np.zeros(0, np.int64)
    if any(limit.least.any() for limit in limits):
        needed = Gate(left, limits, quotas_only=True)
        first = method.for_quotas.choose(pool, needed, n, seed=rules.seed, before=nobody)
        check_quotas(limits, n)
    before = np.array(first.rows, np.int64)
    rest = Chosen()
    if len(before) < n:
        left = left.copy()
        left[before] = False
        rest = method.choose(pool, Gate(left, limits), n - len(before), seed=rules.seed, before=before)
    return Chosen(
        first.rows + rest.rows, [0] * len(before) + rest.rounds, first.gains + rest.gains, first.notes + rest.notes
    )


def _brought(tags: TagColumn, chosen: Chosen) -> Iterable[list[str]]:
    seen: set[int] = set()
    current = 1
    for row, number in zip(chosen.rows, chosen.rounds, strict=True):
        if number > current:
            seen, current = set(), number
        codes = [code for code in codes_of(tags, row) if code not in seen]
        seen.update(codes)
        yield [tags.names[code] for code in codes]
