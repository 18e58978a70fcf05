"""Columns of tag lists become numbers, and nothing is lost or made up on the way."""

import pytest
from datasets import Dataset, DatasetDict, IterableDataset
from hypothesis import given
from hypothesis import strategies as st

from instag_hf import InputError
from instag_hf.rows import columns
from instag_hf.rows.columns import read_tags

LISTS = st.lists(st.lists(st.sampled_from(["math", "sums", "c++", "諺", ""]), max_size=4), max_size=9)


def once(lists):
    return [list(dict.fromkeys(tags)) for tags in lists]


@given(LISTS)
def test_every_kind_of_input_reads_alike(lists):
    data = Dataset.from_dict({"instag_tags": [["x"], *lists]})
    stream = IterableDataset.from_generator(lambda: ({"instag_tags": tags} for tags in [["x"], *lists]))
    wanted = once([["x"], *lists])
    assert list(read_tags([["x"], *lists])) == wanted
    assert list(read_tags(data)) == wanted
    assert list(read_tags(data.to_iterable_dataset().map(lambda row: row))) == wanted
    assert list(read_tags(stream)) == wanted
    order = list(reversed(range(len(data))))
    assert list(read_tags(data.select(order))) == wanted[::-1]


@given(LISTS, st.permutations(["math", "sums", "c++", "諺", ""]))
def test_relabel_equals_a_plain_loop(lists, order):
    column = read_tags(lists)
    targets = {name: order[0] if name < "n" else None for name in column.names}
    again = column.relabel([targets[name] for name in column.names])
    assert list(again) == once([[targets[tag] for tag in tags if targets[tag] is not None] for tags in lists])


@given(LISTS)
def test_counts_and_lengths_equal_a_plain_loop(lists):
    column = read_tags(lists)
    assert dict(zip(column.names, column.counts.tolist(), strict=True)) == {
        name: sum(name in tags for tags in lists) for name in column.names
    }
    assert column.lengths.tolist() == [len(set(tags)) for tags in lists]
    assert column.row_numbers.tolist() == [row for row, tags in enumerate(once(lists)) for _ in tags]


def test_batches_join_seamlessly(monkeypatch):
    lists = [[f"tag {n % 3}", "every"] for n in range(10)]
    monkeypatch.setattr(columns, "BATCH", 3)
    monkeypatch.setattr(columns, "STREAMED", 4)
    data = Dataset.from_dict({"instag_tags": lists})
    assert list(read_tags(lists)) == list(read_tags(data)) == list(read_tags(data.to_iterable_dataset())) == lists


def test_failed_rows_are_counted_by_kind_and_have_no_tags():
    errors = ["", "parse: query 2 of 5: no list", "row: empty", "parse: no list"]
    data = Dataset.from_dict({"instag_tags": [["math"], ["left over"], [], []], "instag_error": errors})
    column = read_tags(data)
    assert list(column) == [["math"], [], [], []]
    assert column.failed == {"parse": 2, "row": 1}
    assert column.names == ["math"]


def test_several_taggers_are_refused_unless_allowed():
    data = Dataset.from_dict({"instag_tags": [["a"], ["b"], ["b"]], "instag_tagger": ["one", "two", "two"]})
    with pytest.raises(InputError, match=r"expected rows of one tagger, found two \(2 rows\), one \(1 rows\)"):
        read_tags(data)
    assert len(read_tags(data, mixed=True)) == 3


def test_errors_and_taggers_that_are_nothing_are_no_failure_and_not_told():
    nothing = Dataset.from_dict(
        {"instag_tags": [["a"], ["b"]], "instag_error": [None] * 2, "instag_tagger": [None] * 2}
    )
    for data in (nothing, nothing.to_iterable_dataset()):
        assert (list(read_tags(data)), read_tags(data).failed) == ([["a"], ["b"]], {})
    data = Dataset.from_dict({"instag_tags": [["a"]] * 3, "instag_tagger": ["one", None, ""]})
    with pytest.raises(InputError, match=r"expected rows of one tagger, found \(not told\) \(2 rows\), one \(1 rows\)"):
        read_tags(data)


def test_a_column_of_nothing_reads_as_rows_without_tags():
    assert list(read_tags(Dataset.from_dict({"instag_tags": [[], []]}))) == [[], []]
    assert list(read_tags(Dataset.from_dict({"instag_tags": [None, ["a"]]}))) == [[], ["a"]]
    assert len(read_tags([])) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        pytest.param("abc", "expected a dataset or lists of tags, found str", id="text"),
        pytest.param(["abc"], 'row 0: expected "instag_tags" to be a list of tags, found str', id="texts"),
        pytest.param([["a"], ["b", 1]], "expected .* lists of texts, found something else from row 0 on", id="numbers"),
        pytest.param([["a\ud800"]], "expected .* lists of texts, .* surrogates not allowed", id="half a character"),
        pytest.param([["a"], ["b", None]], "row 1: expected texts .*, found a tag that is nothing", id="nothing"),
        pytest.param(Dataset.from_dict({"x": [1]}), r"expected a column .* found columns \['x'\]", id="no column"),
        pytest.param(Dataset.from_dict({"instag_tags": ["a"]}), "to be lists of texts, found string", id="text column"),
        pytest.param(DatasetDict({"train": Dataset.from_dict({"x": [1]})}), r"found the splits \['train'\]", id="dict"),
    ],
)
def test_what_is_no_column_of_tags_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        read_tags(wrong)
