"""Print what selecting costs: seconds and memory, beside the plain loop of the paper and the dense formula.

    python benchmarks/selecting.py
    python benchmarks/selecting.py --rows 100000 --large 0

The pool is synthetic, of the shape of Tulu-3's: 939,000 rows, 4,531 tags, 4.3 tags a row, few of them frequent. Every
figure comes from a process of its own. "read" is from the file to numbers, "choose" from numbers to rows. Peak memory
is the whole process with Python, datasets and the pages of the file that were read.
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

import numpy as np

TAGS = 4531
MEAN = 4.3
BATCH = 500_000


def write_pool(path, rows, seed=0):
    """Write a pool of tag lists as an Arrow file."""
    import pyarrow as pa

    draw = np.random.default_rng(seed)
    chances = 1 / (np.arange(TAGS) + 10.0)
    steps = np.cumsum(chances / chances.sum())
    names = pa.array([f"intention of kind {number}" for number in range(TAGS)])
    schema = pa.schema({"instag_normalized": pa.list_(pa.string())})
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for start in range(0, rows, BATCH):
            wanted = min(BATCH, rows - start)
            lengths = 1 + draw.poisson(
                draw.gamma(2.0, (MEAN - 0.7) / 2.0, wanted)
            )  # some are drawn twice, and left out
            codes = np.searchsorted(steps, draw.random(lengths.sum())).clip(max=TAGS - 1)
            pairs = np.unique(np.repeat(np.arange(wanted), lengths) * TAGS + codes)
            ends = np.cumsum(np.bincount(pairs // TAGS, minlength=wanted))
            offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
            lists = pa.ListArray.from_arrays(offsets, names.take(pa.array(pairs % TAGS)))
            for at in range(0, wanted, 10_000):
                writer.write_table(pa.table([lists.slice(at, 10_000)], schema=schema))


def read(path):
    """Read the pool as `select` does."""
    from datasets import Dataset

    from instag_hf.selection.pool import Rules, read_pool

    return read_pool(Dataset.from_file(path), Rules())


def ours(path, method, n, rows=None):
    """Choose with the package."""
    from instag_hf.rows.columns import TagColumn
    from instag_hf.selection import METHODS, Rules, choose_from
    from instag_hf.selection.pool import Pool

    started = time.perf_counter()
    pool = read(path)
    if rows:
        tags = pool.tags
        cut = TagColumn(tags.names, tags.codes[: tags.starts[rows]], tags.starts[: rows + 1])
        pool = Pool(cut, pool.open[:rows], Counter())
    between = time.perf_counter()
    found = choose_from(pool, n, METHODS[method](), Rules())
    tell(between - started, time.perf_counter() - between, found.indices, len(pool.tags.codes))


def plain(path, method, n, rows=None):
    """Run the paper's loop over sets."""
    started = time.perf_counter()
    tags = [set(row) for row in read(path).tags]
    between = time.perf_counter()
    left = sorted(range(len(tags)), key=lambda row: -len(tags[row]))
    chosen = []
    while len(chosen) < n:
        seen, others = set(), []
        for row in left:
            if len(chosen) < n and not tags[row] <= seen:
                chosen.append(row)
                seen |= tags[row]
            else:
                others.append(row)
        if len(others) == len(left):
            break
        left = others
    tell(between - started, time.perf_counter() - between, np.array(chosen), sum(map(len, tags)))


def dense(path, method, n, rows):
    """Multiply the whole matrix of rows and tags at every step, in 32-bit floats, for at most `n` steps or a minute."""
    started = time.perf_counter()
    column = read(path).tags
    matrix = np.zeros((rows, len(column.names)), np.float32)
    for row in range(rows):
        codes = column.codes[column.starts[row] : column.starts[row + 1]]
        matrix[row, codes] = 1 / max(len(codes), 1)
    between = time.perf_counter()
    state, left, chosen = np.zeros(len(column.names), np.float32), np.ones(rows, bool), []
    while len(chosen) < n and time.perf_counter() - between < 60:
        gains = matrix @ (0.8 * (state + 1e-6) ** -0.2).astype(np.float32)
        best = int(np.argmax(np.where(left, gains, -1)))
        left[best] = False
        state += matrix[best]
        chosen.append(best)
    tell(between - started, time.perf_counter() - between, np.array(chosen), int(column.starts[rows]))


def tell(read_s, choose_s, chosen, assignments):
    """Print what a run took, for the process that started it."""
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = chosen.tolist()
    print(json.dumps({"read": read_s, "choose": choose_s, "peak": peak_mb, "rows": rows, "tags": assignments}))


def measure(how, *words):
    """Run one of the functions above in a process of its own."""
    code = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import selecting; selecting.{how}(*{words!r})"
    )
    env = {**os.environ, "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def show(what, rows, found, beside=None):
    """Print a line, and how many times the time of another run this one took less."""
    ratio = "" if beside is None else f"{beside['choose'] / found['choose']:>9.1f}x"
    print(
        f"{what:<34}{rows:>11,}{found['tags']:>13,}{len(found['rows']):>9,}"
        f"{found['read']:>9.1f}{found['choose']:>10.2f}{found['peak']:>10,.0f}{ratio}",
        flush=True,
    )


def main():
    """Run every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=939_000)
    parser.add_argument("--dense-rows", type=int, default=50_000)
    parser.add_argument("--large", type=int, default=10_000_000, help="rows of the largest pool; 0 leaves it out")
    given = parser.parse_args()
    head = f"{'rows':>11}{'tags':>13}{'chosen':>9}{'read s':>9}{'choose s':>10}{'peak MB':>10}{'plain/ours':>11}"
    print(f"{'':<34}{head}")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/pool.arrow"
        write_pool(path, given.rows)
        for n in (6_000, 50_000):
            loop = measure("plain", path, "", n)
            fast = measure("ours", path, "complexity-first", n)
            show("complexity-first, the paper's loop", given.rows, loop)
            show("complexity-first", given.rows, fast, loop)
            print(f"{'':<34}the same rows in the same order: {fast['rows'] == loop['rows']}")
        for n in (6_000, 50_000):
            show("information-gain", given.rows, measure("ours", path, "information-gain", n))
        whole = measure("dense", path, "", given.dense_rows, given.dense_rows)
        steps = len(whole["rows"])
        fast = measure("ours", path, "information-gain", steps, given.dense_rows)
        show("information-gain, dense, a minute", given.dense_rows, whole)
        show("information-gain, as many rows", given.dense_rows, fast, whole)
        if given.large:
            write_pool(path, given.large)
            show("complexity-first", given.large, measure("ours", path, "complexity-first", 50_000))


if __name__ == "__main__":
    main()
