"""Counts that take more than one line: pairs of tags, ranks, and what a random subset would cover."""

import math
from collections.abc import Iterator

import numpy as np

from instag_hf.rows.columns import TagColumn

FREQUENT = 1_000  # tags that are paired in a table with a cell for each pair
CHUNK = 2_000_000  # assignments that are paired at once
POINTS = 40


def count_pairs(column: TagColumn, tags: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the rows that have two tags, for every pair that is in a row.

    Args:
        column: Tags of rows.
        tags: Shape (names,), bool: pair only these tags.

    Returns:
        Three arrays of one length: places in `column.names`, the lower one first, and rows that have both; in the
        order of the places.
    """
    names = max(1, len(column.names))
    keys, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for found in _pair_keys(column, tags, names):
        distinct, rows = np.unique(found, return_counts=True)
        keys, place = np.unique(np.concatenate([keys, distinct]), return_inverse=True)
        counts = np.bincount(place, np.concatenate([counts, rows]), len(keys)).astype(np.int64)
    return keys // names, keys % names, counts


def most_frequent_pairs(column: TagColumn, most: int) -> list[tuple[str, str, int]]:
    """Return the pairs of tags that the most rows have, each in the order of the alphabet, most rows first.

    A pair is in no more rows than its rarer tag, so rare tags need pairing only if frequent ones do not fill the list.
    """
    counts = column.counts
    order = np.argsort(-counts, kind="stable")
    frequent = np.zeros(len(counts), bool)
    frequent[order[:FREQUENT]] = True
    best = _top_pairs(column, frequent, most)
    if len(counts) > FREQUENT and (len(best) < most or best[-1][2] <= counts[order[FREQUENT]]):
        best = _top_pairs(column, None, most)
    return best


def _top_pairs(column: TagColumn, tags: np.ndarray | None, most: int) -> list[tuple[str, str, int]]:
    left, right, rows = count_pairs(column, tags)
    if len(rows) > most:
        kept = rows >= np.partition(rows, -most)[-most]
        left, right, rows = left[kept], right[kept], rows[kept]
    pairs = [
        (*sorted((column.names[a], column.names[b])), int(count)) for a, b, count in zip(left, right, rows, strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))[:most]


def _pair_keys(column: TagColumn, tags: np.ndarray | None, names: int) -> Iterator[np.ndarray]:
    rows, codes = column.row_numbers, column.codes.astype(np.int64)
    if tags is not None:
        kept = tags[codes]
        rows, codes = rows[kept], codes[kept]
    begin = 0
    while begin < len(rows):
        end = min(begin + CHUNK, len(rows))
        end = int(np.searchsorted(rows, rows[end - 1], side="right"))
        found = [np.zeros(0, np.int64)]
        first = np.arange(begin, end)
        distance = 1
        while len(first := first[first + distance < end]) and len(
            first := first[rows[first] == rows[first + distance]]
        ):
            one, other = codes[first], codes[first + distance]
            found.append(np.minimum(one, other) * names + np.maximum(one, other))
            distance += 1
        yield np.concatenate(found)
        begin = end


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Return Spearman's rank correlation, -1 to 1; `None` where all values of a side are equal.

    Equal values share the mean of their ranks.
    """
    if len(one) < 2:
        return None
    ranks = [_ranks(values) for values in (one, other)]
    spread = math.prod(float(np.sqrt((rank**2).sum())) for rank in ranks)
    return float((ranks[0] * ranks[1]).sum() / spread) if spread else None


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return each value's rank, less the mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks - (len(values) + 1) / 2


def expected_tags(counts: np.ndarray, rows: int) -> list[tuple[int, float]]:
    """Say how many distinct tags a random subset is expected to have, for growing sizes.

    A tag of c rows is missing from m of N rows with probability C(N - c, m) / C(N, m), so nothing is drawn.

    Args:
        counts: Rows of each tag.
        rows: N, all rows that could be drawn.

    Returns:
        Pairs of a size and a number of tags; up to 40 sizes from 1 to N, evenly spaced on a log scale.
    """
    if not rows:
        return []
    sizes = np.unique(np.geomspace(1, rows, POINTS).round().astype(np.int64))
    each, tags = np.unique(counts[counts > 0], return_counts=True)
    factorial = np.frompyfunc(lambda n: math.lgamma(n + 1), 1, 1)
    left = rows - each[:, None] - sizes  # rows without the tag that are not drawn
    possible = left >= 0
    log = (
        factorial(rows - each).astype(float)[:, None]
        - factorial(np.where(possible, left, 0)).astype(float)
        - math.lgamma(rows + 1)
        + factorial(rows - sizes).astype(float)
    )
    missing = np.where(possible, np.exp(np.minimum(log, 0)), 0.0)
    found = (tags[:, None] * (1 - missing)).sum(axis=0)
    return list(zip(sizes.tolist(), found.tolist(), strict=True))
