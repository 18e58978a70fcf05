# /// script
# requires-python = ">=3.11"
# dependencies = ["instag-hf"]
#
# [tool.hf-jobs]
# flavor = "cpu-upgrade"
# timeout = "1h"
# secrets = ["HF_TOKEN"]
# ///
"""Choose a small part of a dataset that stands for many tags and hard queries.

Input: what normalize.py or tag.py wrote, a file or a dataset on the Hub.
Output: the chosen rows in their order, with the round that took each and the tags it brought, in a file ending in
.parquet, .jsonl or .csv, else in a private dataset on the Hub.

    uv run select_rows.py normalized.parquet chosen.parquet --rows 10
    hf jobs uv run select_rows.py me/alpaca-normalized me/alpaca-6k --rows 6000

The same rows and seed give the same choice: run the same line again after it was stopped.
"""

import argparse

from instag_hf import pipeline, select
from instag_hf.pipeline.places import check_place, put
from instag_hf.pipeline.scripts import run_script
from instag_hf.selection import METHODS


def main() -> None:
    """Choose as many rows as the command line asks for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("input")
    asked.add_argument("output")
    asked.add_argument("--rows", type=int, required=True, help="how many rows to choose")
    asked.add_argument("--limit", type=int, help="choose only among so many rows from the beginning")
    asked.add_argument("--split", help="which split of the input")
    asked.add_argument("--method", choices=list(METHODS), default="complexity-first", help="how to choose")
    asked.add_argument("--seed", type=int, default=42, help="for methods that draw")
    given = asked.parse_args()

    check_place(given.output)
    rows = pipeline.load(given.input, split=given.split, limit=given.limit)
    chosen = select(rows, given.rows, given.method, seed=given.seed, reasons=True)
    print(f"{len(chosen):,} of {len(rows):,} rows, by {given.method}")
    print(put(chosen, given.output))


if __name__ == "__main__":
    run_script(main)
