"""Facts in, Markdown out: the cards and notices that go with what we publish.

Templates are strict: a fact that is missing is an error, never a blank. YAML is written by the Hub library alone, and
text that comes from data is escaped on its way into Markdown.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instag_hf.errors import InputError

TEMPLATES = Path(__file__).parent / "templates"
TAGGER_FACTS = Path(__file__).parent / "data" / "tagger.json"
CITATION = "arXiv 2308.07074"

_MARKDOWN = re.compile(r"([\\`*_\[\]|~]|^[#+\->]|^\d+(?=[.)]))")


def tagger_facts() -> dict[str, Any]:
    """Read the record of the tagger that ships with the package: its `training.json`."""
    facts: dict[str, Any] = json.loads(TAGGER_FACTS.read_text(encoding="utf-8"))
    return facts


def tagger_card(facts: Mapping[str, Any], *, name: str) -> str:
    """Render the model card of a tagger from the record of its training.

    Args:
        facts: What `training.json` holds, with `scores` from the held-out rows; if there is one, under `control` the
            same of a tagger trained on permissively licensed sources alone.
        name: The tagger's name, for the heading and the Hub's index of results.

    Raises:
        InputError: A fact that the card states is missing.
    """
    from huggingface_hub import EvalResult, ModelCardData

    scores = facts["scores"]["agreement"]
    data = ModelCardData(
        base_model="HuggingFaceTB/SmolLM2-135M-Instruct",
        language=["en", "zh"],
        library_name="instag-hf",
        license="other",
        license_name="see-notice",
        license_link="NOTICE.md",
        model_name=name,
        pipeline_tag="text-generation",
        tags=["instag", "instruction-tagging", "lora", "gguf"],
        eval_results=[
            EvalResult(
                task_type="text-classification",
                task_name="open-set intention tagging",
                dataset_type="held-out",
                dataset_name=f"{scores['queries']} held-out queries with annotators' tags",
                metric_type=kind,
                metric_name=f"micro-F1, {match} match",
                metric_value=round(scores[match]["f1"], 4),
            )
            for match, kind in (("exact", "f1"), ("fuzzy", "fuzzy_f1"))
        ],
    )
    return f"---\n{data.to_yaml()}\n---\n\n" + _render("tagger.md.j2", facts, name=name)


def tagger_notice(facts: Mapping[str, Any], *, name: str) -> str:
    """Render the licence notice of a tagger: what it was trained on, and under which licences, by row count.

    Raises:
        InputError: A fact that the notice states is missing.
    """
    return _render("notice.md.j2", facts, name=name)


def escape(text: object) -> str:
    """Make text of a dataset or a model mean itself in Markdown, on one line."""
    marked = _MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))
    return marked.replace("&", "&amp;").replace("<", "&lt;")


def _render(template: str, facts: Mapping[str, Any], **more: Any) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown: every value from data goes through `escape`
    )
    environment.filters["md"] = escape
    environment.filters["count"] = lambda number: f"{int(number):,}"
    environment.filters["licenses"] = _by_license
    try:
        return environment.get_template(template).render(facts=facts, citation=CITATION, **more)
    except jinja2.UndefinedError as error:
        raise InputError(f"card: expected every fact that {template} states, found {error}.") from error


def _by_license(sources: list[Mapping[str, Any]]) -> list[tuple[str, int, list[str]]]:
    """Sum rows for each licence, most rows first, with the names of the sources."""
    rows: Counter[str] = Counter()
    names: dict[str, list[str]] = {}
    for source in sources:
        rows[source["license"]] += source["rows"]
        names.setdefault(source["license"], []).append(source["source"])
    return [(license, count, names[license]) for license, count in rows.most_common()]
