"""Facts in, Markdown out: the cards and notices that go with what we publish.

Templates are strict: a fact that is missing is an error, never a blank. YAML is written by the Hub library alone, and
text that comes from data is escaped on its way into Markdown.
"""

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from instag_hf.cards.filling import fill_card, listed, size_category
from instag_hf.errors import InputError
from instag_hf.rows import plain, printable

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TEMPLATES = Path(__file__).parents[1] / "templates"
TAGGER_FACTS = Path(__file__).parents[1] / "data" / "tagger.json"
CITATION = "arXiv 2308.07074"

_MARKDOWN = re.compile(r"([\\`*_\[\]|~]|^[#+\->])")
_NUMBERED = re.compile(r"^(\d+)(?=[.)](\s|$))")  # the beginning of a list


_Rendered = ParamSpec("_Rendered")


def _complete(card: Callable[_Rendered, str]) -> Callable[_Rendered, str]:
    """Tell a fact that a card states and a record has not, also where no template asks for it."""

    @functools.wraps(card)
    def told(*facts: _Rendered.args, **more: _Rendered.kwargs) -> str:
        try:
            return card(*facts, **more)
        except KeyError as error:
            raise InputError(f"card: expected the fact {error} in the record, found none.") from error

    return told


def tagger_facts() -> dict[str, Any]:
    """Read the record of the tagger that ships with the package: its `training.json`."""
    facts: dict[str, Any] = json.loads(TAGGER_FACTS.read_text(encoding="utf-8"))
    return facts


@_complete
def tagger_card(facts: Mapping[str, Any], *, name: str) -> str:
    """Render the model card of a tagger from the record of its training.

    Args:
        facts: What `training.json` holds, with `scores` from the held-out rows; if there is one, under `control` the
            same of a tagger trained on permissively licensed sources alone.
        name: The tagger's name, for the heading and the Hub's index of results.

    Raises:
        InputError: A fact that the card states is missing.
    """
    from huggingface_hub import ModelCardData

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
        eval_results=_results(scores),
    )
    return f"---\n{data.to_yaml()}\n---\n\n" + _render("tagger.md.j2", facts, name=name)


@_complete
def dataset_card(
    facts: Mapping[str, Any], *, name: str, existing: str = "", describe: Callable[[Any], None] | None = None
) -> str:
    """Render the card of a tagged dataset into the card that is there.

    Args:
        facts: What `instag.json` holds.
        name: The dataset's name, for a new card's heading.
        existing: The card that is there; its own text and keys stay.
        describe: Told the keys, adds which files are which config.

    Raises:
        InputError: A fact that the card states is missing, or the card that is there has broken YAML.
    """
    from instag_hf.selection.records import flat

    sources = [source["id"] for source in facts["sources"] if source["revision"]]
    languages = {language for source in facts["sources"] for language in listed(source["language"])}
    by_models = bool(facts["taggers"]) and all(tagger["facts"] for tagger in facts["taggers"])
    keys = {
        **_license(facts["license"]),
        "annotations_creators": ["machine-generated" if by_models else "other"],
        "language": sorted(languages),
        "pretty_name": name,
        "size_categories": [size_category(facts["rows"])],
        "source_datasets": sources,
        "tags": ["instag", "instag_hf", "instruction-tagging"],
        "task_categories": ["text-generation"],
    }
    return fill_card(
        "dataset",
        existing,
        keys,
        _render("dataset.md.j2", facts, name=name, chosen=flat(facts["selection"] or {}), by_models=by_models),
        heading=escape(name),
        finish=describe,
    )


@_complete
def model_card(facts: Mapping[str, Any], *, name: str, existing: str = "") -> str:
    """Render the card of a tagger that was trained with `train_tagger`, on any base, into the card that is there.

    Args:
        facts: What `training.json` holds, with `license` as for a dataset, `repo`, its id, and `files`, path and bytes.
        name: The tagger's name.
        existing: The card that is there; its own text and keys stay.

    Raises:
        InputError: A fact that the card states is missing, or the card that is there has broken YAML.
    """
    scores = facts.get("scores")
    base = facts["base"].partition("@")[0]
    keys = {
        **_license(facts["license"]),
        "base_model": base if "/" in base else None,
        "library_name": "peft" if "adapter_config.json" in facts["files"] else _library(facts["files"]),
        "pipeline_tag": "text-generation",
        "tags": ["instag", "instag_hf", "instruction-tagging"],
    }
    if scores:
        keys["model-index"] = _index(scores["agreement"], name)
    body = _render("trained.md.j2", facts, name=name, scores=scores and scores["agreement"])
    return fill_card("model", existing, keys, body, heading=escape(name))


@_complete
def taglm_card(facts: Mapping[str, Any], *, name: str, existing: str = "") -> str:
    """Render the card of a chat model that was trained with `train`, into the card that is there.

    Args:
        facts: What `training.json` holds, with `control` if the same was trained on random rows; `license` as for a
            dataset, `repo`, its id, `scores`, what `Scores.to_dict` returned or `None`, and `control_scores`, the
            control's.
        name: The model's name.
        existing: The card that is there; its own text and keys stay.

    Raises:
        InputError: A fact that the card states is missing, or the card that is there has broken YAML.
    """
    from huggingface_hub.repocard_data import EvalResult, eval_results_to_model_index

    base = facts["base"].partition("@")[0]
    keys = {
        **_license(facts["license"]),
        "base_model": base if "/" in base else None,
        "library_name": "peft" if facts["settings"]["rank"] else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["instag", "instag_hf", "sft", "taglm", "trl"],
    }
    scores = facts["scores"]
    if scores and scores["mean"] is not None:
        result = EvalResult(
            task_type="text-generation",
            task_name="MT-Bench",
            dataset_type="mt_bench",
            dataset_name="MT-Bench",
            metric_type="mt_bench",
            metric_name=f"mean rating of 1 to 10, judged by {scores['judge']}",
            metric_value=round(scores["mean"], 4),
        )
        keys["model-index"] = eval_results_to_model_index(name, [result])
    return fill_card("model", existing, keys, _render("taglm.md.j2", facts, name=name), heading=escape(name))


@_complete
def normalizer_card(facts: Mapping[str, Any], *, name: str, existing: str = "") -> str:
    """Render the card of a vocabulary into the card that is there.

    Args:
        facts: `license`, `vocabulary` (tags and their rows, the most frequent first), `funnel`, `settings` and `repo`.
        name: The vocabulary's name.
        existing: The card that is there; its own text and keys stay.

    Raises:
        InputError: A fact that the card states is missing, or the card that is there has broken YAML.
    """
    keys = {
        **_license(facts["license"]),
        "library_name": "instag-hf",
        "tags": ["instag", "instag_hf", "tag-vocabulary"],
    }
    return fill_card("model", existing, keys, _render("normalizer.md.j2", facts, name=name), heading=escape(name))


def tagger_notice(facts: Mapping[str, Any], *, name: str) -> str:
    """Render the licence notice of a tagger: what it was trained on, and under which licences, by row count.

    Raises:
        InputError: A fact that the notice states is missing.
    """
    return _render("notice.md.j2", facts, name=name)


def escape(text: object) -> str:
    """Make text of a dataset or a model mean itself in Markdown, on one line."""
    marked = _NUMBERED.sub(r"\1\\", _MARKDOWN.sub(r"\\\1", plain(str(text))))
    return marked.replace("&", "&amp;").replace("<", "&lt;")


def fence(text: str, language: str = "") -> str:
    """Set text as a block of code that nothing in it can end."""
    text = printable(text, keep="\n\t")
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    marks = "`" * (longest + 1)
    return f"{marks}{language}\n{text}\n{marks}"


def _results(scores: Mapping[str, Any]) -> "list[EvalResult]":
    from huggingface_hub import EvalResult

    return [
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
        if scores[match]
    ]


def _index(scores: Mapping[str, Any], name: str) -> Any:
    from huggingface_hub.repocard_data import eval_results_to_model_index

    return eval_results_to_model_index(name, _results(scores))


def _library(files: Any) -> str:
    return "transformers" if "config.json" in files else "instag-hf"


def _license(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: facts[key] for key in ("license", "license_name", "license_link")}


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
    environment.filters["of"] = lambda number, thing: f"{int(number):,} {thing}{'' if number == 1 else 's'}"
    environment.filters["licenses"] = _by_license
    environment.filters["fence"] = fence
    environment.filters["kinds"] = lambda failed: ", ".join(
        f"{count:,} {escape(kind)}" for kind, count in failed.items()
    )
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False, indent=2)
    environment.filters["number"] = lambda value, digits=2: "not known" if value is None else f"{value:.{digits}f}"
    environment.filters["percent"] = lambda share: "not known" if share is None else f"{100 * share:.1f} %"
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
