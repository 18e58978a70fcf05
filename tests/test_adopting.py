"""Tags that others wrote become our columns, and a row without tags is a failed row and not a lost one."""

import json

import pytest

import instag_hf as instag
from instag_hf.errors import InputError
from instag_hf.rows import ADDED, ERROR, NORMALIZED, TAGGER, TAGS
from instag_hf.rows.columns import read_tags


def adopted(values, column="annotation.instag.content", **features):
    from datasets import Dataset

    head = column.partition(".")[0]
    return instag.adopt_tags(Dataset.from_dict({"id": list(range(len(values))), head: values}), column, tagger="them")


def annotation(content):
    return {"deita_quality": {"score": 3.5}, "instag": {"content": content}}


def test_a_pool_of_mig_has_its_tags_three_levels_down():
    found = adopted([annotation(["poetry", "haiku"]), annotation(["poetry", "poetry", " nature\u00a0"])])
    assert found[TAGS][:] == [["poetry", "haiku"], ["poetry", "nature"]]
    assert set(found[TAGGER]) == {"them"}
    assert found[ERROR][:] == ["", ""]
    assert found.column_names == ["id", "annotation", TAGS, ERROR, TAGGER]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        pytest.param(annotation([]), 'row: no tags in "annotation.instag.content"', id="an empty list"),
        pytest.param(annotation(None), 'row: no tags in "annotation.instag.content"', id="nothing"),
        pytest.param({"instag": None}, 'row: no tags in "annotation.instag.content"', id="nothing on the way"),
        pytest.param(None, 'row: no tags in "annotation.instag.content"', id="no annotation"),
        pytest.param(annotation(["  "]), 'row: no tags in "annotation.instag.content"', id="blank tags"),
    ],
)
def test_a_row_without_tags_fails_and_stays(value, error):
    found = adopted([annotation(["poetry"]), value])
    assert found[TAGS][:] == [["poetry"], []]
    assert found[ERROR][:] == ["", error]
    assert read_tags(found).failed == {"row": 1}


def test_json_text_and_structs_of_a_tag_are_read():
    explained = [{"tag": "poetry", "explanation": "a haiku"}, {"tag": "nature", "explanation": ""}]
    values = [json.dumps(annotation(explained)), json.dumps(annotation(7)), "no json", json.dumps(annotation([7]))]
    found = adopted(values)
    assert found[TAGS][:] == [["poetry", "nature"], [], [], []]
    assert found[ERROR][1] == 'row: "annotation.instag.content": expected a list of tags, found int'
    assert found[ERROR][2] == 'row: no tags in "annotation.instag.content"'
    assert found[ERROR][3] == 'row: "annotation.instag.content": expected tags of text, found something else'


def test_a_plain_column_also_with_a_dot_in_its_name():
    assert adopted([["a"], ["b"]], "tags")[TAGS][:] == [["a"], ["b"]]
    from datasets import Dataset

    dotted = Dataset.from_dict({"my.tags": [["a"]]})
    assert instag.adopt_tags(dotted, "my.tags", tagger="them")[TAGS][:] == [["a"]]


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match='expected a column "nothing"'):
        instag.adopt_tags(adopted([["a"]], "tags"), "nothing.at.all", tagger="them", overwrite=True)
    again = adopted([["a"]], "tags")
    with pytest.raises(InputError, match="already has the columns"):
        instag.adopt_tags(again, "tags", tagger="them")
    assert instag.adopt_tags(again, "tags", tagger="others", overwrite=True)[TAGGER][:] == ["others"]


def test_nothing_of_the_old_tags_stays_when_overwriting():
    from datasets import Dataset

    old = {TAGS: ["x"], "instag_explanations": [""], "instag_turns": [1], ERROR: "", TAGGER: "old", NORMALIZED: ["x"]}
    tagged = Dataset.from_list([{"instruction": "Hi", "gold": ["p", "q"], **old}])
    found = instag.adopt_tags(tagged, "gold", tagger="people", overwrite=True)
    assert found.column_names == ["instruction", "gold", TAGS, ERROR, TAGGER]
    assert instag.report(found).total.tags_per_query == 2
    for left in ("instag_turns", "instag_explanations", NORMALIZED):
        with pytest.raises(InputError, match=rf"already has the columns \['{left}'\]"):
            instag.adopt_tags(tagged.select_columns(["gold", left]), "gold", tagger="people")


def test_the_column_that_is_read_may_be_one_of_ours_and_stays():
    tagged = adopted([["a"], []], "tags").rename_column("tags", NORMALIZED)
    plain = tagged.remove_columns([TAGS, ERROR, TAGGER])
    for rows in (tagged, plain):
        found = instag.adopt_tags(rows, NORMALIZED, tagger="others", overwrite=rows is tagged)
        assert (found[TAGS][:], found[NORMALIZED][:], found[TAGGER][0]) == ([["a"], []], [["a"], []], "others")
    again = instag.adopt_tags(tagged, TAGS, tagger="others", overwrite=True)
    assert (again[TAGS][:], set(again.column_names) & {*ADDED, NORMALIZED}) == ([["a"], []], {TAGS, ERROR, TAGGER})


def test_the_public_rows_of_mig_are_adopted(shared_data):
    from datasets import Dataset

    lines = [json.loads(line) for line in (shared_data / "tagged" / "mig_instag_10.jsonl").read_text().splitlines()]
    rows = Dataset.from_list([{"annotation": annotation(line["tags"]), "query": line["query"]} for line in lines])
    found = instag.adopt_tags(rows, tagger="OFA-Sys/InsTagger")
    assert found[TAGS][:] == [list(dict.fromkeys(line["tags"])) for line in lines]
