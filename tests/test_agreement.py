"""Precision, recall and F1, against slow and obvious counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instag_hf.agreement import Score, tag_f1
from instag_hf.embeddings import embed
from instag_hf.errors import InputError

TAGS = st.lists(st.sampled_from("abcdef"), max_size=5)
PAIRS = st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=8)
ANGLES = {"a": 0.0, "b": 0.3, "c": 1.0, "d": 1.5, "e": 3.0, "f": 3.2}


def on_a_circle(texts):
    return [[np.cos(ANGLES[text]), np.sin(ANGLES[text])] for text in texts]


def f1(precision, recall):
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def recount(pairs, match):
    """Count the long way: tag by tag."""
    right = predicted = met = gold = 0
    for own, wanted in pairs:
        for tag in set(own):
            predicted += 1
            right += any(match(tag, other) for other in set(wanted))
        for tag in set(wanted):
            gold += 1
            met += any(match(tag, other) for other in set(own))
    precision, recall = right / predicted if predicted else 0.0, met / gold if gold else 0.0
    return precision, recall, f1(precision, recall)


@given(PAIRS)
def test_scores_equal_a_slow_recount(pairs):
    found = tag_f1([own for own, _ in pairs], [gold for _, gold in pairs], embedder=on_a_circle)
    assert found.exact == pytest.approx(recount(pairs, lambda a, b: a == b))
    assert found.fuzzy == pytest.approx(recount(pairs, lambda a, b: np.cos(ANGLES[a] - ANGLES[b]) > 0.8))
    each = [recount([pair], lambda a, b: a == b) if set().union(*pair) else (1.0, 1.0, 1.0) for pair in pairs]
    assert found.exact_macro == pytest.approx(np.mean(each, axis=0))
    assert found.fuzzy.f1 >= found.exact.f1 - 1e-9


def test_a_tag_matches_above_the_threshold_not_at_it():
    def at(cosine):
        return lambda texts: [[1, 0] if text == "gold" else [cosine, np.sqrt(1 - cosine**2)] for text in texts]

    for cosine, matched in ((0.79, 0.0), (0.81, 1.0)):
        assert tag_f1([["own"]], [["gold"]], embedder=at(cosine)).fuzzy.f1 == matched
    assert tag_f1([["own"]], [["gold"]], embedder=at(0.5), threshold=0.5).fuzzy.f1 == 0.0


def test_a_failed_query_lowers_recall():
    assert tag_f1([["a"], []], [["a"], ["a"]], embedder=None).exact == Score(1.0, 0.5, pytest.approx(2 / 3))


def test_sources_are_scored_apart():
    found = tag_f1([["a"], ["b"]], [["a"], ["a"]], embedder=None, sources=["x", "y"])
    assert found.sources == {"x": Score(1, 1, 1), "y": Score(0, 0, 0)}
    assert found.to_dict()["sources"]["x"] == {"precision": 1, "recall": 1, "f1": 1}
    assert found.fuzzy is None
    assert found.to_dict()["fuzzy"] is None


def test_the_interval_holds_the_score_and_is_the_same_each_time():
    draw = np.random.default_rng(0)
    own, gold = ([list(draw.choice(list("abcdef"), 3)) for _ in range(200)] for _ in range(2))
    one, other = tag_f1(own, gold, embedder=None), tag_f1(own, gold, embedder=None)
    assert one.interval == other.interval
    assert one.interval[0] < one.exact.f1 < one.interval[1]
    assert one.interval[1] - one.interval[0] < 0.2


@pytest.mark.parametrize(
    ("own", "gold", "sources"), [([["a"]], [["a"], ["b"]], None), ([], [], None), ([["a"]], [["a"]], [])]
)
def test_what_does_not_fit_is_refused(own, gold, sources):
    with pytest.raises(InputError, match="tag_f1: expected"):
        tag_f1(own, gold, embedder=None, sources=sources)


def test_the_metric_loads_offline_and_has_the_same_numbers(monkeypatch):
    import evaluate

    import instag_hf as instag

    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    metric = evaluate.load(instag.metric("tag_f1"))
    own, gold = [["code debugging", "python"], []], [["python", "debugging code"], ["math"]]
    found = metric.compute(predictions=own, references=gold)
    plain = tag_f1(own, gold)
    assert found["f1"] == plain.exact.f1 == pytest.approx(0.4)
    assert found["fuzzy_f1"] == plain.fuzzy.f1 > plain.exact.f1
    assert found["macro_f1"] == plain.exact_macro.f1
    with pytest.raises(InputError, match=r"expected one of .*'tag_f1'\], found '../errors'"):
        instag.metric("../errors")


def test_two_annotators_of_the_shared_set_would_score_one_on_themselves(shared_data):
    import json

    gold = [json.loads(line)["tags"] for line in (shared_data / "tags" / "dev.jsonl").read_text().splitlines()]
    found = tag_f1(gold, gold)
    assert found.exact == found.fuzzy == found.exact_macro == (1.0, 1.0, 1.0)
    assert found.predicted == found.gold == pytest.approx(4.25, abs=0.01)


def test_embeddings_of_no_tags_are_empty():
    assert embed([]).shape == (0, 0)
