"""How far two sets of tags agree, and how far raters do: precision, recall and F1, Cohen's and Fleiss' kappa.

Predicted and gold tags of a query are sets. Exactly, a tag is right if gold has the same; fuzzily, if its embedding's
cosine with any gold tag is above 0.8 (paper section 5). The paper does not say how fuzzy recall is counted; here it
is the share of gold tags that any predicted tag meets, and F1 is the harmonic mean of both.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from instag_hf.embeddings import MINILM, Embedder, embed
from instag_hf.errors import InputError

THRESHOLD = 0.8
RESAMPLES = 1000

T = TypeVar("T", bound=Hashable)


class Score(NamedTuple):
    """Precision, recall and F1, each 0 to 1; a share of nothing is 0."""

    precision: float
    recall: float
    f1: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """What `tag_f1` found.

    Attributes:
        queries: Number of queries.
        predicted: Predicted tags for each query, on average.
        gold: Gold tags for each query, on average.
        exact: Micro scores over all tags, by exact match.
        exact_macro: The mean of each query's scores; a query without tags on both sides agrees, 1.
        interval: The middle 95 % of the exact micro-F1 over resampled queries.
        fuzzy: Micro scores by fuzzy match, if asked for.
        fuzzy_interval: The same interval for fuzzy F1.
        sources: Exact micro scores for each source, if sources were given.
    """

    queries: int
    predicted: float
    gold: float
    exact: Score
    exact_macro: Score
    interval: tuple[float, float]
    fuzzy: Score | None = None
    fuzzy_interval: tuple[float, float] | None = None
    sources: dict[str, Score] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        plain = dataclasses.asdict(self)
        for name in ("exact", "exact_macro", "fuzzy"):
            plain[name] = plain[name] and plain[name]._asdict()
        return {**plain, "sources": {source: score._asdict() for source, score in self.sources.items()}}


def tag_f1(
    predicted: Sequence[Sequence[str]],
    gold: Sequence[Sequence[str]],
    *,
    embedder: str | Embedder | None = MINILM,
    threshold: float = THRESHOLD,
    sources: Sequence[str] | None = None,
    seed: int = 0,
) -> Agreement:
    """Score predicted tags against gold tags (paper section 5).

    Args:
        predicted: Tags of each query; of a query that failed none, so that a failure lowers recall.
        gold: Tags of the same queries, in the same order.
        embedder: For the fuzzy match, as in `embed`; `None` leaves it out. The paper's is "whaleloops/phrase-bert".
        threshold: Cosine above which two tags match, -1 to 1.
        sources: Where each query comes from, for scores of each source.
        seed: Of the resampled queries.

    Raises:
        InputError: The lists are empty or of different lengths, an item is no list of texts, or a source no text.

    Example:
        >>> tag_f1([["math"], ["python", "sorting"]], [["math"], ["python"]], embedder=None).exact.f1
        0.8
    """
    for name, values in {"predicted": predicted, "sources": gold if sources is None else sources}.items():
        if len(values) != len(gold):
            raise InputError(f"tag_f1: expected {len(gold)} {name}, one for each query, found {len(values)}.")
    if not len(gold):
        raise InputError("tag_f1: expected queries, found none.")
    own, wanted = _sets("predicted", predicted), _sets("gold", gold)
    exact = np.array([[len(a & b), len(a), len(a & b), len(b)] for a, b in zip(own, wanted, strict=True)])
    fuzzy = None if embedder is None else _fuzzy_counts(own, wanted, embedder, threshold)
    groups = defaultdict(list)
    for row, source in enumerate(sources or ()):
        if not isinstance(source, str):
            raise InputError(f"tag_f1: expected the name of a source for each query, found {source!r:.80} of {row}.")
        groups[source].append(row)
    return Agreement(
        queries=len(exact),
        predicted=float(exact[:, 1].mean()),
        gold=float(exact[:, 3].mean()),
        exact=_micro(exact),
        exact_macro=_macro(exact),
        interval=_interval(exact, seed),
        fuzzy=None if fuzzy is None else _micro(fuzzy),
        fuzzy_interval=None if fuzzy is None else _interval(fuzzy, seed),
        sources={source: _micro(exact[rows]) for source, rows in sorted(groups.items())},
    )


def _sets(name: str, lists: Sequence[Sequence[str]]) -> list[set[str]]:
    for row, tags in enumerate(lists):
        if isinstance(tags, str) or not isinstance(tags, Iterable) or not all(isinstance(tag, str) for tag in tags):
            raise InputError(f"tag_f1: expected a list of tags for each query, found {tags!r:.80} as {name} of {row}.")
    return [set(tags) for tags in lists]


def _fuzzy_counts(
    own: Sequence[set[str]], wanted: Sequence[set[str]], embedder: str | Embedder, threshold: float
) -> np.ndarray:
    names = sorted(set().union(*own, *wanted))
    vectors = embed(names, embedder)
    place = {name: i for i, name in enumerate(names)}
    counts = []
    for a, b in zip(own, wanted, strict=True):
        left, right = (vectors[[place[name] for name in sorted(tags)]] for tags in (a, b))
        near = left @ right.T > threshold if a and b else np.zeros((len(a), len(b)), bool)
        counts.append([near.any(axis=1).sum(), len(a), near.any(axis=0).sum(), len(b)])
    return np.array(counts)


def _micro(counts: np.ndarray) -> Score:
    """Score counts of (predicted tags that match, predicted, gold tags that match, gold), one row for each query."""
    right, predicted, met, gold = (int(total) for total in counts.sum(axis=0))
    return _score(right / predicted if predicted else 0.0, met / gold if gold else 0.0)


def _macro(counts: np.ndarray) -> Score:
    each = [_micro(row[None]) if row[1] or row[3] else Score(1.0, 1.0, 1.0) for row in counts]
    return Score(*(float(value) for value in np.mean(each, axis=0)))


def _score(precision: float, recall: float) -> Score:
    total = precision + recall
    return Score(precision, recall, 2 * precision * recall / total if total else 0.0)


def _interval(counts: np.ndarray, seed: int) -> tuple[float, float]:
    draw = np.random.default_rng(seed)
    f1 = [_micro(counts[draw.integers(0, len(counts), len(counts))]).f1 for _ in range(RESAMPLES)]
    low, high = np.quantile(f1, [0.025, 0.975])
    return float(low), float(high)


def majority(votes: Sequence[T]) -> T | None:
    """Return what more than half of the votes are for; `None` where nothing has so many.

    Example:
        >>> majority([True, True, False]), majority([True, False])
        (True, None)
    """
    value, most = Counter(votes).most_common(1)[0] if votes else (None, 0)
    return value if 2 * most > len(votes) else None


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Measure how far two raters agree beyond chance (Cohen 1960).

    Args:
        first: One rater's answer to each case.
        second: The other's answers to the same cases, in the same order.

    Returns:
        At most 1, which is full agreement; 0 is what chance alone would give. `None` where both gave one and the same
        answer throughout: chance alone would agree just as well then, so kappa has nothing to say.

    Raises:
        InputError: The lists are empty or of different lengths.

    Example:
        >>> cohen_kappa("yynn", "ynnn")
        0.5
    """
    if not len(first) or len(first) != len(second):
        raise InputError(f"cohen_kappa: expected two answers for each case, found {len(first)} and {len(second)}.")
    cases, own, other = len(first), Counter(first), Counter(second)
    agreed = sum(a == b for a, b in zip(first, second, strict=True))
    chance = sum(own[answer] * other[answer] for answer in own)  # of cases², so that all numbers stay whole
    return None if chance == cases**2 else (cases * agreed - chance) / (cases**2 - chance)


def fleiss_kappa(ratings: Sequence[Sequence[Hashable]]) -> float | None:
    """Measure how far several raters agree beyond chance (Fleiss 1971); they need not be the same for each case.

    Args:
        ratings: The answers to each case, of as many raters for each; their order does not matter.

    Returns:
        At most 1; `None` where all answers to all cases are one and the same, as for `cohen_kappa`.

    Raises:
        InputError: There is no case, or cases have different numbers of raters, or fewer than two.

    Example:
        >>> fleiss_kappa(["yyy", "nnn", "yyn", "ynn"])
        0.3333333333333333
    """
    sizes = sorted({len(answers) for answers in ratings})
    if len(sizes) != 1 or sizes[0] < 2:
        raise InputError(f"fleiss_kappa: expected as many raters for each case, two at least, found {sizes}.")
    counted = [Counter(answers) for answers in ratings]
    raters, answers = sizes[0], sizes[0] * len(ratings)
    pairs = sum(count**2 for counts in counted for count in counts.values()) - answers
    chance = sum(count**2 for count in sum(counted, Counter()).values())  # of answers², so that numbers stay whole
    if chance == answers**2:
        return None
    return (pairs * answers - (raters - 1) * chance) / ((raters - 1) * (answers**2 - chance))
