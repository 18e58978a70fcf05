# /// script
# requires-python = ">=3.11"
# dependencies = ["instag-hf[embedded]"]
#
# [tool.hf-jobs]
# flavor = "cpu-upgrade"
# timeout = "12h"
# secrets = ["HF_TOKEN"]
# ///
"""Tag every row of a dataset with its intentions.

Input: a dataset on the Hub, a Parquet, JSONL, CSV or Arrow file, or a folder of them.
Output: the rows with the columns instag_*, in a file ending in .parquet, .jsonl or .csv, else in a private dataset on
the Hub. With --shard a part of the rows, which merge.py puts together with the others.

    uv run tag.py tatsu-lab/alpaca tagged.parquet --limit 50
    hf jobs uv run tag.py tatsu-lab/alpaca me/alpaca-shards --shard 0/4

--engine local needs one extra more: uv run --with 'instag-hf[train]' tag.py …

Run the same line again after it was stopped, and it goes on: replies are kept in $INSTAG_HOME as they arrive. On a job,
whose disk goes with it, a shard is what is kept: take as many as one job tags in an hour or so.
"""

import argparse

from instag_hf import Tagger, pipeline
from instag_hf.pipeline.places import check_place, put
from instag_hf.pipeline.scripts import run_script
from instag_hf.pipeline.shards import Shard


def main() -> None:
    """Tag the rows that the command line asks for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("input")
    asked.add_argument("output")
    asked.add_argument("--limit", type=int, help="take only so many rows from the beginning, of all shards together")
    asked.add_argument("--shard", help="take one of equal parts: 0/4 is the first of four")
    asked.add_argument("--split", help="which split of the input")
    asked.add_argument("--column", help="the column that holds the query; found by its name if not given")
    asked.add_argument(
        "--engine", default="", help="where the tagger runs: embedded (default), openai, tgi or, with the extra, local"
    )
    asked.add_argument("--model", default="", help="the tagger's id, there")
    given = asked.parse_args()

    shard = Shard.parse(given.shard) if given.shard else None
    check_place(given.output, shard)
    tagger = Tagger(engine=given.engine, model=given.model, column=given.column)
    rows = pipeline.load(given.input, split=given.split, limit=given.limit)
    tagged = pipeline.tag(shard.take(rows) if shard else rows, tagger)
    print(f"{len(tagged):,} rows, failed: {dict(pipeline.failures(tagged))}")
    print(put(tagged, given.output, shard))


if __name__ == "__main__":
    run_script(main)
