"""Every number of a report, against a slow and obvious recount."""

import itertools
import json
import math
from collections import Counter
from statistics import mean, median

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDataset, List, Value, concatenate_datasets
from hypothesis import given, settings
from hypothesis import strategies as st

import instag_hf as instag
from instag_hf import InputError
from instag_hf.analysis import Vocabulary, counting, report
from instag_hf.analysis.counting import count_pairs, expected_tags, most_frequent_pairs, rank_correlation
from instag_hf.normalizer import FunnelStep, TagNormalizer
from instag_hf.prompts import load_recipe
from instag_hf.rows import queries
from instag_hf.rows.columns import read_tags

TAGGER = "m@/embedded#01234567"
FEATURES = Features(
    {
        "messages": List({"role": Value("string"), "content": Value("string")}),
        "source": Value("string"),
        "instag_tags": List(Value("string")),
        "instag_turns": List(Value("int32")),
        "instag_error": Value("string"),
        "instag_tagger": Value("string"),
        "instag_normalized": List(Value("string")),
    }
)
NAMES = ["math", "sums", "c++", "諺", "<b>", ""]
FUNNEL = (FunnelStep("raw", 9, 90), FunnelStep("frequency", 5, 80))


def conversation(texts):
    """A question for each text, and an answer that is nobody's query."""
    return [{"role": role, "content": text} for text in texts for role in (("user", "assistant"))]


@st.composite
def row(draw, sources=("x", "y", None)):
    """A row as a tagger leaves it: failed, or with as many counts as it has queries."""
    failed = draw(st.sampled_from(["", "", "", "parse: no list", "row: empty", "truncated: long"]))
    texts = draw(
        st.lists(
            st.sampled_from(["Hi", "Write a poem", "é" * 500, "a b  c", "<|im_end|>" * 89]), min_size=1, max_size=3
        )
    )
    tags = draw(st.lists(st.sampled_from(NAMES), max_size=5))  # repeats, or none at all
    return {
        "messages": conversation(texts),
        "source": draw(st.sampled_from(sources)),
        "instag_tags": [] if failed else tags,
        "instag_turns": [] if failed else [draw(st.integers(1, 6)) for _ in texts],
        "instag_error": failed,
        "instag_tagger": TAGGER,
        "instag_normalized": [] if failed else [tag for tag in tags if tag != "sums"],
    }


TABLES = st.lists(row(), min_size=1, max_size=12)


def recount(rows, vocabulary, others=(), column="instag_tags"):
    """Count the long way what a Summary holds, with nothing but loops."""
    fine = [row for row in rows if not row["instag_error"]]
    lists = [set(row[column]) for row in fine]
    seen = Counter(tag for tags in lists for tag in tags)
    asked = [
        (text, count)
        for row in fine
        for text, count in zip(queries({"messages": row["messages"]}), row["instag_turns"], strict=True)
    ]
    chars, counts = [len(text) for text, _ in asked], [count for _, count in asked]
    pairs = Counter(pair for tags in lists for pair in itertools.combinations(sorted(tags), 2))
    alone = {tag: n for tag, n in seen.items() if not any(tag in other for other in others)}
    bound = load_recipe("embedded")

    def ranked(counted, sign=-1):
        return sorted(counted.items(), key=lambda item: (sign * item[1], item[0]))

    return {
        "rows": len(rows),
        "failures": dict(Counter(row["instag_error"].split(":")[0] for row in rows if row["instag_error"])),
        "unread": 0,
        "queries": len(asked),
        "cut": sum(
            bound.ask(text) != bound.ask("\0").replace("\0", text.replace("<|im_end|>", "< |im_end|>"))
            for text, _ in asked
        ),
        "tags": len(seen),
        "assignments": sum(len(tags) for tags in lists),
        "coverage": sum(tag in seen for tag in vocabulary) / len(vocabulary) if vocabulary else None,
        "tags_per_query": mean(counts) if counts else None,
        "tags_per_row": mean(len(tags) for tags in lists) if lists else None,
        "distribution": dict(Counter(len(tags) for tags in lists)),
        "spectrum": dict(Counter(seen.values())),
        "chars": (len(chars), mean(chars), median(chars), sorted(chars)[math.ceil(0.95 * len(chars)) - 1])
        if chars
        else None,
        "correlation": slow_spearman(chars, counts),
        "top": ranked(seen)[:3],
        "rare": ranked(seen, 1)[:3],
        "pairs": [(*pair, n) for pair, n in ranked(pairs)[:3]],
        "curve": slow_curve([seen[tag] for tag in vocabulary], len(fine)),
        "alone": len(alone),
        "alone_top": ranked(alone)[:3],
    }


def slow_spearman(one, other):
    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    ranks = [[sum(b < a for b in side) + sum(b == a for b in side) / 2 for a in side] for side in (one, other)]
    (a, b), n = ranks, len(one)
    ma, mb = sum(a) / n, sum(b) / n
    return sum((x - ma) * (y - mb) for x, y in zip(a, b, strict=True)) / math.sqrt(
        sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b)
    )


def slow_curve(counts, rows):
    """Count subsets: a tag of c rows is in none of C(N - c, m) of the C(N, m) subsets of m rows."""
    return {
        m: sum(1 - math.comb(rows - c, m) / math.comb(rows, m) for c in counts) / len(counts)
        for m in range(1, rows + 1)
        if counts
    }


def flat(summary):
    """Put a Summary into the form of `recount`."""
    lengths = summary.lengths
    plain = {name: getattr(summary, name) for name in vars(summary) if name != "lengths"}
    plain |= {name: [tuple(item) for item in plain[name]] for name in ("top", "rare", "pairs", "alone_top")}
    plain["chars"] = lengths and (lengths.queries, lengths.mean, lengths.median, lengths.p95)
    plain["correlation"] = lengths and lengths.correlation
    return plain


def assert_same(summary, wanted):
    found = flat(summary)
    shape = dict(found["curve"])  # of 36 rows and fewer not every size is a point
    assert max(shape, default=0) == max(wanted["curve"], default=0)
    found["curve"] = {**wanted["curve"], **shape}
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        close = (
            value
            if value is None or name in {"failures", "top", "rare", "pairs", "alone_top"}
            else pytest.approx(value)
        )
        assert found[name] == close, name


def tags_of(rows, column="instag_tags"):
    return {tag for row in rows if not row["instag_error"] for tag in row[column]}


@given(TABLES)
@settings(max_examples=60)
def test_a_report_by_source_equals_a_slow_recount(rows):
    found = report(Dataset.from_list(rows, features=FEATURES), column="instag_tags", by="source", shown=3)
    union = tags_of(rows)
    assert (found.vocabulary, found.of_union, found.recipes, found.taggers) == (
        len(union),
        True,
        ("embedded",),
        (TAGGER,),
    )
    assert_same(found.total, recount(rows, union, others=[union]))
    groups = {name: [row for row in rows if (row["source"] or "(none)") == name] for name in ("x", "y", "(none)")}
    groups = {name: some for name, some in groups.items() if some}
    assert list(found.parts) == sorted(groups, key=lambda name: (-len(groups[name]), name))
    for name, some in groups.items():
        others = [tags_of(other) for label, other in groups.items() if label != name]
        assert_same(found.parts[name], recount(some, union, others=others or [union]))


@given(
    st.dictionaries(st.sampled_from(["one", "two", "three"]), TABLES, min_size=1),
    st.sets(st.sampled_from([*NAMES, "law", "art"])),
)
@settings(max_examples=60)
def test_datasets_compared_equal_a_slow_recount(tables, vocabulary):
    data = {name: Dataset.from_list(rows, features=FEATURES) for name, rows in tables.items()}
    found = report(data, normalizer=Vocabulary(dict.fromkeys(vocabulary, 1), FUNNEL), shown=3)
    sets = {name: tags_of(rows, "instag_normalized") for name, rows in tables.items()}
    everything = [row for rows in tables.values() for row in rows]
    assert (found.column, found.vocabulary, found.of_union) == ("instag_normalized", len(vocabulary), False)
    assert found.funnel == FUNNEL
    assert_same(found.total, recount(everything, vocabulary, [tags_of(everything)], "instag_normalized"))
    assert list(found.parts) == list(tables)
    for name, rows in tables.items():
        others = [tags for other, tags in sets.items() if other != name] or [sets[name]]
        assert_same(found.parts[name], recount(rows, vocabulary, others, "instag_normalized"))
    wanted = {
        one: {other: len(sets[one] & sets[other]) / len(sets[one]) if sets[one] else None for other in sets}
        for one in sets
    }
    assert found.recall == wanted


@given(TABLES)
@settings(max_examples=20)
def test_streams_splits_and_parquet_types_report_the_same(rows):
    data = Dataset.from_list(rows, features=FEATURES)
    wanted = report(data, by="source").to_dict()
    assert report(data.to_iterable_dataset(), by="source").to_dict() == wanted
    assert report(IterableDataset.from_generator(lambda: iter(rows)), by="source").to_dict() == wanted
    split = report(DatasetDict({"train": data, "test": data}))
    assert split.parts["train"] == split.parts["test"]
    assert split.total.rows == 2 * len(rows)
    assert split.parts["train"].alone == 0
    labels = ["(none)", "x", "y"]
    classes = data.map(
        lambda row: {"source": labels.index(row["source"] or "(none)")},
        features=Features({**FEATURES, "source": ClassLabel(names=labels)}),
    )
    assert report(classes, by="source").to_dict() == wanted


def test_a_row_without_a_class_is_of_no_part():
    data = Dataset.from_dict({"instag_tags": [["a"], ["b"]], "label": [0, -1]})
    found = report(data.cast_column("label", ClassLabel(names=["x"])), by="label")
    assert list(found.parts) == ["(none)", "x"]


def test_disjoint_datasets_recall_nothing_of_each_other():
    found = report({"a": [["math"], ["math", "sums"]], "b": [["law"]]})
    assert found.recall == {"a": {"a": 1.0, "b": 0.0}, "b": {"a": 0.0, "b": 1.0}}
    assert found.parts["a"].coverage == pytest.approx(2 / 3)
    assert found.parts["a"].alone_top == (("math", 2), ("sums", 1))
    assert found.parts["b"].queries is None  # lists of tags do not say how many queries they are of


def test_a_query_that_cannot_be_read_counts_but_has_no_length():
    data = Dataset.from_dict(
        {
            "query": ["abc", " ", "abcde"],
            "instag_tags": [["a", "b"], ["a", "b", "c"], ["a"]],
            "instag_turns": [[2], [3], [1]],
        }
    )
    found = report(data).total
    assert (found.queries, found.unread, found.tags_per_query) == (3, 1, 2.0)
    assert (found.lengths.queries, found.lengths.mean, found.lengths.correlation) == (2, 4.0, pytest.approx(-1.0))


def test_rows_of_adopted_tags_tell_no_turns_and_count_by_their_text():
    tagged = Dataset.from_list([{"query": "a", "instag_tags": ["x"], "instag_turns": [3], "instag_error": ""}])
    plain = Dataset.from_list([{"query": text, "gold": gold} for text, gold in (("bc", ["y", "z"]), ("d", []))])
    adopted = instag.adopt_tags(plain, "gold", tagger="people").remove_columns(["gold", "instag_tagger"])
    both = concatenate_datasets([tagged, adopted])
    assert both["instag_turns"][:] == [[3], None, None]
    for data in (both, both.to_iterable_dataset()):
        found = report(data).total
        assert (found.queries, found.tags_per_query, found.lengths.mean, found.unread) == (2, 2.5, 1.5, 0)
        blind = report(data.remove_columns("query")).total
        assert (blind.rows, blind.tags, blind.queries, blind.tags_per_query) == (3, 3, None, None)
    failed = both.select([0, 2]).remove_columns("query")  # what failed has no queries to tell
    assert report(failed).total.tags_per_query == 3
    assert report(both.select([1]).add_column("n", [1])).total.tags_per_query == 2
    nothing = Dataset.from_dict({"query": ["a"], "instag_tags": [["x"]], "instag_turns": [None]})
    assert report(nothing).total.tags_per_query == 1
    talk = [{"messages": conversation(["a", "b"]), "instag_tags": ["x"], "instag_turns": None}]
    assert report(Dataset.from_list(talk)).total.queries == 2
    assert report(Dataset.from_list(talk)).total.tags_per_query is None


def test_batches_join_seamlessly(monkeypatch):
    rows = [
        {
            "query": "a" * n,
            "tags": [f"tag {n % 7}", "every"],
            "source": f"s{n % 3}",
            "instag_error": "row: no" * (n % 5 == 4),
        }
        for n in range(40)
    ]
    data = Dataset.from_list(rows)
    wanted = report(data, column="tags", by="source")
    monkeypatch.setattr("instag_hf.analysis.reading.BATCH", 7)
    monkeypatch.setattr("instag_hf.rows.columns.BATCH", 11)
    assert report(data, column="tags", by="source") == wanted
    assert wanted.total.failures == {"row": 8}
    assert wanted.total.lengths.queries == 31  # 32 did not fail, and the one of n = 0 asks nothing
    assert wanted.total.unread == 1


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "instruction": st.none() | st.text(st.sampled_from("a\0 \u3000\x1c\n諺"), max_size=4),
                "input": st.none() | st.text(st.sampled_from("b\0 \x85"), max_size=3),
            }
        ),
        min_size=1,
        max_size=8,
    )
)
def test_plain_text_is_read_as_a_row_is_when_tagged(rows):
    features = Features({"instruction": Value("string"), "input": Value("string"), "tags": List(Value("string"))})
    data = Dataset.from_list([{**row, "tags": ["a"]} for row in rows], features=features)
    found = report(data, column="tags").total
    texts = []
    for plain in rows:
        try:
            texts += queries(plain)
        except instag.RowError:
            continue
    assert found.unread == len(rows) - len(texts)
    assert found.queries == len(texts)
    assert (found.lengths.mean if found.lengths else None) == (mean(map(len, texts)) if texts else None)
    slow = report(data.to_iterable_dataset(), column="tags").total
    assert slow == found


def test_a_query_counts_as_cut_when_the_recipe_cuts_it():
    bound = load_recipe("embedded").max_query_bytes
    texts = ["a" * bound, "a" * (bound + 1), "é" * (bound // 2 + 1), "<|im_end|>" + "a" * (bound - 10)]
    data = Dataset.from_dict({"query": texts, "tags": [["a"]] * 4})
    assert report(data, column="tags").total.cut is None
    assert report(data, column="tags", recipe="embedded").total.cut == 3  # a control string grows when it is broken up
    assert report(data, column="tags", recipe="open").total.cut == 0
    known = data.add_column("instag_tagger", ["m@/embedded#01234567"] * 4)
    assert report(known, column="tags").total.cut == 3
    unknown = data.add_column("instag_tagger", ["m@/mine#01234567"] * 4)
    assert report(unknown, column="tags").total.cut is None


def test_only_the_turns_that_were_tagged_are_counted():
    data = Dataset.from_list(
        [{"messages": conversation(["one", "three"]), "instag_tags": ["a", "b"], "instag_turns": [2]}]
    )
    with pytest.raises(InputError, match=r"row 0: expected 1 queries as in .instag_turns., found 2\. Say which turns"):
        report(data)
    assert report(data, turns="last").total.lengths.mean == 5
    plain = data.remove_columns("instag_turns")
    assert report(plain).total.tags_per_query is None  # the tags of a row are not told apart by query
    assert report(plain).total.queries == 2
    assert report(plain, turns="first").total.tags_per_query == 2


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_rank_correlation_equals_the_slow_one_and_scipy(pairs):
    from scipy.stats import spearmanr

    one, other = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    found, wanted = rank_correlation(one, other), slow_spearman(one.tolist(), other.tolist())
    assert found == (wanted if wanted is None else pytest.approx(wanted))
    if wanted is not None:
        assert found == pytest.approx(spearmanr(one, other).statistic)


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=5), max_size=12), st.integers(1, 9))
def test_pairs_equal_a_plain_loop_whatever_is_frequent(lists, frequent):
    column = read_tags(lists)
    pairs = Counter(pair for tags in lists for pair in itertools.combinations(sorted(set(tags)), 2))
    names = column.names
    before, counting.FREQUENT, chunk, counting.CHUNK = counting.FREQUENT, frequent, counting.CHUNK, frequent
    try:
        left, right, rows = count_pairs(column)
        top = most_frequent_pairs(column, 4)
    finally:
        counting.FREQUENT, counting.CHUNK = before, chunk
    assert {tuple(sorted((names[a], names[b]))): n for a, b, n in zip(left, right, rows, strict=True)} == pairs
    assert [((a, b), n) for a, b, n in top] == sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:4]


@given(st.lists(st.sets(st.sampled_from("abc")), min_size=1, max_size=6))
def test_expected_coverage_is_the_mean_over_all_subsets(lists):
    counts = np.array([sum(tag in tags for tags in lists) for tag in "abc"])
    found = dict(expected_tags(counts, len(lists)))
    assert set(found) == set(range(1, len(lists) + 1))
    for size, tags in found.items():
        subsets = itertools.combinations(lists, size)
        assert tags == pytest.approx(mean(len(set().union(*subset)) for subset in subsets))


def test_the_curve_ends_at_the_coverage():
    found = report([["a"], ["b"], ["a", "c"], []], normalizer=Vocabulary(dict.fromkeys("abcd", 1))).total
    assert found.curve[-1] == (4, pytest.approx(found.coverage))
    assert found.coverage == 0.75


def test_nothing_is_measured_where_nothing_is():
    empty = report([])
    assert (empty.total.rows, empty.total.coverage, empty.total.tags_per_row, empty.total.curve) == (0, None, None, ())
    failed = report(Dataset.from_dict({"query": ["Hi"], "instag_tags": [["left over"]], "instag_error": ["parse: no"]}))
    assert failed.total.failures == {"parse": 1}
    assert (failed.total.tags, failed.total.queries, failed.total.tags_per_row, failed.total.lengths) == (
        0,
        0,
        None,
        None,
    )
    assert "coverage: share of 0 tags" in str(failed)
    json.dumps(failed.to_dict(), allow_nan=False)


PLAIN = Dataset.from_dict({"query": ["Hi"], "tags": [["a"]], "source": ["x"], "instag_tagger": ["one"]})
NORMAL = Dataset.from_dict({"instag_tags": [["a"]], "instag_normalized": [["a"]], "instag_tagger": ["two"]})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(
            lambda: report(PLAIN),
            r'expected a column "instag_normalized" or "instag_tags", found .*"?all.*Name a column',
            id="no column",
        ),
        pytest.param(lambda: report(PLAIN, column="x"), 'expected a column "x" of tag lists', id="other column"),
        pytest.param(lambda: report(PLAIN, column="tags", by="x"), 'expected a column "x", found columns', id="by"),
        pytest.param(lambda: report(PLAIN, column="tags", query="x"), 'expected a column "x" of queries', id="query"),
        pytest.param(lambda: report(PLAIN, column="tags", turns="both"), "expected turns of", id="turns"),
        pytest.param(lambda: report(PLAIN, column="tags", recipe="x"), "recipe: expected one of", id="recipe"),
        pytest.param(lambda: report(PLAIN, column="tags", shown=-1), "expected shown of 0 or more", id="shown"),
        pytest.param(lambda: report({}), "expected datasets, found none", id="none"),
        pytest.param(
            lambda: report({"a": PLAIN}, column="tags", by="source"), "expected one dataset with by=", id="both"
        ),
        pytest.param(
            lambda: report({"a": NORMAL, "b": NORMAL.remove_columns("instag_normalized")}),
            r"expected tags of one kind to compare, found instag_normalized in \['a'\] and not in \['b'\]",
            id="kinds",
        ),
        pytest.param(
            lambda: report({"a": PLAIN.rename_column("tags", "instag_tags"), "b": NORMAL}, column="instag_tags"),
            r"expected rows of one tagger, found one \(1 rows\), two \(1 rows\). Allow it with mixed=True",
            id="taggers",
        ),
        pytest.param(
            lambda: report(Dataset.from_dict({"tags": [["a"]] * 201, "id": list(range(201))}), column="tags", by="id"),
            'expected at most 200 different values in "id"',
            id="parts",
        ),
        pytest.param(
            lambda: report(PLAIN, column="tags", by="tags"),
            r'expected one value a row in "tags", found .*a',
            id="lists",
        ),
        pytest.param(
            lambda: report(NORMAL.add_column("instag_turns", ["x"])),
            'expected "instag_turns" to be lists of numbers',
            id="no turns",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_raw_tags_are_measured_by_a_normalizer_only_when_named():
    raw = Dataset.from_dict({"instag_tags": [["Sorts", "Python"]] * 20 + [["sorted", "PYTHON"]] * 5})
    normalizer = TagNormalizer.fit(raw, steps=("frequency", "spelling"), min_count=5)
    with pytest.raises(InputError) as caught:
        report(raw, normalizer=normalizer)
    assert str(caught.value) == (
        'report: expected a column "instag_normalized", for the normalizer\'s vocabulary is of canonical tags, found '
        '"instag_tags". Run ds.map(normalizer.normalize, batched=True) (instag normalize --vocabulary), or name the '
        "column with column=."
    )
    assert report(raw, normalizer=normalizer, column="instag_tags").total.coverage < 1
    assert report(raw.map(normalizer.normalize), normalizer=normalizer).total.coverage == 1
    assert report([["sort"]], normalizer=normalizer).column == "instag_tags"  # lists are what they are
    assert report(raw, normalizer=Vocabulary({"Sorts": 1})).total.coverage == 1


def test_errors_and_taggers_that_are_nothing_are_counted_as_such():
    data = Dataset.from_dict({"instag_tags": [["a"], ["b"]], "instag_error": [None] * 2, "instag_tagger": [None] * 2})
    for each in (data, data.to_iterable_dataset()):
        assert (report(each).total.failures, report(each).taggers) == ({}, ("(not told)",))
    mixed = Dataset.from_dict({"instag_tags": [["a"], ["b"]], "instag_tagger": ["one", None]})
    with pytest.raises(InputError, match=r"found one \(1 rows\), \(not told\) \(1 rows\)"):
        report(mixed)
    assert report(mixed, mixed=True).taggers == ("(not told)", "one")


def test_lists_are_compared_with_a_dataset_as_they_are():
    found = report({"a": [["x"]], "b": NORMAL})
    assert (found.column, found.recall["b"]["a"], found.parts["a"].tags) == ("instag_normalized", 0.0, 1)
    raw = report({"a": [["x"]], "b": NORMAL.remove_columns("instag_normalized")})
    assert (raw.column, list(raw.parts)) == ("instag_tags", ["a", "b"])


def test_several_taggers_may_be_allowed():
    both = {"a": PLAIN.rename_column("tags", "instag_tags"), "b": NORMAL}
    assert report(both, column="instag_tags", mixed=True).taggers == ("one", "two")


def test_tables_tell_what_was_counted_and_no_control_character():
    data = Dataset.from_dict(
        {"query": ["Hi", "Ho", ""], "tags": [["\x1b[31mred", "諺" * 40], ["a"], ["a"]], "source": ["x\n", "y", "y"]}
    )
    told = str(report(data, column="tags", by="source", normalizer=Vocabulary({"a": 2}, FUNNEL)))
    assert told.startswith("tags: 3 distinct tags in 3 rows\ncoverage: share of 1 tags, the normalizer's vocabulary\n")
    assert "recall: share of the row's tags" in told
    assert "query not readable: 1 rows" in told
    assert "funnel  raw " in told
    assert "\x1b" not in told
    assert "諺" * 14 + "…" in told


@pytest.mark.parametrize("lists", [[["math"], ["math", "sums", "sums"], []], [["a"]]])
def test_measurements_load_offline_and_have_the_same_numbers(lists, monkeypatch):
    import evaluate

    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    complexity = evaluate.load(instag.metric("tag_complexity")).compute(data=lists)
    assert complexity == {
        "complexity": mean(len(set(tags)) for tags in lists),
        "distribution": Counter(len(set(tags)) for tags in lists),
    }
    diversity = evaluate.load(instag.metric("tag_diversity")).compute(data=lists, vocabulary=["math", "law"])
    with pytest.raises(InputError, match="expected a vocabulary of a list of tags, found the text 'law'"):
        evaluate.load(instag.metric("tag_diversity")).compute(data=lists, vocabulary="law")
    assert diversity == {"diversity": 0.5 * any("math" in tags for tags in lists), "tags": len(set().union(*lists))}


def test_the_shared_set_by_source(shared_data):
    from datasets import load_dataset

    data = load_dataset("json", data_files=str(shared_data / "tags" / "train.jsonl"), split="train")
    found = instag.report(data, column="tags", by="source", recipe="embedded")
    assert (found.total.rows, found.total.tags, len(found.parts)) == (16_657, 12_471, 57)  # as its README says
    assert found.total.tags_per_row == pytest.approx(4.2, abs=0.05)
    assert sum(tags for rows, tags in found.total.spectrum.items() if rows >= 20) == 514
    assert found.total.lengths.correlation > 0.5  # longer queries get more tags: the bias that the report is to show
    assert sum(part.rows for part in found.parts.values()) == 16_657
