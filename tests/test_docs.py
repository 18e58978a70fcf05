"""What is written is true: every command has an example that runs, and so does every block of the README."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from conftest import ROOT
from datasets import Dataset
from small_bench import QUESTIONS, judgment_rows, write_bench, write_lines

from instag_hf import TagNormalizer, __version__
from instag_hf.cards import TAGGER_FACTS
from instag_hf.cli import cli
from instag_hf.engines.embedded import ADAPTER
from instag_hf.replies import Store
from instag_hf.rows import ADDED

README = (ROOT / "README.md").read_text()


def all_commands(group, *names):
    """Every command and group by its words: {"instag": …, "instag replies stats": …}."""
    found = {" ".join(["instag", *names]): group}
    for name, command in getattr(group, "commands", {}).items():
        found |= all_commands(command, *names, name)
    return found


COMMANDS = all_commands(cli)
SERVING = {"instag app"}
TRAINING = {"instag train-tagger", "instag train-lm"}


def example_of(command):
    text = command.get_help(click.Context(command, info_name="instag"))
    head, found, example = text.partition("Example:\n")
    assert found, f"{command.name}: no example in its help"
    return example.splitlines()[0].strip()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in TRAINING)) for name in COMMANDS]
)
def test_every_help_has_an_example_that_runs(name, tmp_path, clean_home):
    line = example_of(COMMANDS[name])
    assert line.startswith(name)
    (tmp_path / "dolly.jsonl").write_text('{"instruction": "Say hi.", "context": "", "response": "Hi."}\n')
    (tmp_path / "tagged.jsonl").write_text('{"query": "Say hi.", "tags": ["greeting"], "source": "ours"}\n' * 8)
    if name == "instag rerun":
        made = ["instag", "run", "dolly.jsonl", "-o", "made-run", "--min-count", "1", "--steps", "frequency"]
        subprocess.run([Path(sys.executable).parent / made[0], *made[1:]], cwd=tmp_path, check=True)
    (tmp_path / "made-tagger").mkdir()
    shutil.copy(ADAPTER, tmp_path / "made-tagger" / "tagger.gguf")
    shutil.copy(TAGGER_FACTS, tmp_path / "made-tagger" / "training.json")
    TagNormalizer.fit([["greeting"]], min_count=1, steps=["frequency"]).save_pretrained(tmp_path / "my-words")
    write_bench(tmp_path / "mt_bench")
    turns = [(row["question_id"], turn) for row in QUESTIONS for turn in (1, 2)]
    write_lines(tmp_path / "judged.jsonl", judgment_rows(dict.fromkeys(turns, 7)))
    (tmp_path / "shards").mkdir()
    for shard in ("0-of-00002", "1-of-00002"):
        rows = Dataset.from_dict({"query": ["Say hi."], "instag_tagger": ["us"]})
        rows.to_parquet(tmp_path / "shards" / f"tagged-0000{shard}.parquet")
    (tmp_path / "other").mkdir()
    Store(tmp_path / "other" / "replies.sqlite").close()
    program, *words = shlex.split(line)
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    with subprocess.Popen([Path(sys.executable).parent / program, *words], **how) as process:
        if name in SERVING:  # it has no end of its own
            told = process.stdout.readline()
            process.terminate()
            assert told.startswith("http://127.0.0.1:"), process.stderr.read()
            return
        _, errors = process.communicate()
    assert process.returncode == 0, errors


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_readme(name):
    assert name in README or name.replace("instag", "make") in README


def test_every_option_has_a_help_text():
    for command in COMMANDS.values():
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{command.name} {option.name}"


def test_first_code_stands_near_the_top():
    assert README[: README.index("```python")].count("\n") < 15


def test_readme_lists_the_added_columns_and_every_room():
    for name in ADDED:
        assert f"| `{name}` |" in README
    for path in sorted((ROOT / "instag_hf").glob("*.py")):
        assert path.name == "__init__.py" or f"  {path.name}" in README, path.name


def test_readme_names_every_variable():
    used = set()
    for path in (ROOT / "instag_hf").rglob("*.py"):
        used |= set(re.findall(r"\"(INSTAG_[A-Z]+)\"", path.read_text()))
    assert used == set(re.findall(r"`(INSTAG_[A-Z]+)`", README))


def test_links_of_the_readme_lead_somewhere_from_a_package_index_too():
    links = re.findall(r"\]\(([^)\s]+)\)", README)
    assert [link for link in links if not link.startswith("https://")] == []
    paths = [link.partition("/main/")[2] for link in links if "instag-hf/instag-hf" in link]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_changelog_has_the_version():
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_readme_python_runs(tmp_path, clean_home, local_hub):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    lines = [{"instruction": f"Write {n} lines about the sea.", "input": "", "output": "x"} for n in range(110)]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    local_hub.add("tatsu-lab/alpaca", {"train.jsonl": data})
    code = "\n".join(blocks)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("Write 0 lines about the sea. -> ['")
