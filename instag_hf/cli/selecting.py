"""The commands that choose rows: `select`, `compare`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from instag_hf.rows import printable

if TYPE_CHECKING:
    from instag_hf.selection import Method, Rules

METHODS = (
    "complexity-first",
    "complexity-bands",
    "coverage-levels",
    "information-gain",
    "rarity",
    "random",
    "longest",
)
SETTINGS = {  # options that are fields of one method
    "band": ("complexity-bands", click.IntRange(min=1), "Which band, from 1, the most complex, on."),
    "coverage": ("coverage-levels", click.FloatRange(0, 1), "Share of all tags to pass; 0.7 if not given."),
    "mean_tags": ("coverage-levels", click.FloatRange(min=1), "Mean number of tags to keep to; 5 if not given."),
    "exponent": (
        "information-gain",
        float,
        "How little a tag that has much is worth, above 0, up to 1; 0.8 if not given.",
    ),
    "embedder": ("information-gain", str, "A sentence-transformers model; lets tags of like meaning share their gain."),
}


def limits_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which rows may be chosen, and how many of a kind."""
    options = [
        click.option("--source-column", default="source", show_default=True, help="Where a row says where it is from."),
        click.option("--weight-column", help="Numbers from 0 on that make a row more wanted, such as a quality."),
        click.option(
            "--per-tag", multiple=True, metavar="LIMIT", help="Rows with a tag: 50, poetry=50 or math=10..50."
        ),
        click.option(
            "--per-source", multiple=True, metavar="LIMIT", help="Rows of a source: 500, dolly=500 or dolly=100.."
        ),
        click.option("--exclude", help="A dataset or file whose queries may not be chosen, such as a benchmark's."),
        click.option("--exclude-column", help="The column that holds its queries; found by its name if not given."),
        click.option(
            "--match",
            type=click.Choice(["folded", "exact"]),
            default="folded",
            show_default=True,
            help="When a query equals an excluded one: without regard to case and space, or exactly.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def rules_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that make `Rules`; names and meanings are those of its fields."""
    options: list[Callable[..., Any]] = [
        click.option("--split", help="Which split, where INPUT has several."),
        click.option("--column", help="The column of tags; instag_normalized if not given, else instag_tags."),
        click.option("--text-column", help="The column that holds the query; found by its name if not given."),
        limits_options,
        click.option("--mixed", is_flag=True, help="Allow rows of several taggers."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that belong to one method each."""
    for name, (method, kind, text) in reversed(SETTINGS.items()):
        command = click.option(f"--{name.replace('_', '-')}", type=kind, help=f"Of {method}. {text}")(command)
    return click.option(
        "--normalize/--no-normalize",
        default=None,
        help="Of information-gain. Whether a row shares its weight out among its tags, as it does if not given.",
    )(command)


@click.command()
@click.argument("source", metavar="INPUT")
@click.option("-n", "n", required=True, type=click.IntRange(min=1), help="How many rows.")
@click.option("-o", "--output", required=True, help="A .parquet, .jsonl, .jsonl.gz or .csv file, else a folder.")
@click.option("--method", type=click.Choice(METHODS), default=METHODS[0], show_default=True, help="How to choose.")
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True, help="Of what is drawn.")
@click.option("--reasons", is_flag=True, help="Add instag_round and instag_gain, the tags that each row brought.")
@rules_options
@settings_options
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT.")
def select(
    source: str,
    n: int,
    output: str,
    method: str,
    seed: int,
    reasons: bool,
    split: str | None,
    overwrite: bool,
    **given: Any,
) -> None:
    """Choose N rows of a tagged dataset that stand for many tags and hard queries.

    By default the most complex rows first, each for a tag that its round has not seen (Algorithm 1 of the paper).
    Prints the path of the result.

    \b
    Example:
        instag select tagged.jsonl -n 4 --column tags -o chosen.parquet
    """
    from instag_hf import pipeline
    from instag_hf.selection import choose

    how = method_of(method, {name: given.pop(name) for name in (*SETTINGS, "normalize")})
    pipeline.check_target(output, overwrite=overwrite)
    rules = _rules(seed=seed, **given)
    ds = pipeline.load(source, split=split)
    selection = choose(ds, n, how, rules)
    for note in selection.notes:
        click.echo(note, err=True)
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in selection.skipped.items())
    skipped = printable(skipped)
    click.echo(
        f"{len(selection):,} of {len(ds):,} rows: {selection.coverage:.1%} of the tags, "
        f"{selection.complexity:.2f} tags a row; not to be chosen: {skipped or 'none'}",
        err=True,
    )
    click.echo(pipeline.save(selection.rows(ds, reasons=reasons), output))


@click.command()
@click.argument("source", metavar="INPUT")
@click.option("-n", "n", required=True, type=click.IntRange(min=1), help="How many rows each method chooses.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(METHODS),
    help="May be given again; complexity-first, information-gain and rarity if not given. Two controls are added.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="How often methods draw.")
@click.option("--chart", type=click.Path(path_type=Path), help="Write a picture too, such as compared.png.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@rules_options
def compare(
    source: str,
    n: int,
    methods: tuple[str, ...],
    seeds: int,
    chart: Path | None,
    as_json: bool,
    split: str | None,
    **given: Any,
) -> None:
    """Compare what several methods choose, random rows and the longest rows always among them.

    Prints coverage, tags a row, length, the tags that rows of that length have in any case, the sources, and the rows
    that two methods have in common.

    \b
    Example:
        instag compare tagged.jsonl -n 4 --column tags
    """
    from instag_hf import pipeline
    from instag_hf.selection import comparing

    rules = _rules(seed=0, **given)
    ds = pipeline.load(source, split=split)
    found = comparing.compare(ds, n, methods or comparing.METHODS_COMPARED, range(seeds), rules=rules)
    for note in found.notes:
        click.echo(note, err=True)
    click.echo(json.dumps(found.to_dict(), ensure_ascii=False) if as_json else str(found))
    if chart:
        click.echo(f"chart: {found.chart(chart)}", err=True)


def method_of(name: str, given: dict[str, Any]) -> "Method":
    """Make a method of the options that were given, and refuse those of another method."""
    from instag_hf.selection import METHODS as KINDS

    asked = {option: value for option, value in given.items() if value is not None}
    for option in asked:
        owner = SETTINGS[option][0] if option in SETTINGS else "information-gain"
        if owner != name:
            raise click.UsageError(f"--{option.replace('_', '-')} belongs to --method {owner}, not to {name}")
    made: Method = KINDS[name](**asked)
    return made


def check_exclude(exclude: str | None, column: str | None) -> None:
    """Refuse a column of nothing."""
    if column is not None and exclude is None:
        raise click.UsageError("--exclude-column says where the queries of --exclude are, and there is no --exclude")


def _rules(
    *,
    per_tag: tuple[str, ...],
    per_source: tuple[str, ...],
    exclude: str | None,
    exclude_column: str | None,
    **given: Any,
) -> "Rules":
    from instag_hf.pipeline import Excluded
    from instag_hf.selection import Rules

    check_exclude(exclude, exclude_column)
    return Rules(
        per_tag=bounds("--per-tag", per_tag),
        per_source=bounds("--per-source", per_source),
        exclude=None if exclude is None else Excluded(source=exclude, column=exclude_column).read(),
        **given,
    )


def bounds(option: str, given: tuple[str, ...]) -> Any:
    """Read limits: `50` for all, `name=50`, `name=10..50`, `name=10..`; a name may hold `=`."""
    single: dict[str, int | tuple[int, int | None]] = {}
    for text in given:
        name, equals, bound = text.rpartition("=")
        least, dots, most = bound.partition("..")
        if not (least.isdecimal() and (most.isdecimal() or not most)):
            raise click.UsageError(f"{option}: expected 50, NAME=50, NAME=10..50 or NAME=10.., found {text!r}")
        value = (int(least), int(most) if most else None) if dots else int(least)
        if not equals and len(given) == 1:
            return value
        if not equals:
            raise click.UsageError(f"{option}: expected NAME=LIMIT, since there are several, found {text!r}")
        single[name] = value
    return single or None
