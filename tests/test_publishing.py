"""What is published can be loaded, is uploaded once, loses nothing of others, and says why when it cannot be."""

import base64
import dataclasses
import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import ROOT

import instag_hf as instag
from instag_hf import embeddings
from instag_hf.cards.filling import BEGIN, END
from instag_hf.errors import AccessError, HubError, InputError, MissingError, RepoError
from instag_hf.hub import publish_normalizer
from instag_hf.hub.working import keep_rows
from instag_hf.replies import Reply, store
from instag_hf.testing import Fault
from instag_hf.testing.hub import READ_TOKEN, STRANGERS_TOKEN, TOKEN

# Pictures take seconds to draw; the tests of the card as a whole have them.
publish_dataset = functools.partial(instag.publish_dataset, charts=False)

PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # one pixel
)
SOURCE_CARD = b"---\nlicense: cc-by-sa-3.0\nlanguage:\n- en\n---\n# source\n"


@pytest.fixture
def api(local_hub):
    import huggingface_hub

    local_hub.add("you/source", {"train.jsonl": b'{"query": "q"}\n', "README.md": SOURCE_CARD})
    local_hub.forget()
    return huggingface_hub.HfApi()


def tagged(rows=40, failed=0, **columns):
    """Rows as a tagger writes them; row i has i % 3 + 1 tags, two of each dozen queries are two turns."""
    from datasets import Dataset

    tags = [[f"tag {(row + k) % 7}" for k in range(row % 3 + 1)] for row in range(rows)]
    bad = [row < failed for row in range(rows)]
    return Dataset.from_dict(
        {
            "query": [f"Question {row}: what is *this* | that?" for row in range(rows)],
            "instag_tags": [[] if no else each for no, each in zip(bad, tags, strict=True)],
            "instag_explanations": [[] if no else [""] * len(each) for no, each in zip(bad, tags, strict=True)],
            "instag_turns": [[] if no else [len(each)] for no, each in zip(bad, tags, strict=True)],
            "instag_error": ["parse: no list" if no else "" for no in bad],
            "instag_tagger": ["somebody"] * rows,
            **columns,
        },
        features=instag_features(columns),
    )


def instag_features(columns):
    from datasets import Features, Value

    from instag_hf.tagger import features

    kinds = {name: Value("int64" if isinstance(values[0], int) else "string") for name, values in columns.items()}
    return Features({"query": Value("string"), **features(), **kinds})


def revision(api, repo):
    return api.repo_info(repo, repo_type="dataset").sha


@pytest.fixture(scope="module")
def vocabulary():
    """Six tags, of which three are in `tagged`; "rarest" was dropped and "Tag 0" merged."""
    rows = [["tag 0", "tag 1s"], ["tag 1", "tag 2"], ["tag 1", "elsewhere"], ["Tag 0", "rare"]] * 4 + [["rarest"]]
    return instag.TagNormalizer.fit(rows, min_count=3, steps=("frequency", "spelling"))


@pytest.mark.lane
def test_rows_and_vocabulary_come_back_exactly_and_streaming(api, local_hub):
    from datasets import load_dataset

    rows = tagged()
    done = publish_dataset(rows, "me/exact", source="you/source")
    assert len(local_hub.seen("commit")) == 1
    assert done.commit == revision(api, "me/exact")
    back = load_dataset("me/exact", split="train")
    assert back.features == rows.features
    assert back.to_list() == rows.to_list()
    assert list(load_dataset("me/exact", split="train", streaming=True)) == rows.to_list()
    words = load_dataset("me/exact", "tag_vocabulary", split="train")
    assert words.column_names == ["tag", "count", "canonical", "step"]
    counted = {word["tag"]: word["count"] for word in words}
    assert counted == {f"tag {k}": sum(f"tag {k}" in tags for tags in rows["instag_tags"]) for k in range(7)}
    assert list(load_dataset("me/exact", "tag_vocabulary", split="train", streaming=True)) == words.to_list()


def test_the_card_is_valid_and_its_metadata_is_that_of_the_files(api, local_hub):
    from datasets import load_dataset_builder
    from huggingface_hub import DatasetCard

    publish_dataset(tagged(), "me/valid", source="you/source")
    card = DatasetCard.load("me/valid")
    card.validate()
    assert card.data.license == "cc-by-sa-3.0"
    assert card.data.language == ["en"]
    assert card.data.source_datasets == ["you/source"]
    assert card.data.size_categories == ["n<1K"]
    info = load_dataset_builder("me/valid").info
    assert info.splits["train"].num_examples == 40
    assert info.features == tagged().features


def with_pictures(*cells):
    """Tagged rows of which each has a picture, as a Parquet file may say that anybody wrote."""
    from datasets import Features, Image, List

    rows = tagged(len(cells))
    features = Features({**rows.features, "pictures": List(Image())})
    return rows.add_column("pictures", [[cell] for cell in cells], feature=features["pictures"])


def test_a_file_of_this_machine_that_a_row_names_is_not_published(api, local_hub, tmp_path, monkeypatch):
    from datasets import load_dataset

    secret = tmp_path / "secret.png"
    secret.write_bytes(base64.b64decode(PICTURE))
    with_pictures({"bytes": None, "path": str(secret)}).to_parquet(tmp_path / "strangers.parquet")
    rows = load_dataset("parquet", data_files=str(tmp_path / "strangers.parquet"), split="train")
    told = (
        r'hub: row 0: expected the bytes of a file in "pictures", found its path alone, .*secret.png. No file is read'
    )
    monkeypatch.chdir(tmp_path)
    for given in (rows, with_pictures({"bytes": None, "path": "secret.png"})):
        with pytest.raises(InputError, match=told):
            publish_dataset(given, "me/leak", source="you/source")
        with pytest.raises(InputError, match=told):
            keep_rows(given, "me/leak")
        with pytest.raises(InputError, match=told):  # a folder would take it in
            instag.pipeline.save(given, "saved")
    mixed = with_pictures(
        {"bytes": base64.b64decode(PICTURE), "path": "secret.png"}, {"bytes": None, "path": "https://127.0.0.1/a.png"}
    )
    with pytest.raises(InputError, match=r"row 1: .* https://127\.0\.0\.1/a\.png\."):
        publish_dataset(mixed, "me/leak", source="you/source")
    assert not local_hub.seen("commit")


def test_pictures_of_a_dataset_on_the_hub_and_bytes_are_published(api, local_hub):
    from datasets import Image, load_dataset

    picture = base64.b64decode(PICTURE)
    lines = [json.dumps({"file_name": "a.png", **row}) for row in tagged(1)]
    local_hub.add("you/pictures", {"a.png": picture, "metadata.jsonl": "\n".join(lines).encode()})
    rows = load_dataset("you/pictures", split="train")
    assert rows.with_format("arrow")[0]["image"][0].as_py()["bytes"] is None
    publish_dataset(rows, "me/pictures", source="you/source")
    back = load_dataset("me/pictures", split="train").cast_column("image", Image(decode=False))
    assert back[0]["image"]["bytes"] == picture
    publish_dataset(with_pictures({"bytes": picture, "path": "a.png"}, None), "me/bytes", source="you/source")


@pytest.mark.lane
def test_the_same_again_uploads_nothing(api, local_hub):
    from datasets import load_dataset

    first = publish_dataset(tagged(), "me/again", source="you/source")
    local_hub.forget()
    second = publish_dataset(tagged(), "me/again", source="you/source")
    assert second.commit == first.commit
    assert second.written == ()
    assert not local_hub.seen("create", "preupload", "batch", "put", "commit")
    back = load_dataset("me/again", split="train")  # from a file and not from memory
    assert publish_dataset(back, "me/again", source="you/source").written == ()


@pytest.mark.lane
def test_new_columns_leave_a_repo_that_loads(api, local_hub):
    from datasets import load_dataset

    publish_dataset(tagged(), "me/wider", source="you/source")
    wider = tagged(50, note=[f"n{row}" for row in range(50)])
    done = publish_dataset(wider, "me/wider", source="you/source")
    assert load_dataset("me/wider", split="train").to_list() == wider.to_list()
    assert "| note | string | as in the source |" in done.card
    assert "- name: note" in done.card


@pytest.mark.lane
def test_fewer_shards_leave_none_behind(api, local_hub, monkeypatch):
    from datasets import load_dataset

    from instag_hf.hub import tables

    whole = tables.write_shards
    monkeypatch.setattr(tables, "write_shards", lambda *given: whole(*given, shard_bytes=2000))
    many = publish_dataset(tagged(200), "me/shards", source="you/source")
    assert sum(path.startswith("data/") for path in many.files) > 5
    assert load_dataset("me/shards", split="train").to_list() == tagged(200).to_list()
    monkeypatch.setattr(tables, "write_shards", whole)
    few = publish_dataset(tagged(30), "me/shards", source="you/source")
    assert len(few.removed) > 5
    assert load_dataset("me/shards", split="train").to_list() == tagged(30).to_list()
    assert ".gitattributes" in api.list_repo_files("me/shards", repo_type="dataset")


@pytest.mark.lane
def test_what_datasets_pushed_before_is_replaced(api, local_hub):
    from datasets import load_dataset

    tagged(10).push_to_hub("me/pushed-before")
    publish_dataset(tagged(), "me/pushed-before", source="you/source")
    assert load_dataset("me/pushed-before", split="train").to_list() == tagged().to_list()


@pytest.mark.lane
def test_another_split_stays_where_its_columns_are_the_same(api, local_hub):
    from datasets import load_dataset

    publish_dataset(tagged(12), "me/splits", source="you/source", split="test")
    publish_dataset(tagged(), "me/splits", source="you/source")
    both = load_dataset("me/splits")
    assert {name: len(rows) for name, rows in both.items()} == {"train": 40, "test": 12}
    before = revision(api, "me/splits")
    with pytest.raises(InputError, match=r"splits \['test'\].*no longer load"):
        publish_dataset(tagged(note=["n"] * 40), "me/splits", source="you/source")
    assert revision(api, "me/splits") == before


@pytest.mark.lane
def test_text_and_keys_of_a_card_survive(api, local_hub):
    from huggingface_hub import DatasetCard

    own = "---\nlicense: mit\ntags:\n- mine\npretty_name: My pool\nviewer: false\nmy_key: [1, 2]\n---\n\n# Mine\n\nMy words.\n"
    local_hub.add("me/kept", {"README.md": own.encode(), "notes.txt": b"mine"})
    publish_dataset(tagged(), "me/kept", source="you/source")
    card = DatasetCard.load("me/kept")
    assert card.data.license == "mit"  # the card's own stands before the source's
    assert card.data.tags == ["mine", "instag", "instag_hf", "instruction-tagging"]
    assert (card.data.pretty_name, card.data.viewer, card.data.my_key) == ("My pool", False, [1, 2])
    assert card.text.startswith("\n# Mine\n\nMy words.\n\n" + BEGIN)
    edited = str(card).replace("My words.", "My new words.").rstrip("\n") + "\n\n## After\n\nMore of mine.\n"
    local_hub.add("me/kept", {"README.md": edited.encode()})
    publish_dataset(tagged(50), "me/kept", source="you/source")
    again = DatasetCard.load("me/kept")
    assert "My new words." in again.text
    assert again.text.endswith(END + "\n\n## After\n\nMore of mine.\n")
    assert again.text.count(BEGIN) == 1
    assert "50 instructions" in again.text
    assert "40 instructions" not in again.text
    assert "notes.txt" in api.list_repo_files("me/kept", repo_type="dataset")


@pytest.mark.lane
def test_broken_yaml_of_a_card_is_told_and_left(api, local_hub):
    local_hub.add("me/broken-card", {"README.md": b"---\na: [\n---\n"})
    before = revision(api, "me/broken-card")
    with pytest.raises(InputError, match="Mend README.md"):
        publish_dataset(tagged(), "me/broken-card", source="you/source", license="mit")
    assert revision(api, "me/broken-card") == before


@pytest.mark.lane
def test_failed_rows_are_left_out_and_counted(api, local_hub):
    from datasets import load_dataset

    done = publish_dataset(tagged(40, failed=3), "me/failed", source="you/source")
    assert len(load_dataset("me/failed", split="train")) == 37
    assert "3 rows could not be tagged and are not here (parse 3)" in done.card
    with pytest.raises(InputError, match="40 rows that all failed"):
        publish_dataset(tagged(40, failed=40), "me/failed", source="you/source")


@pytest.mark.lane
def test_a_conflict_is_retried_and_the_others_work_is_kept(api, local_hub):
    publish_dataset(tagged(), "me/conflict", source="you/source")
    local_hub.forget()
    local_hub.fault(Fault(route="commit", status=409))
    publish_dataset(tagged(note=["of this test alone"] * 40), "me/conflict", source="you/source")
    assert [seen.status for seen in local_hub.seen("commit")] == [409, 200]
    assert len(local_hub.seen("put")) == 1  # the rows, once; the vocabulary was there


@pytest.mark.lane
def test_a_commit_made_meanwhile_is_built_upon(api, local_hub):
    from huggingface_hub import DatasetCard, HfApi

    publish_dataset(tagged(), "me/meanwhile", source="you/source")
    changed = str(DatasetCard.load("me/meanwhile")).replace("# meanwhile", "# Edited meanwhile")
    whole = HfApi.create_commit
    raced = []

    def racing(self, *given, **more):
        if not raced:
            raced.append(local_hub.add("me/meanwhile", {"README.md": changed.encode(), "other.txt": b"theirs"}))
        return whole(self, *given, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HfApi, "create_commit", racing)
        done = publish_dataset(tagged(50), "me/meanwhile", source="you/source")
    assert raced
    assert "# Edited meanwhile" in done.card
    assert "50 instructions" in DatasetCard.load("me/meanwhile").text
    assert "other.txt" in api.list_repo_files("me/meanwhile", repo_type="dataset")


@pytest.mark.lane
def test_conflicts_without_end_are_told(api, local_hub, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    local_hub.fault(Fault(route="commit", status=409, times=100))
    with pytest.raises(HubError, match="6 times that somebody else had committed"):
        publish_dataset(tagged(), "me/endless", source="you/source")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.lane
def test_a_death_in_the_middle_leaves_the_old_revision_whole(api, local_hub, when):
    from datasets import load_dataset

    repo = f"me/death-{when}"
    publish_dataset(tagged(), repo, source="you/source")
    before = revision(api, repo)
    local_hub.forget()
    local_hub.fault(Fault(route="commit", when=when))
    with pytest.raises(HubError, match="only what is missing is uploaded"):
        publish_dataset(tagged(50), repo, source="you/source")
    local_hub.kill()
    local_hub.start()
    assert (revision(api, repo) == before) == (when == "before")
    done = publish_dataset(tagged(50), repo, source="you/source")
    assert not local_hub.seen("put")  # what was uploaded before the death is not uploaded again
    assert bool(done.written) == (when == "before")
    assert load_dataset(repo, split="train").to_list() == tagged(50).to_list()


@pytest.mark.slow
def test_a_death_during_an_upload_is_waited_for_then_told(api, local_hub):
    from datasets import load_dataset

    publish_dataset(tagged(), "me/death-put", source="you/source")
    before = revision(api, "me/death-put")
    local_hub.fault(Fault(route="put"))
    rows = tagged(note=["of that test alone"] * 40)
    with pytest.raises(HubError, match="run the same again"):
        publish_dataset(rows, "me/death-put", source="you/source")
    local_hub.kill()
    local_hub.start()
    assert revision(api, "me/death-put") == before
    assert load_dataset("me/death-put", split="train").to_list() == tagged().to_list()
    publish_dataset(rows, "me/death-put", source="you/source")
    assert load_dataset("me/death-put", split="train").to_list() == rows.to_list()


@pytest.mark.parametrize(
    ("token", "kind", "told"),
    [
        pytest.param("hf_nobody_knows_this", AccessError, "a token that the Hub knows", id="unknown"),
        pytest.param(READ_TOKEN, AccessError, "one that may only read", id="read only"),
        pytest.param(STRANGERS_TOKEN, AccessError, "one that may not", id="of another"),
        pytest.param("hf_with\nnewline", AccessError, "with other characters", id="no header can hold it"),
        pytest.param("hf_ünicode", AccessError, "with other characters", id="not of ASCII"),
    ],
)
@pytest.mark.lane
def test_wrong_tokens_are_told_and_never_shown(api, local_hub, token, kind, told):
    import traceback

    local_hub.add("me/locked", {"a.txt": b"1"})
    with pytest.raises(kind, match=told) as caught:
        publish_dataset(tagged(), "me/locked", source="you/source", token=token)
    whole = "".join(traceback.format_exception(caught.value))
    for secret in (token, token.encode("unicode_escape").decode(), repr(token.encode())[2:-1]):
        assert secret not in str(caught.value)
        assert secret not in whole


@pytest.mark.lane
def test_no_token_is_told(local_hub, api, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(AccessError, match="expected a token, found none"):
        publish_dataset(tagged(), "me/nobody", source="you/source")


@pytest.mark.lane
def test_a_private_repo_of_another_is_told(local_hub, api):
    local_hub.add("me/private", {"a.txt": b"1"}, private=True)
    with pytest.raises(HubError, match="me/private"):
        publish_dataset(tagged(), "me/private", source="you/source", token=STRANGERS_TOKEN)
    local_hub.add("you/private", {"a.txt": b"1"}, private=True)
    with pytest.raises(InputError, match="a dataset on the Hub that the token may see"):
        publish_dataset(tagged(), "me/any", source="you/private", license="mit")


@pytest.mark.lane
def test_private_means_private(local_hub, api):
    publish_dataset(tagged(), "me/hidden", source="you/source", private=True)
    assert api.repo_info("me/hidden", repo_type="dataset").private
    publish_dataset(tagged(), "me/shown", source="you/source")
    with pytest.raises(InputError, match="found it public"):
        publish_dataset(tagged(50), "me/shown", source="you/source", private=True)


@pytest.mark.parametrize("repo", ["a/b/c", "me/sp ace", "-x", "me/..", ""])
@pytest.mark.lane
def test_names_that_no_repo_can_have_are_told(local_hub, api, repo):
    with pytest.raises(InputError, match="expected the id of a repo, owner/name"):
        publish_dataset(tagged(), repo, source="you/source")
    assert not local_hub.seen("create")


@pytest.mark.lane
def test_a_name_alone_is_ones_own(local_hub, api):
    done = publish_dataset(tagged(), "alone", source="you/source")
    assert done.url.endswith("/datasets/me/alone")
    assert 'load_dataset("me/alone"' in done.card
    looked = publish_dataset(tagged(), "alone", source="you/source", dry_run=True)
    assert (looked.url, looked.written) == (done.url, ())


@pytest.mark.lane
def test_a_dry_run_writes_nothing(local_hub, api, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    done = publish_dataset(tagged(), "me/dry", source="you/source", dry_run=True)
    assert {seen.method for seen in local_hub.seen()} <= {"GET", "HEAD"}
    assert done.commit is None
    assert set(done.files) == {
        "README.md",
        "data/train-00000-of-00001.parquet",
        "instag.json",
        "tag_vocabulary/train-00000-of-00001.parquet",
    }
    assert str(done).startswith("---\n")
    assert "write  data/train-00000-of-00001.parquet" in str(done)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        pytest.param({"source": "you/unlicensed"}, "you/unlicensed states none.*license=", id="no licence"),
        pytest.param({"source": "you/nothing"}, "expected the source 'you/nothing'", id="no source"),
        pytest.param({"source": "/gone/rows.jsonl"}, "expected the source '/gone/rows.jsonl'", id="no file"),
        pytest.param({"source": ["you/source", "you/own"]}, r"you/own \(my-terms\)", id="terms of its own"),
        pytest.param({"source": "you/source@0123"}, "expected the source 'you/source@0123'", id="no revision"),
        pytest.param({"source": ""}, "Give source=", id="source not told"),
        pytest.param({"pool": 90}, "how 40 of 90 rows were selected", id="selection not told"),
        pytest.param({"selection": "random"}, "Give pool=", id="pool not told"),
        pytest.param({"split": "my split"}, "the name of a split", id="no split"),
    ],
)
@pytest.mark.lane
def test_what_is_not_known_is_asked_for(local_hub, api, more, told):
    local_hub.add("you/unlicensed", {"train.jsonl": b"{}\n"})
    own = b"---\nlicense: other\nlicense_name: my-terms\nlicense_link: LICENSE\n---\n"
    local_hub.add("you/own", {"train.jsonl": b"{}\n", "README.md": own})
    given = {"source": "you/source", **more}
    if "pool" in given:
        given["pool"] = tagged(given["pool"])
    with pytest.raises(InputError, match=told):
        publish_dataset(tagged(), "me/unknown", **given)
    assert not local_hub.seen("create", "commit")


def test_selected_rows_are_not_published_as_all_the_rows(local_hub, api):
    rows = tagged(instag_round=[1] * 40)
    told = (
        'hub: expected to know how these rows were selected, found only the column "instag_round". Give pool= and '
        'selection=, such as "complexity-first"; or, if they are all the rows, remove the column.'
    )
    with pytest.raises(InputError, match=f"^{re.escape(told)}$"):
        publish_dataset(rows, "me/chosen", source="you/source")
    done = publish_dataset(
        rows, "me/chosen", source="you/source", pool=tagged(90), selection="complexity-first", dry_run=True
    )
    assert "40 of 90 rows, method complexity-first" in done.card


@pytest.mark.lane
def test_settings_of_a_tagger_are_found_or_asked_for(local_hub, api, clean_home):
    tagger = instag.Tagger()
    rows = tagged().remove_columns("instag_tagger").add_column("instag_tagger", [tagger.name] * 40)
    with pytest.raises(InputError, match="Give tagger="):
        publish_dataset(rows, "me/told", source="you/source")
    done = publish_dataset(rows, "me/told", source="you/source", tagger=tagger)
    assert "recipe embedded" in done.card
    with pytest.raises(InputError, match="Give tagger="):  # another tagger is not the one that tagged
        publish_dataset(rows, "me/told", source="you/source", tagger=instag.Tagger(recipe="open"))


@pytest.mark.lane
def test_rows_of_several_taggers_are_refused_unless_told(local_hub, api):
    rows = tagged().remove_columns("instag_tagger").add_column("instag_tagger", ["a", "b"] * 20)
    with pytest.raises(InputError, match="rows of one tagger"):
        publish_dataset(rows, "me/mixed", source="you/source")
    done = publish_dataset(rows, "me/mixed", source="you/source", mixed=True)
    assert "- **Tagger**: a, 20 rows." in done.card


def test_a_pool_a_selection_and_a_normalizer_stand_on_the_card(local_hub, api, vocabulary):
    from datasets import load_dataset

    done = publish_dataset(
        tagged(20),
        "me/whole",
        source="you/source",
        pool=tagged(90, failed=6),
        normalizer=vocabulary,
        selection={"method": "complexity-first", "seed": 42},
        charts=True,
        commands=["instag tag pool.jsonl -o tagged.parquet"],
    )
    assert "20 of 90 rows, method complexity-first, seed 42" in done.card
    assert "| frequency | 7 | 32 |" in done.card  # of 4 × 8 + 1 assignments of 8 tags without "rarest"
    assert "share of the 6 tags of the vocabulary | 50.0 % | 50.0 % |" in done.card
    pictures = re.findall(r"!\[[^]]+\]\((charts/.*?\.png)\)", done.card)
    assert {"charts/complexity.png", "charts/coverage.png", "charts/funnel.png"} < set(pictures)
    assert all(
        Path(api.hf_hub_download("me/whole", path, repo_type="dataset")).stat().st_size > 5000 for path in pictures
    )
    assert "```console\ninstag tag pool.jsonl -o tagged.parquet\n```" in done.card
    words = load_dataset("me/whole", "tag_vocabulary", split="train").to_list()
    assert words[1] == {"tag": "Tag 0", "count": 4, "canonical": "tag 0", "step": "spelling"}
    assert words[-1] == {"tag": "rarest", "count": 1, "canonical": None, "step": "frequency"}
    folder = Path(api.snapshot_download("me/whole", repo_type="dataset")) / "normalizer"
    assert instag.TagNormalizer.from_pretrained(folder) == vocabulary
    fewer = publish_dataset(tagged(20), "me/whole", source="you/source")
    saved = {f"normalizer/{path.name}" for path in folder.iterdir()}
    assert set(fewer.removed) == {*pictures, *saved}  # ours of the last time


def test_the_whole_way_from_rows_to_a_repo(local_hub, api):
    from datasets import load_dataset

    from instag_hf.selection import choose

    pool = tagged(300, failed=4)
    normalizer = instag.TagNormalizer.fit(pool, min_count=5, steps=("frequency", "spelling"))
    pool = pool.map(normalizer.normalize, batched=True)
    chosen = choose(pool, 30)
    subset = chosen.rows(pool, reasons=True)
    done = publish_dataset(subset, "me/way", source="you/source", pool=pool, normalizer=normalizer, selection=chosen)
    assert load_dataset("me/way", split="train").to_list() == subset.to_list()
    assert "30 of 300 rows, method complexity-first, asked for 30, not eligible, failed: parse 4" in done.card
    assert "| instag\\_gain | list of string | tags that the row brought to its round |" in done.card
    assert "Counted in the column `instag_normalized`" in done.card
    with pytest.raises(InputError, match="the 30 rows of the selection, found 29 rows"):
        publish_dataset(subset.select(range(29)), "me/way", source="you/source", pool=pool, selection=chosen)


def test_a_normalizer_is_published_and_loaded_by_id(local_hub, api, vocabulary):
    with pytest.raises(InputError, match="expected the licence of me/vocabulary"):
        publish_normalizer(vocabulary, "me/vocabulary")
    done = publish_normalizer(vocabulary, "me/vocabulary", license="My Own 1.0")
    assert instag.TagNormalizer.from_pretrained("me/vocabulary") == vocabulary
    assert instag.TagNormalizer.from_pretrained("me/vocabulary", revision=done.commit) == vocabulary
    assert "license: other" in done.card
    assert "license_name: My Own 1.0" in done.card
    assert "A vocabulary of 6 intention tags" in done.card
    assert publish_normalizer(vocabulary, "me/vocabulary").written == ()  # the card says the licence now


@pytest.mark.lane
def test_a_vocabulary_that_needs_no_other_package_is_published_and_loaded_by_id(local_hub, api):
    plain = instag.TagNormalizer.fit([["a", "b"], ["a", "b"], ["c"]], min_count=2, steps=("frequency",))
    done = publish_normalizer(plain, "me/plain-vocabulary", license="mit")
    assert instag.TagNormalizer.from_pretrained("me/plain-vocabulary", revision=done.commit) == plain
    assert publish_normalizer(plain, "me/plain-vocabulary").written == ()


def test_a_published_vocabulary_names_no_folder_and_takes_its_embedder_again(local_hub, tmp_path, monkeypatch):
    folder = tmp_path / "my-bert"
    folder.symlink_to(embeddings._folder(embeddings.MINILM))
    rows = [["code debugging"], ["cooking"]] * 3
    made = instag.TagNormalizer.fit(rows, min_count=2, embedder=str(folder), max_distance=0.2)
    done = publish_normalizer(made, "me/of-a-folder", license="mit")
    assert str(tmp_path) not in done.card
    assert "| embedder | my-bert |" in done.card
    unseen = {"instag_tags": ["debugging of code"]}
    assert made.normalize(unseen) == made.shared().normalize(unseen) == {"instag_normalized": ["code debugging"]}
    read = instag.TagNormalizer.from_pretrained("me/of-a-folder", embedder=str(folder))
    assert read == made.shared()
    assert read.normalize(unseen) == made.normalize(unseen)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingError, match="my-bert is not on this machine.* give its folder with embedder="):
        instag.TagNormalizer.from_pretrained(made.shared().save_pretrained(tmp_path / "saved")).normalize(unseen)


def numbers(card):
    """Every number in the running text and the tables of our part of a card."""
    body = card[card.index(BEGIN) : card.index("## Limits")]
    body = re.sub(r"```.*?```", "", body, flags=re.DOTALL)
    return re.findall(r"(?<![\w.:/-])\d[\d,]*(?:\.\d+)?(?![\w/-])", body.replace(",", ""))


def test_every_number_of_a_card_is_that_of_the_published_files(local_hub, api):
    from scipy.stats import spearmanr

    done = publish_dataset(
        tagged(500), "me/numbers", source="you/source", pool=tagged(1200, failed=7), selection="complexity-first"
    )
    files = Path(api.snapshot_download("me/numbers", repo_type="dataset"))
    rows = pq.read_table(files / "data").to_pylist()
    words = pq.read_table(files / "tag_vocabulary").to_pylist()
    pool = [row for row in tagged(1200, failed=7) if not row["instag_error"]]
    expected = {"2308.07074", "1", "2"}  # the paper; the numbers in a tag's name are of the data

    def measures(those):
        lists = [row["instag_tags"] for row in those]
        assignments = sum(map(len, lists))
        turns = [count for row in those for count in row["instag_turns"]]
        distinct = {tag for tags in lists for tag in tags}
        chars = [len(row["query"]) for row in those]
        return {
            f"{sum(chars) / len(chars):.0f}",
            f"{abs(spearmanr(chars, list(map(len, lists))).statistic):.2f}",
            str(len(those)),
            str(len(turns)),
            str(assignments),
            str(len(distinct)),
            f"{assignments / len(those):.2f}",
            f"{sum(turns) / len(turns):.2f}",
        }

    in_pool = {tag for row in pool for tag in row["instag_tags"]}
    covered = {tag for row in rows for tag in row["instag_tags"]} & in_pool
    expected |= measures(rows) | measures(pool) | {str(len(words)), f"{100 * len(covered) / len(in_pool):.1f}", "100.0"}
    expected |= {"7", "1200"}  # failed rows of the pool, and all its rows
    expected |= {str(word["count"]) for word in words} | {word["tag"].split()[1] for word in words}
    assert set(numbers(done.card)) <= expected


def test_hostile_names_come_out_as_text(local_hub, api):
    import huggingface_hub
    import yaml
    from markdown_it import MarkdownIt

    hostile = "{{ 7 * 7 }} | <script>alert(1)</script> [x](http://e) ![y](z) `c` *b*\n# head\n---\nlicense: mit"
    rows = tagged(3, **{hostile: ["v", END, "```\n# out\n{% raw %}"]})
    rows = rows.map(lambda row: {"instag_tags": [hostile], "instag_tagger": hostile.replace("#", "")})
    publish_dataset(rows, "me/hostile", source="you/source", commands=["instag tag x\n```\n# out"])
    card = huggingface_hub.DatasetCard.load("me/hostile")
    card.validate()
    assert card.data.license == "cc-by-sa-3.0"
    assert yaml.safe_load(str(card).split("\n---\n")[0])["license"] == "cc-by-sa-3.0"
    shown = MarkdownIt("commonmark").enable("table").render(card.text)
    assert (
        "{{ 7 * 7 }} | &lt;script&gt;alert(1)&lt;/script&gt; [x](http://e) ![y](z) `c` *b* # head --- license: mit"
        in shown
    )
    assert set(re.findall(r"<(\w+)", shown)) == {
        *"h1 h2 h3 p a em strong ul li table thead tbody tr th td pre code".split()
    }
    assert {link.partition("//")[2].partition("/")[0] for link in re.findall(r'href="([^"]*)', shown)} == {
        "arxiv.org",
        "huggingface.co",
    }
    assert re.findall(r"<h1>(.*?)</h1>", shown) == ["hostile"]
    assert card.text.count(BEGIN) == 1
    publish_dataset(rows, "me/hostile", source="you/source")
    assert huggingface_hub.DatasetCard.load("me/hostile").text.count(BEGIN) == 1


def test_the_dataset_card_is_what_is_kept_as_rendered(local_hub, api, vocabulary):
    done = publish_dataset(
        tagged(20),
        "me/golden",
        source="you/source@main",
        pool=tagged(90, failed=6),
        normalizer=vocabulary,
        selection={"method": "complexity-first", "seed": 42},
        commands=["instag tag pool.jsonl -o tagged.parquet"],
        charts=True,
        dry_run=True,
    )
    card = re.sub(r"[0-9a-f]{40}", "0" * 40, done.card)
    card = re.sub(r"instag\\_hf \d[\w.]*", r"instag\\_hf 0.0.0", card)
    card = re.sub(r"(num_bytes|download_size|dataset_size): \d+", r"\1: 0", card)  # differ between versions of pyarrow
    assert card == (ROOT / "model_cards" / "dataset.md").read_text()


def test_the_normalizer_card_is_what_is_kept_as_rendered(local_hub, api, vocabulary):
    card = publish_normalizer(vocabulary, "me/golden-vocabulary", license="mit", dry_run=True).card
    assert card == (ROOT / "model_cards" / "normalizer.md").read_text()
    assert set(re.findall(r"\| (\d+) \| (\d+) \|", card)) == {
        (str(step.tags), str(step.assignments)) for step in vocabulary.funnel
    }
    assert all(re.search(rf"{re.escape(tag)}\b.*\b{rows}\b", card) for tag, rows in vocabulary.vocabulary.items())


# Taggers


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder as train-tagger writes it, with the shipped adapter under another record, so that it is not the shipped."""
    import gguf

    from instag_hf.cards import tagger_facts
    from instag_hf.engines.embedded import ADAPTER

    folder = tmp_path_factory.mktemp("trained")
    reader = gguf.GGUFReader(ADAPTER)
    writer = gguf.GGUFWriter(folder / "tagger.gguf", "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(reader.get_field("adapter.lora.alpha").contents()) / 2)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    facts = tagger_facts()
    del facts["adapter_sha256"]
    (folder / "training.json").write_text(json.dumps(facts))
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text(
        '{"base_model_name_or_path": "/home/me/base.gguf", "r": 16}'
    )
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter" / "README.md").write_text("placeholders")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "optimizer.pt").write_bytes(b"state")
    return folder


def test_a_tagger_published_and_loaded_by_id_is_the_same_tagger(local_hub, api, trained, clean_home):
    done = instag.publish_model(trained, "me/tagger", license="apache-2.0")
    assert sorted(done.files) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "tagger.gguf",
        "training.json",
    ]
    mine = instag.Tagger(model=str(trained / "tagger.gguf"))
    theirs = instag.Tagger(model="me/tagger")
    assert theirs.name == mine.name == dataclasses.replace(theirs, turns="last").name
    query = "Sort a list of dicts by date in Python."
    assert theirs.request(query) == mine.request(query)
    store().put(mine.request(query).key, Reply("sorting; python", "stop", 30, 5), mine.model_name)
    assert theirs({"query": query}) == mine({"query": query})
    assert theirs({"query": query})["instag_tags"] == ["sorting", "python"]


@pytest.mark.slow
def test_a_tagger_loaded_by_id_tags(local_hub, api, trained, clean_home):
    instag.publish_model(trained, "me/tags", license="apache-2.0")
    row = {"query": "Sort a list of dicts by date in Python."}
    mine = instag.Tagger(model=str(trained / "tagger.gguf"))(row)
    replies = len(store())
    assert mine["instag_tags"]
    assert instag.Tagger(model="me/tags")(row) == mine
    assert len(store()) == replies  # the warm store had the reply


def test_a_revision_of_a_tagger_is_the_one_asked_for(local_hub, api, trained, clean_home):
    first = instag.publish_model(trained, "me/moving", license="apache-2.0")
    local_hub.add("me/moving", {"tagger.gguf": (trained / "tagger.gguf").read_bytes() + b"\0" * 32}, repo_type="model")
    now, then = instag.Tagger(model="me/moving"), instag.Tagger(model="me/moving", revision=first.commit)
    assert then.revision == instag.Tagger(model=str(trained / "tagger.gguf")).revision != now.revision
    with pytest.raises(InputError, match="'me/moving' at gone"):
        instag.Tagger(model="me/moving", revision="gone")
    with pytest.raises(InputError, match="found 'me/no-such'"):
        instag.Tagger(model="me/no-such")
    local_hub.add("me/empty", {"a.txt": b"1"}, repo_type="model")
    with pytest.raises(InputError, match="one GGUF file in me/empty, found none"):
        instag.Tagger(model="me/empty")


def test_a_tagger_is_asked_as_it_was_trained(local_hub, api, trained, tmp_path):
    facts = json.loads((trained / "training.json").read_text())
    model = (trained / "tagger.gguf").read_bytes()
    recipe = instag.load_recipe("open")
    asked = {**facts, "recipe": {"name": "open", "sha256": recipe.sha256}}
    files = {"tagger.gguf": model, "training.json": json.dumps(asked).encode()}
    local_hub.add("me/open-tagger", files, repo_type="model")
    assert instag.Tagger(model="me/open-tagger").recipe == recipe
    files["training.json"] = json.dumps({**facts, "recipe": {"name": "mine", "sha256": "0" * 64}}).encode()
    local_hub.add("me/own-recipe", files, repo_type="model")
    with pytest.raises(InputError, match="the recipe 'mine'"):
        instag.Tagger(model="me/own-recipe")
    assert instag.Tagger(model="me/own-recipe", recipe="open").recipe == recipe


def test_a_taggers_card_is_valid_and_has_no_path_of_this_machine(local_hub, api, trained):
    from huggingface_hub import ModelCard

    done = instag.publish_model(trained, "me/carded", license="apache-2.0")
    card = ModelCard.load("me/carded")
    card.validate()
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "peft"
    facts = json.loads((trained / "training.json").read_text())
    scores = facts["scores"]["agreement"]
    assert [result.metric_value for result in card.data.eval_results] == [
        round(scores["exact"]["f1"], 4),
        round(scores["fuzzy"]["f1"], 4),
    ]
    assert f"| exact match, over all tags | {scores['exact']['precision']:.3f}" in card.text
    config = Path(api.hf_hub_download("me/carded", "adapter_config.json")).read_text()
    assert json.loads(config)["base_model_name_or_path"] == facts["base"].partition("@")[0]
    assert str(trained) not in done.card + config
    assert instag.publish_model(trained, "me/carded").written == ()


def test_whole_weights_are_loaded_by_transformers(local_hub, api, trained, tmp_path):
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(tmp_path / "merged")
    (tmp_path / "training.json").write_text((trained / "training.json").read_text())
    done = instag.publish_model(tmp_path, "me/weights", license="llama2")
    assert set(done.files) == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "training.json",
    }
    assert "library_name: transformers" in done.card
    again = transformers.AutoModelForCausalLM.from_pretrained("me/weights", revision=done.commit)
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in model.state_dict().items())


def test_weights_leave_none_behind_that_would_be_loaded_instead(local_hub, api, trained, tmp_path):
    def publish(names, folder):
        root = tmp_path / str(len(names)) / folder
        root.mkdir(parents=True)
        for name in names:
            (root / name).write_text(json.dumps({"of": name}))
        (root.parent / "training.json").write_text((trained / "training.json").read_text())
        return instag.publish_model(root.parent, "me/changing", license="mit").removed

    shards = [f"model-0000{place}-of-00002.safetensors" for place in (1, 2)]
    assert publish(["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"], "adapter") == ()
    api.upload_file(path_or_fileobj=b"theirs", path_in_repo="model.py", repo_id="me/changing")
    removed = publish(["config.json", "model.safetensors.index.json", *shards], "merged")
    assert sorted(removed) == ["adapter_config.json", "adapter_model.safetensors"]
    assert sorted(publish(["config.json", "model.safetensors"], "merged")) == sorted(
        [*shards, "model.safetensors.index.json"]
    )
    assert {"model.py", "tokenizer.json"} <= set(api.list_repo_files("me/changing"))


@pytest.mark.parametrize("text", ["{", "[]"])
@pytest.mark.parametrize("name", ["training.json", "adapter/adapter_config.json"])
def test_a_record_that_cannot_be_read_is_told(trained, tmp_path, name, text):
    shutil.copytree(trained, tmp_path / "made")
    (tmp_path / "made" / name).write_text(text)
    with pytest.raises(InputError, match=rf"hub: expected a JSON object in .*{name}, found "):
        instag.publish_model(tmp_path / "made", "me/no", license="mit")


def test_the_shipped_tagger_goes_with_its_notice(local_hub, api):
    from instag_hf.cards import tagger_card, tagger_facts
    from instag_hf.engines.embedded import ADAPTER

    done = instag.publish_model(ADAPTER, "me/instagger-mini")
    assert sorted(done.files) == ["NOTICE.md", "README.md", "tagger.gguf", "training.json"]
    own = tagger_card(tagger_facts(), name="instagger-mini").split("---\n", 2)[2]
    assert own.strip() in done.card
    assert "license: other" in done.card
    assert instag.publish_model(ADAPTER, "me/instagger-mini").written == ()
    assert instag.Tagger(model="me/instagger-mini").revision == instag.Tagger(model=str(ADAPTER)).revision


def test_what_is_no_model_is_told(local_hub, api, tmp_path, trained):
    whole = f"hub: expected a folder that train-tagger or train-lm wrote, or a tagger's GGUF file, found no {tmp_path / 'no'}."
    with pytest.raises(InputError, match=f"^{re.escape(whole)}$"):
        instag.publish_model(tmp_path / "no", "me/no")
    with pytest.raises(InputError, match=r"training.json, beside"):
        instag.publish_model(tmp_path, "me/no")
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(InputError, match="none of them"):
        instag.publish_model(tmp_path, "me/no")
    with pytest.raises(InputError, match=r"licence of me/no.*license="):
        instag.publish_model(trained, "me/no")


# The command line


def run(*words, **more):
    command = [Path(sys.executable).parent / "instag", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


def test_the_command_line_publishes_and_shows(local_hub, api, tmp_path, clean_home):
    from datasets import load_dataset

    rows = tagged(12)
    rows.to_parquet(tmp_path / "rows.parquet")
    words = ["rows.parquet", "me/cli", "--source", "you/source", "--no-charts"]
    shown = run("card", *words, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert run("--debug", "card", *words, cwd=tmp_path).stdout == shown.stdout
    dry = run("publish-dataset", *words, "--dry-run", cwd=tmp_path)
    assert dry.stdout.startswith(shown.stdout.rstrip("\n"))
    assert not local_hub.seen("create", "commit")
    done = run("publish-dataset", *words, cwd=tmp_path)
    assert done.stdout == f"{local_hub.url}/datasets/me/cli\n"
    assert "4 files changed" in done.stderr
    card = Path(api.hf_hub_download("me/cli", "README.md", repo_type="dataset")).read_text()
    assert "instag publish-dataset rows.parquet me/cli --source you/source --no-charts\n" in card
    assert card == shown.stdout
    assert load_dataset("me/cli", split="train").to_list() == rows.to_list()
    wrong = run("publish-dataset", "rows.parquet", "me/cli", "--source", "you/nothing", cwd=tmp_path)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: hub: expected the source 'you/nothing'")
    assert TOKEN not in done.stderr + done.stdout + wrong.stderr


@pytest.mark.lane
def test_a_missing_repo_error_is_a_kind_of_its_own():
    assert issubclass(RepoError, HubError)
    assert issubclass(AccessError, HubError)
