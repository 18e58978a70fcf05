"""Select a small subset that covers many tags and hard queries, and see what it does better than chance.

python examples/4_select.py
INSTAG_LIMIT=1000 python examples/4_select.py tatsu-lab/alpaca
"""

import os
import sys

import instag_hf as instag
from instag_hf.pipeline import SAMPLE, load, save

rows = load(sys.argv[1] if len(sys.argv) > 1 else str(SAMPLE), limit=int(os.environ.get("INSTAG_LIMIT", 120)))
tagged = rows.map(instag.tag)
normalizer = instag.TagNormalizer.fit(tagged, min_count=2)
pool = tagged.map(normalizer.normalize, batched=True)

# Complexity-first diverse sampling, the paper's Algorithm 1: rows with the most tags first, if they bring a new one.
subset = instag.select(pool, 10, reasons=True)
for row in subset:
    print(row["instag_round"], row["instag_normalized"], "brought", row["instag_gain"])

# Tags grow with the length of a query, so "longest" and "random" stand beside every method.
print(instag.compare(pool, 10, ["complexity-first", "information-gain"]))
print(save(subset, "out/subset.parquet"))
