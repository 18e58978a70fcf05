"""Row in, a conversation out: who said what, for training on it (paper section 4.1)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from instag_hf.errors import InputError, RowError
from instag_hf.rows import USER_ROLES, clean, find_shape, queries, role, said, stored_as_text

ASSISTANT_ROLES = frozenset({"assistant", "gpt", "chatgpt", "bing", "bard", "model", "bot", "chatbot"})
SYSTEM_ROLES = frozenset({"system", "developer"})
REPLIES = ("output", "response", "completion", "answer")  # columns that answer a lone query, the first one found


class Turn(NamedTuple):
    """What somebody said; the role is "system", "user" or "assistant"."""

    role: str
    text: str


class Conversation(NamedTuple):
    """Turns to learn from, and how many at either end were dropped because they teach nothing."""

    turns: tuple[Turn, ...]
    dropped: int = 0


def find_reply(columns: Iterable[str], column: str | None = None, reply: str | None = None) -> str | None:
    """Find the column that answers the query; `None` where a conversation holds its own answers.

    Args:
        columns: Names of the dataset's columns.
        column: The column of the query or the conversation; found by its name by default.
        reply: The column of the answer; found by its name by default.

    Raises:
        InputError: There is no such column.
    """
    found = list(columns)
    if reply is not None and reply not in found:
        raise InputError(f'train: expected a column "{reply}", found columns {found}. Name one with reply= (--reply).')
    if find_shape(found, column).conversation:
        return None
    known = reply or next((name for name in REPLIES if name in found), None)
    if known is None:
        raise InputError(
            f"train: expected one of the columns {list(REPLIES)} with answers, found columns {found}. "
            "Name the column with reply= (--reply)."
        )
    return known


def conversation(row: Mapping[str, Any], *, column: str | None = None, reply: str | None = None) -> Conversation:
    r"""Take a conversation out of a row: perhaps a system turn, then user and assistant in turn, the assistant last.

    As in FastChat, an assistant's turn before the first user's is dropped; so is a user's after the last answer, which
    teaches nothing. Both are counted.

    Args:
        row: One row of a dataset.
        column: The column of the query or the conversation; found by its name by default.
        reply: The column of the answer, where the query stands alone; found by its name by default.

    Raises:
        InputError: The row's columns are of no known shape.
        RowError: The row holds no such conversation.

    Example:
        >>> conversation({"instruction": "Add.", "input": "1, 2", "output": "3"}).turns
        (Turn(role='user', text='Add.\n1, 2'), Turn(role='assistant', text='3'))
    """
    answer = find_reply(row, column, reply)
    shape = find_shape(row.keys(), column)
    value = row[shape.column]
    if shape.conversation and isinstance(value, str):
        value = stored_as_text(value, shape.column)
    turns = list(value) if isinstance(value, list | tuple) else [queries(row, column=column)[0]]
    if answer is not None:
        told = row[answer]
        turns += list(told) if isinstance(told, list | tuple) else [{"role": "assistant", "content": told}]
    return _in_turn([_turn(turn, place, shape.column) for place, turn in enumerate(turns)])


def _turn(turn: object, place: int, column: str) -> Turn:
    if isinstance(turn, str):  # bare texts take turns, the user first
        return Turn("assistant" if place % 2 else "user", clean(turn).strip())
    where = f'"{column}", turn {place + 1}'
    who = role(turn, where)
    if who not in USER_ROLES | ASSISTANT_ROLES | SYSTEM_ROLES:
        raise RowError(f"turns of others than user and assistant: {who}")
    known = "user" if who in USER_ROLES else "assistant" if who in ASSISTANT_ROLES else "system"
    return Turn(known, clean(said(turn, where)).strip())


def _in_turn(turns: Sequence[Turn]) -> Conversation:
    system, rest = (list(turns[:1]), list(turns[1:])) if turns and turns[0].role == "system" else ([], list(turns))
    whole = len(rest)
    while rest and rest[0].role == "assistant":
        rest.pop(0)
    while rest and rest[-1].role == "user":
        rest.pop()
    if not rest:
        raise RowError("no answer: expected a user's turn and an answer to it")
    if any(turn.role != ("assistant" if place % 2 else "user") for place, turn in enumerate(rest)):
        raise RowError("turns out of order: expected user and assistant in turn")
    if not all(turn.text for turn in rest):
        raise RowError("an empty turn")
    return Conversation((*(turn for turn in system if turn.text), *rest), whole - len(rest))
