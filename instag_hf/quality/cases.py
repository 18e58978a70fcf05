"""A tagged dataset in, cases to decide out: a seeded sample with counterfactual controls (paper section 3.3, App. I).

A case of the task "precision" is a query with all its tags; one of "consistency" is a tag with queries that carry it. A
control is a case that was spoilt on purpose, so whoever calls it good does not look.
"""

import dataclasses
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from instag_hf.agreement import THRESHOLD
from instag_hf.embeddings import MINILM, Embedder, embed
from instag_hf.errors import InputError, RowError
from instag_hf.rows import TAGS, TURN_POLICIES, clean, cut, find_shape, queries
from instag_hf.rows.columns import TagColumn, read_tags

if TYPE_CHECKING:
    from datasets import Dataset

TASKS = ("precision", "consistency")
CONTROLS = ("similar", "random", "none")
MAX_BYTES = 8000  # of all queries of a case together, so that it fits a judge's prompt and a spreadsheet's cell
CANDIDATES = 5000  # a control's false tags come from so many most frequent ones
TRIES = 20  # rows looked at for each one needed, since rows may be equal or unfit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to decide: which of the items do not fit the subject.

    Attributes:
        task: "precision" (a query and its tags) or "consistency" (a tag and queries that carry it).
        subject: The query, or the tag.
        items: The tags, or the queries.
        replaced: Places in `items`, from 0, that hold something false, which makes the case a control.
        rows: Numbers of the rows that the case was made of, before it was spoilt.
    """

    task: str
    subject: str
    items: tuple[str, ...]
    replaced: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no case, and make its text fit for any file.

        Raises:
            InputError: The task is unknown, there are no items, or a place is not one of theirs.
        """
        if self.task not in TASKS:
            raise InputError(f"quality: expected a task of {list(TASKS)}, found {self.task!r}.")
        if not self.items or not set(self.replaced) <= set(range(len(self.items))):
            raise InputError(f"quality: expected items and places among them, found {self.items}, {self.replaced}.")
        object.__setattr__(self, "subject", clean(self.subject))
        object.__setattr__(self, "items", tuple(clean(item) for item in self.items))

    @property
    def control(self) -> bool:
        """Whether the case was spoilt on purpose."""
        return bool(self.replaced)

    @functools.cached_property
    def id(self) -> str:
        """Twelve hex digits that name what is asked; white space, which spreadsheets change, does not count."""
        words = [" ".join(text.split()) for text in (self.subject, *self.items)]
        return hashlib.sha256(json.dumps([self.task, *words]).encode()).hexdigest()[:12]


class Verdict(NamedTuple):
    """What somebody decided about a case: either `wrong` or `failure` says it.

    `wrong` holds the places, from 0, of items that do not fit, and none if all do; it is `None` where there is no
    verdict, and then `failure` says why, as a kind and a sentence.
    """

    wrong: tuple[int, ...] | None = None
    failure: str = ""

    @property
    def good(self) -> bool | None:
        """Whether every item fits; `None` where there is no verdict."""
        return None if self.wrong is None else not self.wrong


Substitute = Callable[[Case, Sequence[int]], list[str]]  # a case and places in it -> what is false there


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """Cases drawn from a dataset, and what they were drawn from.

    Attributes:
        cases: Each once; first those of precision, then those of consistency, each with its controls mixed in.
        settings: What was asked for: `n`, `seed`, `tags`, `instructions`, `controls`, ….
        rows: Rows of the dataset.
        failed: Rows that carry an error, by its kind; they make no case.
        frame: For each task, how many there were to draw from: rows with tags, tags of two rows or more.
        skipped: What was drawn but makes no case, or no control, by reason.
    """

    cases: tuple[Case, ...]
    settings: dict[str, Any]
    rows: int
    failed: dict[str, int]
    frame: dict[str, int]
    skipped: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return what the cases were drawn from, as plain values for JSON, without the cases."""
        plain = dataclasses.asdict(dataclasses.replace(self, cases=()))
        del plain["cases"]
        return plain


def draw_cases(
    tagged: "Dataset",
    n: int = 100,
    *,
    seed: int = 0,
    tags: str = TAGS,
    column: str | None = None,
    turns: str = "all",
    instructions: int = 5,
    controls: str = "similar",
    embedder: str | Embedder = MINILM,
    mixed: bool = False,
) -> Sample:
    """Draw cases for a judge, or for people, to decide (paper section 3.3 and App. I).

    Equal cases count once. Of a conversation, all turns together are the query, as its tags are the union of theirs.
    A control has half of its items, rounded up, replaced: a query's tags by the most similar ones that are not the same
    by the paper's fuzzy match, a tag's queries by some that share no tag with the others. Now and then what is put in
    fits after all, so a good judge's share of good controls is low, not 0 (the paper's: 6 and 8 %). The paper leaves
    open how much of a control is replaced, and how many queries a tag has.

    Args:
        tagged: Rows with a query and a column of tags.
        n: Cases of each task; each brings one control besides.
        seed: Of all that is drawn; the cases themselves do not depend on `controls`.
        tags: The column of tags.
        column: The column that holds the query; `None` finds it by its name.
        turns: Which user turns the tags are of: "all", "first" or "last".
        instructions: Queries for each tag, 2 or more; a tag with fewer gets those it has.
        controls: "similar" as in the paper, "random" for other tags by chance, which needs no embeddings, or "none".
        embedder: For similar tags, as in `embed`; the paper's is "whaleloops/phrase-bert".
        mixed: Whether rows may be of several taggers.

    Raises:
        InputError: An argument does not fit, or the dataset has no such columns.
        MissingError: The embedder is not on this machine and cannot be fetched.
    """
    _check(tagged, turns=turns, controls=controls, n=(n, 1), instructions=(instructions, 2), seed=(seed, 0))
    n, instructions, seed = int(n), int(instructions), int(seed)  # JSON has no numbers of NumPy
    pool = _Pool(tagged, read_tags(tagged, tags, mixed=mixed), column=column, turns=turns, instructions=instructions)
    cases: list[Case] = []
    for place, (task, make) in enumerate({"precision": _precision, "consistency": _consistency}.items()):
        real = make(pool, n, np.random.default_rng([seed, place]))
        draw = np.random.default_rng([seed, place, 1])
        spoilt = _spoil(real, pool, draw, _substitute(task, controls, real, pool, draw, embedder))
        both = list({case.id: case for case in (*spoilt, *real)}.values())
        cases += [both[i] for i in draw.permutation(len(both))]
    settings = {"n": n, "seed": seed, "tags": tags, "turns": turns, "instructions": instructions, "controls": controls}
    return Sample(
        cases=tuple(cases),
        settings=settings,
        rows=len(tagged),
        failed=dict(pool.tags.failed),
        frame={"precision": len(pool.tagged_rows), "consistency": len(pool.shared_tags)},
        skipped=dict(+pool.skipped),
    )


def _check(tagged: object, *, turns: str, controls: str, **numbers: tuple[int, int]) -> None:
    """Refuse what cannot be drawn from or asked for; `numbers` are each with the least it may be."""
    import datasets

    if not isinstance(tagged, datasets.Dataset):
        found = type(tagged).__name__
        raise InputError(f"quality: expected a Dataset to draw from, found {found}. Take one split, not streaming.")
    for name, (number, least) in numbers.items():
        if not isinstance(number, int | np.integer) or number < least:
            raise InputError(f"quality: expected {name} to be a whole number from {least} on, found {number!r}.")
    for value, known in ((turns, TURN_POLICIES), (controls, CONTROLS)):
        if value not in known:
            raise InputError(f"quality: expected one of {list(known)}, found {value!r}.")


class _Pool:
    """A tagged dataset by row and by tag, and a count of what was drawn from it in vain."""

    def __init__(
        self, tagged: "Dataset", tags: TagColumn, *, column: str | None, turns: str, instructions: int
    ) -> None:
        shape = find_shape(tagged.column_names, column)
        self._texts = tagged.select_columns([shape.column, *shape.context]).with_format(None)
        self._column, self._turns = column, turns
        self.instructions = instructions
        self.tags = tags
        self.tagged_rows = np.flatnonzero(tags.lengths)
        self.shared_tags = np.flatnonzero(tags.counts >= 2)
        self._by_tag = tags.holders
        self._starts = np.concatenate([[0], np.cumsum(tags.counts)])
        self.skipped: Counter[str] = Counter()

    def query(self, row: int, max_bytes: int) -> str:
        return cut("\n\n".join(queries(self._texts[row], column=self._column, turns=self._turns)), max_bytes)

    def distinct_queries(self, rows: np.ndarray, most: int) -> dict[str, int]:
        """Read rows until there are enough different queries; return each with its row."""
        found: dict[str, int] = {}
        for row in rows[: TRIES * most].tolist():
            try:
                found.setdefault(self.query(row, MAX_BYTES // self.instructions), row)
            except RowError:
                continue
            if len(found) == most:
                break
        return found

    def tags_of(self, row: int) -> tuple[str, ...]:
        start, end = self.tags.starts[row : row + 2]
        return tuple(self.tags.names[code] for code in self.tags.codes[start:end])

    def rows_with(self, code: int) -> np.ndarray:
        rows: np.ndarray = self._by_tag[self._starts[code] : self._starts[code + 1]]
        return rows

    def frequent_tags(self) -> list[str]:
        counts, names = self.tags.counts, self.tags.names
        order = sorted(range(len(names)), key=lambda code: (-counts[code], names[code]))
        return [names[code] for code in order[:CANDIDATES]]


def _precision(pool: _Pool, n: int, draw: np.random.Generator) -> list[Case]:
    cases: dict[str, Case] = {}
    for row in draw.permutation(pool.tagged_rows)[: TRIES * n].tolist():
        if len(cases) == n:
            break
        try:
            query = pool.query(row, MAX_BYTES)
        except RowError:
            pool.skipped["precision: row without a query"] += 1
            continue
        case = Case(task="precision", subject=query, items=pool.tags_of(row), rows=(row,))
        pool.skipped["precision: the same case again"] += case.id in cases
        cases.setdefault(case.id, case)
    return list(cases.values())


def _consistency(pool: _Pool, n: int, draw: np.random.Generator) -> list[Case]:
    cases: list[Case] = []
    for code in draw.permutation(pool.shared_tags).tolist():
        if len(cases) == n:
            break
        found = pool.distinct_queries(draw.permutation(pool.rows_with(code)), pool.instructions)
        if len(found) < 2:
            pool.skipped["consistency: tag of a single query"] += 1
            continue
        name = pool.tags.names[code]
        cases.append(Case(task="consistency", subject=name, items=tuple(found), rows=tuple(found.values())))
    return cases


def _substitute(
    task: str, controls: str, real: Sequence[Case], pool: _Pool, draw: np.random.Generator, embedder: str | Embedder
) -> Substitute | None:
    """Choose how false items are found; `None` where there shall be no controls."""
    if controls == "none" or not real:
        return None
    if task == "consistency":
        return functools.partial(_other_queries, pool, draw)
    candidates = pool.frequent_tags()
    if controls == "random":
        return functools.partial(_other_tags, candidates, draw)
    return _Similar(candidates, real, embedder)


def _spoil(real: Sequence[Case], pool: _Pool, draw: np.random.Generator, substitute: Substitute | None) -> list[Case]:
    if substitute is None:
        return []
    spoilt = []
    for case in real:
        places = sorted(draw.choice(len(case.items), size=(len(case.items) + 1) // 2, replace=False).tolist())
        false = substitute(case, places)
        if len(false) < len(places):
            pool.skipped[f"{case.task}: nothing false to put into a control"] += 1
            continue
        items = list(case.items)
        for place, item in zip(places, false, strict=True):
            items[place] = item
        spoilt.append(dataclasses.replace(case, items=tuple(items), replaced=tuple(places)))
    return spoilt


def _other_tags(candidates: Sequence[str], draw: np.random.Generator, case: Case, places: Sequence[int]) -> list[str]:
    others = [name for name in candidates if name not in case.items]
    return [others[i] for i in draw.permutation(len(others))[: len(places)]]


class _Similar:
    """Finds the tag that is most like another, but the same as none of its query's."""

    def __init__(self, candidates: Sequence[str], cases: Sequence[Case], embedder: str | Embedder) -> None:
        self._candidates = candidates
        names = list(dict.fromkeys([*candidates, *(tag for case in cases for tag in case.items)]))
        self._vectors = embed(names, embedder)
        self._place = {name: place for place, name in enumerate(names)}

    def __call__(self, case: Case, places: Sequence[int]) -> list[str]:
        own = self._vectors[[self._place[tag] for tag in case.items]]
        cosine = self._vectors[: len(self._candidates)] @ own.T
        allowed = cosine.max(axis=1) <= THRESHOLD
        found: list[str] = []
        for place in places:
            best = int(np.argmax(np.where(allowed, cosine[:, place], -np.inf)))
            if not allowed[best]:
                break
            allowed[best] = False
            found.append(self._candidates[best])
        return found


def _other_queries(pool: _Pool, draw: np.random.Generator, case: Case, places: Sequence[int]) -> list[str]:
    taken = {tag for row in case.rows for tag in pool.tags_of(row)}
    drawn = draw.choice(pool.tagged_rows, size=2 * TRIES * len(places))
    rows = [row for row in drawn.tolist() if taken.isdisjoint(pool.tags_of(row))]
    found = pool.distinct_queries(np.array(rows, np.int64), len(places) + len(case.items))
    return [query for query in found if query not in case.items][: len(places)]
