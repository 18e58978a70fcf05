"""The documentation site: every page's Python runs, every command on it exists, and it builds without a warning."""

import html
import json
import re
import shlex
import subprocess
import sys

import click
import pytest
from conftest import ROOT
from small_bench import QUESTIONS, judgment_rows, write_bench, write_lines
from test_docs import COMMANDS

import instag_hf

DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text() for path in sorted(DOCS.rglob("*.md"))}
MODELS = {"index.md", "guides/tag.md", "guides/normalize.md", "guides/run.md"}  # their Python runs a model
STAGES = "tag normalize report select quality train-tagger taglm mt-bench publish run app serve".split()


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def with_python():
    for name, page in PAGES.items():
        if blocks(page, "python"):
            yield pytest.param(name, id=name, marks=[pytest.mark.slow] * (name in MODELS))


def commands_of(page):
    """The words of each `instag …` in a page's console blocks, without what the shell makes of them."""
    for block in blocks(page, "console"):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:^\$ |\) |\] |^ +|[A-Z_]+=\S+ +)(instag .*)", line)
            if found:
                yield shlex.split(found[1], comments=True)


@pytest.mark.parametrize("name", list(with_python()))
def test_python_of_a_page_runs(name, tmp_path, clean_home, local_hub):
    lines = [{"instruction": f"Write {n} lines about the sea.", "output": "x"} for n in range(30)]
    local_hub.add("tatsu-lab/alpaca", {"train.jsonl": "".join(json.dumps(line) + "\n" for line in lines).encode()})
    write_bench(tmp_path / "mt_bench")
    turns = [(row["question_id"], turn) for row in QUESTIONS for turn in (1, 2)]
    write_lines(tmp_path / "judged.jsonl", judgment_rows(dict.fromkeys(turns, 7)))
    code = "\n".join(blocks(PAGES[name], "python"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip()


def test_every_stage_has_a_guide_with_python_and_a_command():
    assert [name for name in STAGES if f"\n{name}\n" in PAGES["guides/index.md"]] == STAGES
    for stage in STAGES:
        page = PAGES[f"guides/{stage}.md"]
        assert blocks(page, "python"), stage
        assert list(commands_of(page)), stage


@pytest.mark.parametrize("name", [*PAGES, "../README.md"])
def test_every_command_and_option_that_a_page_names_exists(name):
    for words in commands_of((DOCS / name).read_text()):
        known = max((command for command in COMMANDS if words[: len(command.split())] == command.split()), key=len)
        command = COMMANDS[known]
        assert not isinstance(command, click.Group) or words[-1] in {"instag", "--help"}, words
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= {*options, "--help"}, words


@pytest.mark.slow
def test_site_builds_without_a_warning_and_has_every_command_and_public_name(tmp_path):
    pytest.importorskip("sphinx", reason="the group `docs` is not installed")
    words = ["-q", "-W", "--keep-going", "-b", "html", DOCS, tmp_path]
    done = subprocess.run([sys.executable, "-m", "sphinx", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    site = "".join(page.read_text() for page in (tmp_path / "api").glob("*.html"))
    for name in instag_hf.__all__:
        assert f'id="instag_hf.{name}"' in site, name
    told = html.unescape((tmp_path / "commands.html").read_text())
    for name, command in COMMANDS.items():
        assert f'id="{name.replace(" ", "-")}"' in told, name
        for option in (option for option in command.params if isinstance(option, click.Option)):
            assert f'id="cmdoption-{name.replace(" ", "-")}{option.opts[-1].replace("--", "-")}"' in told, option.opts
    fetched = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"(https?:[^\"]+)", site + told)
    assert fetched == []
