"""Datasets in, what all visitors share out: each is read and counted once, and looked at by many at the same time."""

import dataclasses
import hashlib
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from instag_hf.analysis import Report, report
from instag_hf.analysis.reading import Asked, read_rows
from instag_hf.charts import Chart, draw
from instag_hf.charts.explorer import ranked, shortened
from instag_hf.errors import InputError, MissingError, RowError
from instag_hf.rows import ADDED, NORMALIZED, TAGS, find_shape, queries
from instag_hf.rows.columns import TagColumn
from instag_hf.rows.stored import stored
from instag_hf.selection.pool import Pool, Rules, counts_of, read_pool

if TYPE_CHECKING:
    from datasets import Dataset

    from instag_hf.normalizer import TagNormalizer

MOST_KEPT = 8  # datasets beside those that the page was started with
MOST_MATCHES = 50
NEIGHBOURS = 20
QUERY = 600  # characters of a row's queries
NAME = 200  # characters of a tag


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tags:
    """What was counted in a tagged dataset.

    Attributes:
        column: The tags of each row, numbered by their rows, most first.
        holders: Shape (assignments,), int64: row numbers, those of the first tag first.
        ends: Shape (names,), int64: where the rows of each tag end in `holders`.
        place: The number of each tag.
        folded: Names of tags without regard to case, for searching.
        report: Figures.
        charts: Pictures of them.
        no_charts: Why there are none.
        pool: What selections choose from.
    """

    column: TagColumn
    holders: np.ndarray
    ends: np.ndarray
    place: dict[str, int]
    folded: list[str]
    report: Report
    charts: list[Chart]
    no_charts: str
    pool: Pool

    def search(self, text: str) -> list[tuple[str, int]]:
        """Find tags that have a text in them, those with the most rows first, and their rows."""
        wanted = text.strip().casefold()
        found = (code for code, name in enumerate(self.folded) if wanted in name)
        counts = self.column.counts
        return [
            (self.column.names[code], int(counts[code])) for code, _ in zip(found, range(MOST_MATCHES), strict=False)
        ]

    def rows_of(self, tag: str) -> np.ndarray:
        """Return the numbers of the rows that have a tag, in their order; of an unknown tag none."""
        if tag not in self.place:
            return np.zeros(0, np.int64)
        code = self.place[tag]
        return self.holders[self.ends[code - 1] if code else 0 : self.ends[code]]

    def neighbours(self, tag: str) -> list[tuple[str, int]]:
        """Find the tags that share the most rows with one, and how many."""
        shared = counts_of(self.column, self.rows_of(tag))
        shared[self.place.get(tag, [])] = 0
        order = np.argsort(-shared, kind="stable")[:NEIGHBOURS]
        return [(self.column.names[code], int(shared[code])) for code in order if shared[code]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Collection:
    """A dataset on the shelf.

    Attributes:
        key: Names it; the same dataset, read the same way, has the same.
        name: Where it is from.
        dataset: Its rows.
        query: The column of queries that was named; `None` finds it.
        tags: What was counted; `None` where the rows are not tagged.
    """

    key: str
    name: str
    dataset: "Dataset"
    query: str | None
    tags: Tags | None

    @property
    def tagged(self) -> Tags:
        """What was counted.

        Raises:
            InputError: The rows are not tagged.
        """
        if self.tags is None:
            raise InputError(f"app: expected tagged rows, found {self.name} without tags. Tag its first rows.")
        return self.tags

    def show(self, rows: Iterable[int]) -> list[list[Any]]:
        """Return number, queries and tags of some rows, as text."""
        numbers = [int(row) for row in rows]
        column = self.tagged.column
        return [
            [
                row,
                self._text(found),
                "; ".join(column.names[code] for code in column.codes[column.starts[row] : column.starts[row + 1]]),
            ]
            for row, found in zip(numbers, stored(self.dataset.select(numbers)), strict=True)
        ]

    def _text(self, row: dict[str, Any]) -> str:
        try:
            return shortened("\n".join(queries(_own(row), column=self.query)), QUERY)
        except RowError as error:
            return f"(cannot be read: {error})"


class Shelf:
    """The datasets of a page. What was put on it is read by all; the longest unused go when there are too many."""

    def __init__(self, *, normalizer: "TagNormalizer | None" = None, local: bool = False) -> None:
        """Begin empty.

        Args:
            normalizer: What normalizes raw tags, and whose vocabulary coverage is of.
            local: Whether visitors may name files of this machine, and use its token on the Hub.
        """
        self.normalizer = normalizer
        self.local = local
        self.scratch = tempfile.TemporaryDirectory(prefix="instag-app-")
        self._kept: dict[str, Collection] = {}
        self._others: dict[str, Collection] = {}
        self._reading, self._moving = threading.Lock(), threading.Lock()

    def put(
        self,
        dataset: "Dataset",
        name: str,
        *,
        column: str | None = None,
        query: str | None = None,
        turns: str = "all",
        keep: bool = False,
    ) -> Collection:
        """Read a dataset, unless it is there already.

        Args:
            dataset: Rows, tagged or not.
            name: Where it is from.
            column: The column of tags.
            query: The column of queries.
            turns: Which user turns were tagged.
            keep: Whether it stays however many follow.

        Raises:
            InputError: A column is missing or of the wrong type.
        """
        key = hashlib.sha256(repr((dataset._fingerprint, column, query, turns)).encode()).hexdigest()[:16]
        with self._reading:  # so that visitors who come together do not read it twice
            found = self._find(key) or read(
                dataset, name, key=key, column=column, query=query, turns=turns, by=self.normalizer
            )
            with self._moving:
                (self._kept if keep else self._others)[key] = found
                while len(self._others) > MOST_KEPT:
                    del self._others[next(iter(self._others))]
        return found

    def get(self, key: str) -> Collection:
        """Take a dataset from the shelf.

        Raises:
            InputError: It is not there, or no longer.
        """
        found = self._find(key)
        if found is None:
            raise InputError(
                "app: expected a dataset, found none" + (" any more. Open it again." if key else ". Open one.")
            )
        return found

    def _find(self, key: str) -> Collection | None:
        with self._moving:
            if key in self._others:
                self._others[key] = self._others.pop(key)  # the last that goes
            return self._kept.get(key) or self._others.get(key)

    @property
    def folder(self) -> Path:
        """Where selections are written, until the page is closed."""
        return Path(self.scratch.name)


def read(
    dataset: "Dataset",
    name: str,
    *,
    key: str,
    column: str | None,
    query: str | None,
    turns: str,
    by: "TagNormalizer | None",
) -> Collection:
    """Read and count a dataset, so that looking at it afterwards costs little.

    Raises:
        InputError: A column is missing or of the wrong type.
    """
    find_shape([each for each in dataset.column_names if each not in (*ADDED, NORMALIZED, column)], query)
    if column is None and not {TAGS, NORMALIZED} & set(dataset.column_names):
        return Collection(key=key, name=name, dataset=dataset, query=query, tags=None)
    if by is not None and column is None and NORMALIZED not in dataset.column_names:
        dataset = dataset.map(by.normalize, batched=True)
    rows = read_rows(dataset, Asked(column=column, query=query, turns=turns, mixed=True))
    counted = report(dataset, normalizer=by, column=rows.column, query=query, turns=turns, mixed=True)
    charts: list[Chart] = []
    try:
        charts, no_charts = draw(counted), ""
    except MissingError as error:
        no_charts = f"No charts: {error}"
    tags = ranked(rows.tags)
    return Collection(
        key=key,
        name=name,
        dataset=dataset,
        query=query,
        tags=Tags(
            column=tags,
            holders=tags.holders,
            ends=np.cumsum(tags.counts),
            place={tag: code for code, tag in enumerate(tags.names)},
            folded=[tag.casefold() for tag in tags.names],
            report=counted,
            charts=charts,
            no_charts=no_charts,
            pool=read_pool(dataset, Rules(column=rows.column, text_column=query, mixed=True), lengths=True),
        ),
    )


def _own(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out what tagging added, which is no query."""
    return {name: value for name, value in row.items() if name not in (*ADDED, NORMALIZED)}
