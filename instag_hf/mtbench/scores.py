"""Judgments in, `Scores` out: means as the paper prints them, and the failures beside them (paper table 8)."""

import dataclasses
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from instag_hf.errors import InputError
from instag_hf.mtbench.judging import Judgment
from instag_hf.mtbench.questions import Bench

CODE_AND_MATH = ("coding", "math")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """One round of judging; means are of ratings from 1 to 10, and `None` where there is none.

    Attributes:
        mean: Of all ratings, MT-Bench's score.
        first_turn: Of those of first turns.
        second_turn: Of those of second turns.
        categories: Of each category's.
        judged: Ratings that there are.
        failed: Ratings that there should be and are not, by kind of failure.
    """

    mean: float | None
    first_turn: float | None
    second_turn: float | None
    categories: dict[str, float | None]
    judged: int
    failed: dict[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """What MT-Bench says of a model: a mean of each round, and what is not in it.

    Attributes:
        model: Who was judged.
        judge: By whom.
        bench: SHA-256 of the questions, references and prompts.
        rounds: Each round of judging.

    Example:
        >>> one = Round(mean=6.0, first_turn=7.0, second_turn=5.0, categories={"stem": 6.0}, judged=2, failed={})
        >>> scores = Scores(model="m", judge="j", bench="", rounds=(one, dataclasses.replace(one, mean=7.0)))
        >>> scores.mean, scores.sd
        (6.5, 0.5)
    """

    model: str
    judge: str
    bench: str
    rounds: tuple[Round, ...]

    @property
    def mean(self) -> float | None:
        """The mean of the rounds' means: the score; `None` where a round has none."""
        return _mean_of_all(one.mean for one in self.rounds)

    @property
    def sd(self) -> float | None:
        """The population standard deviation of the rounds' means, as in the paper; `None` with a single round."""
        means = [one.mean for one in self.rounds if one.mean is not None]
        return statistics.pstdev(means) if len(means) == len(self.rounds) > 1 else None

    @property
    def first_turn(self) -> float | None:
        """The mean of the rounds' means of first turns."""
        return _mean_of_all(one.first_turn for one in self.rounds)

    @property
    def second_turn(self) -> float | None:
        """The mean of the rounds' means of second turns."""
        return _mean_of_all(one.second_turn for one in self.rounds)

    @property
    def categories(self) -> dict[str, float | None]:
        """The mean of the rounds' means for each category."""
        return {name: _mean_of_all(one.categories[name] for one in self.rounds) for name in self.rounds[0].categories}

    @property
    def without_code_and_math(self) -> float | None:
        """The mean of the categories other than coding and math, the last column of the paper's table 8."""
        return _mean_of_all(value for name, value in self.categories.items() if name not in CODE_AND_MATH)

    @property
    def failed(self) -> dict[str, int]:
        """Ratings of all rounds that are not there, by kind of failure, most first; they are in no mean."""
        total = Counter[str]()
        for one in self.rounds:
            total.update(one.failed)
        return dict(total.most_common())

    @property
    def judged(self) -> int:
        """Ratings of all rounds that are there."""
        return sum(one.judged for one in self.rounds)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        names = ("mean", "sd", "first_turn", "second_turn", "without_code_and_math", "categories", "judged", "failed")
        rounds = [dataclasses.asdict(one) for one in self.rounds]
        fields = {"model": self.model, "judge": self.judge, "bench": self.bench, "rounds": rounds}
        return fields | {name: getattr(self, name) for name in names}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """Make scores again from what `to_dict` returned.

        Raises:
            InputError: They are not of that form.
        """
        try:
            rounds = tuple(Round(**one) for one in facts["rounds"])
            found = cls(rounds=rounds, **{name: facts[name] for name in ("model", "judge", "bench")})
            found.to_dict()  # which works with all of them, so that no reader of scores finds out later
            return found
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"mt-bench: expected scores as `instag mt-bench --json` prints them, found {error}."
            ) from error


def score(bench: Bench, judgments: Sequence[Judgment], *, model: str, judge: str, allow_failed: bool = False) -> Scores:
    """Average the ratings of each round; a turn without one is counted by its reason, and is in no mean.

    Args:
        bench: What was asked: every turn of it should have a rating in every round.
        judgments: What there is.
        model: Who was judged.
        judge: By whom.
        allow_failed: Whether ratings may be missing; a mean of fewer is another number than MT-Bench's.

    Raises:
        InputError: There is no judgment, two are of the same turn in the same round, or ratings are missing and that
            is not allowed.
    """
    if not judgments:
        raise InputError("mt-bench: expected judgments, found none.")
    by_place: dict[tuple[int, int, int], Judgment] = {}
    for one in judgments:
        if by_place.setdefault((one.round, one.question, one.turn), one) is not one:
            raise InputError(
                f"mt-bench: expected one judgment of each turn in a round, found two of question {one.question}, turn "
                f"{one.turn}, round {one.round}. A turn judged again is judged for a further round."
            )
    told = range(1, max(one.round for one in judgments) + 1)
    scores = Scores(
        model=model, judge=judge, bench=bench.sha256, rounds=tuple(_round(bench, by_place, number) for number in told)
    )
    missing = sum(scores.failed.values())
    if missing and not allow_failed:
        kinds = ", ".join(f"{count} {kind}" for kind, count in scores.failed.items())
        why = next((one.failure for one in judgments if one.failure), "missing: nobody judged the turn")
        raise InputError(
            f"mt-bench: expected a rating of every turn in every round, found {missing:,} of "
            f"{missing + scores.judged:,} missing ({kinds}), one for: {why}. Choose another judge, or allow it "
            "with allow_failed=True (--allow-failed): they are then counted beside a score of the others alone."
        )
    return scores


def _round(bench: Bench, judgments: Mapping[tuple[int, int, int], Judgment], told: int) -> Round:
    rated: list[tuple[str, int, float]] = []
    failed = Counter[str]()
    for question, turn in bench.turns:
        one = judgments.get((told, question.id, turn))
        if one is None:
            failed["missing"] += 1
        elif one.rating is None:
            failed[one.failure.partition(":")[0]] += 1
        else:
            rated.append((question.category, turn, one.rating))
    return Round(
        mean=_mean(rating for _, _, rating in rated),
        first_turn=_mean(rating for _, turn, rating in rated if turn == 1),
        second_turn=_mean(rating for _, turn, rating in rated if turn == 2),
        categories={name: _mean(rating for of, _, rating in rated if of == name) for name in bench.categories},
        judged=len(rated),
        failed=dict(failed.most_common()),
    )


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.fmean(found) if found else None


def _mean_of_all(values: Iterable[float | None]) -> float | None:
    """Average, unless one is missing: a mean without it would be of something else."""
    found = list(values)
    known = [value for value in found if value is not None]
    return _mean(known) if len(known) == len(found) else None
