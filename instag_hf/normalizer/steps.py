"""The four steps of the paper's normalization (section 3.2) as four functions of tags and their counts.

Each takes what the step before left and returns what becomes of the tags that change, with the evidence, and which
merges were prevented and why. None looks at the order of rows.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from instag_hf.embeddings import MINILM, PHRASE_BERT, Embedder, embed
from instag_hf.errors import InputError
from instag_hf.normalizer import rules as mining
from instag_hf.normalizer.density import dbscan, near_pairs
from instag_hf.normalizer.groups import Groups, Verdict, no_verdict, rank
from instag_hf.normalizer.guards import apart_companions
from instag_hf.normalizer.sense import judge
from instag_hf.normalizer.spelling import Spelled, differ, speller, tidy
from instag_hf.rows.columns import TagColumn

STEPS = ("frequency", "spelling", "meaning", "association")
MIN_COUNT = 20
MIN_SUPPORT = 40
MIN_CONFIDENCE = 0.99
MIN_SAMPLES = 2
DISTANCES = {MINILM: 0.12, PHRASE_BERT: 0.05}  # calibrated; the paper's


class FunnelStep(NamedTuple):
    """What a step left: `tags` distinct tags, in `assignments` pairs of a row and a tag."""

    step: str
    tags: int
    assignments: int


class Merge(NamedTuple):
    """What became of a tag in one step, and why.

    Attributes:
        into: The tag that stands for it now; `None` if it was dropped.
        near: The member of its group that it is nearest to (meaning), or that its rule names (association).
        similarity: Their cosine, -1 to 1 (meaning).
        support: Rows that have both (association).
        confidence: Share of the tag's rows that have the other, 0 to 1 (association).
    """

    into: str | None
    near: str = ""
    similarity: float | None = None
    support: int | None = None
    confidence: float | None = None


class Apart(NamedTuple):
    """A merge that a step would have made and did not, with the reason."""

    tag: str
    other: str
    step: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Step:
    """What one step does: the tags that change, and the merges that were prevented."""

    name: str
    merges: dict[str, Merge]
    prevented: tuple[Apart, ...] = ()


def rows_of(column: TagColumn) -> dict[str, int]:
    """Return the number of rows that have each tag."""
    return dict(zip(column.names, column.counts.tolist(), strict=True))


def keep_frequent(counts: Mapping[str, int], *, min_count: int = MIN_COUNT) -> Step:
    """Drop tags that few rows have (the paper's alpha), written as they were: case variants count on their own.

    Args:
        counts: Rows that have each raw tag.
        min_count: Rows that a tag needs; the paper's 20 is for 17 datasets together.

    Raises:
        InputError: No tag is frequent enough.

    Example:
        >>> keep_frequent({"math": 20, "sums": 19}).merges
        {'sums': Merge(into=None, near='', similarity=None, support=None, confidence=None)}
    """
    if counts and max(counts.values()) < min_count:
        most = max(counts.values())
        raise InputError(
            f"normalizer: expected a tag in at least min_count={min_count} rows, found none among {len(counts):,} "
            f"tags: the most frequent is in {most}. Lower it: min_count={most} would keep "
            f"{sum(count == most for count in counts.values()):,} (the paper's 20 is for 17 datasets together)."
        )
    return Step("frequency", {tag: Merge(None) for tag, count in counts.items() if count < min_count})


def merge_spelling(counts: Mapping[str, int], *, stemmer: str = "porter") -> Step:
    """Merge tags that differ in case, symbols, compounds or inflection (the paper's rule aggregation).

    Args:
        counts: Rows that have each tag.
        stemmer: "porter" (the paper's), "snowball" or "none".

    Returns:
        Each tag that changes. A blank one goes; every other is lower-cased, and a group is named by its most frequent
        form, never by a stem.

    Example:
        >>> step = merge_spelling({"Information Retrieval": 30, "information retrieve": 20, "c++": 9, "c#": 9})
        >>> {tag: merge.into for tag, merge in step.merges.items()}
        {'Information Retrieval': 'information retrieval', 'information retrieve': 'information retrieval'}
    """
    spell = speller(stemmer)
    forms: dict[str, int] = defaultdict(int)
    for tag in sorted(counts):
        forms[tidy(tag)] += counts[tag]
    by_key: dict[str, list[tuple[str, Spelled]]] = defaultdict(list)
    for form in sorted(forms, key=lambda form: rank(form, forms)):
        spelled = spell(form)
        by_key[spelled.key].append((form, spelled))
    named: dict[str, str] = {}
    prevented: list[Apart] = []
    for group in by_key.values():
        leaders: list[tuple[str, Spelled]] = []
        for form, spelled in group:
            against = [(leader, differ(own, spelled)) for leader, own in leaders]
            leader = next((leader for leader, why in against if not why), form)
            named[form] = leader
            if leader == form:
                leaders.append((form, spelled))
                prevented += [Apart(form, other, "spelling", why) for other, why in against]
    merges = {tag: Merge(named[tidy(tag)] or None) for tag in counts if not tag or named[tidy(tag)] != tag}
    return Step("spelling", merges, tuple(sorted(prevented)))


def merge_meaning(
    counts: Mapping[str, int],
    *,
    embedder: str | Embedder = MINILM,
    max_distance: float | None = None,
    min_samples: int = MIN_SAMPLES,
    guards: bool = True,
) -> Step:
    """Merge tags whose embeddings lie densely together (DBSCAN; the paper's semantic aggregation).

    Args:
        counts: Rows that have each tag.
        embedder: As in `embed`.
        max_distance: Cosine distance up to which two tags are near, 0 to 2; `None` for an embedder that is calibrated.
        min_samples: DBSCAN's; with 2 whatever is near is merged.
        guards: Whether to keep apart what embeddings confuse; a cluster that holds such a pair is split, dropping its
            longest links first.

    Raises:
        InputError: The distance is not given and not known.
    """
    max_distance = calibrated(embedder) if max_distance is None else max_distance
    names = sorted(counts, key=lambda tag: rank(tag, counts))
    pairs, distances = near_pairs(embed(names, embedder), max_distance)
    near = [(names[i], names[j]) for i, j in pairs]
    verdict = judge(embedder, max_distance, near) if guards else no_verdict
    reasons = [verdict(one, other) for one, other in near]
    prevented = [Apart(names[j], names[i], "meaning", why) for (i, j), why in zip(pairs, reasons, strict=True) if why]
    allowed = np.array([not why for why in reasons], bool)
    pairs, distances = pairs[allowed], distances[allowed]
    labels = dbscan(len(names), pairs, min_samples)
    inside = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    inside &= labels[pairs[:, 0]] >= 0
    pairs, distances = pairs[inside], distances[inside].round(5)
    groups = Groups(verdict)
    for at in np.lexsort((pairs[:, 1], pairs[:, 0], distances)):
        i, j = pairs[at]
        if why := groups.join(names[i], names[j]):
            prevented.append(Apart(names[j], names[i], "meaning", why))
    return Step("meaning", _named(groups, names, pairs, distances), tuple(sorted(prevented)))


def _named(groups: Groups, names: Sequence[str], pairs: np.ndarray, distances: np.ndarray) -> dict[str, Merge]:
    """Name each group by its first member in `names`, and find for every other the member that it is nearest to."""
    place = {tag: at for at, tag in enumerate(names)}
    nearest: dict[str, tuple[float, int]] = {}
    for (i, j), distance in zip(pairs.tolist(), distances.tolist(), strict=True):
        if groups.of(names[i]) is groups.of(names[j]):
            for tag, other in ((names[i], j), (names[j], i)):
                nearest[tag] = min(nearest.get(tag, (9.0, 0)), (distance, other))
    merges: dict[str, Merge] = {}
    leaders: dict[str, str] = {}
    for tag, (distance, other) in nearest.items():
        group = groups.of(tag)
        if group[0] not in leaders:
            leaders[group[0]] = min(group, key=place.__getitem__)
        if (into := leaders[group[0]]) != tag:
            merges[tag] = Merge(into, near=names[other], similarity=round(1 - distance, 5))
    return merges


def calibrated(embedder: str | Embedder) -> float:
    """Return the distance at which an embedder was calibrated.

    Raises:
        InputError: It was not.
    """
    name = embedder.removeprefix("sentence-transformers/") if isinstance(embedder, str) else None
    if name not in DISTANCES:
        raise InputError(
            f"normalizer: expected max_distance= for an embedder that is not one of {list(DISTANCES)}, found none."
        )
    return DISTANCES[name]


def merge_companions(
    column: TagColumn,
    *,
    min_support: int = MIN_SUPPORT,
    min_confidence: float = MIN_CONFIDENCE,
    miner: str = "sparse",
    guards: bool = True,
) -> Step:
    """Replace a tag by the one that nearly all its rows have too, until no rule holds (the paper's association step).

    Merging changes what occurs together, so rules are mined again until there are none; each round leaves fewer tags.

    Args:
        column: The rows' tags, as the steps before left them.
        min_support: Rows that must have both.
        min_confidence: Share of the one's rows that must have the other, above 0 to 1.
        miner: As in `rules.mine`.
        guards: Whether to keep names, numbers, negations, directions and opposites apart.
    """
    ends: dict[str, Merge] = {}
    prevented: dict[tuple[str, str], str] = {}
    members: dict[str, list[str]] = {}
    verdict = _of_members(members) if guards else no_verdict
    while True:
        found = mining.mine(column, min_support=min_support, min_confidence=min_confidence, miner=miner)
        chosen, against = mining.close(found, rows_of(column), verdict)
        prevented.update({(tag, other): why for tag, other, why in against})
        if not chosen:
            break
        for tag, rule in chosen.items():
            confidence = round(rule.confidence, 5)
            ends[tag] = Merge(rule.companion, near=rule.companion, support=rule.support, confidence=confidence)
            end = mining.ending(tag, chosen)
            members.setdefault(end, [end]).extend(members.pop(tag, [tag]))
        column = column.relabel([mining.ending(name, chosen) for name in column.names])
    for tag, merge in ends.items():
        while merge.into in ends:
            merge = merge._replace(into=ends[merge.into].into)
        ends[tag] = merge
    left = tuple(sorted(Apart(tag, other, "association", why) for (tag, other), why in prevented.items()))
    return Step("association", ends, left)


def _of_members(members: Mapping[str, Sequence[str]]) -> Verdict:
    """Judge a tag by all that earlier rounds merged into it."""

    def verdict(one: str, other: str) -> str:
        for a in members.get(one, [one]):
            for b in members.get(other, [other]):
                if why := apart_companions(a, b):
                    return why if (a, b) == (one, other) else f"{why}: {a} / {b}"
        return ""

    return verdict
