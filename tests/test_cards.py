"""Cards say what the record says, and nothing that data holds can become markup."""

import copy

import pytest
import yaml
from conftest import ROOT

from instag_hf.cards import escape, tagger_card, tagger_facts, tagger_notice
from instag_hf.engines.embedded import ADAPTER, BASE_FILE
from instag_hf.errors import InputError

NAME = "instagger-mini"


def test_the_shipped_card_and_notice_are_what_the_record_renders():
    facts = tagger_facts()
    assert (ROOT / "model_cards" / f"{NAME}.md").read_text() == tagger_card(facts, name=NAME)
    assert ADAPTER.with_suffix(".NOTICE.md").read_text() == tagger_notice(facts, name=NAME)


def test_the_record_is_of_the_shipped_adapter():
    import hashlib

    facts = tagger_facts()
    assert facts["adapter_sha256"] == hashlib.sha256(ADAPTER.read_bytes()).hexdigest()
    assert facts["base"].endswith(BASE_FILE)
    assert sum(source["rows"] for source in facts["sources"]) == facts["examples"]


def test_the_yaml_is_valid_and_has_the_scores():
    card = tagger_card(tagger_facts(), name=NAME)
    data = yaml.safe_load(card.split("---")[1])
    assert data["license"] == "other"
    values = [metric["value"] for metric in data["model-index"][0]["results"][0]["metrics"]]
    scores = tagger_facts()["scores"]["agreement"]
    assert values == [round(scores["exact"]["f1"], 4), round(scores["fuzzy"]["f1"], 4)]


def test_a_missing_fact_is_an_error_that_names_it():
    facts = tagger_facts()
    del facts["steps"]
    with pytest.raises(InputError, match="steps"):
        tagger_card(facts, name=NAME)


def test_a_control_stands_beside_the_main_score_where_there_is_one():
    facts = tagger_facts()
    facts.pop("control")
    plain = tagger_card(facts, name=NAME)
    both = tagger_card({**facts, "control": {**facts, "examples": 5090}}, name=NAME)
    assert "permissively licensed sources alone" not in plain
    assert "trained on permissively licensed sources alone (5,090 queries), exact" in both


def test_text_of_data_stays_text():
    facts = copy.deepcopy(tagger_facts())
    facts["sources"][0] = {"source": "a|b\n<script>", "license": "MIT | [x](http://y) <b>\n# z", "rows": 1}
    notice = tagger_notice(facts, name="x *y*")
    assert r"MIT \| \[x\](http://y) &lt;b> # z" in notice
    assert "<script>" not in notice
    assert "\n# z" not in notice


def test_escaping_keeps_plain_words():
    assert escape("plain words (CC-BY 4.0), 1.5 %") == "plain words (CC-BY 4.0), 1.5 %"
    assert escape("# heading") == r"\# heading"
    assert escape("1. item") == r"\1. item"
    assert escape("a  b\nc") == "a b c"
