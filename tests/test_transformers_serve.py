"""`transformers serve`, the real server, with a tiny llama that the test makes: requests, replies, typed failures."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from datasets import Dataset

from instag_hf import training
from instag_hf.engines import Sampling
from instag_hf.errors import EngineError
from instag_hf.replies import store
from instag_hf.rows import ERROR, TAGS
from instag_hf.tagger import Tagger

pytestmark = pytest.mark.slow
ROW = {"instruction": "Name three rivers."}


@pytest.fixture(scope="module")
def weights(tiny_folder):
    """The tiny llama as a folder of transformers, and its tokenizer."""
    model, tokenizer = training.load_base(str(tiny_folder), exact=True)
    return tiny_folder, model, tokenizer


@pytest.fixture(scope="module")
def url(weights):
    words = [Path(sys.executable).parent / "transformers", "serve", weights[0], "--host", "127.0.0.1", "--port", "0"]
    server = subprocess.Popen(
        [*words, "--log-level", "info"], stderr=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    try:
        found = next(filter(None, (re.search(r"http://127\.0\.0\.1:\d+", line) for line in server.stderr)), None)
        assert found, "the server ended before it listened"
        drain = threading.Thread(target=server.stderr.read)  # a full pipe would stop it
        drain.start()
        yield found[0]
    finally:
        server.terminate()
        server.wait()
    drain.join()
    server.stderr.close()


@pytest.fixture
def served(url, weights, clean_home, monkeypatch):
    monkeypatch.setenv("INSTAG_ENGINE", "openai")
    monkeypatch.setenv("INSTAG_URL", url)
    monkeypatch.setenv("INSTAG_MODEL", str(weights[0]))
    return weights


def continued(model, tokenizer, prompt, tokens):
    """What the model writes by itself, greedily."""
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
    grown = model.generate(ids, max_new_tokens=tokens, do_sample=False, pad_token_id=0)
    return tokenizer.decode(grown[0, ids.shape[1] :], skip_special_tokens=True)


def reply_of(tagger):
    return store().get(tagger.request(ROW["instruction"]).key)


def test_a_raw_prompt_comes_back_as_the_model_itself_goes_on(served):
    _, model, tokenizer = served
    tagger = Tagger(recipe="embedded", sampling=Sampling(max_tokens=7))
    error = tagger(ROW)[ERROR]
    reply = reply_of(tagger)
    assert reply.text == continued(model, tokenizer, tagger.request(ROW["instruction"]).prompt, 7)
    assert (reply.finish_reason, reply.completion_tokens) == ("length", 7)
    assert error.startswith("truncated: ")


def test_a_chat_is_put_into_the_models_own_template(served):
    _, model, tokenizer = served
    tagger = Tagger(recipe="open", sampling=Sampling(max_tokens=6))
    error = tagger(ROW)[ERROR]
    messages = [message._asdict() for message in tagger.request(ROW["instruction"]).prompt]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert reply_of(tagger).text == continued(model, tokenizer, prompt, 6)
    assert error.startswith("truncated: ")


def test_a_stop_string_ends_the_reply(served):
    _, model, tokenizer = served
    tagger = Tagger(recipe="embedded", sampling=Sampling(max_tokens=12))
    whole = continued(model, tokenizer, tagger.request(ROW["instruction"]).prompt, 12)
    stop = whole[len(whole) // 2 :][:4]
    ended = Tagger(recipe="embedded", sampling=Sampling(max_tokens=12, stop=(stop,)))
    ended(ROW)
    reply = reply_of(ended)
    assert reply.finish_reason == "stop"
    assert reply.text == whole.partition(stop)[0]


def test_a_map_tags_or_fails_every_row_in_its_own_way(served):
    rows = Dataset.from_list([{"instruction": f"Name {n} rivers."} for n in range(6)] + [{"instruction": " "}])
    tagged = rows.map(Tagger(recipe="embedded", sampling=Sampling(max_tokens=5)).tag)
    for row in tagged:
        assert bool(row[TAGS]) != bool(row[ERROR])
    assert tagged[-1][ERROR].startswith("row: ")
    assert {error.partition(":")[0] for error in tagged[ERROR]} <= {"", "row", "truncated", "parse", "reply"}


def test_a_model_that_is_not_served_fails_by_name(served):
    error = Tagger(recipe="embedded", model="another/model")(ROW)[ERROR]
    assert error.startswith("refused: status 400: ")
    assert "another/model" in error


def test_structured_output_is_refused_where_the_server_has_none(served):
    with pytest.raises(EngineError, match="has no way to ask for structured output"):
        Tagger(recipe="open", structured=True)(ROW)
