"""The commands that say how good tags are: `quality`, `drift`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from instag_hf.cli.shown import progress
from instag_hf.cli.tagging import turns_option
from instag_hf.rows import fit, printable

if TYPE_CHECKING:
    from instag_hf.quality import Case, Drift, Judge, Quality, Raters, Sample, Verdict

SHOWN = 5  # failures that are told; --json has all verdicts


@click.command("quality")
@click.argument("source", metavar="[INPUT]", required=False)
@click.option("-n", "--n", default=100, show_default=True, type=click.IntRange(min=1), help="Cases of each task.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of all that is drawn.")
@click.option("--split", help="Which split, where INPUT has several.")
@click.option("--tags", default="instag_tags", show_default=True, help="The column of tags.")
@click.option("--column", help="The column that holds the query; found by its name if not given.")
@turns_option()
@click.option("--instructions", default=5, show_default=True, type=click.IntRange(min=2), help="Queries for each tag.")
@click.option(
    "--controls",
    type=click.Choice(["similar", "random", "none"]),
    default="similar",
    show_default=True,
    help="What false tags a control gets: similar ones (needs embeddings), random ones; or no controls.",
)
@click.option("--embedder", help="A sentence-transformers model for similar tags; all-MiniLM-L6-v2 if not given.")
@click.option("--mixed", is_flag=True, help="Allow rows of several taggers.")
@click.option(
    "--sheet", type=click.Path(path_type=Path), help="Write the cases for people to this CSV file; ask nobody."
)
@click.option(
    "--from-sheet",
    "filled",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Read a person's verdicts, instead of INPUT; may be given again for further people.",
)
@click.option(
    "--engine",
    help='Where the judge runs: "openai", "tgi", "local" or "embedded"; $INSTAG_ENGINE if not given, else "openai".',
)
@click.option(
    "--model",
    help="The judge's id on its server, a folder (local), or the path of a GGUF file; $INSTAG_MODEL if not given.",
)
@click.option("--max-tokens", default=512, show_default=True, type=click.IntRange(min=1), help="Of a judge's reply.")
@click.option("--json", "as_json", is_flag=True, help="Print figures and verdicts as JSON.")
def check_quality(
    source: str | None,
    split: str | None,
    sheet: Path | None,
    filled: tuple[Path, ...],
    engine: str | None,
    model: str | None,
    max_tokens: int,
    as_json: bool,
    **drawn: Any,
) -> None:
    """Let a judge, or people, decide whether the tags of INPUT are right.

    Precision is the share of queries of which every tag fits, consistency the share of tags that mean the same in all
    their queries. Controls are cases that were spoilt on purpose: their share should be near 0. Replies that are no
    verdict are counted apart. With --from-sheet the judge is asked the same cases only if --engine or --model is given.

    \b
    Example:
        instag quality tagged.jsonl --tags tags --n 40 --controls random --sheet cases.csv
    """
    if bool(source) == bool(filled):
        raise click.UsageError("expected either INPUT, to draw cases from, or --from-sheet, which holds them")
    if sheet and (filled or engine or model):
        raise click.UsageError("--sheet writes cases for people; ask a judge, or read their sheets, in another call")
    if len({path.resolve() for path in filled}) < len(filled):
        raise click.UsageError("--from-sheet: expected a sheet of each person, found one of them twice")
    from instag_hf import quality
    from instag_hf.engines import Sampling

    sample: Sample | None = None
    if sheet:
        sample = _draw(str(source), split, drawn)
        click.echo(quality.write_sheet(sample.cases, sheet))
        return
    judge = None
    if source or engine or model:
        judge = quality.Judge(engine=engine or "", model=model or "", sampling=Sampling(max_tokens=max_tokens))
    if source:
        sample = _draw(source, split, drawn)
        cases, people = sample.cases, list["dict[str, Verdict]"]()
    else:
        cases, people = _read(filled)
    found = _decide(cases, people, judge)
    if as_json:
        click.echo(json.dumps(_plain(sample, cases, judge, *found), ensure_ascii=False))
        return
    for line in _lines(cases, judge, *found):
        click.echo(line)


def _draw(source: str, split: str | None, drawn: Mapping[str, Any]) -> "Sample":
    from instag_hf import pipeline
    from instag_hf.quality import draw_cases

    given = {name: value for name, value in drawn.items() if value is not None}
    sample = draw_cases(pipeline.load(source, split=split), given.pop("n"), **given)
    _tell_sample(sample)
    return sample


def _read(paths: Sequence[Path]) -> "tuple[tuple[Case, ...], list[dict[str, Verdict]]]":
    """Read people's sheets; cases are those of any sheet, each once."""
    from instag_hf.quality import read_sheet

    sheets = [read_sheet(path) for path in paths]
    cases = {case.id: case for sheet in sheets for case in sheet.cases}
    return tuple(cases.values()), [sheet.verdicts for sheet in sheets]


def _decide(
    cases: "Sequence[Case]", people: "Sequence[Mapping[str, Verdict]]", judge: "Judge | None"
) -> "tuple[dict[str, Mapping[str, Verdict]], dict[str, Mapping[str, Raters]]]":
    """Return verdicts by who gave them, and how far raters agree by who they are."""
    from instag_hf.quality import compare_raters, majority_verdicts
    from instag_hf.rows import ERROR

    verdicts: dict[str, Mapping[str, Verdict]] = {}
    raters: dict[str, Mapping[str, Raters]] = {}
    if people:
        verdicts["people"] = majority_verdicts(cases, people)
    if len(people) > 1:
        raters["people"] = compare_raters(cases, people)
    if judge:
        with progress(len(cases), "judging", unit="case") as on_row:
            verdicts["judge"] = judge.judge(cases, on_verdict=lambda verdict: on_row({ERROR: verdict.failure}))
    if people and judge:
        raters["people and judge"] = compare_raters(cases, [verdicts["people"], verdicts["judge"]])
    return verdicts, raters


def _plain(
    sample: "Sample | None",
    cases: "Sequence[Case]",
    judge: "Judge | None",
    verdicts: "Mapping[str, Mapping[str, Verdict]]",
    raters: "Mapping[str, Mapping[str, Raters]]",
) -> dict[str, Any]:
    from instag_hf.quality import score

    return {
        "judge": judge and {"name": judge.name, **judge.facts},
        "sample": sample and sample.to_dict(),
        "quality": {who: score(cases, given).to_dict() for who, given in verdicts.items()},
        "raters": {who: {task: found._asdict() for task, found in tasks.items()} for who, tasks in raters.items()},
        "cases": [
            {
                **{name: getattr(case, name) for name in ("id", "task", "control", "subject", "items", "replaced")},
                "verdicts": {who: given[case.id]._asdict() for who, given in verdicts.items()},
            }
            for case in cases
        ],
    }


def _tell_sample(sample: "Sample") -> None:
    """Say to people what was drawn from what, and what could not be."""
    for task, frame in sample.frame.items():
        cases = [case for case in sample.cases if case.task == task]
        controls = sum(case.control for case in cases)
        of = "rows with tags" if task == "precision" else "tags of two rows or more"
        click.echo(f"{task}: {len(cases) - controls:,} cases of {frame:,} {of}, {controls:,} controls", err=True)
    left_out = {**{f"row failed ({kind})": count for kind, count in sample.failed.items()}, **sample.skipped}
    for what, count in left_out.items():
        click.echo(f"left out: {printable(what)}, {count:,}", err=True)


def _lines(
    cases: "Sequence[Case]",
    judge: "Judge | None",
    verdicts: "Mapping[str, Mapping[str, Verdict]]",
    raters: "Mapping[str, Mapping[str, Raters]]",
) -> Iterator[str]:
    from instag_hf.quality import score

    for who, given in verdicts.items():
        yield f"{who}{f' {judge.name}' if judge and who == 'judge' else ''}"
        yield from _table(score(cases, given))
        failures = [(case, given[case.id].failure) for case in cases if given[case.id].failure]
        for case, failure in failures[:SHOWN]:
            yield f"  no verdict, {case.task} {case.id}: {fit(failure, 100).rstrip()}"
        if len(failures) > SHOWN:
            yield f"  … and {len(failures) - SHOWN:,} more"
    for who, tasks in raters.items():
        for task, found in tasks.items():
            yield (
                f"agreement of {who} on {task}: kappa {_figure(found.kappa)}, unanimous {_figure(found.unanimous)} "
                f"({found.raters} raters, {found.cases:,} cases, {found.left_out:,} left out)"
            )


def _table(found: "Quality") -> Iterator[str]:
    yield f"  {'':<24}{'good':>8}   {'95 %':<13}{'judged':>7}{'failed':>7}{'items':>7}{'marked':>8}{'caught':>14}"
    for name, outcome in vars(found).items():
        if not outcome.cases:
            continue
        task, _, control = name.partition("_")
        label = f"{task}, controls" if control else task
        interval = "{:.3f}-{:.3f}".format(*outcome.interval) if outcome.interval else ""
        caught = f"{outcome.caught:,} of {outcome.replaced:,}" if control else ""
        figures = f"{outcome.judged:>7,}{sum(outcome.failed.values()):>7,}{outcome.items:>7,}{outcome.marked:>8,}"
        yield f"  {label:<24}{_figure(outcome.share):>8}   {interval:<13}{figures}{caught:>14}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@click.command("drift")
@click.argument("before")
@click.argument("after")
@click.option("--tags", default="instag_tags", show_default=True, help="The column of tags.")
@click.option("--tags-after", help="The column of tags in AFTER; the same if not given.")
@click.option("--column", help="The column that holds the query; found by its name if not given.")
@click.option("--mixed", is_flag=True, help="Allow rows of several taggers.")
@click.option("--embedder", help="A sentence-transformers model for the fuzzy match; all-MiniLM-L6-v2 if not given.")
@click.option("--no-fuzzy", is_flag=True, help="Leave the fuzzy match out.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def compare_tags(
    before: str,
    after: str,
    tags: str,
    tags_after: str | None,
    column: str | None,
    mixed: bool,
    embedder: str | None,
    no_fuzzy: bool,
    as_json: bool,
) -> None:
    """Compare the tags of the same rows BEFORE and AFTER: of two taggers, two versions, or two columns of one file.

    Rows that either side failed are left out and counted.

    \b
    Example:
        instag drift tagged.jsonl tagged.jsonl --tags tags --no-fuzzy
    """
    from instag_hf import pipeline
    from instag_hf.embeddings import MINILM
    from instag_hf.quality import measure_drift

    found = measure_drift(
        pipeline.load(before),
        pipeline.load(after),
        tags=tags,
        tags_after=tags_after,
        column=column,
        mixed=mixed,
        embedder=None if no_fuzzy else embedder or MINILM,
    )
    if as_json:
        click.echo(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    for line in _drift_lines(found):
        click.echo(line)


def _drift_lines(found: "Drift") -> Iterator[str]:
    agreed = found.agreement
    failed = ", ".join(f"{count:,} {side}" for side, count in found.failed.items() if count)
    yield f"{found.rows:,} rows, {agreed.queries:,} compared" + (f"; failed: {failed}" if failed else "")
    yield f"same tags               {found.unchanged:>8.3f} of the rows"
    yield f"F1, exact match         {agreed.exact.f1:>8.3f}   " + "{:.3f}-{:.3f}".format(*agreed.interval)
    if agreed.fuzzy and agreed.fuzzy_interval:
        yield f"F1, fuzzy match         {agreed.fuzzy.f1:>8.3f}   " + "{:.3f}-{:.3f}".format(*agreed.fuzzy_interval)
    yield f"tags for each row       {agreed.gold:>8.2f} before, {agreed.predicted:.2f} after"
    for what, tags in (("lost", found.lost), ("gained", found.gained)):
        for tag, count in tags:
            yield f"  {what:<8}{fit(tag, 40)} {count:>8,} rows"
