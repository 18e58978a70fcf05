"""The page of a report: what it holds against a recount, and what it does in a browser."""

import json
import re
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations
from threading import Thread
from typing import NamedTuple

import pytest
from browser import chromium
from click.testing import CliRunner
from datasets import Dataset, load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from test_analysis import FEATURES, TABLES

from instag_hf import InputError
from instag_hf.analysis import Vocabulary, report
from instag_hf.analysis.reading import Asked
from instag_hf.charts import explorer
from instag_hf.charts.explorer import dumped, explore
from instag_hf.charts.page import render_page, write_page
from instag_hf.cli import cli
from instag_hf.rows import queries

HOSTILE = [
    "<script>window.hurt = 1</script>",
    "<img src=x onerror='window.hurt = 1'>",
    "<svg onload=window.hurt=1>",
    "javascript:window.hurt=1",
    "</script><script>window.hurt = 1</script>",
    "<!-- <script>",
    "{{ 7 * 7 }} {% for x in y %} ${window.hurt = 1}",
    "**bold** [link](javascript:window.hurt=1) `code` # head",
    '"><button onclick="window.hurt = 1">press</button>',
    "'; window.hurt = 1; //",
    "&lt;b&gt; \u2028 \u2029 &amp;",
    "constructor",
    "__proto__",
    "\u202eright to left",
]


class Drawn(NamedTuple):
    """A chart as the page takes it."""

    title: str
    alt: str
    svg: str


def plain_rows(tags, texts=None, source="ours"):
    texts = texts or [f"Query {n}." for n in range(len(tags))]
    return Dataset.from_dict({"query": texts, "tags": tags, "source": [source] * len(tags)})


def page_of(rows, *, by=None, title="Tag report", charts=(), no_charts="", most=20):
    found = report(rows, column="tags", by=by, shown=most)
    return render_page(found, rows, by=by, title=title, charts=charts, no_charts=no_charts)


def values_of(text):
    """What the page's script reads."""
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(block)


@settings(max_examples=60)
@given(TABLES)
def test_what_the_table_shows_is_what_a_recount_finds(rows):
    data = Dataset.from_list(rows, features=FEATURES)
    found = report(data, column="instag_tags", by="source", shown=3)
    values = explore(found, data, asked=Asked(column="instag_tags", by="source")).values
    sets = [set() if row["instag_error"] else set(row["instag_tags"]) for row in rows]
    sources = [row["source"] or "(none)" for row in rows]
    counts = Counter(tag for tags in sets for tag in tags)
    assert values["tags"] == sorted(counts, key=lambda tag: (-counts[tag], tag))
    assert values["rows"] == [counts[tag] for tag in values["tags"]]
    pairs = Counter(pair for tags in sets for pair in combinations(sorted(tags), 2))
    for code, tag in enumerate(values["tags"]):
        near = {(set(pair) - {tag}).pop(): count for pair, count in pairs.items() if tag in pair}
        ranked = sorted(near, key=lambda other: (-near[other], values["tags"].index(other)))[: explorer.NEIGHBOURS]
        told = values["near"][code]
        assert [values["tags"][other] for other in told[::2]] == ranked
        assert told[1::2] == [near[other] for other in ranked]
        inside = Counter(source for source, tags in zip(sources, sets, strict=True) if tag in tags)
        names = [values["parts"][part] for part in values["in"][code][::2]]
        assert dict(zip(names, values["in"][code][1::2], strict=True)) == inside
        assert values["spread"][code] == len(inside)
    assert values["counted"] == len(values["parts"]) == len(set(sources))


@settings(max_examples=60)
@given(TABLES)
def test_every_tag_has_examples_that_are_of_its_rows(rows):
    data = Dataset.from_list(rows, features=FEATURES)
    found = explore(
        report(data, column="instag_tags", by="source"), data, asked=Asked(column="instag_tags", by="source")
    )
    values = found.values
    possible = Counter()
    for row in rows:
        if not row["instag_error"]:
            asked = queries({"messages": row["messages"]})
            tags = tuple(dict.fromkeys(row["instag_tags"]))
            possible[row["source"] or "(none)", len(asked), tuple(shown(asked)), tags] += 1
    kept = [
        (
            values["parts"][part],
            asked,
            tuple(values["texts"][at] for at in texts),
            tuple(values["tags"][c] for c in codes),
        )
        for part, asked, texts, codes in values["examples"]
    ]
    assert set(kept) <= set(possible)
    assert len(set(kept)) == len(kept) == found.examples
    assert len(set(values["texts"])) == len(values["texts"])
    assert {tag for *_, tags in kept for tag in tags} == set(values["tags"])
    assert found.with_example == found.tags == len(values["tags"])


def shown(asked):
    """Cut a row's queries the slow way: at most three, and 360 characters of all."""
    left, kept = 360, []
    for text in asked[:3]:
        if left > 0:
            kept.append(text if len(text) <= left else text[: left - 1] + "…")
            left -= len(text)
    return kept


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_means_the_same_inside_html(values):
    text = dumped(values)
    assert json.loads(text) == values
    assert not set(text) & set("<>&\u2028\u2029")


def test_frequent_tags_have_several_examples_from_all_over_the_data():
    rows = plain_rows([["a", f"tag {n}"] if n % 100 == 0 else ["a"] for n in range(1000)])
    values = values_of(page_of(rows))
    assert [codes for *_, codes in values["examples"]].count([0]) == 0  # ten rows of rare tags are enough for "a"
    rows = plain_rows([["a"]] * 1000)
    asked = [int(re.search(r"\d+", text)[0]) for text in values_of(page_of(rows))["texts"]]
    assert asked == [0, 200, 400, 600, 800]


def test_what_has_no_room_is_counted_on_the_page(monkeypatch):
    monkeypatch.setattr(explorer, "MOST_TAGS", 3)
    monkeypatch.setattr(explorer, "MOST_PARTED", 4)
    rows = Dataset.from_dict(
        {
            "query": [f"Query {n}." for n in range(6)],
            "tags": [["a", "b", "c", "d"], ["a", "b", "c"], ["a", "b"], ["a", "e"], ["a"], ["a"]],
            "source": ["x", "x", "x", "y", "y", "z"],
        }
    )
    text = page_of(rows, by="source")
    values = values_of(text)
    assert values["tags"] == ["a", "b", "c"]
    assert [0, 1, 2, -1] in [codes for *_, codes in values["examples"]]
    assert (values["counted"], values["parts"]) == (2, ["x", "y", "z"])  # x has three of the tags, y one, z no room
    assert values["in"] == [[0, 3, 1, 2], [0, 3], [0, 2]]
    assert values["spread"] == [3, 1, 1]
    assert "Listed are 3 of 5 tags" in text
    assert "Tags are told apart by the first 2 of 3" in text


def test_failed_rows_are_counted_and_never_an_example():
    rows = Dataset.from_dict(
        {
            "query": ["Fine.", "Broken."],
            "instag_tags": [["a"], []],
            "instag_turns": [[1], []],
            "instag_error": ["", "parse: <b>no list"],
        }
    )
    text = render_page(report(rows), rows)
    assert values_of(text)["texts"] == ["Fine."]
    assert "failed: 1" in text
    assert "Failed rows by kind" in text


def test_kinds_of_failures_without_end_are_cut_and_counted():
    errors = [f"<b>{n}" for n in range(60)]
    rows = Dataset.from_dict({"query": ["Q"] * 60, "instag_tags": [[]] * 60, "instag_error": errors})
    text = render_page(report(rows, column="instag_tags"), rows)
    assert (text.count("&lt;b&gt;"), text.count("<b>")) == (50, 0)
    assert "and 10 more" in text


def test_page_without_queries_says_so():
    tags = [["a", "b"], ["a"]]
    text = render_page(report(tags), tags)
    assert values_of(text)["examples"] == []
    assert "no column of queries was found" in text


def test_examples_of_a_dataset_are_its_own_where_the_one_before_it_has_no_queries():
    bare = {"instag_tags": [["both", "bare"], ["both"]], "instag_turns": [[2], [1]]}
    asked = {"instag_tags": [["both"], ["asked"]], "instag_turns": [[1], [1]], "query": ["First.", "Second."]}
    data = {"bare": Dataset.from_dict(bare), "asked": Dataset.from_dict(asked)}
    values = explore(report(data), data, asked=Asked(column="instag_tags")).values
    kept = [
        (values["parts"][part], [values["texts"][at] for at in texts], [values["tags"][code] for code in codes])
        for part, _, texts, codes in values["examples"]
    ]
    assert kept == [("asked", ["First."], ["both"]), ("asked", ["Second."], ["asked"])]


def test_page_shows_diversity_of_a_vocabulary_and_its_funnel():
    known = Vocabulary({"a": 1, "b": 1, "c": 1, "d": 1}, (("raw", 9, 90), ("frequency", 4, 80)))
    tags = [["a", "b"], ["a"]]
    text = " ".join(re.sub(r"<[^>]*>", " ", render_page(report(tags, normalizer=known), tags)).split())
    assert "Diversity 50.0% coverage of the normalizer’s 4 tags" in text
    assert "step tags assignments raw 9 90 frequency 4 80" in text


def test_other_data_than_the_report_has_is_refused():
    found = report([["a"], ["b"]])
    with pytest.raises(InputError) as caught:
        render_page(found, [["a"]])
    assert str(caught.value) == (
        "page: expected the data of the report, 2 rows with 2 tags, found 1 with 1. "
        "Give both the same data and the same arguments."
    )


def test_page_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"page: could not write .*/file/page.html: .*\. Choose another place\."):
        write_page("text", tmp_path / "file" / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def worst_texts():
    """50,000 rows in which every character of tags and queries costs six bytes."""
    tags = [[f"{'<' * 200}{n}", f"{'&' * 200}{n % 999}"] for n in range(50_000)]
    return Dataset.from_dict(
        {"query": [f"{'<' * 500}{n}" for n in range(50_000)], "tags": tags, "source": ["s"] * 50_000}
    )


def worst_numbers():
    """50,000 rows of many short tags, many neighbours and many sources."""
    tags = [[str((n * 7 + step * step * 31) % 29_000) for step in range(8)] for n in range(50_000)]
    texts = [f"{'質' * 400}{n}" for n in range(50_000)]
    return Dataset.from_dict({"query": texts, "tags": tags, "source": [f"{n % 150}" for n in range(50_000)]})


@pytest.mark.parametrize("rows", [pytest.param(worst_texts, id="texts"), pytest.param(worst_numbers, id="numbers")])
def test_page_of_50_000_rows_is_under_10_megabytes_at_worst(rows):
    picture = Drawn("Big", "a picture", "x" * 1_000_000)
    text = page_of(rows(), by="source", charts=[picture] * 2, most=0)
    assert len(values_of(text)["examples"]) > 400
    assert len(text.encode()) < 10_000_000


# In the browser.


@pytest.fixture(scope="module")
def chrome():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def tagged(shared_data):
    """16,657 queries with tags, of 57 sources."""
    path = shared_data / "tags" / "train.jsonl"
    return path, load_dataset("json", data_files=str(path), split="train").to_list()


@pytest.fixture(scope="module")
def written(tagged, tmp_path_factory):
    """The page that the command line writes of them."""
    target = tmp_path_factory.mktemp("page") / "report.html"
    done = CliRunner().invoke(cli, ["report", str(tagged[0]), "--column", "tags", "--by", "source", "-o", str(target)])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{target}\n"
    return target


@pytest.fixture
def real(chrome, written):
    """That page, open; whatever a test did, nothing was asked of a network and nothing complained."""
    with chrome.page() as page:
        page.open(written)
        yield page
        page.settle(0.1)
        left = [request for request in page.requests if not request.startswith("data:")]
        assert left == [written.as_uri()]
        assert page.complaints == []
        assert page.dialogs == []


@pytest.fixture
def opened(chrome, tmp_path):
    """Open a page of these rows."""
    pages = []

    def open_page(rows, *, view=(), **how):
        path = write_page(page_of(rows, **how), tmp_path / "page.html")
        pages.append(chrome.page(**dict(view)))
        page = pages[-1].__enter__()
        page.open(path)
        return page

    yield open_page
    for each in pages:
        each.__exit__(None, None, None)


def heading(page):
    return page.texts("#detail h3")


def table(page, column):
    """What a column of the table shows; one more is there, the second, while a source is chosen."""
    return page.texts(f"#table tbody tr > :nth-child({column})")


SHOWN_EXAMPLES = """[...document.querySelectorAll("#detail .examples > li")].map((each) => [
  each.querySelector(".note").textContent,
  each.querySelector(".query").textContent,
  [...each.querySelectorAll(".chips > *")].map((chip) => chip.textContent),
])"""
SHOWN_BARS = """(number) => [...document.querySelectorAll("#detail .bars")[number].children].map((each) => [
  each.querySelector(".name").innerText, each.querySelector(".count").innerText.split(" ")[0].replace(",", "")
])"""


def test_searching_a_tag_and_opening_it_shows_its_rows_and_neighbours(real, tagged):
    rows = tagged[1]
    assert real.texts("#status") == ["12,471 of 12,471 tags"]
    real.click("#search")
    real.type("SCRAP web")
    assert set(table(real, 1)) == {tag for row in rows for tag in row["tags"] if "web" in tag and "scrap" in tag}
    real.click("#table .tag", "web scraping")
    assert heading(real) == ["web scraping"]
    mine = [row for row in rows if "web scraping" in row["tags"]]
    examples = real.evaluate(SHOWN_EXAMPLES)
    assert len(examples) == 5 < len(mine)
    for source, text, tags in examples:
        assert [
            row for row in mine if (row["source"], row["tags"], *shown([row["query"].strip()])) == (source, tags, text)
        ]
    together = Counter(tag for row in mine for tag in row["tags"] if tag != "web scraping")
    neighbours = {name: int(count) for name, count in real.evaluate(f"({SHOWN_BARS})(0)")}
    assert sorted(neighbours.values()) == sorted(count for _, count in together.most_common(8))
    assert neighbours == {name: together[name] for name in neighbours}
    sources = Counter(row["source"] for row in mine)
    assert {name: int(count) for name, count in real.evaluate(f"({SHOWN_BARS})(1)")}.items() <= sources.items()


def test_more_examples_are_shown_when_asked_for(real, tagged):
    real.click("#table .tag", "code generation")
    assert len(real.evaluate(SHOWN_EXAMPLES)) == 5
    real.click(".more")
    assert len(real.evaluate(SHOWN_EXAMPLES)) == 25


def test_neighbours_are_a_way_to_walk_and_back(real):
    real.click("#table .tag", "code generation")
    real.click("#detail .bars .tag", "python")
    assert heading(real) == ["python"]
    assert real.evaluate("location.hash") == "#tag=python"
    real.evaluate("history.back()")
    real.wait("document.querySelector('#detail h3').innerText === 'code generation'")


def test_address_of_a_tag_opens_it(real, written):
    real.open("about:blank")
    real.open(written.as_uri() + "#tag=web%20scraping")
    assert heading(real) == ["web scraping"]
    real.open(written.as_uri() + "#tag=python")
    real.wait("document.querySelector('#detail h3').innerText === 'python'")
    real.evaluate("location.hash = '#tag=%'")
    real.evaluate("location.hash = '#tag=no%20such%20tag'")
    real.settle()
    assert heading(real) == ["python"]
    real.requests.remove(written.as_uri())  # it was opened twice


def test_table_of_tags_sorts_and_turns_pages(real, tagged):
    counts = Counter(tag for row in tagged[1] for tag in row["tags"])
    most = sorted(counts, key=lambda tag: (-counts[tag], tag))
    assert table(real, 1) == most[:20]
    assert table(real, 2) == [f"{counts[tag]:,}" for tag in most[:20]]
    real.click("#next")
    assert table(real, 1) == most[20:40]
    assert real.texts("#place") == ["2 / 624"]
    real.click("#table th button", "Rows")
    assert {*table(real, 2)} == {"1"}
    assert real.evaluate("document.querySelector('#table [data-by=rows]').ariaSort") == "ascending"
    real.click("#table th button", "Tag")
    collated = real.evaluate(f"{json.dumps(list(counts))}.sort(new Intl.Collator('en').compare).slice(0, 20)")
    assert table(real, 1) == collated
    real.click("#table th button", "Sources")
    sources = Counter(tag for _, tag in {(row["source"], tag) for row in tagged[1] for tag in row["tags"]})
    assert table(real, 4) == [str(count) for _, count in sources.most_common(20)]


def test_a_source_shows_its_tags_alone(real, tagged):
    real.click("#compare tbody button", "gsm8k")
    mine = Counter(tag for row in tagged[1] if row["source"] == "gsm8k" for tag in row["tags"])
    assert real.texts("#status") == [f"{len(mine)} of 12,471 tags"]
    assert table(real, 2) == [str(count) for _, count in mine.most_common(20)]
    real.click("#table .tag", "arithmetic")
    assert {source for source, *_ in real.evaluate(SHOWN_EXAMPLES)} == {"gsm8k"}


def test_sources_are_compared_in_a_table_that_sorts(real, tagged):
    rows = Counter(row["source"] for row in tagged[1])
    assert real.texts("#compare .sortable tbody th") == sorted(rows, key=lambda source: (-rows[source], source))
    real.click("#compare th button", "median characters")
    shown = [float(text.replace(",", "")) for text in real.texts("#compare .sortable tbody td:nth-child(9)")]
    assert shown == sorted(shown, reverse=True)
    real.click("#compare th button", "source")
    assert real.texts("#compare .sortable tbody th") == real.evaluate(
        f"{json.dumps([*rows])}.sort((a, b) => a.localeCompare(b, 'en'))"
    )


def test_keys_alone_search_open_and_come_back(real):
    real.press("/")
    real.type("poetry")
    real.press("ArrowDown")
    real.press("ArrowDown")
    second = table(real, 1)[1]
    assert real.evaluate("document.activeElement.innerText") == second
    real.press("Enter")
    assert heading(real) == [second]
    assert real.evaluate("document.activeElement.tagName") == "H3"
    real.press("Tab")
    assert real.evaluate("document.activeElement.matches('#detail .tag')")
    real.press("Escape")
    assert real.evaluate("document.activeElement.innerText") == second
    real.press("ArrowUp")
    real.press("ArrowUp")
    assert real.evaluate("document.activeElement.id") == "search"
    real.press("Enter")
    assert heading(real) == table(real, 1)[:1]


# Text that is not plainly above the contrast that WCAG 2.1 asks for (AA, 4.5 to 1), and what it is.
FAINT = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (each) => {
    for (; each; each = each.parentElement) {
      const color = rgba(getComputedStyle(each).backgroundColor);
      if (color[3] === 255) return color;
    }
    return rgba("Canvas");
  };
  const texts = [...document.querySelectorAll("body *")].filter((each) =>
    !each.matches("script, style, noscript, :disabled") && each.getClientRects().length &&
    [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  return texts.map((each) => {
    const [one, other] = [light(rgba(getComputedStyle(each).color)), light(behind(each))].sort((a, b) => b - a);
    return [(one + 0.05) / (other + 0.05), each.tagName, each.className, each.innerText.slice(0, 20)];
  });
})()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(real, dark):
    real.view(dark=dark)
    real.click("#table .tag", "python")
    real.click("#compare summary")
    ratios = real.evaluate(FAINT)
    assert len(ratios) > 500
    assert [each for each in ratios if each[0] < 4.5] == []
    (back,) = real.evaluate("[getComputedStyle(document.body).backgroundColor]")
    assert (back == "rgb(255, 255, 255)") is not dark


def test_everything_to_press_has_a_name(real):
    real.click("#table .tag", "python")
    nodes = real.call("Accessibility.getFullAXTree")["nodes"]
    named = Counter()
    for node in nodes:
        role = node.get("role", {}).get("value")
        if not node["ignored"] and role in {"button", "searchbox", "combobox", "link", "table", "region", "image"}:
            assert node["name"]["value"].strip(), node
            named[role] += 1
    assert named["searchbox"] == named["combobox"] == 1
    assert named["button"] > 50


def test_phone_shows_all_in_its_width_and_an_open_tag_at_once(real):
    real.view(390, 844, phone=True)
    real.click("#compare tbody button", "lima")
    assert real.evaluate("document.documentElement.scrollWidth") == 390
    assert real.evaluate("document.querySelector('#table').getBoundingClientRect().right") <= 390
    real.click("#table .tag", "python")
    assert real.evaluate("document.documentElement.scrollWidth") == 390
    assert 0 <= real.evaluate("document.querySelector('#detail h3').getBoundingClientRect().top") < 100
    real.click("#detail > button", "Back to the list")
    assert real.evaluate("document.activeElement.innerText") == "python"


class Listener(BaseHTTPRequestHandler):
    """Notes whoever asks for anything."""

    def do_GET(self):
        self.server.heard.append(self.path)
        self.send_response(204)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def listener():
    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        server.heard = []
        Thread(target=server.serve_forever, daemon=True).start()
        server.address = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    "left_out",
    [
        pytest.param("", id="all"),
        pytest.param("<!-- <script>", id="without the comment, which would hide the end of a script"),
    ],
)
def test_hostile_texts_are_shown_as_text_and_run_nothing(opened, listener, left_out):
    calling = [
        f"<img src={listener.address}/image>",
        f"<link rel=stylesheet href={listener.address}/style>",
        f"![picture]({listener.address}/markdown)",
        f"url({listener.address}/css)",
        f"<meta http-equiv=refresh content='0; url={listener.address}/away'>",
    ]
    texts = [text for text in HOSTILE + calling if text != left_out]
    rows = Dataset.from_dict({"query": texts, "tags": [[text, "all"] for text in texts], "source": texts})
    picture = Drawn(
        texts[0],
        texts[1],
        f"<svg xmlns='http://www.w3.org/2000/svg'><script>top.hurt = 1</script><image href='{listener.address}/svg'/></svg>",
    )
    page = opened(rows, by="source", title=" ".join(texts), charts=[picture], no_charts=texts[0])
    for text in texts:
        page.click("#search")
        page.evaluate("document.getElementById('search').select()")
        page.type(text)
        page.press("Enter")
        assert page.evaluate("document.querySelector('#detail h3').textContent") == text
        assert page.evaluate(SHOWN_EXAMPLES) == [[text, text, [text, "all"]]]
    page.settle()
    assert page.evaluate("document.title") == " ".join(texts)
    assert set(page.evaluate(SHOWN_SOURCES)) == set(texts)
    assert page.evaluate("document.querySelectorAll('script, link, meta, img, svg').length") == 2 + 1 + 5 + 1
    assert (
        page.evaluate("document.querySelectorAll('[onclick], [onerror], [onload], [style]:not(.bar > span)').length")
        == 0
    )
    assert page.evaluate("typeof window.hurt") == "undefined"
    assert listener.heard == []
    assert page.complaints == []
    assert page.dialogs == []


SHOWN_SOURCES = "[...document.querySelectorAll('.sortable tbody th')].map((each) => each.textContent)"


def test_policy_of_the_page_stops_what_would_get_in_all_the_same(opened, listener):
    page = opened(plain_rows([["a"]]))
    page.evaluate(
        f"""(() => {{
          const script = document.createElement("script");
          script.textContent = "window.hurt = 1";
          document.body.append(script);
          document.body.insertAdjacentHTML("beforeend", `
            <img src="{listener.address}/image" onerror="window.hurt = 2"><p style="color: red" id="styled">x</p>
            <form action="{listener.address}/form"><button id="send" onclick="window.hurt = 3">Send</button></form>
            <iframe src="{listener.address}/frame"></iframe><base href="{listener.address}/">`);
          return fetch("{listener.address}/fetched").catch(() => 0);
        }})()"""
    )
    page.click("#send")
    page.settle()
    assert page.evaluate("typeof window.hurt") == "undefined"
    assert page.evaluate("getComputedStyle(document.getElementById('styled')).color") != "rgb(255, 0, 0)"
    assert page.evaluate("document.baseURI").startswith("file:")
    assert listener.heard == []
    assert sum("Content Security Policy" in complaint for complaint in page.complaints) >= 6


def test_tags_without_room_are_told_beside_the_search(opened, monkeypatch):
    monkeypatch.setattr(explorer, "MOST_TAGS", 2)
    page = opened(plain_rows([["a", "b", "c"], ["a", "b"], ["a"]]))
    assert page.texts("#status") == ["2 of 2 tags, the most frequent of 3"]
    page.click("#table .tag", "a")
    assert "(a rarer tag)" in page.texts("#detail .chips")[0]


def test_charts_are_pictures_with_words_for_those_who_do_not_see_them(opened):
    svg = "<svg xmlns='http://www.w3.org/2000/svg' width='40' height='20'><style>rect { fill: #0b0 }</style><rect width='40' height='20'/></svg>"
    page = opened(plain_rows([["a"]]), charts=[Drawn("Coverage <b>", "One bar & no more", svg)])
    assert page.texts("figcaption") == ["Coverage <b>"]
    assert page.evaluate("document.querySelector('figure img').alt") == "One bar & no more"
    page.wait("document.querySelector('figure img').complete")
    pixel = """(() => { const canvas = document.createElement("canvas").getContext("2d");
      canvas.drawImage(document.querySelector("figure img"), 0, 0); return [...canvas.getImageData(5, 5, 1, 1).data]; })()"""
    assert page.evaluate(pixel) == [0, 0xBB, 0, 255]  # the picture's own style counts


def test_page_says_why_there_are_no_charts(opened):
    page = opened(plain_rows([["a"]]), no_charts="No charts: matplotlib is not there.")
    assert page.texts("#charts p") == ["No charts: matplotlib is not there."]


def test_conversations_show_their_queries_one_by_one(opened):
    turns = [{"role": "user", "content": f"Question {n}"} for n in range(5)]
    rows = Dataset.from_dict({"messages": [turns], "tags": [["a", ""]]})
    page = opened(rows)
    page.click("#table .tag", "(blank)")
    assert page.texts("#detail .query") == ["Question 0", "Question 1", "Question 2"]
    assert page.texts("#detail .examples .note") == ["3 of 5 queries of this row"]


def test_nothing_found_and_nothing_there_are_said(opened):
    page = opened(plain_rows([["a"]]))
    page.click("#search")
    page.type("nothing like it")
    page.press("Enter")
    assert page.texts("#status") == ["0 of 1 tags"]
    assert page.texts("#detail") == ["Open a tag to see its neighbours and example queries."]
    page = opened(
        Dataset.from_dict({"query": ["Hi"], "instag_tags": [[]], "instag_error": ["row: empty"]}).rename_column(
            "instag_tags", "tags"
        )
    )
    assert page.texts("#status") == ["0 of 0 tags"]
    assert page.complaints == []
