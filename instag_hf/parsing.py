"""Reply in, tags out, or a `ReplyError` that says why (paper section 3.1 and appendix C for the JSON format).

Two formats exist: "json", the paper's list of `{"tag", "explanation"}`, and "compact", `tag; tag; tag`. Models drift
from JSON in known ways (fences, prose around, single quotes, a lone object, bare strings, a cut end); those are read,
since the meaning is plain. Everything else is an error: a guess would be a failure that looks like data.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from instag_hf.errors import InputError, ReplyError
from instag_hf.rows import clean

PARSER = "1"  # state of every Tagger: raise it when any reply would be read differently
MAX_TAG_CHARS = 80
MAX_COMPACT_WORDS = 6

# The shape of a list of tags, for servers that can hold a model to it. Bounds keep the automaton small, and one
# expression for all requests is compiled once. A schema says the same to servers that know no expressions.
GRAMMAR = "tag-list-1"  # state of every Tagger that uses it: rename it when any reply could be shaped differently
_JSON_TEXT = r'"([^"\\\x00-\x1f]|\\["\\/bfnrt]){%s}"'
_JSON_TAG = r'\{"tag": ?' + _JSON_TEXT % "1,60" + r', ?"explanation": ?' + _JSON_TEXT % "0,240" + r"\}"
TAG_LIST_REGEX = rf"\[{_JSON_TAG}(, ?{_JSON_TAG}){{0,11}}\]"
TAG_LIST_SCHEMA: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "maxItems": 12,
    "items": {
        "type": "object",
        "properties": {
            "tag": {"type": "string", "maxLength": 60},
            "explanation": {"type": "string", "maxLength": 240},  # a small model would go on until its reply is cut
        },
        "required": ["tag", "explanation"],
        "additionalProperties": False,
    },
}

_SPACES = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b\ufeff]+")
_COMPACT_TAG = re.compile(r"[\w.+#][\w .+#/&'’()\-]*")
# A refusal or a remark may have the shape of one tag. No tag of the field's vocabularies starts like these.
_TALK = re.compile(
    r"(?i)(?:i|we|you|he|she|they|it|this|that|there|here) (?:am|is|are|was|were|can|could|cannot|can['’]t|do|don['’]t|"
    r"does|did|will|won['’]t|would|should|have|has|must|may|need|refuse|think|apologi[sz]e|understand)\b|"
    r"(?:i['’]m|i['’]ve|i['’]d|i['’]ll|sorry|unfortunately|unable to|cannot|can['’]t|please|as an? ai|let me|"
    r"my name|sure here|of course)\b|"
    r"thank you(?: for| so| very|$)|"
    r"(?:sure|yes|no|ok|okay|none|null|nothing|n/a|nan|true|false|certainly|hello|hi)$"
)


class Parsed(NamedTuple):
    """What a reply says.

    `tags` are distinct, stripped and 1 to 80 characters long, in reply order; `explanations` has the same length, ""
    where none was given; `cut` says that the reply ended inside the list, so that more tags were meant.
    """

    tags: list[str]
    explanations: list[str]
    cut: bool = False


def parse(reply: str, style: str, *, cut: bool = False) -> Parsed:
    """Read the tags of one reply.

    Args:
        reply: The model's text, as it came.
        style: "compact" or "json".
        cut: Whether the engine says that the reply was cut by its length; then only what is complete counts.

    Raises:
        ReplyError: The reply is not of the format; its kind is "parse", "truncated" where nothing complete stands
            before the cut, and "reply" where the model answered with an empty list.

    Example:
        >>> parse("code generation; python", "compact").tags
        ['code generation', 'python']
        >>> parse('[{"tag": "math", "explanation": "a sum"}, {"tag": "al', "json")
        Parsed(tags=['math'], explanations=['a sum'], cut=True)
    """
    pairs, ended_early = (_compact if style == "compact" else _json)(clean(reply), cut)
    cut = cut or ended_early
    explained: dict[str, str] = {}
    for tag, explanation in pairs:
        name = clean_tag(tag)
        if len(name) > MAX_TAG_CHARS:
            raise ReplyError(f"expected tags of at most {MAX_TAG_CHARS} characters, found {_quote(name)}")
        if name:
            explained.setdefault(name, _fold(explanation).strip())
    if not explained:
        raise _cut_too_early() if cut else ReplyError("no tags", kind="reply")
    return Parsed(list(explained), list(explained.values()), cut)


def render(tags: Sequence[str], style: str, explanations: Sequence[str] | None = None) -> str:
    """Write tags as a reply in the given format: the inverse of `parse`, and the target when a tagger is trained.

    Raises:
        InputError: The format cannot hold one of the tags.
    """
    if style == "json":
        notes = explanations or [""] * len(tags)
        items = [{"tag": tag, "explanation": note} for tag, note in zip(tags, notes, strict=True)]
        return json.dumps(items, ensure_ascii=False)
    for tag in tags:
        if not _is_compact_tag(tag):
            raise InputError(f"render: expected a tag of at most {MAX_COMPACT_WORDS} plain words, found {_quote(tag)}")
    return "; ".join(tags)


def clean_tag(tag: str) -> str:
    """Fold white space and control characters of a tag, and take off quotes and marks around it."""
    return _fold(tag).strip(" \"'`*“”;,")


def _fold(text: str) -> str:
    return _SPACES.sub(" ", text)


def _cut_too_early() -> ReplyError:
    return ReplyError("the reply was cut before its first tag was complete", kind="truncated")


def _quote(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")


def _is_compact_tag(tag: str) -> bool:
    words = len(tag.split(" "))
    shaped = bool(_COMPACT_TAG.fullmatch(tag)) and not tag.endswith(".")
    return shaped and words <= MAX_COMPACT_WORDS and tag == clean_tag(tag) and not _TALK.match(tag)


def _compact(reply: str, cut: bool) -> tuple[list[tuple[str, str]], bool]:
    items = reply.strip().split(";")
    if cut:
        items.pop()  # the last one may be half a tag
    tags = [item.strip() for item in items if item.strip()]
    wrong = [tag for tag in tags if not _is_compact_tag(tag)]
    if wrong:
        raise ReplyError(f'expected "tag; tag; tag", found {_quote(wrong[0])}')
    return [(tag, "") for tag in tags], False


def _json(reply: str, cut: bool) -> tuple[list[tuple[str, str]], bool]:
    text = THOUGHTS.sub("", reply)
    start = 0
    while (opening := _OPENING.search(text, start)) is not None:
        reader = _Reader(text, opening.start())
        try:
            value = reader.value()
        except _Malformed:
            start = opening.end()
            continue
        pairs = _pairs(value, reader.ended_early)
        if pairs is not None:
            return pairs + _more_objects(reader, value), reader.ended_early
        # Something else in brackets: what stands inside it is no list of tags either, unless the bracket never closed.
        start = opening.end() if reader.ended_early else reader.at
    if cut:
        raise _cut_too_early()
    raise ReplyError(f"expected a JSON list of tags, found {_quote(reply.strip())}")


def _more_objects(reader: "_Reader", first: object) -> list[tuple[str, str]]:
    """Read the objects that follow a lone first one, for models that write one object a line and no list."""
    found: list[tuple[str, str]] = []
    while isinstance(first, dict) and (following := _NEXT_OBJECT.match(reader.text, reader.at)) is not None:
        reader.at = following.end() - 1
        try:
            found += _pairs(reader.value(), reader.ended_early) or []
        except _Malformed:
            break
    return found


def _pairs(value: object, ended_early: bool) -> list[tuple[str, str]] | None:
    """Read (tag, explanation) pairs from a parsed value, or None where it is not about tags."""
    if isinstance(value, dict):
        if isinstance(value.get("tags"), list):
            value = value["tags"]
        else:
            value = [] if ended_early and "tag" in value else [value]  # an object that was cut is no tag
    if not isinstance(value, list):
        return None
    pairs = [_pair(item) for item in value]
    return None if None in pairs else [pair for pair in pairs if pair is not None]


def _pair(item: object) -> tuple[str, str] | None:
    if isinstance(item, str):
        return item, ""
    if not isinstance(item, dict) or not isinstance(item.get("tag"), str):
        return None
    explanation = item.get("explanation")
    return item["tag"], explanation if isinstance(explanation, str) else ""


THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_OPENING = re.compile(r"[\[{]")
_NEXT_OBJECT = re.compile(r"[\s,]*\{")
_BLANK = re.compile(r"\s*")
_WORD = re.compile(r"[\w.+\-]+")
_ENDS_TEXT = re.compile(r"\s*(?:[,:\]}]|\Z)")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_MAX_DEPTH = 6


class _Malformed(Exception):
    """The text at hand is not a list or an object."""


class _Literal(NamedTuple):
    """A bare word: a number, true, null, or a key without quotes."""

    word: str


class _Reader:
    """Reads one list or object, tolerantly: either quote, bare words, trailing commas, and an end that is missing."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at
        self.ended_early = False

    def value(self, depth: int = 0) -> object:
        if depth > _MAX_DEPTH:
            raise _Malformed
        char = self._peek()
        if char == "[":
            return self._list(depth)
        if char == "{":
            return self._object(depth)
        return self._string() if char in {'"', "'"} else self._word()

    def _peek(self) -> str:
        blank = _BLANK.match(self.text, self.at)
        self.at = blank.end() if blank else self.at
        if self.at >= len(self.text):
            self.ended_early = True
            return ""
        return self.text[self.at]

    def _list(self, depth: int) -> list[object]:
        self.at += 1
        items: list[object] = []
        while (char := self._peek()) not in {"]", ""}:
            if char == ",":
                self.at += 1
                continue
            item = self.value(depth + 1)
            if self.ended_early and not _complete_list(item):
                break
            items.append(item)
        self.at += 1
        return items

    def _object(self, depth: int) -> dict[str, object]:
        self.at += 1
        members: dict[str, object] = {}
        while (char := self._peek()) not in {"}", ""}:
            if char == ",":
                self.at += 1
                continue
            key = self._string() if char in {'"', "'"} else self._word()
            if self._peek() != ":" and not self.ended_early:
                raise _Malformed
            self.at += 1
            if self._peek() == "":
                break
            value = self.value(depth + 1)
            if self.ended_early and not _complete_list(value):
                break
            members[key.word.lower() if isinstance(key, _Literal) else key.lower()] = value
        self.at += 1
        return members

    def _string(self) -> str:
        """Read to the quote that a comma, colon or bracket follows: models forget to escape the quotes inside."""
        quote, start = self.text[self.at], self.at + 1
        end = start
        while end < len(self.text):
            if self.text[end] == "\\":
                end += 2
                continue
            if self.text[end] == quote and _ENDS_TEXT.match(self.text, end + 1):
                self.at = end + 1
                return _unescape(self.text[start:end])
            end += 1
        self.at = len(self.text)
        self.ended_early = True
        return ""

    def _word(self) -> _Literal:
        word = _WORD.match(self.text, self.at)
        if word is None:
            raise _Malformed
        self.at = word.end()
        return _Literal(word.group())


def _complete_list(value: object) -> bool:
    """Whether a value counts that the end of the text cut: the items of a cut list are whole, an object is not."""
    return isinstance(value, list)


def _unescape(text: str) -> str:
    plain = _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _ESCAPED.get(m[2], m[2]), text)
    return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
