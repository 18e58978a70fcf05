"""What a method of choosing is, and the methods that take rows in one fixed order."""

import abc
import dataclasses
from typing import ClassVar

import numpy as np

from instag_hf.selection.limits import Gate
from instag_hf.selection.pool import Pool, counts_of, steady


@dataclasses.dataclass(eq=False)
class Chosen:
    """Rows in the order chosen, with the round and the gain of each.

    Attributes:
        rows: Row numbers.
        rounds: The round that took each row, from 1 on; 0 where it was taken for a quota.
        gains: What the method valued each row by.
        notes: What the user should hear about.
    """

    rows: list[int] = dataclasses.field(default_factory=list)
    rounds: list[int] = dataclasses.field(default_factory=list)
    gains: list[float] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def add(self, row: int, *, round_number: int, gain: float) -> None:
        """Add one row."""
        self.rows.append(row)
        self.rounds.append(round_number)
        self.gains.append(gain)


class Method(abc.ABC):
    """A way to choose rows.

    Attributes:
        name: What `select(method=…)` and the command line call it.
        needs_tags: Whether rows without tags can never be chosen.
        needs_text: Whether `Pool.lengths` must be there.
        seeded: Whether another seed gives other rows.
    """

    name: ClassVar[str]
    needs_tags: ClassVar[bool] = True
    needs_text: ClassVar[bool] = False
    seeded: ClassVar[bool] = False

    @property
    def earlier(self) -> int:
        """How many selections of the same size are made first, whose rows are out."""
        return 0

    @property
    def for_quotas(self) -> "Method":
        """The method that picks the rows which quotas ask for: itself, on the rows that help one."""
        return self

    @abc.abstractmethod
    def choose(self, pool: Pool, gate: Gate, n: int, *, seed: int, before: np.ndarray) -> Chosen:
        """Choose up to `n` of the rows that `gate` holds open.

        Args:
            pool: The rows.
            gate: Which of them may be taken; told of every row that is.
            n: How many, 1 or more.
            seed: Of what is drawn.
            before: Rows that were taken already, and count as the beginning of the selection.
        """


class InOrder(Method):
    """Takes rows in one order, whatever was taken before."""

    @abc.abstractmethod
    def order(self, pool: Pool, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows in order, and the value of each."""

    def choose(self, pool: Pool, gate: Gate, n: int, *, seed: int, before: np.ndarray) -> Chosen:
        """Take the first `n` open rows of the order; see `Method`."""
        order, gains = self.order(pool, np.flatnonzero(gate.open), seed)
        if not gate.limits:
            rows = order[:n]
            gate.open[rows] = False
            return Chosen(rows.tolist(), [1] * len(rows), gains[:n].tolist())
        chosen = Chosen()
        for row, gain in zip(order.tolist(), gains.tolist(), strict=True):
            if len(chosen.rows) == n:
                break
            if gate.open[row]:
                gate.take(row)
                chosen.add(row, round_number=1, gain=gain)
        return chosen


@dataclasses.dataclass(frozen=True)
class Rarity(InOrder):
    """Take the rows with the rarest tags: the sum over a row's tags of log(rows / rows with the tag).

    The weight that InsCL gives an instruction. It favours rows with many tags as well as rare ones.
    """

    name: ClassVar[str] = "rarity"

    def order(self, pool: Pool, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Sort by rarity, the highest first, ties by row number."""
        frequent = counts_of(pool.tags, np.flatnonzero(pool.open))
        rarity = np.log(max(int(pool.open.sum()), 1) / np.maximum(frequent, 1))
        sums = np.bincount(pool.tags.row_numbers, weights=rarity[pool.tags.codes], minlength=len(pool))
        return descending(pool.weighted(steady(sums)), rows)


@dataclasses.dataclass(frozen=True)
class Random(InOrder):
    """Draw rows, each with the same chance or one in proportion to its weight: the control for every other method.

    Draws belong to row numbers, so rows in another order give another choice.
    """

    name: ClassVar[str] = "random"
    needs_tags: ClassVar[bool] = False
    seeded: ClassVar[bool] = True

    def order(self, pool: Pool, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Sort by a draw for each row."""
        order = draw(pool, rows, seed)
        return order, np.ones(len(order)) if pool.weights is None else pool.weights[order]


@dataclasses.dataclass(frozen=True)
class Longest(InOrder):
    """Take the rows with the longest queries, in characters: the control for what tag counts owe to length."""

    name: ClassVar[str] = "longest"
    needs_tags: ClassVar[bool] = False
    needs_text: ClassVar[bool] = True

    def order(self, pool: Pool, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Sort by length, the longest first, ties by row number."""
        return descending(pool.weighted(pool.characters.astype(np.float64)), rows)


def descending(values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort some rows by a value of each row, the highest first, ties by row number.

    Returns:
        The rows in order, and the value of each.
    """
    of_rows = values[rows]
    whole = of_rows.astype(np.int64)
    if (whole == of_rows).all() and len(rows) and whole.min() >= 0 and whole.max() < 1 << 16:
        order = np.argsort((whole.max() - whole).astype(np.uint16), kind="stable")  # a radix sort, for ten million rows
    else:
        order = np.argsort(-of_rows, kind="stable")
    return rows[order], of_rows[order]


def draw(pool: Pool, rows: np.ndarray, seed: int) -> np.ndarray:
    """Shuffle some rows; the higher a row's weight, the sooner it comes, in proportion.

    Takes the raw bits of the generator, which do not change from one release of NumPy to the next.
    """
    uniform = (np.random.PCG64(seed).random_raw(len(pool)) >> np.uint64(11)) * 2.0**-53
    if pool.weights is None:
        return rows[np.argsort(uniform[rows], kind="stable")]
    with np.errstate(divide="ignore", invalid="ignore"):
        waits = np.where(pool.weights > 0, steady(-np.log1p(-uniform) / pool.weights), np.inf)
    return rows[np.argsort(waits[rows], kind="stable")]
