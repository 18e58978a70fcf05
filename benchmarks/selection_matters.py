"""Does a selection train a better model than chance? Equal rows, equal tokens, several seeds, held-out loss.

    python benchmarks/selection_matters.py out --alpaca alpaca.parquet --held-out others.jsonl.gz --pool 4000

Both files are yours to name: rows of Alpaca, and conversations (`messages`, `source`) of other sources, gzipped JSONL.
Tags a part of Alpaca with the embedded tagger, makes a vocabulary, takes complexity-first and random subsets, trains
the embedded model with LoRA on as many tokens of each, and measures the loss on rows of other sources. What is done
stands in the folder, so a stopped run goes on when the same line is run again. Hours on two cores.
"""

import argparse
import dataclasses
import gzip
import json
import statistics
import sys
import warnings
from pathlib import Path

from datasets import Dataset

import instag_hf as instag
from instag_hf import pipeline
from instag_hf.rows.columns import read_tags
from instag_hf.training import LM_PRESETS, LMJob, train_lm
from instag_hf.training.conversations import read_talks

METHODS = ("complexity-first", "random")


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--alpaca", required=True, help="rows of Alpaca: a file, a folder or a Hub id")
    parser.add_argument("--held-out", required=True, type=Path, help="conversations of other sources, a .jsonl.gz file")
    parser.add_argument("--pool", type=int, default=10_000, help="rows of Alpaca to tag")
    parser.add_argument("--rows", type=int, default=2_000, help="rows of a subset")
    parser.add_argument("--tokens", type=int, default=150_000, help="tokens to train on, each time")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--eval", type=int, default=300, help="held-out rows")
    parser.add_argument("--base", default="", help="another base than the embedded one")
    parser.add_argument("--min-count", type=int, default=20, help="of a tag, for the vocabulary")
    return parser.parse_args()


def tagged_pool(told):
    """Tag the pool and normalize its tags, once."""
    path = told.out / "pool.parquet"
    if not path.is_file():
        pool = pipeline.load(told.alpaca).shuffle(seed=0)
        pool = pool.select(range(min(told.pool, len(pool))))
        pool = pipeline.tag(pool, instag.Tagger())
        normalizer = instag.TagNormalizer.fit(pool, min_count=told.min_count)
        pipeline.save(pool.map(normalizer.normalize, batched=True), str(path))
    return pipeline.load(str(path))


def held_out_rows(told):
    """Draw conversations of other sources than Alpaca, once."""
    path = told.out / "held_out.jsonl"
    if not path.is_file():
        with gzip.open(told.held_out, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        rows = [row for row in rows if "alpaca" not in str(row.get("source")).lower() and read_talks([row]).found]
        drawn = Dataset.from_list(rows).shuffle(seed=0).select(range(told.eval))
        pipeline.save(drawn.select_columns(["messages", "source"]), str(path))
    return pipeline.load(str(path))


def trained(told, method, seed, pool, held_out):
    """Train on one subset, or read what is there."""
    folder = told.out / f"{method}-{seed}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        subset = instag.select(pool, told.rows, method, seed=seed)
    column = read_tags(subset, "instag_normalized")
    settings = dataclasses.replace(
        LM_PRESETS["lora"], total_tokens=told.tokens, max_tokens=512, device_rows=2, evaluations=0, seed=seed
    )
    job = LMJob(rows=subset, base=told.base, output=folder, settings=settings, eval_rows=held_out)
    return {"tags": float(column.lengths.mean()), **train_lm(job, again=True)}


def main():
    """Train what is not trained yet, and print a line for each."""
    told = arguments()
    told.out.mkdir(parents=True, exist_ok=True)
    plan = told.out / "plan.json"
    asked = json.dumps({name: str(value) for name, value in vars(told).items() if name not in {"out", "seeds"}})
    if plan.is_file() and plan.read_text() != asked:
        sys.exit(f"{told.out} holds another comparison: {plan.read_text()}. Choose another folder.")
    plan.write_text(asked)
    pool, held_out = tagged_pool(told), held_out_rows(told)
    head = f"{'subset':<18}{'seed':>5}{'rows':>7}{'tags/row':>10}{'tokens':>10}{'taught':>9}{'before':>9}{'after':>9}"
    print(f"{head}\n{'-' * len(head)}")
    after = {method: [] for method in METHODS}
    for seed in range(told.seeds):
        for method in METHODS:
            facts = trained(told, method, seed, pool, held_out)
            after[method].append(facts["eval_loss"])
            print(
                f"{method:<18}{seed:>5}{facts['rows']:>7,}{facts['tags']:>10.2f}{facts['tokens_an_epoch']:>10,}"
                f"{facts['taught_tokens_an_epoch']:>9,}{facts['eval_loss_before']:>9.4f}{facts['eval_loss']:>9.4f}",
                flush=True,
            )
    for method, losses in after.items():
        print(f"{method:<18} loss {statistics.fmean(losses):.4f} ± {statistics.pstdev(losses):.4f} over {len(losses)}")
    chosen, chance = (after[method] for method in METHODS)
    gaps = [one - other for one, other in zip(chosen, chance, strict=True)]
    print(f"complexity-first minus random, seed by seed: {', '.join(f'{gap:+.4f}' for gap in gaps)}")
    print(f"ratio of the means: {statistics.fmean(chosen) / statistics.fmean(chance):.4f}")


if __name__ == "__main__":
    main()
