"""A chat model in, its MT-Bench `Scores` out, by a judge model (paper sections 4.1 and 4.2, table 8).

    questions ──answer──▶ answers ──judge──▶ judgments ──score──▶ Scores

Questions, reference answers and judge prompts are read from files that their owners publish; none is in this package.
Answers and judgments are also files in FastChat's form, so either side can be done elsewhere.
"""

from instag_hf.mtbench.answers import Answer, ChatModel, answer, read_answers, write_answers
from instag_hf.mtbench.judging import (
    ROUNDS,
    Judged,
    Judgment,
    judge,
    read_judgments,
    read_rating,
    write_judgments,
)
from instag_hf.mtbench.questions import Bench, JudgePrompt, Question, read_bench
from instag_hf.mtbench.scores import Round, Scores, score

__all__ = [
    "Answer",
    "Bench",
    "ChatModel",
    "JudgePrompt",
    "Judged",
    "Judgment",
    "Question",
    "Round",
    "Scores",
    "answer",
    "evaluate",
    "judge",
    "read_answers",
    "read_bench",
    "read_judgments",
    "read_rating",
    "score",
    "write_answers",
    "write_judgments",
]


def evaluate(
    bench: Bench, model: ChatModel, *, by: ChatModel, rounds: int = ROUNDS, allow_failed: bool = False
) -> Scores:
    """Let a model answer MT-Bench and a judge rate the answers: the three steps in one call.

    Both engines are asked at the place that `INSTAG_URL` names; where they differ, write the answers to a file first.

    Args:
        bench: What is asked.
        model: Who answers.
        by: Who judges.
        rounds: How often each turn is judged; three in the paper.
        allow_failed: Whether ratings may be missing.

    Raises:
        InputError: Ratings are missing and that is not allowed.
        EngineError: The model or the judge does not answer at all.
        StoreError: The reply store cannot be used.
    """
    judgments = judge(bench, answer(bench, model), by, rounds=rounds)
    return score(bench, judgments, model=model.name, judge=by.name, allow_failed=allow_failed)
