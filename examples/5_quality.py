"""Ask whether the tags are right: a judge model, controls that tell whether it looks, and a sheet for people.

The judge here is the tagger's small base model, which needs no key and is no good at it; the controls and the replies
without a verdict say so. For a judge that is of use, name a server and its model:

    python examples/5_quality.py
    INSTAG_URL=http://127.0.0.1:8000 INSTAG_MODEL=Qwen/Qwen3-32B python examples/5_quality.py tatsu-lab/alpaca
"""

import os
import sys

import instag_hf as instag
from instag_hf import quality
from instag_hf.engines import Sampling
from instag_hf.engines.embedded import MODEL, find_base
from instag_hf.pipeline import SAMPLE, load

rows = load(sys.argv[1] if len(sys.argv) > 1 else str(SAMPLE), limit=int(os.environ.get("INSTAG_LIMIT", 120)))
tagged = rows.map(instag.Tagger(engine="embedded", model=MODEL).tag)
sample = quality.draw_cases(tagged, 2, seed=0)  # for figures that mean something: 100

at_server = "INSTAG_URL" in os.environ
base = quality.Judge(engine="embedded", model=str(find_base()), sampling=Sampling(max_tokens=24))
judge = quality.Judge(engine="openai") if at_server else base
found = quality.score(sample.cases, judge.judge(sample.cases))
for name in ("precision", "precision_control", "consistency", "consistency_control"):
    outcome = getattr(found, name)
    print(f"{name}: {outcome.good} of {outcome.judged} good; no verdict: {outcome.failed or 'none'}")

print(quality.write_sheet(sample.cases, "out/sheet.csv", overwrite=True))  # people fill it in; read_sheet reads it
