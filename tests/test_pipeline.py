"""Datasets in and out."""

import gzip
import json
import re
import signal

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, load_dataset, load_from_disk
from huggingface_hub.errors import HfHubHTTPError

from instag_hf import pipeline
from instag_hf.errors import InputError, Interrupted
from instag_hf.pipeline.files import whole_folder
from instag_hf.pipeline.stopping import CtrlC
from instag_hf.rows import ERROR, EXPLANATIONS, TAGGER, TAGS, TURNS
from instag_hf.tagger import Tagger, features
from instag_hf.testing import TaggingServer

ROWS = [{"instruction": f"Count to {n}.", "input": "", "output": "ok"} for n in range(5)]


@pytest.fixture
def files(tmp_path):
    """The same five rows in every format that can be read."""
    ds = Dataset.from_list(ROWS)
    ds.to_parquet(tmp_path / "a.parquet")
    ds.to_json(tmp_path / "a.jsonl")
    ds.to_json(tmp_path / "a.jsonl.gz", compression="gzip")
    ds.to_csv(tmp_path / "a.csv")
    ds.save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "data-00000-of-00001.arrow").rename(tmp_path / "a.arrow")
    ds.save_to_disk(tmp_path / "saved")
    (tmp_path / "folder").mkdir()
    ds.to_parquet(tmp_path / "folder" / "train.parquet")
    DatasetDict(train=ds, test=ds.select([0])).save_to_disk(tmp_path / "splits")
    return tmp_path


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.csv", "a.arrow", "saved", "folder"])
def test_load_reads_every_format(files, name):
    loaded = pipeline.load(str(files / name))
    assert loaded["instruction"] == [row["instruction"] for row in ROWS]


def test_load_takes_the_beginning(files):
    assert len(pipeline.load(str(files / "a.csv"), limit=2)) == 2
    assert len(pipeline.load(str(files / "a.csv"), limit=99)) == 5


def test_several_splits_want_a_name(files):
    assert len(pipeline.load(str(files / "splits"), split="test")) == 1
    with pytest.raises(InputError, match=r"has the splits \['train', 'test'\], several. Name one with --split."):
        pipeline.load(str(files / "splits"))
    with pytest.raises(InputError, match="no split 'dev'"):
        pipeline.load(str(files / "splits"), split="dev")


def test_what_cannot_be_read_is_a_clear_error(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"expected a file ending in \['parquet', .* found a.txt"):
        pipeline.load(str(tmp_path / "a.txt"))
    (tmp_path / "a.jsonl").write_text('{"broken": ')
    with pytest.raises(InputError, match="could not read .*a.jsonl as json"):
        pipeline.load(str(tmp_path / "a.jsonl"))
    (tmp_path / "none.csv").write_text("query\n")
    with pytest.raises(InputError, match="could not read .*none.csv as csv"):
        pipeline.load(str(tmp_path / "none.csv"))
    Dataset.from_dict({"query": []}).to_parquet(tmp_path / "none.parquet")
    with pytest.raises(InputError, match="expected rows in .*none.parquet, found none|could not read .*none.parquet"):
        pipeline.load(str(tmp_path / "none.parquet"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected a folder of data files"):
        pipeline.load(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    "wanted", ["b[1].parquet", "b[1].jsonl", "b*.csv", "b[1].arrow", "b[1]/a.jsonl.gz", "b?/a.csv"]
)
def test_the_name_of_a_file_is_no_pattern(files, wanted):
    wanted = files / wanted
    other = files / re.sub(r"\[1\]|\*|\?", "1", str(wanted))
    for path in (wanted, other):
        path.parent.mkdir(exist_ok=True)
    pipeline.load(str(files / "a.csv"), limit=1).to_csv(other)
    (files / f"a{''.join(wanted.suffixes)}").rename(wanted)
    assert pipeline.load(str(wanted))["instruction"] == [row["instruction"] for row in ROWS]


def test_a_folder_whose_name_datasets_takes_for_a_pattern_is_refused(files, monkeypatch):
    (files / "folder").rename(files / "part[1]")
    pipeline.save(Dataset.from_list(ROWS[:1]), str(files / "part1" / "train.parquet"))
    told = r"input: expected a name without \[, found .*part\[1\]. Rename it, or move what is in it."
    with pytest.raises(InputError, match=told):
        pipeline.load(str(files / "part[1]"))
    monkeypatch.chdir(files / "part[1]")
    with pytest.raises(InputError, match=told):
        pipeline.load(".")
    assert len(pipeline.load("train.parquet")) == len(ROWS)


def test_what_datasets_raises_without_a_sentence_is_told_in_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none.jsonl").touch()
    with pytest.raises(InputError, match=r"could not read none.jsonl as json: there is no row in it\."):
        pipeline.load("none.jsonl")
    (tmp_path / "x::y.jsonl").write_text('{"query": "a"}\n')
    with pytest.raises(InputError, match="expected a name without ::, found .*x::y.jsonl. Rename it"):
        pipeline.load("x::y.jsonl")
    pipeline.save(Dataset.from_list(ROWS), "proj/a.jsonl")
    (tmp_path / "proj" / "proj.py").touch()
    with pytest.raises(InputError, match="a folder of data files, found proj: Dataset scripts are no longer supported"):
        pipeline.load("proj")
    (tmp_path / "bad.jsonl.gz").write_text("x")
    with pytest.raises(InputError, match="could not read bad.jsonl.gz as json: Not a gzipped file"):
        pipeline.load("bad.jsonl.gz")
    pipeline.save(Dataset.from_list(ROWS), "data[1].jsonl.gz")
    with pytest.raises(InputError, match=r"expected a name without \[, found data\[1\].jsonl.gz. Rename it"):
        pipeline.load("data[1].jsonl.gz")


TWO_CONFIGS = b"""---
configs:
- {config_name: a, data_files: a.jsonl}
- {config_name: b, data_files: b.jsonl}
---
"""


@pytest.mark.parametrize("load", [pipeline.load, pipeline.load_public])
@pytest.mark.parametrize(
    ("name", "files", "told"),
    [
        (
            "me/configs",
            {"README.md": TWO_CONFIGS, "a.jsonl": b'{"x": 1}\n', "b.jsonl": b'{"x": 1}\n'},
            r"the available configs: \['a'",
        ),
        ("me/script", {"script.py": b"import datasets\n"}, "Dataset scripts are no longer supported"),
        ("me/broken", {"train.jsonl": b'{"x": \n[[['}, "JSON parse error"),
        ("me/broken-head", {"train.jsonl": b"{}\n", "README.md": b"---\na: [\n---\n"}, "README.md is no YAML"),
    ],
)
def test_a_dataset_of_the_hub_that_cannot_be_read_is_a_clear_error(name, files, told, load, local_hub):
    local_hub.add(name, files)
    with pytest.raises(InputError, match=f"found '{name}': .*{told}"):
        load(name)


@pytest.mark.parametrize("load", [pipeline.load, pipeline.load_public])
@pytest.mark.parametrize("name", ["a--b/c..d", "x" * 300, "me/" + "y" * 300])
def test_a_name_that_nothing_can_have_is_a_clear_error(name, load, local_hub):
    with pytest.raises(InputError, match=f"found '{name}'"):
        load(name)


def test_a_hub_that_nobody_answers_for_is_a_clear_error(local_hub, monkeypatch):
    def refuse(*_, **__):
        raise HfHubHTTPError.__bases__[0]("")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse)
    with pytest.raises(InputError, match="expected a public dataset on the Hub, found 'me/rows-of-hub': HTTPError"):
        pipeline.load_public("me/rows-of-hub")
    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(InputError, match="or a dataset on the Hub, found 'me/rows-of-hub': HTTPError"):
        pipeline.load("me/rows-of-hub")


def test_save_writes_what_the_name_says(tmp_path):
    ds = Dataset.from_list(ROWS)
    assert (
        load_dataset("parquet", data_files=str(pipeline.save(ds, str(tmp_path / "o" / "b.parquet"))))["train"].to_list()
        == ROWS
    )
    assert [json.loads(line) for line in pipeline.save(ds, str(tmp_path / "b.jsonl")).read_text().splitlines()] == ROWS
    with gzip.open(pipeline.save(ds, str(tmp_path / "b.jsonl.gz")), "rt") as lines:
        assert [json.loads(line) for line in lines] == ROWS
    assert pipeline.save(ds, str(tmp_path / "b.csv")).read_text().startswith("instruction,input,output\n")
    assert load_from_disk(pipeline.save(ds, str(tmp_path / "b.tagged"))).to_list() == ROWS
    assert load_from_disk(pipeline.save(ds.select([0]), str(tmp_path / "b.tagged"))).to_list() == ROWS[:1]
    assert not list(tmp_path.glob(".instag-*"))


@pytest.mark.parametrize("name", ["b.csv", "b.csv.gz", "b.jsonl.gz"])
def test_what_was_tagged_comes_back_from_every_text_format(name, tmp_path):
    rows = [
        {
            "query": 'Say "a,\n b".',
            TAGS: ["翻译", 'a "b"; c'],
            EXPLANATIONS: ["", "x"],
            TURNS: [2],
            ERROR: "",
            TAGGER: "t",
        },
        {"query": "=1+1", TAGS: [], EXPLANATIONS: [], TURNS: [], ERROR: "parse: none", TAGGER: "t"},
    ]
    tagged = Dataset.from_list(rows, features=Features({"query": Value("string"), **features()}))
    found = pipeline.load(str(pipeline.save(tagged, str(tmp_path / name))))
    assert [row | {ERROR: row[ERROR] or ""} for row in found] == rows
    assert found.features[TAGS] == tagged.features[TAGS]


def test_numbers_and_nothing_are_written_into_csv_as_they_are(tmp_path):
    ds = Dataset.from_list(
        [{"n": 1, "x": 0.1, "s": None, "m": {"a": [1]}}, {"n": None, "x": None, "s": "b", "m": None}]
    )
    assert pipeline.save(ds, str(tmp_path / "a.csv")).read_text() == 'n,x,s,m\n1,0.1,,"{""a"": [1]}"\n,,b,\n'


def test_tags_that_another_program_wrote_as_text_stay_text(tmp_path):
    (tmp_path / "a.csv").write_text(f"query,{TAGS}\nSort.,sorting; lists\n")
    assert pipeline.load(str(tmp_path / "a.csv"))[0][TAGS] == "sorting; lists"


def test_a_file_that_is_not_utf8_is_told_before_any_row(tmp_path):
    (tmp_path / "latin.jsonl").write_bytes('{"query": "café"}\n{"query": "x"}\n'.encode("latin-1"))
    with pytest.raises(InputError, match="could not read .*latin.jsonl as json: .*UTF8"):
        pipeline.load(str(tmp_path / "latin.jsonl"))


def test_an_output_that_is_there_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(InputError, match="is there already. Choose another name, or allow it with --overwrite"):
        pipeline.check_target(str(tmp_path / "a.csv"))
    pipeline.check_target(str(tmp_path / "a.csv"), overwrite=True)
    with pytest.raises(InputError, match="a folder that holds something else"):
        pipeline.check_target(str(tmp_path), overwrite=True)
    with pytest.raises(
        InputError, match="expected .parquet, .jsonl, .jsonl.gz, .csv, .csv.gz or a folder, found b.arrow"
    ):
        pipeline.check_target(str(tmp_path / "b.arrow"))
    with pytest.raises(
        InputError, match="expected .parquet, .jsonl, .jsonl.gz, .csv, .csv.gz or a folder, found b.parquet.gz"
    ):
        pipeline.check_target(str(tmp_path / "b.parquet.gz"))


@pytest.mark.parametrize(("there", "name"), [("file", "out"), ("folder", "out.jsonl"), ("file", "out.jsonl")])
def test_an_output_takes_the_place_of_a_file_or_a_folder(there, name, tmp_path):
    target = tmp_path / name
    if there == "file":
        target.write_text("x")
    else:
        Dataset.from_list(ROWS[:1]).save_to_disk(target)
    pipeline.check_target(str(target), overwrite=True)
    assert len(pipeline.load(str(pipeline.save(Dataset.from_list(ROWS), str(target))))) == len(ROWS)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    target = tmp_path / "made"
    target.mkdir()
    (target / "old.txt").write_text("x")
    replace = type(target).replace

    def full(self, to):
        if self.parent.name == "new":
            raise OSError(28, "No space left on device")
        return replace(self, to)

    monkeypatch.setattr(type(target), "replace", full)
    with (
        pytest.raises(InputError, match="output: could not write .*made: .* Choose another place"),
        whole_folder(target),
    ):
        pass
    assert (target / "old.txt").read_text() == "x"


def test_gzip_is_what_the_ending_says_in_any_case(tmp_path):
    with gzip.open(pipeline.save(Dataset.from_list(ROWS), str(tmp_path / "b.JSONL.GZ")), "rt") as lines:
        assert len(list(lines)) == len(ROWS)


def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="output: could not write into .*file: .* Choose another place."):
        pipeline.check_target(str(tmp_path / "file" / "out.parquet"))
    with pytest.raises(InputError, match="output: could not write .*out.parquet: .* nothing is asked twice."):
        pipeline.save(Dataset.from_list(ROWS), str(tmp_path / "file" / "out.parquet"))


def test_sample_is_ours_and_varied():
    sample = pipeline.load(str(pipeline.SAMPLE))
    assert len(sample) >= 100
    assert len(set(sample["language"])) >= 8
    assert len(set(sample["kind"])) >= 15
    assert any(len(turns) > 2 for turns in sample["messages"])


@pytest.fixture
def listening():
    """Hear Ctrl-C, which a process started in the background of a shell ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_after_the_last_row_is_heard(listening):
    with pytest.raises(Interrupted, match="stopped by Ctrl-C"), CtrlC():
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("gold", ["math; sums", [2, 3], ["sums", None]])
def test_gold_tags_that_are_no_texts_are_refused_before_any_is_asked(gold):
    rows = Dataset.from_list([{"query": "Add 2 and 3.", "tags": gold}])
    tagger = Tagger(engine="openai", model="any")
    told = f'expected lists of gold tags, texts, in "tags", found {str(gold)!r} in row 0'
    with pytest.raises(InputError, match=re.escape(told)):
        pipeline.evaluate(rows, tagger, embedder=None)


def test_failures_are_counted_by_kind():
    ds = Dataset.from_dict({"instag_error": ["", "row: x", "parse: y", "row: z"]})
    assert pipeline.failures(ds) == {"row": 2, "parse": 1}


def test_a_tagger_is_scored_against_the_tags_of_another(clean_home, monkeypatch):
    rows = Dataset.from_list([{"instruction": "Sort a list."}, {"instruction": ""}])
    with TaggingServer() as server:
        monkeypatch.setenv("INSTAG_URL", server.url)
        tagger = Tagger(engine="openai", model="stand-in", recipe="open")
        tagged = pipeline.tag(rows, tagger)
        scores = pipeline.evaluate(tagged, tagger, gold="instag_tags", embedder=None)
        assert scores["agreement"]["exact"]["f1"] == 1.0
        assert (scores["agreement"]["queries"], scores["failed"], scores["gold_failed"]) == (1, 0, 1)
        named = tagged.add_column("source", [1, 0]).cast_column("source", ClassLabel(names=["alpaca", "dolly"]))
        assert list(pipeline.evaluate(named, tagger, gold="instag_tags", embedder=None)["agreement"]["sources"]) == [
            "dolly"
        ]
        untold = Dataset.from_list([*tagged.select([0]), {**tagged[0], "instag_tags": None}])
        scores = pipeline.evaluate(untold, tagger, gold="instag_tags", embedder=None)
        assert (scores["agreement"]["exact"]["f1"], scores["gold_failed"]) == (1.0, 1)
        with pytest.raises(InputError, match="expected rows with gold tags, found 1 rows without, or that all failed"):
            pipeline.evaluate(tagged.select([1]), tagger, gold="instag_tags", embedder=None)
