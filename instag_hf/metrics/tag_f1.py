"""Agreement of predicted tags with gold tags, as a metric of `evaluate`; the numbers are `instag_hf.agreement`'s."""

from typing import Any

import datasets
import evaluate

from instag_hf.agreement import tag_f1
from instag_hf.embeddings import MINILM

_CITATION = "Lu et al. #InsTag: Instruction Tagging for Analyzing Supervised Fine-tuning of LLMs. ICLR 2024."
_INPUTS = """
Args:
    predictions: A list of tags for each query; an empty list where tagging failed.
    references: A list of gold tags for each query.
    embedder: A sentence-transformers model for the fuzzy match, or None to leave it out.
    threshold: Cosine above which two tags match.

Returns:
    precision, recall, f1 by exact match over all tags; macro_f1, the mean of each query's; and fuzzy_precision,
    fuzzy_recall, fuzzy_f1. Each 0 to 1.

Example:
    >>> import evaluate, instag_hf as instag
    >>> metric = evaluate.load(instag.metric("tag_f1"))
    >>> metric.compute(predictions=[["math"]], references=[["math", "algebra"]], embedder=None)["recall"]
    0.5
"""


class TagF1(evaluate.Metric):
    """Precision, recall and F1 of open-set tags."""

    def _info(self) -> evaluate.MetricInfo:
        tags = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description="Precision, recall and F1 of open-set tags, by exact and by fuzzy match.",
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": tags, "references": tags}),
        )

    def _compute(
        self,
        predictions: list[list[str]],
        references: list[list[str]],
        embedder: str | None = MINILM,
        threshold: float = 0.8,
    ) -> dict[str, Any]:
        found = tag_f1(predictions, references, embedder=embedder, threshold=threshold)
        scores = {**found.exact._asdict(), "macro_f1": found.exact_macro.f1}
        if found.fuzzy is not None:
            scores |= {f"fuzzy_{name}": value for name, value in found.fuzzy._asdict().items()}
        return scores
