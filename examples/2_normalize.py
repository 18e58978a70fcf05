"""Normalize tags: many spellings and near meanings become one vocabulary, in the paper's four steps.

python examples/2_normalize.py
INSTAG_LIMIT=1000 python examples/2_normalize.py tatsu-lab/alpaca
"""

import os
import sys

import instag_hf as instag
from instag_hf.pipeline import SAMPLE, load

rows = load(sys.argv[1] if len(sys.argv) > 1 else str(SAMPLE), limit=int(os.environ.get("INSTAG_LIMIT", 120)))
tagged = rows.map(instag.tag)

normalizer = instag.TagNormalizer.fit(tagged, min_count=1)  # the paper's 20 is for 17 datasets together
for step in normalizer.funnel:
    print(f"{step.step}: {step.tags} tags")
print(list(normalizer.vocabulary.items())[:10])

for entry in normalizer.table():
    if entry["canonical"] and entry["canonical"] != entry["tag"]:
        print(f"{entry['tag']} -> {entry['canonical']} ({entry['step']})")

normalized = tagged.map(normalizer.normalize, batched=True)
print(normalized[0]["instag_tags"], "->", normalized[0]["instag_normalized"])
print(normalizer.save_pretrained("out/vocabulary"))  # TagNormalizer.from_pretrained reads it again
