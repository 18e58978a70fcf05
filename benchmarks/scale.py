"""Print what tagging many rows costs on our side: rows/s, peak memory and bytes on disk, against the stand-in server.

    python benchmarks/scale.py
    python benchmarks/scale.py --rows 100000

Half of the rows are duplicates. Each size runs in a process of its own, cold and then again with a warm store.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

from instag_hf.testing import TaggingServer


def tag_rows(rows):
    """Tag numbered rows in this process and print what it took."""
    from datasets import Dataset, load_dataset

    import instag_hf as instag
    from instag_hf.replies import home, store

    path = home() / "rows.parquet"
    Dataset.from_dict({"query": [f"Count to {n // 2}." for n in range(rows)]}).to_parquet(path)
    ds = load_dataset("parquet", data_files=str(path), split="train")
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    ds.map(instag.tag, load_from_cache_file=False)
    took_s = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = store().stats()
    print(json.dumps([took_s, peak_mb, peak_mb - before_mb, found.replies, found.bytes / found.replies]))


def measure(rows, home):
    """Run `tag_rows` in a process of its own."""
    code = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import scale; scale.tag_rows({rows})"
    env = {**os.environ, "INSTAG_HOME": home, "HF_HOME": f"{home}/hf", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Run every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    given = parser.parse_args()
    print(f"{'rows':>8}  {'store':<6}{'requests':>9}{'rows/s':>8}{'peak MB':>9}{'grew by MB':>12}{'bytes/reply':>13}")
    for rows in (given.rows // 10, given.rows):
        with TaggingServer() as server, tempfile.TemporaryDirectory() as home:
            os.environ.update(INSTAG_ENGINE="openai", INSTAG_URL=server.url, INSTAG_MODEL="stand-in")
            for store in ("cold", "warm"):
                asked_before = server.counts().requests
                took_s, peak_mb, grown_mb, _, each = measure(rows, home)
                asked = server.counts().requests - asked_before
                speed = f"{asked:>9,}{rows / took_s:>8,.0f}"
                print(f"{rows:>8,}  {store:<6}{speed}{peak_mb:>9.0f}{grown_mb:>12.0f}{each:>13.0f}")


if __name__ == "__main__":
    main()
