"""The scripts for `uv run` and `hf jobs uv run`: what their heads say is true, and each of them runs offline."""

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT, tree_of
from packaging.requirements import Requirement

from instag_hf import pipeline
from instag_hf.errors import Interrupted
from instag_hf.pipeline.scripts import run_script
from instag_hf.rows import ADDED, NORMALIZED
from instag_hf.testing import TaggingServer

FOLDER = ROOT / "dataset_scripts"
SCRIPTS = sorted(FOLDER.glob("*.py"))
README = (FOLDER / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
each_script = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)

# What a script runs with, in this order, on files that lie in the folder; see `run_all`.
RUNS = {
    "tag": "pool.jsonl tagged.parquet --limit 50",
    "merge": "shards merged.parquet --limit 50",
    "normalize": "tagged.parquet normalized.parquet --limit 50 --min-count 2 --save vocabulary",
    "select_rows": "normalized.parquet chosen.parquet --limit 50 --rows 5",
    "report": "normalized.parquet report.html --limit 50",
    "whole": "pool.jsonl made --limit 50 --min-count 2 --rows 5",
}


def head(path):
    """The block of PEP 723, read as its reference does, as a dictionary."""
    (block,) = re.findall(r"(?m)^# /// script$\s((?:^#(?:| .*)$\s)+)^# ///$", path.read_text())
    return tomllib.loads(
        "".join(line[2:] if line[1:2] == " " else line[1:] for line in block.splitlines(keepends=True))
    )


def lines_of(path, start):
    doc = ast.get_docstring(tree_of(path))
    return [shlex.split(line) for line in map(str.strip, doc.splitlines()) if line.startswith(start)]


def run(script, *words, cwd, **env):
    done = subprocess.run(
        [sys.executable, FOLDER / f"{script}.py", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **env},
        check=False,
    )
    assert "ResourceWarning" not in done.stderr
    return done


@pytest.fixture(scope="module")
def server_env():
    with TaggingServer() as server:
        yield {"INSTAG_ENGINE": "openai", "INSTAG_URL": server.url, "INSTAG_MODEL": "stand-in"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, server_env):
    """What each script wrote, one after the other: the tagger is the embedded one, shards are of the stand-in."""
    folder = tmp_path_factory.mktemp("scripts")
    pipeline.load(str(pipeline.SAMPLE), limit=60).to_json(folder / "pool.jsonl", force_ascii=False)
    for shard in ("1/2", "0/2"):
        done = run("tag", "pool.jsonl", "shards/t.parquet", "--shard", shard, "--limit", 50, cwd=folder, **server_env)
        assert done.returncode == 0, done.stderr
    for script, words in RUNS.items():
        done = run(script, *shlex.split(words), cwd=folder)
        assert done.returncode == 0, done.stderr
        (folder / f"{script}.out").write_text(done.stdout)
    return folder


def test_every_script_is_run_here():
    assert set(RUNS) == {path.stem for path in SCRIPTS}


@each_script
def test_no_script_shadows_a_module_of_the_standard_library(path):
    assert path.stem not in sys.stdlib_module_names


@each_script
def test_the_readme_has_every_script(path):
    assert f"| `{path.name}` |" in README


@each_script
def test_scripts_are_short_and_straight(path):
    assert len(path.read_text().splitlines()) <= 60
    assert [node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)] == ["main"]


@each_script
def test_a_head_asks_for_our_package_with_extras_that_it_has(path):
    (wanted,) = map(Requirement, head(path)["dependencies"])
    assert wanted.name == PROJECT["name"]
    assert wanted.extras <= set(PROJECT["optional-dependencies"])
    assert head(path)["requires-python"] == PROJECT["requires-python"]


@each_script
def test_the_hub_reads_the_head(path):
    reader = pytest.importorskip("huggingface_hub.cli._uv_script_header", reason="this huggingface_hub reads no heads")
    found = reader.parse_uv_script_header(path.read_text())
    assert found.secrets == ["HF_TOKEN"]
    assert re.fullmatch(r"cpu-[a-z]+", found.flavor)
    assert re.fullmatch(r"\d+h", found.timeout)


@each_script
@pytest.mark.parametrize("start", ["uv run", "hf jobs uv run"])
def test_a_docstring_has_a_line_to_run_whose_options_exist(path, start):
    (words,) = lines_of(path, start)
    after = words[words.index(path.name) + 1 :]
    options = {word for word in after if word.startswith("--")}
    known = set(re.findall(r"add_argument\(\"(--[a-z-]+)\"", path.read_text()))
    assert options <= known
    assert "--limit" in known
    assert not after[0].startswith("-")
    assert not after[1].startswith("-")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Interrupted])
def test_a_script_that_is_stopped_ends_with_a_sentence_and_status_1(stop):
    def main():
        raise stop

    with pytest.raises(SystemExit, match="stopped; run the same line again"):  # printed, and the status is 1
        run_script(main)


@each_script
def test_a_script_ends_with_a_sentence_where_it_cannot_go_on(path, tmp_path):
    more = ["--rows", 1] if path.stem == "select_rows" else []
    target = "o.html" if path.stem == "report" else "o.parquet"
    done = run(path.stem, "no.jsonl", target, *more, cwd=tmp_path, HF_HUB_OFFLINE="1", INSTAG_HOME=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@each_script
def test_the_help_is_the_docstring(path):
    done = run(path.stem, "--help", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert lines_of(path, "uv run")[0][-1] in done.stdout


def test_the_lines_of_the_readme_name_options_that_exist():
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for name, rest in re.findall(r"(\w+)\.py ([^\n;]*)", block):
            text = (FOLDER / f"{name}.py").read_text()
            for option in re.findall(r"--[a-z-]+", rest):
                assert f'"{option}"' in text, (name, option)


def test_tag_adds_the_columns_of_50_rows(folder):
    rows = pipeline.load(str(folder / "tagged.parquet"))
    assert len(rows) == 50
    assert set(ADDED) - {NORMALIZED} <= set(rows.column_names)
    assert sum(bool(tags) for tags in rows["instag_tags"]) >= 45
    assert all(bool(tags) != bool(error) for tags, error in zip(rows["instag_tags"], rows["instag_error"], strict=True))
    assert (folder / "tag.out").read_text().splitlines()[-1] == "tagged.parquet"


def test_merge_joins_the_shards_in_order(folder):
    rows = pipeline.load(str(folder / "merged.parquet"))
    assert rows["messages"][:] == pipeline.load(str(folder / "pool.jsonl"), limit=50)["messages"][:]
    assert len(list((folder / "shards").glob("t-0000?-of-00002.parquet"))) == 2


def test_normalize_writes_rows_and_vocabulary(folder):
    from instag_hf import TagNormalizer

    words = set(TagNormalizer.from_pretrained(folder / "vocabulary").vocabulary)
    found = {tag for tags in pipeline.load(str(folder / "normalized.parquet"))[NORMALIZED] for tag in tags}
    assert found == words
    assert found


def test_select_rows_says_why(folder):
    chosen = pipeline.load(str(folder / "chosen.parquet"))
    assert len(chosen) == 5
    assert all(chosen["instag_gain"])


def test_report_prints_and_writes_a_page(folder):
    assert "data:image/svg+xml;base64," in (folder / "report.html").read_text()
    assert f"{NORMALIZED}: " in (folder / "report.out").read_text()
    refused = run("report", "normalized.parquet", "report.json", cwd=folder)
    assert refused.returncode == 2
    assert "expected an output ending in .html, found report.json" in refused.stderr


def test_whole_makes_a_folder_that_can_be_run_again(folder):
    from instag_hf.pipeline.again import read_plan, read_record

    made = folder / "made"
    assert len(pipeline.load(str(made / "subset.parquet"))) == 5
    plan, _ = read_plan(read_record(made / "instag.json"), made, source=str(folder / "pool.jsonl"))
    assert (plan.n, plan.limit, plan.normalizer.min_count) == (5, 50, 2)
    assert (folder / "whole.out").read_text().splitlines()[-1] == "made"


def test_from_the_hub_to_the_hub_and_again(local_hub, server_env, tmp_path, folder):
    local_hub.add("me/sea-pool", {"train.jsonl": (folder / "pool.jsonl").read_bytes()})
    env = {**server_env, "INSTAG_HOME": str(tmp_path / "one")}
    for shard in ("0/2", "1/2", "1/2"):  # the last line once more, as after a stop
        done = run("tag", "me/sea-pool", "me/sea-shards", "--limit", 50, "--shard", shard, cwd=tmp_path, **env)
        assert done.returncode == 0, done.stderr
    commits = len(local_hub.seen("commit"))
    assert commits == 2
    done = run("merge", "me/sea-shards", "me/sea-tagged", cwd=tmp_path, INSTAG_HOME=str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["50 rows", f"{os.environ['HF_ENDPOINT']}/datasets/me/sea-tagged"]
    assert pipeline.load("me/sea-tagged").to_list() == pipeline.load(str(folder / "merged.parquet")).to_list()


def test_a_place_that_is_public_is_refused_before_anything_is_asked(local_hub, server_env, tmp_path, folder):
    local_hub.add("me/sea-for-all", {"README.md": b"# all\n"})
    done = run("tag", folder / "pool.jsonl", "me/sea-for-all", cwd=tmp_path, INSTAG_HOME=str(tmp_path / "home"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: hub: expected me/sea-for-all to be private, found it public")
    assert not (tmp_path / "home").exists()
