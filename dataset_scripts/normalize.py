# /// script
# requires-python = ">=3.11"
# dependencies = ["instag-hf[normalize]"]
#
# [tool.hf-jobs]
# flavor = "cpu-upgrade"
# timeout = "2h"
# secrets = ["HF_TOKEN"]
# ///
"""Merge the raw tags of a dataset into a vocabulary, and add it as the column instag_normalized.

Input: what tag.py or merge.py wrote, a file or a dataset on the Hub.
Output: the rows with that column, in a file ending in .parquet, .jsonl or .csv, else in a private dataset on the Hub;
with --save the vocabulary too.

    uv run normalize.py tagged.parquet normalized.parquet --save vocabulary
    hf jobs uv run normalize.py me/alpaca-tagged me/alpaca-normalized

The same rows give the same vocabulary, and its vectors are kept in $INSTAG_HOME: run the same line again after it was
stopped. Of less than some thousand rows, lower --min-count.
"""

import argparse

from instag_hf import TagNormalizer, pipeline
from instag_hf.pipeline.places import check_place, put
from instag_hf.pipeline.scripts import run_script


def main() -> None:
    """Normalize the rows that the command line asks for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("input")
    asked.add_argument("output")
    asked.add_argument("--limit", type=int, help="take only so many rows from the beginning")
    asked.add_argument("--split", help="which split of the input")
    asked.add_argument("--min-count", type=int, default=20, help="rows that a raw tag needs; the paper's is 20")
    asked.add_argument("--save", help="the folder to save the vocabulary to")
    asked.add_argument("--vocabulary", help="apply this one, a folder or an id on the Hub, instead of making one")
    given = asked.parse_args()

    check_place(given.output)
    rows = pipeline.load(given.input, split=given.split, limit=given.limit)
    if given.vocabulary:
        normalizer = TagNormalizer.from_pretrained(given.vocabulary)
    else:
        normalizer = TagNormalizer.fit(rows, min_count=given.min_count)
    for step in normalizer.funnel:
        print(f"{step.step:<13}{step.tags:>10,} tags{step.assignments:>14,} assignments")
    if given.save:
        print(normalizer.save_pretrained(given.save))
    print(put(rows.map(normalizer.normalize, batched=True), given.output))


if __name__ == "__main__":
    run_script(main)
