"""Print what the client's side of a tagging server costs: rows/s of `ds.map` against a server that answers at once.

    python benchmarks/throughput.py              # about three minutes
    python benchmarks/throughput.py --rows 3000 --slow-rows 2000

Beside it, in the same run: a bare aiohttp loop on the same server, which is all the client could reach, and the plain
route of many scripts, `requests` in a map, one row at a time. Then a server that takes half a second for each reply,
where what counts is how full 256 slots are kept. The server is a process of its own on the same cores.
"""

import argparse
import asyncio
import os
import shutil
import tempfile
import time

SLOTS = 256
LATENCY_S = 0.5


def dataset(rows):
    """Make rows with a query each, all different."""
    from datasets import Dataset

    return Dataset.from_dict({"instruction": [f"Write {n} lines about the sea." for n in range(rows)]})


def tagged(engine, server, rows):
    """Tag with a fresh store through an engine; return seconds."""
    from instag_hf import Tagger

    home = tempfile.mkdtemp()
    os.environ |= {"INSTAG_HOME": home, "INSTAG_ENGINE": engine, "INSTAG_URL": server.url, "INSTAG_MODEL": "stand-in"}
    os.environ["INSTAG_CONCURRENCY"] = str(SLOTS)
    data = dataset(rows)
    started = time.perf_counter()
    done = data.map(Tagger(recipe="embedded").tag)
    took = time.perf_counter() - started
    if any(done["instag_error"]):
        raise SystemExit(f"a row failed: {next(filter(None, done['instag_error']))}")
    shutil.rmtree(home)
    return took


def bare(server, rows):
    """Post the same requests with aiohttp alone, as many at once; return seconds."""
    import aiohttp

    from instag_hf import load_recipe

    recipe = load_recipe("embedded")

    async def post(session, slots, text):
        body = {"model": "stand-in", "prompt": recipe.ask(text), "max_tokens": 64, "temperature": 0.0}
        async with slots, session.post(f"{server.url}/v1/completions", json=body) as answer:
            return (await answer.json())["choices"][0]["text"]

    async def everything(texts):
        slots = asyncio.Semaphore(SLOTS)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(post(session, slots, text) for text in texts))

    texts = dataset(rows)["instruction"]
    started = time.perf_counter()
    asyncio.run(everything(list(texts)))
    return time.perf_counter() - started


def plain(server, rows):
    """Ask with `requests` inside a map, one row at a time; return seconds."""
    import requests

    from instag_hf import load_recipe

    recipe = load_recipe("embedded")
    session = requests.Session()

    def one(row):
        body = {"model": "stand-in", "prompt": recipe.ask(row["instruction"]), "max_tokens": 64, "temperature": 0.0}
        text = session.post(f"{server.url}/v1/completions", json=body, timeout=60).json()["choices"][0]["text"]
        return {"tags": text.split("; ")}

    data = dataset(rows)
    started = time.perf_counter()
    data.map(one, new_fingerprint="plain")  # a session cannot be hashed
    return time.perf_counter() - started


def map_alone(rows):
    """Map a coroutine that adds the same columns and asks nobody; return seconds."""
    import numpy as np

    async def one(row):
        tags = np.array(["a", "b", "c"])
        return {"tags": tags, "explanations": tags, "turns": np.array([3]), "error": "", "tagger": "t"}

    data = dataset(rows)
    started = time.perf_counter()
    data.map(one)
    return time.perf_counter() - started


def store_alone(rows):
    """Look for, claim, write and release as many replies; return seconds."""
    from pathlib import Path

    from instag_hf.replies import Reply, Store

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "replies.sqlite")
        keys = [f"{n:064x}" for n in range(rows)]
        started = time.perf_counter()
        for key in keys:
            store.get(key)
            store.claim(key)
            store.get(key)
            store.put(key, Reply("a; b; c", "stop", 20, 9), "m")
            store.release(key)
        took = time.perf_counter() - started
        store.close()
    return took


def main():
    """Measure all and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--plain-rows", type=int, default=1_000)
    parser.add_argument("--slow-rows", type=int, default=20_000)
    given = parser.parse_args()
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from instag_hf.testing import TaggingServer

    with TaggingServer() as server:
        loop = given.rows / bare(server, given.rows)
        print(f"a server that answers at once, {given.rows:,} rows, {SLOTS} at once\n")
        print(f"{'bare aiohttp loop, nothing kept':<44}{loop:>10,.0f} rows/s")
        for engine in ("openai", "tgi"):
            took = tagged(engine, server, given.rows)
            speed = given.rows / took
            print(f"{f'ds.map(instag.tag), engine {engine}':<44}{speed:>10,.0f} rows/s  {speed / loop:.2f} of the loop")
        alone = given.plain_rows / plain(server, given.plain_rows)
        print(f"{'requests in ds.map, one row at a time':<44}{alone:>10,.0f} rows/s  {alone / loop:.2f} of the loop")
    mapped, stored = map_alone(given.rows), store_alone(given.rows)
    print(f"\nof the time of the last engine's map: datasets {mapped / took:.0%}, store {stored / took:.0%}, ", end="")
    print(f"requests and the rest {1 - (mapped + stored) / took:.0%}")
    with TaggingServer(latency_s=LATENCY_S) as server:
        took = tagged("openai", server, given.slow_rows)
        ideal = given.slow_rows * LATENCY_S / SLOTS
        print(f"\na server that takes {LATENCY_S} s, {given.slow_rows:,} rows in {took:.1f} s: ", end="")
        print(f"{ideal / took:.1%} of what {SLOTS} full slots would reach ({ideal:.1f} s)")


if __name__ == "__main__":
    main()
