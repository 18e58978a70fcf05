"""Print what a report costs: seconds and peak memory, beside a plain loop that counts the same.

    python benchmarks/analysis.py
    python benchmarks/analysis.py --rows 100000

The rows are synthetic: 4.4 tags each of a long-tailed vocabulary of up to 100,000 raw tags, 20 sources, one row in
fifty failed. Queries are plain text of some 300 characters, or conversations of two user turns. Every line is of a
process of its own, from an Arrow file on disk; peak memory is the whole process with Python, datasets and the pages of
the file that were read. The loop counts with dictionaries what the report's tables show: tags, pairs, lengths, per
source.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import combinations

import numpy as np

TAGS = 100_000
SOURCES = 20
MEAN = 4.4
BATCH = 100_000
TEXT = "Write a short note about the sea, and say what the wind does to the water there in winter. " * 10


def write_rows(path, rows, *, turns=0, seed=0):
    """Write tagged rows as an Arrow file; with `turns`, conversations."""
    import pyarrow as pa

    draw = np.random.default_rng(seed)
    chances = 1 / (np.arange(TAGS) + 10.0)
    steps = np.cumsum(chances / chances.sum())
    names = pa.array([f"intention of kind {number}" for number in range(TAGS)])
    writer = None
    with pa.OSFile(path, "wb") as file:
        for start in range(0, rows, BATCH):
            wanted = min(BATCH, rows - start)
            failed = draw.random(wanted) < 0.02
            lengths = np.where(failed, 0, 1 + draw.poisson(MEAN - 1, wanted))
            codes = np.searchsorted(steps, draw.random(lengths.sum())).clip(max=TAGS - 1)
            offsets = pa.array(np.concatenate([[0], lengths.cumsum()]).astype(np.int32))
            texts = [
                TEXT[: 30 + 60 * int(tags) + int(more)]
                for tags, more in zip(lengths, draw.integers(0, 90, wanted), strict=True)
            ]
            counts = [[] if no else [int(tags)] * max(1, turns) for no, tags in zip(failed, lengths, strict=True)]
            columns = {
                "query": texts,
                "source": [f"source {number}" for number in draw.integers(0, SOURCES, wanted)],
                "instag_tags": pa.ListArray.from_arrays(offsets, names.take(pa.array(codes))),
                "instag_turns": pa.array(counts, pa.list_(pa.int32())),
                "instag_error": ["parse: no list" if no else "" for no in failed],
                "instag_tagger": ["model@1/embedded#01234567"] * wanted,
            }
            if turns:
                columns["messages"] = [
                    [{"role": role, "content": text} for _ in range(turns) for role in ("user", "assistant")]
                    for text in columns.pop("query")
                ]
            table = pa.table(columns)
            writer = writer or pa.ipc.new_stream(file, table.schema)
            for at in range(0, wanted, 10_000):
                writer.write_table(table.slice(at, 10_000))
        writer.close()


def ours(data):
    """Count with `report`."""
    from instag_hf.analysis import report

    return _shown(report(data, by="source"))


def drawn(data):
    """Count with `report`, and draw all pictures."""
    from instag_hf.analysis import report
    from instag_hf.charts import draw

    found = report(data, by="source")
    draw(found)
    return _shown(found)


def _shown(found):
    return found.total.tags, found.total.pairs[0].rows, round(found.total.lengths.mean, 6)


def loop(data):
    """Count with dictionaries, row by row."""
    from instag_hf import RowError
    from instag_hf.rows import queries

    tags, pairs, chars, turns = Counter(), Counter(), [], []
    by_source = {}
    for row in data:
        own, own_pairs, rows = by_source.setdefault(row["source"], (Counter(), Counter(), Counter()))
        if row["instag_error"]:
            rows[row["instag_error"].partition(":")[0]] += 1
            continue
        there = sorted(set(row["instag_tags"]))
        both = list(combinations(there, 2))
        for counter, values in ((tags, there), (own, there), (pairs, both), (own_pairs, both)):
            counter.update(values)
        rows[len(there)] += 1
        try:
            chars += map(len, queries({k: v for k, v in row.items() if not k.startswith("instag_")}))
        except RowError:
            continue
        turns += row["instag_turns"]
    return len(tags), pairs.most_common(1)[0][1], round(sum(chars) / len(chars), 6)


def run(who, path):
    """Count in this process, and print what it took."""
    from datasets import Dataset

    import instag_hf.analysis  # noqa: F401 - what is timed is counting

    data = Dataset.from_file(path)
    started = time.perf_counter()
    found = {"report": ours, "and pictures": drawn, "plain loop": loop}[who](data)
    took_s = time.perf_counter() - started
    print(json.dumps([took_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, found]))


def measure(who, path, home):
    """Run in a process of its own."""
    code = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import analysis; analysis.run(*sys.argv[1:])"
    )
    env = {**os.environ, "HF_HOME": f"{home}/hf"}
    done = subprocess.run([sys.executable, "-c", code, who, path], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Measure both kinds of rows both ways, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    given = parser.parse_args()
    print(f"{'rows':>10}  {'of':<15}{'counted by':<13}{'seconds':>8}{'peak MB':>9}  times as long as report")
    with tempfile.TemporaryDirectory() as home:
        for rows, turns in ((given.rows, 0), (given.rows // 10, 2)):
            path = f"{home}/rows.arrow"
            write_rows(path, rows, turns=turns)
            kind = "conversations" if turns else "plain text"
            fast_s, wanted = 0.0, None
            for who in ("report", "and pictures", "plain loop"):
                took_s, peak_mb, found = measure(who, path, home)
                fast_s, wanted = fast_s or took_s, wanted or found
                if found != wanted:
                    sys.exit(f"report and {who} differ: {wanted} and {found}")
                line = f"{rows:>10,}  {kind:<15}{who:<13}{took_s:>8.1f}{peak_mb:>9,.0f}{took_s / fast_s:>8.1f}"
                print(line, flush=True)


if __name__ == "__main__":
    main()
