"""Which tags must stay apart, although they look alike to an embedding: each refusal has its reason.

Embeddings place `english to french` beside `french to english`, `increase` beside `decrease` and `java` beside
`javascript`. What these have in common is that the difference lies in few letters or in the order, so it is read here.
"""

import functools
from collections import Counter

from instag_hf.normalizer import lexicon
from instag_hf.normalizer.spelling import common, words

NAMES = frozenset(lexicon.words("names", "peoples") + lexicon.words("names", "times"))
TECHNOLOGIES = frozenset(lexicon.words("names", "technologies"))
_ALIASES = dict(lexicon.pairs("names", "aliases"))
_NUMBERS = frozenset(lexicon.words("marks", "numbers"))
_DIRECTIONS = frozenset(lexicon.words("marks", "directions"))
_LETTERS = frozenset("bcdefghijklmnopqrstuvwxyz")  # a is an article
_NEGATIONS = frozenset(lexicon.words("marks", "negations"))
_PREFIXES = tuple(lexicon.words("marks", "prefixes"))


def _both_ways(name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one, other in lexicon.pairs("marks", name):
        found.setdefault(one, set()).add(other)
        found.setdefault(other, set()).add(one)
    return found


_OPPOSITES = _both_ways("opposites")
_ALIKE = _both_ways("alike")


class Marks:
    """What a tag has that keeps it apart from others."""

    __slots__ = ("directed", "names", "negations", "numbers", "sides", "words")

    def __init__(self, tag: str) -> None:
        """Read the marks."""
        found = [_ALIASES.get(word, word) for word in map(_singular, words(tag))]
        self.words = frozenset(found)
        letters = {word for word in found if len(found) > 1 and word in _LETTERS}
        self.names = frozenset(word for word in found if is_name(word)) | letters  # c programming, vitamin d
        self.numbers = Counter(word for word in found if word in _NUMBERS or any(char.isdigit() for char in word))
        self.negations = len([word for word in found if word in _NEGATIONS])
        at = next((at for at, word in enumerate(found) if word in _DIRECTIONS and 0 < at < len(found) - 1), None)
        self.directed = at is not None
        self.sides = (tuple(found[:at]), tuple(found[at + 1 :])) if at is not None else ((), ())


marks = functools.lru_cache(1 << 17)(Marks)


def apart(one: str, other: str) -> str:
    """Say why two tags must never be one, `""` if nothing speaks against it.

    Example:
        >>> apart("english to french", "french to english")
        'direction'
        >>> apart("c++", "c#"), apart("python 2", "python 3"), apart("film review", "movie review")
        ('name', 'number', '')
    """
    a, b = marks(one), marks(other)
    if a.directed and b.directed and a.sides != b.sides and set(sum(a.sides, ())) & set(sum(b.sides, ())):
        return "direction"
    if a.names != b.names:
        return "name"
    if a.numbers != b.numbers:
        return "number"
    if a.negations != b.negations:
        return "negation"
    mine, theirs = a.words - b.words, b.words - a.words
    if _paired(_ALIKE, mine, theirs):
        return "look alike"
    return "opposites" if _paired(_OPPOSITES, mine, theirs) or _prefixed(mine, theirs) else ""


def _paired(pairs: dict[str, set[str]], mine: frozenset[str], theirs: frozenset[str]) -> bool:
    return any(pairs.get(word, set()) & theirs for word in mine)


def _prefixed(mine: frozenset[str], theirs: frozenset[str]) -> bool:
    """Find a word that the other tag has with a prefix that turns it: formal, informal."""
    return any(
        len(word) > 3 and any(prefix + word in others for prefix in _PREFIXES)
        for words, others in ((mine, theirs), (theirs, mine))
        for word in words
    )


def apart_companions(one: str, other: str) -> str:
    """Say why of two tags that come together neither may stand for the other, `""` if nothing speaks against it.

    That one names something and the other does not is no reason here, unless they look alike: `flask` may go where
    `python` always is, `c` not where `c++` is.

    Example:
        >>> apart_companions("flask", "python"), apart_companions("c", "c++"), apart_companions("python 2", "python 3")
        ('', 'name', 'number')
    """
    why = apart(one, other)
    return why if why not in {"name", "number", "negation"} or _look_alike(marks(one).words, marks(other).words) else ""


def _look_alike(mine: frozenset[str], theirs: frozenset[str]) -> bool:
    mine, theirs = (frozenset(word.strip("+#.*") for word in words) for words in (mine, theirs))
    if mine & theirs:
        return True
    pairs = ((a, b) for a in mine for b in theirs if min(len(a), len(b)) > 2)
    return any(a.startswith(b) or b.startswith(a) or a.endswith(b) or b.endswith(a) for a, b in pairs)


def is_name(word: str) -> bool:
    """Tell whether a word names a language, a technology, a people or a time, or is made of symbols, such as c++."""
    return word in NAMES or word in TECHNOLOGIES or any(char in "+#.*" for char in word)


@functools.lru_cache(1 << 17)
def _singular(word: str) -> str:
    """Take a plural's s off, so that `advantages` and `disadvantage` are seen as opposites too."""
    plain = common(word)
    if plain in _ALIASES or plain in TECHNOLOGIES:
        return plain
    return plain[:-1] if len(plain) > 3 and plain.endswith("s") and not plain.endswith(("ss", "us", "is")) else plain
