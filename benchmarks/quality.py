"""Print what drawing cases and asking a judge cost on our side, against the stand-in judge.

    python benchmarks/quality.py
    python benchmarks/quality.py --rows 100000 --cases 200

Drawing is from generated rows of one to six of 20,000 tags. The judge takes 50 ms for each reply; asking it one case
after another is what a plain loop would do.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time

LATENCY_S = 0.05
ONE_BY_ONE = 40


def generate(rows, path):
    """Write rows to a Parquet file."""
    import numpy as np
    from datasets import Dataset

    draw = np.random.default_rng(0)
    codes = (draw.zipf(1.3, (rows, 6)) % 20_000).tolist()
    lengths = draw.integers(1, 7, rows).tolist()
    tags = [list({f"tag {code}" for code in row[:n]}) for row, n in zip(codes, lengths, strict=True)]
    Dataset.from_dict({"query": [f"Question {n}?" for n in range(rows)], "instag_tags": tags}).to_parquet(path)


def main():
    """Draw, ask, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--cases", type=int, default=1000, help="of each task; as many controls come besides")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(INSTAG_HOME=home, HF_HOME=f"{home}/hf", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
        measure(given.rows, given.cases)


def measure(rows, n):
    """Print seconds, and how much memory this process has had at most."""
    from datasets import load_dataset

    from instag_hf.quality import Judge, draw_cases, score
    from instag_hf.testing import TaggingServer

    def timed(what, work, cases):
        started = time.perf_counter()
        result = work()
        took_s = time.perf_counter() - started
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{what:<44}{took_s:>9.2f}{cases / took_s:>11,.0f}{peak_mb:>9,.0f}")
        return result, cases / took_s

    path = f"{os.environ['INSTAG_HOME']}/rows.parquet"
    code = f"import quality; quality.generate({rows}, {path!r})"
    here = os.path.dirname(os.path.abspath(__file__))  # in another process, whose memory is not ours
    subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {here!r}); {code}"], check=True)
    data = load_dataset("parquet", data_files=path, split="train")
    print(f"{'':<44}{'seconds':>9}{'cases/s':>11}{'peak MB':>9}")
    sample, _ = timed(f"draw from {rows:,} rows", lambda: draw_cases(data, n, controls="random"), 4 * n)
    with TaggingServer(latency_s=LATENCY_S) as server:
        os.environ["INSTAG_URL"] = server.url
        few = Judge(engine="openai", model="one by one")
        _, slow = timed(
            "judge, one after another", lambda: [few.judge([c]) for c in sample.cases[:ONE_BY_ONE]], ONE_BY_ONE
        )
        judge = Judge(engine="openai", model="all at once")
        cases = len(sample.cases)
        verdicts, fast = timed("judge, as it is", lambda: judge.judge(sample.cases), cases)
        timed("judge, all replies in the store", lambda: judge.judge(sample.cases), cases)
    timed("score", lambda: score(sample.cases, verdicts), cases)
    print(f"{fast / slow:.0f} times as fast as one after another")


if __name__ == "__main__":
    main()
