"""Tags that come with another: association rules of one tag on each side (paper section 3.2).

A rule a => b says that nearly every row with a has b too. Among itemsets of two, FP-Growth counts what a product of the
sparse row-by-tag matrix with itself counts at once.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from instag_hf.errors import InputError, MissingError
from instag_hf.normalizer.graphs import components, sparse
from instag_hf.normalizer.groups import Groups, Verdict, no_verdict, rank
from instag_hf.rows.columns import TagColumn

MINERS = ("sparse", "mlxtend")
BLOCK = 512


class Rule(NamedTuple):
    """Rows with `tag` have `companion` too.

    `support` is the number of rows that have both, `confidence` its share of the rows that have `tag`, 0 to 1.
    """

    tag: str
    companion: str
    support: int
    confidence: float


def mine(
    column: TagColumn, *, min_support: int = 40, min_confidence: float = 0.99, miner: str = "sparse"
) -> list[Rule]:
    """Find every rule of one tag on each side, most confident first.

    Args:
        column: The rows' tags.
        min_support: Rows that must have both.
        min_confidence: Share of the rows with the one tag that must have the other too, above 0 to 1.
        miner: "sparse", or "mlxtend" for its FP-Growth, which gives the same rules more slowly.

    Raises:
        InputError: There is no such miner.
        MissingError: What the miner needs is not installed.

    Example:
        >>> from instag_hf.rows.columns import read_tags
        >>> mine(read_tags([["loop", "for loop"], ["loop", "for loop"], ["for loop"]]), min_support=2)
        [Rule(tag='loop', companion='for loop', support=2, confidence=1.0)]
    """
    if miner not in MINERS:
        raise InputError(f"normalizer: expected a miner of {list(MINERS)}, found {miner!r}.")
    found = _by_product if miner == "sparse" else _by_growth
    rules = found(column, min_support, min_confidence)
    return sorted(rules, key=lambda rule: (-rule.confidence, -rule.support, rule.tag, rule.companion))


def _by_product(column: TagColumn, min_support: int, min_confidence: float) -> Iterator[Rule]:
    counts = column.counts
    kept = np.flatnonzero(counts >= min_support)
    if not len(kept):
        return
    rows = sparse().csr_matrix(
        (np.ones(len(column.codes), np.int32), column.codes, column.starts), (len(column), len(counts))
    )
    by_tag = rows.T.tocsr()[kept]
    for start in range(0, len(kept), BLOCK):  # a block of tags at a time: the whole product may not fit
        both = (by_tag[start : start + BLOCK] @ rows).tocoo()
        tags = kept[start + both.row]
        good = (both.data >= min_support) & (tags != both.col) & (both.data / counts[tags] >= min_confidence)
        for a, b, support in zip(tags[good], both.col[good], both.data[good], strict=True):
            yield Rule(column.names[a], column.names[b], int(support), float(support / counts[a]))


def _by_growth(column: TagColumn, min_support: int, min_confidence: float) -> Iterator[Rule]:
    try:
        import pandas as pd
        from mlxtend.frequent_patterns import fpgrowth
    except ImportError as error:
        raise MissingError('normalizer: needs mlxtend. pip install "instag-hf[normalize]"') from error
    if min_support > len(column):
        return
    has = np.zeros((len(column), len(column.names)), bool)
    has[column.row_numbers, column.codes] = True
    # Its boundary is a share of the rows, and a float rounds up: half a row less takes in what the count takes in.
    found = fpgrowth(pd.DataFrame(has), min_support=(min_support - 0.5) / len(column), max_len=2)
    sets = {items: round(share * len(column)) for items, share in zip(found["itemsets"], found["support"], strict=True)}
    for items, support in sets.items():
        if len(items) == 2:
            for a, b in (tuple(items), tuple(items)[::-1]):
                if support / sets[frozenset({a})] >= min_confidence:
                    yield Rule(column.names[a], column.names[b], support, support / sets[frozenset({a})])


def close(
    rules: Sequence[Rule], counts: Mapping[str, int], verdict: Verdict = no_verdict
) -> tuple[dict[str, Rule], list[tuple[str, str, str]]]:
    """Choose for each tag the rule by which it goes, so that following the rules always ends.

    Tags that imply each other, also round a circle, are one, and the most frequent survives, then the shorter, then the
    first alphabetically. Of several rules the most confident counts, then the one whose companion is rarer, since it
    says more.

    Args:
        rules: Any rules, circles too.
        counts: Rows that have each tag.
        verdict: Why two tags must stay apart, `""` if they need not.

    Returns:
        The rule of each tag that goes, whose companion may go too (`ending` follows them); and what was prevented, with
        reasons.
    """
    prevented = {(rule.tag, rule.companion, why) for rule in rules if (why := verdict(rule.tag, rule.companion))}
    refused = {(one, other) for one, other, _ in prevented}
    rules = [rule for rule in rules if (rule.tag, rule.companion) not in refused]
    rules.sort(key=lambda rule: (-rule.confidence, counts[rule.companion], rule.companion, rule.tag))
    of_tag: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        of_tag[rule.tag].append(rule)
    circle, leaders = _circles(rules, counts)
    groups, chosen = Groups(verdict), dict[str, Rule]()
    for tag in sorted(circle, key=lambda tag: rank(tag, counts)):
        leader = leaders[circle[tag]]
        own = sorted(of_tag[tag], key=lambda rule: (circle[rule.companion] != circle[tag], rule.companion != leader))
        for rule in own:
            inside = circle[rule.companion] == circle[tag]
            if inside and tag == leader:
                continue
            target = leader if inside else rule.companion
            why = groups.join(target, tag)
            if not why:
                chosen[tag] = rule._replace(companion=target)
                break
            prevented.add((tag, target, why))
    return chosen, sorted(prevented)


def ending(tag: str, chosen: Mapping[str, Rule]) -> str:
    """Follow a tag through the rules that `close` chose."""
    while tag in chosen:
        tag = chosen[tag].companion
    return tag


def _circles(rules: Sequence[Rule], counts: Mapping[str, int]) -> tuple[dict[str, int], dict[int, str]]:
    """Number the circles of tags that imply each other, and name the tag that survives of each."""
    names = sorted({tag for rule in rules for tag in (rule.tag, rule.companion)}, key=lambda tag: rank(tag, counts))
    place = {tag: at for at, tag in enumerate(names)}
    ends = [place[rule.tag] for rule in rules], [place[rule.companion] for rule in rules]
    labels = components(len(names), *ends, strong=True)
    circle = {tag: int(label) for tag, label in zip(names, labels, strict=True)}
    leaders: dict[int, str] = {}
    for tag in names:
        leaders.setdefault(circle[tag], tag)
    return circle, leaders
