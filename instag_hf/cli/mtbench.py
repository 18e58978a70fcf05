"""The command that lets a judge rate a chat model: `mt-bench`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from instag_hf.cli.shown import progress
from instag_hf.rows import fit

if TYPE_CHECKING:
    from instag_hf.mtbench import Answer, Bench, ChatModel, Judgment, Scores

SHOWN = 5  # failures that are told; the files have all
ANSWERS = "model_answer"
JUDGMENTS = "model_judgment"
COMMANDLINE = click.core.ParameterSource.COMMANDLINE

# Options that have no say: where nobody judges, where answers are in a file, and where judgments are.
JUDGES = ("rounds", "judge_max_tokens")
SCORES = ("allow_failed", "as_json")
IDLE_WITH_ANSWERS = ("max_tokens",)
IDLE_WITH_JUDGMENTS = ("output", "judge_model", "judge_engine", "max_tokens", *JUDGES)


@click.command("mt-bench")
@click.argument("source", metavar="BENCH")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A folder for answers and judgments.")
@click.option(
    "--model",
    help="Who answers: a model's id on its server, a folder, or a GGUF file; with --engine alone, $INSTAG_MODEL.",
)
@click.option(
    "--engine",
    help='Where it runs: "openai", "tgi", "local" or "embedded"; $INSTAG_ENGINE if not given, else "openai".',
)
@click.option("--judge", "judge_model", help="Who judges: a model's id on its server, a folder, or a GGUF file.")
@click.option("--judge-engine", help="Where the judge runs, one of the same; $INSTAG_ENGINE if not given, else openai.")
@click.option(
    "--answers", type=click.Path(path_type=Path), help="Judge the answers in this FastChat file; ask no model."
)
@click.option(
    "--judgments",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Score the judgments in this FastChat file; ask nobody. May be given again, for further rounds.",
)
@click.option("--name", help="What the files call the model; its id if not given.")
@click.option(
    "--rounds", default=3, show_default=True, type=click.IntRange(min=1), help="How often to judge each turn."
)
@click.option("--prompts", type=click.Path(path_type=Path), help="Judge prompts, where BENCH has none.")
@click.option("--references", type=click.Path(path_type=Path), help="Reference answers, where BENCH has none.")
@click.option("--max-tokens", default=1024, show_default=True, type=click.IntRange(min=1), help="Of an answer.")
@click.option("--judge-max-tokens", default=2048, show_default=True, type=click.IntRange(min=1), help="Of a judgment.")
@click.option("--allow-failed", is_flag=True, help="Print a score although ratings are missing; they are counted.")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
def mt_bench(
    source: str,
    output: Path | None,
    model: str | None,
    engine: str | None,
    judge_model: str | None,
    judge_engine: str | None,
    answers: Path | None,
    judgments: tuple[Path, ...],
    name: str | None,
    rounds: int,
    prompts: Path | None,
    references: Path | None,
    max_tokens: int,
    judge_max_tokens: int,
    allow_failed: bool,
    as_json: bool,
) -> None:
    """Let a chat model answer MT-Bench, and a judge rate the answers from 1 to 10.

    BENCH is a checkout of FastChat, a folder with its files, or a Hub dataset that has them. With --model alone the
    answers are written, so that a judge on another server can be asked in a second call, with --answers. Prints the
    scores: a mean over all turns and rounds, its standard deviation, and each category's. A reply without a rating in
    double brackets is no score; it is counted, and an error unless --allow-failed is given.

    \b
    Example:
        instag mt-bench mt_bench --judgments judged.jsonl
    """
    if sum((bool(model or engine), bool(answers), bool(judgments))) != 1:
        raise click.UsageError("expected one of --model (who answers), --answers FILE and --judgments FILE")
    if ((answers or judge_engine) and not judge_model) or (not judgments and not output):
        raise click.UsageError("expected --judge with --answers and --judge-engine, and -o FOLDER for what is asked")
    _check_idle(_idle(answers=bool(answers), judgments=bool(judgments), judged=bool(judge_model)))
    from instag_hf import mtbench

    bench = mtbench.read_bench(source, prompts=prompts or "", references=references or "")
    if judgments:
        found = mtbench.read_judgments(judgments, bench, model=name)
        _show(bench, found.judgments, (found.model, found.judge), allow_failed, as_json)
        return
    folder = Path(output or "")
    judge = mtbench.ChatModel(engine=judge_engine or "", model=judge_model) if judge_model else None
    if answers:
        path, known, name = answers, mtbench.read_answers(answers, bench), name or answers.stem
    else:
        answering = mtbench.ChatModel(engine=engine or "", model=model or "")
        name = name or answering.name
        known = _answer(bench, answering, max_tokens)
        path = folder / ANSWERS / f"{_file(name)}.jsonl"
        mtbench.write_answers(known, bench, path, model=name)
        _tell_answers(known)
    if judge is None:
        click.echo(path)
        return
    with progress(rounds * len(bench.turns), "judging", unit="turn") as on_row:
        judged = mtbench.judge(
            bench,
            known,
            judge,
            rounds=rounds,
            max_tokens=judge_max_tokens,
            on_judgment=lambda judgment: on_row({"instag_error": judgment.failure}),
        )
    path = folder / JUDGMENTS / f"{_file(judge.name)}_single.jsonl"
    mtbench.write_judgments(judged, bench, known, path, model=name, judge=judge.name)
    click.echo(f"judgments: {path}", err=True)
    _show(bench, judged, (name, judge.name), allow_failed, as_json)


def _idle(*, answers: bool, judgments: bool, judged: bool) -> tuple[str, ...]:
    if judgments:
        return IDLE_WITH_JUDGMENTS
    return (*(IDLE_WITH_ANSWERS if answers else ()), *(() if judged else (*JUDGES, *SCORES)))


def _check_idle(names: Sequence[str]) -> None:
    """Refuse options that would have no say."""
    context = click.get_current_context()
    named = {option.name: option.opts[-1] for option in context.command.params}
    given = [named[name] for name in named if name in names and context.get_parameter_source(name) is COMMANDLINE]
    if given:
        raise click.UsageError(f"expected options that have a say here, found {', '.join(given)}, which have none")


def _answer(bench: "Bench", model: "ChatModel", max_tokens: int) -> "dict[int, Answer]":
    from instag_hf import mtbench

    with progress(len(bench.questions), "answering", unit="question") as on_row:
        return mtbench.answer(
            bench, model, max_tokens=max_tokens, on_answer=lambda answer: on_row({"instag_error": answer.failure})
        )


def _file(name: str) -> str:
    """Name a file after a model: its id may have slashes."""
    return name.replace("/", "_")


def _tell_answers(answers: "Mapping[int, Answer]") -> None:
    failed = {ident: answer.failure for ident, answer in answers.items() if answer.failure}
    empty = sum(not turn for answer in answers.values() for turn in answer.turns)
    for ident, failure in list(failed.items())[:SHOWN]:
        click.echo(f"no answer, question {ident}: {fit(failure, 100).rstrip()}", err=True)
    click.echo(f"{len(answers):,} questions: {len(failed):,} failed, {empty:,} turns answered with nothing", err=True)


def _show(
    bench: "Bench", judgments: "Sequence[Judgment]", who: tuple[str, str], allow_failed: bool, as_json: bool
) -> None:
    from instag_hf.mtbench import score

    failures = [one for one in judgments if one.failure]
    for one in failures[:SHOWN]:
        place = f"question {one.question}, turn {one.turn}, round {one.round}"
        click.echo(f"no rating, {place}: {fit(one.failure, 100).rstrip()}", err=True)
    scores = score(bench, judgments, model=who[0], judge=who[1], allow_failed=allow_failed)
    if as_json:
        click.echo(json.dumps(scores.to_dict(), ensure_ascii=False))
        return
    for line in _lines(scores):
        click.echo(line)


def _lines(scores: "Scores") -> Iterator[str]:
    yield f"{scores.model}, judged by {scores.judge}"
    yield f"{'':<24}{'mean':>7}" + "".join(f"{f'round {at}':>9}" for at in range(1, len(scores.rounds) + 1))
    deviation = "" if scores.sd is None else f"   ± {scores.sd:.2f}"
    yield _line("all turns", scores.mean, [one.mean for one in scores.rounds]) + deviation
    yield _line("first turn", scores.first_turn, [one.first_turn for one in scores.rounds])
    yield _line("second turn", scores.second_turn, [one.second_turn for one in scores.rounds])
    for name, mean in scores.categories.items():
        yield _line(f"  {fit(name, 22).rstrip()}", mean, [one.categories[name] for one in scores.rounds])
    yield _line("without coding and math", scores.without_code_and_math, [])
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in scores.failed.items())
    yield f"{scores.judged:,} ratings, {sum(scores.failed.values()):,} missing" + (f" ({kinds})" if kinds else "")


def _line(name: str, mean: float | None, rounds: "Sequence[float | None]") -> str:
    return f"{name:<24}{_figure(mean):>7}" + "".join(f"{_figure(value):>9}" for value in rounds)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
