"""Words in, calls out: one command per verb. What a command prints on stdout is data; words for people go to stderr."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from instag_hf import __version__
from instag_hf.cli.exploring import app
from instag_hf.cli.lm import train_lm
from instag_hf.cli.mtbench import mt_bench
from instag_hf.cli.normalizing import normalize
from instag_hf.cli.publishing import card, publish_dataset, publish_model, publish_normalizer
from instag_hf.cli.quality import check_quality, compare_tags
from instag_hf.cli.reporting import show_report
from instag_hf.cli.selecting import compare, select
from instag_hf.cli.serving import doctor, serve
from instag_hf.cli.stores import replies
from instag_hf.cli.tagging import merge, prompt, tag
from instag_hf.cli.training import eval_tagger, train_tagger
from instag_hf.cli.whole import demo, rerun, run
from instag_hf.errors import InstagError, Interrupted
from instag_hf.rows import printable

LINES = "\n\t"  # errors hold texts of datasets, whose other control characters could steer a terminal


class _Commands(click.Group):
    """Turns the package's own errors into one sentence and exit code 1, and Ctrl-C into 130 and a way to go on."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (Interrupted, KeyboardInterrupt):
            click.echo("\nstopped; run the same command again, and it goes on where it stopped", err=True)
            context.exit(130)
        except InstagError as error:
            if context.params.get("debug"):
                raise
            click.echo(f"error: {printable(str(error), keep=LINES)}", err=True)
            context.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="instag")
@click.option("--debug", is_flag=True, help="Show whole errors and what is going on.")
def cli(debug: bool) -> None:
    """Tag instruction data by intention (InsTag), and make use of the tags.

    \b
    Example:
        instag prompt "Write a haiku about rain."
    """
    if debug:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    else:  # a run that ends early leaves tasks behind in the loop of `datasets`, and asyncio would list them all
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)


_COMMANDS = (
    *(tag, merge, normalize, show_report, select, compare, check_quality, compare_tags, train_tagger, eval_tagger),
    *(train_lm, mt_bench, publish_dataset, publish_normalizer, publish_model, card),
    *(run, rerun, app, doctor, serve, prompt, demo, replies),
)
for _command in _COMMANDS:
    cli.add_command(_command)


def main() -> None:
    """Run the command line; under the name `hf-instag` it is an extension of `hf` too."""
    os.environ.setdefault(
        "HF_DATASETS_DISABLE_PROGRESS_BARS", "1"
    )  # ours tells more, and two would overwrite each other
    cli(prog_name=Path(sys.argv[0]).name)
