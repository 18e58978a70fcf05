"""Row in, user queries out (paper section 3.1: every human turn is tagged on its own).

The names of all columns we add stand here, and so does the one function that cuts a long query, because tagging,
training and reporting must cut alike.
"""

import ast
import json
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from instag_hf.errors import InputError, RowError

TAGS = "instag_tags"
EXPLANATIONS = "instag_explanations"
TURNS = "instag_turns"
ERROR = "instag_error"
TAGGER = "instag_tagger"
NORMALIZED = "instag_normalized"
ADDED = (TAGS, EXPLANATIONS, TURNS, ERROR, TAGGER)

TURN_POLICIES = ("all", "first", "last")
USER_ROLES = frozenset({"user", "human", "prompter"})
OTHER_ROLES = frozenset(
    {"assistant", "gpt", "system", "tool", "function", "developer", "observation", "function_call", "tool_call"}
    | {"ipython", "chatgpt", "bing", "bard", "model", "bot", "chatbot", "context"}
)


class Shape(NamedTuple):
    """A kind of dataset: the column that holds the query, and columns of which a row's first with text adds to it."""

    column: str
    context: tuple[str, ...] = ()
    conversation: bool = False


# In order of precedence: a dataset that has both a conversation and a lone prompt is tagged turn by turn.
SHAPES = (
    Shape("messages", conversation=True),
    Shape("conversations", conversation=True),
    Shape("conversation", conversation=True),
    Shape("dialogs", conversation=True),
    Shape("instruction", context=("input", "context")),
    Shape("prompt"),
    Shape("question"),
    Shape("query"),
)


def find_shape(columns: Iterable[str], column: str | None = None) -> Shape:
    """Find which columns hold the queries, so that a dataset nobody knows is refused before the first request.

    Args:
        columns: Names of the dataset's columns.
        column: The column to read, whatever its name; `None` finds one of `SHAPES`.

    Raises:
        InputError: `column` is not there, or no known column is.
    """
    found = list(columns)
    if column is not None:
        if column not in found:
            raise InputError(
                f'tag: expected a column "{column}", found columns {found}. Name one of them with column=.'
            )
        return Shape(column, conversation=any(shape.conversation and shape.column == column for shape in SHAPES))
    for shape in SHAPES:
        if shape.column in found:
            return shape._replace(context=tuple(name for name in shape.context if name in found))
    known = [shape.column for shape in SHAPES]
    raise InputError(f"tag: expected one of the columns {known}, found columns {found}. Name the column with column=.")


def check_columns(columns: Iterable[str], *, column: str | None = None, overwrite: bool = False) -> Shape:
    """Find the shape, and refuse a dataset that already has a column we would write.

    Canonical tags are refused in any case: new tags beside them would be reported and chosen by what the old ones were.

    Raises:
        InputError: No column to read, an `instag_*` column is there and `overwrite` is off, or `instag_normalized` is.
    """
    found = list(columns)
    taken = [name for name in ADDED if name in found]
    if taken and not overwrite:
        raise InputError(
            f"tag: the dataset already has the columns {taken}. "
            "Remove them with ds.remove_columns, or allow it with overwrite=True (--overwrite)."
        )
    if NORMALIZED in found and column != NORMALIZED:
        raise InputError(
            f"tag: the dataset already has the column {NORMALIZED}, which belongs to its old tags. "
            "Remove it with ds.remove_columns (--overwrite does)."
        )
    return find_shape(found, column)


def queries(row: Mapping[str, Any], *, column: str | None = None, turns: str = "all") -> list[str]:
    r"""Take the user queries out of a row, stripped, in order, at least one.

    Blank user turns ask nothing, so they are passed over as long as another turn asks something.

    Args:
        row: One row of a dataset.
        column: The column to read; `None` finds one of `SHAPES`.
        turns: Which user turns of a conversation: "all", "first" or "last".

    Raises:
        InputError: The row's columns are of no known shape.
        RowError: The row has nothing to tag.

    Example:
        >>> queries({"instruction": "Sort these.", "input": "b, a"})
        ['Sort these.\nb, a']
        >>> queries({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]})
        ['Hi']
    """
    shape = find_shape(row.keys(), column)
    value = row[shape.column]
    if shape.conversation and isinstance(value, str):
        value = stored_as_text(value, shape.column)
    asked = _user_turns(value, shape.column) if isinstance(value, list | tuple) else [_text(value, shape.column)]
    asked = [clean(text).strip() for text in asked]
    asked = [text for text in asked if text]
    if not asked:
        raise RowError(f'"{shape.column}" has no user turn with text')
    if shape.context and isinstance(value, str):
        told = (clean(_text(row[name], name, blank=True)).strip() for name in shape.context if row[name] is not None)
        extra = next(filter(None, told), "")
        asked = [f"{asked[0]}\n{extra}"] if extra else asked
    return asked[:1] if turns == "first" else asked[-1:] if turns == "last" else asked


def clean(text: str) -> str:
    """Make text that every layer below accepts: lone surrogates and NUL become U+FFFD, pairs join."""
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return joined.replace("\0", "\ufffd")


def cut(query: str, max_bytes: int) -> str:
    """Keep the first three quarters and the last quarter of a query longer than a recipe's bound.

    Instructions stand at the beginning or at the end of long queries, pasted material in the middle.

    Args:
        query: Text without lone surrogates.
        max_bytes: Length of the result in UTF-8 at most; cuts fall between characters.

    Example:
        >>> cut("abcdefghij", 8)
        'abcdefij'
    """
    data = query.encode()
    if len(data) <= max_bytes:
        return query
    head = max_bytes * 3 // 4
    return data[:head].decode(errors="ignore") + data[head - max_bytes :].decode(errors="ignore")


def printable(text: str, keep: str = "") -> str:
    """Put a blank for each control character but those of `keep`: text of a dataset may steer a terminal."""
    return "".join(char if char in keep or unicodedata.category(char)[0] != "C" else " " for char in text)


def plain(text: str) -> str:
    """Put text of a dataset on one line that is safe to print."""
    return " ".join(printable(text).split())


def fit(text: str, width: int) -> str:
    """Cut and pad text to columns of a terminal, without the control characters that a dataset may hold.

    Args:
        text: Text of a dataset or a model.
        width: Columns; wide characters take two.
    """
    fitted, used = "", 0
    for char in plain(text):
        wide = 2 if unicodedata.east_asian_width(char) in "WF" else 0 if unicodedata.combining(char) else 1
        if used + wide > width - 1:
            return fitted + "…" + " " * (width - used - 1)
        fitted, used = fitted + char, used + wide
    return fitted + " " * (width - used)


def _text(value: object, name: str, *, blank: bool = False) -> str:
    if not isinstance(value, str):
        raise RowError(f'"{name}": expected text, found {_kind(value)}')
    if not blank and not value.strip():
        raise RowError(f'"{name}" is empty')
    return value


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


def stored_as_text(value: str, name: str) -> list[Any]:
    """Read a conversation out of text, for CSV can hold it no other way: as JSON, or as pandas writes a list.

    Raises:
        RowError: The text is no list.
    """
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        if isinstance(found, list):
            return found
    raise RowError(f'"{name}": expected a list of turns, found text that is no list')


def _user_turns(turns: list[Any] | tuple[Any, ...], name: str) -> list[str]:
    if turns and all(isinstance(turn, list | tuple) for turn in turns):  # several dialogs in one row
        return [text for dialog in turns for text in _user_turns(dialog, name)]
    if turns and all(isinstance(turn, str) for turn in turns):  # bare texts take turns, the user first
        return list(turns[::2])
    return [text for number, turn in enumerate(turns, 1) for text in _user_turn(turn, f'"{name}", turn {number}')]


def _user_turn(turn: object, where: str) -> list[str]:
    return [said(turn, where)] if role(turn, where) in USER_ROLES else []


def role(turn: object, where: str) -> str:
    """Tell who speaks in a turn, in lower case.

    Raises:
        RowError: It is no turn, or of a role that nobody knows.
    """
    if not isinstance(turn, Mapping):
        raise RowError(f"{where}: expected a turn with a role and a text, found {_kind(turn)}")
    found = next((turn[key] for key in ("role", "from") if turn.get(key) is not None), None)
    if not isinstance(found, str):
        raise RowError(f'{where}: expected a "role" or a "from" of text, found keys {sorted(map(str, turn))}')
    if found.lower() not in USER_ROLES | OTHER_ROLES:
        raise RowError(f"{where}: expected a role such as user or assistant, found {found[:40]!r}")
    return found.lower()


def said(turn: Mapping[str, Any] | Any, where: str) -> str:
    """Take what is said in a turn.

    Raises:
        RowError: It has no text.
    """
    content = next((turn[key] for key in ("content", "value") if turn.get(key) is not None), None)
    if isinstance(content, list | tuple):
        return "\n".join(_part(part, where) for part in content)
    if not isinstance(content, str):
        raise RowError(f"{where}: expected text, found {_kind(content)}")
    return content


def _part(part: object, where: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise RowError(f"{where}: expected parts of content, found {_kind(part)}")
    text = part.get("text")
    return text if isinstance(text, str) else ""  # an image or a file asks nothing by itself
