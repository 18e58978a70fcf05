"""The notebooks in examples/: clean in the repository, and run from end to end by a real kernel, offline."""

import sys
import time

import nbclient
import nbformat
import pytest
from conftest import ROOT

FOLDER = ROOT / "examples" / "notebooks"
NAMES = ("select_and_publish", "tag_and_explore", "train_a_tagger")
COLAB = "https://colab.research.google.com/github/instag-hf/instag-hf/blob/main/examples/notebooks/"
KEYS = ("get_token", "whoami", "publish_", "API_KEY", "HF_TOKEN")


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_is_a_notebook_for_each_story():
    assert tuple(sorted(path.stem for path in FOLDER.glob("*.ipynb"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_clean_and_opens_in_colab(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert f"({COLAB}{name}.ipynb)" in notebook.cells[0].source
    assert len(code_of(notebook)) <= 12
    for cell in code_of(notebook):
        assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_that_needs_a_key_says_so_and_so_do_the_words_before_it(name):
    cells = read(name).cells
    for before, cell in zip(cells, cells[1:], strict=False):
        if cell.cell_type == "code" and any(word in cell.source for word in KEYS):
            assert cell.source.startswith("# Needs a token")
            assert "needs a token" in before.source


@pytest.fixture
def execute(tmp_path, capsys):
    """Run a notebook as a user does; print the seconds, and return its outputs cell by cell."""

    def run(name):
        notebook = read(name)
        started = time.monotonic()
        nbclient.NotebookClient(
            notebook, timeout=280, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
        ).execute()
        with capsys.disabled():
            sys.stdout.write(f"\n{name}: {time.monotonic() - started:.1f} s\n")
        return [cell.outputs for cell in code_of(notebook)]

    return run


def images(outputs):
    """Every picture: an image, or the images of a page's fragment."""
    shown = [output.data for cell in outputs for output in cell if "data" in output]
    pages = sum(data.get("text/html", "").count("<img alt=") for data in shown)
    return pages + sum(any(kind.startswith("image/") for kind in data) for data in shown)


def text(outputs):
    return "".join(output.get("text", "") for cell in outputs for output in cell if output.get("name") == "stdout")


@pytest.fixture
def small(clean_home, monkeypatch):
    monkeypatch.setenv("INSTAG_LIMIT", "40")
    return clean_home


@pytest.mark.slow
def test_tag_and_explore_runs(small, tmp_path, execute):
    outputs = execute("tag_and_explore")
    assert outputs[0] == []  # installed already
    assert images(outputs) == 4
    assert "<table" in outputs[2][-1].data["text/html"]
    assert outputs[5][-1].data["text/html"].startswith("<pre")
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.slow
def test_select_and_publish_runs_and_publishes_nothing_in_its_dry_run(small, execute, local_hub):
    outputs = execute("select_and_publish")
    assert images(outputs) >= 5
    assert "files of " in text(outputs[-1:])
    assert not local_hub.seen("commit")


@pytest.mark.slow
def test_select_and_publish_runs_without_a_token(small, execute, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert text(execute("select_and_publish")[-1:]) == "no token, so nothing is published\n"


@pytest.mark.slow
def test_train_a_tagger_runs(small, tmp_path, execute, local_hub):
    outputs = execute("train_a_tagger")
    assert images(outputs) == 1
    assert "after 8 steps" in text(outputs)
    assert "files of " in text(outputs[-1:])
    assert (tmp_path / "my-tagger" / "tagger.gguf").is_file()
    assert not local_hub.seen("commit")
