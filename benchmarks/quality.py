"""Print how well a tagger agrees with annotated queries: precision, recall and F1 over all tags, by exact match.

    python benchmarks/quality.py                     # the embedded tagger on the shared dev set
    python benchmarks/quality.py --data mine.jsonl   # rows with `query` and `tags`

Rows that fail count with no tags, so a failure lowers recall. Two annotators of the shared set agree at 0.651.
"""

import argparse
from pathlib import Path

SHARED = Path(__file__).parents[2] / "shared" / "data" / "tags" / "dev.jsonl"


def main():
    """Tag the queries and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(SHARED))
    given = parser.parse_args()
    from instag_hf import Tagger, pipeline
    from instag_hf.rows import TAGS

    tagger = Tagger(column="query")
    tagged = pipeline.tag(pipeline.load(given.data), tagger)
    pairs = [(set(row[TAGS]), set(row["tags"])) for row in tagged]
    found, wanted = sum(len(own) for own, _ in pairs), sum(len(gold) for _, gold in pairs)
    right = sum(len(own & gold) for own, gold in pairs)
    print(
        f"{tagger.name} on {Path(given.data).name}: {len(tagged)} queries, {pipeline.failures(tagged).total()} failed"
    )
    print(
        f"precision {right / found:.3f}  recall {right / wanted:.3f}  F1 {2 * right / (found + wanted):.3f}", end="  "
    )
    print(f"{found / len(tagged):.2f} tags a query (annotators {wanted / len(tagged):.2f})")


if __name__ == "__main__":
    main()
