"""The whole way in one script: tag, normalize, report, select, and write what came out.

python examples/quickstart.py
INSTAG_LIMIT=1000 python examples/quickstart.py tatsu-lab/alpaca
"""

import os
import sys
from pathlib import Path

import instag_hf as instag
from instag_hf import charts
from instag_hf.charts.page import render_page, write_page
from instag_hf.pipeline import SAMPLE, load, save

pool = load(sys.argv[1] if len(sys.argv) > 1 else str(SAMPLE), limit=int(os.environ.get("INSTAG_LIMIT", 120)))
pool = pool.map(instag.tag)  # raw tags of every query
normalizer = instag.TagNormalizer.fit(pool, min_count=2)  # one vocabulary
pool = pool.map(normalizer.normalize, batched=True)
found = instag.report(pool, normalizer=normalizer)  # diversity, complexity, failures
print(found)
subset = instag.select(pool, max(1, len(pool) // 10), reasons=True)  # few rows, many tags

folder = Path("out/quickstart")
print(save(pool, str(folder / "pool.parquet")))
print(save(subset, str(folder / "subset.parquet")))
print(normalizer.save_pretrained(folder / "vocabulary"))
print(write_page(render_page(found, pool, charts=charts.draw(found)), folder / "report.html"))
print(instag.compare(pool, len(subset), ["complexity-first"]))
