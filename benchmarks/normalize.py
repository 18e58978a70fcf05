"""Print what a fit costs, and how much faster it is than the straightforward route, with identical results.

    python benchmarks/normalize.py
    python benchmarks/normalize.py --rows 10000000 --only fit
    python benchmarks/normalize.py --rows 500000 --only stream
    python benchmarks/normalize.py --only curve

The tags are those of a real vocabulary where it lies beside the checkout (else made up), spelled in many ways,
by a seeded draw. Every line runs in a process of its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SHARED = Path(__file__).parents[2] / "shared" / "data" / "tagged"
TAGS_A_ROW = 4.3
RAW_TAGS = 100_000
DIMENSIONS = 384


def vocabulary():
    """Real tags, most frequent first."""
    path = SHARED / "taginstruct_magpie_instagger_tags.tsv"
    if path.is_file():
        return [line.split("\t")[0] for line in path.read_text().splitlines()[1:]]
    return [f"subject {n // 7} task {n % 7}" for n in range(12_000)]


def raw_tags(count=RAW_TAGS):
    """Spell real tags in many ways, and add some to others, until there are enough; most frequent first."""
    names = vocabulary()
    draw = np.random.default_rng(0)
    ways = (
        str,
        str.title,
        lambda tag: tag.replace(" ", "-"),
        lambda tag: tag + "s",
        str.upper,
        lambda tag: tag + " request",
    )
    found = dict.fromkeys(way(name) for way in ways for name in names)
    while len(found) < count:
        one, other = draw.choice(len(names), 2)
        found[f"{names[one]} {names[other].split()[-1]}"] = None
    return list(found)[:count]


def write_rows(path, rows, tags=RAW_TAGS):
    """Write rows of tags by Zipf's law, with companions that always come along, as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = pa.array(raw_tags(tags))
    draw = np.random.default_rng(1)
    weights = 1 / (np.arange(len(names)) + 20.0)
    edges = np.cumsum(weights / weights.sum())
    with pq.ParquetWriter(path, pa.schema({"instag_tags": pa.list_(pa.string())})) as out:
        for start in range(0, rows, 100_000):
            some = min(100_000, rows - start)
            lengths = 1 + draw.poisson(TAGS_A_ROW - 1, some)
            codes = np.minimum(np.searchsorted(edges, draw.random(lengths.sum())), len(names) - 1)
            last = np.zeros(len(codes), bool)
            last[np.cumsum(lengths) - 1] = True
            led = (codes > 1) & (codes % 97 == 5)  # these never come without the second tag
            codes[led & last] = 1
            codes[1:][(led & ~last)[:-1]] = 1
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            lists = pa.ListArray.from_arrays(offsets, names.take(pa.array(codes)))
            out.write_table(pa.table({"instag_tags": lists}))


def unit(phrases):
    """Vectors that stand for an embedder's, made of words, so that the time of a model is not counted."""
    vectors = np.zeros((len(phrases), DIMENSIONS), np.float32)
    words = {word for phrase in phrases for word in phrase.split()}
    draw = np.random.default_rng(2)
    each = {word: draw.normal(size=DIMENSIONS).astype(np.float32) for word in sorted(words)}
    for at, phrase in enumerate(phrases):
        for word in phrase.split():
            vectors[at] += each[word]
    return vectors


def load(path):
    """Open the rows as `datasets` does, from disk."""
    from datasets import Dataset

    return Dataset.from_parquet(path, cache_dir=os.environ["HF_HOME"])


def fit_all(path):
    """Fit all four steps."""
    from instag_hf import TagNormalizer

    return lambda: TagNormalizer.fit(load(path), embedder=unit, max_distance=0.12)


def fit_three(path):
    """Fit without the meaning step."""
    from instag_hf import TagNormalizer

    return lambda: TagNormalizer.fit(load(path), steps=("frequency", "spelling", "association"))


def stream(path):
    """Fit on a stream, and normalize it."""
    from datasets import load_dataset

    from instag_hf import TagNormalizer

    def work():
        rows = load_dataset("parquet", data_files=path, split="train", streaming=True)
        normalizer = TagNormalizer.fit(rows, embedder=unit, max_distance=0.12)
        for _ in rows.map(normalizer.normalize, batched=True):
            pass
        return normalizer

    return work


def ours(path):
    """Mine rules and cluster, ours."""
    from instag_hf.normalizer.density import dbscan, near_pairs
    from instag_hf.normalizer.rules import mine
    from instag_hf.rows.columns import read_tags

    column = read_tags(load(path))
    vectors = unit(column.names)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def work():
        started = time.perf_counter()
        rules = mine(column)
        mined = time.perf_counter()
        labels = dbscan(len(vectors), near_pairs(vectors, 0.12)[0])
        return [list(rules), labels.tolist(), mined - started, time.perf_counter() - mined]

    return work


def straightforward(path):
    """Mine rules from a one-hot frame with mlxtend, and cluster with scikit-learn."""
    import pandas as pd
    from mlxtend.frequent_patterns import association_rules, fpgrowth
    from mlxtend.preprocessing import TransactionEncoder
    from sklearn.cluster import DBSCAN

    from instag_hf.rows.columns import read_tags

    column = read_tags(load(path))
    lists = list(column)
    vectors = unit(column.names).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def work():
        started = time.perf_counter()
        encoder = TransactionEncoder()
        frame = pd.DataFrame(encoder.fit(lists).transform(lists), columns=encoder.columns_)
        sets = fpgrowth(frame, min_support=39.5 / len(frame), use_colnames=True, max_len=2)
        found = association_rules(sets, metric="confidence", min_threshold=0.99)
        rules = [
            [next(iter(a)), next(iter(b)), round(s * len(frame)), c]
            for a, b, s, c in zip(
                found["antecedents"], found["consequents"], found["support"], found["confidence"], strict=True
            )
        ]
        mined = time.perf_counter()
        labels = DBSCAN(eps=0.12, min_samples=2, metric="cosine").fit(vectors).labels_
        return [rules, labels.tolist(), mined - started, time.perf_counter() - mined]

    return work


def here(name, path, out):
    """Do one thing in this process, and write down what it took."""
    work = globals()[name](path)
    started = time.perf_counter()
    done = work()
    took_s = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    plain = [list(step) for step in done.funnel] if hasattr(done, "funnel") else done
    Path(out).write_text(json.dumps([took_s, peak_mb, plain]))


def measure(name, path, home):
    """Do one thing in a process of its own."""
    folder = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {folder!r}); import normalize; normalize.here(*sys.argv[1:])"
    env = {**os.environ, "HF_HOME": f"{home}/hf", "INSTAG_HOME": home, "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    subprocess.run([sys.executable, "-c", code, name, path, f"{home}/out.json"], env=env, check=True)
    return json.loads(Path(home, "out.json").read_text())


def show_fit(name, rows, home):
    """Print time, memory and funnel of one fit."""
    path = f"{home}/rows-{rows}.parquet"
    if not Path(path).exists():
        write_rows(path, rows)
    took_s, peak_mb, funnel = measure(name, path, home)
    told = ", ".join(f"{step} {tags:,}" for step, tags, _ in funnel)
    print(f"{name:<10}{rows:>12,} rows {funnel[0][2]:>12,} assignments {took_s:>7.1f} s {peak_mb:>7,.0f} MB   {told}")


def show_ratio(rows, tags, home):
    """Print both routes at a size that the straightforward one can do, and whether they find the same."""
    path = f"{home}/small.parquet"
    write_rows(path, rows, tags)
    results = [measure(name, path, home)[1:] for name in ("ours", "straightforward")]
    (peak, (rules, labels, *ours_s)), (their_peak, (their_rules, their_labels, *theirs_s)) = results
    kept = [sorted((a, b, support) for a, b, support, _ in found) for found in (rules, their_rules)]
    told = {
        "association": f"{len(rules)} rules, {'identical' if kept[0] == kept[1] else 'DIFFERENT'}",
        "meaning (DBSCAN)": f"labels {'identical' if labels == their_labels else 'DIFFERENT'}",
        "both": "",
    }
    print(f"\n{rows:,} rows, {len(labels):,} tags    ours   straightforward     ratio")
    for name, mine_s, other_s in zip(told, (*ours_s, sum(ours_s)), (*theirs_s, sum(theirs_s)), strict=True):
        print(f"{name:<22}{mine_s:>9.2f} s{other_s:>16.2f} s{other_s / mine_s:>9.1f}   {told[name]}")
    print(f"{'peak memory':<22}{peak:>8,.0f} MB{their_peak:>15,.0f} MB")


def show_curve():
    """Print precision and recall on judged pairs of near tags, all fitted together, as the distance grows."""
    import csv

    from instag_hf import TagNormalizer

    path = SHARED / "merge_pairs_dev.tsv"
    if not path.is_file():
        print("\nno judged pairs beside the checkout: no curve")
        return
    pairs = list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))
    known = csv.DictReader((SHARED / "taginstruct_magpie_instagger_tags.tsv").read_text().splitlines(), delimiter="\t")
    counts = {row["tag"]: int(row["count"]) for row in known}
    tags = sorted({pair[side] for pair in pairs for side in ("tag_a", "tag_b")})
    rows = [[tag] for tag in tags for _ in range(max(counts.get(tag, 0), 20))]
    print(f"\n{len(pairs)} pairs   max_distance  guards  precision  recall")
    for distance in (0.0, 0.05, 0.08, 0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16):
        for guards in (True, False):
            fitted = TagNormalizer.fit(rows, max_distance=distance, guards=guards)
            to = {row["tag"]: row["canonical"] for row in fitted.table()}
            right = [pair["same"] == "1" for pair in pairs if to[pair["tag_a"]] == to[pair["tag_b"]]]
            recall = sum(right) / sum(pair["same"] == "1" for pair in pairs)
            print(f"{distance:>24.2f}{'on' if guards else 'off':>8}{sum(right) / len(right):>11.3f}{recall:>8.3f}")


def main():
    """Run what is asked and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=["fit", "stream", "ratio", "curve"])
    parser.add_argument("--small-rows", type=int, default=100_000)
    parser.add_argument("--small-tags", type=int, default=20_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        if given.only in {None, "fit"}:
            show_fit("fit_all" if given.rows <= 2_000_000 else "fit_three", given.rows, home)
        if given.only in {None, "stream"}:
            show_fit("stream", min(given.rows, 500_000), home)
        if given.only in {None, "ratio"}:
            show_ratio(given.small_rows, given.small_tags, home)
        if given.only in {None, "curve"}:
            show_curve()


if __name__ == "__main__":
    main()
