"""Two taggings of the same rows: how far they agree, and a failure on either side is no disagreement."""

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from instag_hf.agreement import tag_f1
from instag_hf.errors import InputError
from instag_hf.quality import measure_drift

TAGS = st.lists(st.sampled_from("abcd"), max_size=4)
ROWS = st.lists(st.tuples(TAGS, TAGS, st.booleans(), st.booleans()), min_size=1, max_size=8)


def side(tags, failed=None, **columns):
    errors = [("parse: no list" if bad else "") for bad in failed or [False] * len(tags)]
    kept = [[] if error else list(row) for row, error in zip(tags, errors, strict=True)]
    asked = [f"query {n}" for n in range(len(tags))]
    return Dataset.from_dict({"query": asked, "instag_tags": kept, "instag_error": errors, **columns})


@given(ROWS)
def test_drift_equals_a_slow_recount(rows):
    before = side([row[0] for row in rows], [row[2] for row in rows])
    after = side([row[1] for row in rows], [row[3] for row in rows])
    kept = [(set(old), set(new)) for old, new, bad, worse in rows if not bad and not worse]
    if not kept:
        with pytest.raises(InputError, match="rows that both sides tagged, found none"):
            measure_drift(before, after, embedder=None)
        return
    found = measure_drift(before, after, embedder=None)
    assert found.rows == len(rows)
    assert found.failed == {
        "before": sum(row[2] and not row[3] for row in rows),
        "after": sum(row[3] and not row[2] for row in rows),
        "both": sum(row[2] and row[3] for row in rows),
    }
    assert found.unchanged == sum(old == new for old, new in kept) / len(kept)
    assert found.agreement == tag_f1([list(new) for _, new in kept], [list(old) for old, _ in kept], embedder=None)
    assert dict(found.lost) == {tag: n for tag in "abcd" if (n := sum(tag in old - new for old, new in kept))}
    assert dict(found.gained) == {tag: n for tag in "abcd" if (n := sum(tag in new - old for old, new in kept))}


def test_two_columns_of_one_dataset_are_compared():
    data = side([["a"], ["b"]], instag_normalized=[["a"], ["c"]])
    found = measure_drift(data, data, tags_after="instag_normalized", embedder=None)
    assert (found.unchanged, found.lost, found.gained) == (0.5, [("b", 1)], [("c", 1)])
    assert found.agreement.fuzzy is None
    assert found.to_dict()["agreement"]["exact"]["f1"] == 0.5


def test_only_the_most_frequent_changes_are_named():
    data = side([[f"tag {n}", f"tag {n % 2}"] for n in range(60)], now=[["x"]] * 60)
    found = measure_drift(data, data, tags_after="now", embedder=None)
    assert found.gained == [("x", 60)]
    assert len(found.lost) == 20
    assert found.lost[:3] == [("tag 0", 30), ("tag 1", 30), ("tag 10", 1)]


@pytest.mark.parametrize(
    ("after", "message"),
    [
        pytest.param([["a"], ["b"]], "expected two Datasets, found list. Take one split of each", id="lists"),
        pytest.param(side([["a"]]).to_iterable_dataset(), "expected two Datasets, found IterableDataset", id="stream"),
        pytest.param(side([["a"]]), "expected the same rows twice, found 2 and 1", id="fewer"),
        pytest.param(
            side([["a"], ["a"]]).select([1, 0]), "expected the same queries .* another one in row 0", id="order"
        ),
        pytest.param(
            side([["a"], ["a"]]).rename_column("query", "prompt"), "expected the same query columns", id="columns"
        ),
        pytest.param(
            side([["a"], ["a"]], [True, True]), "expected rows that both sides tagged, found none of 2", id="failed"
        ),
        pytest.param(side([["a"], ["a"]], instag_tagger=["one", "two"]), "expected rows of one tagger", id="taggers"),
    ],
)
def test_rows_that_cannot_be_compared_are_refused(after, message):
    with pytest.raises(InputError, match=message):
        measure_drift(side([["a"], ["b"]]), after, embedder=None)


def test_a_change_far_down_is_found_across_batches(monkeypatch):
    monkeypatch.setattr("instag_hf.quality.drift.BATCH", 3)
    before = side([["a"]] * 8)
    after = before.map(lambda row, at: {"query": "other" if at == 7 else row["query"]}, with_indices=True)
    with pytest.raises(InputError, match="found another one in row 7"):
        measure_drift(before, after, embedder=None)
    assert measure_drift(before, side([["a"]] * 8), embedder=None).unchanged == 1.0
