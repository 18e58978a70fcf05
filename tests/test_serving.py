"""Servers for taggers: real llama.cpp servers, the doctor, and commands that start and end what they should."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner
from datasets import Dataset
from tiny import write_tiny_llama

from instag_hf import pipeline, serving
from instag_hf.agreement import tag_f1
from instag_hf.cli import cli
from instag_hf.engines import embedded
from instag_hf.errors import EngineError, InputError, MissingError
from instag_hf.prompts import load_recipe
from instag_hf.rows import ERROR, TAGS, queries
from instag_hf.tagger import Tagger
from instag_hf.testing import Rule, TaggingServer

POPEN = subprocess.Popen
INSTAG = Path(sys.executable).parent / "instag"
CHAT = """
format = "compact"
max_tokens = 64
max_query_bytes = 896
stop = ["<|im_end|>"]
[[messages]]
role = "user"
content = "{query}"
"""


@pytest.fixture(scope="module")
def llama_cpp():
    """A llama.cpp server with the shipped tagger, with the template it was trained with."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(embedded.weights(embedded.MODEL))
    params.n_parallel, params.n_ctx = 8, 8 * 1024
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, ["planted-key"]
    params.chat_template = "chatml"
    params.ui = params.fit_params = False
    params.cache_ram_mib = params.verbosity = 0
    return xllamacpp.Server(params)


@pytest.fixture
def asked(llama_cpp, clean_home, monkeypatch):
    """The variables that make the server the place where taggers ask."""
    monkeypatch.setenv("INSTAG_ENGINE", "openai")
    monkeypatch.setenv("INSTAG_URL", llama_cpp.listening_address)
    monkeypatch.setenv("INSTAG_API_KEY", "planted-key")
    monkeypatch.setenv("INSTAG_MODEL", "shipped")


@pytest.fixture
def stand_in(clean_home, monkeypatch):
    monkeypatch.setattr("instag_hf.engines._delay_s", lambda tries, asked_s: 0.01)
    with TaggingServer() as server:
        monkeypatch.setenv("INSTAG_ENGINE", "openai")
        monkeypatch.setenv("INSTAG_URL", server.url)
        monkeypatch.setenv("INSTAG_MODEL", "stand-in")
        yield server


@pytest.mark.slow
def test_a_llama_cpp_server_tags_as_the_embedded_engine_does(asked, tmp_path):
    (tmp_path / "chat.toml").write_text(CHAT)
    texts = [text for row in pipeline.load(str(pipeline.SAMPLE), limit=60) for text in queries(row)]
    rows = Dataset.from_dict({"query": texts})
    own = rows.map(Tagger(engine="embedded", model=embedded.MODEL).tag)[TAGS]
    for recipe in ("embedded", str(tmp_path / "chat.toml")):
        tagged = rows.map(Tagger(recipe=recipe).tag)
        assert not any(tagged[ERROR])
        assert tag_f1(tagged[TAGS], own, embedder=None).exact.f1 >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["instagger-vicuna", "open"])
def test_a_llama_cpp_server_is_held_to_the_schema(asked, recipe):
    columns = Tagger(recipe=recipe, structured=True)({"query": "Sort a list in Python."})
    assert columns[TAGS] or columns[ERROR].startswith("truncated: ")


def test_the_doctor_finds_the_shipped_tagger_well(asked):
    found = serving.diagnose(Tagger(recipe="embedded"))
    assert found.healthy, found
    assert found.server == "llamacpp"
    assert len(found.replies) == len(serving.PROBES)


@pytest.mark.slow
def test_the_doctor_sees_a_recipe_of_another_model(asked):
    found = serving.diagnose(Tagger(recipe="instagger-vicuna"))
    assert not found.healthy
    assert any("are not a JSON list of tags" in finding.what for finding in found.findings)


@pytest.mark.parametrize(
    ("rule", "what", "remedy"),
    [
        pytest.param(Rule(reply="Of course! Here you go."), "are not tag; tag; tag", "another model", id="prose"),
        pytest.param(Rule(reply="a; b", finish_reason="length"), "were cut by their length", "does not stop", id="cut"),
        pytest.param(Rule(reply="banana; opera"), "have a tag that fits the query", "no tagger for this", id="unfit"),
        pytest.param(Rule(reply=""), "12 of 12 replies are not tag; tag; tag", "another model", id="no tag"),
        pytest.param(Rule(status=404), "12 of 12 probes failed", "does not know the model's name", id="name"),
        pytest.param(Rule(status=401, fault="empty"), "12 of 12 probes failed", "wants a key", id="key"),
    ],
)
def test_the_doctor_names_the_trouble_and_the_remedy(stand_in, rule, what, remedy):
    stand_in.rule(rule)
    found = serving.diagnose(Tagger(recipe="embedded"))
    assert not found.healthy
    assert any(what in finding.what and remedy in finding.remedy for finding in found.findings), found.findings


def test_the_doctor_sees_an_adapter_that_the_server_ignores(stand_in):
    found = serving.diagnose(Tagger(recipe="embedded", adapter="mispelt"))
    assert any("with the adapter 'mispelt' and without it" in finding.what for finding in found.findings)


def test_the_doctor_says_nothing_of_an_adapter_where_nothing_was_answered(stand_in):
    stand_in.rule(Rule(status=401))
    (finding,) = serving.diagnose(Tagger(recipe="embedded", adapter="mine")).findings
    assert finding.what.startswith("12 of 12 probes failed")


def test_a_proxy_is_not_asked_for_ports_of_this_machine(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with TaggingServer() as server:
        assert server.counts().requests == 0
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
            serving._wait_until_it_answers(child, server.port, 5.0)
            child.kill()


def test_the_doctor_says_when_nobody_listens(clean_home):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        done = subprocess.run(
            [INSTAG, "doctor", address, "--model", "m", "--json"], capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert "nobody listens" in json.loads(done.stdout)["findings"][0]["what"]


def test_a_diagnosis_leaves_no_reply_in_the_store(stand_in):
    from instag_hf.replies import store

    serving.diagnose(Tagger(recipe="embedded"))
    assert len(store()) == 0


@pytest.mark.parametrize(
    ("server", "model", "words"),
    [
        ("tgi", "OFA-Sys/InsTagger", ["docker", "--model-id OFA-Sys/InsTagger", ":3.3.7", "-p 127.0.0.1:8080:80"]),
        ("vllm", "OFA-Sys/InsTagger", ["vllm serve OFA-Sys/InsTagger", "--port 8080"]),
        ("sglang", "me/tagger; rm -rf /", ["--model-path 'me/tagger; rm -rf /'"]),
        ("llamacpp", "", ["llama-server -m", "--port 8080", "--parallel 8 --ctx-size 8704"]),
    ],
)
def test_serve_prints_a_command_and_the_variables(server, model, words):
    done = subprocess.run([INSTAG, "serve", server, model], capture_output=True, text=True, check=True)
    for word in [*words, "export INSTAG_URL=http://127.0.0.1:8080", "export INSTAG_MODEL="]:
        assert word in done.stdout


def test_serve_lets_the_container_of_tgi_see_a_folder(tmp_path, monkeypatch):
    (tmp_path / "tagger").mkdir()
    monkeypatch.chdir(tmp_path)
    words = serving.command("tgi", "./tagger")
    assert f"{tmp_path}/tagger:/models/tagger:ro" in words
    assert words[words.index("--model-id") + 1] == "/models/tagger"
    assert serving.variables("tgi", "./tagger", 8080)["INSTAG_MODEL"] == "/models/tagger"


def test_serve_gives_llama_cpp_room_for_the_recipe(tmp_path):
    mine = str(write_tiny_llama(tmp_path / "mine.gguf"))
    for model, recipe in [("", "embedded"), (str(embedded.ADAPTER), "embedded"), (mine, "open"), ("me/chat", "open")]:
        words = serving.command("llamacpp", model)
        room = int(words[words.index("--ctx-size") + 1])
        assert room == embedded.SLOTS * load_recipe(recipe).context_tokens


def test_serve_names_the_recipe_that_an_adapter_was_trained_with(tmp_path):
    mine = tmp_path / "mine.gguf"
    shutil.copy(embedded.ADAPTER, mine)
    assert serving.recipe_to_name("llamacpp", str(mine)) == "embedded"
    assert serving.recipe_to_name("llamacpp", "") == serving.recipe_to_name("vllm", "OFA-Sys/InsTagger") == ""
    done = CliRunner().invoke(cli, ["serve", "llamacpp", str(mine)])
    assert done.output.endswith(
        f"INSTAG_MODEL={mine}\n# and with this recipe:\ninstag tag data.jsonl -o tagged.parquet --recipe embedded\n"
    )


def test_serve_names_the_recipe_that_a_whole_model_was_trained_with(tmp_path):
    mine, ours = write_tiny_llama(tmp_path / "mine.gguf"), load_recipe("embedded")
    trained = {"recipe": {"name": ours.name, "sha256": ours.sha256}}
    (tmp_path / "training.json").write_text(json.dumps(trained))
    assert serving.recipe_to_name("llamacpp", str(mine)) == "embedded"
    words = serving.command("llamacpp", str(mine))
    assert int(words[words.index("--ctx-size") + 1]) == embedded.SLOTS * ours.context_tokens


def test_serve_refuses_what_a_server_cannot_serve():
    with pytest.raises(InputError, match="Choose llamacpp for GGUF files"):
        serving.command("vllm", "tagger.gguf")
    with pytest.raises(MissingError, match="sglang-no-such is not installed"):
        serving.run(["sglang-no-such"], port=1)


def test_serve_run_starts_a_server_and_ends_it():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [INSTAG, "serve", "llamacpp", "--port", str(port), "--run"]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = ""
        while "serving on" not in line:
            line = child.stderr.readline()
            assert line or child.poll() is None, "the server ended early"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            assert answer.status == 200
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=60)
        child.stdout.close()
        child.stderr.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
    assert child.returncode == 130


def test_serve_run_refuses_a_port_at_which_somebody_listens():
    with TaggingServer() as other, pytest.raises(InputError, match=f"expected port {other.port} to be free"):
        serving.run([sys.executable, "-c", "import time; time.sleep(60)"], port=other.port)


def test_serve_run_beside_the_main_thread_leaves_no_server_behind(monkeypatch):
    started = []
    monkeypatch.setattr(serving.subprocess, "Popen", lambda *a, **k: started.append(POPEN(*a, **k)) or started[-1])
    told = []

    def serve():
        try:
            serving.run([sys.executable, "-c", "import time; time.sleep(60)"], port=1, patience_s=0.5)
        except Exception as error:  # noqa: BLE001 - told to the test
            told.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join(timeout=60)
    (child,) = started
    try:
        assert isinstance(told[0], EngineError), told
        assert child.poll() is not None
    finally:
        child.kill()
        child.wait()


def test_serve_run_says_when_the_server_ends_early(tmp_path):
    script = tmp_path / "llama-server"
    script.write_text("#!/bin/sh\nexit 3\n")
    script.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        words = [INSTAG, "serve", "llamacpp", "--run", "--port", str(free.getsockname()[1])]
        done = subprocess.run(words, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 1
    assert "ended with exit code 3 before it answered" in done.stderr
