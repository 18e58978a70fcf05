"""Questions in, a model's answers to both turns out; FastChat's answer files are read and written."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from instag_hf.engines import Engine, Request, Sampling, ask, connect
from instag_hf.engines.loops import run
from instag_hf.engines.models import chat_identity, model_name
from instag_hf.engines.runs import ask_each
from instag_hf.errors import InputError, RowFailure
from instag_hf.mtbench.questions import Bench, Question, first_choice, number, read_lines, write_lines
from instag_hf.prompts import Message
from instag_hf.replies import Store, store

# FastChat's temperatures; what it does not name is drawn at 0.7.
TEMPERATURES = {"extraction": 0.0, "math": 0.0, "coding": 0.0, "reasoning": 0.0, "stem": 0.1, "humanities": 0.1}
TEMPERATURES |= {"writing": 0.7, "roleplay": 0.7}
OTHER_TEMPERATURE = 0.7
MAX_TOKENS = 1024
SEED = 0
ERROR_TEXTS = ("$ERROR$", "ERROR")  # what FastChat writes in place of an answer or a judgment that failed
WINDOW = 40  # of 80 questions


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatModel:
    """A chat model, and the kind of engine that runs it.

    Attributes:
        engine: "openai", "tgi", "local" or "embedded"; `INSTAG_ENGINE`, else "openai".
        model: The model's id as the server knows it, a folder for "local", a GGUF file; `INSTAG_MODEL`.
        revision: Which version of the model; of files their hash, always.

    Raises:
        InputError: The fields do not name a chat model; nothing was asked.
    """

    engine: str = ""
    model: str = ""
    revision: str = ""

    def __post_init__(self) -> None:
        """Fill in the defaults, so that the fields say all that is asked."""
        found = chat_identity(self.engine, self.model, self.revision, who="mt-bench")
        for name, value in zip(("engine", "model", "revision"), found, strict=True):
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """The model's id; of files their name and hash."""
        at = f"@{self.revision}" if self.revision else ""
        return f"{model_name(self.engine, self.model)}{at}"

    def request(self, messages: Sequence[Message], sampling: Sampling) -> Request:
        """Write one request: exactly what the engine is sent."""
        return Request(
            prompt=tuple(messages),
            model=model_name(self.engine, self.model),
            revision=self.revision,
            sampling=sampling,
        )

    def connect(self, longest_bytes: int, tokens: int) -> Engine:
        """Make the engine, with room for a prompt of so many bytes, of which each is a token at most, and a reply."""
        return connect(self.engine, self.model, -(-(longest_bytes + tokens) // 64) * 64, self.revision)


class Answer(NamedTuple):
    """A model's answers to the turns of one question, as many as there are, and why there are no more."""

    turns: tuple[str, ...]
    failure: str = ""


MISSING = Answer((), "missing: the question was not answered")


def sampling_of(category: str, max_tokens: int = MAX_TOKENS) -> Sampling:
    """How answers of a category are drawn: FastChat's temperatures, and a seed, so that a rerun finds the same."""
    temperature = TEMPERATURES.get(category, OTHER_TEMPERATURE)
    return Sampling(max_tokens=max_tokens, temperature=temperature, seed=SEED if temperature else None)


def answer(
    bench: Bench,
    model: ChatModel,
    *,
    max_tokens: int = MAX_TOKENS,
    on_answer: Callable[[Answer], None] | None = None,
) -> dict[int, Answer]:
    """Let a model answer both turns of every question; replies are kept, so a second run asks nothing.

    An answer cut by its length stands as it is, as in FastChat, and so does an empty one: the judge shall see it.

    Args:
        bench: What to ask.
        model: Whom.
        max_tokens: Of an answer.
        on_answer: Told every question's answers as they come.

    Returns:
        Answers by the question's id; one whose engine refused a turn says why.

    Raises:
        EngineError: The model does not answer at all, or refuses most of the last 40 questions.
        StoreError: The reply store cannot be used.
    """
    longest = max(len("".join(question.turns).encode()) for question in bench.questions) + 512  # a template's words
    return run(_answer_all(bench, model, model.connect(longest, 2 * max_tokens), max_tokens, on_answer))


async def _answer_all(
    bench: Bench, model: ChatModel, engine: Engine, max_tokens: int, on_answer: Callable[[Answer], None] | None
) -> dict[int, Answer]:
    opened = store()
    found = await ask_each(
        bench.questions,
        lambda question: _answer(question, model, engine, max_tokens, opened),
        who=model.name,
        failure=lambda answered: answered.failure,
        on_result=on_answer,
        window=WINDOW,
    )
    return {question.id: answered for question, answered in zip(bench.questions, found, strict=True)}


async def _answer(question: Question, model: ChatModel, engine: Engine, max_tokens: int, opened: Store) -> Answer:
    sampling = sampling_of(question.category, max_tokens)
    messages: list[Message] = []
    turns: list[str] = []
    for turn, asked in enumerate(question.turns, 1):
        messages.append(Message("user", asked))
        try:
            reply = await ask(engine, model.request(messages, sampling), opened, again=turn > 1)
        except RowFailure as error:
            return Answer(tuple(turns), f"{error.kind}: turn {turn}: {error}")
        text = reply.text.strip()
        messages.append(Message("assistant", text))
        turns.append(text)
    return Answer(tuple(turns))


def write_answers(answers: Mapping[int, Answer], bench: Bench, path: Path, *, model: str) -> None:
    """Write answers as FastChat does; a turn without one is "$ERROR$" there, and `failure` says why.

    Raises:
        InputError: The file cannot be written.
    """
    lines = []
    for question in bench.questions:
        turns, failure = answers.get(question.id, MISSING)
        shown = [*turns, *[ERROR_TEXTS[0]] * (len(question.turns) - len(turns))]
        row = {
            "question_id": question.id,
            "answer_id": hashlib.sha256(json.dumps([model, question.id, shown]).encode()).hexdigest()[:22],
            "model_id": model,
            "choices": [{"index": 0, "turns": shown}],
            "tstamp": time.time(),
        }
        lines.append(json.dumps(row | ({"failure": failure} if failure else {}), ensure_ascii=False) + "\n")
    write_lines(path, lines)


def read_answers(path: Path, bench: Bench) -> dict[int, Answer]:
    """Read a FastChat answer file; of several answers to a question the last counts, of its choices the first.

    A turn that says "$ERROR$", or "ERROR" and nothing else, is what FastChat writes when there is no answer, so it
    and what follows it is a failure.

    Raises:
        InputError: The file is no such file, or answers none of the questions.
    """
    known = {question.id: question for question in bench.questions}
    found = {}
    for row in read_lines(path):
        ident = number(row.get("question_id"), f"{path.name}, question_id")
        if ident in known:
            found[ident] = _read(first_choice(row, path), known[ident], row.get("failure"))
    if not found:
        raise InputError(f"mt-bench: expected answers to the questions {sorted(known)[:3]}… in {path}, found none.")
    return found


def _read(turns: tuple[str, ...], question: Question, failure: object) -> Answer:
    for place, text in enumerate(turns):
        if text.strip() in ERROR_TEXTS:
            told = failure if isinstance(failure, str) else f"answer: turn {place + 1} says {text.strip()!r}"
            return Answer(turns[:place], told)
    if len(turns) < len(question.turns):
        return Answer(turns, f"answer: {len(turns)} of {len(question.turns)} turns are there")
    return Answer(turns[: len(question.turns)])
