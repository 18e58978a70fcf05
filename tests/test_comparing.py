"""The table tells what was chosen, with its controls, and reaches people, machines and pictures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, List, Value, load_dataset

import instag_hf as instag
from instag_hf import InputError, MissingError
from instag_hf.cli import selecting
from instag_hf.selection import METHODS, ComplexityFirst, InformationGain, Rules, choose
from instag_hf.selection.comparing import plain

INSTAG = Path(sys.executable).parent / "instag"


def small_pool():
    return Dataset.from_dict(
        {
            "query": ["a" * 10, "b" * 10, "c" * 30, "d" * 30],
            "instag_normalized": [["x"], ["x", "y", "z"], ["y", "z"], ["x", "y", "z", "w"]],
            "source": ["one", "one", "two", None],
        }
    )


def test_figures_by_hand():
    found = instag.compare(small_pool(), 2, ["complexity-first"], seeds=(0, 1))
    first = found.methods[0]  # takes the row of four tags, and in a second round the row of three
    assert [first.label, first.rows, first.coverage, first.complexity, first.length] == [
        "complexity-first",
        2,
        1.0,
        3.5,
        20,
    ]
    assert first.complexity_of_length == 2.5  # 2 where there are ten characters, 3 where there are thirty
    assert first.beyond_length == 1.0
    assert first.sources == {"one": 0.5, "(none)": 0.5}
    assert first.spread is None
    assert [found.pool.complexity, found.pool.complexity_of_length, found.pool.length] == [2.5, 2.5, 20]
    longest = found.methods[-1]
    assert [longest.coverage, longest.length, longest.beyond_length] == [1.0, 30, 0.0]
    assert found.overlap[0][2] == found.overlap[2][0] == 0.5
    assert [row[number] for number, row in enumerate(found.overlap)] == [1.0] * 3


def test_controls_are_always_there_and_once():
    labels = [each.label for each in instag.compare(small_pool(), 1, ["longest", ComplexityFirst()]).methods]
    assert labels == ["longest", "complexity-first", "random"]
    labels = [each.label for each in instag.compare(small_pool(), 1, [InformationGain(normalize=False)]).methods]
    assert labels == ["information-gain (normalize=False)", "random", "longest"]


def test_spread_is_over_seeds_of_methods_that_draw():
    draw = np.random.default_rng(0)
    lists = [["a", "b", "c", "d"][: 1 + int(number)] for number in draw.integers(0, 4, 300)]
    ds = Dataset.from_dict({"query": ["q" * 9] * 300, "instag_normalized": lists})
    random = instag.compare(ds, 50, ["complexity-first"], seeds=range(4)).methods[1]
    each = [choose(ds, 50, "random", Rules(seed=seed)).complexity for seed in range(4)]
    assert random.complexity == pytest.approx(np.mean(each))
    assert random.spread["complexity"] == pytest.approx(np.std(each))
    assert random.sources == {}


def test_the_table_shows_every_figure_and_no_control_characters():
    ds = small_pool().map(lambda row: {"source": "evil\x1b[31m\nname" if row["source"] == "two" else row["source"]})
    text = str(instag.compare(ds, 4, ["rarity"], seeds=(0,)))
    assert "\x1b" not in text
    lines = text.splitlines()
    assert lines[1].split() == ["all", "rows", "4", "100.0%", "2.50", "20", "2.50", "+0.00", *lines[1].split()[8:]]
    assert "one 50%, evil [31m name 25%, (none) 25%" in lines[1]
    assert lines[7].split() == ["rarity", "100%", "100%", "100%", "1"]
    assert plain("a\u202eb\tc") == "a b c"


def test_too_few_rows_are_noted_and_limits_hold_for_all():
    found = instag.compare(small_pool(), 3, ["complexity-first"], rules=Rules(per_source=1))
    assert [each.rows for each in found.methods] == [3, 3, 3]
    found = instag.compare(small_pool(), 9, ["complexity-first"], seeds=(0,))
    assert len(found.notes) == 3
    assert "expected 9 rows, found 4 that random can take" in found.notes[1]


def test_bad_calls_are_refused():
    with pytest.raises(InputError, match="expected one seed or more, found none"):
        instag.compare(small_pool(), 1, seeds=())
    with pytest.raises(InputError, match="expected a column of queries, found columns .* Name it with text_column=."):
        instag.compare(small_pool().remove_columns("query"), 1)
    with pytest.raises(InputError, match="found an IterableDataset"):
        instag.compare(small_pool().to_iterable_dataset(), 1)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_chart_is_a_picture(ending, tmp_path):
    pytest.importorskip("matplotlib")
    found = instag.compare(small_pool(), 2, [InformationGain(embedder=lambda tags: np.eye(len(tags)))], seeds=(0,))
    path = found.chart(tmp_path / f"chart.{ending}")
    head = path.read_bytes()[:300]
    assert head.startswith(b"\x89PNG") if ending == "png" else b"<svg" in path.read_bytes()


@pytest.mark.parametrize("name", ["chart.doc", "no folder/chart.png"])
def test_a_chart_that_cannot_be_written_is_told(name, tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(InputError, match=r"compare: could not write .*\. Choose another ending or place\."):
        instag.compare(small_pool(), 2, seeds=(0,)).chart(tmp_path / name)


def test_without_matplotlib_the_remedy_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingError, match=r'pip install "instag-hf\[report\]"'):
        instag.compare(small_pool(), 1, seeds=(0,)).chart(tmp_path / "chart.png")


# --- The commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def tagged(tmp_path):
    path = tmp_path / "tagged.parquet"
    ds = small_pool().add_column("instag_error", ["", "", "row: empty", ""])
    ds.to_parquet(path)
    return path


def run(*words, cwd):
    return subprocess.run([INSTAG, *map(str, words)], capture_output=True, text=True, cwd=cwd, check=False)


def test_select_writes_the_rows_and_says_what_they_are(tagged, tmp_path):
    out = tmp_path / "chosen.parquet"
    done = run("select", tagged, "-n", 3, "-o", out, "--reasons", "--per-source", "one=1..1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    assert (
        "expected 3 rows, found 2 that complexity-first can take; no other row is left that the caps allow"
        in done.stderr
    )
    assert "2 of 4 rows: 100.0% of the tags, 3.50 tags a row; not to be chosen: 1 failed: row" in done.stderr
    chosen = load_dataset("parquet", data_files=str(out), split="train")
    assert chosen["query"][:] == ["b" * 10, "d" * 30]
    assert chosen["instag_round"][:] == [0, 1]
    assert chosen["instag_gain"][:] == [["x", "y", "z"], ["w"]]


def test_methods_take_their_own_settings_only(tagged, tmp_path):
    done = run("select", tagged, "-n", 1, "-o", "x.jsonl", "--method", "complexity-bands", "--band", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "x.jsonl").read_text())["query"] == "b" * 10
    done = run("select", tagged, "-n", 1, "-o", "y.jsonl", "--band", 2, cwd=tmp_path)
    assert done.returncode == 2
    assert "--band belongs to --method complexity-bands, not to complexity-first" in done.stderr
    assert not (tmp_path / "y.jsonl").exists()


def test_the_command_line_knows_every_method():
    assert set(selecting.METHODS) == set(METHODS)


def test_a_file_of_questions_is_excluded(tagged, tmp_path):
    (tmp_path / "bench.jsonl").write_text(json.dumps({"turns": ["D" * 30, "something else"]}) + "\n")
    words = ["select", tagged, "-n", 1, "--exclude", "bench.jsonl", "-o", "x.jsonl"]
    done = run(*words, "--exclude-column", "turns", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "x.jsonl").read_text())["query"] == "b" * 10
    done = run(*words, "--exclude-column", "question", "--overwrite", cwd=tmp_path)
    assert "exclude: expected a column \"question\" in bench.jsonl, found columns ['turns']" in done.stderr
    done = run("select", tagged, "-n", 1, "-o", "y.jsonl", "--exclude-column", "turns", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no --exclude" in done.stderr
    done = run("select", tagged, "-n", 1, "-o", "y.jsonl", "--text-column", "nope", cwd=tmp_path)
    assert done.returncode == 1
    assert 'select: expected a column "nope"' in done.stderr


@pytest.mark.parametrize(
    ("given", "bounds"),
    [
        pytest.param([], None, id="none"),
        pytest.param(["50"], 50, id="a cap for all"),
        pytest.param(["10..50"], (10, 50), id="a range for all"),
        pytest.param(["math=10..", "a=b=5"], {"math": (10, None), "a=b": 5}, id="single ones"),
    ],
)
def test_limits_are_read(given, bounds):
    assert selecting.bounds("--per-tag", tuple(given)) == bounds


@pytest.mark.parametrize("given", [["many"], ["5", "math=3"], ["math="], ["math=..5"], ["math=5...6"]])
def test_limits_of_another_form_are_refused(given, tmp_path, tagged):
    words = [word for each in given for word in ("--per-tag", each)]
    done = run("select", tagged, "-n", 1, "-o", "x.jsonl", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "--per-tag: expected" in done.stderr


def test_compare_prints_a_table_json_and_a_chart(tagged, tmp_path):
    pytest.importorskip("matplotlib")
    done = run("compare", tagged, "-n", 2, "--method", "rarity", "--seeds", 2, "--chart", "c.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:5]] == ["all", "rarity", "random", "longest"]
    assert done.stderr.splitlines()[-1] == "chart: c.png"  # matplotlib may say that it builds its cache of fonts
    assert (tmp_path / "c.png").stat().st_size > 1000
    found = json.loads(run("compare", tagged, "-n", 2, "--json", cwd=tmp_path).stdout)
    assert [method["label"] for method in found["methods"]][-2:] == ["random", "longest"]
    assert found["methods"][0]["beyond_length"] == pytest.approx(
        found["methods"][0]["complexity"] - found["methods"][0]["complexity_of_length"]
    )


@pytest.mark.parametrize("rows", [0, 2])
def test_a_comparison_of_no_row_that_can_be_chosen_is_refused(rows):
    columns = {"query": ["a"] * rows, "instag_normalized": [["x"]] * rows, "instag_error": ["parse: no"] * rows}
    kinds = {"query": Value("string"), "instag_normalized": List(Value("string")), "instag_error": Value("string")}
    told = r"found none among 2 rows \(2 failed: parse\)\. Tag" if rows else r"found none among 0 rows\. Tag"
    with pytest.raises(InputError, match=f"compare: expected rows that can be chosen, {told}"):
        instag.compare(Dataset.from_dict(columns, features=Features(kinds)), 2)
