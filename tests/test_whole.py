"""The whole way in one call, and again from what it wrote or published."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, Dataset, Features, Image, Value, load_dataset

from instag_hf import embeddings, pipeline
from instag_hf.cli.shown import table
from instag_hf.errors import HubError, InputError
from instag_hf.hub import check_dataset
from instag_hf.normalizer import Settings
from instag_hf.pipeline import Excluded, Plan
from instag_hf.selection import METHODS, CoverageLevels, InformationGain, Longest, Rules, choose
from instag_hf.selection.records import UNKNOWN, facts_of, read_facts
from instag_hf.tagger import Tagger
from instag_hf.testing import TaggingServer

INSTAG = Path(sys.executable).parent / "instag"
QUICK = Settings(steps=("frequency", "spelling"), min_count=2)
ROWS = [
    {"query": f"Question {n}: what is a tide?", "source": "ab"[n % 2], "quality": 1 + n % 3, "n": n} for n in range(60)
]


@pytest.fixture(scope="module")
def tagging():
    with TaggingServer() as server:
        yield server


@pytest.fixture
def server(tagging, clean_home, monkeypatch):
    monkeypatch.setenv("INSTAG_ENGINE", "openai")
    monkeypatch.setenv("INSTAG_MODEL", "stand-in")
    monkeypatch.setenv("INSTAG_URL", tagging.url)
    return tagging


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


def on_hub(local_hub, name):
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    local_hub.add(name, {"train.jsonl": lines.encode(), "README.md": b"---\nlicense: mit\n---\n"})
    return name


def test_files_that_rows_name_are_refused_before_anything_is_asked(server, local_hub, tmp_path):
    on_hub(local_hub, "you/rows")
    (tmp_path / "a.png").touch()
    rows = Dataset.from_list([{**row, "picture": {"bytes": None, "path": str(tmp_path / "a.png")}} for row in ROWS])
    rows.cast_column("picture", Image()).to_parquet(tmp_path / "rows.parquet")
    plan, asked = Plan(source=str(tmp_path / "rows.parquet"), normalizer=QUICK, n=9), server.counts().requests
    with pytest.raises(InputError, match='expected the bytes of a file in "picture", found its path alone, .*a.png'):
        pipeline.run(plan, tmp_path / "out", publish="me/rows", license="mit")
    assert server.counts().requests == asked


def test_files_that_rows_name_stay_where_they_are(server, tmp_path):
    sound = {"bytes": None, "path": "/gone/a.wav"}
    schema = Features({"query": Value("string"), "sound": Audio()}).arrow_schema
    rows = [{"query": row["query"], "sound": sound} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "rows.parquet")
    found = pipeline.run(Plan(source=str(tmp_path / "rows.parquet"), normalizer=QUICK, n=9), tmp_path / "out")
    assert pq.read_table(found.folder / "subset.parquet").column("sound").to_pylist() == [sound] * 9
    assert len(list(table(found.subset))) == 10
    assert pipeline.evaluate(found.pool, Tagger(), gold="instag_tags", embedder=None)["kept_replies"] == len(ROWS)


def test_a_folder_holds_all_that_was_made(server, source, tmp_path):
    said = []
    found = pipeline.run(Plan(source=source, normalizer=QUICK, n=9), tmp_path / "out", on_stage=said.append)
    names = {path.name for path in found.folder.iterdir()}
    assert {"tagged.parquet", "subset.parquet", "report.html", "report.json", "README.md", "instag.json"} < names
    pool = pipeline.load(str(found.folder / "tagged.parquet"))
    assert pool.to_list() == found.pool.to_list()
    assert load_dataset(str(found.folder), split="train").to_list() == found.subset.to_list()
    assert json.loads((found.folder / "report.json").read_text()) == json.loads(json.dumps(found.report.to_dict()))
    assert found.subset.to_list() == choose(pool, 9).rows(pool).to_list()
    card = (found.folder / "README.md").read_text()
    assert "license: unknown" in card
    assert "for nobody states one" in card
    assert "9 of 60 rows, method complexity-first, asked for 9, seed 42." in card
    assert str(tmp_path) not in card + (found.folder / "instag.json").read_text()
    assert [line.split()[0] for line in said] == ["reading", "tagging", "normalizing", "counting", "writing"]
    assert not list(tmp_path.glob(".instag-*"))


def test_what_cannot_be_is_refused_before_anything_is_asked(server, source, tmp_path):
    before = server.counts().requests
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("x")
    bad = {
        "mine.txt": (Plan(source=source), "taken"),
        "min_count=99": (Plan(source=source, normalizer=Settings(steps=["frequency"], min_count=99)), "o"),
        '"none"': (Plan(source=source, rules=Rules(weight_column="none"), normalizer=QUICK), "o"),
        '"kind"': (Plan(source=source, rules=Rules(per_source=3, source_column="kind"), normalizer=QUICK), "o"),
        '"talk"': (Plan(source=source, tagger=Tagger(column="talk"), normalizer=QUICK), "o"),
        "exclude: expected": (Plan(source=source, exclude=Excluded(source=source, column="q"), normalizer=QUICK), "o"),
    }
    for words, (plan, target) in bad.items():
        with pytest.raises(InputError, match=words):
            pipeline.run(plan, tmp_path / target, overwrite=True)
    with pytest.raises(InputError, match="n to be a whole number from 1 on, found 0"):
        Plan(source=source, n=0)
    with pytest.raises(InputError, match="by its name, found rows"):
        Plan(source=source, rules=Rules(exclude=["x"]))
    with pytest.raises(InputError, match="expected the licence of me/unlicensed"):
        pipeline.run(Plan(source=source, normalizer=QUICK), tmp_path / "o", publish="me/unlicensed")
    assert server.counts().requests == before
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"per_source": {"c": 3}}, "expected per_source to name sources of the dataset, found 'c', which no row has"),
        ({"per_source": {"a": (31, None)}}, "31 rows with the source 'a', found 30"),
        ({"per_source": (6, None)}, "quotas of sources that fit into 9 rows, found 12"),
        ({"per_tag": {"tides": (10, None)}}, "quotas of tags that fit into 9 rows, found 10"),
        ({"weight_column": "debt"}, 'expected numbers from 0 on in "debt", found -1.0 in row 0'),
        ({"weight_column": "source"}, 'expected numbers in "source", found string'),
        ({"column": "tags"}, 'expected a column "tags"'),
    ],
)
def test_what_cannot_be_chosen_is_refused_before_anything_is_asked(asked, told, server, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row | {"debt": -1}) + "\n" for row in ROWS))
    before = server.counts().requests
    with pytest.raises(InputError, match=told):
        pipeline.run(Plan(source=str(rows), normalizer=QUICK, n=9, rules=Rules(**asked)), tmp_path / "out")
    assert server.counts().requests == before


def test_the_longest_are_chosen_by_the_column_that_is_tagged(server, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": row["query"] + "!" * row["n"]}) + "\n" for row in ROWS))
    plan = Plan(source=str(rows), tagger=Tagger(column="text"), normalizer=QUICK, n=3, method=Longest())
    made = pipeline.run(plan, tmp_path / "out", charts=False)
    assert made.subset["text"][:] == [row["query"] + "!" * row["n"] for row in ROWS[:-4:-1]]
    assert pipeline.rerun(made.folder, source=str(rows)).identical


@pytest.mark.parametrize("turns", ["all", "first", "last"])
def test_conversations_go_the_whole_way_whichever_turns_are_tagged(turns, server, tmp_path):
    rows = tmp_path / "rows.jsonl"
    talks = [
        [{"role": "user", "content": text} for text in (row["query"], f"Sort them {row['n']} times.")] for row in ROWS
    ]
    rows.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    plan = Plan(source=str(rows), tagger=Tagger(turns=turns), normalizer=QUICK, n=5)
    made = pipeline.run(plan, tmp_path / "out")
    assert len(made.subset) == 5
    assert pipeline.rerun(made.folder, source=str(rows)).identical
    words = [INSTAG, "card", tmp_path / "out" / "tagged.parquet", "me/talks", "--source", rows, "--license", "mit"]
    card = subprocess.run([*words, "--turns", turns, "--no-charts"], capture_output=True, text=True, check=False)
    assert "messages" in card.stdout, card.stderr


def test_the_folder_that_we_are_in_is_refused_before_anything_is_asked(server, source, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = server.counts().requests
    for folder in (".", "..", str(tmp_path / "here")):
        with pytest.raises(InputError, match="output: expected another folder than .*, which we are in. Choose"):
            pipeline.run(Plan(source=source, normalizer=QUICK, n=5), folder, overwrite=True)
    assert server.counts().requests == before


def test_an_empty_cell_excludes_nothing(server, source, tmp_path):
    cells = [ROWS[3]["query"], None, ROWS[4]["query"]]
    rows = Dataset.from_dict({"one": cells, "turns": [cells[:2], None, cells[2:]]})
    rows.to_parquet(tmp_path / "bench.parquet")
    for column in ("one", "turns"):
        excluded = Excluded(source=str(tmp_path / "bench.parquet"), column=column)
        assert excluded.read() == [cells[0], cells[2]]
    made = pipeline.run(Plan(source=source, normalizer=QUICK, n=60, exclude=excluded), tmp_path / "out", charts=False)
    assert made.selection.skipped["excluded"] == 2


def test_a_folder_is_replaced_only_when_allowed_and_asks_nothing_twice(server, source, tmp_path):
    plan = Plan(source=source, normalizer=QUICK, n=5)
    pipeline.run(plan, tmp_path / "out", charts=False)
    asked = server.counts().requests
    with pytest.raises(InputError, match="is there already"):
        pipeline.run(plan, tmp_path / "out", charts=False)
    pipeline.run(plan, tmp_path / "out", charts=False, overwrite=True)
    assert server.counts().requests == asked


def test_a_pool_is_tagged_anew_without_its_old_canonical_tags(server, source, tmp_path):
    old = pipeline.run(Plan(source=source, normalizer=QUICK, n=5), tmp_path / "old", charts=False)
    pool = str(old.folder / "tagged.parquet")
    with pytest.raises(InputError, match="already has the columns"):
        pipeline.run(Plan(source=pool, normalizer=QUICK, n=5), tmp_path / "new", charts=False)
    tagger = Tagger(overwrite=True)
    new = pipeline.run(Plan(source=pool, normalizer=QUICK, n=5, tagger=tagger), tmp_path / "new", charts=False)
    assert new.pool.to_list() == old.pool.to_list()
    again = pipeline.tag(old.pool, tagger)
    assert again.column_names == [name for name in old.pool.column_names if name != "instag_normalized"]
    with pytest.raises(InputError, match="belongs to its old tags"):
        old.pool.map(tagger.tag)
    score = pipeline.evaluate(old.pool, Tagger(), gold="instag_normalized", embedder=None)
    assert score["agreement"]["queries"] == len(old.pool)


def test_what_was_published_is_made_again_with_seed_caps_and_settings(server, local_hub, tmp_path):
    name = on_hub(local_hub, "me/rerun-source")
    plan = Plan(
        source=name,
        limit=50,
        tagger=Tagger(column="query", turns="last"),
        normalizer=QUICK,
        n=12,
        method=CoverageLevels(coverage=0.6, mean_tags=2),
        rules=Rules(seed=7, per_source={"a": (2, 8)}, per_tag=9, weight_column="quality"),
        exclude=Excluded(source=on_hub(local_hub, "me/rerun-bench")),
    )
    with pytest.raises(InputError, match="2 rows with the source .a., found 0"):  # all of them are in the benchmark
        pipeline.run(plan, tmp_path / "none", charts=False)
    local_hub.add("me/rerun-bench", {"train.jsonl": json.dumps({"query": ROWS[3]["query"]}).encode()})
    done = pipeline.run(plan, tmp_path / "out", publish="me/rerun-subset", charts=False)
    assert ROWS[3]["query"] not in done.subset["query"]
    local_hub.add(name, {"train.jsonl": b'{"query": "Something else came later."}\n'})
    again = pipeline.rerun("me/rerun-subset")
    assert again.identical
    assert again.notes == ()
    assert (
        str(again)
        == f"identical: {len(done.subset)} of {len(done.subset)} published rows are the same, in the same order"
    )
    assert again.outcome.selection.rules.seed == 7
    assert again.outcome.selection.method == plan.method
    local = pipeline.rerun(done.folder, tmp_path / "again")
    assert local.identical
    assert (tmp_path / "again" / "subset.parquet").is_file()


def test_a_local_source_is_named_and_must_be_given(server, source, tmp_path):
    made = pipeline.run(Plan(source=source, normalizer=QUICK, n=5), tmp_path / "out", charts=False)
    with pytest.raises(InputError, match=r"a local file, 'rows.jsonl'. Give it with source= \(--source\)"):
        pipeline.rerun(made.folder)
    assert pipeline.rerun(made.folder, source=source).identical
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row | {"n": -row["n"]}) + "\n" for row in ROWS))
    found = pipeline.rerun(made.folder, source=str(other))
    assert not found.identical
    assert found.same + found.missing == len(made.subset)
    assert str(found).startswith("different: ")


def test_an_applied_vocabulary_is_taken_from_what_was_published(server, source, tmp_path):
    first = pipeline.run(Plan(source=source, normalizer=QUICK, n=5), tmp_path / "first", charts=False)
    plan = Plan(source=source, vocabulary=str(first.folder / "normalizer"), limit=20, n=5)
    done = pipeline.run(plan, tmp_path / "second", charts=False)
    assert done.normalizer == first.normalizer
    assert pipeline.rerun(done.folder, source=source).identical


def test_a_method_embeds_with_the_folder_that_is_given_again(server, source, tmp_path):
    for name in ("my-bert", "elsewhere"):
        (tmp_path / name).symlink_to(embeddings._folder(embeddings.MINILM))
    plan = Plan(source=source, normalizer=QUICK, n=9, method=InformationGain(embedder=str(tmp_path / "my-bert")))
    made = pipeline.run(plan, tmp_path / "out", charts=False)
    (tmp_path / "my-bert").unlink()
    with pytest.raises(InputError, match=r"a local folder, 'my-bert'\. Give it with embedder="):
        pipeline.rerun(made.folder, source=source)
    again = pipeline.rerun(made.folder, source=source, embedder=str(tmp_path / "elsewhere"))
    assert again.outcome.selection.method.embedder == str(tmp_path / "elsewhere")
    assert again.identical


def test_a_folder_with_an_embedder_is_named_without_where_it_lies(server, source, tmp_path):
    folder = tmp_path / "my-bert"
    folder.symlink_to(embeddings._folder(embeddings.MINILM))
    settings = Settings(min_count=2, embedder=str(folder), max_distance=0.12)
    made = pipeline.run(Plan(source=source, normalizer=settings, n=9), tmp_path / "out", charts=False)
    written = [path for path in made.folder.rglob("*") if path.suffix in {".md", ".json"}]
    assert len(written) > 3
    assert not [path.name for path in written if str(tmp_path) in path.read_text()]
    facts = json.loads((made.folder / "instag.json").read_text())["normalizer"]["settings"]
    assert (facts["embedder"], facts["weights"].partition("@")[0]) == ("my-bert", "my-bert")
    chosen = choose(made.pool, 1, InformationGain(embedder=str(folder)))
    assert facts_of(chosen)["settings"]["embedder"] == "my-bert"
    with pytest.raises(InputError, match=r"a local folder, 'my-bert'\. Give it with embedder="):
        pipeline.rerun(made.folder, source=source)
    again = pipeline.rerun(made.folder, source=source, embedder=str(folder))
    assert (again.identical, again.notes) == (True, ())


def by_gain(embedder):
    return {"selection": {"method": "information-gain", "settings": {"embedder": embedder}}}


TAMPERED = {
    "format": ({"format": 9}, "format: expected 1"),
    "by hand": ({"run": None}, "publish-dataset alone"),
    "run": ({"run": [1]}, "run and selection"),
    "limit": ({"run": {"limit": "many"}}, "limit: expected int or nothing"),
    "path for a source": ({"sources": [{"id": "../etc", "revision": "x"}]}, "sources: expected owner/name"),
    "no source": ({"sources": []}, "sources: expected one"),
    "method": ({"selection": {"method": "magic"}}, "selection: method: expected one of"),
    "settings": ({"selection": {"settings": {"power": 9}}}, "cannot be"),
    "rules": ({"selection": {"rules": {"seed": -1}}}, "cannot be"),
    "cap": ({"selection": {"rules": {"per_tag": "all"}}}, "per_tag: expected a number of rows"),
    "excluded rows": ({"selection": {"rules": {"exclude": {UNKNOWN: "3 queries"}}}}, "3 queries.* has no name"),
    "asked": ({"selection": {"asked for": 0}}, "cannot be"),
    "vocabulary": ({"normalizer": {"settings": {"min_count": "x"}}}, "normalizer: settings"),
    "embedder": ({"normalizer": {"settings": {"embedder": "my-bert"}}}, "a local folder, 'my-bert'.*--embedder"),
    "folder for an embedder": ({"normalizer": {"settings": {"embedder": "/etc"}}}, "a local folder, '/etc'"),
    "embedder of a method": (by_gain("my-bert"), "a local folder, 'my-bert'.*--embedder"),
    "folder for a method": (by_gain("/etc"), "a local folder, '/etc'"),
    "number for an embedder": (by_gain(7), "selection: settings: embedder: expected str or nothing, found '7'"),
    "taggers": ({"taggers": []}, "taggers: expected one"),
    "engine": ({"taggers": [{"facts": {"engine": 5, "model": "m"}}]}, "engine: expected a text"),
    "weights": ({"taggers": [{"facts": {"engine": "embedded", "model": "mine.gguf"}}]}, "a local file, 'mine.gguf'"),
    "recipe": ({"taggers": [{"facts": {"engine": "tgi", "model": "m", "recipe": {"name": "x"}}}]}, "recipe x"),
}


@pytest.fixture(scope="module")
def record(tagging, tmp_path_factory):
    """The folder of a run, whose record the tests spoil."""
    folder = tmp_path_factory.mktemp("record")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:12]))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ENGINE": "openai", "MODEL": "stand-in", "URL": tagging.url}.items():
            patch.setenv(f"INSTAG_{name}", value)
        patch.setenv("INSTAG_HOME", str(folder / "home"))
        plan = Plan(source=str(folder / "rows.jsonl"), normalizer=Settings(steps=["frequency"], min_count=1), n=4)
        return pipeline.run(plan, folder / "out", charts=False).folder


def merged(facts, change):
    whole = dict(facts)
    for name, value in change.items():
        both = isinstance(value, dict) and isinstance(whole.get(name), dict)
        whole[name] = merged(whole[name], value) if both else value
    return whole


@pytest.mark.parametrize("name", TAMPERED)
def test_a_record_that_was_edited_is_refused_with_the_place(name, record):
    change, words = TAMPERED[name]
    facts = merged(json.loads((record / "instag.json").read_text()), change)
    given = "" if "source" in name else str(record / "rows.jsonl")
    (record / "spoilt.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=words):
        pipeline.read_plan(pipeline.again.read_record(record / "spoilt.json"), record, source=given)
    (record / "spoilt.json").unlink()


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, "null"])
def test_a_record_that_is_none_is_refused(text, tmp_path):
    (tmp_path / "instag.json").write_text(text)
    with pytest.raises(InputError, match="rerun: "):
        pipeline.rerun(tmp_path)


def test_a_file_is_no_run(record):
    with pytest.raises(InputError, match=r"a folder that run wrote, found the file .*instag\.json"):
        pipeline.rerun(record / "instag.json")


def test_another_recipe_parser_or_package_is_told(record):
    facts = json.loads((record / "instag.json").read_text())
    told = facts["taggers"][0]["facts"]
    told["recipe"]["max_tokens"] += 1
    told["parser"] = "0"
    facts["package"] = "instag_hf 0.0.1"
    _, notes = pipeline.read_plan(facts, record, source=str(record / "rows.jsonl"))
    assert [note.partition(":")[0] for note in notes] == ["package", "recipe", "parser"]
    assert "rows are tagged with the recorded one" in notes[1]


def test_a_repo_without_a_record_is_refused(local_hub):
    local_hub.add("me/no-record", {"train.jsonl": b'{"query": "q"}\n'})
    with pytest.raises(InputError, match="expected me/no-record to hold instag.json"):
        pipeline.rerun("me/no-record")
    with pytest.raises(HubError):
        pipeline.rerun("me/there-is-none")


def test_publishing_is_checked_without_writing(local_hub):
    name = on_hub(local_hub, "me/checked-source")
    check_dataset("me/checked", source=name)
    assert not local_hub.seen("create", "commit")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_read_from_what_was_written(name):
    from datasets import Dataset

    ds = Dataset.from_dict({"query": list("abcd"), "instag_normalized": [["x"], ["x", "y"], ["z"], ["y"]]})
    rules = Rules(seed=3, per_tag={"x": (1, None)}, match="exact")
    method = METHODS[name]()
    facts = json.loads(json.dumps(facts_of(choose(ds, np.int64(3), method, rules))))
    n, read, back = read_facts(facts)
    assert (n, read) == (3, method)
    assert (back.seed, back.per_tag) == (3, {"x": (1, None)})


def test_what_no_file_can_hold_is_told_in_words():
    from datasets import Dataset

    def embedder(texts):
        return [[1.0, float(place)] for place, _ in enumerate(texts)]

    ds = Dataset.from_dict({"query": list("abc"), "instag_normalized": [["x"], ["y"], ["z"]]})
    facts = facts_of(choose(ds, 1, InformationGain(embedder=embedder), Rules(exclude=["a", "b"])))
    assert facts["rules"]["exclude"] == {UNKNOWN: "2 queries"}
    assert "the function" in facts["settings"]["embedder"][UNKNOWN]
    with pytest.raises(InputError, match="settings: embedder: expected a value that a file can hold"):
        read_facts(facts)


def test_the_command_line_goes_the_whole_way_and_again(server, local_hub, tmp_path):
    name = on_hub(local_hub, "me/cli-source")

    def instag(*words):
        return subprocess.run(
            [INSTAG, *words], capture_output=True, text=True, cwd=tmp_path, env=os.environ, check=False
        )

    words = ["--steps", "frequency,spelling", "--min-count", "2", "-n", "8", "--method", "random", "--seed", "5"]
    done = instag("run", name, "-o", "made", *words, "--per-source", "4", "--publish", "me/cli-made")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "made"
    assert done.stdout.splitlines()[1].endswith("datasets/me/cli-made")
    assert "selection: 8 of 60 rows" in done.stderr
    again = instag("rerun", "me/cli-made")
    assert again.returncode == 0, again.stderr
    assert again.stdout == "identical: 8 of 8 published rows are the same, in the same order\n"
    assert instag("run", name, "-o", "made", *words).returncode == 1
    assert instag("run", name, "-o", "o", "--vocabulary", "v", "--min-count", "3").returncode == 2


def test_the_embedded_tagger_goes_the_whole_way(clean_home, tmp_path):
    source = str(pipeline.SAMPLE)
    plan = Plan(source=source, limit=4, normalizer=Settings(steps=["frequency"], min_count=1), n=2)
    made = pipeline.run(plan, tmp_path / "out", charts=False)
    assert len(made.subset) == 2
    assert pipeline.rerun(made.folder, source=source).identical
