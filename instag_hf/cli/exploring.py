"""The command that serves the explorer: `app`."""

import click

from instag_hf.cli.tagging import turns_option


@click.command("app")
@click.argument("source", metavar="[INPUT]", required=False)
@click.option("--split", help="Which split, where INPUT has several.")
@click.option("--column", help="The column of tags; instag_normalized if not given, else instag_tags.")
@click.option("--query", help="The column that holds the query; found by its name if not given.")
@turns_option()
@click.option("--normalizer", "vocabulary", help="Normalize tags with this, a folder or a Hub id; coverage is of it.")
@click.option("--local", is_flag=True, help="Let visitors name files of this machine, and use its token on the Hub.")
@click.option(
    "--host", help="The address to listen at; $GRADIO_SERVER_NAME if not given, else 127.0.0.1, this machine alone."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="The port; 0 is any free one. $GRADIO_SERVER_PORT if not given, else the first free one from 7860 on.",
)
def app(source: str | None, vocabulary: str | None, split: str | None, **given: str | int | bool | None) -> None:
    """Explore a dataset, tagged or not, in the browser.

    Shows the report and its charts, browses rows by tag, tags a typed query, tries selections and downloads them.
    Prints the address, and serves until it is stopped. Visitors may upload files and open public datasets of the Hub.

    \b
    Example:
        instag app tagged.jsonl --column tags --port 0
    """
    from instag_hf.app import launch
    from instag_hf.normalizer import TagNormalizer

    normalizer = None if vocabulary is None else TagNormalizer.from_pretrained(vocabulary)
    launch(source, split=split, normalizer=normalizer, on_start=_tell, **given)  # type: ignore[arg-type]


def _tell(address: str) -> None:
    click.echo(address)
    click.echo("Ctrl-C stops it", err=True)
