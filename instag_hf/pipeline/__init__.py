"""Datasets in and out, the stages between in one call each, and the whole way in one: `run`, and again: `rerun`."""

from instag_hf.pipeline.again import Again, compare_rows, read_plan, rerun
from instag_hf.pipeline.files import check_target, load, load_public, save
from instag_hf.pipeline.stages import SAMPLE, evaluate, failures, tag
from instag_hf.pipeline.whole import Excluded, Outcome, Plan, run

__all__ = [
    "SAMPLE",
    "Again",
    "Excluded",
    "Outcome",
    "Plan",
    "check_target",
    "compare_rows",
    "evaluate",
    "failures",
    "load",
    "load_public",
    "read_plan",
    "rerun",
    "run",
    "save",
    "tag",
]
