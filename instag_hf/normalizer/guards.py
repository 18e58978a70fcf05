"""Which tags must stay apart, although they look alike to an embedding: each refusal has its reason.

Embeddings place `english to french` beside `french to english`, `increase` beside `decrease` and `java` beside
`javascript`. What these have in common is that the difference lies in few letters or in the order, so it is read here.
"""

import functools
from collections import Counter
from collections.abc import Sequence

from instag_hf.embeddings import Embedder
from instag_hf.normalizer.groups import Verdict
from instag_hf.normalizer.spelling import common, words

_NUMBERS = frozenset(
    "zero one two three four five six seven eight nine ten eleven twelve hundred thousand million billion first second "
    "third fourth fifth half quarter single double triple binary ternary unary monthly weekly daily yearly annual hourly "
    "primary secondary tertiary bachelor master doctoral".split()
)
_LANGUAGES = (
    "english french german spanish italian portuguese dutch russian chinese mandarin cantonese japanese korean arabic "
    "hebrew hindi urdu bengali tamil telugu turkish persian polish ukrainian czech hungarian romanian greek latin swedish "
    "norwegian danish finnish vietnamese thai indonesian malay swahili sanskrit american british indian canadian "
    "australian african european asian mexican brazilian irish scottish egyptian roman"
).split()
_TECHNOLOGIES = (
    "python java javascript typescript rust php ruby swift swiftui kotlin scala perl haskell lua matlab julia dart "
    "fortran cobol html css xml json yaml csv sql mysql sqlite postgresql mongodb nosql redis react angular vue svelte "
    "jquery django flask fastapi laravel spring express node bash powershell linux windows macos ios android excel word "
    "powerpoint aws azure docker kubernetes git github tensorflow pytorch keras pandas numpy latex markdown unity vba "
    "arduino hadoop spark kafka graphql"
).split()
_TIMES = (
    "monday tuesday wednesday thursday friday saturday sunday january february march april june july august september "
    "october november december spring summer autumn winter morning afternoon evening ancient medieval modern"
).split()
_NAMES = frozenset(_LANGUAGES + _TECHNOLOGIES + _TIMES)
_SUFFIXED = {f"{name}js": name for name in ("react", "angular", "vue", "node", "express")} | {
    "cpp": "c++", "csharp": "c#", "dotnet": ".net", "golang": "go", "postgres": "postgresql",
}  # fmt: skip
_DIRECTIONS = frozenset(
    {"to", "into", "from", "than", "over", "versus", "vs", "before", "after", "by", "via", "against"}
)
_NEGATIONS = frozenset({"not", "no", "non", "never", "without", "neither", "nor", "anti", "cannot", "dont", "lack"})
_OPPOSITES = (
    "increase decrease|increasing decreasing|positive negative|front back|frontend backend|male female|man woman|boy girl|"
    "input output|encode decode|encoding decoding|encrypt decrypt|encryption decryption|compress decompress|"
    "import export|maximum minimum|max min|maximize minimize|maximization minimization|high low|higher lower|"
    "long short|longer shorter|large small|larger smaller|big small|ascending descending|ascend descend|"
    "upper lower|uppercase lowercase|up down|left right|top bottom|internal external|inner outer|indoor outdoor|"
    "addition subtraction|add subtract|multiplication division|multiply divide|sum difference|"
    "advantage disadvantage|pro con|benefit drawback|strength weakness|start end|begin end|open close|opening closing|"
    "buy sell|buying selling|lend borrow|win lose|success failure|gain loss|profit loss|hot cold|warm cold|wet dry|"
    "past future|past present|present future|old new|ancient modern|young old|early late|before after|"
    "cause effect|question answer|push pull|send receive|upload download|client server|employee employer|"
    "teacher student|parent child|mother father|son daughter|brother sister|husband wife|king queen|hero villain|"
    "active passive|absolute relative|abstract concrete|theory practice|theoretical practical|general specific|"
    "simple complex|easy difficult|easy hard|static dynamic|public private|local global|national international|"
    "macro micro|macroeconomics microeconomics|hardware software|serial parallel|synchronous asynchronous|"
    "explicit implicit|inclusion exclusion|include exclude|acceptance rejection|accept reject|allow deny|"
    "formal casual|optimistic pessimistic|happy sad|love hate|good bad|good evil|best worst|better worse|"
    "rise fall|growth decline|expansion contraction|inflation deflation|war peace|life death|birth death|"
    "inductive deductive|induction deduction|qualitative quantitative|objective subjective|singular plural|"
    "prefix suffix|horizontal vertical|row column|even odd|integral derivative|integration differentiation|"
    "true false|same different|similarity difference|analog digital|offline online|manual automatic|create delete|"
    "insert delete|insertion deletion|add remove|enable disable|attack defense|offense defense|supply demand|"
    "protagonist antagonist|prosecution defense|plaintiff defendant|victim perpetrator|landlord tenant|debit credit|"
    "asset liability|revenue expense|income expense|export import|arrival departure|north south|east west|day night|"
    "black white|heaven hell|dog cat|sun moon"
)
_PREFIXES = ("non", "un", "in", "im", "il", "ir", "dis", "anti", "counter", "mis", "de", "a", "asyn", "multi", "sub")


def _opposites() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for pair in _OPPOSITES.split("|"):
        one, other = pair.split()
        for a, b in ((one, other), (other, one)):
            found.setdefault(a, set()).add(b)
    return found


_OPPOSITE = _opposites()


class Marks:
    """What a tag has that keeps it apart from others."""

    __slots__ = ("directed", "names", "negations", "numbers", "sides", "words")

    def __init__(self, tag: str) -> None:
        """Read the marks."""
        found = [_SUFFIXED.get(word, word) for word in map(_singular, words(tag))]
        self.words = frozenset(found)
        self.names = frozenset(word for word in found if _is_name(word))
        self.numbers = Counter(word for word in found if word in _NUMBERS or any(char.isdigit() for char in word))
        self.negations = len([word for word in found if word in _NEGATIONS])
        at = next((at for at, word in enumerate(found) if word in _DIRECTIONS and 0 < at < len(found) - 1), None)
        self.directed = at is not None
        self.sides = (tuple(found[:at]), tuple(found[at + 1 :])) if at is not None else ((), ())


@functools.lru_cache(1 << 17)
def marks(tag: str) -> Marks:
    """Read the marks of a tag, once."""
    return Marks(tag)


def apart(one: str, other: str) -> str:
    """Say why two tags must never be one, `""` if nothing speaks against it.

    Example:
        >>> apart("english to french", "french to english")
        'direction'
        >>> apart("c++", "c#"), apart("python 2", "python 3"), apart("film review", "movie review")
        ('name', 'number', '')
    """
    a, b = marks(one), marks(other)
    if a.directed and b.directed and a.sides != b.sides and set(a.sides[0] + a.sides[1]) & set(b.sides[0] + b.sides[1]):
        return "direction"
    if a.names != b.names:
        return "name"
    if a.numbers != b.numbers:
        return "number"
    if a.negations != b.negations:
        return "negation"
    return "opposites" if _opposed(a.words - b.words, b.words - a.words) else ""


def _opposed(mine: frozenset[str], theirs: frozenset[str]) -> bool:
    for word in mine:
        if _OPPOSITE.get(word, set()) & theirs:
            return True
        if len(word) > 3 and any(prefix + word in theirs for prefix in _PREFIXES):
            return True
    return any(len(word) > 3 and any(prefix + word in mine for prefix in _PREFIXES) for word in theirs)


def _is_name(word: str) -> bool:
    return word in _NAMES or any(char in "+#.*" for char in word)


@functools.lru_cache(1 << 17)
def _singular(word: str) -> str:
    """Take a plural's s off, so that `advantages` and `disadvantage` are seen as opposites too."""
    plain = common(word)
    return plain[:-1] if len(plain) > 3 and plain.endswith("s") and not plain.endswith(("ss", "us", "is")) else plain


def judge(embedder: str | Embedder, tags: Sequence[str]) -> Verdict:
    """Return the verdict on pairs of these tags that an embedding finds near."""
    return functools.cache(apart)
