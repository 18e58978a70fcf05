"""Print how far the shipped tagger tags alike in llama.cpp and in transformers with peft, on annotated queries.

    python benchmarks/two_engines.py       # 300 queries of the annotated dev set, where it lies beside the checkout
    python benchmarks/two_engines.py --data mine.jsonl
    python benchmarks/two_engines.py --json

llama.cpp runs what users run: base and adapter merged in Q8_0. transformers runs the base dequantized to bfloat16 with
the adapter beside it, greedy, in length-sorted batches.
"""

import argparse
import json
import sys
from pathlib import Path

SHARED = Path(__file__).parents[2] / "shared" / "data" / "tags" / "dev.jsonl"
BATCH = 16


def by_transformers(queries):
    """Tag queries with `generate`."""
    import torch

    from instag_hf.engines.embedded import ADAPTER
    from instag_hf.errors import ReplyError
    from instag_hf.parsing import parse
    from instag_hf.prompts import load_recipe
    from instag_hf.training import Settings, add_lora, load_base

    recipe = load_recipe("embedded")
    model, tokenizer = load_base("")
    model = add_lora(model, Settings(), str(ADAPTER)).merge_and_unload().eval()
    tokenizer.padding_side, tokenizer.pad_token = "left", "<|endoftext|>"
    end = tokenizer.convert_tokens_to_ids(recipe.stop[0])
    order = sorted(range(len(queries)), key=lambda i: len(queries[i]))
    found = [[] for _ in queries]
    for at in range(0, len(order), BATCH):
        chosen = order[at : at + BATCH]
        encoded = tokenizer([recipe.ask(queries[i]) for i in chosen], return_tensors="pt", padding=True)
        with torch.inference_mode():
            ids = model.generate(
                **encoded,
                max_new_tokens=2 * recipe.max_tokens,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=tokenizer.pad_token_id,
            )
        texts = tokenizer.batch_decode(ids[:, encoded.input_ids.shape[1] :], skip_special_tokens=True)
        for i, text in zip(chosen, texts, strict=True):
            try:
                found[i] = parse(text, recipe.format).tags
            except ReplyError:
                found[i] = []
        print(f"\rtransformers: {at + len(chosen)} of {len(order)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return found


def main():
    """Tag with both and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(SHARED))
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    from instag_hf import Tagger, pipeline, tag_f1
    from instag_hf.rows import TAGS

    rows = pipeline.load(given.data, limit=given.rows)
    ours = list(pipeline.tag(rows, Tagger(column="query"))[TAGS])
    theirs = by_transformers(list(rows["query"]))
    gold = list(rows["tags"])
    figures = {
        "queries": len(rows),
        "llama.cpp": tag_f1(ours, gold, embedder=None).exact.f1,
        "transformers": tag_f1(theirs, gold, embedder=None).exact.f1,
        "identical": sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(rows),
    }
    if given.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<14}{value if isinstance(value, int) else f'{value:.3f}'}")


if __name__ == "__main__":
    main()
