"""Report what is in a dataset: diversity, complexity, failures and lengths, as tables, pictures and a page to search.

python examples/3_report.py
INSTAG_LIMIT=1000 python examples/3_report.py tatsu-lab/alpaca
"""

import os
import sys
from pathlib import Path

import instag_hf as instag
from instag_hf import charts
from instag_hf.charts.page import render_page, write_page
from instag_hf.pipeline import SAMPLE, load

rows = load(sys.argv[1] if len(sys.argv) > 1 else str(SAMPLE), limit=int(os.environ.get("INSTAG_LIMIT", 120)))
tagged = rows.map(instag.tag)
normalizer = instag.TagNormalizer.fit(tagged, min_count=2)
normalized = tagged.map(normalizer.normalize, batched=True)

found = instag.report(normalized, normalizer=normalizer)  # several datasets: {"name": dataset, …}; within one: by=
print(found)
print(f"diversity {found.total.coverage:.2f}, complexity {found.total.tags_per_query:.2f} tags a query")

folder = Path("out/report")
folder.mkdir(parents=True, exist_ok=True)
for picture in charts.draw_pictures(found):
    path = folder / f"{picture.name}.png"
    path.write_bytes(charts.png(picture))
    print(path)
print(write_page(render_page(found, normalized, charts=charts.draw(found)), folder / "report.html"))
