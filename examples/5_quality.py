"""Ask whether the tags are right: a judge model, controls that tell whether it looks, and a sheet for people.

Without a server somebody judges who calls everything right, and the controls, in which half is wrong, give it away:

    python examples/5_quality.py
    INSTAG_URL=http://127.0.0.1:8000 INSTAG_MODEL=Qwen/Qwen3-32B python examples/5_quality.py tatsu-lab/alpaca
"""

import os
import sys

import instag_hf as instag
from instag_hf import quality
from instag_hf.engines.embedded import MODEL
from instag_hf.pipeline import SAMPLE, load

rows = load(sys.argv[1] if len(sys.argv) > 1 else str(SAMPLE), limit=int(os.environ.get("INSTAG_LIMIT", 120)))
tagged = rows.map(instag.Tagger(engine="embedded", model=MODEL).tag)
sample = quality.draw_cases(tagged, 20, seed=0)

if "INSTAG_URL" in os.environ:
    verdicts = quality.Judge(engine="openai").judge(sample.cases)
else:
    verdicts = {case.id: quality.Verdict(wrong=()) for case in sample.cases}
found = quality.score(sample.cases, verdicts)
for name in ("precision", "precision_control", "consistency", "consistency_control"):
    outcome = getattr(found, name)
    print(f"{name}: {outcome.good} of {outcome.judged} good; no verdict: {outcome.failed or 'none'}")

print(quality.write_sheet(sample.cases, "out/sheet.csv", overwrite=True))  # people fill it in; read_sheet reads it
