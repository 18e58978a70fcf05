"""Answers in, ratings of a judge out, or why there is none (single-answer grading, paper section 4.1).

The judge is asked with MT-Bench's own prompts and rates from 1 to 10 in double brackets, and nothing looser counts.
FastChat also takes the first number in single brackets, which may be a citation; we do not.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from instag_hf.engines import Engine, Sampling, ask
from instag_hf.engines.loops import run
from instag_hf.engines.runs import ask_each
from instag_hf.errors import InputError, ReplyError, RowFailure
from instag_hf.mtbench.answers import ERROR_TEXTS, MISSING, Answer, ChatModel
from instag_hf.mtbench.questions import Bench, Question, number, read_lines, write_lines
from instag_hf.parsing import THOUGHTS
from instag_hf.prompts import Message
from instag_hf.replies import Store, store
from instag_hf.rows.written import one_at_a_time

ROUNDS = 3  # the paper's
MAX_TOKENS = 2048  # of a judge's reply, as in FastChat
LOWEST, HIGHEST = 1, 10
FAILED = -1  # what FastChat writes for a rating that is none
WINDOW = 80  # judgments over which failures are watched, half a round

_RATING = re.compile(r"\[\[(\d+\.?\d*)\]\]", re.ASCII)


class Judgment(NamedTuple):
    """What a judge said of one turn in one round: a rating from 1 to 10, or none and why."""

    question: int
    turn: int
    round: int
    rating: float | None
    failure: str = ""
    reply: str = ""


class _Task(NamedTuple):
    question: Question
    turn: int
    round: int


def read_rating(reply: str, *, cut: bool = False) -> float:
    """Read the rating in a judge's reply: the first number in double brackets, by MT-Bench's rule.

    Args:
        reply: The judge's text, as it came. Thoughts before it do not count.
        cut: Whether the engine says that the reply was cut by its length; a rating before the cut counts.

    Returns:
        The rating, 1 to 10; halves and the like are allowed.

    Raises:
        ReplyError: There is none; its kind is "reply" (nothing was said), "truncated", "parse" (no number in double
            brackets) or "range".

    Example:
        >>> read_rating("Short, but right [1]. Rating: [[7]]")
        7.0
    """
    text = THOUGHTS.sub("", reply).strip()
    found = None if text.startswith("<think>") else _RATING.search(text)  # thoughts that never end hold no rating
    if found is None and cut:
        raise ReplyError("the reply was cut before a rating", kind="truncated")
    if not text or text in ERROR_TEXTS:
        raise ReplyError(f"expected a rating, found {text or 'an empty reply'}", kind="reply")
    if found is None:
        raise ReplyError(f"expected a rating such as [[5]], found {text if len(text) <= 80 else '…' + text[-79:]!r}")
    rating = float(found[1])
    if not LOWEST <= rating <= HIGHEST:
        raise ReplyError(f"expected a rating from {LOWEST} to {HIGHEST}, found {found[0][:20]}", kind="range")
    return rating


def judge(
    bench: Bench,
    answers: Mapping[int, Answer],
    by: ChatModel,
    *,
    rounds: int = ROUNDS,
    max_tokens: int = MAX_TOKENS,
    on_judgment: Callable[[Judgment], None] | None = None,
) -> list[Judgment]:
    """Let a judge rate every turn, in several rounds; replies are kept, so a second run asks nothing.

    Rounds differ by their seed alone, and a judge is asked at temperature 0, as in FastChat: rounds of a judge that
    repeats itself exactly are equal, and their deviation is 0.

    Args:
        bench: What was asked.
        answers: The model's answers, by the question's id.
        by: Who judges.
        rounds: How often each turn is judged.
        max_tokens: Of a judge's reply.
        on_judgment: Told every judgment as it comes.

    Returns:
        A judgment of each turn in each round. Where there is no rating its failure says why: that of `read_rating`,
        "refused", or "answer", "missing" and the like where the model gave no answer to judge.

    Raises:
        InputError: There is no round.
        EngineError: The judge does not answer at all, or most of its last 80 replies have no rating.
        StoreError: The reply store cannot be used.
    """
    if rounds < 1:
        raise InputError(f"mt-bench: expected at least one round of judging, found {rounds}.")
    tasks = [_Task(question, turn, told) for told in range(1, rounds + 1) for question, turn in bench.turns]
    unanswered = {task: _failed(task, why) for task in tasks if (why := _unanswered(task, answers))}
    asked = {
        task: bench.ask_judge(task.question, task.turn, answers[task.question.id].turns)
        for task in tasks
        if task not in unanswered
    }
    if on_judgment is not None:
        for judgment in unanswered.values():
            on_judgment(judgment)
    found = run(_judge_all(asked, by, max_tokens, on_judgment)) if asked else []
    by_task = unanswered | dict(zip(asked, found, strict=True))
    return [by_task[task] for task in tasks]


def _unanswered(task: _Task, answers: Mapping[int, Answer]) -> str:
    turns, failure = answers.get(task.question.id, MISSING)
    return "" if task.turn <= len(turns) else failure or MISSING.failure


def _failed(task: _Task, failure: str, reply: str = "") -> Judgment:
    return Judgment(task.question.id, task.turn, task.round, None, failure, reply)


async def _judge_all(
    asked: Mapping[_Task, tuple[str, str]],
    by: ChatModel,
    max_tokens: int,
    on_judgment: Callable[[Judgment], None] | None,
) -> list[Judgment]:
    longest = max(len((system + user).encode()) for system, user in asked.values()) + 256  # a template's words
    engine, opened = by.connect(longest, max_tokens), store()
    return await ask_each(
        list(asked),
        lambda task: _judge(task, asked[task], by, engine, max_tokens, opened),
        who=f"judge {by.name}",
        failure=lambda judgment: judgment.failure,
        on_result=on_judgment,
        window=WINDOW,
    )


async def _judge(
    task: _Task, asked: tuple[str, str], by: ChatModel, engine: Engine, max_tokens: int, opened: Store
) -> Judgment:
    seed = task.round if task.round > 1 else None  # what tells the rounds apart, for the reply store too
    messages = (Message("system", asked[0]), Message("user", asked[1]))
    request = by.request(messages, Sampling(max_tokens=max_tokens, seed=seed))
    said = ""
    try:
        reply = await ask(engine, request, opened)
        said = reply.text
        rating = read_rating(said, cut=reply.finish_reason == "length")
    except RowFailure as error:
        return _failed(task, f"{error.kind}: {error}", said)
    return Judgment(task.question.id, task.turn, task.round, rating, "", said)


def write_judgments(
    judgments: Sequence[Judgment], bench: Bench, answers: Mapping[int, Answer], path: Path, *, model: str, judge: str
) -> None:
    """Write judgments as FastChat does; one without a rating has the score -1 there, and `failure` says why.

    FastChat's own `show_result` reads the file, leaves out what is -1, and shows the mean over the rounds. One file
    holds the judgments of many models, so those of others that are there already stay.

    Raises:
        InputError: The file that is there holds no judgments, or cannot be written; then it is as it was.
    """
    known = {question.id: question for question in bench.questions}
    lines = []
    for one in judgments:
        question, turns = known[one.question], answers.get(one.question, MISSING).turns
        prompt = bench.ask_judge(question, one.turn, turns)[1] if one.turn <= len(turns) else ""
        row = {
            "question_id": one.question,
            "model": model,
            "judge": [judge, bench.prompt(question, one.turn).name],
            "user_prompt": prompt,
            "judgment": one.reply,
            "score": FAILED if one.rating is None else one.rating,
            "turn": one.turn,
            "tstamp": time.time(),
        }
        lines.append(json.dumps(row | ({"failure": one.failure} if one.failure else {}), ensure_ascii=False) + "\n")
    with one_at_a_time(path.parent):
        others = [row for row in read_lines(path) if row.get("model") != model] if path.exists() else []
        write_lines(path, [*(json.dumps(row, ensure_ascii=False) + "\n" for row in others), *lines])


class Judged(NamedTuple):
    """What judgment files hold of one model: who was judged, by whom, and the judgments."""

    model: str
    judge: str
    judgments: list[Judgment]


def read_judgments(paths: Sequence[Path], bench: Bench, *, model: str | None = None) -> Judged:
    """Read FastChat's files of single-answer judgments.

    Each file is a round, or several: a turn that is judged again in it is judged for a further round.

    Args:
        paths: The files.
        bench: What was asked; judgments of other questions are passed over.
        model: Whose judgments, where there are several models in the files.

    Raises:
        InputError: A file is no such file, holds several models and none is named, or several judges.
    """
    rows = [(place, row) for place, path in enumerate(paths) for row in _rows(path, bench)]
    models = sorted({str(row.get("model")) for _, row in rows})
    if model is None and len(models) != 1:
        raise InputError(f"mt-bench: expected judgments of one model, found {models}. Name one with --name.")
    chosen = model if model is not None else models[0]
    rows = [(place, row) for place, row in rows if row.get("model") == chosen]
    judges = sorted({str(row["judge"][0]) for _, row in rows})
    if len(judges) != 1:
        raise InputError(
            f"mt-bench: expected judgments of {chosen} by one judge, found {judges or f'models {models}'}."
        )
    judgments: list[Judgment] = []
    before = 0
    for place in range(len(paths)):
        seen = Counter[tuple[int, int]]()
        for at, row in rows:
            if at == place:
                seen[row["question_id"], row["turn"]] += 1
                judgments.append(_read(row, before + seen[row["question_id"], row["turn"]]))
        before += max(seen.values(), default=0)
    return Judged(chosen, judges[0], judgments)


def _rows(path: Path, bench: Bench) -> list[dict[str, Any]]:
    wanted = {(question.id, turn) for question, turn in bench.turns}
    found = []
    for row in read_lines(path):
        key = tuple(number(row.get(name), f"{path.name}, {name}") for name in ("question_id", "turn"))
        score, judge = row.get("score"), row.get("judge")
        if isinstance(score, bool) or not isinstance(score, int | float) or not isinstance(judge, list) or not judge:
            raise InputError(
                f'mt-bench: expected a number as "score" and a list as "judge" in {path.name}, question {key[0]}, '
                f"found {score!r} and {judge!r}."
            )
        if key in wanted:
            found.append(row)
    return found


def _read(row: Mapping[str, Any], told: int) -> Judgment:
    """Read a score as it stands: it was read from the reply by whoever wrote the file."""
    score, failure, reply = row["score"], row.get("failure"), str(row.get("judgment") or "")
    place = (row["question_id"], row["turn"], told)
    if LOWEST <= score <= HIGHEST:
        return Judgment(*place, float(score), "", reply)
    kind = "parse: the file says" if score == FAILED else "range: the file says"
    return Judgment(*place, None, failure if isinstance(failure, str) and failure else f"{kind} {score!s:.20}", reply)
