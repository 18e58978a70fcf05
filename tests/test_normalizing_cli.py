"""`instag normalize`: fit, apply, look."""

import json

import pytest
from click.testing import CliRunner
from datasets import load_dataset

from instag_hf import TagNormalizer
from instag_hf.cli import cli

PLAIN = ["--steps", "frequency,spelling", "--min-count", "3"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    rows = [{"instag_tags": ["Sorts", "python"]}, {"instag_tags": ["sort", "\x1b[31mred"]}] * 4
    (tmp_path / "tagged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return CliRunner().invoke(cli, ["normalize", "tagged.jsonl", *words])


def test_it_fits_saves_and_applies(here):
    done = run(*PLAIN, "-o", "done.parquet", "--save", "vocabulary")
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == ["vocabulary", "done.parquet"]
    assert "spelling              3" in done.stderr
    assert TagNormalizer.from_pretrained("vocabulary").vocabulary == {"sort": 8, "python": 4, "\x1b[31mred": 4}
    rows = load_dataset("parquet", data_files="done.parquet", split="train", cache_dir=str(here / "cache"))
    assert rows[0]["instag_normalized"] == ["sort", "python"]
    again = run("--vocabulary", "vocabulary", "-o", "again.jsonl")
    assert again.exit_code == 0, again.output
    assert "16 assignments: 16 known" in again.stderr


@pytest.mark.parametrize("save", ["both", "./both/../both", "both/vocabulary"])
def test_rows_do_not_take_the_place_of_the_vocabulary(save, here):
    for words in ([], ["--overwrite"]):
        done = run(*PLAIN, "-o", "both", "--save", save, *words)
        assert done.exit_code == 2
        assert f"expected two places, found --save {save} in -o both, which takes its place." in done.stderr
    assert not (here / "both").exists()


def test_rows_do_not_go_into_the_vocabularys_folder(here):
    done = run(*PLAIN, "-o", "vocabulary/rows.parquet", "--save", "vocabulary")
    assert done.exit_code == 2
    assert "found -o vocabulary/rows.parquet in --save vocabulary, a vocabulary's folder." in done.stderr
    assert not (here / "vocabulary").exists()


def test_a_dry_run_shows_the_funnel_and_merges_and_writes_nothing(here):
    done = run(*PLAIN, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "raw                   4            16" in done.stdout
    assert "spelling: 1 tags\n  Sorts " in done.stdout
    assert "\x1b" not in done.stdout
    assert sorted(path.name for path in here.iterdir()) == ["tagged.jsonl"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "expected where to write, found neither"),
        (["--vocabulary", "v", "--save", "w"], "expected where to write, found neither"),
        (["--vocabulary", "v", "--min-count", "3", "-o", "x.jsonl"], "found --min-count beside --vocabulary"),
        (["-o", "x.jsonl"], "the most frequent is in 4. Lower it: min_count=4 would keep 4"),
        (["-o", "x.jsonl", "--column", "tags"], 'expected a column "tags"'),
        (["--save", "tagged.jsonl/words"], "output: could not write into tagged.jsonl"),
        (["--save", "tagged.jsonl", "--overwrite"], "expected a folder to save the vocabulary to, found the file"),
        (["--save", "."], "expected a folder that is not there, found ."),
    ],
)
def test_what_cannot_be_is_refused(here, words, told):
    done = run(*words)
    assert done.exit_code != 0
    assert told in done.output


def test_a_column_that_is_there_is_kept_unless_asked(here):
    assert run(*PLAIN, "-o", "one.jsonl").exit_code == 0
    (here / "tagged.jsonl").write_text((here / "one.jsonl").read_text())
    assert "already has the column instag_normalized" in run(*PLAIN, "-o", "two.jsonl", "--save", "words").output
    assert not (here / "words").exists()  # it is told before the work
    assert run(*PLAIN, "-o", "two.jsonl", "--overwrite").exit_code == 0
