"""Tagging on servers: TGI by its schema and recorded replies, and what goes wrong on any server."""

import asyncio
import http.server
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from datasets import Dataset

from instag_hf.engines.lanes import Slots
from instag_hf.engines.openai import served_models
from instag_hf.engines.transport import Answer, HttpEngine, _message, _seconds, _shown, place
from instag_hf.errors import EngineError, InputError
from instag_hf.parsing import TAG_LIST_REGEX, parse
from instag_hf.replies import store
from instag_hf.rows import ERROR, TAGS
from instag_hf.tagger import WINDOW, Tagger
from instag_hf.testing import Rule, TaggingServer

ROW = {"instruction": "Name three rivers."}


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr("instag_hf.engines._delay_s", lambda tries, asked_s: 0.01)


@pytest.fixture
def tgi(shared_data, clean_home, monkeypatch, no_waiting):
    """A TGI stand-in that checks every request against TGI's own description."""
    with TaggingServer(openapi=shared_data / "tgi" / "openapi.json") as server:
        monkeypatch.setenv("INSTAG_ENGINE", "tgi")
        monkeypatch.setenv("INSTAG_URL", server.url)
        monkeypatch.setenv("INSTAG_MODEL", "stand-in")
        yield server
        assert server.counts().invalid == []


@pytest.mark.parametrize("recipe", ["embedded", "instagger-vicuna", "instagger-paper", "instagger-qwen", "open"])
def test_every_recipe_is_asked_as_tgi_describes(tgi, recipe):
    columns = Tagger(recipe=recipe)(ROW)
    assert columns[TAGS]
    assert columns[ERROR] == ""


def test_sampling_stops_seed_and_adapter_are_sent_as_tgi_takes_them(tgi):
    from instag_hf.engines import Sampling

    drawn = Sampling(max_tokens=32, temperature=0.7, top_p=0.9, stop=("@a", "@b", "@c", "@d", "@e"), seed=7)
    assert Tagger(recipe="embedded", sampling=drawn, adapter="mine")(ROW)[TAGS]
    assert Tagger(recipe="open", sampling=drawn, adapter="mine")(ROW)[TAGS]


def test_what_the_server_says_of_its_work_stands_in_the_progress_line(tgi, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"instruction": f"Name {n} rivers."}) + "\n" for n in range(5)))
    words = ["tag", rows, "-o", tmp_path / "out.jsonl", "--recipe", "embedded"]
    done = subprocess.run([Path(sys.executable).parent / "instag", *words], capture_output=True, text=True, check=True)
    assert re.search(r"failed=0, queued=0\.25s, tokens/s=[\d,]+", done.stderr)


def test_structured_output_is_on_for_json_and_off_for_compact(tgi):
    assert Tagger(recipe="instagger-vicuna").structured is True
    assert Tagger(recipe="embedded").structured is False
    assert Tagger(recipe="instagger-vicuna", structured=False).hash != Tagger(recipe="instagger-vicuna").hash
    with pytest.raises(InputError, match="structured output is a list in JSON"):
        Tagger(recipe="embedded", structured=True)


def test_a_stop_string_at_the_end_is_taken_off(tgi):
    tgi.rule(Rule(reply="rivers; geography<|im_end|>"))
    assert Tagger(recipe="embedded")(ROW)[TAGS] == ["rivers", "geography"]


def test_a_reply_cut_by_its_length_is_asked_for_once_more_and_then_fails(tgi):
    tgi.rule(Rule(reply="rivers; geo", finish_reason="length"))
    assert Tagger(recipe="embedded")(ROW)[ERROR].startswith("truncated: ")
    assert tgi.counts().requests == 2
    assert store().get(Tagger(recipe="embedded").request(ROW["instruction"]).key).finish_reason == "length"


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        pytest.param(Rule(status=422), "refused: status 422: as scripted", id="422"),
        pytest.param(Rule(status=422, fault="text"), "refused: status 422: as scripted, in plain text", id="422 text"),
        pytest.param(Rule(status=413, fault="text"), "refused: status 413: as scripted, in plain text", id="413 text"),
        pytest.param(Rule(status=424), "refused: failed 5 times: status 424: ", id="424 for ever"),
        pytest.param(Rule(status=500), "refused: failed 5 times: status 500: ", id="500 for ever"),
        pytest.param(Rule(fault="garbage"), "refused: failed 5 times: expected JSON", id="garbage for ever"),
        pytest.param(Rule(fault="close"), "refused: failed 5 times: the connection broke", id="half-closed for ever"),
        pytest.param(Rule(reply="Sorry, I cannot help."), "parse: ", id="refusal"),
    ],
)
def test_a_failure_of_one_request_fails_its_row_alone(tgi, rule, error):
    tgi.rule(Rule(**{**vars(rule), "contains": "rivers"}))
    rows = Dataset.from_list([ROW, {"instruction": "Sort these."}]).map(Tagger(recipe="embedded").tag)
    assert rows[0][ERROR].startswith(error)
    assert tgi.url not in rows[0][ERROR]  # the row may be published
    assert rows[1][TAGS]


@pytest.mark.parametrize(
    "rule",
    [
        *(pytest.param(Rule(status=status, times=2), id=str(status)) for status in (424, 429, 500, 502, 503, 504)),
        pytest.param(Rule(status=502, fault="text", times=2), id="502 text"),
        pytest.param(Rule(fault="garbage", times=2), id="garbage"),
        pytest.param(Rule(fault="close", times=2), id="half-closed"),
        pytest.param(Rule(status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, times=1), id="date"),
    ],
)
def test_what_passes_is_tried_again(tgi, rule):
    tgi.rule(rule)
    assert Tagger(recipe="embedded")(ROW)[ERROR] == ""
    assert tgi.counts().requests == 1 + rule.times


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        pytest.param(Rule(status=401, fault="empty"), "status 401: without a word. Set INSTAG_API_KEY.", id="401"),
        pytest.param(Rule(status=403), "Check INSTAG_API_KEY", id="403"),
        pytest.param(Rule(status=404, fault="text"), "Check INSTAG_URL and INSTAG_MODEL", id="404"),
        pytest.param(Rule(status=429), "status 429", id="429 for ever"),
    ],
)
def test_what_no_request_will_pass_stops_the_run(tgi, rule, message):
    tgi.rule(rule)
    with pytest.raises(EngineError, match=message):
        Tagger(recipe="embedded")(ROW)


def test_a_slow_reply_counts_as_broken_also_when_the_time_was_changed(tgi, monkeypatch):
    assert Tagger(recipe="embedded")({"instruction": "Before."})[ERROR] == ""
    monkeypatch.setenv("INSTAG_TIMEOUT", "2")
    tgi.rule(Rule(fault="slow", times=1))
    assert Tagger(recipe="embedded")(ROW)[ERROR] == ""
    assert tgi.counts().requests == 3


def test_another_model_and_another_server_are_told_before_the_first_row(tgi, monkeypatch):
    with pytest.raises(EngineError, match="expected the model 'other', found 'stand-in'"):
        Tagger(model="other", recipe="embedded")(ROW)
    assert tgi.counts().requests == 0


def test_the_limit_is_what_the_server_takes_less_some(tgi, clean_home, monkeypatch):
    with TaggingServer(slots=20, latency_s=0.2) as small:
        monkeypatch.setenv("INSTAG_URL", small.url)
        rows = [{"instruction": f"Name river {n}."} for n in range(200)]
        tagged = Dataset.from_list(rows).map(Tagger(recipe="embedded").tag)
        assert not any(tagged[ERROR])
        assert small.counts().peak_in_flight == 16
        assert small.counts().requests == 200


def test_a_reply_with_half_a_surrogate_pair_is_kept_without_it(tgi):
    tgi.rule(Rule(reply="rivers; half \ud800 pair"))
    assert Tagger(recipe="embedded")(ROW)[ERROR].startswith("parse: ")
    assert store().get(Tagger(recipe="embedded").request(ROW["instruction"]).key).text == "rivers; half \ufffd pair"


def test_an_error_with_half_a_surrogate_pair_can_be_written_into_a_row():
    failure = HttpEngine("http://127.0.0.1:1")._failure(422, '{"error": "half \\ud800 pair"}', None)
    assert str(failure) == "status 422: half \ufffd pair"


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None, "completion_tokens": None}])
def test_a_server_that_counts_no_tokens_is_read_all_the_same(usage):
    answer = Answer({"choices": [{"text": "rivers", "finish_reason": "stop"}], "usage": usage}, {})
    assert HttpEngine("http://127.0.0.1:1").read_choice(answer, ()) == ("rivers", "stop", 0, 0)


def test_recorded_replies_of_real_servers_are_read(shared_data):
    from instag_hf.engines.tgi import TGIEngine

    engine = TGIEngine("http://127.0.0.1:1")
    read = 0
    for path in sorted((shared_data / "tgi" / "snapshots").glob("*.json")):
        recorded = json.loads(path.read_text())
        for body in recorded if isinstance(recorded, list) else [recorded]:
            if "generated_text" in body and "details" in body:
                reply = engine.read_generated(Answer(body, {}), ())
                assert reply.text == body["generated_text"]
                assert reply.completion_tokens == body["details"]["generated_tokens"] > 0
            elif body.get("object") == "chat.completion":
                reply = engine.read_choice(Answer(body, {}), ())
                assert reply.text == (body["choices"][0]["message"].get("content") or "")
                assert reply.completion_tokens == body["usage"]["completion_tokens"]
            else:
                continue
            assert reply.finish_reason in {"stop", "length"}
            read += 1
    assert read >= 15


def test_the_run_stops_early_when_most_of_the_last_rows_fail(tgi, monkeypatch):
    tgi.rule(Rule(reply="I am a chat model and will not do this."))
    rows = Dataset.from_list([{"instruction": f"Name river {n}."} for n in range(2 * WINDOW)])
    with pytest.raises(EngineError, match=rf"{WINDOW} of the last {WINDOW} rows failed \({WINDOW} parse\)"):
        rows.map(Tagger(recipe="embedded").tag)
    monkeypatch.setenv("INSTAG_MAX_FAILURES", "1")
    assert all(rows.map(Tagger(recipe="embedded").tag)[ERROR])


@pytest.mark.parametrize("share", ["1.5", "-1", "50"])
def test_a_share_of_failures_that_is_none_is_told_before_the_first_row(tgi, monkeypatch, share):
    monkeypatch.setenv("INSTAG_MAX_FAILURES", share)
    with pytest.raises(InputError, match=f"INSTAG_MAX_FAILURES: expected a share from 0 to 1, found {share}"):
        Tagger(recipe="embedded")(ROW)
    assert tgi.counts().requests == 0


def test_the_datas_own_failures_stop_nothing(tgi):
    rows = Dataset.from_list([{"instruction": " "} for _ in range(2 * WINDOW)])
    assert all(rows.map(Tagger(recipe="embedded").tag)[ERROR])


def test_the_grammar_is_what_the_parser_reads_and_nothing_else():
    import re

    regex = re.compile(TAG_LIST_REGEX)
    good = json.dumps([{"tag": "c++", "explanation": 'says "c++"'}, {"tag": "sorting", "explanation": ""}])
    assert regex.fullmatch(good)
    assert parse(good, "json").tags == ["c++", "sorting"]
    for bad in ("[]", '{"tag": "a", "explanation": ""}', '[{"tag": "a"}]', '[{"tag": "", "explanation": ""}]', "a; b"):
        assert not regex.fullmatch(bad)


def test_slots_halve_once_for_a_burst_and_grow_back_by_one_a_round(monkeypatch):
    slots = Slots(16)
    for _ in range(10):
        slots.shrink()
    assert slots.limit == 8
    for _ in range(8):
        slots.went_well()
    assert slots.limit == 9
    for _ in range(1000):
        slots.went_well()
    assert slots.limit == 16
    monkeypatch.setattr("instag_hf.engines.lanes.CALM_S", 0.0)
    for _ in range(10):
        slots.shrink()
    assert slots.limit == 1


def test_who_waits_for_a_slot_when_all_is_cancelled_is_cancelled_too():
    async def cancel_all():
        slots = Slots(1)

        async def hold():
            async with slots.one(again=False):
                await asyncio.sleep(60)

        tasks = [asyncio.ensure_future(hold()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True), slots

    outcomes, slots = asyncio.run(cancel_all())
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 3
    assert (slots.taken, len(slots.waiting)) == (0, 0)


def test_a_server_that_turns_away_gets_fewer_requests_at_once(clean_home, monkeypatch, no_waiting):
    with TaggingServer(slots=10, latency_s=0.02) as server:
        monkeypatch.setenv("INSTAG_ENGINE", "openai")
        monkeypatch.setenv("INSTAG_URL", server.url)
        monkeypatch.setenv("INSTAG_MODEL", "stand-in")
        monkeypatch.setattr("instag_hf.engines.lanes.CALM_S", 0.05)
        monkeypatch.setattr("instag_hf.engines.TRIES", 50)
        rows = [{"instruction": f"Name river {n}."} for n in range(400)]
        assert not any(Dataset.from_list(rows).map(Tagger().tag)[ERROR])


@pytest.mark.parametrize(
    ("server", "raw", "chat"),
    [
        ("vllm", "response_format", "response_format"),
        ("sglang", "json_schema", "response_format"),
        ("llamacpp", "json_schema", "response_format"),
        ("ollama", None, "response_format"),
        ("tgi", None, "response_format"),
        ("transformers", None, None),
        ("openai", None, None),
    ],
)
def test_structured_output_is_asked_in_the_servers_own_dialect_or_refused(server, raw, chat):
    from instag_hf.engines.openai import OpenAIEngine

    engine = OpenAIEngine("http://127.0.0.1:1", server=server)
    for recipe, field in (("instagger-vicuna", raw), ("open", chat)):
        request = Tagger(engine="openai", model="m", recipe=recipe, structured=True).request("Hi")
        if field is None:
            with pytest.raises(EngineError, match="has no way to ask for structured output"):
                engine._body(request)
        else:
            assert field in engine._body(request)
            assert "max_tokens" in engine._body(request)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error": "too long", "error_type": "validation"}', "too long"),
        ('{"error": {"message": "no such model", "type": "x", "code": 404}}', "no such model"),
        ('{"detail": "Not Found"}', "Not Found"),
        ('{"detail": [{"loc": ["body"], "msg": "missing"}]}', '[{"loc": ["body"], "msg": "missing"}]'),
        ("<html>Bad Gateway</html>", "<html>Bad Gateway</html>"),
        ("", ""),
    ],
)
def test_four_shapes_of_error_and_plain_text_are_read(body, said):
    assert _message(body) == said


def test_retry_after_is_seconds_or_a_date():
    import email.utils
    import time

    assert _seconds("7") == 7.0
    assert _seconds(email.utils.formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert _seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert _seconds("soon") is None
    assert _seconds("inf") is None  # it would wait for ever
    assert _seconds("86400") == _seconds(email.utils.formatdate(time.time() + 86_400, usegmt=True)) == 600.0
    assert _seconds(None) is None


def test_an_address_is_shown_without_its_secrets():
    assert _shown("https://me:hunter2@host:80/v1?api_key=sk-1#x") == "https://host:80/v1"


def test_a_server_that_repeats_what_it_was_sent_shows_no_secret():
    engine = HttpEngine("http://user:p%40ss%2Fword@127.0.0.1:1/v1?code=a%2Bb", key=None)
    sent = "Basic dXNlcjpwQHNzL3dvcmQ= p@ss/word p%40ss%2Fword ?code=a%2Bb a+b"
    assert str(engine._failure(422, sent, None)) == "status 422: Basic … … … ?code=… …"


def test_no_secret_reaches_a_message_the_store_or_a_strange_host(clean_home, monkeypatch, no_waiting, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("HF_TOKEN", "hf_planted_token")
    monkeypatch.setenv("INSTAG_API_KEY", "sk-planted-key")
    with TaggingServer() as server:
        address = server.url.replace("http://", "http://user:planted-password@") + "/v1"
        monkeypatch.setenv("INSTAG_ENGINE", "openai")
        monkeypatch.setenv("INSTAG_URL", address)
        monkeypatch.setenv("INSTAG_MODEL", "stand-in")
        assert Tagger()(ROW)[ERROR] == ""
        server.rule(Rule(status=401, reply="the key sk-planted-key of user:planted-password is wrong"))
        with pytest.raises(EngineError) as caught:
            Tagger()({"instruction": "Another."})
    told = str(caught.value) + caplog.text + repr(caught.value.__cause__)
    kept = b"".join(path.read_bytes() for path in clean_home.rglob("*") if path.is_file() and "models" not in str(path))
    for secret in ("hf_planted_token", "sk-planted-key", "planted-password"):
        assert secret not in told
        assert secret.encode() not in kept


@pytest.fixture
def answering():
    """A server whose answers to GET the test writes: status, headers, body by path; and what was asked, with its key."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append((self.path, self.headers.get("Authorization")))
            status, headers, body = server.answers.get(self.path, (404, {}, b""))
            if not status:
                self.wfile.write(body)
                return
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.answers = [], {}
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_no_key_follows_a_redirect_of_the_list_of_models(answering, monkeypatch):
    answering.answers["/v1/models"] = (302, {"Location": f"http://localhost:{answering.server_port}/elsewhere"}, b"")
    monkeypatch.setenv("INSTAG_URL", answering.url)
    monkeypatch.setenv("INSTAG_API_KEY", "sk-planted-key")
    assert served_models() == []
    assert answering.asked == [("/v1/models", "Bearer sk-planted-key")]


def test_the_query_of_an_address_goes_behind_each_path(answering, monkeypatch):
    answering.answers["/v1/models?api_key=k"] = (200, {}, b'{"data": [{"id": "m"}]}')
    monkeypatch.setenv("INSTAG_URL", f"{answering.url}/v1/?api_key=k")
    assert served_models() == ["m"]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "status 401: wants a key. Set INSTAG_API_KEY.$"),
        (503, "status 503: wants a key$"),
        (404, "expected a TGI server, found none at /info"),
        (200, "expected a TGI server, found none at /info"),  # but no JSON
    ],
)
def test_a_tgi_that_fails_is_told_from_another_server(answering, clean_home, monkeypatch, no_waiting, status, message):
    answering.answers["/info"] = (status, {}, b"wants a key")
    monkeypatch.setenv("INSTAG_URL", answering.url)
    with pytest.raises(EngineError, match=message):
        Tagger(engine="tgi", model="m", recipe="embedded")(ROW)


def test_a_server_without_a_certificate_is_told_at_once(answering, clean_home, monkeypatch):
    monkeypatch.setenv("INSTAG_URL", answering.url.replace("http:", "https:"))
    with pytest.raises(EngineError, match="expected a certificate that this machine trusts, found none"):
        Tagger(engine="openai", model="m")(ROW)


def test_a_server_that_speaks_no_http_reports_no_models(answering, monkeypatch):
    answering.answers["/v1/models"] = (0, {}, b"SSH-2.0-OpenSSH_9.6\r\n")
    monkeypatch.setenv("INSTAG_URL", answering.url)
    assert served_models() == []


def test_the_hub_token_goes_to_hugging_face_alone(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_planted_token")
    for address, token in (
        ("https://router.huggingface.co/v1", "hf_planted_token"),
        ("https://abc.endpoints.huggingface.cloud/v1", "hf_planted_token"),
        ("http://router.huggingface.co/v1", None),
        ("https://huggingface.co.evil.example/v1", None),
        ("https://nothuggingface.co/v1", None),
        ("http://127.0.0.1:8000", None),
    ):
        monkeypatch.setenv("INSTAG_URL", address)
        assert place("openai")[1] == token


@pytest.fixture
def behind(clean_home, monkeypatch):
    """A proxy between us and a server that only it can reach; it answers for that server."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("INSTAG_ENGINE", "openai")
    monkeypatch.setenv("INSTAG_URL", "http://tagger.invalid:8000/v1")
    monkeypatch.setenv("INSTAG_MODEL", "stand-in")
    monkeypatch.setenv("INSTAG_PATIENCE", "0")
    with TaggingServer() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        yield proxy


def test_a_server_is_asked_through_the_proxy_that_the_environment_names(behind):
    columns = Tagger(recipe="embedded")(ROW)
    assert columns[TAGS]
    assert behind.counts().answered == 1
    assert served_models() == ["stand-in"]


@pytest.mark.parametrize("named", ["tagger.invalid", "*"])
def test_a_server_that_needs_no_proxy_is_asked_itself(behind, named, monkeypatch):
    monkeypatch.setenv("no_proxy", named)
    with pytest.raises(EngineError, match=re.escape("http://tagger.invalid:8000: nobody listens.")):
        Tagger(recipe="embedded")(ROW)
    assert behind.counts().requests == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_server_of_this_machine_is_asked_past_every_proxy(host, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("INSTAG_URL", f"http://{host}:8000")
    assert place("openai").proxy is None


def test_a_proxy_that_is_not_there_is_told_without_its_password(behind, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:9")
    with pytest.raises(EngineError, match=r"the proxy that the environment names does not answer\.") as told:
        Tagger(recipe="embedded")(ROW)
    assert "secret" not in str(told.value)
