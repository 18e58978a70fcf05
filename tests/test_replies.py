"""The durable reply store."""

import os
import sqlite3
import subprocess
import sys

import pytest

from instag_hf.errors import InputError, StoreError
from instag_hf.replies import Reply, Store, home, store

REPLY = Reply("code; python", "stop", 12, 5)


def test_a_reply_is_found_again(tmp_path):
    first = Store(tmp_path / "a" / "replies.sqlite")
    assert first.get("k") is None
    first.put("k", REPLY, "model")
    first.put("k", REPLY._replace(text="later"), "model")
    first.close()
    again = Store(tmp_path / "a" / "replies.sqlite")
    assert again.get("k") == REPLY
    assert len(again) == 1
    again.close()


def test_a_reply_survives_the_death_of_its_process(tmp_path):
    path = tmp_path / "replies.sqlite"
    code = (
        "import os, sys, pathlib\nfrom instag_hf.replies import Store, Reply\n"
        f"Store(pathlib.Path({str(path)!r})).put('k', Reply('code', 'stop', 1, 1), 'm')\nos.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    survivor = Store(path)
    assert survivor.get("k").text == "code"
    survivor.close()


def test_two_connections_share_the_store(tmp_path):
    one, two = Store(tmp_path / "s.sqlite"), Store(tmp_path / "s.sqlite")
    one.put("k", REPLY, "model")
    assert two.get("k") == REPLY
    one.close()
    two.close()


def test_facts_of_a_tagger_are_found_by_its_hash(tmp_path):
    opened = Store(tmp_path / "s.sqlite")
    opened.put_tagger("abc", {"model": "m", "recipe": {"name": "r"}})
    assert opened.get_tagger("abc") == {"model": "m", "recipe": {"name": "r"}}
    assert opened.get_tagger("abd") is None
    opened.close()


def test_the_store_lies_in_the_home(clean_home):
    assert home() == clean_home
    opened = store()
    assert opened.path == clean_home / "replies.sqlite"
    assert store() is opened
    assert sqlite3.connect(opened.path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_home_defaults_to_the_cache_of_the_user(monkeypatch):
    monkeypatch.delenv("INSTAG_HOME")
    assert home() == home().home() / ".cache" / "instag"
    monkeypatch.setenv("INSTAG_HOME", "~/elsewhere")
    assert home() == home().home() / "elsewhere"


def test_a_file_that_is_no_store_is_a_clear_error(tmp_path):
    path = tmp_path / "replies.sqlite"
    path.write_bytes(b"not a database, but long enough to look like one" * 40)
    with pytest.raises(StoreError, match=f"could not open the reply store {path}: file is not a database. Free some"):
        Store(path)
    assert path.read_bytes().startswith(b"not a database")


def test_a_home_that_is_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="set INSTAG_HOME to a folder that can be written"):
        Store(tmp_path / "file" / "replies.sqlite")


def test_what_is_no_store_is_not_merged(tmp_path):
    (tmp_path / "text").write_text("no database" * 100)
    opened = Store(tmp_path / "s.sqlite")
    with pytest.raises(InputError, match="expected another reply store, found .*text: file is not a database"):
        opened.merge(tmp_path / "text")
    sqlite3.connect(tmp_path / "other").execute("CREATE TABLE mine (a)").connection.close()
    for _ in range(2):
        with pytest.raises(InputError, match="no such table: other.replies. Give its replies.sqlite"):
            opened.merge(tmp_path / "other")
    opened.close()


def test_a_forked_process_opens_the_store_anew(clean_home):
    opened = store()
    opened.put("k", REPLY, "model")
    child = os.fork()
    if child == 0:
        os._exit(0 if opened.get("k") == REPLY and opened.claim("0" * 64) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert opened.get("k") == REPLY


def test_many_processes_open_and_close_the_store_at_once(tmp_path):
    code = (
        "import pathlib\nfrom instag_hf.replies import Store, Reply\n"
        "for n in range(60):\n"
        f"    opened = Store(pathlib.Path({str(tmp_path / 's.sqlite')!r}))\n"
        "    opened.put(str(n), Reply('x', 'stop', 1, 1), 'm')\n    opened.close()"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for run in runs:
        _, err = run.communicate()
        assert run.returncode == 0, err
    survivor = Store(tmp_path / "s.sqlite")
    assert len(survivor) == 60
    survivor.close()


def test_a_claim_holds_against_other_processes_until_its_process_ends(tmp_path):
    path = tmp_path / "s.sqlite"
    code = (
        "import sys, pathlib\nfrom instag_hf.replies import Store\n"
        f"opened = Store(pathlib.Path({str(path)!r}))\nprint(opened.claim('a' * 64), flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "True\n"
        opened = Store(path)
        assert not opened.claim("a" * 64)
        assert opened.claim("b" * 64)
        opened.release("b" * 64)
        other.kill()
        other.wait()
        assert opened.claim("a" * 64)
        opened.close()
