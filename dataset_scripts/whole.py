# /// script
# requires-python = ">=3.11"
# dependencies = ["instag-hf[embedded,normalize,report]"]
#
# [tool.hf-jobs]
# flavor = "cpu-upgrade"
# timeout = "24h"
# secrets = ["HF_TOKEN"]
# ///
"""Go the whole way with a dataset: tag, normalize, report, select, and write a card.

Input: a dataset on the Hub, a Parquet, JSONL, CSV or Arrow file, or a folder of them.
Output: a folder with the tagged rows, the vocabulary, the report, the subset, its card and instag.json; with --publish
the subset is a dataset on the Hub too, and `instag rerun` does it again.

    uv run whole.py tatsu-lab/alpaca made --limit 50 --min-count 2 --rows 10
    hf jobs uv run whole.py tatsu-lab/alpaca made --publish me/alpaca-instag-6k

Run the same line again after it was stopped, and it goes on: replies are kept in $INSTAG_HOME as they arrive. The disk
of a job goes with it; for a dataset that takes hours, let several jobs tag shards with tag.py.
"""

import argparse

from instag_hf import Tagger, pipeline
from instag_hf.normalizer import Settings
from instag_hf.pipeline.scripts import run_script


def main() -> None:
    """Make what the command line asks for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("input")
    asked.add_argument("output")
    asked.add_argument("--limit", type=int, help="take only so many rows from the beginning")
    asked.add_argument("--split", help="which split of the input")
    asked.add_argument("--column", help="the column that holds the query; found by its name if not given")
    asked.add_argument("--min-count", type=int, default=20, help="rows that a tag needs for the vocabulary")
    asked.add_argument("--rows", type=int, default=6_000, help="rows to select")
    asked.add_argument("--publish", help="the dataset on the Hub that the subset becomes")
    given = asked.parse_args()

    plan = pipeline.Plan(
        source=given.input,
        split=given.split,
        limit=given.limit,
        tagger=Tagger(column=given.column),
        normalizer=Settings(min_count=given.min_count),
        n=given.rows,
    )
    done = pipeline.run(plan, given.output, publish=given.publish, overwrite=True)
    print(done.published.url if done.published else done.folder)


if __name__ == "__main__":
    run_script(main)
