"""Shards tagged apart and merged are one run; what is not all of one run is refused."""

import json

import pytest
from datasets import Dataset, load_dataset

from instag_hf import Tagger, pipeline
from instag_hf.errors import AccessError, InputError
from instag_hf.hub.working import keep_rows
from instag_hf.pipeline.places import check_place, put
from instag_hf.pipeline.shards import Shard, merge_shards
from instag_hf.replies import store
from instag_hf.testing import TaggingServer
from instag_hf.testing.hub import READ_TOKEN

ROWS = [{"instruction": f"Write {n} lines about the sea." if n % 7 else "", "id": n, "notes": []} for n in range(42)]


@pytest.fixture(scope="module")
def server():
    with TaggingServer() as server:
        yield server


@pytest.fixture
def tagger(server, clean_home, monkeypatch):
    monkeypatch.setenv("INSTAG_ENGINE", "openai")
    monkeypatch.setenv("INSTAG_URL", server.url)
    monkeypatch.setenv("INSTAG_MODEL", "stand-in")
    return Tagger()


@pytest.fixture
def source(tmp_path):
    return pipeline.load(str(pipeline.save(Dataset.from_list(ROWS), str(tmp_path / "source.parquet"))))


def shards_of(whole, folder, of=4):
    """The files of a tagged dataset's shards, without a tagger in between."""
    return [str(pipeline.save(Shard(k, of).take(whole), Shard(k, of).path(f"{folder}/t.parquet"))) for k in range(of)]


def tagged(rows=10, tagger="us@1/own#0123", **columns):
    return Dataset.from_dict({"query": [f"q {n}" for n in range(rows)], "instag_tagger": [tagger] * rows, **columns})


@pytest.mark.parametrize("text", ["4/4", "-1/4", "1", "1/0", "a/b", "", "1/4/2", "0.5/4", "٣/٤", "1/100000"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(InputError, match="shard: expected NUMBER/SHARDS, found .* Numbers begin at 0, as in the files"):
        Shard.parse(text)


def test_a_shard_is_named_as_the_hub_names_files():
    assert Shard.parse("2/4").path("out/a.b.parquet") == "out/a.b-00002-of-00004.parquet"
    assert Shard(2, 4).split == "shard_00002_of_00004"
    assert Shard.of_name(Shard(2, 4).split) == Shard(2, 4)
    with pytest.raises(InputError, match=r"expected an output ending in .parquet, found a.jsonl"):
        Shard(2, 4).path("a.jsonl")


@pytest.mark.parametrize("of", [1, 2, 3, 4, 10])
def test_shards_hold_every_row_once_and_in_order(of):
    whole = tagged(10)
    assert [q for k in range(of) for q in Shard(k, of).take(whole)["query"]] == whole["query"][:]


def test_more_shards_than_rows_are_refused():
    with pytest.raises(InputError, match="expected 11 rows or more, one for each shard, found 10"):
        Shard(0, 11).take(tagged(10))


@pytest.mark.parametrize("of", [1, 4, 5])
def test_shards_tagged_apart_and_merged_are_one_run(of, source, tagger, tmp_path):
    whole = pipeline.save(pipeline.tag(source, tagger), str(tmp_path / "whole.parquet"))
    for number in reversed(range(of)):  # as machines finish: in any order
        done = pipeline.tag(Shard(number, of).take(source), tagger)
        put(done, str(tmp_path / "shards" / "t.parquet"), Shard(number, of))
    merged = pipeline.save(merge_shards([str(tmp_path / "shards")]), str(tmp_path / "merged.parquet"))
    assert merged.read_bytes() == whole.read_bytes()
    one, other = (load_dataset("parquet", data_files=str(path), split="train") for path in (whole, merged))
    assert one.features == other.features
    assert one.to_list() == other.to_list()
    assert pipeline.failures(other) == {"row": 6}


def test_shards_kept_on_the_hub_and_merged_are_one_run(source, tagger, local_hub, monkeypatch, tmp_path):
    whole = pipeline.tag(source, tagger)
    for number in (2, 0, 3, 1):
        put(pipeline.tag(Shard(number, 4).take(source), tagger), "me/shards-of-sea", Shard(number, 4))
    with pytest.raises(InputError, match="has the splits .*, several. Name one"):
        pipeline.load("me/shards-of-sea")  # no shard is taken for the whole
    monkeypatch.setenv("INSTAG_HOME", str(tmp_path / "another machine"))
    assert store().get_tagger(tagger.hash) is None
    merged = merge_shards(["me/shards-of-sea"])
    assert merged.features == whole.features
    assert merged.to_list() == whole.to_list()
    assert store().get_tagger(tagger.hash) == json.loads(json.dumps(tagger.facts))
    assert put(merged, "me/merged-sea").endswith("/datasets/me/merged-sea")
    assert pipeline.load("me/merged-sea").to_list() == whole.to_list()


def test_a_shard_missing_on_the_hub_is_named(local_hub):
    for number in (0, 2):
        keep_rows(Shard(number, 3).take(tagged(9)), "me/two-of-three", split=Shard(number, 3).split)
    with pytest.raises(InputError, match="expected all 3 shards, found 2; 1/3 missing"):
        merge_shards(["me/two-of-three"])


def test_rows_are_kept_private_and_again_is_no_commit(local_hub):
    import huggingface_hub

    first = keep_rows(tagged(5), "me/kept-rows")
    again = keep_rows(tagged(5), "me/kept-rows")
    assert again.commit == first.commit
    assert again.written == ()
    assert huggingface_hub.HfApi().dataset_info("me/kept-rows").private
    assert "instag publish-dataset" in first.card
    keep_rows(tagged(6), "me/kept-rows")
    assert len(pipeline.load("me/kept-rows")) == 6


def test_settings_of_taggers_that_are_not_what_their_name_says_are_refused(local_hub, clean_home):
    keep_rows(tagged(5), "me/forged")
    local_hub.add("me/forged", {"taggers/0123.json": b'{"model": "another"}'})
    with pytest.raises(InputError, match=r"expected the settings of the tagger #0123 in .*, found others"):
        pipeline.load("me/forged")
    assert store().get_tagger("0123") is None


def test_a_place_that_cannot_keep_rows_is_refused_before_any_work(local_hub, tmp_path, monkeypatch):
    local_hub.add("me/for-all", {"README.md": b"# for all\n"})
    with pytest.raises(InputError, match="expected me/for-all to be private, found it public. Nothing was written"):
        check_place("me/for-all")
    with pytest.raises(InputError, match="expected the id of a repo, owner/name, found 'a/b/c'"):
        check_place("a/b/c")
    check_place("me/not-there-yet")
    (tmp_path / "there.parquet").write_text("x")
    check_place(str(tmp_path / "there.parquet"))
    with pytest.raises(InputError, match="could not write into"):
        check_place(str(tmp_path / "there.parquet" / "a.csv"))
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    with pytest.raises(AccessError, match="found one that may only read"):
        check_place("me/not-there-yet")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(lambda files: files[:2] + files[3:], r"expected all 4 shards, found 3; 2/4 missing", id="missing"),
        pytest.param(lambda files: files[:1], r"found 1; 1/4, 2/4, 3/4 missing", id="one"),
        pytest.param(
            lambda files: [*files, files[1]], r"expected each shard once, found t-00001-of-00004.parquet", id="doubled"
        ),
        pytest.param(
            lambda files: [*files[:3], files[3].replace("00004", "00005")], "of one run, found some of 4, 5", id="total"
        ),
        pytest.param(lambda files: [*files, "t.parquet"], r"expected shards named such as .* found 't'", id="whole"),
        pytest.param(lambda files: ["nowhere/at/all"], "expected a local file or folder, or a dataset", id="nowhere"),
    ],
)
def test_shards_that_are_not_each_once_are_refused(spoil, said, tmp_path):
    with pytest.raises(InputError, match=said):
        merge_shards(spoil(shards_of(tagged(), tmp_path)))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        pytest.param(tagged(2, tagger="you@1/own#4567"), "expected one tagger in all shards, found .*#0123 in shard 0", id="tagger"),
        pytest.param(tagged(2, more=[1, 2]), "expected the columns of shard 0 in all, found others in shard 3: more", id="more"),
        pytest.param(tagged(2).rename_column("query", "text"), "in shard 3: query, text", id="renamed"),
        pytest.param(tagged(2).select_columns(["instag_tagger", "query"]), "in shard 3: instag_tagger, query", id="order"),
        pytest.param(tagged(3), "expected equal parts of one dataset, found 3, 3, 2, 3 rows", id="limit"),
        pytest.param(tagged(1), "expected equal parts of one dataset, found 3, 3, 2, 1 rows", id="cut"),
    ],
)  # fmt: skip
def test_shards_of_another_run_are_refused(other, said, tmp_path):
    files = shards_of(tagged(), tmp_path)
    other.to_parquet(files[3])
    with pytest.raises(InputError, match=said):
        merge_shards([str(tmp_path)])


def test_rows_that_were_never_tagged_are_refused(tmp_path):
    shards_of(Dataset.from_dict({"query": list("abcdef")}), tmp_path)
    with pytest.raises(InputError, match='expected tagged rows with the column "instag_tagger", found none'):
        merge_shards([str(tmp_path)])


def test_a_folder_without_shards_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected files such as tagged-00002-of-00004.parquet in .*, found none"):
        merge_shards([str(tmp_path)])


def test_no_shards_are_refused():
    with pytest.raises(InputError, match="merge: expected shards, found none. Give their files"):
        merge_shards([])
