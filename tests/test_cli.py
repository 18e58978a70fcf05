"""The command line, run as people run it: in a process of its own."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_dataset

from instag_hf.cli.shown import command_line
from instag_hf.pipeline import SAMPLE
from instag_hf.prompts import load_recipe

INSTAG = Path(sys.executable).parent / "instag"


def instag(*words, cwd=None, **env):
    return subprocess.run(
        [INSTAG, *map(str, words)], capture_output=True, text=True, cwd=cwd, env={**os.environ, **env}, check=False
    )


def rows(path):
    return load_dataset("parquet", data_files=str(path), split="train").to_list()


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.jsonl"
    path.write_text('{"instruction": "Write a poem about rain.", "id": 1}\n{"instruction": "", "id": 2}\n')
    return path


def test_tag_prints_the_path_and_tells_the_rest_to_people(small, tmp_path, clean_home):
    done = instag("tag", small, "-o", tmp_path / "out.parquet")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/out.parquet\n"
    assert "2 rows: 1 tagged, 1 failed (1 row) in " in done.stderr
    assert "row/s" in done.stderr
    good, bad = rows(tmp_path / "out.parquet")
    assert "poetry" in good["instag_tags"]
    assert good["id"] == 1
    assert bad["instag_error"] == 'row: "instruction" is empty'


def test_options_reach_the_tagger(tmp_path, clean_home):
    source = tmp_path / "chat.jsonl"
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yo"},
        {"role": "user", "content": "Explain tides."},
    ]
    source.write_text("".join(json.dumps({"talk": talk, "n": n}) + "\n" for n in range(3)))
    target = tmp_path / "out.parquet"
    done = instag(
        "tag", source, "-o", target, "--column", "talk", "--turns", "last", "--limit", 2, "--recipe", "embedded"
    )
    assert done.returncode == 0, done.stderr
    assert [len(row["instag_turns"]) for row in rows(target)] == [1, 1]
    again = instag("tag", source, "-o", target, "--column", "talk")
    assert again.returncode == 1
    assert again.stderr.startswith(f"error: output: {target} is there already.")
    assert instag("tag", source, "-o", target, "--column", "talk", "--limit", 1, "--overwrite").returncode == 0
    assert len(rows(target)) == 1


def test_a_command_is_recorded_without_the_folders_of_this_machine(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "rows.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    told = "instag tag " + "long " * 99
    words = ["run", "there/rows.jsonl", "--vocabulary=/home/me/words", f"--source={tmp_path}", "-n", "4", told]
    monkeypatch.setattr("sys.argv", ["instag", *words])
    given = ["instag", "run", "rows.jsonl", "--vocabulary=words", f"--source={tmp_path.name}", "-n", "4", told]
    assert shlex.split(command_line()) == given


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("-o/home/me/x.parquet", "-ox.parquet"),
        ("mine=/home/me/x.parquet", "mine=x.parquet"),
        ("--data=mine=/home/me/x.parquet", "--data=mine=x.parquet"),
        ("../me/x.parquet", "x.parquet"),
        ("~/x.parquet", "x.parquet"),
        ("tatsu-lab/alpaca@main", "tatsu-lab/alpaca@main"),
        ("--per-tag=math=10..50", "--per-tag=math=10..50"),
        ("what is a = b / c?", "what is a = b / c?"),
    ],
)
def test_a_folder_is_not_recorded_however_it_is_written(monkeypatch, word, told):
    monkeypatch.setattr("sys.argv", ["instag", word])
    assert shlex.split(command_line()) == ["instag", told]


def test_errors_are_one_sentence_and_exit_code_1(tmp_path, clean_home):
    source = tmp_path / "strange.csv"
    source.write_text("text,label\na,1\n")
    done = instag("tag", source, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "error: tag: expected one of the columns ['messages', 'conversations', 'conversation', 'dialogs', 'instruction', "
        "'prompt', 'question', 'query'], found columns ['text', 'label']. Name the column with column=."
    )
    assert "Traceback" in instag("--debug", "tag", source, "-o", tmp_path / "out").stderr
    assert instag("tag", source).returncode == 2


def test_prompt_prints_exactly_what_is_sent():
    assert instag("prompt", " Hi ").stdout == load_recipe("embedded").ask("Hi")
    chat = instag("prompt", "Hi", "--engine", "openai", "--model", "some/chat-model").stdout
    assert json.loads(chat) == [message._asdict() for message in load_recipe("open").ask("Hi")]
    assert instag("prompt", "  ").stderr == 'error: "query" is empty\n'


def test_a_dataset_of_the_hub_by_its_id(tmp_path, clean_home, local_hub):
    lines = b"".join(json.dumps({"instruction": f"Count to {n}."}).encode() + b"\n" for n in range(4))
    local_hub.add("me/counting", {"train.jsonl": lines, "README.md": b"# counting\n"})
    done = instag("tag", "me/counting", "-o", tmp_path / "out.parquet", "--limit", 2)
    assert done.returncode == 0, done.stderr
    gone = instag("tag", "me/nothing", "-o", tmp_path / "gone")
    assert [row["instruction"] for row in rows(tmp_path / "out.parquet")] == ["Count to 0.", "Count to 1."]
    assert gone.returncode == 1
    assert "expected a local file or folder, or a dataset on the Hub, found 'me/nothing'" in gone.stderr


def test_demo_tags_and_prints_the_sample(tmp_path, clean_home):
    done = instag("demo", "--limit", 6, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "6 rows: 6 tagged" in done.stderr
    assert done.stdout.splitlines()[-1] == "out/tagged.parquet"
    assert "vocabulary: tags of at least 1 rows" in done.stdout
    assert "selection: 1 of 6 rows" in done.stdout
    assert len(rows(tmp_path / "out" / "subset.parquet")) == 1
    assert "Suggest three quick breakfasts" in done.stdout
    assert len(rows(tmp_path / "out" / "tagged.parquet")) == 6


def test_a_table_holds_no_control_characters(tmp_path, clean_home):
    source = tmp_path / "evil.jsonl"
    source.write_text(json.dumps({"query": "\x1b[31mred\x1b[0m \u202e Say hi\r\nnow"}) + "\n")
    done = instag("demo", "--data", source, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout


def test_a_sample_of_the_sample_is_tagged_without_the_hub(tmp_path, clean_home):
    done = instag("tag", SAMPLE, "-o", tmp_path / "o.jsonl", "--limit", 3, HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("name", ["alpaca_52k.parquet", "sharegpt_1k.jsonl.gz", "pool_10k.jsonl.gz", "dolly_3k.jsonl"])
@pytest.mark.parametrize("limit", [pytest.param(6, id="few"), pytest.param(50, id="many", marks=pytest.mark.slow)])
def test_real_files_are_tagged(name, limit, shared_data, tmp_path, clean_home):
    done = instag("tag", shared_data / name, "-o", tmp_path / "out.parquet", "--limit", limit)
    assert done.returncode == 0, done.stderr
    tagged = rows(tmp_path / "out.parquet")
    assert len(tagged) == limit
    assert all(bool(row["instag_tags"]) != bool(row["instag_error"]) for row in tagged)
    assert sum(bool(row["instag_tags"]) for row in tagged) >= 0.8 * limit
