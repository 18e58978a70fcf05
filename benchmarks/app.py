"""Print how long visitors wait for the explorer: ten at once on a tagged dataset of 50,000 rows.

    python benchmarks/app.py
    python benchmarks/app.py --rows 5000 --visitors 2 --rounds 2

The dataset is synthetic: the words of the bundled sample as queries, 2,000 tags, 4.3 a row, few of them frequent. The
page runs in a process of its own, on the same cores as its visitors, who ask by gradio_client without a pause.
"seconds" is from asking to the whole answer.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict

import numpy as np

TAGS = 2000
MEAN = 4.3


def write_pool(path, rows, seed=0):
    """Write a tagged dataset as Parquet; returns some of its tags, the most frequent first."""
    from datasets import Dataset

    from instag_hf.pipeline import SAMPLE

    draw = np.random.default_rng(seed)
    texts = [json.loads(line)["messages"][0]["content"] for line in SAMPLE.read_text().splitlines()]
    words = sorted({word for text in texts for word in text.split()})
    names = [f"{words[number % len(words)]} {number}" for number in range(TAGS)]
    chances = 1 / (np.arange(TAGS) + 10.0)
    chances /= chances.sum()
    lengths = 1 + draw.poisson(draw.gamma(2.0, (MEAN - 1) / 2.0, rows))
    codes = np.split(draw.choice(TAGS, lengths.sum(), p=chances), np.cumsum(lengths)[:-1])
    said = np.split(draw.integers(0, len(words), 8 * lengths.sum()), np.cumsum(8 * lengths)[:-1])
    made = {
        "query": [" ".join(words[word] for word in each) for each in said],
        "instag_tags": [list(dict.fromkeys(names[code] for code in each)) for each in codes],
    }
    Dataset.from_dict(made).to_parquet(path)
    return names


def visit(address, names, rounds, number, took):
    """Do what a visitor does, and note how long each answer takes."""
    from gradio_client import Client

    draw = np.random.default_rng(number)
    client = Client(address, verbose=False)
    for turn in range(rounds):
        tag = names[int(draw.integers(0, 200))]
        asked = (
            ("find a tag", "/tags", (tag[:3],)),
            ("rows of a tag", "/rows", (tag, 1)),
            ("rows of the most frequent tag", "/rows", (names[0], 1 + turn)),
            ("report and charts", "/report", ()),
            ("select 1,000, complexity-first", "/select", ("complexity-first", 1000, number * rounds + turn)),
            ("select 1,000, information-gain", "/select", ("information-gain", 1000, number * rounds + turn)),
        )
        for name, endpoint, given in asked:
            started = time.perf_counter()
            client.predict(*given, api_name=endpoint)
            took[name].append(time.perf_counter() - started)


def main():
    """Make the dataset, start the page, send the visitors, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--visitors", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tagged.parquet")
        names = write_pool(path, asked.rows)
        program = "from instag_hf.cli import main; main()"
        started = time.perf_counter()
        page = subprocess.Popen(
            [sys.executable, "-c", program, "app", path, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "GRADIO_TEMP_DIR": folder},
        )
        try:
            address = page.stdout.readline().strip()
            up = time.perf_counter() - started
            for visitors in dict.fromkeys((1, asked.visitors)):
                took = defaultdict(list)
                threads = [
                    threading.Thread(target=visit, args=(address, names, asked.rounds, number, took))
                    for number in range(visitors)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                show(took, visitors, asked)
        finally:
            page.terminate()
            page.wait()
    cores = len(os.sched_getaffinity(0))
    print(f"\n{asked.rows:,} rows, {TAGS:,} tags; the page was up after {up:.1f} s, counting and charts included")
    print(f"{cores} cores, {platform.machine()}, Python {platform.python_version()}")


def show(took, visitors, asked):
    """Print one table."""
    lost = visitors * asked.rounds - min(map(len, took.values()), default=0)
    print(f"\n{visitors} at once{'' if not lost else f'; {lost} visits had an error'}")
    print(f"{'seconds':<34}{'answers':>9}{'p50':>8}{'p95':>8}{'max':>8}")
    for name, seconds in took.items():
        p50, p95 = np.percentile(seconds, [50, 95])
        print(f"{name:<34}{len(seconds):>9}{p50:>8.2f}{p95:>8.2f}{max(seconds):>8.2f}")


if __name__ == "__main__":
    main()
