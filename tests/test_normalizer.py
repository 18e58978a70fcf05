"""Raw tags in, a vocabulary out: the whole of it, as people call it."""

import json
import pickle
import random
import re
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from datasets import Dataset, IterableDataset
from datasets.fingerprint import Hasher
from hypothesis import given, settings
from hypothesis import strategies as st

from instag_hf import InputError, MissingError, TagNormalizer
from instag_hf.normalizer import FunnelStep

PLAIN = ("frequency", "spelling", "association")  # no model is asked
ROWS = (
    [["Information Retrieval", "python"]] * 12
    + [["information retrieve", "python"]] * 10
    + [["loop", "for loop"]] * 40
    + [["for loop", "python"]] * 20
    + [["c++"], ["c#"], ["c"]] * 20
    + [["film review"], ["film review"], ["movie review"]] * 20
    + [["rare"]]
)


@pytest.fixture(scope="module")
def normalizer():
    return TagNormalizer.fit(ROWS, min_count=10)


def tagged(rows, **columns):
    return Dataset.from_dict({"instag_tags": rows, **columns})


def by_tag(normalizer):
    return {row["tag"]: row for row in normalizer.table()}


def test_the_vocabulary_counts_rows_most_frequent_first(normalizer):
    assert list(normalizer.vocabulary.items()) == [
        ("film review", 60),
        ("for loop", 60),  # 40 of them had loop too, and count once
        ("python", 42),
        ("information retrieval", 22),
        ("c", 20),
        ("c#", 20),
        ("c++", 20),
    ]


def test_the_funnel_counts_tags_and_assignments(normalizer):
    raw = sum(map(len, ROWS))
    assert normalizer.funnel == (
        FunnelStep("raw", 11, raw),
        FunnelStep("frequency", 10, raw - 1),
        FunnelStep("spelling", 9, raw - 1),
        FunnelStep("meaning", 8, raw - 1),
        FunnelStep("association", 7, raw - 1 - 40),
    )


def test_the_table_tells_of_every_raw_tag_why(normalizer):
    table = by_tag(normalizer)
    assert len(table) == 11
    assert table["rare"] | {"canonical": None, "step": "frequency", "rows": 1} == table["rare"]
    assert table["information retrieve"]["step"] == "spelling"
    movie = table["movie review"]
    assert (movie["canonical"], movie["step"], movie["near"]) == ("film review", "meaning", "film review")
    assert 0.9 < movie["similarity"] < 0.95
    loop = table["loop"]
    assert (loop["rule"], loop["support"], loop["confidence"]) == ("loop => for loop", 40, 1.0)
    assert table["python"]["step"] == ""


def test_a_chain_of_steps_can_be_followed():
    rows = [["Movie Reviews", "cinema"]] * 45 + [["film review"], ["cinema"]] * 30
    normalizer = TagNormalizer.fit(rows, min_support=10, min_confidence=0.5)
    row = by_tag(normalizer)["Movie Reviews"]
    assert (row["spelled"], row["meant"], row["canonical"]) == ("movie reviews", "movie reviews", "cinema")
    assert by_tag(normalizer)["film review"]["spelled"] == "film review"


def test_prevented_merges_are_listed_and_stand_in_the_table():
    rows = [["english to french"], ["french to english"]] * 20
    normalizer = TagNormalizer.fit(rows)
    assert ("french to english", "english to french", "meaning", "direction") in normalizer.prevented
    assert by_tag(normalizer)["english to french"]["apart"] == "french to english (direction)"


@pytest.mark.parametrize("shuffle", range(3))
def test_a_shuffled_dataset_gives_the_same_files(normalizer, shuffle, tmp_path):
    rows = [random.Random(shuffle).sample(tags, len(tags)) for tags in ROWS]
    random.Random(shuffle).shuffle(rows)
    other = TagNormalizer.fit(tagged(rows), min_count=10)
    for name, one in (("a", normalizer), ("b", other)):
        one.save_pretrained(tmp_path / name)
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab"]
    assert files[0] == files[1]
    assert normalizer.id == other.id


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.sampled_from(["Sort", "sort", "sorts", "c", "c++", "x", "y"]), max_size=4), min_size=1),
    st.randoms(),
)
def test_the_order_of_rows_is_nothing(rows, draw):
    rows.append(["x"])
    options = {"min_count": 1, "min_support": 1, "min_confidence": 0.8, "steps": PLAIN}
    one = TagNormalizer.fit(rows, **options)
    draw.shuffle(rows)
    assert TagNormalizer.fit(rows, **options).id == one.id
    # What the vocabulary counts is what normalizing the same rows gives.
    done = [set(one.normalize({"instag_tags": tags})["instag_normalized"]) for tags in rows]
    assert one.vocabulary == {tag: sum(tag in tags for tags in done) for tag in one.vocabulary}
    assert one.funnel[-1].assignments == sum(map(len, done))


def test_steps_can_be_left_out():
    rows = [["Math", "math"]] * 30
    assert TagNormalizer.fit(rows, steps=("frequency",)).vocabulary == {"Math": 30, "math": 30}
    assert [step.step for step in TagNormalizer.fit(rows, steps=("spelling",)).funnel] == ["raw", "spelling"]


def test_failed_rows_are_skipped_and_counted():
    data = tagged([["math"]] * 20 + [["left over"], []], instag_error=[""] * 20 + ["parse: no list", "row: empty"])
    normalizer = TagNormalizer.fit(data, steps=PLAIN)
    assert normalizer.rows == 22
    assert normalizer.failed == {"parse": 1, "row": 1}
    assert normalizer.vocabulary == {"math": 20}


@pytest.mark.parametrize(
    ("rows", "options", "told"),
    [
        pytest.param([], {}, "expected rows with tags, found 0 rows without any", id="no rows"),
        pytest.param([[], []], {}, "expected rows with tags, found 2 rows without any", id="no tags"),
        pytest.param([["a"]] * 3, {}, r"the most frequent is in 3\. Lower it: min_count=3 would keep 1", id="rare"),
        pytest.param([["a"]], {"min_count": 0}, "expected min_count to be a whole number above 0, found 0", id="count"),
        pytest.param([["a"]], {"min_confidence": 99}, "min_confidence above 0 to 1, found 99", id="percent"),
        pytest.param([["a"]], {"min_confidence": 0}, "min_confidence above 0 to 1, found 0", id="no confidence"),
        pytest.param([["a"]], {"steps": "spelling"}, "expected steps of", id="steps"),
        pytest.param([["a"]], {"stemmer": "nltk"}, "expected stemmer of .* found 'nltk'", id="stemmer"),
        pytest.param([["a"]], {"miner": "apriori"}, "expected miner of .* found 'apriori'", id="miner"),
        pytest.param([["a"]], {"unseen": "guess"}, "expected unseen of .* found 'guess'", id="unseen"),
        pytest.param([["a"]], {"embedder": "some/model"}, "expected max_distance= for an embedder", id="embedder"),
        pytest.param("abc", {}, "expected a dataset or lists of tags, found str", id="text"),
        pytest.param([[1]], {}, "to be lists of texts", id="numbers"),
    ],
)
def test_what_cannot_be_fitted_is_refused_and_says_why(rows, options, told):
    with pytest.raises(InputError, match=told):
        TagNormalizer.fit(rows, **options)


def test_all_rows_failed_is_told():
    data = tagged([[]] * 2, instag_error=["parse: no list"] * 2)
    with pytest.raises(InputError, match=r"found 2 rows without any, 2 of them failed \(2 parse\)"):
        TagNormalizer.fit(data)


def test_a_vocabulary_of_one_tag_works():
    assert TagNormalizer.fit([["math"]] * 20).vocabulary == {"math": 20}


def test_all_forms_of_map_agree(normalizer):
    from datasets import DatasetDict, List, Value

    data = tagged([*ROWS[::7], [], ["never seen xyz"]])
    plain = data.map(normalizer.normalize)
    wanted = plain["instag_normalized"][:]
    assert plain.features["instag_normalized"] == List(Value("string"))
    assert data.map(normalizer.normalize, batched=True, batch_size=5)["instag_normalized"][:] == wanted
    assert data.map(normalizer.normalize, num_proc=2)["instag_normalized"][:] == wanted
    assert DatasetDict(a=data).map(normalizer.normalize)["a"]["instag_normalized"][:] == wanted
    for batched in (False, True):
        stream = data.to_iterable_dataset().map(normalizer.normalize, batched=batched)
        assert [row["instag_normalized"] for row in stream] == wanted
    assert [normalizer.normalize(row)["instag_normalized"] for row in data] == wanted
    assert normalizer.normalize({"instag_tags": data["instag_tags"][:]})["instag_normalized"] == wanted


@pytest.mark.parametrize("batched", [False, True])
def test_a_column_of_empty_lists_is_typed(normalizer, batched):
    from datasets import List, Value

    data = tagged([["never seen xyz"]] * 1500 + [["c++"]])
    done = data.map(normalizer.normalize, batched=batched)
    assert done.features["instag_normalized"] == List(Value("string"))
    assert done[-1]["instag_normalized"] == ["c++"]


def test_failed_rows_get_no_tags(normalizer):
    assert normalizer.normalize({"instag_tags": None}) == {"instag_normalized": []}
    assert normalizer.normalize({"instag_tags": [None, ["c"]]}) == {"instag_normalized": [[], ["c"]]}


def test_a_missing_column_is_refused_with_the_names_found(normalizer):
    with pytest.raises(InputError, match=r'expected a column "instag_tags" of tag lists, found columns \[\'query\'\]'):
        normalizer.normalize({"query": "hi"})


@pytest.mark.parametrize(
    "value",
    ["python", 5, float("nan"), {"python": 1}, [1, 2], [["python"], 5], [["python"], "c"], [["python", None]]],
    ids=repr,
)
def test_what_is_no_list_of_texts_is_refused(normalizer, value):
    with pytest.raises(InputError, match='expected lists of texts in "instag_tags", found'):
        normalizer.normalize({"instag_tags": value})


def test_the_map_cache_finds_the_same_normalizer_and_no_other(normalizer, tmp_path):
    tagged(ROWS).to_parquet(tmp_path / "rows.parquet")
    data = Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache"))
    first = data.map(normalizer.normalize)
    loaded = TagNormalizer.from_pretrained(normalizer.save_pretrained(tmp_path / "saved"))
    loaded.normalize({"instag_tags": ["new tag"]})  # what is looked up is no state
    assert data.map(loaded.normalize).cache_files == first.cache_files
    assert data.map(normalizer.drop("python").normalize).cache_files != first.cache_files
    assert Hasher.hash(normalizer.normalize) != Hasher.hash(normalizer.with_policy(unseen="keep").normalize)


def test_unseen_tags_are_matched_and_counted(normalizer):
    rows = [["Film-Reviews", "cinema review", "rare", "quantum chromodynamics", "C++"], ["c++", "C++"]]
    assert normalizer.normalize({"instag_tags": rows})["instag_normalized"] == [["film review", "c++"], ["c++"]]
    assert normalizer.fates(rows) == {
        "known": 1,
        "filtered": 1,  # rare
        "spelling": 3,  # Film-Reviews, C++ twice
        "meaning": 1,  # cinema review
        "kept": 0,
        "dropped": 1,
    }
    kept = normalizer.with_policy(unseen="keep")
    found = kept.normalize({"instag_tags": ["Quantum Chromodynamics", " ", "rare"]})
    assert found["instag_normalized"] == ["quantum chromodynamics"]  # written as the vocabulary is; blank is no tag


def test_many_unseen_tags_are_looked_up_in_blocks(normalizer, monkeypatch):
    from instag_hf.normalizer import unseen

    monkeypatch.setattr(unseen, "BLOCK", 2)
    fresh = normalizer.with_policy(unseen="drop")
    rows = [[f"topic number {n}", "cinema review"] for n in range(5)]
    assert fresh.normalize({"instag_tags": rows})["instag_normalized"] == [["film review"]] * 5


def test_an_unseen_tag_takes_the_nearest_canonical_one_but_nothing_kept_apart():
    near = TagNormalizer.fit([["movie review"], ["english to french"]] * 20)
    found = near.normalize({"instag_tags": ["film review", "french to english"]})
    assert found["instag_normalized"] == ["movie review"]
    assert near.fates([["film review", "french to english"]])["meaning"] == 1


def test_it_survives_a_new_process(normalizer, tmp_path):
    folder = normalizer.save_pretrained(tmp_path / "saved")
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".json", ".parquet", ".parquet"]
    code = (
        "import sys, json, instag_hf; n = instag_hf.TagNormalizer.from_pretrained(sys.argv[1]);"
        "print(json.dumps([n.id, n.vocabulary, n.normalize({'instag_tags': json.loads(sys.argv[2])})]))"
    )
    rows = ROWS[::5]
    done = subprocess.run(
        [sys.executable, "-c", code, folder, json.dumps(rows)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert not done.returncode, done.stderr
    assert json.loads(done.stdout) == [
        normalizer.id,
        normalizer.vocabulary,
        normalizer.normalize({"instag_tags": rows}),
    ]


def test_pickled_it_is_equal(normalizer):
    again = pickle.loads(pickle.dumps(normalizer))  # noqa: S301 - as multiprocessing does
    assert again == normalizer
    assert again.funnel == normalizer.funnel


def edited(folder, name, change):
    path = folder / name
    if path.suffix == ".json":
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))
    else:
        pq.write_table(change(pq.read_table(path)), path)


def set_cell(column, row, value):
    def change(table):
        values = table.column(column).to_pylist()
        values[row] = value
        place = table.column_names.index(column)
        return table.set_column(place, column, [values])

    return change


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("vocabulary.json", lambda v: v.update(python=-3), r"vocabulary.json: 'python': expected a number of rows above 0"),
        ("vocabulary.json", lambda v: v.update(extra=3), r"vocabulary.json: 'extra': expected a canonical tag of tags.par"),
        ("vocabulary.json", lambda v: v.pop("python"), r"tags.parquet: row \d+ \('python'\): canonical: expected a tag of"),
        ("normalizer.json", lambda v: v.update(format=9), "normalizer.json: format: expected 1, found '9'"),
        ("normalizer.json", lambda v: v.update(rows="x"), "normalizer.json: rows: expected a whole number"),
        ("normalizer.json", lambda v: v.update(rows=-1), "normalizer.json: rows: expected a whole number from 0 on"),
        ("normalizer.json", lambda v: v.update(failed={"row": "x"}), "normalizer.json: failed: row: expected a whole number"),
        ("normalizer.json", lambda v: v["funnel"][2].update(tags=True), "funnel, step 2: expected a name and whole numbers"),
        ("normalizer.json", lambda v: v["settings"].update(column=5), "settings: .*expected column to be a text, found 5"),
        ("normalizer.json", lambda v: v["settings"].update(embedder={}), "settings: .*expected embedder to be a text"),
        ("normalizer.json", lambda v: v["settings"].update(guards="no"), "settings: .*expected guards to be true or false"),
        ("normalizer.json", lambda v: v["settings"].update(min_count=0), "normalizer.json: settings: .*min_count"),
        ("normalizer.json", lambda v: v["settings"].update(typo=1), "normalizer.json: settings: expected the fields"),
        ("normalizer.json", lambda v: v["funnel"][2].pop("tags"), "normalizer.json: funnel, step 2: expected the fields"),
        ("tags.parquet", set_cell("canonical", 2, "nonsense"), r"tags.parquet: row 2 \(.*\): canonical: .*found 'nonsense'"),
        ("tags.parquet", set_cell("rows", 1, 0), r"tags.parquet: row 1 \(.*\): rows: expected a number above 0"),
        ("tags.parquet", set_cell("rows", 1, None), "tags.parquet: row 1: rows: expected a value"),
        ("tags.parquet", set_cell("step", 0, "magic"), r"tags.parquet: row 0 \(.*\): step: expected one of"),
        ("tags.parquet", lambda t: t.drop_columns(["rows"]), "tags.parquet: columns: expected"),
        ("prevented.parquet", lambda t: t.rename_columns(list("abcd")), "prevented.parquet: columns: expected"),
    ],
)  # fmt: skip
def test_a_file_edited_to_be_wrong_is_refused_with_the_place(normalizer, tmp_path, name, change, told):
    folder = normalizer.save_pretrained(tmp_path)
    edited(folder, name, change)
    with pytest.raises(InputError, match=told):
        TagNormalizer.from_pretrained(folder)


def test_broken_and_missing_files_are_told(normalizer, tmp_path):
    folder = normalizer.save_pretrained(tmp_path)
    (folder / "normalizer.json").write_text('{\n "format": 1,\n oops')
    with pytest.raises(InputError, match=r"normalizer.json: line 3: expected JSON"):
        TagNormalizer.from_pretrained(folder)
    (folder / "tags.parquet").write_text("no parquet")
    normalizer.save_pretrained(tmp_path / "b")
    (tmp_path / "b" / "tags.parquet").write_text("no parquet")
    with pytest.raises(InputError, match=r"tags.parquet: expected a Parquet file"):
        TagNormalizer.from_pretrained(tmp_path / "b")
    (folder / "vocabulary.json").unlink()
    with pytest.raises(InputError, match=r"found no \['vocabulary.json'\]"):
        TagNormalizer.from_pretrained(folder)


def test_it_is_read_from_the_hub(normalizer, tmp_path, local_hub):
    folder = normalizer.save_pretrained(tmp_path / "saved")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    first = local_hub.add("me/a-vocabulary", files, repo_type="model")
    other = normalizer.drop("python").save_pretrained(tmp_path / "other")
    local_hub.add("me/a-vocabulary", {path.name: path.read_bytes() for path in other.iterdir()}, repo_type="model")
    assert TagNormalizer.from_pretrained("me/a-vocabulary", revision=first).id == normalizer.id
    assert TagNormalizer.from_pretrained("me/a-vocabulary").id == normalizer.drop("python").id


def test_a_name_that_is_nowhere_is_missing(monkeypatch):
    with pytest.raises(MissingError, match="found nothing at 'no such/folder at all'"):
        TagNormalizer.from_pretrained("no such/folder at all")


def test_edits_return_another_and_leave_the_first(normalizer):
    before = normalizer.id
    assert normalizer.rename("c#", to="c sharp").vocabulary["c sharp"] == 20
    assert "python" not in normalizer.drop("python").vocabulary
    merged = normalizer.merge("c", "c++", into="c#")
    assert merged.normalize({"instag_tags": ["c", "c++"]})["instag_normalized"] == ["c#"]
    assert merged.vocabulary["c#"] == 60
    apart = normalizer.split("movie review")
    assert (apart.vocabulary["movie review"], apart.vocabulary["film review"]) == (20, 40)
    assert by_tag(apart)["movie review"]["step"] == "review"
    assert normalizer.split("movie review", "c", into="cinema in c").vocabulary["cinema in c"] == 40
    assert normalizer.id == before
    assert len({before, merged.id, apart.id}) == 3


def test_a_canonical_tag_that_an_edit_named_is_known(tmp_path):
    normalizer = TagNormalizer.fit(ROWS, min_count=10, steps=PLAIN)
    review = normalizer.review(tmp_path / "review.csv")
    review.write_text(review.read_text().replace("c#,20,c#", "c#,20,c sharp"))
    for edited in (normalizer.rename("c#", to="c sharp"), normalizer.apply_review(review)):
        assert edited.normalize({"instag_tags": ["c sharp", "c#"]})["instag_normalized"] == ["c sharp"]
        assert edited.fates([["c sharp"]])["known"] == 1


def test_recount_counts_rows_that_have_both_once(normalizer):
    merged = normalizer.merge("python", into="for loop")
    assert merged.vocabulary["for loop"] == 60 + 42  # rows are not at hand
    assert merged.recount(ROWS).vocabulary["for loop"] == 60 + 22


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda n: n.merge("nope", into="c"), "expected a tag of the vocabulary, found 'nope'"),
        (lambda n: n.merge("c", into="nope"), "expected a tag of the vocabulary, found 'nope'"),
        (lambda n: n.rename("c", to="c++"), "expected a name that is free, found the tag 'c\\+\\+'"),
        (lambda n: n.rename("c", to=" "), "expected a canonical tag for 'c', found ' '"),
        (lambda n: n.split("nope"), "expected a tag of the fit data, found 'nope'"),
        (lambda n: n.drop(*n.vocabulary), "expected at least one tag to be left"),
        (lambda n: n.recount([["c"]]), "expected every tag of the vocabulary in the dataset"),
        (lambda n: n.with_policy(unseen="guess"), "expected unseen of"),
    ],
)
def test_edits_that_cannot_be_are_refused(normalizer, edit, told):
    with pytest.raises(InputError, match=told):
        edit(normalizer)


def test_an_untouched_review_changes_nothing(normalizer, tmp_path):
    assert normalizer.apply_review(normalizer.review(tmp_path / "review.csv")) == normalizer


def test_an_untouched_review_keeps_the_spaces_of_raw_tags(tmp_path):
    normalizer = TagNormalizer.fit([[" math", "sums "]] * 3, steps=("frequency",), min_count=1)
    assert normalizer.apply_review(normalizer.review(tmp_path / "review.csv")) == normalizer


def test_a_review_that_cannot_be_written_is_told(normalizer, tmp_path):
    with pytest.raises(InputError, match=r"review: could not write .*\. Choose another place\."):
        normalizer.review(tmp_path)


def test_a_review_of_fewer_tags_than_none_is_refused(tmp_path):
    normalizer = TagNormalizer.fit(ROWS, min_count=10, steps=PLAIN)
    with pytest.raises(InputError, match=r"review: expected sample to be a number of tags from 0 on, found -1\."):
        normalizer.review(tmp_path / "review.csv", sample=-1)
    assert len(normalizer.review(tmp_path / "review.csv", sample=2).read_text().splitlines()) == 3


def test_an_edited_review_is_applied(normalizer, tmp_path):
    path = normalizer.review(tmp_path / "review.csv")
    text = path.read_text()
    assert text.startswith("tag,rows,canonical,step,why\n")
    assert 'loop,40,for loop,association,"loop => for loop in 40 rows, confidence 1.000"\n' in text
    path.write_text(text.replace("movie review,20,film review", "movie review,20,").replace("rare,1,", "rare,1,python"))
    done = normalizer.apply_review(path)
    assert done.normalize({"instag_tags": ["movie review", "rare"]})["instag_normalized"] == ["python"]


def test_a_review_runs_nothing_in_a_spreadsheet(tmp_path):
    hostile = ["=cmd|'/c calc'!A0", "@SUM(1)", "+1", "-1", "'quoted", 'a,b\n"c"', "a;=1+1", " =1", "'=1", "＝1"]
    normalizer = TagNormalizer.fit([hostile] * 3, steps=("frequency",), min_count=1)
    path = normalizer.review(tmp_path / "review.csv")
    cells = re.split(r"[;,\n]", path.read_text())
    assert not [cell for cell in cells if cell.strip('" ').startswith(("=", "+", "-", "@", "＝"))]
    assert normalizer.apply_review(path) == normalizer


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n", "expected the columns tag and canonical, found"),
        ("tag,canonical\nnope,c\n", "line 2: expected a tag of the fit data, found 'nope'"),
        ("tag,canonical\nc,c\nc,c\n", "line 3: expected each tag once, found 'c' again"),
        ("tag,canonical\nc\n", "line 2: expected 2 cells, found fewer"),
        ("tag,canonical\nc," + "x" * 200_000, "expected CSV after line 1, found field larger than field limit"),
        ("tag,canonical\né,c\n", "expected UTF-8, found something else in byte 14. Save it as CSV in UTF-8 again"),
    ],
)
def test_a_wrong_review_is_refused_with_the_line(normalizer, tmp_path, text, told):
    (tmp_path / "review.csv").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=told):
        normalizer.apply_review(tmp_path / "review.csv")


def test_a_place_that_cannot_be_written_is_told_in_a_sentence(normalizer, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"normalizer: could not write into .*/file: .*\. Choose another folder"):
        normalizer.save_pretrained(tmp_path / "file")


def test_a_function_embeds_too_but_is_not_saved(tmp_path):
    def on_a_line(phrases):
        return [[1.0, len(phrase)] for phrase in phrases]

    rows = [["red apples"], ["blue cars"]] * 20
    with pytest.raises(InputError, match="max_distance="):
        TagNormalizer.fit(rows, embedder=on_a_line)
    made = TagNormalizer.fit(rows, embedder=on_a_line, max_distance=0.1, guards=False)
    assert list(made.vocabulary) == ["blue cars"]
    data = tagged(rows)
    assert data.map(made.normalize, num_proc=2)["instag_normalized"][:] == [["blue cars"]] * 40
    again = TagNormalizer.from_pretrained(made.save_pretrained(tmp_path))
    assert again.normalize({"instag_tags": ["red apples", "Blue-Cars"]})["instag_normalized"] == ["blue cars"]
    for look in (lambda tags: again.normalize({"instag_tags": tags}), lambda tags: again.fates([tags])):
        with pytest.raises(InputError) as caught:
            look(["red apples", "old boots"])
        assert str(caught.value) == (
            "normalizer: expected embedder=, for it was fitted with the function "
            "test_a_function_embeds_too_but_is_not_saved.<locals>.on_a_line, which is not saved, and the fit did not see "
            "the tag 'old boots'. Give it to TagNormalizer.from_pretrained."
        )
    whole = TagNormalizer.from_pretrained(tmp_path, embedder=on_a_line)
    assert whole.normalize({"instag_tags": ["old boots"]}) == made.normalize({"instag_tags": ["old boots"]})
    assert whole.fates([["old boots"]])["meaning"] == 1


def test_streams_are_fitted_and_normalized(normalizer):
    stream = IterableDataset.from_generator(lambda: ({"instag_tags": tags} for tags in ROWS))
    assert TagNormalizer.fit(stream, min_count=10).id == normalizer.id
    done = list(stream.map(normalizer.normalize, batched=True))
    assert done[0]["instag_normalized"] == ["information retrieval", "python"]


def test_the_judged_pairs_merge_precisely(shared_data):
    import csv

    with (shared_data / "tagged" / "merge_pairs_dev.tsv").open() as file:
        pairs = list(csv.DictReader(file, delimiter="\t"))
    with (shared_data / "tagged" / "taginstruct_magpie_instagger_tags.tsv").open() as file:
        counts = {row["tag"]: int(row["count"]) for row in csv.DictReader(file, delimiter="\t")}
    tags = sorted({pair[side] for pair in pairs for side in ("tag_a", "tag_b")})
    rows = [[tag] for tag in tags for _ in range(min(max(counts.get(tag, 0), 20), 400))]
    canonical = {row["tag"]: row["canonical"] for row in TagNormalizer.fit(rows).table()}
    merged = [pair["same"] == "1" for pair in pairs if canonical[pair["tag_a"]] == canonical[pair["tag_b"]]]
    same = sum(pair["same"] == "1" for pair in pairs)
    assert sum(merged) / len(merged) >= 0.97
    assert sum(merged) / same >= 0.85


def test_a_saved_vocabulary_works_without_scipy_and_a_fit_says_what_is_missing(normalizer, tmp_path):
    folder = normalizer.save_pretrained(tmp_path / "saved")
    code = (
        "import sys\n"
        "sys.modules['scipy'] = None\n"
        "from instag_hf import MissingError, TagNormalizer\n"
        "print(TagNormalizer.from_pretrained(sys.argv[1]).normalize({'instag_tags': ['python']}))\n"
        "try:\n"
        "    TagNormalizer.fit([['a', 'b']] * 9, min_count=1, steps=['association'])\n"
        "except MissingError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "{'instag_normalized': ['python']}",
        'normalizer: needs scipy. pip install "instag-hf[normalize]"',
    ]
