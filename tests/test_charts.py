"""Pictures show the numbers of the report, can be read, and are safe to put into a page, whatever tags are called."""

import base64
import hashlib
import html
import os
import re
import subprocess
import sys
import warnings
from itertools import combinations
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from datasets import Dataset, load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

from instag_hf import MissingError
from instag_hf.analysis import Vocabulary, report
from instag_hf.charts import draw, draw_pictures, png
from instag_hf.charts.canvas import FAINT, INK, TILES, VERMILLION, drawing, extent, percent, short
from instag_hf.charts.pictures import MOST_CURVES, MOST_NUMBERED, MOST_RIDGES, MOST_ROWS
from instag_hf.charts.placing import LINE, SIZES, spread, squarify, wrap
from instag_hf.normalizer import FunnelStep

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "]]> &amp; -->",
    "$\\frac{a}{b}$ costs $5",
    "$",
    "_^{}%#",
    "{{ template }} {% raw %}",
    "日本語のとても長いタグの名前です",
    "مرحبا بالعالم",
    "😀😀😀",
    "\u202eevil\u202c",
    "tab\tnew\nline\x07\x00",
    "\ud800 lone",
    "",
    "a" * 90,
    "url(#m0)",
]
FUNNEL = (FunnelStep("raw", 900, 12_345), FunnelStep("frequency <20", 40, 9_000), FunnelStep("$x$", 30, 8_000))
ELEMENTS = {"svg", "g", "path", "text", "use", "defs", "clipPath", "rect"}


def several():
    """Three datasets of known numbers: complexity 2, 1 and 1.5 by row; 3, 1 and 2 of the 4 tags."""
    return {
        "wide": [["a", "b"], ["a", "c"], ["b", "c"], ["a", "b"]],
        "narrow": [["a"], ["a"]],
        "other": [["c", "d"], ["d"]],
    }


def hostile_parts():
    """A dataset named after each hostile tag, with all of them; one has failed rows alone."""
    return {
        name: Dataset.from_dict(
            {
                "query": [f"Question {row} <b>" for row in range(3 + place)],
                "instag_tags": [
                    [HOSTILE[(row * place + k) % len(HOSTILE)].replace("\ud800", "?") for k in range(row % 5)]
                    if place
                    else []
                    for row in range(3 + place)
                ],
                "instag_error": ["" if place else "parse: <i>no</i>"] * (3 + place),
            }
        )
        for place, name in enumerate(HOSTILE)
    }


def many_parts(count):
    return {f"dataset number {n}": [[f"t{n % 7}", f"t{k}"] for k in range(n % 9 + 1)] for n in range(count)}


def pictures(found):
    return {picture.name: picture for picture in draw_pictures(found)}


def texts(picture):
    """All texts that are drawn, each with its box in pixels, without the line that leads to some."""
    with drawing():
        picture.figure.canvas.draw()
        hidden = [axis for axes in picture.figure.axes if not axes.axison for axis in (axes.xaxis, axes.yaxis)]
        unseen = {id(text) for axis in hidden for text in axis.findobj(Text)}
        for text in picture.figure.findobj(Text):
            if text.get_text().strip() and text.get_visible() and id(text) not in unseen:
                yield text, Text.get_window_extent(text)


def words(picture):
    return [text.get_text() for text, _ in texts(picture)]


def test_pictures_come_in_reading_order(every_report):
    assert [chart.name for chart in every_report[1]["several"]] == [
        "diversity-complexity",
        "recall",
        "complexity",
        "coverage",
        "tags",
        "funnel",
    ]


@pytest.mark.parametrize(
    ("data", "names"),
    [
        pytest.param([["a"]], ["complexity", "coverage", "tags"], id="one dataset"),
        pytest.param({"x": [["a"]]}, ["complexity", "coverage", "tags"], id="nothing to compare with"),
        pytest.param([[]], ["complexity"], id="no tags"),
        pytest.param([], [], id="no rows"),
        pytest.param({"x": [[]], "y": []}, ["recall", "complexity"], id="datasets without tags"),
    ],
)
def test_only_what_the_report_supports_is_drawn(data, names):
    assert [chart.name for chart in draw(report(data))] == names


def test_no_top_tags_are_kept_so_none_are_drawn():
    assert "tags" not in pictures(report([["a"]], shown=0))


def test_scatter_has_each_dataset_at_its_complexity_and_diversity():
    picture = pictures(report(several()))["diversity-complexity"]
    circles = picture.figure.axes[0].collections[0]
    assert circles.get_offsets().tolist() == [[2.0, 3 / 4], [1.0, 1 / 4], [1.5, 2 / 4]]
    areas = circles.get_sizes()
    assert (areas / areas[0]).tolist() == [1.0, 0.5, 0.5]  # as 4, 2 and 2 rows
    assert {"wide", "narrow", "other", "Complexity: mean tags per row"} <= set(words(picture))
    assert "Most diverse is wide with 75% of all 4 tags; most complex is wide with 2.00 tags per row." in picture.alt


def test_scatter_takes_tags_per_query_where_all_datasets_tell():
    parts = {
        name: Dataset.from_dict({"instag_tags": [["a", "b", "c"]], "instag_turns": [turns]})
        for name, turns in {"one": [3], "two": [2, 2]}.items()
    }
    picture = pictures(report(parts))["diversity-complexity"]
    assert [x for x, _ in picture.figure.axes[0].collections[0].get_offsets().tolist()] == [3.0, 2.0]
    assert "Complexity: mean tags per query" in words(picture)


def test_recall_shows_every_share():
    found = report(several())
    picture = pictures(found)["recall"]
    shares = picture.figure.axes[0].collections[0].get_array()
    names = list(found.parts)
    for row, column in combinations(range(3), 2):
        assert shares[row, column] == found.recall[names[row]][names[column]]
        assert shares[column, row] == found.recall[names[column]][names[row]]
    assert shares.mask.diagonal().all()
    # Of wide's a, b, c narrow has a; of narrow's a all is in wide; of other's c, d wide has c.
    assert sorted(word for word in words(picture) if "%" in word) == ["0%", "0%", "100%", "33%", "33%", "50%"]


@pytest.mark.parametrize("count", [MOST_NUMBERED, MOST_NUMBERED + 1, MOST_ROWS + 9])
def test_recall_of_many_datasets_gives_numbers_way_to_a_scale(count):
    picture = pictures(report(many_parts(count)))["recall"]
    assert len(picture.figure.axes) == (1 if count <= MOST_NUMBERED else 2)
    shown = min(count, MOST_ROWS)
    assert picture.figure.axes[0].collections[0].get_array().shape == (shown, shown)
    assert ("Not shown: 9 others." in picture.alt) == (count > MOST_ROWS)


def test_complexity_has_a_bar_for_each_number_of_tags():
    found = report({"x": [["a"], ["a", "b"], ["a", "c"], []], "y": [["a"]]})
    picture = pictures(found)["complexity"]
    above, below = picture.figure.axes
    assert [bar.get_height() for bar in above.patches] == [1, 2, 2]
    assert "mean 1.20" in words(picture)
    heights = np.array([bar.get_height() for bar in below.patches]).reshape(2, 3)
    assert heights / heights.max() == pytest.approx(np.array([[0.25, 0.25, 0.5], [0, 1, 0]]))
    assert "mean 1.20, median 1, at most 2" in picture.alt


def test_long_rows_share_the_last_bar():
    picture = pictures(report([[f"t{n}" for n in range(length)] for length in (1, 31, 45, 60)]))["complexity"]
    heights = [bar.get_height() for bar in picture.figure.axes[0].patches]
    assert (len(heights), heights[1], heights[30], sum(heights)) == (31, 1, 3, 4)
    assert "30+" in words(picture)


def test_coverage_draws_the_curves_of_the_report():
    found = report(several())
    axes = pictures(found)["coverage"].figure.axes[0]
    curves = [list(zip(*line.get_data(), strict=True)) for line in axes.lines if len(line.get_xdata()) > 1]
    assert curves == [list(summary.curve) for summary in (found.total, *found.parts.values())]


def test_coverage_draws_the_largest_datasets_alone():
    parts = many_parts(12)
    axes = pictures(report(parts))["coverage"].figure.axes[0]
    named = {text.get_text() for text in axes.texts}
    sizes = sorted((len(rows) for rows in parts.values()), reverse=True)[:MOST_CURVES]
    assert len(named) == 1 + MOST_CURVES
    assert sorted((len(parts[name]) for name in named - {"all rows"}), reverse=True) == sizes


def test_tiles_are_as_large_as_their_tags_are_frequent():
    found = report([["a", "b"], ["a"], ["a", "c"], ["a", "b", "c"]])
    axes = pictures(found)["tags"].figure.axes[0]
    areas = np.array([tile.get_width() * tile.get_height() for tile in axes.patches])
    assert areas / areas.sum() == pytest.approx(np.array([4, 2, 2]) / 8)
    assert [text.get_text() for text in axes.texts] == ["a", "4", "b", "2", "c", "2"]


def test_funnel_has_what_each_step_left():
    found = report([["a"]], normalizer=Vocabulary({"a": 1}, FUNNEL))
    picture = pictures(found)["funnel"]
    assert [[bar.get_width() for bar in axes.patches] for axes in picture.figure.axes] == [
        [900, 40, 30],
        [12_345, 9_000, 8_000],
    ]
    assert {"40 (4.4%)", "9,000 (73%)", "12,345", "frequency <20", "$x$"} <= set(words(picture))


@pytest.mark.parametrize(
    ("share", "text"),
    [
        pytest.param(0, "0%", id="nothing"),
        pytest.param(0.0004, "<0.1%", id="nearly nothing is not nothing"),
        pytest.param(0.0449, "4.5%", id="little"),
        pytest.param(0.0996, "10%", id="no digit more than needed"),
        pytest.param(0.5, "50%", id="half"),
        pytest.param(0.9951, ">99%", id="nearly all is not all"),
        pytest.param(1, "100%", id="all"),
    ],
)
def test_percent(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (0.5, ""), (1_000, "1,000"), (20_000, "20k"), (12_500, "12.5k"), (3_000_000, "3M")],
)
def test_counts_of_axes_are_short(count, text):
    assert short(count) == text


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=40), st.floats(0.5, 3))
def test_tiles_fill_the_rectangle_and_do_not_overlap(sizes, aspect):
    sizes = sorted(sizes, reverse=True)
    tiles = np.array(squarify(sizes, 500, 300, aspect=aspect))
    areas = tiles[:, 2] * tiles[:, 3]
    assert areas == pytest.approx(np.array(sizes) / sum(sizes) * 150_000)
    left, top, right, bottom = tiles[:, 0], tiles[:, 1], tiles[:, 0] + tiles[:, 2], tiles[:, 1] + tiles[:, 3]
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= 500 + 1e-6
    assert bottom.max() <= 300 + 1e-6
    for one, other in combinations(range(len(tiles)), 2):
        wide = min(right[one], right[other]) - max(left[one], left[other])
        high = min(bottom[one], bottom[other]) - max(top[one], top[other])
        assert min(wide, high) <= 1e-6


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_spread_places_keep_their_order_and_their_distance(places):
    found = spread(places, 0.1, low=0.05)
    ordered = [found[place] for place in np.argsort(places, kind="stable")]
    assert min(ordered) >= 0.05
    assert all(after - before >= 0.1 - 1e-9 for before, after in zip(ordered, ordered[1:], strict=False))


def test_places_far_enough_apart_stay():
    assert spread([0.9, 0.1, 0.5], 0.1) == [0.9, 0.1, 0.5]
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])


@settings(max_examples=60)
@given(st.text(alphabet="ab 日$…", min_size=1, max_size=60), st.floats(5, 300), st.floats(5, 120))
def test_wrapped_text_fits_its_box(text, width, height):
    text = " ".join(text.split()) or "a"
    with drawing():
        lines, size = wrap(text, width, height)
        assert all(extent(line, size)[0] <= width for line in lines)
    assert size in SIZES
    assert len(lines) * LINE * size <= height
    if lines and not any(line.endswith("…") for line in lines):
        assert " ".join(lines) == text


def test_nothing_is_cut_that_fits():
    with drawing():
        assert wrap("code generation", 300, 100) == (["code generation"], SIZES[0])
        assert wrap("code generation", 4, 100)[0] == []


def reports():
    yield "several", report(several(), normalizer=Vocabulary(dict.fromkeys("abcd", 1), FUNNEL))
    yield "hostile", report(hostile_parts(), normalizer=Vocabulary({"$": 1, "x": 1}, FUNNEL))
    yield "many", report(many_parts(34))
    yield "one", report([[f"a rather long tag number {k}" for k in range(n % 45)] for n in range(100)], shown=40)
    yield "alike", report({f"alike {n}": [["a"]] * 5 for n in range(9)})


@pytest.fixture(scope="module")
def every_report():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = dict(reports())
        charts = {name: draw(one) for name, one in found.items()}
    assert [str(one.message) for one in told if "matplotlib" in str(one.category) or "Glyph" in str(one.message)] == []
    return found, charts


NAMES = ["several", "hostile", "many", "one", "alike"]


@pytest.mark.parametrize("name", NAMES)
def test_no_text_lies_on_another_or_leaves_the_picture(name, every_report):
    for picture in draw_pictures(every_report[0][name]):
        shown = set(svg_texts(next(chart.svg for chart in every_report[1][name] if chart.name == picture.name)))
        found = [(text, box) for text, box in texts(picture) if set(text.get_text().split("\n")) & shown]
        frame = picture.figure.bbox
        for text, box in found:
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= frame.x1 + 1 and box.y1 <= frame.y1 + 1
            assert inside, f"{picture.name}: {text.get_text()!r} leaves the picture"
        # A slanted name's upright box is larger than the name; in `recall` these are apart by their cells.
        level = [(text, box) for text, box in found if text.get_rotation() in (0, 90)]
        for (one, box), (other, another) in combinations(level, 2):
            wide = min(box.x1, another.x1) - max(box.x0, another.x0)
            high = min(box.y1, another.y1) - max(box.y0, another.y0)
            assert min(wide, high) <= 2, f"{picture.name}: {one.get_text()!r} lies on {other.get_text()!r}"


def svg_texts(svg):
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]


@pytest.mark.parametrize("name", NAMES)
def test_svg_is_safe_inside_a_page(name, every_report):
    ids = []
    for chart in every_report[1][name]:
        root = ElementTree.fromstring(chart.svg)
        assert {element.tag.rpartition("}")[2] for element in root.iter()} <= ELEMENTS
        own = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        assert all(found.startswith(f"instag-{chart.name}-") for found in own)
        ids += own
        used = set()
        for element in root.iter():
            for key, value in element.attrib.items():
                assert not key.startswith(("on", "style"))
                assert "://" not in value or key == "aria-label"
                used |= {value[1:]} if key == "href" else set()
                used |= set(re.findall(r"url\(#(.*?)\)", value)) if key != "aria-label" else set()
        assert used == set(own)
        assert root.attrib["aria-label"] == chart.alt
        assert "<?xml" not in chart.svg
        assert "<!" not in chart.svg
    assert len(ids) == len(set(ids))


def test_names_are_shown_as_they_are(every_report):
    charts = {chart.name: chart for chart in every_report[1]["hostile"]}
    shown = set(svg_texts(charts["recall"].svg))
    assert {"<script>alert(1)</scrip…", "$\\frac{a}{b}$ costs $5", "😀😀😀", "evil", "tab new line", "(blank)"} <= shown
    assert "$x$" in svg_texts(charts["funnel"].svg)
    assert not re.search(
        r"[\x00-\x08\x0b-\x1f\u202a-\u202e\ud800-\udfff]", "".join(chart.svg for chart in charts.values())
    )


def digest_of_files():
    """Hash the SVG and the PNG of every picture of `several`."""
    found = report(several(), normalizer=Vocabulary(dict.fromkeys("abcd", 1), FUNNEL))
    data = [chart.svg.encode() for chart in draw(found)] + [png(picture) for picture in draw_pictures(found)]
    return f"{len(data)} {hashlib.sha256(b''.join(data)).hexdigest()}"


def test_same_report_gives_same_bytes_in_any_process():
    env = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    code = "import test_charts; print(test_charts.digest_of_files())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.strip() == digest_of_files()


def test_png_is_twice_as_wide_as_a_card():
    data = png(pictures(report([["a", "b"], ["a"]]))["complexity"])
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(data[16:20], "big") == 1400
    assert b"Software" not in data


def test_the_users_style_and_figures_stay_as_they_are():
    code = (
        "import sys, warnings, matplotlib; matplotlib.use('svg')\n"
        "matplotlib.rcParams.update({'font.size': 30, 'text.usetex': True, 'axes.facecolor': 'black'})\n"
        "before, filters = dict(matplotlib.rcParams), list(warnings.filters)\n"
        "from test_charts import several, report, draw\n"
        "filters = list(warnings.filters)\n"
        "styled = draw(report(several()))\n"
        "assert dict(matplotlib.rcParams) == before and warnings.filters == filters\n"
        "assert 'matplotlib.pyplot' not in sys.modules and matplotlib.get_backend() == 'svg'\n"
        "matplotlib.rcdefaults()\n"
        "assert draw(report(several())) == styled"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr


def test_without_matplotlib_the_message_says_how_to_get_it(monkeypatch):
    for name in [
        name for name in sys.modules if name.partition(".")[0] == "matplotlib" or name.startswith("instag_hf.charts.")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingError, match=r'^charts: needs matplotlib. pip install "instag-hf\[report\]"$'):
        draw(report([["a"]]))


def luminance(color):
    rgb = np.array(matplotlib.colors.to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_text_is_in_contrast_with_what_is_behind_it(every_report):
    assert contrast(INK, "white") >= 7
    assert contrast(FAINT, "white") >= 4.5
    assert contrast(VERMILLION, "white") >= 3  # 13 pixels, beside its line
    assert contrast(INK, matplotlib.colormaps[TILES](0.5)) >= 4.5
    picture = next(p for p in draw_pictures(every_report[0]["several"]) if p.name == "recall")
    axes = picture.figure.axes[0]
    mesh = axes.collections[0]
    colors = mesh.get_facecolors().reshape(*mesh.get_array().shape, 4)
    for text in axes.texts:
        column, row = (int(at) for at in text.get_position())
        assert contrast(text.get_color(), colors[row, column]) >= 3.9


def test_real_tags_by_source(shared_data):
    data = load_dataset("json", data_files=str(shared_data / "tags" / "train.jsonl"), split="train")
    found = report(data, column="tags", by="source")
    charts = draw(found)
    assert [chart.name for chart in charts] == ["diversity-complexity", "recall", "complexity", "coverage", "tags"]
    assert sum(len(chart.svg) for chart in charts) < 1_000_000
    ridges = charts[2]
    assert f"for each of {MOST_RIDGES} datasets" in ridges.alt
    top = found.total.top[0]
    assert {top.tag, f"{top.rows:,}"} <= set(svg_texts(charts[4].svg))


def test_a_notebook_shows_a_report_and_its_pictures_with_hostile_tags_escaped():
    hostile = '<img src="x" onerror=a()>'
    found = report([[hostile, "math"], [hostile], ["math"]])
    table = found._repr_html_()
    assert table.startswith("<pre ")
    assert hostile not in table
    assert html.escape(hostile) in table
    drawn = draw(found)
    page = drawn._repr_html_()
    assert page.count("<img ") == page.count("data:image/svg+xml;base64,") == len(drawn) == 3
    shown = ElementTree.fromstring(f"<div>{page}</div>")  # attributes are closed where they should be
    assert [image.get("alt") for image in shown.iter("img")] == [chart.alt for chart in drawn]
    encoded = shown.find("img").get("src").partition(",")[2]
    assert base64.b64decode(encoded).decode() == drawn[0].svg
