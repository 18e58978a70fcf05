"""When two tags are one tag written differently: case, symbols, compounds, inflection, British and American.

The paper lower-cases, replaces special characters by spaces and stems (section 3.2). Taken literally this merges `c`,
`c++` and `c#`, and Porter's stems merge `animal` with `animation`. So symbols that belong to a name stay in the key,
and of the words that share a stem only those that differ by their inflection are one.
"""

import functools
import re
import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple

from instag_hf.errors import InputError, MissingError
from instag_hf.normalizer import lexicon

STEMMERS = ("porter", "snowball", "none")

_APOSTROPHES = dict.fromkeys(map(ord, "'’ʼ`´"))
_SEPARATORS = frozenset(',;:/\\"!?.|…·•«»')
# Endings of one stem by which words may differ and still be the same.
_INFLECTIONS = (
    frozenset({"", "s", "es", "e", "ed", "d", "ing"}),
    frozenset({"y", "ies", "ied", "ying"}),
)
_NOUNS_OF_VERBS = frozenset({"e", "es", "ed", "ing", "al", "als"})  # after a v: retrieval (paper, Tab. 1), not animals
_OWN = frozenset(  # pandas is not two pandas
    lexicon.words("common", "own")
    + lexicon.words("names", "technologies")
    + [alias for alias, _ in lexicon.pairs("names", "aliases")]
)
_IRREGULAR = dict(lexicon.pairs("common", "irregular"))
_SHORT = lexicon.phrases("common", "short")
_BRITISH = dict(lexicon.pairs("common", "british"))
_BRITISH_ENDINGS = (
    (re.compile(r"(?<=[a-z]{3})our(?=$|s$|ing|ed$|ite|al|able|ful|hood)"), "or"),  # behaviour, not four
    (re.compile(r"(?<=[a-z]{3})is(?=(e|es|ed|er|ers|ing|ation|ations)$)"), "iz"),
    (re.compile(r"(?<=[a-z]{3})ys(?=(e|ed|er|ers|ing)$)"), "yz"),
    (re.compile(r"(?<=[a-z]{3}og)ue(?=s?$)"), ""),
    (re.compile(r"(?<=travel|cancel|signal)l(?=ing$|ed$|er$|ers$)"), ""),
    (re.compile(r"(?<=model|label|level|panel)l(?=ing$|ed$|er$|ers$)"), ""),
)


class Spelled(NamedTuple):
    """A tag as its spelling step sees it: words, their stems, and the key that groups it."""

    words: tuple[str, ...]
    stems: tuple[str, ...]
    key: str


def tidy(tag: str) -> str:
    """Write a tag as vocabularies do: NFKC, lower case, single spaces.

    Example:
        >>> tidy("  Information  Retrieval ")
        'information retrieval'
    """
    return " ".join(unicodedata.normalize("NFKC", tag).lower().split())


@functools.lru_cache(1 << 18)
def words(tag: str) -> tuple[str, ...]:
    """Split a tag into words, short forms in full, keeping the symbols that make a name: c++, c#, .net, a*.

    Letters of any script count, with their marks; apostrophes go, other symbols are spaces. A tag of nothing but
    symbols is one word.

    Example:
        >>> words("C++ / .NET, the beginner's how-to")
        ('c++', '.net', 'the', 'beginners', 'how', 'to')
    """
    text = unicodedata.normalize("NFKC", tag).casefold().replace("&", " and ").translate(_APOSTROPHES)
    found = [full for part in text.split() for word in _words_of(part) for full in _SHORT.get(word, (word,))]
    once = [word for word, before in zip(found, ["", *found], strict=False) if word != before]
    return tuple(once or text.split() or [tag])


def _words_of(part: str) -> list[str]:
    if not any(_is_letter(char) for char in part):
        return [] if all(_is_separator(char) for char in part) else [part]
    out: list[str] = []
    for at, char in enumerate(part):
        before, after = out[-1] if out else "", part[at + 1 : at + 2]
        if _is_letter(char):
            out.append(char)
        elif unicodedata.category(char) == "Cf":  # joiners inside words of some scripts
            continue
        elif _belongs_to_name(char, before, after, at, len(part)):
            out.append(char)
        else:
            out.append(" ")
    return "".join(out).split()


def _belongs_to_name(char: str, before: str, after: str, at: int, length: int) -> bool:
    if char in "+#":
        return bool(before.strip()) and not after.isalpha()
    if char == ".":
        return not before.strip() and after.isalpha()
    if char == "*":
        return at == 1 and length == 2
    return char == "%" and before.isdigit()


def _is_letter(char: str) -> bool:
    return unicodedata.category(char)[0] in "LNM"


def _is_separator(char: str) -> bool:
    return char in _SEPARATORS or unicodedata.category(char)[0] in "ZC" or unicodedata.category(char)[:2] in _PAIRED


_PAIRED = frozenset({"Pd", "Ps", "Pe", "Pi", "Pf", "Pc"})


def speller(stemmer: str = "porter") -> Callable[[str], Spelled]:
    """Return the function from a tag to its words, stems and key.

    Args:
        stemmer: "porter" (the paper's), "snowball" (Porter's later English one) or "none".

    Raises:
        InputError: There is no such stemmer.
        MissingError: The package with the stemmers is not installed.
    """
    if stemmer not in STEMMERS:
        raise InputError(f"normalizer: expected a stemmer of {list(STEMMERS)}, found {stemmer!r}.")
    stem = _stem_function(stemmer)

    def spell(tag: str) -> Spelled:
        found = words(tag)
        stems = tuple(stem(word) for word in found)
        return Spelled(found, stems, _joined(stems))

    return spell


@functools.lru_cache
def _stem_function(stemmer: str) -> Callable[[str], str]:
    if stemmer == "none":
        return common
    try:
        import snowballstemmer
    except ImportError as error:
        raise MissingError('normalizer: needs snowballstemmer. pip install "instag-hf[normalize]"') from error
    made: Any = snowballstemmer.stemmer({"snowball": "english"}.get(stemmer, stemmer))

    @functools.lru_cache(1 << 18)
    def plain(word: str) -> str:
        return word if word in _OWN or len(word) < 3 else str(made.stemWord(common(word)))

    return plain


@functools.lru_cache(1 << 18)
def common(word: str) -> str:
    """Write a word in its common form: American, and singular where a stemmer does not know the plural.

    Example:
        >>> common("behaviour"), common("criteria"), common("four")
        ('behavior', 'criterion', 'four')
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if (british := word.removesuffix("s")) in _BRITISH:
        return _BRITISH[british] + word[len(british) :]
    if word in _BRITISH:
        return _BRITISH[word]
    if len(word) > 5 and word.isascii():
        for pattern, american in _BRITISH_ENDINGS:
            word = pattern.sub(american, word)
    return word


def _joined(stems: tuple[str, ...]) -> str:
    """Join stems, so that open, hyphenated and closed compounds are one; numbers stay apart."""
    text = stems[0]
    for stem in stems[1:]:
        text += stem if text[-1].isalpha() and stem[0].isalpha() and len(stem) > 1 and len(text) > 1 else " " + stem
    return text


def differ(one: Spelled, other: Spelled) -> str:
    """Say why two tags of one key are not the same word, `""` if they are.

    Words of one stem are the same if only their inflection differs; `animal` and `animation` share a stem and no more.
    On its own, a word in -ing may have a meaning of its own (`nursing`, `setting`), so that step decides.
    """
    if len(one.words) == len(other.words) == 1 and one.words[0].endswith("ing") != other.words[0].endswith("ing"):
        return f"{one.words[0]} and {other.words[0]} may mean two things"
    if len(one.words) != len(other.words):  # a compound, of which only the end may be inflected
        pairs = [("".join(one.words), "".join(other.words))]
    else:
        pairs = list(zip(one.words, other.words, strict=True))
    for a, b in pairs:
        if not same_word(common(a), common(b)):
            return f"{a} and {b} share a stem only"
    return ""


@functools.lru_cache(1 << 18)
def same_word(a: str, b: str) -> bool:
    """Tell whether two words of one stem differ by inflection only.

    Example:
        >>> same_word("retrieve", "retrieval"), same_word("animal", "animation")
        (True, False)
    """
    if a == b:
        return True
    if {a, b} & _OWN or min(len(a), len(b)) < 3:
        return False
    shared = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    ends = {_ending(a, shared), _ending(b, shared)}
    return any(ends <= endings for endings in _INFLECTIONS) or (a[shared - 1] == "v" and ends <= _NOUNS_OF_VERBS)


def _ending(word: str, shared: int) -> str:
    """Cut what comes after the shared part; a doubled consonant (plan, planning) belongs to the shared part."""
    end = word[shared:]
    return end[1:] if len(end) > 1 and shared and end[0] == word[shared - 1] and end[0] not in "aeiou" else end
