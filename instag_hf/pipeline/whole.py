"""The whole way in one call: tag, normalize, report, select, and a folder with the card, which can be published."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instag_hf import hub
from instag_hf.analysis import Report, report
from instag_hf.charts.page import render_page
from instag_hf.embeddings import MINILM
from instag_hf.errors import InputError, MissingError
from instag_hf.hub.tables import to_parquet
from instag_hf.normalizer import Settings, TagNormalizer
from instag_hf.pipeline import stages
from instag_hf.pipeline.files import check_folder, load, whole_folder
from instag_hf.rows import NORMALIZED, TAGS, check_columns
from instag_hf.selection import ComplexityFirst, Method, Rules, Selection, check_n, choose
from instag_hf.selection.limits import read_limits
from instag_hf.selection.pool import ranges_of, read_pool
from instag_hf.tagger import Tagger

if TYPE_CHECKING:
    from datasets import Dataset

    from instag_hf.charts import Chart

PAPERS_N = 6_000
TAGGED, PAGE, REPORT = "tagged.parquet", "report.html", "report.json"
WRITTEN = (TAGGED, PAGE, REPORT, hub.ROWS, hub.FACTS, "README.md", "normalizer", "tag_vocabulary", "charts")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Excluded:
    """A dataset none of whose queries may be chosen, such as a benchmark, by its name.

    Attributes:
        source: What `load` takes.
        column: The column that holds its queries; found by its name if not given.
    """

    source: str
    column: str | None = None

    def read(self) -> "Dataset | list[str]":
        """Load what `Rules.exclude` takes.

        Raises:
            InputError: There is no such dataset or column.
        """
        found = load(self.source)
        if self.column is None:
            return found
        if self.column not in found.column_names:
            raise InputError(
                f'exclude: expected a column "{self.column}" in {self.source}, found columns {found.column_names}.'
            )
        texts = found[self.column][:]
        told = [text for each in texts for text in (each if isinstance(each, list) else [each])]
        return [text for text in told if text is not None]  # an empty cell asks nothing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """All that decides the outcome of a run; where it is written is not part of it.

    Attributes:
        source: What `load` takes: a file, a folder, or a dataset on the Hub, `owner/name@revision`.
        split: Which split, where there are several.
        limit: Rows to take from the beginning.
        tagger: Who tags; its column and turns say what.
        normalizer: How a vocabulary is fitted; the embedder is our default one if not given.
        vocabulary: A vocabulary to apply instead, a folder or a repo on the Hub.
        n: How many rows to choose.
        method: How they are chosen.
        rules: What holds whatever the method.
        exclude: Whose queries may not be chosen.
    """

    source: str
    split: str | None = None
    limit: int | None = None
    tagger: Tagger = dataclasses.field(default_factory=Tagger)
    normalizer: Settings = Settings()
    vocabulary: str = ""
    n: int = PAPERS_N
    method: Method = ComplexityFirst()
    rules: Rules = Rules()
    exclude: Excluded | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, before anything is read.

        Raises:
            InputError: `n` or `limit` is no number of rows, or `rules` holds rows to exclude, which have no name.
        """
        check_n(self.n)
        if self.limit is not None and (not isinstance(self.limit, int) or self.limit < 1):
            raise InputError(f"run: expected a limit of 1 or more, found {self.limit!r}.")
        if self.rules.exclude is not None:
            raise InputError("run: expected what to exclude by its name, found rows. Give exclude=Excluded(source=…).")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run made.

    Attributes:
        folder: Where it was written.
        pool: All rows, tagged and normalized.
        normalizer: The vocabulary.
        report: What is in the pool.
        selection: Which rows were chosen, and why.
        subset: The rows chosen, in the order chosen.
        notes: What the user should hear about.
        published: What went to the Hub; `None` if nothing should.
    """

    folder: Path
    pool: "Dataset"
    normalizer: TagNormalizer
    report: Report
    selection: Selection
    subset: "Dataset"
    notes: tuple[str, ...]
    published: hub.Published | None


def run(
    plan: Plan,
    output: str | Path,
    *,
    publish: str | None = None,
    license: str | None = None,
    private: bool = False,
    token: str | None = None,
    overwrite: bool = False,
    charts: bool = True,
    commands: Sequence[str] = (),
    tag: Callable[["Dataset", Tagger], "Dataset"] = stages.tag,
    on_stage: Callable[[str], None] = lambda doing: None,
) -> Outcome:
    """Tag a dataset, make or apply a vocabulary, report, select, and write all of it into a folder.

    What cannot work is refused before anything is asked. The folder is whole or not there. A run that was stopped goes
    on where it stopped when it is called again, for replies and vectors are kept in `$INSTAG_HOME`.

    Args:
        plan: What to do.
        output: The folder: `tagged.parquet`, `subset.parquet`, `normalizer`, `report.html`, `report.json`, and the card
            `README.md` with `instag.json` as `publish_dataset` writes them.
        publish: The dataset repo on the Hub that shall hold the subset.
        license: Of the published rows; that of the source by default.
        private: Whether a new repo is private.
        token: The Hub's token; that of `hf auth login` or `HF_TOKEN` by default.
        overwrite: Whether a folder that a run wrote may be replaced.
        charts: Whether to draw pictures; without matplotlib there are none, and a note says so.
        commands: The commands that did it, for the card.
        tag: How rows are tagged, where a progress bar shall be shown.
        on_stage: Told what begins.

    Raises:
        InputError: The plan does not fit the dataset, or something cannot be read or written.
        MissingError: What a step needs is not installed.
        EngineError: The tagger cannot answer.
        HubError: The Hub cannot be asked, or does not take what is published.
    """
    check_folder(output, WRITTEN, overwrite=overwrite)
    plan = pinned(plan, token)
    if publish is not None:
        hub.check_dataset(publish, source=plan.source, license=license, private=private, token=token)
    on_stage(f"reading {plan.source}")
    dataset, rules = _read(plan)
    if publish is not None:
        hub.check_files(dataset)
    fitted = None if plan.vocabulary else _rehearse(plan.normalizer)
    known = TagNormalizer.from_pretrained(plan.vocabulary) if plan.vocabulary else None

    on_stage(f"tagging {len(dataset):,} rows")
    tagged = tag(dataset, plan.tagger)
    on_stage("normalizing")
    normalizer = known or TagNormalizer.fit(tagged, **(fitted or {}))
    pool = tagged.map(normalizer.normalize, batched=True)
    on_stage("counting and choosing")
    read = {"query": plan.tagger.column, "turns": plan.tagger.turns}
    counted = report(pool, normalizer=normalizer, **read)  # type: ignore[arg-type]
    selection = choose(pool, plan.n, plan.method, rules)
    pictures, no_charts = _draw(counted) if charts else ((), "")
    notes = (*selection.notes, *([no_charts] if no_charts else []))
    made = Outcome(
        folder=Path(output),
        pool=pool,
        normalizer=normalizer,
        report=counted,
        selection=selection,
        subset=selection.rows(pool),
        notes=notes,
        published=None,
    )

    on_stage(f"writing {output}")
    given = hub.Given(
        pool=pool,
        normalizer=normalizer,
        selection=selection,
        run=facts_of(plan),
        tagger=plan.tagger,
        charts=bool(pictures),
        commands=commands,
        query=plan.tagger.column,
        turns=plan.tagger.turns,
    )
    with whole_folder(output) as folder:
        _write(made, folder, title=f"Tags of {Path(plan.source).name}", charts=pictures, no_charts=no_charts, **read)
        hub.write_dataset(made.subset, folder, source=plan.source, given=given, license=license, token=token)
    if publish is None:
        return made
    on_stage(f"publishing {publish}")
    published = hub.publish_dataset(
        made.subset, publish, source=plan.source, license=license, private=private, token=token, **_fields(given)
    )
    return dataclasses.replace(made, published=published)


def pinned(plan: Plan, token: str | None = None) -> Plan:
    """Replace names of datasets on the Hub by the commit that they are now, so that a run can be done again.

    Raises:
        InputError: There is neither such a file nor such a dataset.
        HubError: The Hub cannot be asked.
    """
    exclude = plan.exclude and dataclasses.replace(plan.exclude, source=_pin(plan.exclude.source, token))
    return dataclasses.replace(plan, source=_pin(plan.source, token), exclude=exclude)


def facts_of(plan: Plan) -> dict[str, Any]:
    """Write what a run must know besides the tagger, the vocabulary's settings and the selection, for `instag.json`."""
    return {
        "split": plan.split,
        "limit": plan.limit,
        "column": plan.tagger.column,
        "turns": plan.tagger.turns,
        "overwrite": plan.tagger.overwrite,
        "vocabulary": _name(plan.vocabulary) or None,
        "exclude": plan.exclude and {"source": _name(plan.exclude.source), "column": plan.exclude.column},
    }


def _name(source: str) -> str:
    """Name a file without its folders: those of a machine tell others nothing."""
    return Path(source).name if Path(source).exists() else source


def _pin(source: str, token: str | None) -> str:
    (found,) = hub.find_sources(source, token=token)
    return f"{found['id']}@{found['revision']}" if found["revision"] else source


def _read(plan: Plan) -> tuple["Dataset", Rules]:
    """Load the dataset, and what holds for a choice from it; refuse what the plan cannot be for."""
    dataset = stages.without_normalized(load(plan.source, split=plan.split, limit=plan.limit), plan.tagger)
    rules = dataclasses.replace(
        plan.rules,
        exclude=plan.exclude.read() if plan.exclude else None,
        text_column=plan.rules.text_column or plan.tagger.column,
    )
    _check(dataset, plan, rules)
    return dataset, rules


def _check(dataset: "Dataset", plan: Plan, rules: Rules) -> None:
    """Refuse a dataset that the plan cannot be for."""
    names = dataset.column_names
    tagger, settings = plan.tagger, plan.normalizer
    check_columns(names, column=tagger.column, overwrite=tagger.overwrite)
    wanted = [rules.weight_column, rules.text_column, rules.source_column if rules.per_source is not None else None]
    for name in wanted:
        if name is not None and name not in names:
            raise InputError(f'run: expected a column "{name}", found columns {names}. Name another.')
    if not plan.vocabulary and "frequency" in settings.steps and settings.min_count > len(dataset):
        raise InputError(
            f"run: expected enough rows for min_count={settings.min_count} (--min-count), found {len(dataset):,}, so "
            "that no tag could be left. Lower it; the paper's 20 is for 17 datasets together."
        )
    _rehearse_choice(dataset, plan, rules)


def _rehearse_choice(dataset: "Dataset", plan: Plan, rules: Rules) -> None:
    """Read what choosing needs besides the tags, which are not there yet."""
    if rules.column is not None and rules.column not in (*dataset.column_names, TAGS, NORMALIZED):
        raise InputError(
            f'run: expected a column "{rules.column}", found columns {dataset.column_names}. Name another.'
        )
    pool = read_pool(dataset, rules, lengths=True, tagged=False)
    read_limits(pool, dataclasses.replace(rules, per_tag=None), plan.n)
    least = max((low for low, _ in ranges_of("tag", rules.per_tag or 0).values()), default=0)
    there = min(plan.n, int(pool.open.sum()))
    if least > there:
        raise InputError(f"run: expected quotas of tags that fit into {there:,} rows, found {least:,}. Lower them.")


def _rehearse(settings: Settings) -> dict[str, Any]:
    """Take the vocabulary's steps on two tags, so that a package or a model that lacks is told before any tagging.

    Returns:
        The arguments of the fit.
    """
    asked = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    del asked["weights"]  # which weights an embedder's name stood for is known after the fit
    asked["embedder"] = settings.embedder or MINILM
    TagNormalizer.fit([["poetry", "poem"]], **asked | {"min_count": 1, "min_support": 1})
    return asked


def _draw(counted: Report) -> tuple[Sequence["Chart"], str]:
    from instag_hf.charts import draw

    try:
        return draw(counted), ""
    except MissingError as error:
        return (), f"No charts: {error}"


def _write(made: Outcome, folder: Path, **page: Any) -> None:
    """Write the pool and its report; `page` is what the report's page is drawn with besides."""
    to_parquet(made.pool, folder / TAGGED)
    (folder / PAGE).write_text(render_page(made.report, made.pool, **page), encoding="utf-8", newline="\n")
    (folder / REPORT).write_text(json.dumps(made.report.to_dict(), ensure_ascii=False, indent=1) + "\n", "utf-8")


def _fields(given: hub.Given) -> dict[str, Any]:
    return {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}
