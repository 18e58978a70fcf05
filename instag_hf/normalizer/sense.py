"""Whether two tags that an embedding finds near mean the same: read from the words in which they differ.

The words that two tags share bring them nearer, whatever the others say: `stakeholder analysis` lies as near to
`stakeholder management` as `film review` to `movie review`. So the words that differ must be near by themselves.
"""

import functools
from collections.abc import Iterable

import numpy as np

from instag_hf.embeddings import Embedder, embed
from instag_hf.normalizer import lexicon
from instag_hf.normalizer.groups import Verdict
from instag_hf.normalizer.guards import TECHNOLOGIES, apart, is_name
from instag_hf.normalizer.spelling import Spelled, speller

# How many times as far apart as two tags the words may lie in which they differ. Calibrated, as `max_distance` is.
WORDS = 10 / 3

_EMPTY = frozenset(lexicon.words("empty", "words"))
_OF_TECHNOLOGIES = frozenset(lexicon.words("empty", "after_a_technology"))
_VERBS = frozenset(lexicon.words("empty", "verbs"))
_TURNING = frozenset({"for", "of", "about"})
_JOINING = frozenset({"and", "or"})


class Difference:
    """The words of two tags that the other has not, and whether those that they share stand in the same order."""

    __slots__ = ("mine", "same_order", "theirs")

    def __init__(self, one: Spelled, other: Spelled) -> None:
        """Compare two tags by their stems."""
        a, b = _content(one), _content(other)
        self.mine = [word for word, stem in a if stem not in {stem for _, stem in b}]
        self.theirs = [word for word, stem in b if stem not in {stem for _, stem in a}]
        stems = [[stem for _, stem in each] for each in (a, b)]
        loose = _JOINING & set(one.words) & set(other.words) or _VERBS & {*one.words, *other.words}
        self.same_order = stems[0] == stems[1] or bool(loose)


def _content(spelled: Spelled) -> list[tuple[str, str]]:
    """Take out the words that say nothing, and turn `request for information` into `information request`."""
    pairs = list(zip(spelled.words, spelled.stems, strict=True))
    at = next((at for at, (word, _) in enumerate(pairs) if word in _TURNING and 0 < at < len(pairs) - 1), None)
    if at is not None:
        pairs = pairs[at + 1 :] + pairs[:at]
    full = [pair for pair in pairs if pair[0] not in _EMPTY]
    if any(word in TECHNOLOGIES or is_name(word) for word, _ in full):
        full = [pair for pair in full if pair[0] not in _OF_TECHNOLOGIES]
    return full or pairs


def judge(embedder: str | Embedder, max_distance: float, pairs: Iterable[tuple[str, str]]) -> Verdict:
    """Return the verdict on near pairs, and on what they chain together.

    Args:
        embedder: What found them near.
        max_distance: How near, as cosine distance.
        pairs: The pairs, so that the words in which they differ are embedded together.
    """
    spell = functools.cache(speller())
    nearer = _Words(embedder, 1 - WORDS * max_distance)

    @functools.cache
    def verdict(one: str, other: str) -> str:
        if why := apart(one, other):
            return why
        difference = Difference(spell(one), spell(other))
        if any(len(word) == 1 and word.isascii() for word in difference.mine + difference.theirs):
            return "name"  # c programming, r programming
        if difference.mine and difference.theirs:
            return "" if nearer(" ".join(difference.mine), " ".join(difference.theirs)) else "other words"
        if difference.mine or difference.theirs:
            return "narrower"
        return "" if difference.same_order else "order"

    different = [Difference(spell(one), spell(other)) for one, other in pairs if not apart(one, other)]
    nearer.learn(
        " ".join(words) for each in different if each.mine and each.theirs for words in (each.mine, each.theirs)
    )
    return verdict


class _Words:
    """Tells whether two wordings are near, and embeds each once."""

    def __init__(self, embedder: str | Embedder, min_cosine: float) -> None:
        self._embedder = embedder
        self._min_cosine = min_cosine
        self._vectors: dict[str, np.ndarray] = {}

    def learn(self, wordings: Iterable[str]) -> None:
        new = sorted({wording for wording in wordings if wording not in self._vectors})
        self._vectors.update(zip(new, embed(new, self._embedder), strict=True))

    def __call__(self, one: str, other: str) -> bool:
        self.learn((one, other))
        return float(self._vectors[one] @ self._vectors[other]) >= self._min_cosine
