"""Diversity of tags, as a measurement of `evaluate`; the numbers are `instag_hf.analysis`'s."""

from typing import Any

import datasets
import evaluate

from instag_hf.analysis import Vocabulary, report
from instag_hf.errors import InputError

_CITATION = "Lu et al. #InsTag: Instruction Tagging for Analyzing Supervised Fine-tuning of LLMs. ICLR 2024."
_INPUTS = """
Args:
    data: A list of tags for each row; an empty list where there are none.
    vocabulary: All tags there are to cover, such as those of a normalizer or of all datasets that are compared.

Returns:
    diversity, the share of the vocabulary that occurs in the data, 0 to 1, None of an empty vocabulary; and tags, the
    number of distinct tags.

Example:
    >>> import evaluate, instag_hf as instag
    >>> measurement = evaluate.load(instag.metric("tag_diversity"))
    >>> measurement.compute(data=[["math"], ["math", "sums"]], vocabulary=["math", "sums", "law", "art"])["diversity"]
    0.5
"""


class TagDiversity(evaluate.Measurement):
    """The share of a vocabulary that tags cover (paper section 3.4)."""

    def _info(self) -> evaluate.MeasurementInfo:
        return evaluate.MeasurementInfo(
            description="Diversity of tags: the share of a vocabulary that they cover.",
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"data": datasets.Sequence(datasets.Value("string"))}),
        )

    def _compute(self, data: list[list[str]], vocabulary: list[str]) -> dict[str, Any]:
        if isinstance(vocabulary, str):  # its letters would be the tags
            raise InputError(
                f"tag_diversity: expected a vocabulary of a list of tags, found the text {vocabulary!r:.80}."
            )
        found = report(data, normalizer=Vocabulary(dict.fromkeys(vocabulary, 0))).total
        return {"diversity": found.coverage, "tags": found.tags}
