"""Print how fast the embedded tagger is, beside the same weights in transformers.

    python benchmarks/tagging.py           # 300 rows of Dolly, where they lie beside the checkout; else the sample
    python benchmarks/tagging.py --data my.jsonl --rows 100

Every way runs in a process of its own, on the same prompts, greedy; loading is not timed. "one by one" is how the
released scripts of the field call `generate`; "batches" sorts the rows by length and pads on the left.
"""

import argparse
import asyncio
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHARED = Path(__file__).parents[2] / "shared" / "data" / "dolly_3k.jsonl"
WAYS = {
    "embedded": "embedded engine, adapter merged (Q8_0)",
    "lora": "embedded engine, adapter at run time (Q4_1)",
    "one": "transformers, one by one, bfloat16",
    "batch8": "transformers, batches of 8, bfloat16",
    "batch16": "transformers, batches of 16, bfloat16",
    "batch32": "transformers, batches of 32, bfloat16",
}


def prompts(data, rows):
    """Take the queries of the first rows and write the embedded recipe's prompts."""
    from instag_hf import load_recipe, pipeline
    from instag_hf.rows import queries

    recipe = load_recipe("embedded")
    return [recipe.ask(query) for row in pipeline.load(data, limit=rows) for query in queries(row)]


def run_llama(way, texts):
    """Ask the embedded engine for every prompt, through the asking path that `ds.map` takes."""
    from instag_hf import load_recipe
    from instag_hf.engines import Request, Sampling, ask, embedded
    from instag_hf.replies import store

    engine = embedded.EmbeddedEngine(embedded.MODEL, load_recipe("embedded").context_tokens)
    if way == "lora":
        serve_adapter_at_run_time(embedded)
    sampling = Sampling(max_tokens=64, stop=("<|im_end|>",))

    async def ask_all(texts):
        requests = [Request(prompt=t, model=way, revision="", sampling=sampling) for t in texts]
        return await asyncio.gather(*(ask(engine, request, store()) for request in requests))

    asyncio.run(ask_all(["warm up"]))
    started = time.perf_counter()
    replies = asyncio.run(ask_all(texts))
    took = time.perf_counter() - started
    return took, sum(r.prompt_tokens for r in replies), sum(r.completion_tokens for r in replies)


def serve_adapter_at_run_time(embedded):
    """Make the engine load the base and apply the adapter to every matrix product, as llama.cpp does by itself."""
    import xllamacpp

    serve = xllamacpp.Server

    def serve_with_adapter(params):
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = str(embedded.ADAPTER), 1.0
        params.lora_adapters = [adapter]
        return serve(params)

    xllamacpp.Server = serve_with_adapter
    embedded.weights = lambda model: embedded.find_base()


def run_transformers(way, texts):
    """Complete every prompt with `generate`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from instag_hf.engines import embedded

    path = embedded.weights(embedded.MODEL)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, padding_side="left")
    tokenizer.pad_token = "<|endoftext|>"
    loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    model = dense(loaded).to(torch.bfloat16).eval()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    size = 1 if way == "one" else int(way.removeprefix("batch"))
    order = sorted(range(len(texts)), key=lambda i: len(texts[i])) if size > 1 else range(len(texts))
    batches = [[texts[i] for i in order[at : at + size]] for at in range(0, len(texts), size)]

    def complete(batch):
        encoded = tokenizer(batch, return_tensors="pt", padding=True)
        with torch.inference_mode():
            ids = model.generate(
                **encoded, max_new_tokens=64, do_sample=False, eos_token_id=end, pad_token_id=tokenizer.pad_token_id
            )
        new = ids[:, encoded.input_ids.shape[1] :]
        return int(encoded.attention_mask.sum()), int((new != tokenizer.pad_token_id).sum())

    complete(["warm up"])
    started = time.perf_counter()
    counts = [complete(batch) for batch in batches]
    took = time.perf_counter() - started
    return took, sum(prompt for prompt, _ in counts), sum(new for _, new in counts)


def dense(model):
    """Copy a model into plain matrices, since loading from GGUF may keep packed ones that are slower."""
    from transformers import LlamaForCausalLM

    plain = LlamaForCausalLM(model.config)
    plain.load_state_dict({name: tensor.float() for name, tensor in model.state_dict().items()})
    return plain


def main():
    """Run every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(SHARED) if SHARED.is_file() else None)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    from instag_hf import pipeline
    from instag_hf.engines import embedded

    data = given.data or str(pipeline.SAMPLE)
    if given.one:
        texts = prompts(data, given.rows)
        took, asked, new = (run_llama if given.one in {"embedded", "lora"} else run_transformers)(given.one, texts)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"rows": len(texts), "took_s": took, "prompt": asked, "new": new, "peak_mb": peak_mb}))
        return
    embedded.weights(embedded.MODEL)  # merged before anything is timed
    found = {way: measure(way, data, given.rows) for way in given.ways.split(",")}
    print(f"{Path(data).name}, {given.rows} rows, {len(os.sched_getaffinity(0))} cores, {cpu()}\n")
    print(f"{'':<46}{'rows/s':>8}{'prompt tok/s':>14}{'new tok/s':>11}{'peak MB':>9}")
    for way, m in found.items():
        speeds = [m[name] / m["took_s"] for name in ("rows", "prompt", "new")]
        print(f"{WAYS[way]:<46}{speeds[0]:>8.2f}{speeds[1]:>14.0f}{speeds[2]:>11.0f}{m['peak_mb']:>9.0f}")
    compare(found)


def measure(way, data, rows):
    """Run one way in a process of its own with an empty reply store, but with the merged weights of this one."""
    from instag_hf.replies import home

    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "models").symlink_to(home().resolve() / "models")
        command = [sys.executable, __file__, "--one", way, "--data", data, "--rows", str(rows)]
        env = {**os.environ, "INSTAG_HOME": scratch, "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def compare(found):
    """Print the ratios that are claimed."""
    speed = {way: m["rows"] / m["took_s"] for way, m in found.items()}
    batches = [value for way, value in speed.items() if way.startswith("batch")]
    print()
    if "one" in speed and "embedded" in speed:
        print(f"embedded / one by one:      {speed['embedded'] / speed['one']:.2f}")
    if batches and "embedded" in speed:
        print(f"embedded / best batches:    {speed['embedded'] / max(batches):.2f}")
    if "lora" in speed and "embedded" in speed:
        print(f"cost of run-time adapter:   {100 * (1 - speed['lora'] / speed['embedded']):.0f} % of the merged speed")


def cpu():
    """Name the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
