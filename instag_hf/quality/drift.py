"""Two columns of tags of the same rows in, how far they agree out: two taggers, or two versions of one."""

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from instag_hf.agreement import Agreement, tag_f1
from instag_hf.embeddings import MINILM, Embedder
from instag_hf.errors import InputError
from instag_hf.rows import ERROR, TAGS, find_shape
from instag_hf.rows.columns import read_tags

if TYPE_CHECKING:
    from datasets import Dataset

TOP = 20  # tags lost and gained that are named
BATCH = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drift:
    """How far the tags after agree with the tags before, on rows that neither side failed.

    Attributes:
        rows: All rows.
        failed: Rows left out because they failed: "before", "after", "both".
        unchanged: Share of the compared rows that have the same set of tags, 0 to 1.
        agreement: What `tag_f1` finds, with the tags before as gold.
        lost: The tags that most rows had before and have no more, with the number of rows.
        gained: The tags that most rows have now and had not before.
    """

    rows: int
    failed: dict[str, int]
    unchanged: float
    agreement: Agreement
    lost: list[tuple[str, int]]
    gained: list[tuple[str, int]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**dataclasses.asdict(self), "agreement": self.agreement.to_dict()}


def measure_drift(
    before: "Dataset",
    after: "Dataset",
    *,
    tags: str = TAGS,
    tags_after: str | None = None,
    column: str | None = None,
    mixed: bool = False,
    embedder: str | Embedder | None = MINILM,
    seed: int = 0,
) -> Drift:
    """Compare the tags of the same rows before and after: by another tagger, another version, another normalizer.

    Args:
        before: Rows with a column of tags.
        after: The same rows in the same order; the same dataset, to compare two of its columns.
        tags: The column of tags in `before`.
        tags_after: The column of tags in `after`; the same name if not given.
        column: The column that holds the query; `None` finds it by its name.
        mixed: Whether rows of one side may be of several taggers.
        embedder: For the fuzzy match, as in `tag_f1`; `None` leaves it out.
        seed: Of the resampled queries behind the intervals.

    Raises:
        InputError: A side is no dataset in memory or on disk, the rows are not the same, a column is missing, or all
            rows failed.
    """
    _check_kind(before, after)
    names = (tags, tags_after or tags)
    columns = [read_tags(side, name, mixed=mixed) for side, name in zip((before, after), names, strict=True)]
    if before is not after:
        _check_same(before, after, column)
    failed = [_failed(side) for side in (before, after)]
    kept = np.flatnonzero(~(failed[0] | failed[1]))
    if not len(kept):
        raise InputError(f"drift: expected rows that both sides tagged, found none of {len(before):,}.")
    old, new = ([lists[row] for row in kept] for lists in map(list, columns))
    lost, gained = Counter[str](), Counter[str]()
    for was, is_now in zip(old, new, strict=True):
        lost.update({*was} - {*is_now})
        gained.update({*is_now} - {*was})
    return Drift(
        rows=len(before),
        failed={
            "before": int((failed[0] & ~failed[1]).sum()),
            "after": int((failed[1] & ~failed[0]).sum()),
            "both": int((failed[0] & failed[1]).sum()),
        },
        unchanged=sum({*was} == {*is_now} for was, is_now in zip(old, new, strict=True)) / len(kept),
        agreement=tag_f1(new, old, embedder=embedder, seed=seed),
        lost=_top(lost),
        gained=_top(gained),
    )


def _check_kind(*sides: object) -> None:
    import datasets

    for side in sides:
        if not isinstance(side, datasets.Dataset):
            raise InputError(
                f"drift: expected two Datasets, found {type(side).__name__}. Take one split of each, not streaming."
            )


def _check_same(before: "Dataset", after: "Dataset", column: str | None) -> None:
    """Refuse datasets of other rows: compared with one another, any two taggers would seem to have drifted."""
    if len(before) != len(after):
        raise InputError(f"drift: expected the same rows twice, found {len(before):,} and {len(after):,}.")
    shapes = [find_shape(side.column_names, column) for side in (before, after)]
    names = [shapes[0].column, *shapes[0].context]
    if shapes[0] != shapes[1]:
        raise InputError(f"drift: expected the same query columns, found {names} and {list(shapes[1][:2])}.")
    sides = [side.select_columns(names).with_format(None) for side in (before, after)]
    for start in range(0, len(before), BATCH):
        own, other = (side[start : start + BATCH] for side in sides)
        if own != other:
            row = next(i for i in range(len(own[names[0]])) if any(own[name][i] != other[name][i] for name in names))
            raise InputError(
                f"drift: expected the same queries in the same order, found another one in row {start + row}."
            )


def _failed(side: "Dataset") -> np.ndarray:
    if ERROR not in side.column_names:
        return np.zeros(len(side), bool)
    return np.array([bool(error) for error in side[ERROR]], bool)


def _top(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP]
