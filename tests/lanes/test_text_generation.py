"""A user's own `text_generation` client, in an environment of its own: its package and today's Hub library do not mix."""

import sys

import pytest
import text_generation
from datasets import Dataset

from instag_hf.engines.text_generation import use
from instag_hf.errors import EngineError, InputError
from instag_hf.rows import ERROR, TAGS
from instag_hf.tagger import Tagger
from instag_hf.testing import Rule, TaggingServer

ROWS = [{"instruction": f"Name river {n}."} for n in range(50)]


@pytest.fixture
def server(shared_data, clean_home, monkeypatch):
    monkeypatch.setattr("instag_hf.engines._delay_s", lambda tries, asked_s: 0.01)
    monkeypatch.setenv("INSTAG_ENGINE", "text_generation")
    monkeypatch.setenv("INSTAG_MODEL", "OFA-Sys/InsTagger")
    with TaggingServer(openapi=shared_data / "tgi" / "openapi.json") as running:
        yield running
        assert running.counts().invalid == []


@pytest.fixture(params=["AsyncClient", "Client"])
def client(request, server):
    use(getattr(text_generation, request.param)(server.url))


def test_this_environment_has_no_torch_and_no_transformers():
    import importlib.util

    assert importlib.util.find_spec("torch") is None
    assert importlib.util.find_spec("transformers") is None
    assert sys.modules["text_generation"]


@pytest.mark.parametrize("structured", [False, True])
def test_a_dataset_is_tagged_through_the_client(client, server, structured):
    tagged = Dataset.from_list(ROWS).map(Tagger(structured=structured).tag)
    failed = [error for error in tagged[ERROR] if error]
    if structured:
        assert not failed
        assert all(tagged[TAGS])
    else:  # without a grammar the stand-in answers in the compact format, which is not this recipe's
        assert all(error.startswith("parse: ") for error in failed)
    assert server.counts().requests == len(ROWS)


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Rule(status=422), "refused: ValidationError"),
        (Rule(status=424), "refused: failed 5 times: "),
        (Rule(status=500), "refused: failed 5 times: "),
        (Rule(status=422, fault="text"), "refused: failed 5 times: "),
    ],
)
def test_what_the_client_raises_is_a_failure_of_the_row(client, server, rule, error):
    server.rule(rule)
    assert Tagger()(ROWS[0])[ERROR].startswith(error)


@pytest.mark.parametrize("kind", ["AsyncClient", "Client"])
def test_a_client_whose_server_is_away_stops_the_run(clean_home, monkeypatch, kind):
    monkeypatch.setattr("instag_hf.engines._delay_s", lambda tries, asked_s: 0.01)
    use(getattr(text_generation, kind)("http://127.0.0.1:9"))
    with pytest.raises(EngineError, match="nobody listens. Start its server and run the same line again"):
        Tagger(engine="text_generation", model="OFA-Sys/InsTagger")(ROWS[0])


def test_a_mistyped_address_stops_the_run_at_once(client, server):
    server.rule(Rule(status=404))
    with pytest.raises(EngineError, match="NotFoundError: .*Check the client's address"):
        Tagger()(ROWS[0])
    assert server.counts().requests == 1


def test_an_overloaded_server_is_asked_again(client, server):
    server.rule(Rule(status=429, times=2))
    assert Tagger(structured=True)(ROWS[0])[ERROR] == ""
    assert server.counts().requests == 3


def test_a_chat_recipe_and_an_adapter_are_refused_before_any_request(client, server):
    with pytest.raises(EngineError, match="takes raw prompts alone"):
        Tagger(recipe="open")(ROWS[0])
    with pytest.raises(EngineError, match="cannot name an adapter"):
        Tagger(adapter="mine")(ROWS[0])
    assert server.counts().requests == 0


def test_something_else_than_a_client_is_refused():
    with pytest.raises(InputError, match="expected a text_generation client, found str"):
        use("http://127.0.0.1")
