"""`instag report`: what it prints, writes and refuses."""

import json
import os

import pytest
from click.testing import CliRunner
from datasets import Dataset

import instag_hf as instag
from instag_hf.cli import cli
from instag_hf.normalizer import TagNormalizer

ROWS = [
    {"query": "Sum 2 and 3.", "tags": ["math", "sums"], "source": "x"},
    {"query": "Sum 4 and 5.", "tags": ["math", "sums"], "source": "x"},
    {"query": "Write a poem.", "tags": ["poetry"], "source": "y"},
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command where `one.jsonl` and `two.jsonl` are."""
    Dataset.from_list(ROWS).to_json(tmp_path / "one.jsonl")
    Dataset.from_list(ROWS[2:]).to_json(tmp_path / "two.jsonl")

    monkeypatch.chdir(tmp_path)

    def report(*words):
        return CliRunner().invoke(cli, ["report", *map(str, words)])

    report.folder = tmp_path
    return report


def test_tables_are_those_of_the_report(run):
    done = run("one.jsonl", "--column", "tags", "--by", "source")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{instag.report(Dataset.from_list(ROWS), column='tags', by='source')}\n"


def test_json_has_the_figures_of_the_report(run):
    done = run("one.jsonl", "two.jsonl", "--column", "tags", "--json")
    data = {"one.jsonl": Dataset.from_list(ROWS), "two.jsonl": Dataset.from_list(ROWS[2:])}
    assert json.loads(done.stdout) == instag.report(data, column="tags").to_dict()


def test_page_is_written_and_its_path_printed(run):
    done = run("one.jsonl", "two.jsonl", "--column", "tags", "-o", "pages/report.html")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "pages/report.html\n"
    text = (run.folder / "pages" / "report.html").read_text()
    assert "<title>Tags of one.jsonl, two.jsonl</title>" in text
    assert sorted(path.name for path in (run.folder / "pages").iterdir()) == ["report.html"]


def test_page_and_json_share_no_stream(run):
    done = run("one.jsonl", "--column", "tags", "-o", "report.html", "--json")
    assert json.loads(done.stdout)["total"]["rows"] == 3
    assert done.stderr == "report.html\n"


def test_coverage_can_be_of_a_saved_vocabulary(run):
    made = TagNormalizer.fit([["math"], ["poetry"], ["art"], ["law"]], steps=["frequency"], min_count=1)
    made.save_pretrained(run.folder / "vocabulary")
    done = run("one.jsonl", "--column", "tags", "--vocabulary", "vocabulary", "--json")
    found = json.loads(done.stdout)
    assert (found["vocabulary"], found["total"]["coverage"], found["of_union"]) == (4, 0.5, False)
    assert [step["step"] for step in found["funnel"]] == [step.step for step in made.funnel]


def test_inputs_of_one_name_are_told_apart_by_their_folders(run):
    (run.folder / "old").mkdir()
    Dataset.from_list(ROWS[:1]).to_json(run.folder / "old" / "one.jsonl")
    done = run("one.jsonl", "old/one.jsonl", "two.jsonl", "--column", "tags", "--json")
    assert list(json.loads(done.stdout)["parts"]) == ["one.jsonl", "old/one.jsonl", "two.jsonl"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        pytest.param(
            ("one.jsonl", "-o", "report.pdf"),
            1,
            "error: report: expected an output ending in .html, found report.pdf.",
            id="no page",
        ),
        pytest.param(
            ("one.jsonl", "-o", "there.html"),
            1,
            "error: output: there.html is there already. Choose another name, or allow it with --overwrite.",
            id="there already",
        ),
        pytest.param(
            ("one.jsonl", "one.jsonl", "--column", "tags"),
            2,
            "expected different inputs to compare, found one.jsonl more than once",
            id="twice the same",
        ),
        pytest.param(
            ("one.jsonl", "two.jsonl", "--column", "tags", "--by", "source"),
            1,
            'expected one dataset with by="source", found 2',
            id="by and several",
        ),
        pytest.param(("one.jsonl",), 1, "Name a column of tags with column=.", id="no tags"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(run, words, code, told):
    (run.folder / "there.html").write_text("mine")
    before = sorted(os.listdir(run.folder))
    done = run(*words)
    assert done.exit_code == code
    assert told in done.stderr
    assert done.stdout == ""
    assert (run.folder / "there.html").read_text() == "mine"
    assert sorted(os.listdir(run.folder)) == before


def test_overwrite_replaces_the_page(run):
    (run.folder / "there.html").write_text("mine")
    assert run("one.jsonl", "--column", "tags", "-o", "there.html", "--overwrite").exit_code == 0
    assert (run.folder / "there.html").read_text().startswith("<!doctype html>")


def test_large_data_says_on_stderr_what_is_going_on(run):
    Dataset.from_dict({"tags": [["math"]] * 100_000}).to_parquet(run.folder / "large.parquet")
    done = run("large.parquet", "--column", "tags", "--json")
    assert done.stderr == "counting 100,000 rows …\n"
    assert json.loads(done.stdout)["total"]["rows"] == 100_000
