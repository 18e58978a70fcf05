"""Publish a tagged dataset on the Hub: rows, vocabulary, facts and a card with pictures, in one commit.

This one needs the Hub and a token that may write (`hf auth login`, or HF_TOKEN). Name the repository to publish to,
and the dataset if it is not the sample; with `--dry-run` at the end nothing is written:

    python examples/8_publish.py me/sample-instag
    python examples/8_publish.py me/alpaca-instag tatsu-lab/alpaca --dry-run
"""

import os
import sys

import instag_hf as instag
from instag_hf.pipeline import SAMPLE, load
from instag_hf.selection import choose

dry_run = sys.argv[-1] == "--dry-run"
repo, *named = sys.argv[1 : -1 if dry_run else None]
source = named[0] if named else str(SAMPLE)
tagged = load(source, limit=int(os.environ.get("INSTAG_LIMIT", 120))).map(instag.tag)
normalizer = instag.TagNormalizer.fit(tagged, min_count=2)
pool = tagged.map(normalizer.normalize, batched=True)
selection = choose(pool, 20)

published = instag.publish_dataset(
    selection.rows(pool, reasons=True),
    repo,
    source=source,
    pool=pool,
    normalizer=normalizer,
    selection=selection,
    tagger=instag.Tagger(),
    license=None if named else "apache-2.0",  # of a dataset on the Hub it is the source's own
    dry_run=dry_run,
)
print(published)
print(published.commit or "a dry run: nothing was written")
