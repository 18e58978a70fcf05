"""The commands that publish, `publish-dataset`, `publish-normalizer` and `publish-model`, and `card`, their preview."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from instag_hf.cli.shown import command_line
from instag_hf.cli.tagging import turns_option

if TYPE_CHECKING:
    from instag_hf.hub import Published


def _options(*options: Any) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_license = click.option(
    "--license", help="The licence's id on the Hub, or another licence's name; inherited if not given."
)
_where = _options(
    click.option("--private", is_flag=True, help="Make a new repo private."),
    click.option("--dry-run", is_flag=True, help="Print the card and the list of files, and write nothing."),
)
_dataset = _options(
    click.option(
        "--source",
        "sources",
        multiple=True,
        help="What the rows are from: owner/name@revision on the Hub, or a file; may be given again.",
    ),
    click.option("--pool", help="The tagged rows that these were selected from."),
    click.option("--normalizer", help="The vocabulary of the rows: a folder or a Hub id."),
    click.option("--selection", help="How they were selected, such as complexity-first."),
    click.option("--tags", help="A column, or a path such as annotation.instag.content, of tags from elsewhere."),
    click.option("--tagger", help="Who wrote the tags of --tags."),
    click.option("--split", default="train", show_default=True, help="The name of the split."),
    click.option("--query", help="The column that holds the query; found by its name if not given."),
    turns_option(),
    click.option("--charts/--no-charts", default=True, help="Whether to draw pictures into the card."),
    click.option("--mixed", is_flag=True, help="Allow rows of several taggers."),
    click.option("--command", "commands", multiple=True, help="A command that made the rows; may be given again."),
)


@click.command("publish-dataset")
@click.argument("rows", metavar="TAGGED")
@click.argument("repo")
@_dataset
@_license
@_where
def publish_dataset(rows: str, repo: str, **given: Any) -> None:
    """Publish the rows of TAGGED as the dataset REPO on the Hub, in one commit, with a card.

    Rows that failed are left out, and the card says how many. A card that is there keeps its own text and keys.
    Prints the address of the repo.

    \b
    Example:
        instag publish-dataset tagged.jsonl me/it --source dolly.jsonl --tags tags --tagger us --license mit --dry-run
    """
    _tell(_dataset_of(rows, repo, **given), dry_run=given["dry_run"])


@click.command("publish-normalizer")
@click.argument("normalizer")
@click.argument("repo")
@_license
@_where
def publish_normalizer(normalizer: str, repo: str, license: str | None, private: bool, dry_run: bool) -> None:
    """Publish the vocabulary NORMALIZER, a folder, as the repo REPO on the Hub, in one commit, with a card.

    Prints the address of the repo; `instag normalize … --vocabulary REPO` uses it.

    \b
    Example:
        instag publish-normalizer my-words me/my-words --license mit --dry-run
    """
    from instag_hf import hub
    from instag_hf.normalizer import TagNormalizer

    saved = TagNormalizer.from_pretrained(normalizer)
    _tell(hub.publish_normalizer(saved, repo, license=license, private=private, dry_run=dry_run), dry_run=dry_run)


@click.command("publish-model")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("repo")
@_license
@_where
def publish_model(model: Path, repo: str, license: str | None, private: bool, dry_run: bool) -> None:
    """Publish a tagger or a chat model, MODEL, as the repo REPO on the Hub, in one commit, with a card.

    MODEL is a folder that train-tagger or train-lm wrote, or a tagger's GGUF file with its training.json beside it.
    The card of a chat model shows the MT-Bench scores in scores.json, as `instag mt-bench --json` prints them, and in
    random/scores.json those of its control, if these files are in the folder. Prints the address of the repo;
    `instag tag … --model REPO` uses a tagger.

    \b
    Example:
        instag publish-model made-tagger me/my-tagger --license apache-2.0 --dry-run
    """
    from instag_hf import hub

    _tell(hub.publish_model(model, repo, license=license, private=private, dry_run=dry_run), dry_run=dry_run)


@click.command()
@click.argument("what", metavar="TAGGED|MODEL")
@click.argument("repo")
@_dataset
@_license
def card(what: str, repo: str, license: str | None, **given: Any) -> None:
    """Print the card that REPO would get from tagged rows, a tagger or a chat model; nothing is written.

    \b
    Example:
        instag card tagged.jsonl me/tagged --source dolly.jsonl --tags tags --tagger us --license mit
    """
    from instag_hf import hub

    path = Path(what)
    if path.suffix == ".gguf" or (path / "training.json").is_file():
        found = hub.publish_model(path, repo, license=license, dry_run=True)
    else:
        found = _dataset_of(what, repo, license=license, private=False, dry_run=True, **given)
    click.echo(found.card, nl=False)


def _dataset_of(
    rows: str,
    repo: str,
    *,
    sources: tuple[str, ...],
    pool: str | None,
    normalizer: str | None,
    tags: str | None,
    tagger: str | None,
    commands: tuple[str, ...],
    **given: Any,
) -> "Published":
    from instag_hf import hub, pipeline
    from instag_hf.normalizer import TagNormalizer
    from instag_hf.rows.adopting import adopt_tags

    if bool(tags) != bool(tagger):
        raise click.UsageError("--tags and --tagger go together: which column has tags, and who wrote them")

    def read(name: str) -> Any:
        found = pipeline.load(name)
        return adopt_tags(found, tags, tagger=tagger) if tags and tagger else found

    return hub.publish_dataset(
        read(rows),
        repo,
        source=sources,
        pool=read(pool) if pool else None,
        normalizer=TagNormalizer.from_pretrained(normalizer) if normalizer else None,
        commands=[*commands, _published_by()],
        **given,
    )


def _published_by() -> str:
    """Write the command that publishes, also where a card is only shown."""
    words = [word for word in shlex.split(command_line()) if word not in {"--dry-run", "--debug"}]
    return shlex.join("publish-dataset" if word == "card" and place == 1 else word for place, word in enumerate(words))


def _tell(found: "Published", *, dry_run: bool) -> None:
    if dry_run:
        click.echo(str(found))
        return
    changed = [*found.written, *found.removed]
    click.echo(f"{len(changed)} files changed" if changed else "nothing has changed", err=True)
    click.echo(found.url)
