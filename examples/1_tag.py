"""Tag a dataset: every row gets the intentions of its queries, or says why it has none.

Run it offline on the sample of 120 rows, or name a file or a dataset on the Hub (the numbered examples all take one):

    python examples/1_tag.py
    INSTAG_LIMIT=40 python examples/1_tag.py tatsu-lab/alpaca
"""

import os
import sys

import instag_hf as instag
from instag_hf.pipeline import SAMPLE, load, save

rows = load(sys.argv[1] if len(sys.argv) > 1 else str(SAMPLE), limit=int(os.environ.get("INSTAG_LIMIT", 120)))
tagged = rows.map(instag.tag)  # many rows at once; replies are kept, so a second run asks nothing

for row in tagged.select(range(min(10, len(tagged)))):
    print("; ".join(row["instag_tags"]) or row["instag_error"])
failed = sum(error != "" for error in tagged["instag_error"])
print(f"{len(tagged) - failed} of {len(tagged)} rows tagged by {tagged[0]['instag_tagger']}")
print(save(tagged, "out/tagged.parquet"))
