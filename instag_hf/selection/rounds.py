"""Methods that go round: each round takes every row that brings a tag the round has not seen (paper, appendix H)."""

import dataclasses
from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import ClassVar

import numpy as np

from instag_hf.errors import InputError
from instag_hf.rows.columns import TagColumn
from instag_hf.selection.limits import Gate
from instag_hf.selection.methods import Chosen, Method, Random, descending, draw
from instag_hf.selection.pool import Pool, gather, stable_order


class Rounds:
    """Goes through rows in one order, round after round, and meets only the rows that it takes.

    What a round takes next is the first row, in order, that has a tag the round has not seen. Such a tag has no open
    row behind the round's place, for that row would have been taken; so the next row is the least of the tags' first
    open rows. A heap of these replaces the scan: one round costs its tags and its rows, whatever the pool's size.
    """

    def __init__(self, tags: TagColumn, order: np.ndarray, gate: Gate) -> None:
        """Find the rows of every tag.

        Args:
            tags: The tags of all rows.
            order: Row numbers, those to go through, in order.
            gate: Which rows may be taken; told of every row that is.
        """
        codes, starts = gather(tags, order)
        by_tag = stable_order(codes, len(tags.names))
        counts = np.bincount(codes, minlength=len(tags.names))
        ends = np.cumsum(counts)
        places = np.repeat(np.arange(len(order), dtype=np.int32), np.diff(starts))[by_tag]
        self.tags, self.gate = tags, gate
        # Python reads single items of a memoryview three times as fast as of an array.
        self.order, self.places, self.open = order.data, places.data, gate.open.data
        self.at, self.ends = [0, *ends[:-1].tolist()], ends.tolist()
        self.alive = np.flatnonzero(counts).tolist()

    def round(self, seen: set[int]) -> Iterator[tuple[int, int]]:
        """Take the rows of one round, in order.

        Args:
            seen: The codes of tags that the round has seen; grows.

        Yields:
            A row, and how many tags it brought.
        """
        width = len(self.tags.names)
        first = {tag: place for tag in self.alive if (place := self._first(tag)) is not None}
        self.alive = list(first)
        heap = [place * width + tag for tag, place in first.items() if tag not in seen]
        heapify(heap)
        while heap:
            place, tag = divmod(heappop(heap), width)
            row = self.order[place]
            if tag in seen:
                continue
            if not self.open[row]:
                later = self._first(tag)
                if later is not None:
                    heappush(heap, later * width + tag)
                continue
            brought = set(codes_of(self.tags, row)) - seen
            seen |= brought
            self.gate.take(row)
            yield row, len(brought)

    def _first(self, tag: int) -> int | None:
        at, end = self.at[tag], self.ends[tag]
        while at < end and not self.open[self.order[self.places[at]]]:
            at += 1
        self.at[tag] = at
        return self.places[at] if at < end else None


@dataclasses.dataclass(frozen=True)
class ComplexityFirst(Method):
    """Complexity-first diverse sampling, Algorithm 1 of the paper (appendix H).

    Rows are sorted once by their number of tags, the highest first, ties by row number. A round goes through the rows
    that are left and takes each that brings a tag the round has not seen; then the next round starts with no tag seen.
    A round that takes nothing ends it: no row with a tag is left.
    """

    name: ClassVar[str] = "complexity-first"

    def choose(self, pool: Pool, gate: Gate, n: int, *, seed: int, before: np.ndarray) -> Chosen:
        """Go round until there are `n` rows; see `Method`."""
        complexity = pool.weighted(pool.tags.lengths)
        rounds = Rounds(pool.tags, descending(complexity, np.flatnonzero(gate.open))[0], gate)
        seen = set(gather(pool.tags, before)[0].tolist())
        chosen, number = Chosen(), 1
        while True:
            taken = len(chosen.rows)
            for row, brought in rounds.round(seen):
                chosen.add(row, round_number=number, gain=brought)
                if len(chosen.rows) == n:
                    return chosen
            if len(chosen.rows) == taken and not (number == 1 and len(before)):
                return chosen
            seen, number = set(), number + 1


@dataclasses.dataclass(frozen=True)
class ComplexityBands(ComplexityFirst):
    """One of several selections of falling complexity, Algorithm 2 of the paper (appendix H).

    Algorithm 1 runs once for each band, always on the rows that earlier bands left, so the first band is Algorithm 1's
    choice and later bands are simpler.

    Attributes:
        band: Which one to return, from 1 on; the paper made 10.
    """

    name: ClassVar[str] = "complexity-bands"
    band: int = 1

    def __post_init__(self) -> None:
        """Refuse a band that there cannot be.

        Raises:
            InputError: `band` is no whole number from 1 on.
        """
        if not isinstance(self.band, int) or self.band < 1:
            raise InputError(f"complexity-bands: expected a band from 1 on, a whole number, found {self.band!r}.")

    @property
    def earlier(self) -> int:
        """The bands before this one."""
        return self.band - 1


@dataclasses.dataclass(frozen=True)
class CoverageLevels(Method):
    """A selection of given tag coverage, Algorithm 3 of the paper (appendix H).

    Rows in random order that bring a new tag are taken until the coverage is above the level; then rows that bring
    none, until there are `n`. Two repairs of the printed algorithm: the set of seen tags grows in the first loop, and
    every level starts from all rows. The rule of a mean number of tags stands in the paper's prose only (section 4.3);
    here the second loop takes the next row with at least that many tags while the mean is below it, else the next row
    with fewer.

    Attributes:
        coverage: Share of the pool's tags to pass, 0 to 1.
        mean_tags: The mean number of tags to keep to; the paper's is 5.
    """

    name: ClassVar[str] = "coverage-levels"
    seeded: ClassVar[bool] = True
    coverage: float = 0.7
    mean_tags: float = 5.0

    def __post_init__(self) -> None:
        """Refuse a level that there cannot be.

        Raises:
            InputError: `coverage` is no share, or `mean_tags` is below 1.
        """
        if not 0 <= self.coverage <= 1:
            raise InputError(f"coverage-levels: expected a coverage of 0 to 1, found {self.coverage}.")
        if not self.mean_tags >= 1:
            raise InputError(f"coverage-levels: expected a mean of 1 tag or more, found {self.mean_tags}.")

    @property
    def for_quotas(self) -> Method:
        """Rows at random, as in both loops."""
        return Random()

    def choose(self, pool: Pool, gate: Gate, n: int, *, seed: int, before: np.ndarray) -> Chosen:
        """Reach the coverage, then keep the mean; see `Method`.

        Raises:
            InputError: `n` rows, or the caps, do not let the coverage be reached.
        """
        order = draw(pool, np.flatnonzero(gate.open), seed)
        seen = set(gather(pool.tags, before)[0].tolist())
        chosen = Chosen()
        total = int(np.count_nonzero(pool.counts))
        if not self._reached(seen, total):
            for row, brought in Rounds(pool.tags, order, gate).round(seen):
                chosen.add(row, round_number=1, gain=brought)
                if self._reached(seen, total) or len(chosen.rows) == n:
                    break
        if not self._reached(seen, total):
            raise InputError(
                f"coverage-levels: expected to cover more than {self.coverage:.0%} of {total:,} tags, found "
                f"{len(seen) / max(total, 1):.1%} with {len(chosen.rows) + len(before):,} rows. "
                "Lower the coverage, or raise n or the caps."
            )
        self._fill(pool, gate, n, order, before, seen, chosen)
        return chosen

    def _reached(self, seen: set[int], total: int) -> bool:
        return len(seen) > self.coverage * total or len(seen) == total

    def _fill(  # noqa: PLR0917 - one loop of one method, apart only to be read alone
        self, pool: Pool, gate: Gate, n: int, order: np.ndarray, before: np.ndarray, seen: set[int], chosen: Chosen
    ) -> None:
        known = np.zeros(len(pool.tags.names), bool)
        known[list(seen)] = True
        unknown = np.bincount(pool.tags.row_numbers, weights=~known[pool.tags.codes], minlength=len(pool))
        waiting = order[gate.open[order] & (unknown[order] == 0)]
        lengths = pool.tags.lengths
        many = deque(waiting[lengths[waiting] >= self.mean_tags].tolist())
        few = deque(waiting[lengths[waiting] < self.mean_tags].tolist())
        total = int(lengths[before].sum() + lengths[chosen.rows].sum())
        astray = 0
        while len(chosen.rows) < n and (many or few):
            wanted, other = (many, few) if total < self.mean_tags * (len(chosen.rows) + len(before)) else (few, many)
            as_wanted = bool(wanted)
            row = (wanted or other).popleft()
            if gate.open[row]:
                astray += not as_wanted
                gate.take(row)
                chosen.add(row, round_number=2, gain=0)
                total += int(lengths[row])
        if astray:
            mean = total / (len(chosen.rows) + len(before))
            chosen.notes.append(
                f"coverage-levels: expected a mean of {self.mean_tags:g} tags, found {mean:.2f}, "
                "for no other rows that bring no new tag were left. Choose fewer rows, or another mean."
            )


def codes_of(tags: TagColumn, row: int) -> list[int]:
    """Return the codes of one row's tags."""
    found: list[int] = tags.codes[tags.starts[row] : tags.starts[row + 1]].tolist()
    return found
