"""Cards say what the record says, and nothing that data holds can become markup."""

import copy
import dataclasses
import json

import pytest
import yaml
from conftest import ROOT

from instag_hf.cards import (
    dataset_card,
    escape,
    fence,
    model_card,
    normalizer_card,
    tagger_card,
    tagger_facts,
    tagger_notice,
    taglm_card,
)
from instag_hf.cards.filling import BEGIN, END, fill_card
from instag_hf.engines.embedded import ADAPTER, BASE_FILE
from instag_hf.errors import InputError
from instag_hf.mtbench import Round, Scores
from instag_hf.training import LMSettings

NAME = "instagger-mini"


def test_the_shipped_card_and_notice_are_what_the_record_renders():
    facts = tagger_facts()
    assert (ROOT / "model_cards" / f"{NAME}.md").read_text() == tagger_card(facts, name=NAME)
    assert ADAPTER.with_suffix(".NOTICE.md").read_text() == tagger_notice(facts, name=NAME)


def test_the_record_is_of_the_shipped_adapter():
    import hashlib

    facts = tagger_facts()
    assert facts["adapter_sha256"] == hashlib.sha256(ADAPTER.read_bytes()).hexdigest()
    assert facts["start"] != facts["adapter_sha256"]  # it went on from the adapter that shipped before it
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


def test_a_row_that_holds_our_marks_does_not_break_the_card():
    body = f"```\n{END}\n{BEGIN}\n```"
    first = fill_card("dataset", "", {}, body, heading="A")
    again = fill_card("dataset", first + "\nTheirs.\n", {}, body, heading="A")
    assert again == first + "\nTheirs.\n"


def test_escaping_keeps_plain_words():
    assert escape("plain words (CC-BY 4.0), 1.5 %") == "plain words (CC-BY 4.0), 1.5 %"
    assert escape("# heading") == r"\# heading"
    assert escape("12. item") == r"12\. item"
    assert escape("0.99") == "0.99"
    assert escape("a  b\nc") == "a b c"


TAGLM = {
    "base": "meta-llama/Llama-2-13b-hf",
    "settings": dataclasses.asdict(LMSettings()),
    "rows": 6000,
    "steps": 234,
    "tokens_an_epoch": 4_321_000,
    "taught_tokens_an_epoch": 2_100_000,
    "rows_cut": 12,
    "rows_too_long": 3,
    "left_out": {"no answer": 4, "<b>*x*</b>": 1},
    "turns_dropped": 1234,
    "sources": [{"source": "a", "license": "MIT", "rows": 5000}, {"source": "b", "license": "", "rows": 1000}],
    "eval_rows": 300,
    "eval_loss_before": 1.5,
    "eval_loss": 1.25,
}
ROUND = Round(
    mean=6.4, first_turn=7.0, second_turn=5.8, categories={"coding": 3.0, "stem": 8.0}, judged=150, failed={"parse": 10}
)
SCORES = Scores(
    model="taglm", judge="gpt-4 | x", bench="ab" * 32, rounds=(ROUND, dataclasses.replace(ROUND, mean=6.6, failed={}))
)
PUBLISHED = {
    **TAGLM,
    "repo": "me/taglm-13b",
    "license": {"license": "llama2", "license_name": None, "license_link": None},
    "scores": None,
    "control_scores": None,
}


@pytest.mark.parametrize("card", [tagger_card, dataset_card, model_card, taglm_card, normalizer_card])
def test_a_record_without_what_a_card_states_is_told(card):
    with pytest.raises(InputError, match="card: expected the fact '[a-z_]+' in the record, found none"):
        card({}, name="mine")


def test_text_that_steers_a_terminal_does_not_reach_a_card():
    evil = "\x1b]0;owned\x07 \u202etext"
    assert not any(char in escape(evil) + fence(evil) for char in "\x1b\x07\u202e")
    assert fence("a\n\tb") == "```\na\n\tb\n```"


def test_a_taglm_card_states_its_scores_its_failures_and_its_control():
    control = {"rows": 6000, "eval_loss_before": 1.5, "eval_loss": 1.375}
    other = dataclasses.replace(SCORES, rounds=(dataclasses.replace(ROUND, mean=5.8),))
    facts = {**PUBLISHED, "control": control, "scores": SCORES.to_dict(), "control_scores": other.to_dict()}
    card = taglm_card(facts, name="taglm-13b")
    assert "| this model | 1.5000 | **1.2500** |" in card
    assert "on 6,000 rows drawn at random from the same pool | 1.5000 | 1.3750 |" in card
    assert "| all turns, ± population SD over rounds | **6.50** ± 0.10 | 5.80 |" in card
    assert "| coding | 3.00 | 3.00 |" in card
    assert r"judged by gpt-4 \| x, 2 rounds" in card
    assert "300 ratings; 10 more are missing (10 parse) and in no mean" in card
    assert "No control was trained" not in card
    assert "| not stated | 1,000 |" in card
    assert r"Left out: 1 row (&lt;b>\*x\*&lt;/b>)." in card
    assert "Left out: 4 rows (no answer)." in card
    assert "Dropped: 1,234 turns before the first query or after the last answer." in card
    data = yaml.safe_load(card.split("---")[1])
    (metric,) = data["model-index"][0]["results"][0]["metrics"]
    assert metric["value"] == 6.5
    assert (data["license"], data["base_model"], data["library_name"]) == (
        "llama2",
        "meta-llama/Llama-2-13b-hf",
        "transformers",
    )


def test_a_taglm_card_says_what_was_not_done():
    card = taglm_card(PUBLISHED, name="taglm-13b")
    assert "No control was trained: what the selection itself adds" in card
    assert "MT-Bench was not run." in card
    assert "model-index" not in card
    missing = {name: fact for name, fact in PUBLISHED.items() if name != "steps"}
    with pytest.raises(InputError, match="steps"):
        taglm_card(missing, name="taglm-13b")


def test_the_taglm_card_is_what_is_kept_as_rendered():
    """The record is of a real run: 2,000 rows of Alpaca, complexity-first, beside as many at random, equal tokens."""
    record = json.loads((ROOT / "tests" / "records" / "taglm.json").read_text())
    license = {"license": "cc-by-nc-4.0", "license_name": None, "license_link": None}
    facts = {**record, "repo": "me/smollm2-alpaca", "license": license, "scores": None, "control_scores": None}
    assert taglm_card(facts, name="smollm2-alpaca") == (ROOT / "model_cards" / "taglm.md").read_text()
