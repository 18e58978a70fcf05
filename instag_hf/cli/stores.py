"""The commands that look after the reply store."""

import json
from pathlib import Path

import click


@click.group()
def replies() -> None:
    """Look after the reply store in $INSTAG_HOME.

    \b
    Example:
        instag replies stats
    """


@replies.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def stats(as_json: bool) -> None:
    """Print how many replies there are, of which models, and what they take on disk.

    \b
    Example:
        instag replies stats --json
    """
    from instag_hf.replies import store

    found = store().stats()
    each = found.bytes / found.replies if found.replies else 0.0
    if as_json:
        facts = {
            **found._asdict(),
            "path": str(found.path),
            "replies": found.replies,
            "bytes_per_reply": round(each, 1),
        }
        click.echo(json.dumps(facts))
        return
    click.echo(f"{found.path}: {found.replies:,} replies, {found.bytes / 1e6:.1f} MB, {each:.0f} bytes each")
    for model, count in found.models.items():
        click.echo(f"{count:>10,}  {model}")


@replies.command()
@click.argument("others", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
def merge(others: tuple[Path, ...]) -> None:
    """Take over the replies of other stores, such as those of other machines.

    \b
    Example:
        instag replies merge other/replies.sqlite
    """
    from instag_hf.replies import store

    for other in others:
        click.echo(f"{store().merge(other):,} new replies from {other}")


@replies.command()
@click.option("--model", help="Delete the replies of this model.")
@click.option("--older-than", "days", type=click.FloatRange(min=0), help="Delete replies older than this many days.")
def prune(model: str | None, days: float | None) -> None:
    """Delete replies that are not wanted any more; those of a model, of an age, or of both.

    \b
    Example:
        instag replies prune --older-than 90
    """
    from instag_hf.replies import store

    click.echo(f"{store().prune(model=model, older_than_days=days):,} replies deleted")
