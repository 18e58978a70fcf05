"""Weights in this process through transformers, on a tiny llama and on the shipped tagger."""

import asyncio

import pytest
from datasets import Dataset
from tiny import write_tiny_llama

from instag_hf.engines import Request, Sampling, ask, embedded
from instag_hf.engines.local import LocalEngine, _choose, _Waiting
from instag_hf.errors import EngineError, InputError, RefusedError
from instag_hf.replies import store
from instag_hf.rows import ERROR, TAGS
from instag_hf.tagger import Tagger


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf"))


def request(prompt, **sampling):
    drawn = Sampling(**{"max_tokens": 6, **sampling})
    return Request(prompt=prompt, model="tiny", revision="", sampling=drawn)


def answers(engine, requests):
    async def all_of_them():
        return await asyncio.gather(*(ask(engine, one, store()) for one in requests), return_exceptions=True)

    return asyncio.run(all_of_them())


@pytest.mark.slow
def test_a_batch_answers_as_each_alone_does(tiny, clean_home):
    prompts = ["one", "two words and more", "three " * 20, "x"]
    alone = []
    for prompt in prompts:
        alone += answers(LocalEngine(tiny, batch=1), [request(prompt)])
        assert alone[-1].finish_reason == "length"
        assert alone[-1].completion_tokens == 6
    store().prune(older_than_days=0)
    together = answers(LocalEngine(tiny, batch=4), [request(prompt) for prompt in prompts])
    agreeing = sum(one.text == other.text for one, other in zip(alone, together, strict=True))
    assert agreeing >= 3  # bfloat16 may tip one token in a batch of another shape


def test_a_run_after_one_that_was_left_in_the_middle_is_answered(tiny, clean_home):
    engine = LocalEngine(tiny)
    left = asyncio.new_event_loop()

    async def begin():
        row = asyncio.ensure_future(ask(engine, request("word", max_tokens=200), store()))
        while not engine._lines or any(line.waiting for line in engine._lines.values()):  # until the batch is under way
            await asyncio.sleep(0.01)
        row.cancel()

    left.run_until_complete(begin())  # and nobody runs this loop again, as when `map` is interrupted
    (reply,) = asyncio.run(asyncio.wait_for(asyncio.to_thread(answers, engine, [request("other")]), 60))
    assert reply.text
    left.run_until_complete(asyncio.gather(*asyncio.all_tasks(left), return_exceptions=True))
    left.close()


def test_a_prompt_without_room_is_refused_alone(tiny, clean_home):
    long, short = answers(LocalEngine(tiny), [request("word " * 600), request("word")])
    assert isinstance(long, RefusedError)
    assert "do not fit into 512" in str(long)
    assert short.text


def test_who_waits_longest_goes_first_with_those_of_like_length():
    waiting = [_Waiting(request("x"), [0] * length, None) for length in (5, 90, 6, 4, 50)]
    waiting.append(_Waiting(request("x", max_tokens=9), [0] * 5, None))
    assert [len(one.ids) for one in _choose(waiting, 3)] == [5, 6, 4]


def test_a_model_that_is_not_there_stops_the_run(tmp_path, clean_home):
    (tmp_path / "empty").mkdir()
    with pytest.raises(EngineError, match="transformers could not load it"):
        Tagger(engine="local", model=str(tmp_path / "empty"), recipe="embedded")({"query": "Hi"})


def test_batches_must_hold_something(monkeypatch):
    monkeypatch.setenv("INSTAG_BATCH", "0")
    with pytest.raises(InputError, match="INSTAG_BATCH: expected at least 1"):
        Tagger(engine="local", model=embedded.MODEL)({"query": "Hi"})


def test_the_shipped_tagger_tags_through_transformers(clean_home):
    rows = Dataset.from_dict({"query": ["Sort a list in Python.", "Write a poem about rain.", "Plan a trip to Rome."]})
    tagged = rows.map(Tagger(engine="local", model=embedded.MODEL).tag)
    assert not any(tagged[ERROR])
    assert "python" in tagged[0][TAGS]
    assert "poetry" in tagged[1][TAGS]
