"""Row in, queries out."""

import gzip
import itertools
import json

import pytest
from datasets import ClassLabel, Dataset, Features, Image, Json, LargeList, List, Value
from hypothesis import given
from hypothesis import strategies as st

from instag_hf.errors import InputError, RowError
from instag_hf.rows import ADDED, check_columns, clean, cut, find_shape, queries
from instag_hf.rows.stored import stored, undecoded


def said(*texts):
    """A conversation of `messages` in which user and assistant take turns."""
    return [{"role": role, "content": text} for role, text in zip(itertools.cycle(["user", "assistant"]), texts)]


SHAPES = [
    pytest.param({"instruction": "Sort.", "input": "b a", "output": "a b"}, ["Sort.\nb a"], id="alpaca"),
    pytest.param({"instruction": "Sort.", "input": "", "output": "?"}, ["Sort."], id="alpaca without input"),
    pytest.param({"instruction": "Sort.", "input": None}, ["Sort."], id="alpaca with a missing input, as CSV gives it"),
    pytest.param({"instruction": "When?", "context": "In 1833.", "response": "x"}, ["When?\nIn 1833."], id="dolly"),
    pytest.param({"instruction": "When?", "input": " ", "context": "In 1833."}, ["When?\nIn 1833."], id="both kinds"),
    pytest.param({"instruction": "When?", "input": "a", "context": "b"}, ["When?\na"], id="both kinds, both filled"),
    pytest.param(
        {
            "conversations": [
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Yo"},
                {"from": "human", "value": "Go"},
            ]
        },
        ["Hi", "Go"],
        id="sharegpt",
    ),
    pytest.param({"messages": [{"role": "system", "content": "Be kind."}, *said("Hi", "Yo")]}, ["Hi"], id="messages"),
    pytest.param(
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is"},
                        {"type": "image", "text": None},
                        {"type": "text", "text": "this?"},
                    ],
                }
            ]
        },
        ["What is\n\nthis?"],
        id="messages with parts",
    ),
    pytest.param({"messages": json.dumps(said("Hi", "Yo"))}, ["Hi"], id="messages as JSON text, as CSV holds them"),
    pytest.param({"messages": str(said("It's", "Yo"))}, ["It's"], id="messages as pandas writes them into CSV"),
    pytest.param({"dialogs": said("Hi", "Yo", "Go")}, ["Hi", "Go"], id="dialogs of turns"),
    pytest.param({"dialogs": [said("Hi", "Yo"), said("Go")]}, ["Hi", "Go"], id="several dialogs"),
    pytest.param({"dialogs": ["Hi", "Yo", "Go"]}, ["Hi", "Go"], id="dialogs of bare texts"),
    pytest.param({"prompt": "Hi", "completion": "Yo"}, ["Hi"], id="prompt and completion"),
    pytest.param({"prompt": said("Hi"), "completion": said("Yo")}, ["Hi"], id="prompt of messages"),
    pytest.param({"question": "Why?", "answer": "So."}, ["Why?"], id="question and answer"),
    pytest.param({"query": " Why? \n"}, ["Why?"], id="query, stripped"),
    pytest.param({"messages": said("Hi", "Yo", "  ", "?", "Go")}, ["Hi", "Go"], id="a blank turn asks nothing"),
    pytest.param({"messages": said("A", "B"), "instruction": "C"}, ["A"], id="a conversation comes before a prompt"),
]


@pytest.mark.parametrize(("row", "expected"), SHAPES)
def test_queries_of_each_shape(row, expected):
    assert queries(row) == expected


def test_turn_policy_takes_first_or_last():
    row = {"messages": said("A", "B", "C", "D", "E")}
    assert queries(row, turns="first") == ["A"]
    assert queries(row, turns="last") == ["E"]


def test_a_named_column_is_read_alone():
    assert queries({"instruction": "A", "input": "B", "text": "C"}, column="text") == ["C"]
    assert queries({"instruction": "A", "input": "B"}, column="instruction") == ["A"]
    assert queries({"chat": said("A", "B", "C")}, column="chat") == ["A", "C"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param({"instruction": None}, '"instruction": expected text, found nothing', id="None"),
        pytest.param({"instruction": ""}, '"instruction" is empty', id="empty"),
        pytest.param({"instruction": " \n\t"}, '"instruction" is empty', id="blank"),
        pytest.param({"instruction": 7}, '"instruction": expected text, found int', id="number"),
        pytest.param({"instruction": "A", "input": 7}, '"input": expected text, found int', id="number as input"),
        pytest.param({"messages": []}, '"messages" has no user turn with text', id="no turns"),
        pytest.param({"messages": None}, '"messages": expected text, found nothing', id="no conversation"),
        pytest.param(
            {"messages": [{"role": "assistant", "content": "A"}]}, '"messages" has no user turn with text', id="no user"
        ),
        *(
            pytest.param(
                {"messages": text}, '"messages": expected a list of turns, found text that is no list', id=text
            )
            for text in ("{{1}}", "[{[]: 1}]")  # what Python cannot hash raises TypeError
        ),
        pytest.param(
            {"messages": "not json"},
            '"messages": expected a list of turns, found text that is no list',
            id="text",
        ),
        pytest.param(
            {"messages": [3]},
            '"messages", turn 1: expected a turn with a role and a text, found int',
            id="turn is a number",
        ),
        pytest.param(
            {"messages": [{"content": "A"}]},
            '"messages", turn 1: expected a "role" or a "from" of text, found keys [\'content\']',
            id="no role",
        ),
        pytest.param(
            {"messages": [{"role": "narrator", "content": "A"}]},
            "\"messages\", turn 1: expected a role such as user or assistant, found 'narrator'",
            id="unknown role",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": None}]},
            '"messages", turn 1: expected text, found nothing',
            id="no text",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": [5]}]},
            '"messages", turn 1: expected parts of content, found int',
            id="part is a number",
        ),
    ],
)
def test_a_row_with_nothing_to_tag_says_why(row, message):
    with pytest.raises(RowError) as caught:
        queries(row)
    assert str(caught.value) == message


def test_unknown_shape_names_the_columns_found_and_known():
    with pytest.raises(InputError) as caught:
        find_shape(["text", "label"])
    assert str(caught.value) == (
        "tag: expected one of the columns ['messages', 'conversations', 'conversation', 'dialogs', 'instruction', "
        "'prompt', 'question', 'query'], found columns ['text', 'label']. Name the column with column=."
    )


def test_missing_column_names_the_columns_found():
    with pytest.raises(InputError, match=r'expected a column "text", found columns \[\'a\'\]'):
        find_shape(["a"], "text")


def test_our_columns_are_not_overwritten_unasked():
    with pytest.raises(InputError, match=r"already has the columns \['instag_tags'\]"):
        check_columns(["query", "instag_tags"])
    assert check_columns(["query", "instag_tags"], overwrite=True).column == "query"
    assert all(name.startswith("instag_") for name in ADDED)


@pytest.mark.parametrize("overwrite", [False, True])
def test_canonical_tags_of_old_tags_are_refused_also_when_overwriting(overwrite):
    with pytest.raises(InputError) as caught:
        check_columns(["query", "instag_normalized"], overwrite=overwrite)
    assert str(caught.value) == (
        "tag: the dataset already has the column instag_normalized, which belongs to its old tags. "
        "Remove it with ds.remove_columns (--overwrite does)."
    )
    assert check_columns(["instag_normalized"], column="instag_normalized").column == "instag_normalized"


@pytest.mark.parametrize(
    ("file", "rows", "column"),
    [
        pytest.param("dolly_3k.jsonl", 2996, "instruction", id="dolly"),
        pytest.param("sharegpt_1k.jsonl.gz", 1000, "conversations", id="sharegpt"),
        pytest.param("pool_10k.jsonl.gz", 9780, "messages", id="messages"),
        pytest.param("permissive_sample.jsonl", 700, "messages", id="permissive"),
        pytest.param("tags/dev.jsonl", 491, "query", id="query"),
    ],
)
def test_real_files_have_queries_or_a_reason(shared_data, file, rows, column):
    path = shared_data / file
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    read = [json.loads(line) for line in text.splitlines()]
    assert len(read) == rows
    assert find_shape(read[0]).column == column
    failed = []
    for row in read:
        try:
            assert all(text == text.strip() and text for text in queries(row))
        except RowError as error:
            failed.append(str(error))
    assert len(failed) <= rows // 50, failed[:10]


@given(st.text(alphabet=st.characters(codec=None)) | st.text(alphabet="\ud83d\ude00a\0\udfff"))
def test_clean_text_is_accepted_below(text):
    cleaned = clean(text)
    cleaned.encode()
    assert "\0" not in cleaned
    assert clean(cleaned) == cleaned


def test_clean_keeps_good_text_and_joins_pairs():
    assert clean("naïve 😀 \u202bשלום") == "naïve 😀 \u202bשלום"
    assert clean("\ud83d\ude00") == "😀"
    assert clean("a\ud800b") == "a\ufffdb"


@given(st.text(), st.integers(min_value=8, max_value=60))
def test_cut_keeps_both_ends_within_the_bound(text, max_bytes):
    text = clean(text)
    short = cut(text, max_bytes)
    assert len(short.encode()) <= max_bytes
    assert short == text if len(text.encode()) <= max_bytes else len(short.encode()) > max_bytes - 8
    assert "\ufffd" not in short or "\ufffd" in text


def test_stored_rows_are_those_of_datasets_but_for_files():
    named = {"bytes": None, "path": "/gone/x.png"}
    rows = {
        "content": [["a", {"type": "text"}]],  # of mixed types, which is stored as JSON
        "kind": [1],
        "image": [named],
        "turns": [[{"image": named, "images": [[named]], "text": "a"}]],
    }
    features = Features(
        {
            "content": Json(),
            "kind": ClassLabel(names=["a", "b"]),
            "image": Image(),
            "turns": List({"image": Image(), "images": List(LargeList(Image())), "text": Value("string")}),
        }
    )
    ds = Dataset.from_dict(rows, features=features)
    assert list(stored(ds.with_format("numpy"))) == [{name: values[0] for name, values in rows.items()}]
    assert ds.features == features
    told = ds.cast(undecoded(ds.features))
    assert told[0] == next(stored(ds))
    with pytest.raises(FileNotFoundError):
        ds[0]
