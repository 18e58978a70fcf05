"""Train a tagger of your own on tagged rows, and tag with it: the paper's loop, on a laptop.

The rows are tagged by the shipped tagger here; in earnest a large model tags them (INSTAG_ENGINE, INSTAG_URL,
INSTAG_MODEL), or people do. Eight steps show the way; leave `max_steps` out to learn something.

    INSTAG_LIMIT=40 python examples/6_train_tagger.py
"""

import os
import shutil
import sys
from pathlib import Path

import instag_hf as instag
from instag_hf.pipeline import SAMPLE, load
from instag_hf.training import Job, Settings, train_tagger
from instag_hf.training.examples import read_examples

rows = load(sys.argv[1] if len(sys.argv) > 1 else str(SAMPLE), limit=int(os.environ.get("INSTAG_LIMIT", 120)))
tagged = rows.map(instag.Tagger(turns="first").tag)
examples, left_out = read_examples(tagged, turns="first")
print(f"{len(examples)} examples; left out: {dict(left_out)}")

output = Path("out/tagger")
shutil.rmtree(output, ignore_errors=True)  # a finished training is refused, not overwritten
settings = Settings(max_steps=8, batch_size=4, min_tag_count=1)
recipe = instag.load_recipe("embedded")
facts = train_tagger(Job(examples=examples[4:], dev=examples[:4], recipe=recipe, output=output, settings=settings))
print(f"loss {facts['loss']:.2f} after {facts['steps']} steps")

mine = instag.Tagger(engine="embedded", model=str(output / "tagger.gguf"))
held_out = [example.query for example in examples[:4]]
predicted = [mine({"query": query})["instag_tags"] for query in held_out]
print(instag.tag_f1(predicted, [example.tags for example in examples[:4]]).exact)
