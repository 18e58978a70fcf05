"""The four steps, each against the paper, against a slow twin and against the library that others use."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instag_hf.errors import InputError
from instag_hf.normalizer import rules
from instag_hf.normalizer.density import dbscan, near_pairs
from instag_hf.normalizer.groups import Groups
from instag_hf.normalizer.guards import apart
from instag_hf.normalizer.rules import Rule, close, ending, mine
from instag_hf.normalizer.sense import judge
from instag_hf.normalizer.spelling import same_word, speller, words
from instag_hf.normalizer.steps import (
    calibrated,
    keep_frequent,
    merge_companions,
    merge_meaning,
    merge_spelling,
)
from instag_hf.rows.columns import read_tags

LISTS = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=5), max_size=30)


def spelled(*tags, **options):
    """What each tag becomes, where earlier tags are more frequent."""
    counts = {tag: 100 - at for at, tag in enumerate(tags)}
    merges = merge_spelling(counts, **options).merges
    return [merges[tag].into if tag in merges else tag for tag in tags]


@pytest.mark.parametrize(("count", "kept"), [(19, False), (20, True), (21, True)])
def test_a_tag_of_20_rows_is_frequent(count, kept):
    assert ("edge" not in keep_frequent({"edge": count, "other": 99}).merges) is kept


def test_case_variants_are_counted_on_their_own_before_they_are_merged():
    # Frequency filtering comes before lower-casing (paper section 3.2).
    assert set(keep_frequent({"math": 30, "Math": 19}).merges) == {"Math"}


def test_a_vocabulary_that_would_be_empty_names_the_largest_count():
    with pytest.raises(InputError, match=r"the most frequent is in 7\. Lower it: min_count=7 would keep 2 "):
        keep_frequent({"a": 7, "b": 7, "c": 1})


def test_the_papers_spelling_example_merges():
    # Tab. 1; named by a form that is written so, never by the stem "inform retriev".
    assert spelled("Information Retrieval", "information retrieve") == ["information retrieval"] * 2


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param(["front end", "frontend", "front-end", "Front_End"], id="compounds"),
        pytest.param(["problem solve", "problem-solving", "problems solved"], id="inflection"),
        pytest.param(["beginner guide", "beginner's guide", "beginners guide", "beginner’s guides"], id="apostrophes"),  # noqa: RUF001
        pytest.param(["evaluation criterion", "evaluation criteria"], id="irregular plural"),
        pytest.param(["musical theater", "musical theatre"], id="british ending"),
        pytest.param(["color behavior", "colour behaviour"], id="british our"),
        pytest.param(["nodejs", "node.js"], id="dots"),
        pytest.param(["c++", "C++", " c++ "], id="symbols stay"),
        pytest.param(["natural language processing", "NLP"], id="short form"),
        pytest.param(["seo optimization", "search engine optimization"], id="short form that holds the next word"),
        pytest.param(["日本語", "日本語 "], id="japanese"),
        pytest.param(["ﬁle", "file"], id="ligature"),
        pytest.param(["straße", "STRASSE"], id="casefold"),
    ],
)
def test_one_tag_written_differently_is_one(tags):
    assert len(set(spelled(*tags))) == 1


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param(["c", "c++", "c#", "cs"], id="languages"),
        pytest.param([".net", "net"], id="dot net"),
        pytest.param(["animal", "animation"], id="one stem, two words"),
        pytest.param(["anime", "animals"], id="one stem, e and al"),
        pytest.param(["university", "universe"], id="one stem, two words again"),
        pytest.param(["informal request", "information request"], id="informal"),
        pytest.param(["news", "new"], id="news"),
        pytest.param(["emergence", "emergency"], id="e and y"),
        pytest.param(["nurse", "nursing"], id="a noun in -ing"),
        pytest.param(["pandas", "panda"], id="a name is not inflected"),
        pytest.param(["python 3", "python 31", "python 3.2"], id="numbers"),
        pytest.param(["日本語", "中文", "हिन्दी", "हिन्द", "русский", "العربية"], id="scripts"),
        pytest.param(["==", "===", "!="], id="symbols"),
        pytest.param(["a* search", "a search"], id="a star"),
        pytest.param(["50%", "50"], id="percent"),
    ],
)
def test_names_and_words_of_their_own_stay_apart(tags):
    assert len(set(spelled(*tags))) == len(tags)


def test_a_shared_stem_is_told_as_the_reason():
    (prevented,) = merge_spelling({"animal": 9, "animation": 8}).prevented
    assert prevented == ("animation", "animal", "spelling", "animal and animation share a stem only")


def test_the_most_frequent_form_names_the_group_then_the_shorter_then_the_first():
    assert spelled("sorts", "sort") == ["sorts", "sorts"]
    same = merge_spelling({"sorted": 5, "sort": 5, "sorts": 5}).merges
    assert {merge.into for merge in same.values()} == {"sort"}
    # Lower-cased forms count together: 3 + 3 is more than 5.
    assert merge_spelling({"Sort": 3, "sort": 3, "sorts": 5}).merges["sorts"].into == "sort"


def test_meaning_decides_whether_a_word_in_ing_is_the_same():
    assert spelled("sort", "sorting", "array sort", "array sorting") == ["sort", "sorting", "array sort", "array sort"]
    counts = {"sort": 9, "sorting": 8, "bond": 7, "bonding": 6}
    assert {tag: merge.into for tag, merge in merge_meaning(counts).merges.items()} == {"sorting": "sort"}


def test_blank_tags_go():
    assert {tag: merge.into for tag, merge in merge_spelling({"": 9, "  ": 9, "x": 9}).merges.items()} == {
        "": None,
        "  ": None,
    }


@pytest.mark.parametrize("stemmer", ["porter", "snowball", "none"])
def test_stemmers_differ_in_what_they_group(stemmer):
    assert len(set(spelled("sorts", "sort", stemmer=stemmer))) == (2 if stemmer == "none" else 1)


def test_an_unknown_stemmer_is_refused():
    with pytest.raises(InputError, match="expected a stemmer of .* found 'wordnet'"):
        speller("wordnet")


@given(st.text(max_size=20))
def test_any_text_has_words_and_a_key(text):
    found = speller()(text)
    assert found.words
    assert found.key is not None
    assert words(text) == found.words


@given(
    st.dictionaries(
        st.sampled_from(["Sort", "sort", "sorts", "c", "c++", "C#", "front end", "frontend"]), st.integers(1, 9)
    )
)
def test_spelling_does_not_depend_on_the_order_of_tags(counts):
    turned = dict(reversed(list(counts.items())))
    assert merge_spelling(counts).merges == merge_spelling(turned).merges


def test_words_of_a_stem_differ_by_inflection_both_ways():
    for one, other in (("plan", "planning"), ("activity", "activities"), ("use", "used"), ("retrieve", "retrieval")):
        assert same_word(one, other)
        assert same_word(other, one)


def vectors(seed, count, dimensions=3):
    drawn = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 80), st.floats(0.0, 0.6), st.integers(1, 6))
def test_labels_equal_those_of_scikit_learn(seed, count, max_distance, min_samples):
    from sklearn.cluster import DBSCAN

    points = vectors(seed, count)
    pairs, _ = near_pairs(points, max_distance)
    theirs = DBSCAN(eps=max(max_distance, 1e-9), min_samples=min_samples, metric="cosine").fit(
        points.astype(np.float64)
    )
    np.testing.assert_array_equal(dbscan(count, pairs, min_samples), theirs.labels_)


def test_blocks_join_seamlessly(monkeypatch):
    from instag_hf.normalizer import density

    points = vectors(1, 300)
    whole = near_pairs(points, 0.1)
    monkeypatch.setattr(density, "BLOCK", 37)
    parts = near_pairs(points, 0.1)
    order = np.lexsort((parts[0][:, 1], parts[0][:, 0]))
    np.testing.assert_array_equal(parts[0][order], whole[0])
    slow = {(i, j) for i in range(300) for j in range(i + 1, 300) if 1 - points[i].astype(float) @ points[j] <= 0.1}
    assert {tuple(pair) for pair in whole[0].tolist()} == slow


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from("abcdefg")), max_size=12))
def test_groups_hold_no_pair_that_must_stay_apart(links):
    def verdict(one, other):
        return "vowels" if {one, other} == {"a", "e"} else ""

    groups, sets = Groups(verdict), {tag: {tag} for tag in "abcdefg"}  # the slow twin: sets that are copied
    for one, other in links:
        joined = sets[one] | sets[other]
        refused = {"a", "e"} <= joined
        assert bool(groups.join(one, other)) is refused
        if not refused:
            sets.update(dict.fromkeys(joined, joined))
    assert {tag: set(groups.of(tag)) for tag in "abcdefg"} == sets


def at_angles(**degrees):
    """An embedder that puts phrases on a circle."""
    return lambda phrases: [[np.cos(np.radians(degrees[p])), np.sin(np.radians(degrees[p]))] for p in phrases]


@pytest.mark.parametrize(("limit", "merged"), [(0.0001, 1), (-0.0001, 0)])
def test_similarity_just_inside_and_just_outside(limit, merged):
    embedder = at_angles(red=0, green=20)  # cosine distance 0.0603
    distance = 1 - np.cos(np.radians(20)) + limit
    step = merge_meaning({"red": 9, "green": 8}, embedder=embedder, max_distance=distance, guards=False)
    assert len(step.merges) == merged


def test_a_group_is_named_by_its_most_frequent_tag_and_tells_the_nearest_member():
    embedder = at_angles(red=0, green=10, blue=20)
    step = merge_meaning({"red": 1, "green": 5, "blue": 9}, embedder=embedder, max_distance=0.02, guards=False)
    assert step.merges["red"].into == step.merges["green"].into == "blue"  # red is near blue only by way of green
    assert step.merges["red"].near == "green"
    assert step.merges["red"].similarity == pytest.approx(np.cos(np.radians(10)), abs=1e-5)


def test_sparse_points_are_noise_and_keep_their_names():
    embedder = at_angles(red=0, green=5, blue=90)
    counts = {"red": 3, "green": 2, "blue": 1}
    assert merge_meaning(counts, embedder=embedder, max_distance=0.1, min_samples=3, guards=False).merges == {}


PAPER = (
    "information request",
    "request for information",
    "request for additional information",
    "request for more information",
    "additional information request",
    "specific information request",
)


def test_the_papers_six_forms_are_one_at_the_calibrated_distance():
    merges = merge_meaning({tag: 100 - at for at, tag in enumerate(PAPER)}).merges
    assert {tag: merge.into for tag, merge in merges.items()} == dict.fromkeys(PAPER[1:], "information request")


def test_the_papers_distance_merges_none_of_the_six_forms_with_minilm():
    # 0.05 is the paper's for PhraseBERT; in MiniLM's space the nearest two of the six lie 0.068 apart.
    assert merge_meaning(dict.fromkeys(PAPER, 20), max_distance=0.05).merges == {}


def test_an_unknown_embedder_needs_a_distance():
    with pytest.raises(InputError, match="expected max_distance= for an embedder that is not one of"):
        calibrated("someone/else")
    assert calibrated("whaleloops/phrase-bert") == 0.05


NEVER = [
    ("english to french", "french to english"),
    ("json to csv", "csv to json"),
    ("c", "c++"),
    ("c", "c#"),
    ("c++", "c#"),
    ("c programming", "c++ programming"),
    ("c programming", "r programming"),
    (".net", "net"),
    ("safe for work", "not safe for work"),
    ("fiction", "non fiction"),
    ("python 2", "python 3"),
    ("python 2 code", "python 3 code"),
    ("price increase", "price decrease"),
    ("increase", "decrease"),
    ("positive", "negative"),
    ("positive tone", "negative tone"),
    ("java", "javascript"),
    ("java programming", "javascript programming"),
    ("formal tone", "informal tone"),
    ("first person", "third person"),
    ("advantages", "disadvantages"),
    ("german translation", "french translation"),
]


@pytest.mark.parametrize(("one", "other"), NEVER)
def test_what_embeddings_confuse_never_merges(one, other):
    counts = {one: 50, other: 40, "filler": 30}
    step = merge_meaning(counts, max_distance=0.6)  # so wide that nothing else keeps them apart
    ends = {tag: step.merges[tag].into if tag in step.merges else tag for tag in counts}
    assert ends[one] != ends[other]
    assert len(set(spelled(one, other))) == 2


def test_pairs_kept_apart_are_not_chained_by_a_third():
    words = {"increase": 0, "change": 5, "decrease": 10}
    embedder = at_angles(**words, **{f"price {word}": degrees for word, degrees in words.items()})
    counts = {"price increase": 9, "price change": 8, "price decrease": 7}
    step = merge_meaning(counts, embedder=embedder, max_distance=0.1)
    ends = {tag: step.merges[tag].into if tag in step.merges else tag for tag in counts}
    assert ends == {
        "price increase": "price increase",
        "price change": "price increase",
        "price decrease": "price decrease",
    }
    assert ("price decrease", "price increase", "meaning", "opposites") in step.prevented
    chained = "opposites: price increase / price decrease"
    assert ("price decrease", "price change", "meaning", chained) in step.prevented


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("film review", "movie review", ""),
        ("request for information", "additional information request", ""),
        ("php", "php programming", ""),
        ("seek advice", "advice seeking", ""),
        ("distance and speed", "speed and distance", ""),
        ("game strategy", "strategy game", "order"),
        ("theater", "musical theater", "narrower"),
        ("stakeholder analysis", "stakeholder management", "other words"),
    ],
)
def test_the_words_that_differ_decide(one, other, why):
    assert judge("all-MiniLM-L6-v2", 0.12, [(one, other)])(one, other) == why
    assert judge("all-MiniLM-L6-v2", 0.12, [])(other, one) == why


@given(st.lists(st.sampled_from([*{tag for pair in NEVER for tag in pair}]), min_size=2, max_size=2))
def test_verdicts_are_the_same_both_ways(pair):
    assert apart(*pair) == apart(*reversed(pair))
    assert apart(pair[0], pair[0]) == ""


def by_hand(lists, min_support, min_confidence):
    rows = [set(tags) for tags in lists]
    count = Counter(tag for tags in rows for tag in tags)
    both = Counter(pair for tags in rows for pair in permutations(sorted(tags), 2))
    return sorted(
        (
            Rule(a, b, n, n / count[a])
            for (a, b), n in both.items()
            if n >= min_support and n / count[a] >= min_confidence
        ),
        key=lambda rule: (-rule.confidence, -rule.support, rule.tag, rule.companion),
    )


@given(LISTS, st.integers(1, 8), st.sampled_from([0.5, 0.75, 0.9, 1.0]))
def test_rules_equal_those_of_a_plain_loop(lists, min_support, min_confidence):
    found = mine(read_tags(lists), min_support=min_support, min_confidence=min_confidence)
    assert found == by_hand(lists, min_support, min_confidence)


@settings(max_examples=30)
@given(LISTS, st.integers(1, 8), st.sampled_from([0.5, 0.9, 1.0]))
def test_rules_equal_those_of_mlxtend(lists, min_support, min_confidence):
    column = read_tags(lists)
    found = [
        mine(column, min_support=min_support, min_confidence=min_confidence, miner=miner) for miner in rules.MINERS
    ]
    assert found[0] == found[1]


def test_blocks_of_tags_join_seamlessly(monkeypatch):
    lists = [[f"t{n % 7}", f"t{n % 5}", "every"] for n in range(60)]
    whole = mine(read_tags(lists), min_support=2, min_confidence=0.3)
    monkeypatch.setattr(rules, "BLOCK", 2)
    assert mine(read_tags(lists), min_support=2, min_confidence=0.3) == whole != []


def pairs_of(both, alone):
    return [["loop", "for loop"]] * both + [["loop"]] * alone + [["for loop"]] * 300


@pytest.mark.parametrize("miner", rules.MINERS)
@pytest.mark.parametrize(
    ("both", "alone", "merged"),
    [
        pytest.param(39, 0, False, id="support 39"),
        pytest.param(40, 0, True, id="support 40"),
        pytest.param(989, 11, False, id="confidence 0.989"),
        pytest.param(990, 10, True, id="confidence 0.99"),
    ],
)
def test_support_and_confidence_reach_to_their_bounds(both, alone, merged, miner):
    step = merge_companions(read_tags(pairs_of(both, alone)), miner=miner)
    assert ("loop" in step.merges) is merged


def test_the_papers_companions_merge_into_the_consequent():
    # Tab. 1: (mathematics, math problem) -> mathematics, (loop, for loop) -> for loop.
    lists = [["mathematics", "math problem"]] * 40 + [["mathematics"]] * 9 + pairs_of(40, 0)
    step = merge_companions(read_tags(lists))
    assert {tag: merge.into for tag, merge in step.merges.items()} == {
        "math problem": "mathematics",
        "loop": "for loop",
    }
    assert step.merges["loop"].support == 40
    assert step.merges["loop"].confidence == 1.0


@pytest.mark.parametrize(
    ("lists", "survivor"),
    [
        pytest.param([["zz", "aa"]] * 100 + [["zz"]], "zz", id="more frequent"),
        pytest.param([["long", "zz"]] * 100, "zz", id="shorter"),
        pytest.param([["zz", "aa"]] * 100, "aa", id="first alphabetically"),
    ],
)
def test_of_tags_that_imply_each_other_one_survives(lists, survivor):
    step = merge_companions(read_tags(lists))
    assert {merge.into for merge in step.merges.values()} == {survivor}
    assert len(step.merges) == 1


@given(LISTS, st.integers(1, 4), st.sampled_from([0.5, 0.8, 1.0]))
def test_after_the_association_step_no_rule_holds(lists, min_support, min_confidence):
    column = read_tags(lists)
    step = merge_companions(column, min_support=min_support, min_confidence=min_confidence, guards=False)
    ends = {tag: merge.into for tag, merge in step.merges.items()}
    assert not set(ends.values()) & set(ends)  # whatever goes, goes to what stays
    left = column.relabel([ends.get(name, name) for name in column.names])
    assert mine(left, min_support=min_support, min_confidence=min_confidence) == []


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefg"), st.sampled_from("abcdefg"), st.sampled_from([0.5, 0.9, 1.0])), max_size=20
    ),
    st.randoms(),
)
def test_whatever_the_rules_following_them_ends_and_their_order_is_nothing(links, random):
    found = list({(a, b): Rule(a, b, 5, sure) for a, b, sure in links if a != b}.values())
    counts = dict(zip("abcdefg", [9, 9, 8, 7, 7, 6, 5], strict=True))
    chosen, prevented = close(found, counts)
    ends = {tag: ending(tag, chosen) for tag in counts}  # would not return in a circle
    random.shuffle(found)
    again, _ = close(found, counts)
    assert {tag: ending(tag, again) for tag in counts} == ends
    assert prevented == []
    # A tag that implies another and is not left out goes, unless it is the survivor of its circle.
    assert {rule.tag for rule in found} >= set(chosen)


def test_a_circle_of_three_leaves_its_most_frequent():
    found = [Rule("a", "b", 5, 1.0), Rule("b", "c", 5, 1.0), Rule("c", "a", 5, 1.0)]
    chosen, _ = close(found, {"a": 5, "b": 7, "c": 6})
    assert {tag: ending(tag, chosen) for tag in "abc"} == {"a": "b", "b": "b", "c": "b"}


def test_rules_do_not_join_what_must_stay_apart():
    lists = [["positive", "negative", "sentiment"]] * 50 + [["sentiment"]] * 50
    step = merge_companions(read_tags(lists))
    ends = {tag: step.merges[tag].into if tag in step.merges else tag for tag in ("positive", "negative")}
    assert ends["positive"] != ends["negative"]
    assert ("negative", "positive", "association", "opposites") in step.prevented
    assert {pair.reason for pair in step.prevented} >= {"opposites"}


def test_a_name_may_go_where_another_always_is():
    lists = [["flask", "python"]] * 50 + [["python"]] * 50 + [["english to french", "translation"]] * 50
    ends = {tag: merge.into for tag, merge in merge_companions(read_tags([*lists, ["translation"]])).merges.items()}
    assert ends == {"flask": "python", "english to french": "translation"}


def test_what_never_merges_does_not_even_when_it_always_comes_together():
    from instag_hf import TagNormalizer

    tags = sorted({tag for pair in NEVER for tag in pair})
    canonical = {row["tag"]: row["canonical"] for row in TagNormalizer.fit([tags] * 50, max_distance=0.5).table()}
    assert [pair for pair in NEVER if canonical[pair[0]] == canonical[pair[1]]] == []
