"""Information gain (MIG, arXiv 2504.13835): each row is the one that adds most to tags which have little so far."""

import dataclasses
from typing import ClassVar

import numpy as np

from instag_hf.embeddings import Embedder, embed
from instag_hf.errors import InputError
from instag_hf.selection.limits import Gate
from instag_hf.selection.methods import Chosen, Method
from instag_hf.selection.pool import Pool, gather, steady
from instag_hf.selection.rounds import codes_of

OFFSET = 1e-6  # keeps the gradient finite where a tag has nothing yet
REFRESHED = 1 << 15  # rows whose gains are brought up to date at once
WATCHED = 1 << 10  # rows whose gains are brought up to date at every step
BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class InformationGain(Method):
    """Take the row of the greatest information gain, again and again (MIG, section 3; no part of InsTag).

    A row carries its weight to each of its tags, in equal shares with `normalize`, and from there along edges to tags
    of like meaning. What the chosen rows have carried to a tag is its state x; the gain of a row is what it carries to
    each tag times the gradient of x ** exponent, summed. This is the gradient form, exact at every step; gains that
    agree in nine digits are ties, and the row that comes first is taken.

    Attributes:
        exponent: Above 0, at most 1; the lower, the less a tag that has much is worth.
        normalize: Whether a row's weight is shared out among its tags; without, rows with many tags come first.
        embedder: Where the meanings of tags come from, as in `embeddings.embed`; `None` leaves edges out.
        min_similarity: Cosine from which two tags have an edge.
        propagation: What the cosines of edges are multiplied by, 0 or more.
    """

    name: ClassVar[str] = "information-gain"
    exponent: float = 0.8
    normalize: bool = True
    embedder: str | Embedder | None = None
    min_similarity: float = 0.9
    propagation: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what would make gains grow.

        Raises:
            InputError: A number is outside its range.
        """
        if not 0 < self.exponent <= 1:
            raise InputError(f"information-gain: expected an exponent above 0 and up to 1, found {self.exponent}.")
        if not 0 < self.min_similarity <= 1 or not 0 <= self.propagation < np.inf:
            raise InputError(
                "information-gain: expected a min_similarity above 0 and up to 1 and a propagation from 0 on, "
                f"found {self.min_similarity} and {self.propagation}."
            )

    def choose(self, pool: Pool, gate: Gate, n: int, *, seed: int, before: np.ndarray) -> Chosen:
        """Take the row of the greatest gain until there are `n` rows; see `Method`."""
        shares = np.ones(len(pool)) if pool.weights is None else pool.weights
        if self.normalize:
            shares = shares / np.maximum(pool.tags.lengths, 1)
        state = State(len(pool.tags.names), self.exponent, self._edges(pool.tags.names))
        for row in before.tolist():
            state.add(codes_of(pool.tags, row), shares[row])
        search = Search(pool, np.flatnonzero(gate.open), shares, state)
        chosen = Chosen()
        while len(chosen.rows) < n and (found := search.best()) is not None:
            row, gain = found
            chosen.add(row, round_number=1, gain=gain)
            state.add(codes_of(pool.tags, row), shares[row])
            search.close(gate.take(row))
        return chosen

    def _edges(self, names: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Connect tags of like meaning: tags, their neighbours, and the share that goes from one to the other."""
        if self.embedder is None or not names:
            return None
        vectors = embed(names, self.embedder).astype(np.float64)
        found = [(np.arange(len(names)), np.arange(len(names)), np.ones(len(names)))]
        for start in range(0, len(names), BLOCK):
            near = np.minimum(vectors[start : start + BLOCK] @ vectors.T, 1.0)
            tags, others = np.nonzero(near >= self.min_similarity)
            apart = tags + start != others
            tags, others = tags[apart], others[apart]
            found.append((tags + start, others, self.propagation * near[tags, others]))
        tags, others, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
        into = np.bincount(others, weights=weights, minlength=len(names))
        return tags, others, weights / into[others]


class State:
    """What every tag has so far, and what one more is worth to it.

    Attributes:
        worth: Shape (tags,): the gain of a row that carries 1 to this tag alone. Only falls.
    """

    def __init__(
        self, tags: int, exponent: float, edges: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    ) -> None:
        """Start from nothing; `edges` are tags, neighbours (each tag its own too) and shares."""
        self.exponent = exponent
        self.amounts = np.zeros(tags)
        self.gradient = self._gradient(self.amounts)
        self.edges = edges
        if edges is not None:
            by_tag = np.argsort(edges[0], kind="stable")
            self.edges = edges[0][by_tag], edges[1][by_tag], edges[2][by_tag]
            self.starts = np.searchsorted(self.edges[0], np.arange(tags + 1))
        self.worth = self._worth()

    def add(self, codes: list[int], share: float) -> None:
        """Let a row carry `share` to each of its tags."""
        if self.edges is None:
            self.amounts[codes] += share
            self.gradient[codes] = self._gradient(self.amounts[codes])
            return
        for code in codes:  # one after the other, for two tags may share a neighbour
            own = slice(self.starts[code], self.starts[code + 1])
            others = self.edges[1][own]
            self.amounts[others] += share * self.edges[2][own]
            self.gradient[others] = self._gradient(self.amounts[others])
        self.worth = self._worth()

    def _gradient(self, amounts: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.exponent * (amounts + OFFSET) ** (self.exponent - 1)
        return found

    def _worth(self) -> np.ndarray:
        if self.edges is None:
            return self.gradient
        tags, others, shares = self.edges
        return np.bincount(tags, weights=shares * self.gradient[others], minlength=len(self.amounts))


class Search:
    """Finds the row of the greatest gain without asking every row at every step.

    Gains only fall, so a gain that was true once is a bound for ever. Rows whose bounds are the highest are brought up
    to date, and the best of them are watched: as long as a watched row is above every bound of all others, it is the
    best of all rows. Then the next rows are brought up to date.
    """

    def __init__(self, pool: Pool, rows: np.ndarray, shares: np.ndarray, state: State) -> None:
        """Compute every row's gain once.

        Args:
            pool: The rows' tags.
            rows: Row numbers, rising, each of a row with tags.
            shares: Shape (pool rows,): what each row carries to each of its tags.
            state: What the tags are worth; changes between calls of `best`.
        """
        self.tags, self.shares, self.state = pool.tags, shares, state
        self.bounds = np.full(len(pool), -1.0)  # of a row that is closed: below every gain
        self.bounds[rows] = self._gains(rows)
        self._watch(rows[:0])
        self.floor, self.floor_row = 0.0, -1  # the highest bound among rows that are not watched, and its first row

    def best(self) -> tuple[int, float] | None:
        """Return the open row of the greatest gain, the first of equal ones, and its gain."""
        while True:
            if len(self.watched):
                gains = self._watched_gains()
                place = int(np.argmax(gains))  # the first of equal ones, and rows rise
                row, gain = int(self.watched[place]), float(gains[place])
                if gain >= 0 and (gain > self.floor or (gain == self.floor and row < self.floor_row)):
                    return row, gain
                self.bounds[self.watched] = gains
            if not self._look_further():
                return None

    def close(self, rows: np.ndarray) -> None:
        """Leave rows out from now on."""
        self.bounds[rows] = -1.0

    def _look_further(self) -> bool:
        rows, floor, floor_row = highest(self.bounds, np.flatnonzero(self.bounds >= 0), REFRESHED)
        if not len(rows):
            return False
        gains = self._gains(rows)
        self.bounds[rows] = gains
        sure = (gains > floor) | ((gains == floor) & (rows < floor_row))
        watched, low, low_row = highest(self.bounds, rows[sure], WATCHED)
        if len(watched) < np.count_nonzero(sure):  # others that are sure too are the next best
            floor, floor_row = low, low_row
        self.floor, self.floor_row = floor, floor_row
        self._watch(watched)
        return True

    def _watch(self, rows: np.ndarray) -> None:
        self.watched = rows
        self.codes, starts = gather(self.tags, rows)
        self.row_starts = starts[:-1]
        self.watched_shares = self.shares[rows]

    def _watched_gains(self) -> np.ndarray:
        sums = np.add.reduceat(self.state.worth[self.codes], self.row_starts)
        gains = steady(self.watched_shares * sums)
        gains[self.bounds[self.watched] < 0] = -1.0
        return gains

    def _gains(self, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.zeros(0)
        codes, starts = gather(self.tags, rows)
        return steady(self.shares[rows] * np.add.reduceat(self.state.worth[codes], starts[:-1]))


def highest(values: np.ndarray, rows: np.ndarray, most: int) -> tuple[np.ndarray, float, int]:
    """Take the rows of the highest values, of equal ones the first.

    Args:
        values: Shape (pool rows,).
        rows: Row numbers to take from, rising.
        most: How many at most.

    Returns:
        Row numbers, rising; then what a row must beat to be above all rows that were left: the value, and the row
        number that it must come before if it has just that value.
    """
    if len(rows) <= most:
        return rows, -np.inf, -1
    of_rows = values[rows]
    floor = np.partition(of_rows, len(rows) - most)[len(rows) - most]
    equal = np.flatnonzero(of_rows == floor)
    spare = most - np.count_nonzero(of_rows > floor)
    kept = of_rows > floor
    kept[equal[:spare]] = True
    first_left = int(rows[equal[spare]]) if spare < len(equal) else len(values)
    return rows[kept], float(floor), first_left
