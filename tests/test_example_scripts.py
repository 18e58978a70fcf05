"""The scripts in examples/: each says what it shows and how to run it, is short, and runs as it says, offline."""

import ast
import os
import subprocess
import sys

import pytest
from conftest import ROOT, tree_of

from instag_hf import TagNormalizer
from instag_hf.testing import TaggingServer

SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
NUMBERED = ("1_tag", "2_normalize", "3_report", "4_select", "5_quality", "6_train_tagger", "7_taglm", "8_publish")


def run(name, folder, *words, **environ):
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        env={**os.environ, "INSTAG_LIMIT": "40", **environ},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_stage_has_a_script():
    assert [path.stem for path in SCRIPTS] == [*NUMBERED, "quickstart"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_straight_and_says_how_to_run_it(path):
    text = path.read_text()
    tree = tree_of(path)
    assert len(text.splitlines()) <= 40
    assert f"python examples/{path.name}" in ast.get_docstring(tree)
    assert "INSTAG_LIMIT" in text
    assert not [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert path.stem not in sys.stdlib_module_names  # or the script would hide a module of Python's from its neighbours


@pytest.mark.slow
def test_the_scripts_from_tags_to_a_selection_run_on_the_sample(tmp_path, clean_home):
    assert "40 of 40 rows tagged by smollm2-135m-instag@" in run("1_tag", tmp_path)
    vocabulary = run("2_normalize", tmp_path)
    assert "raw: " in vocabulary
    assert " -> " in vocabulary
    report = run("3_report", tmp_path)
    assert "diversity 1.00, complexity " in report
    chosen = run("4_select", tmp_path)
    assert "complexity-first" in chosen
    assert "longest" in chosen
    pictures = {path.name: path.read_bytes()[:4] for path in (tmp_path / "out" / "report").glob("*.png")}
    assert set(pictures) == {"complexity.png", "coverage.png", "tags.png", "funnel.png"}
    assert set(pictures.values()) == {b"\x89PNG"}
    for name in ("tagged.parquet", "report/report.html", "subset.parquet"):
        assert (tmp_path / "out" / name).is_file()
    assert TagNormalizer.from_pretrained(tmp_path / "out" / "vocabulary").vocabulary


@pytest.mark.slow
def test_the_quality_script_shows_who_does_not_look_and_asks_a_server_if_there_is_one(tmp_path, clean_home):
    lazy = run("5_quality", tmp_path)
    assert "precision: 20 of 20 good" in lazy
    assert "precision_control: 20 of 20 good" in lazy
    assert (tmp_path / "out" / "sheet.csv").is_file()
    with TaggingServer() as server:
        asked = run("5_quality", tmp_path, INSTAG_URL=server.url, INSTAG_MODEL="stand-in")
        assert "precision_control: " in asked
        assert server.counts().requests > 40


@pytest.mark.slow
def test_the_training_scripts_train_and_ask_what_they_trained(tmp_path, clean_home):
    tagger = run("6_train_tagger", tmp_path)
    assert "after 8 steps" in tagger
    assert "f1=" in tagger
    chat = run("7_taglm", tmp_path)
    assert "after 4 steps on 40 rows" in chat
    assert (tmp_path / "out" / "taglm" / "training.json").is_file()
    assert "mt-bench" not in chat


@pytest.mark.slow
def test_the_publishing_script_publishes_and_the_dry_run_does_not(tmp_path, clean_home, local_hub):
    import huggingface_hub

    said = run("8_publish", tmp_path, "me/example-dry", "--dry-run")
    assert said.rstrip().endswith("a dry run: nothing was written")
    assert not local_hub.seen("commit")
    run("8_publish", tmp_path, "me/example-sample")
    files = huggingface_hub.list_repo_files("me/example-sample", repo_type="dataset")
    assert {"README.md", "instag.json"} <= set(files)
    assert [path for path in files if path.endswith(".png")]


@pytest.mark.slow
def test_the_quickstart_goes_the_whole_way(tmp_path, clean_home):
    said = run("quickstart", tmp_path)
    assert "complexity-first" in said
    for name in ("pool.parquet", "subset.parquet", "vocabulary", "report.html"):
        assert (tmp_path / "out" / "quickstart" / name).exists()
