"""Selecting is what the papers say, on any input: every method against a slow, obvious twin."""

import math
import warnings
from collections import Counter

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

import instag_hf as instag
from instag_hf import InputError
from instag_hf.rows.columns import read_tags
from instag_hf.selection import (
    METHODS,
    ComplexityBands,
    CoverageLevels,
    InformationGain,
    Random,
    Rules,
    choose,
    choose_from,
    method_of,
)
from instag_hf.selection import gains as gains_room
from instag_hf.selection.pool import Pool, stable_order, steady

TAGS = ["math", "sums", "c++", "poetry", "諺", "proof", "rhyme", "maps"]
ROWS = st.lists(st.lists(st.sampled_from(TAGS), max_size=5), min_size=1, max_size=25)
TAGGED = ROWS.filter(any)
WEIGHTS = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 7.0])


def dataset(lists, **columns):
    return Dataset.from_dict({"instag_normalized": lists, **columns})


def picked(lists, n, method="complexity-first", rules=None, **columns):
    return choose(dataset(lists, **columns), n, method, rules)


def picked_fast(lists, n, method="complexity-first", rules=None, weights=None):
    """The same without a dataset, which takes longer to make than to choose from."""
    pool = Pool(read_tags(lists), np.ones(len(lists), bool), Counter(), weights=weights)
    return choose_from(pool, n, method_of(method), rules or Rules())


def algorithm_1(lists, n):
    """The loop of the paper's appendix H, line by line: row numbers, rounds, and the tags that each row brought."""
    left = sorted(range(len(lists)), key=lambda row: -len(set(lists[row])))
    chosen, rounds, brought = [], [], []
    number = 0
    while len(chosen) < n:
        number += 1
        seen, taken = set(), []
        for row in left:
            if set(lists[row]) - seen:
                chosen.append(row)
                rounds.append(number)
                brought.append([tag for tag in dict.fromkeys(lists[row]) if tag not in seen])
                taken.append(row)
                seen |= set(lists[row])
                if len(chosen) == n:
                    break
        if not taken:
            break
        left = [row for row in left if row not in taken]
    return chosen, rounds, brought


# --- Algorithm 1 -----------------------------------------------------------------------------------------------------


@settings(max_examples=2000)
@given(TAGGED, st.integers(1, 30))
def test_complexity_first_equals_the_papers_loop(lists, n):
    chosen, rounds, brought = algorithm_1(lists, n)
    found = picked_fast(lists, n)
    assert found.indices.tolist() == chosen
    assert found.rounds.tolist() == rounds
    assert found.brought == brought
    assert found.gains.tolist() == [len(tags) for tags in brought]


@pytest.mark.parametrize(
    ("lists", "n", "chosen", "rounds"),
    [
        pytest.param([["a"], ["b"], ["a", "b"]], 1, [2], [1], id="the most complex row first"),
        pytest.param([["a"], ["b"], ["a", "b"]], 3, [2, 0, 1], [1, 2, 2], id="a new round sees every tag anew"),
        pytest.param([["a"], ["a"], ["a"]], 3, [0, 1, 2], [1, 2, 3], id="one row a round, ties in their order"),
        pytest.param([["a", "a", "a"], ["b", "c"]], 1, [1], [1], id="repeated tags count once"),
        pytest.param([["a", "b"], ["b", "c"], ["a", "c"]], 2, [0, 1], [1, 1], id="one new tag is enough"),
        pytest.param([["a", "b"], ["b", "c"], ["a", "c"], ["d"]], 3, [0, 1, 3], [1, 1, 1], id="no new tag, no place"),
        pytest.param([["a", "b"], ["b", "c"], ["d", "e"]], 2, [0, 1], [1, 1], id="n reached inside a round"),
    ],
)
def test_complexity_first_by_hand(lists, n, chosen, rounds):
    found = picked(lists, n)
    assert (found.indices.tolist(), found.rounds.tolist()) == (chosen, rounds)
    assert found.notes == ()


def test_too_few_rows_with_tags_is_said_and_not_filled_up():
    ds = dataset([["a"], [], ["a"], ["b"]])
    with pytest.warns(
        UserWarning, match="expected 4 rows, found 3 that complexity-first can take; no other row is left"
    ):
        chosen = instag.select(ds, 4)
    assert chosen["instag_normalized"][:] == [["a"], ["b"], ["a"]]
    assert choose(ds, 4).skipped == {"no tags": 1}


@settings(max_examples=300)
@given(TAGGED, st.integers(1, 6), st.integers(1, 5))
def test_bands_are_algorithm_1_again_and_again_on_what_is_left(lists, n, bands):
    left = list(range(len(lists)))
    for band in range(1, bands + 1):
        chosen = [left[row] for row in algorithm_1([lists[row] for row in left], n)[0]]
        if not chosen:
            with pytest.raises(InputError, match="found none .*bands before this one having taken all"):
                picked_fast(lists, n, ComplexityBands(band=band))
            return
        assert picked_fast(lists, n, ComplexityBands(band=band)).indices.tolist() == chosen
        left = [row for row in left if row not in chosen]


def test_the_first_band_is_the_default():
    lists = [["a"], ["b", "c"], ["c"]]
    assert picked(lists, 2, "complexity-bands").indices.tolist() == picked(lists, 2).indices.tolist() == [1, 0]


def test_a_weight_moves_rows_forward():
    lists = [["a", "b"], ["c"], ["d"]]
    assert picked(lists, 3, rules=Rules(weight_column="w"), w=[1, 5, 2.5]).indices.tolist() == [1, 2, 0]


# --- Algorithm 3 -----------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(TAGGED, st.integers(1, 25), st.floats(0, 1), st.integers(0, 3), st.sampled_from([1.0, 2.0, 2.5]))
def test_coverage_levels_equal_two_plain_loops(lists, n, level, seed, mean):
    order = [row for row in picked_fast(lists, len(lists), "random", Rules(seed=seed)).indices.tolist() if lists[row]]
    total = len(set().union(*map(set, lists)))
    seen, chosen = set(), []
    for row in order:
        if len(seen) <= level * total and len(chosen) < n and set(lists[row]) - seen:
            chosen.append(row)
            seen |= set(lists[row])
    method = CoverageLevels(coverage=level, mean_tags=mean)
    if len(seen) <= level * total and len(seen) < total:
        with pytest.raises(InputError, match="expected to cover more than"):
            picked_fast(lists, n, method, Rules(seed=seed))
        return
    rest = [row for row in order if row not in chosen and not set(lists[row]) - seen]
    while len(chosen) < n and rest:
        many = sum(len(set(lists[row])) for row in chosen) < mean * len(chosen)
        fitting = [row for row in rest if (len(set(lists[row])) >= mean) == many]
        row = (fitting or rest)[0]
        rest.remove(row)
        chosen.append(row)
    found = picked_fast(lists, n, method, Rules(seed=seed))
    assert found.indices.tolist() == chosen
    assert found.coverage == len(seen) / total


def test_coverage_levels_reach_the_level_and_keep_the_mean():
    draw = np.random.default_rng(1)
    lists = [[f"tag {code}" for code in draw.choice(300, draw.integers(1, 10), replace=False)] for _ in range(4000)]
    for level in (0.7, 0.9):
        found = picked(lists, 200, CoverageLevels(coverage=level))
        assert level < found.coverage <= level + 10 / 300  # one row brings nine tags at most
        assert found.complexity == pytest.approx(5.0, abs=0.02)
        assert found.notes == ()
    astray = picked(lists, 3000, CoverageLevels(coverage=0.99, mean_tags=8))
    assert "expected a mean of 8 tags, found" in astray.notes[0]


# --- Information gain ------------------------------------------------------------------------------------------------


def vectors_of(tags):
    """Unit vectors in the plane; some of the tags lie near each other."""
    angles = [{"math": 0.0, "sums": 0.2, "proof": 0.4}.get(tag, 1.0 + sum(map(ord, tag))) for tag in tags]
    return [[math.cos(angle), math.sin(angle)] for angle in angles]


def dense_information_gain(lists, n, *, weights, method):
    """Method.md's formula with whole matrices: every gain of every row at every step."""
    names = sorted(set().union(*map(set, lists)))
    carried = np.zeros((len(lists), len(names)))
    for row, tags in enumerate(map(set, lists)):
        for tag in tags:
            carried[row, names.index(tag)] = weights[row] / (len(tags) if method.normalize else 1)
    edges = np.eye(len(names))
    if method.embedder:
        vectors = np.array(vectors_of(names), np.float32).astype(float)
        cosines = vectors @ vectors.T
        edges = np.where(cosines >= method.min_similarity, cosines * method.propagation, 0)
        np.fill_diagonal(edges, 1)
    carried = carried @ (edges / edges.sum(axis=0))
    state = np.zeros(len(names))
    left = [row for row in range(len(lists)) if lists[row]]
    chosen, gains = [], []
    while left and len(chosen) < n:
        slope = method.exponent * (state + 1e-6) ** (method.exponent - 1)
        each = steady(np.array([math.fsum(carried[row] * slope) for row in left]))
        best = left[int(np.argmax(each))]
        chosen.append(best)
        gains.append(each.max())
        state = state + carried[best]
        left.remove(best)
    return chosen, gains


METHODS_OF_GAIN = st.builds(
    InformationGain,
    exponent=st.sampled_from([0.3, 0.8, 1.0]),
    normalize=st.booleans(),
    embedder=st.sampled_from([None, vectors_of]),
    min_similarity=st.sampled_from([0.9, 0.97]),
    propagation=st.sampled_from([0.0, 0.5, 1.0]),
)


@settings(max_examples=500)
@given(
    st.lists(st.tuples(st.lists(st.sampled_from(TAGS), max_size=5), WEIGHTS), min_size=1, max_size=25),
    METHODS_OF_GAIN,
    st.booleans(),
    st.integers(1, 30),
)
def test_information_gain_equals_the_dense_formula(rows, method, weighted, n):
    lists, weights = [tags for tags, _ in rows], [weight if weighted else 1.0 for _, weight in rows]
    if not any(lists):
        return
    chosen, gains = dense_information_gain(lists, n, weights=weights, method=method)
    found = picked_fast(lists, n, method, weights=np.array(weights) if weighted else None)
    assert found.indices.tolist() == chosen
    np.testing.assert_allclose(found.gains, gains, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("watched", [1, 3, 64])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("embedder", [None, vectors_of])
def test_information_gain_takes_a_whole_pool_in_the_dense_order_however_few_rows_it_watches(
    watched, normalize, embedder, monkeypatch
):
    monkeypatch.setattr(gains_room, "WATCHED", watched)
    monkeypatch.setattr(gains_room, "REFRESHED", 2 * watched)
    draw = np.random.default_rng(7)
    lists = [[TAGS[code] for code in draw.choice(8, draw.integers(1, 5), replace=False)] for _ in range(150)]
    weights = draw.integers(1, 4, 150).astype(float).tolist()
    method = InformationGain(normalize=normalize, embedder=embedder)
    chosen, gains = dense_information_gain(lists, 150, weights=weights, method=method)
    found = picked(lists, 150, method, Rules(weight_column="quality"), quality=weights)
    assert found.indices.tolist() == chosen
    np.testing.assert_allclose(found.gains, gains, rtol=1e-6)


def test_information_gain_by_hand():
    # At first both rows are worth the slope at nothing; then math has 1 and poetry nothing.
    found = picked([["math"], ["math"], ["poetry"]], 3, "information-gain")
    assert found.indices.tolist() == [0, 2, 1]
    np.testing.assert_allclose(found.gains, [0.8 * 1e-6**-0.2, 0.8 * 1e-6**-0.2, 0.8 * (1 + 1e-6) ** -0.2])


def test_information_gain_flows_to_tags_of_like_meaning():
    # What math has counts for sums too, so that poetry is worth more than sums.
    lists = [["math"], ["sums"], ["poetry"]]
    assert picked(lists, 2, InformationGain()).indices.tolist() == [0, 1]
    assert picked(lists, 2, InformationGain(embedder=vectors_of)).indices.tolist() == [0, 2]


# --- The controls ----------------------------------------------------------------------------------------------------


@given(TAGGED)
def test_rarity_equals_the_sum_of_logs(lists):
    rows = [row for row, tags in enumerate(lists) if tags]
    of_tag = {tag: sum(tag in lists[row] for row in rows) for tag in TAGS}
    value = {row: math.fsum(math.log(len(rows) / of_tag[tag]) for tag in set(lists[row])) for row in rows}
    found = picked_fast(lists, len(lists), "rarity")
    np.testing.assert_allclose(found.gains, [value[row] for row in found.indices], rtol=1e-6)
    assert sorted(found.indices.tolist()) == rows
    for first, second in zip(found.indices, found.indices[1:], strict=False):
        assert value[first] > value[second] - 1e-9
        assert first < second or value[first] > value[second]


def test_longest_reads_the_queries_of_any_shape():
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello, how are you?"}]
    ds = dataset([["a"], ["a"], []], messages=[talk, [*talk, {"role": "user", "content": "Fine!"}], talk])
    found = choose(ds, 3, "longest")
    assert found.indices.tolist() == [1, 0, 2]
    assert found.gains.tolist() == [7, 2, 2]  # "Hi" and "Fine!"; answers do not count


def test_random_draws_every_row_alike():
    lists = [["a"]] * 10 + [[]] * 10
    taken = np.zeros(20)
    for seed in range(500):
        taken[picked_fast(lists, 5, "random", Rules(seed=seed)).indices] += 1
    assert abs(taken - 125).max() < 45  # 125 expected, a deviation of 9.7 each


def test_a_row_of_twice_the_weight_is_drawn_first_twice_as_often():
    weights = np.array([1.0, 2.0, 0.0])
    first = [picked_fast([["a"]] * 3, 1, "random", Rules(seed=seed), weights).indices[0] for seed in range(900)]
    assert 250 < first.count(0) < 350  # 300 expected, a deviation of 14
    assert first.count(2) == 0


# --- Caps and quotas -------------------------------------------------------------------------------------------------


def impossible(bounds, present, n):
    single = bounds if isinstance(bounds, dict) else dict.fromkeys(present, bounds)
    ranges = {name: (0, each) if isinstance(each, int) else each for name, each in single.items()}
    least = [low for low, _ in ranges.values()]
    nothing = all(ranges.get(name, (0, None))[1] == 0 for name in present)
    return nothing or sum(least) > n or any(ranges[name][0] > present[name] for name in ranges)


EVERY_METHOD = st.sampled_from([name for name in METHODS if name != "coverage-levels"]).map(
    lambda name: METHODS[name]()
)


@settings(max_examples=250)
@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from(TAGS), min_size=1, max_size=4), st.sampled_from("xyz")),
        min_size=1,
        max_size=25,
    ),
    st.data(),
)
def test_caps_are_never_exceeded_and_quotas_are_met_or_refused(rows, data):
    lists, sources = [tags for tags, _ in rows], [source for _, source in rows]
    bound = st.integers(0, 4) | st.tuples(st.integers(0, 2), st.integers(2, 6) | st.none())
    tags = sorted(set().union(*map(set, lists)))
    per_tag = data.draw(st.none() | st.integers(1, 4) | st.dictionaries(st.sampled_from(tags), bound, max_size=3))
    per_source = data.draw(st.none() | bound | st.dictionaries(st.sampled_from(sorted(set(sources))), bound))
    n = data.draw(st.integers(1, 12))
    method = data.draw(EVERY_METHOD)
    columns = {"source": sources, "query": ["why? " * len(tags) for tags in lists]}
    refusal = ""
    try:
        found = picked(lists, n, method, Rules(per_tag=per_tag, per_source=per_source), **columns)
    except InputError as error:
        refusal = str(error)
    if refusal:
        assert "quota" in refusal or "found none" in refusal
        if per_tag is None:  # every row has one source, so that what can be met is known
            assert impossible(per_source, Counter(sources), n)
        return
    assert len(set(found.indices.tolist())) == len(found) <= n
    for bounds, groups_of in ((per_tag, lambda row: set(lists[row])), (per_source, lambda row: {sources[row]})):
        counts = {group: 0 for row in range(len(rows)) for group in groups_of(row)}
        for row in found.indices:
            for group in groups_of(row):
                counts[group] += 1
        single = bounds if isinstance(bounds, dict) else {group: bounds for group in counts if bounds is not None}
        for group, each in single.items():
            least, most = (0, each) if isinstance(each, int) else each
            assert least <= counts[group] <= (math.inf if most is None else most)


@settings(max_examples=300)
@given(
    st.lists(st.lists(st.sampled_from(TAGS), min_size=1, max_size=3), min_size=1, max_size=20),
    st.integers(1, 3),
    st.integers(1, 20),
)
def test_capped_rounds_equal_the_papers_loop_without_full_tags(lists, cap, n):
    left = sorted(range(len(lists)), key=lambda row: -len(set(lists[row])))
    chosen, counts = [], dict.fromkeys(TAGS, 0)
    while True:
        seen, before = set(), len(chosen)
        for row in left:
            tags = set(lists[row])
            if row not in chosen and len(chosen) < n and tags - seen and all(counts[tag] < cap for tag in tags):
                chosen.append(row)
                seen |= tags
                for tag in tags:
                    counts[tag] += 1
        if len(chosen) == before:
            break
    assert picked_fast(lists, n, rules=Rules(per_tag=cap)).indices.tolist() == chosen


def test_sources_that_are_classes_go_by_their_names():
    ds = Dataset.from_dict({"instag_normalized": [["a"], ["b"], ["c"], ["d"]], "source": [0, 1, -1, None]})
    ds = ds.cast_column("source", ClassLabel(names=["big", "small"]))
    found = choose(ds, 2, rules=Rules(per_source={"small": (1, None), "": (1, None), "big": 0}))
    assert found.indices.tolist() == [1, 2]


def test_rows_for_quotas_come_first_and_open_the_first_round():
    lists, sources = [["a", "b", "c"], ["a"], ["d"], ["d"]], ["big", "small", "small", "big"]
    found = picked(lists, 3, rules=Rules(per_source={"small": (1, None)}), source=sources)
    assert found.indices.tolist() == [1, 0, 2]
    assert found.rounds.tolist() == [0, 1, 1]
    assert found.brought == [["a"], ["b", "c"], ["d"]]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        pytest.param(
            {"per_source": {"small": (3, None)}},
            "expected 3 rows with the source 'small', found 2 to choose 4 from, 1 too few. Lower the quota.",
            id="more than there are",
        ),
        pytest.param(
            {"per_source": (3, None)},
            "expected 3 rows with the source 'big', found 2 to choose 4 from, 1 too few",
            id="for every source",
        ),
        pytest.param(
            {"per_tag": {"a": (2, None)}, "per_source": {"small": 0}},
            "found that tag 'a' has 1 of 2 rows. Lower the quotas, or raise n or the caps.",
            id="kept from it by a cap",
        ),
        pytest.param({"per_tag": {"e": 1}}, "found 'e', which no row has. Check its spelling", id="no such tag"),
        pytest.param({"per_tag": -1}, "0 <= least <= most, found -1 for every", id="below nothing"),
        pytest.param({"per_tag": {"a": (3, 2)}}, r"found (3, 2) for 'a'", id="upside down"),
    ],
)
def test_limits_that_cannot_be_met_say_which_and_by_how_much(rules, message):
    ds = dataset([["a", "b", "c"], ["a"], ["d"], ["d"]], source=["big", "small", "small", "big"])
    with pytest.raises(InputError) as error:
        choose(ds, 4, rules=Rules(**rules))
    assert message in str(error.value)


def test_quotas_and_caps_can_be_met_to_the_row():
    ds = dataset([["a", "b", "c"], ["a"], ["d"], ["d"]], source=["big", "small", "small", "big"])
    rules = Rules(per_tag={"d": (1, 1), "a": (2, None)}, per_source={"small": (2, 2), "big": 1})
    assert choose(ds, 3, rules=rules).indices.tolist() == [0, 2, 1]  # the second round takes the second row of a


def test_quotas_of_sources_that_add_up_to_more_than_n_are_refused():
    with pytest.raises(InputError, match="that fit into 3 rows, found 4, 1 too many"):
        picked([["a"]] * 4, 3, rules=Rules(per_source=(2, None)), source=list("xxyy"))


# --- What is never chosen --------------------------------------------------------------------------------------------


def test_failed_rows_are_never_selected_and_are_counted():
    ds = dataset(
        [["a"], ["left", "over"], ["b"]],
        instag_error=["", "parse: no list", ""],
        query=["Why?", "Why, and how, and when?", "How?"],
    )
    for name in METHODS:
        method = CoverageLevels(coverage=1.0) if name == "coverage-levels" else name
        found = choose(ds, 3, method)
        assert sorted(found.indices.tolist()) == [0, 2]
        assert found.skipped == {"failed: parse": 1}
        assert found.coverage == 1.0


@pytest.mark.parametrize(
    ("match", "left"), [pytest.param("folded", [3], id="folded"), pytest.param("exact", [1, 2, 3], id="exact")]
)
def test_rows_whose_query_is_excluded_are_left_out(match, left):
    ds = dataset([["a"]] * 4, query=["Plan a trip.", "  plan a\nTRIP. ", "STRASSE", "Other"])
    texts = ["Plan a trip.", "straße"]
    for exclude in (texts, Dataset.from_dict({"prompt": texts})):
        found = choose(ds, 4, rules=Rules(exclude=exclude, match=match))
        assert found.indices.tolist() == left
        assert found.skipped == {"excluded": 4 - len(left)}


def test_any_turn_of_a_talk_can_be_excluded():
    talk = [
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Yes?"},
        {"from": "human", "value": "What is 2+2?"},
    ]
    ds = dataset([["a"], ["a"]], conversations=[talk, talk[:2]])
    assert choose(ds, 2, rules=Rules(exclude=["what is 2+2?"])).indices.tolist() == [1]


# --- The same rows everywhere ----------------------------------------------------------------------------------------


def test_the_choice_does_not_depend_on_num_proc():
    ds = Dataset.from_dict({"query": [f"Count to {number % 17}." for number in range(120)]})

    def tag(row):
        number = int(row["query"][9:-1])
        return {
            "instag_normalized": [f"tag {number % divisor} of {divisor}" for divisor in (2, 3, 5, 7)[: 1 + number % 4]]
        }

    alone, four = ds.map(tag), ds.map(tag, num_proc=4)
    for name in METHODS:
        method = CoverageLevels(mean_tags=2.0) if name == "coverage-levels" else name
        found = [instag.select(each, 30, method, reasons=True, seed=3).to_dict() for each in (alone, four)]
        assert found[0] == found[1]


def test_seeds_draw_the_rows_that_they_always_drew():
    # Written down once: another release of NumPy or another machine must draw the same.
    lists = [["a", "b"][: 1 + number % 2] for number in range(1000)]
    assert picked(lists, 6, "random").indices.tolist() == [743, 740, 997, 810, 646, 774]
    weights = [1 + number % 3 for number in range(1000)]
    assert picked(lists, 6, "random", Rules(weight_column="w"), w=weights).indices.tolist() == [
        743,
        740,
        997,
        422,
        646,
        810,
    ]
    assert picked(lists, 6, "random", Rules(seed=1)).indices.tolist() == [458, 323, 622, 828, 93, 61]


@settings(max_examples=200)
@given(ROWS.filter(all), st.integers(0, 99), st.integers(1, 25))
def test_the_order_of_rows_decides_ties_only(lists, seed, n):
    lists = [*lists, ["of one row"]]  # a tag of every row would make all rarities nothing
    draw = np.random.default_rng(seed)
    weights, order = draw.random(len(lists)), draw.permutation(len(lists))  # weights that differ leave no ties
    for method in ("complexity-first", "complexity-bands", "information-gain", "rarity"):
        first = picked_fast(lists, n, method, weights=weights)
        again = picked_fast([lists[row] for row in order], n, method, weights=weights[order])
        assert order[again.indices].tolist() == first.indices.tolist()


def test_texts_that_can_be_read_once_exclude_every_time():
    rules = Rules(exclude=(text for text in ["a"]))
    ds = dataset([["x"], ["x"]], query=["a", "b"])
    assert choose(ds, 1, rules=rules).indices.tolist() == choose(ds, 1, rules=rules).indices.tolist() == [1]


@given(st.lists(st.floats(1e-300, 1e300), min_size=1))
def test_steady_numbers_keep_their_order_and_nine_digits(values):
    ordered = np.sort(np.array(values))
    rounded = steady(ordered)
    assert (np.diff(rounded) >= 0).all()
    np.testing.assert_allclose(rounded, ordered, rtol=1e-9)
    np.testing.assert_array_equal(steady(rounded), rounded)


@given(st.lists(st.integers(0, 200_000)), st.sampled_from([200_001, 1 << 33]))
def test_stable_order_is_a_stable_sort(values, bound):
    array = np.array(values, np.int64)
    np.testing.assert_array_equal(stable_order(array, bound), np.argsort(array, kind="stable"))


# --- Columns, and calls that cannot work -----------------------------------------------------------------------------


def test_the_chosen_rows_keep_their_columns_and_say_why_on_request():
    ds = dataset([["math"], ["math", "proof"], ["poetry"], ["math"]], id=[1, 2, 3, 4])
    assert instag.select(ds, 3).to_dict() == {
        "instag_normalized": [["math", "proof"], ["poetry"], ["math"]],
        "id": [2, 3, 1],
    }
    chosen = instag.select(ds, 3, reasons=True)
    assert chosen["instag_round"][:] == [1, 1, 2]
    assert chosen["instag_gain"][:] == [["math", "proof"], ["poetry"], ["math"]]
    with pytest.raises(InputError, match=r"already has the columns \['instag_round', 'instag_gain'\]"):
        instag.select(chosen, 1, reasons=True)
    with pytest.raises(InputError, match="expected the dataset of 4 rows that was chosen from, found 3 rows"):
        choose(ds, 3).rows(chosen)


def test_reasons_have_a_type_even_where_no_row_brings_a_tag():
    chosen = instag.select(dataset([[], []], query=["a", "b"]), 2, "random", reasons=True)
    assert chosen.features["instag_gain"].feature.dtype == "string"
    assert chosen["instag_gain"][:] == [[], []]


def test_raw_tags_are_read_with_a_warning_and_named_columns_without():
    ds = Dataset.from_dict({"instag_tags": [["a"], ["b", "c"]]})
    with pytest.warns(UserWarning, match="reads instag_tags, for there is no instag_normalized"):
        assert instag.select(ds, 1)["instag_tags"][:] == [["b", "c"]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        instag.select(ds, 1, column="instag_tags")
        instag.select(ds.rename_column("instag_tags", "instag_normalized"), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"n": 0}, "expected n to be a whole number from 1 on, found 0", id="no rows"),
        pytest.param({"n": 2.5}, "expected n to be a whole number from 1 on, found 2.5", id="half a row"),
        pytest.param({"method": "best"}, "expected one of the methods ['complexity-first', ", id="method"),
        pytest.param({"column": "labels"}, 'expected a column "labels" of tag lists, found columns [', id="column"),
        pytest.param({"match": "near"}, "expected match to be one of ['exact', 'folded'], found 'near'", id="match"),
        pytest.param({"seed": -1}, "expected a seed that is a whole number from 0 on, found -1", id="seed"),
        pytest.param({"exclude": "text"}, "expected exclude to be a Dataset or texts, found str", id="exclude"),
        pytest.param({"exclude": [["a"]]}, "expected exclude to be texts, found list among them", id="exclude lists"),
        pytest.param({"exclude": []}, "expected queries to exclude, found none", id="exclude nothing"),
        pytest.param(
            {"text_column": "text", "exclude": ["a"]}, 'expected a column "text", found columns', id="no text"
        ),
        pytest.param({"weight_column": "query"}, 'expected numbers in "query", found string', id="weights of text"),
        pytest.param(
            {"weight_column": "w"}, 'from 0 on in "w", found -1.0 in row 1 and others in 2 rows', id="weights"
        ),
        pytest.param({"weight_column": "v"}, 'expected a column "v" of weights, found columns', id="no weights"),
        pytest.param({"per_source": 1}, 'expected a column "source" of sources, found columns', id="no sources"),
        pytest.param(
            {"per_source": 1, "source_column": "tags"}, 'one source a row in "tags", found', id="source lists"
        ),
    ],
)
def test_a_call_that_cannot_work_is_refused(change, message):
    ds = dataset([["a"], ["b"], ["c"]], query=["x", "y", "z"], w=[1.0, -1.0, None], tags=[["a"], ["b"], ["c"]])
    with pytest.raises(InputError) as error:
        instag.select(ds, **{"n": 1, **change})
    assert message in str(error.value)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: ComplexityBands(band=0), id="band"),
        pytest.param(lambda: ComplexityBands(band=1.5), id="half a band"),
        pytest.param(lambda: CoverageLevels(coverage=1.2), id="coverage"),
        pytest.param(lambda: CoverageLevels(mean_tags=0.5), id="mean"),
        pytest.param(lambda: InformationGain(exponent=1.5), id="exponent"),
        pytest.param(lambda: InformationGain(propagation=-1), id="propagation"),
        pytest.param(lambda: InformationGain(min_similarity=0), id="similarity"),
    ],
)
def test_settings_outside_their_range_are_refused(make):
    with pytest.raises(InputError, match="expected a"):
        make()


def test_what_is_no_dataset_is_refused_with_a_remedy():
    ds = dataset([["a"]])
    with pytest.raises(InputError, match="found an IterableDataset.*without streaming=True"):
        instag.select(ds.to_iterable_dataset(), 1)
    with pytest.raises(InputError, match=r"found the splits \['train'\]. Name one, such as ds\['train'\]"):
        instag.select(DatasetDict(train=ds), 1)
    with pytest.raises(InputError, match="found list. Make one with Dataset.from_list"):
        instag.select([["a"]], 1)


def test_nothing_to_choose_from_is_an_error_and_not_an_empty_dataset():
    ds = dataset([[], ["a"]], instag_error=["", "row: empty"])
    with pytest.raises(InputError, match="found none among 2 rows \\(1 failed: row, 1 no tags\\)"):
        instag.select(ds, 1)
    assert len(instag.select(ds.add_column("query", ["x", "y"]), 1, Random())) == 1


def test_rows_of_several_taggers_are_refused_unless_allowed():
    ds = dataset([["a"], ["b"]], instag_tagger=["one", "two"])
    with pytest.raises(InputError, match="expected rows of one tagger"):
        instag.select(ds, 1)
    assert len(instag.select(ds, 1, mixed=True)) == 1


def test_rows_that_all_went_well_and_say_so_by_nothing_can_be_chosen():
    ds = Dataset.from_dict({"query": ["a", "b"], "instag_tags": [["x"], ["x", "y"]], "instag_error": [None, None]})
    assert choose(ds, 1).indices.tolist() == [1]


@pytest.mark.parametrize("bounds", ["x", -1, (3, 2), (1, 2, 3), {"math": "x"}, {"math": (None, 1)}])
@pytest.mark.parametrize("name", ["per_tag", "per_source"])
def test_rules_refuse_what_is_no_range_when_they_are_made(name, bounds):
    with pytest.raises(InputError, match=f"expected {name} to be a cap or .least, most. with 0 <= least <= most"):
        Rules(**{name: bounds})
