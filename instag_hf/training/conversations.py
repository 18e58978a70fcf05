"""Rows to what a trainer of chat models reads: token ids, and labels on what the assistant says (paper section 4.1).

Masks are made here, token by token, because libraries leave them to marks that few chat templates have: a token is
taught if it begins inside an assistant's turn, its end mark included, so that the model learns to stop.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from instag_hf.errors import InputError, RowError
from instag_hf.rows import ERROR
from instag_hf.rows.columns import class_names, label
from instag_hf.rows.turns import Turn, conversation
from instag_hf.training.examples import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATES = ("own", "vicuna")
_PLACE = re.compile(r'^"[^"]*"(, turn \d+)?:? ')  # where in a row something is the matter

# FastChat's conversation template "vicuna_v1.1", in whose words the paper's TagLM was trained; a wire format.
VICUNA = (
    "{{ begin }}{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% else %}"
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions.{% endif %}{{ ' ' }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'ASSISTANT: ' + message['content'] + eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


class Talk(NamedTuple):
    """A conversation to learn from, and where it comes from."""

    turns: tuple[Turn, ...]
    source: str = ""
    license: str = ""


class Talks(NamedTuple):
    """What rows held: conversations, rows left out by what is the matter, and turns dropped at conversations' ends."""

    found: list[Talk]
    left_out: Counter[str]
    turns_dropped: int


class Taught(NamedTuple):
    """Token ids of a conversation, and labels of the same length: the ids that are taught, -100 elsewhere."""

    input_ids: list[int]
    labels: list[int]

    @property
    def taught(self) -> int:
        """How many tokens the loss is on."""
        return sum(label != IGNORED for label in self.labels[1:])  # nothing comes before the first one


class Prepared(NamedTuple):
    """Conversations in tokens, how many were cut at the end, and how many of them were too long to teach anything."""

    rows: list[Taught]
    cut: int
    too_long: int


def read_talks(rows: Iterable[Mapping[str, Any]], *, column: str | None = None, reply: str | None = None) -> Talks:
    """Take conversations out of rows, and count what cannot be learnt from: rows and, at their ends, turns.

    Args:
        rows: Rows of any shape that the rows room understands, with answers.
        column: The column of the query or the conversation; found by its name by default.
        reply: The column of the answer, where the query stands alone; found by its name by default.

    Raises:
        InputError: A column is missing.
    """
    found, left_out, dropped = list[Talk](), Counter[str](), 0
    sources, licenses = class_names(rows, "source"), class_names(rows, "license")
    for row in rows:
        told = {name: value for name, value in row.items() if name != ERROR}
        try:
            read = conversation(told, column=column, reply=reply)
        except RowError as error:
            left_out[_reason(error)] += 1
        else:
            source, license = label(row.get("source"), sources), label(row.get("license"), licenses)
            found.append(Talk(read.turns, source, license))
            dropped += read.dropped
    return Talks(found, left_out, dropped)


def _reason(error: RowError) -> str:
    """Take out of a message what is the matter, without where it is and what was found there."""
    return _PLACE.sub("", str(error)).partition(", found")[0].partition(": ")[0]


def check_template(template: str) -> None:
    """Refuse the name of a template that there is not.

    Raises:
        InputError: There is no such template.
    """
    if template not in TEMPLATES:
        raise InputError(f"train: expected a template of {list(TEMPLATES)}, found {template!r}.")


def set_template(tokenizer: "PreTrainedTokenizerBase", template: str) -> None:
    """Give a tokenizer the template that a model is trained with, which is saved with the model.

    Raises:
        InputError: There is no such template, or the tokenizer has none of its own or no end mark.
    """
    check_template(template)
    if template == "vicuna":
        if not tokenizer.eos_token:
            raise InputError("train: the template vicuna ends turns with the end mark, and the tokenizer has none.")
        begin = tokenizer.bos_token if list(tokenizer("a")["input_ids"])[:1] == [tokenizer.bos_token_id] else ""
        tokenizer.chat_template = VICUNA.replace("{{ begin }}", str(begin))
    if not tokenizer.chat_template:
        raise InputError("train: the base has no chat template of its own. Choose the template vicuna (--template).")
    if not tokenizer.is_fast:
        raise InputError("train: expected a fast tokenizer, which says where its tokens stand in the text.")


def teach(talk: Sequence[Turn], tokenizer: "PreTrainedTokenizerBase") -> Taught:
    """Write a conversation in tokens, with labels on every assistant's turn and its end mark.

    What a turn holds is text: control strings of the tokenizer in it are broken by a space, so that no text of a
    dataset can end its turn and speak as another.

    Args:
        talk: The conversation.
        tokenizer: With its chat template, as `set_template` leaves it.

    Raises:
        InputError: The chat template cannot be taught: it has no end mark, or writes earlier turns anew.
    """
    marks = {token.content: ident for ident, token in tokenizer.added_tokens_decoder.items() if token.special}
    messages = [{"role": turn.role, "content": _plain(turn.text, marks)} for turn in talk]
    whole = _render(tokenizer, messages)
    spans = [_span(tokenizer, messages, place, whole) for place, turn in enumerate(talk) if turn.role == "assistant"]
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = list(encoded["input_ids"])
    labels = [IGNORED] * len(ids)
    left = iter(spans)
    start, end = next(left)
    last = -1
    for place, (begins, _) in enumerate(encoded["offset_mapping"]):
        while begins >= end:
            _check_end(marks, ids, last)
            if (span := next(left, None)) is None:
                return Taught(ids, labels)
            (start, end), last = span, -1
        if begins >= start:  # also where a tokenizer trims its offsets, and white space has none
            labels[place], last = ids[place], place
    _check_end(marks, ids, last)
    return Taught(ids, labels)


def teach_all(talks: Sequence[Talk], tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> Prepared:
    """Write conversations in tokens, cut to a length at their end as FastChat does, and count what that cost.

    Args:
        talks: What to teach.
        tokenizer: With its chat template.
        max_tokens: Length of a conversation at most; one of which nothing to learn is left is left out.

    Raises:
        InputError: As `teach`.
    """
    rows, cut, too_long = [], 0, 0
    for talk in talks:
        whole = teach(talk.turns, tokenizer)
        kept = Taught(whole.input_ids[:max_tokens], whole.labels[:max_tokens])
        cut += len(kept.input_ids) < len(whole.input_ids)
        if kept.taught:
            rows.append(kept)
        else:
            too_long += 1
    return Prepared(rows, cut, too_long)


def up_to(rows: Sequence[Taught], total_tokens: int, seed: int) -> list[Taught]:
    """Draw rows in a random order, all of them before any again, until the next would pass a number of tokens."""
    draw, kept, left = random.Random(seed), list[Taught](), total_tokens
    while rows:
        for row in draw.sample(rows, len(rows)):
            left -= len(row.input_ids)
            if left < 0:
                return kept
            kept.append(row)
    return kept


def _span(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Mapping[str, str]], place: int, whole: str
) -> tuple[int, int]:
    """Find where a reply stands in the text: from where the model goes on by itself to the turn's end mark."""
    asked = _render(tokenizer, messages[:place], ask=True)
    answered = _render(tokenizer, messages[: place + 1]).rstrip()
    if not (answered.startswith(asked) and whole.startswith(answered)):
        raise InputError(
            "train: the base's chat template writes a turn otherwise once another follows, so what is asked and what "
            "is taught would differ. Choose the template vicuna (--template)."
        )
    return len(asked), len(answered)


def _check_end(marks: Mapping[str, int], ids: Sequence[int], last: int) -> None:
    if last < 0 or ids[last] not in marks.values():
        raise InputError(
            "train: the base's chat template ends an assistant's turn without an end mark, so the model would never "
            "learn to stop. Choose the template vicuna (--template)."
        )


def _render(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Mapping[str, str]], *, ask: bool = False) -> str:
    return str(
        tokenizer.apply_chat_template([dict(turn) for turn in messages], tokenize=False, add_generation_prompt=ask)
    )


def _plain(text: str, marks: Iterable[str]) -> str:
    for mark in marks:
        text = text.replace(mark, mark[:1] + " " + mark[1:])
    return text
