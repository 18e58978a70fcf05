"""Complexity by tags, as a measurement of `evaluate`; the numbers are `instag_hf.analysis`'s."""

from typing import Any

import datasets
import evaluate

from instag_hf.analysis import report

_CITATION = "Lu et al. #InsTag: Instruction Tagging for Analyzing Supervised Fine-tuning of LLMs. ICLR 2024."
_INPUTS = """
Args:
    data: A list of tags for each query; leave out queries whose tagging failed.

Returns:
    complexity, the mean number of distinct tags, None of no queries; and distribution, queries by number of tags.

Example:
    >>> import evaluate, instag_hf as instag
    >>> measurement = evaluate.load(instag.metric("tag_complexity"))
    >>> measurement.compute(data=[["math"], ["math", "sums"]])["complexity"]
    1.5
"""


class TagComplexity(evaluate.Measurement):
    """The mean number of tags of a query (paper section 3.4)."""

    def _info(self) -> evaluate.MeasurementInfo:
        return evaluate.MeasurementInfo(
            description="Complexity by tags: the mean number of tags of a query.",
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"data": datasets.Sequence(datasets.Value("string"))}),
        )

    def _compute(self, data: list[list[str]]) -> dict[str, Any]:
        found = report(data).total
        return {"complexity": found.tags_per_row, "distribution": found.distribution}
