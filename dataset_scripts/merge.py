# /// script
# requires-python = ">=3.11"
# dependencies = ["instag-hf"]
#
# [tool.hf-jobs]
# flavor = "cpu-basic"
# timeout = "1h"
# secrets = ["HF_TOKEN"]
# ///
"""Put the shards that tag.py wrote together, as if one machine had tagged all rows.

Input: a folder with the shards' Parquet files, or the dataset on the Hub that has them as splits.
Output: the rows, in a file ending in .parquet, .jsonl or .csv, else in a private dataset on the Hub. Shards that are
missing, or not of one run, are refused.

    uv run merge.py shards tagged.parquet
    hf jobs uv run merge.py me/alpaca-shards me/alpaca-tagged

Nothing is lost when it is stopped: run the same line again.
"""

import argparse

from instag_hf.errors import InputError
from instag_hf.pipeline.places import check_place, put
from instag_hf.pipeline.scripts import run_script
from instag_hf.pipeline.shards import merge_shards


def main() -> None:
    """Merge the shards that the command line names."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("input")
    asked.add_argument("output")
    asked.add_argument("--limit", type=int, help="keep only so many rows from the beginning")
    given = asked.parse_args()

    if given.input == given.output:
        raise InputError(f"merge: expected another output than the shards' {given.input}, found the same.")
    check_place(given.output)
    merged = merge_shards([given.input])
    rows = merged.take(min(given.limit, len(merged))) if given.limit else merged
    print(f"{len(rows):,} rows")
    print(put(rows, given.output))


if __name__ == "__main__":
    run_script(main)
