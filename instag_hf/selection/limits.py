"""Caps and quotas: which rows may still be taken.

A row that closes never opens again, for a group that is full stays full. So methods may drop a closed row for good,
and every method obeys every limit without knowing any.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from instag_hf.errors import InputError
from instag_hf.rows.columns import TagColumn
from instag_hf.selection.pool import NO_CAP, Bounds, Pool, Rules, ranges_of, stable_order


@dataclasses.dataclass(frozen=True, eq=False)
class Limit:
    """Least and most rows for each group of one kind: for each tag, or for each source.

    Attributes:
        kind: "tag" or "source", for messages.
        members: The groups of each row.
        least: Shape (groups,), int64.
        most: Shape (groups,), int64.
        taken: Shape (groups,), int64: rows taken so far; the only thing that changes.
    """

    kind: str
    members: TagColumn
    least: np.ndarray
    most: np.ndarray
    taken: np.ndarray
    rows: np.ndarray  # row numbers, those of group g at rows[starts[g] : starts[g + 1]]
    starts: np.ndarray

    def groups_of(self, row: int) -> np.ndarray:
        """Return the groups that a row belongs to."""
        groups: np.ndarray = self.members.codes[self.members.starts[row] : self.members.starts[row + 1]]
        return groups

    def rows_of(self, group: int) -> np.ndarray:
        """Return the rows that belong to a group, in their order."""
        rows: np.ndarray = self.rows[self.starts[group] : self.starts[group + 1]]
        return rows

    @property
    def missing(self) -> np.ndarray:
        """How many rows each group lacks of its least; shape (groups,), int64."""
        short: np.ndarray = np.maximum(self.least - self.taken, 0)
        return short


def read_limits(pool: Pool, rules: Rules, n: int) -> list[Limit]:
    """Read caps and quotas, and refuse those that no choice of `n` rows could meet.

    Raises:
        InputError: A limit names a group that is not there, is no range, or asks for more rows than there are.
    """
    limits = []
    if rules.per_tag is not None:
        limits.append(_limit("tag", pool.tags, rules.per_tag, pool, n))
    if rules.per_source is not None and pool.sources is not None:
        limits.append(_limit("source", pool.sources, rules.per_source, pool, n))
        asked = int(limits[-1].least.sum())
        if asked > n:  # every row is of one source, so quotas add up
            raise InputError(
                f"select: expected quotas of sources that fit into {n:,} rows, found {asked:,}, "
                f"{asked - n:,} too many. Lower them, or raise n."
            )
    return limits


class Gate:
    """Holds the rows that may still be taken."""

    def __init__(self, available: np.ndarray, limits: list[Limit], *, quotas_only: bool = False) -> None:
        """Close the rows of groups that are full.

        Args:
            available: Shape (rows,), bool: rows that nothing else closes.
            limits: Caps and quotas, with what was taken so far.
            quotas_only: Whether a row may be taken only while it helps a quota.
        """
        self.open = available.copy()
        self.limits = limits
        self.quotas_only = quotas_only
        for limit in limits:
            for group in np.flatnonzero(limit.taken >= limit.most).tolist():
                self.open[limit.rows_of(group)] = False
        self.helps = np.zeros(len(available), np.int64)  # how many unmet quotas a row would help
        if quotas_only:
            for limit in limits:
                for group in np.flatnonzero(limit.missing).tolist():
                    self.helps[limit.rows_of(group)] += 1
            self.open &= self.helps > 0

    def take(self, row: int) -> np.ndarray:
        """Take a row, and return those that are closed by it, itself among them; shape (closed,)."""
        closed = [np.array([row])]
        for limit in self.limits:
            groups = limit.groups_of(row)
            limit.taken[groups] += 1
            taken = limit.taken[groups]
            closed += [limit.rows_of(group) for group in groups[taken == limit.most[groups]]]
            if self.quotas_only:
                closed += [self._met(limit.rows_of(group)) for group in groups[taken == limit.least[groups]]]
        shut = closed[0] if len(closed) == 1 else np.concatenate(closed)
        self.open[shut] = False
        return shut

    def _met(self, rows: np.ndarray) -> np.ndarray:
        self.helps[rows] -= 1
        useless: np.ndarray = rows[self.helps[rows] == 0]
        return useless


def check_quotas(limits: list[Limit], n: int) -> None:
    """Refuse a selection that is full, or has no row left, before every quota is met.

    Raises:
        InputError: Which quotas are not met, and by how much.
    """
    lacking = [
        f"{limit.kind} {limit.members.names[group]!r} has {limit.taken[group]:,} of {limit.least[group]:,} rows"
        for limit in limits
        for group in np.flatnonzero(limit.missing).tolist()
    ]
    if lacking:
        told = "; ".join(lacking[:5]) + (f"; and {len(lacking) - 5:,} more" if len(lacking) > 5 else "")
        raise InputError(
            f"select: expected to meet every quota within {n:,} rows and all caps, found that {told}. "
            "Lower the quotas, or raise n or the caps."
        )


def _limit(kind: str, members: TagColumn, bounds: Bounds, pool: Pool, n: int) -> Limit:
    least = np.zeros(len(members.names), np.int64)
    most = np.full(len(members.names), NO_CAP)
    for group, low, high in _ranges(kind, members.names, bounds):
        least[group], most[group] = low, high
    present = np.bincount(members.codes[np.repeat(pool.open, members.lengths)], minlength=len(members.names))
    within = np.minimum(present, n)
    for short in np.flatnonzero(least > within).tolist():
        raise InputError(
            f"select: expected {least[short]:,} rows with the {kind} {members.names[short]!r}, found "
            f"{present[short]:,} to choose {n:,} from, {least[short] - within[short]:,} too few. Lower the quota."
        )
    order = stable_order(members.codes, len(members.names))
    starts = np.zeros(len(members.names) + 1, np.int64)
    np.cumsum(members.counts, out=starts[1:])
    return Limit(kind, members, least, most, np.zeros_like(least), members.row_numbers[order], starts)


def _ranges(kind: str, names: list[str], bounds: Bounds) -> Iterator[tuple[int | slice, int, int]]:
    if not isinstance(bounds, Mapping):
        (every,) = ranges_of(kind, bounds).values()
        yield slice(None), *every
        return
    place = {name: group for group, name in enumerate(names)}
    for name, (low, high) in ranges_of(kind, bounds).items():
        if name in place:
            yield place[name], low, high
        else:
            raise InputError(
                f"select: expected per_{kind} to name {kind}s of the dataset, found {name!r}, which no row has. "
                "Check its spelling, or take it out."
            )
