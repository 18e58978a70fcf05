"""Runs that are stopped, killed, doubled or out of disk lose nothing and go on where they stopped."""

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from datasets import load_dataset

from instag_hf.errors import InputError
from instag_hf.replies import Reply, Store, store
from instag_hf.testing import TaggingServer

INSTAG = Path(sys.executable).parent / "instag"
IN_FLIGHT = 16


@pytest.fixture
def server():
    with TaggingServer(latency_s=0.05) as running:
        yield running


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def env(server, home, tmp_path):
    """Variables of a run in a home of its own against the stand-in."""
    asked = {"ENGINE": "openai", "URL": server.url, "MODEL": "m", "CONCURRENCY": str(IN_FLIGHT), "HOME": str(home)}
    return {
        **os.environ,
        **{f"INSTAG_{name}": value for name, value in asked.items()},
        "HF_DATASETS_CACHE": str(tmp_path / "hf"),
    }


def write_rows(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"query": f"Count to {n}."}) + "\n" for n in range(rows)))
    return path


def start(source, target, env):
    words = [INSTAG, "tag", source, "-o", target]
    return subprocess.Popen(
        words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c
    )


def hear_ctrl_c():
    """A process started in the background of a shell ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(source, target, env):
    with start(source, target, env) as run:
        out, err = run.communicate()
    return run.returncode, out, err


def tagged_rows(target):
    rows = load_dataset("parquet", data_files=str(target), split="train")
    assert not any(rows["instag_error"])
    return len(rows)


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "kills", [pytest.param(2, id="2 kills"), pytest.param(10, id="10 kills", marks=pytest.mark.slow)]
)
def test_kill_9_at_random_moments_costs_only_what_was_in_flight(kills, server, home, env, tmp_path):
    source, target = write_rows(tmp_path, 500), tmp_path / "out.parquet"
    chance, in_flight = random.Random(7), 0
    for kill in range(kills):
        goal = server.counts().answered + chance.randrange(500 // (kills + 1))
        with start(source, target, env) as run:
            wait_for(lambda goal=goal: server.counts().answered > goal)
            run.kill()
            run.communicate()
        in_flight += IN_FLIGHT
        wait_for(lambda: server.counts().in_flight == 0)
        assert not target.exists(), kill
    code, out, err = finish(source, target, env)
    assert code == 0, err
    assert out == f"{target}\n"
    assert tagged_rows(target) == 500
    counts = server.counts()
    assert counts.distinct == 500
    assert counts.repeated <= in_flight


def test_ctrl_c_exits_with_130_and_says_how_to_go_on(server, env, tmp_path):
    source, target = write_rows(tmp_path, 300), tmp_path / "out.parquet"
    with start(source, target, env) as run:
        wait_for(lambda: server.counts().answered > 40)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate()
    assert run.returncode == 130, err
    assert out == ""
    last = re.split(r"[\r\n]+", err.strip())[-1]
    assert last == "stopped; run the same command again, and it goes on where it stopped"
    assert "Traceback" not in err
    assert finish(source, target, env)[0] == 0
    assert tagged_rows(target) == 300
    assert server.counts().repeated <= IN_FLIGHT


def test_a_dead_engine_is_one_line_and_a_rerun_goes_on(server, env, tmp_path):
    source, target = write_rows(tmp_path, 40), tmp_path / "out.parquet"
    server.kill()
    code, out, err = finish(source, target, {**env, "INSTAG_PATIENCE": "1"})
    assert code == 1
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1] == (
        f"error: {server.url}: nobody listens. Waited 1 s (INSTAG_PATIENCE). Start the engine and run the same line "
        "again: it goes on where it stopped."
    )
    server.start()
    assert finish(source, target, env)[0] == 0
    assert tagged_rows(target) == 40


@pytest.mark.parametrize("days", [-1, float("nan"), float("inf")])
def test_an_age_that_is_none_deletes_nothing(home, monkeypatch, days):
    monkeypatch.setenv("INSTAG_HOME", str(home))
    store().put("k", Reply("t", "stop", 1, 1), "m")
    with pytest.raises(InputError, match="expected an age of 0 days or more"):
        store().prune(older_than_days=days)
    assert len(store()) == 1
    assert store().prune(model="m") == 1


def test_two_processes_share_one_store(server, home, env, tmp_path):
    source = write_rows(tmp_path, 300)
    targets = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    # Caches of their own, so that neither takes the other's finished table.
    runs = [
        start(source, target, {**env, "HF_DATASETS_CACHE": str(tmp_path / f"hf-{target.stem}")}) for target in targets
    ]
    for run, target in zip(runs, targets, strict=True):
        with run:
            _, err = run.communicate()
        assert run.returncode == 0, err
        assert tagged_rows(target) == 300
    with sqlite3.connect(home / "replies.sqlite") as opened:
        assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert opened.execute("SELECT count(*) FROM replies").fetchone() == (300,)
    opened.close()
    assert server.counts().answered == 300


@pytest.fixture
def small_disk(tmp_path):
    """A disk of eight megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_a_clear_error_that_loses_nothing(server, small_disk, env, tmp_path):
    source, target = write_rows(tmp_path, 200), tmp_path / "out.parquet"
    env = {**env, "INSTAG_HOME": str(small_disk / "home")}
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 8_150_000)
    code, out, err = finish(source, target, env)
    assert code == 1, err
    assert out == ""
    assert "database or disk is full. Free some disk space or set INSTAG_HOME to a folder" in err.splitlines()[-1]
    assert not target.exists()
    ballast.unlink()
    answered = server.counts().answered
    code, _, err = finish(source, target, env)
    assert code == 0, err
    assert tagged_rows(target) == 200
    # What was answered before the disk was full is not asked again, except what was in flight then.
    assert answered > IN_FLIGHT
    assert server.counts().repeated <= IN_FLIGHT + 1


def test_a_read_only_store_is_a_clear_error(server, small_disk, env, tmp_path):
    source, target = write_rows(tmp_path, 5), tmp_path / "out.parquet"
    home = small_disk / "home"
    Store(home / "replies.sqlite").close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    code, _, err = finish(source, target, {**env, "INSTAG_HOME": str(home)})
    assert code == 1
    assert err.splitlines()[-1].startswith(f"error: replies: could not open the reply store {home}/replies.sqlite: ")
    assert err.splitlines()[-1].endswith(
        "set INSTAG_HOME to a folder that can be written; replies already there are kept."
    )
    assert server.counts().requests == 0


def test_replies_can_be_counted_merged_and_pruned(server, home, env, tmp_path):
    source = write_rows(tmp_path, 20)
    assert finish(source, tmp_path / "a.parquet", env)[0] == 0
    other = {**env, "INSTAG_HOME": str(tmp_path / "other"), "INSTAG_MODEL": "n"}
    assert finish(source, tmp_path / "b.parquet", other)[0] == 0

    def replies(*words):
        done = subprocess.run([INSTAG, "replies", *words], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert replies("merge", str(tmp_path / "other" / "replies.sqlite")).startswith("20 new replies from ")
    assert replies("merge", str(tmp_path / "other" / "replies.sqlite")).startswith("0 new replies from ")
    figures = json.loads(replies("stats", "--json"))
    assert figures["models"] == {"m": 20, "n": 20}
    assert figures["bytes_per_reply"] > 100
    assert "40 replies" in replies("stats")
    assert replies("prune", "--model", "n") == "20 replies deleted\n"
    assert replies("prune", "--older-than", "1") == "0 replies deleted\n"
    assert json.loads(replies("stats", "--json"))["models"] == {"m": 20}
    before = server.counts().requests
    assert finish(source, tmp_path / "c.parquet", {**env, "HF_DATASETS_CACHE": str(tmp_path / "hf2")})[0] == 0
    assert server.counts().requests == before
    nothing = subprocess.run([INSTAG, "replies", "prune"], env=env, capture_output=True, text=True, check=False)
    assert nothing.returncode == 1
    assert nothing.stderr == "error: replies: expected a model or an age to prune by, found neither.\n"
