"""Print how well taggers agree with annotators, in one table: ours, the one before it, a linear model, people.

    python benchmarks/tagger_quality.py                # the annotated set, where it lies beside the checkout
    python benchmarks/tagger_quality.py --train mine.jsonl --dev held_out.jsonl   # rows with `query` and `tags`

The linear model is one ridge layer from a sentence embedding of the query (all-MiniLM) to every tag of at least three
training rows; its threshold is the one that is best on the dev rows, which favours it. Rows that fail count without
tags, so a failure lowers recall. The agreement of annotators was measured when the annotated set was made.
"""

import argparse
from pathlib import Path

SHARED = Path(__file__).parents[2] / "shared"
ANNOTATORS = {"exact": 0.651, "fuzzy": 0.695}
MIN_COUNT = 3
RIDGE = 1.0


def linear(train, dev):
    """Fit one ridge layer on the training rows and tag the dev rows with the threshold that is best there."""
    from collections import Counter

    import numpy as np

    from instag_hf import tag_f1
    from instag_hf.embeddings import embed

    counts = Counter(tag for row in train for tag in set(row["tags"]))
    names = sorted(tag for tag, count in counts.items() if count >= MIN_COUNT)
    place = {name: i for i, name in enumerate(names)}
    inputs, asked = (embed([row["query"] for row in rows], progress=True) for rows in (train, dev))
    inputs, asked = (np.hstack([x, np.ones((len(x), 1), np.float32)]) for x in (inputs, asked))
    wanted = np.zeros((len(train), len(names)), np.float32)
    for i, row in enumerate(train):
        wanted[i, [place[tag] for tag in row["tags"] if tag in place]] = 1
    weights = np.linalg.solve(inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1]), inputs.T @ wanted)
    scores = asked @ weights
    gold = [row["tags"] for row in dev]

    def tags_above(threshold):
        return [[names[i] for i in np.flatnonzero(row > threshold)] for row in scores]

    best = max(
        np.linspace(0.05, 0.6, 56),
        key=lambda threshold: tag_f1(tags_above(threshold), gold, embedder=None).exact.f1,
    )
    return tag_f1(tags_above(best), gold), f"linear, {len(names):,} tags, threshold {best:.2f}"


def main():
    """Score all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", default=str(SHARED / "data" / "tags" / "train.jsonl"))
    parser.add_argument("--dev", default=str(SHARED / "data" / "tags" / "dev.jsonl"))
    parser.add_argument("--baseline", default=str(SHARED / "baseline_tagger" / "adapter.gguf"))
    given = parser.parse_args()
    from instag_hf import Tagger, pipeline

    dev = pipeline.load(given.dev)
    print(f"{len(dev)} queries; micro over all tags\n")
    print(f"{'':<42}{'P':>7}{'R':>7}{'F1':>7}{'fuzzy F1':>10}{'tags':>7}{'failed':>8}{'rows/s':>8}")

    def show(name, agreed, failed="", speed=""):
        exact = "".join(f"{agreed['exact'][key]:>7.3f}" for key in ("precision", "recall", "f1"))
        print(f"{name:<42}{exact}{agreed['fuzzy']['f1']:>10.3f}{agreed['predicted']:>7.2f}{failed:>8}{speed:>8}")

    for name, model in (("shipped tagger", ""), ("baseline tagger", given.baseline)):
        if model and not Path(model).is_file():
            continue
        found = pipeline.evaluate(dev, Tagger(column="query", model=model))
        speed = "" if found["kept_replies"] else found["rows_a_second"]
        show(name, found["agreement"], found["failed"], speed)
    agreed, name = linear(list(pipeline.load(given.train)), list(dev))
    show(name, agreed.to_dict())
    print(f"{'two annotators':<42}{'':>14}{ANNOTATORS['exact']:>7.3f}{ANNOTATORS['fuzzy']:>10.3f}")


if __name__ == "__main__":
    main()
