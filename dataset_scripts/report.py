# /// script
# requires-python = ">=3.11"
# dependencies = ["instag-hf[report]"]
#
# [tool.hf-jobs]
# flavor = "cpu-upgrade"
# timeout = "1h"
# secrets = ["HF_TOKEN"]
# ///
"""Say what is in a tagged dataset: diversity, complexity, failures, frequent and rare tags.

Input: what tag.py, normalize.py or select_rows.py wrote, a file or a dataset on the Hub.
Output: a page to search, one .html file that asks nothing of any network; the tables are printed too. For the page of a
job mount a bucket; the tables are in its log.

    uv run report.py normalized.parquet report.html
    hf jobs uv run -v hf://buckets/me/pages:/pages report.py me/alpaca-normalized /pages/report.html

The same rows give the same page: run the same line again after it was stopped.
"""

import argparse

from instag_hf import charts, pipeline, report
from instag_hf.charts.page import render_page, write_page
from instag_hf.pipeline.scripts import run_script


def main() -> None:
    """Report on the rows that the command line asks for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("input")
    asked.add_argument("output")
    asked.add_argument("--limit", type=int, help="take only so many rows from the beginning")
    asked.add_argument("--split", help="which split of the input")
    asked.add_argument("--by", help="compare the values of this column, such as source")
    given = asked.parse_args()

    if not given.output.endswith(".html"):
        asked.error(f"expected an output ending in .html, found {given.output}")
    pipeline.check_target(given.output, overwrite=True)
    rows = pipeline.load(given.input, split=given.split, limit=given.limit)
    found = report(rows, by=given.by)
    print(found)
    page = render_page(found, rows, title=f"Tags of {given.input}", charts=charts.draw(found), by=given.by)
    print(write_page(page, given.output))


if __name__ == "__main__":
    run_script(main)
