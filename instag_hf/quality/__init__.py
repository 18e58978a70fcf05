"""How good tags are: precision and consistency, by a judge model and by people (paper section 3.3, tables 1, 6, 7, 9).

    tagged rows ──draw_cases──▶ cases ──Judge.judge──▶ verdicts ──score──▶ Quality
                                  └──write_sheet──▶ people ──read_sheet──┘

A case without a verdict is counted by its reason and is in no share. Verdicts of several raters become one by majority,
and how far the raters agree is a kappa. `measure_drift` compares two taggers, or two versions of one, on the same rows.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from instag_hf.agreement import cohen_kappa, fleiss_kappa, majority
from instag_hf.errors import InputError
from instag_hf.quality.cases import TASKS, Case, Sample, Verdict, draw_cases
from instag_hf.quality.drift import Drift, measure_drift
from instag_hf.quality.judge import Judge, read_verdict
from instag_hf.quality.sheets import Sheet, read_sheet, write_sheet

__all__ = [
    "Case",
    "Drift",
    "Judge",
    "Outcome",
    "Quality",
    "Raters",
    "Sample",
    "Sheet",
    "Verdict",
    "compare_raters",
    "draw_cases",
    "majority_verdicts",
    "measure_drift",
    "read_sheet",
    "read_verdict",
    "score",
    "write_sheet",
]

Verdicts = Mapping[str, Verdict]
MISSING = Verdict(None, "missing: nobody was asked")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one kind of cases.

    Attributes:
        cases: All of them.
        good: Those of which every item fits.
        failed: Those without a verdict, by kind of failure.
        items: Items of the cases that have a verdict.
        marked: Those of them that do not fit.
        replaced: Items that were put in to be wrong, in cases that have a verdict; 0 if these are no controls.
        caught: Those of them that were marked.
    """

    cases: int = 0
    good: int = 0
    failed: dict[str, int] = dataclasses.field(default_factory=dict)
    items: int = 0
    marked: int = 0
    replaced: int = 0
    caught: int = 0

    @property
    def judged(self) -> int:
        """The cases that have a verdict."""
        return self.cases - sum(self.failed.values())

    @property
    def share(self) -> float | None:
        """Good cases among those that have a verdict, 0 to 1; `None` where none has."""
        return self.good / self.judged if self.judged else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where the share of all such cases lies, by 95 % (Wilson's interval); `None` where there is no share."""
        if self.share is None:
            return None
        n, z2 = self.judged, 1.959964**2
        middle = (self.share + z2 / (2 * n)) / (1 + z2 / n)
        half = math.sqrt(z2 * (self.share * (1 - self.share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
        return max(0.0, min(self.share, middle - half)), min(1.0, max(self.share, middle + half))  # rounding aside

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**dataclasses.asdict(self), "judged": self.judged, "share": self.share, "interval": self.interval}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quality:
    """Precision and consistency, each of the tags as they are and of controls, whose share should be near 0."""

    precision: Outcome
    precision_control: Outcome
    consistency: Outcome
    consistency_control: Outcome

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {field.name: getattr(self, field.name).to_dict() for field in dataclasses.fields(self)}


class Raters(NamedTuple):
    """How far raters agree on whether cases are good.

    `cases` are those that all raters decided, `left_out` the others; `unanimous` is the share of cases, 0 to 1, in
    which all say the same; `kappa` is Cohen's for two raters, else Fleiss', and `None` where it is undefined.
    """

    raters: int
    cases: int
    left_out: int
    unanimous: float | None
    kappa: float | None


def score(cases: Sequence[Case], verdicts: Verdicts) -> Quality:
    """Count verdicts: a case is good if no item of it is called wrong (paper section 3.3).

    Args:
        cases: What was to be decided.
        verdicts: By the case's id; a case without one counts as failed, "missing".
    """
    found = {}
    for task in TASKS:
        for control in (False, True):
            some = [case for case in cases if case.task == task and case.control is control]
            found[f"{task}_control" if control else task] = _outcome(some, verdicts)
    return Quality(**found)


def _outcome(cases: Sequence[Case], verdicts: Verdicts) -> Outcome:
    decided = [(case, verdicts.get(case.id, MISSING)) for case in cases]
    judged = [(case, verdict.wrong) for case, verdict in decided if verdict.wrong is not None]
    return Outcome(
        cases=len(cases),
        good=sum(not wrong for _, wrong in judged),
        failed=dict(Counter(v.failure.partition(":")[0] for _, v in decided if v.wrong is None).most_common()),
        items=sum(len(case.items) for case, _ in judged),
        marked=sum(len(wrong) for _, wrong in judged),
        replaced=sum(len(case.replaced) for case, _ in judged),
        caught=sum(len({*case.replaced} & {*wrong}) for case, wrong in judged),
    )


def majority_verdicts(cases: Sequence[Case], raters: Sequence[Verdicts]) -> dict[str, Verdict]:
    """Make one verdict of several raters' for each case: what more than half of those who decided it say.

    Of a case that most call bad, the wrong items are those that most of them mark, or all that any marks where they
    differ. A tie is no verdict, and its failure is "tie".

    Raises:
        InputError: There are no raters.
    """
    if not raters:
        raise InputError("quality: expected verdicts of one rater at least, found none.")
    return {case.id: _most([rater.get(case.id, MISSING) for rater in raters]) for case in cases}


def _most(verdicts: Sequence[Verdict]) -> Verdict:
    decided = [verdict.wrong for verdict in verdicts if verdict.wrong is not None]
    if not decided:
        return verdicts[0]
    good = majority([not wrong for wrong in decided])
    if good is None:
        return Verdict(None, f"tie: {sum(not wrong for wrong in decided)} of {len(decided)} call it good")
    if good:
        return Verdict(())
    bad = [wrong for wrong in decided if wrong]
    marks = Counter(place for wrong in bad for place in wrong)
    agreed = sorted(place for place, count in marks.items() if 2 * count > len(bad))
    return Verdict(tuple(agreed or sorted(marks)))


def compare_raters(cases: Sequence[Case], raters: Sequence[Verdicts]) -> dict[str, Raters]:
    """Measure how far raters agree on whether cases are good, for each task; Cohen's kappa for two, Fleiss' for more.

    Controls count too: among cases that are nearly all good, a kappa says little.

    Raises:
        InputError: There are fewer than two raters.
    """
    if len(raters) < 2:
        raise InputError(f"quality: expected two raters or more to compare, found {len(raters)}.")
    found = {}
    for task in TASKS:
        answers = [[rater.get(case.id, MISSING).good for rater in raters] for case in cases if case.task == task]
        whole = [row for row in answers if None not in row]
        kappa = None
        if whole:
            kappa = cohen_kappa(*zip(*whole, strict=True)) if len(raters) == 2 else fleiss_kappa(whole)
        found[task] = Raters(
            raters=len(raters),
            cases=len(whole),
            left_out=len(answers) - len(whole),
            unanimous=sum(len(set(row)) == 1 for row in whole) / len(whole) if whole else None,
            kappa=kappa,
        )
    return found
