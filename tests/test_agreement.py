"""Precision, recall and F1, against slow and obvious counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from instag_hf.agreement import Score, cohen_kappa, fleiss_kappa, majority, tag_f1
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
    ("own", "gold", "sources"),
    [
        ([["a"]], [["a"], ["b"]], None),
        ([], [], None),
        ([["a"]], [["a"]], []),
        (["math"], [["math"]], None),
        ([["math"]], [None], None),
        ([["math"]], [["math", None]], None),
        ([["math"], ["law"]], [["math"], ["law"]], ["x", None]),
    ],
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


# Raters

ANSWERS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=40)


@given(ANSWERS)
@pytest.mark.filterwarnings("ignore::UserWarning")  # scikit-learn's, where one answer is all there is
def test_cohens_kappa_equals_scikit_learns(pairs):
    first, second = zip(*pairs, strict=True)
    found, theirs = cohen_kappa(first, second), cohen_kappa_score(first, second)
    assert (found is None) == bool(np.isnan(theirs)) == (len({*first, *second}) == 1)
    if found is not None:
        assert found == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        # Both say yes, only the first, only the second, neither: worked examples of Wikipedia's "Cohen's kappa".
        pytest.param((20, 5, 10, 15), 0.4, id="50 proposals"),
        pytest.param((45, 15, 25, 15), 0.1304, id="same percentage, lower kappa"),
        pytest.param((25, 35, 5, 35), 0.2593, id="same percentage, higher kappa"),
    ],
)
def test_cohens_kappa_of_published_examples(table, kappa):
    pairs = [pair for pair, count in zip(("yy", "yn", "ny", "nn"), table, strict=True) for _ in range(count)]
    assert cohen_kappa(*zip(*pairs, strict=True)) == pytest.approx(kappa, abs=5e-5)


# One row a subject, one column a category, in it how many raters chose it.
TEXTBOOK = (
    """0 0 0 0 14; 0 2 6 4 2; 0 0 3 5 6; 0 3 9 2 0; 2 2 8 1 1; 7 7 0 0 0; 3 2 6 3 0; 2 5 3 2 2; 6 5 2 1 0; 0 2 2 3 7"""
)
DIAGNOSES = """0 0 0 6 0; 0 3 0 0 3; 0 1 4 0 1; 0 0 0 0 6; 0 3 0 3 0; 2 0 4 0 0; 0 0 4 0 2; 2 0 3 1 0; 2 0 0 4 0; 0 0 0 0 6;
1 0 0 5 0; 1 1 0 4 0; 0 3 3 0 0; 1 0 0 5 0; 0 2 0 3 1; 0 0 5 0 1; 3 0 0 1 2; 5 1 0 0 0; 0 2 0 4 0; 1 0 2 0 3;
0 0 0 0 6; 0 1 0 5 0; 0 2 0 1 3; 2 0 0 4 0; 1 0 0 4 1; 0 5 0 1 0; 4 0 0 0 2; 0 2 0 4 0; 1 0 5 0 0; 0 0 0 0 6"""


def ratings_of(table):
    rows = [[int(count) for count in row.split()] for row in table.split(";")]
    return [[category for category, count in enumerate(row) for _ in range(count)] for row in rows]


@pytest.mark.parametrize(
    ("table", "shape", "kappa"),
    [
        pytest.param(TEXTBOOK, (10, 14), 0.210, id="14 raters of 10 subjects"),
        pytest.param(DIAGNOSES, (30, 6), 0.430, id="6 psychiatrists of 30 patients"),  # Fleiss 1971
    ],
)
def test_fleiss_kappa_of_published_examples(table, shape, kappa):
    ratings = ratings_of(table)
    assert (len(ratings), len(ratings[0])) == shape
    assert fleiss_kappa(ratings) == pytest.approx(kappa, abs=5e-4)


@given(
    st.integers(2, 5).flatmap(
        lambda raters: st.lists(
            st.lists(st.sampled_from("abc"), min_size=raters, max_size=raters), min_size=1, max_size=12
        )
    )
)
def test_fleiss_kappa_equals_a_slow_recount(ratings):
    """Pair by pair: how often two raters of a case agree, and how often two answers drawn from all do."""
    pairs = [a == b for case in ratings for i, a in enumerate(case) for j, b in enumerate(case) if i != j]
    answers = [answer for case in ratings for answer in case]
    seen, chance = np.mean(pairs), np.mean([a == b for a in answers for b in answers])
    found = fleiss_kappa(ratings)
    assert (found is None) == (len(set(answers)) == 1)
    if found is not None:
        assert found == pytest.approx((seen - chance) / (1 - chance))


def test_full_agreement_is_one_unless_there_is_only_one_answer():
    assert cohen_kappa("abca", "abca") == fleiss_kappa(["aaa", "bbb"]) == 1.0
    assert cohen_kappa("aaa", "aaa") is fleiss_kappa(["aaa", "aaa"]) is None
    assert cohen_kappa("aaa", "bbb") == 0.0  # one answer each, never the same: as chance would have it
    assert cohen_kappa("aaa", "aab") == 0.0


@pytest.mark.parametrize(
    ("votes", "winner"),
    [("", None), ("a", "a"), ("ab", None), ("aab", "a"), ("aabc", None), ([True, False, False], False)],
)
def test_majority_is_more_than_half(votes, winner):
    assert majority(votes) is winner or majority(votes) == winner


@pytest.mark.parametrize("ratings", [[], ["a"], ["ab", "abc"]])
def test_ratings_that_do_not_fit_are_refused(ratings):
    with pytest.raises(InputError, match="fleiss_kappa: expected as many raters for each case"):
        fleiss_kappa(ratings)
    with pytest.raises(InputError, match="cohen_kappa: expected two answers for each case"):
        cohen_kappa("ab", "a")
    with pytest.raises(InputError, match="found 0 and 0"):
        cohen_kappa("", "")
