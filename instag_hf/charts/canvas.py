"""What all pictures share: a style that is ours whatever the user's is, text that fits, and files safe to show.

Figures are made without pyplot, so a notebook's own figures and backend stay as they are.
"""

import functools
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from instag_hf.rows import fit

WIDTH = 7.0  # inches
PIXELS = 700  # of a card
DPI = 2 * PIXELS / WIDTH
INK = "#222222"
FAINT = "#6b6b6b"
# Okabe and Ito's palette, told apart by people with any kind of colour vision; its yellow is too pale for lines.
BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
SCALE = "cividis"
TILES = "Blues"

SVG_FONTS = "'DejaVu Sans', Verdana, 'Noto Sans', Arial, sans-serif"
# What pixels are drawn with where it is installed; in SVG the reader's own fonts do.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "Arial Unicode MS",
    "Noto Sans",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
)
STYLE = {
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9.5,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "instag",
    "text.color": INK,
    "text.hinting": "none",  # hinted text is not as wide at one resolution as at another
    "text.parse_math": False,  # a dollar sign in a tag is a dollar sign
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 9,
}
# They belong to the user's session, not to a style; setting the backend would start one.
_SESSION = {
    "backend",
    "backend_fallback",
    "interactive",
    "toolbar",
    "timezone",
    "date.epoch",
    "figure.max_open_warning",
}


class Picture(NamedTuple):
    """A figure of matplotlib, and what `Chart` says of it."""

    name: str
    title: str
    alt: str
    figure: Figure


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in our style, then put the user's back."""
    style: dict[Any, Any] = {k: value for k, value in matplotlib.rcParamsDefault.items() if k not in _SESSION}
    style |= {**STYLE, "font.family": _families()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=matplotlib.MatplotlibDeprecationWarning)
        warnings.filterwarnings("ignore", r"(?s)Glyph \d+ .* missing from", UserWarning)  # a box stands there in pixels
        with matplotlib.rc_context(style):
            yield


@functools.cache
def _families() -> list[str]:
    known = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in FONTS if name in known]


def figure(height: float) -> Figure:
    """Make an empty figure as wide as a card and `height` inches high."""
    made = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(made)
    return made


def settle(made: Figure) -> None:
    """Fix where things stand, so that what is measured now holds at every resolution."""
    made.draw_without_rendering()
    made.set_layout_engine("none")


@functools.cache
def _ruler() -> Any:
    canvas: Any = FigureCanvasAgg(Figure(dpi=72))  # a pixel is a point
    return canvas.get_renderer()


def extent(text: str, size: float) -> tuple[float, float]:
    """Measure a line of text; width and height in points, room for letters such as p and l included."""
    font = font_manager.FontProperties(size=size)
    width, height, _ = _ruler().get_text_width_height_descent(text, font, ismath=False)
    _, usual, _ = _ruler().get_text_width_height_descent("lp", font, ismath=False)
    return width, max(height, usual)


def label(text: str, columns: int = 26) -> str:
    """Cut a name of a dataset to so many columns, without characters that cannot be shown."""
    return fit(text, columns).rstrip() or "(blank)"


def short(count: float, _: object = None) -> str:
    """Write a count for an axis: 1, 500, 1,000, 20k, 3M; nothing for a fraction."""
    for least, size, unit in ((1_000_000, 1_000_000, "M"), (10_000, 1_000, "k")):
        if count >= least:
            return f"{count / size:,.4g}{unit}"
    return f"{count:,.0f}" if count == int(count) else ""


def share_tick(share: float, _: object = None) -> str:
    """Write a share for an axis: 0.5%, 20%."""
    return f"{100 * share:.10g}%"


def percent(share: float) -> str:
    """Write a share so that little does not read as nothing, nor nearly all as all."""
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.995 <= share < 1:
        return ">99%"
    return f"{share:.1%}" if 0 < share < 0.0995 else f"{share:.0%}"


def note(axes: Axes, text: str) -> None:
    """Say above a picture, on the left, how it is to be read."""
    axes.set_title(text, loc="left", size=8.5, color=FAINT)


def only_lines(axes: Axes, which: str) -> None:
    """Show faint grid lines of one axis, behind everything."""
    axes.grid(axis=which)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def png(picture: Picture) -> bytes:
    """Render at twice a card's width."""
    buffer = io.BytesIO()
    with drawing():
        picture.figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def svg(picture: Picture) -> str:
    """Render as one element for an HTML page; all names in it begin with the picture's own."""
    buffer = io.BytesIO()
    with drawing():
        picture.figure.savefig(buffer, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    _without(root, {"metadata", "style"})  # a style sheet would apply to the page around it
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', buffer.getvalue().decode()))
    for element in root.iter():
        element.tag = _local(element.tag)
        element.text, element.tail = (element.text if element.tag == "text" else None), None
        given = dict(element.attrib)
        element.attrib.clear()
        element.attrib.update(_attributes(given, used, f"instag-{picture.name}-"))
    box = root.attrib["viewBox"].split()
    height = round(PIXELS * float(box[3]) / float(box[2]))
    root.attrib.update(xmlns="http://www.w3.org/2000/svg", width=str(PIXELS), height=str(height))
    root.attrib.update({"role": "img", "aria-label": picture.alt, "font-family": SVG_FONTS})
    root.attrib.update({"stroke-linejoin": "round", "stroke-linecap": "butt"})
    return ElementTree.tostring(root, encoding="unicode")


def _attributes(given: dict[str, str], used: set[str], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in given.items():
        if name == "id":
            if value in used:
                yield "id", prefix + value
        elif _local(name) == "href":
            yield "href", f"#{prefix}{value.removeprefix('#')}"
        elif name == "style":  # as attributes, for a page's policy may forbid styles inside of elements
            for part in value.split(";"):
                key, _, setting = (piece.strip() for piece in part.partition(":"))
                if key == "font":  # older releases of matplotlib
                    yield "font-size", re.findall(r"[\d.]+px", setting)[0]
                elif key and key != "font-family":
                    yield key, setting
        elif name != "transform" or not value.startswith("rotate(-0 "):
            yield name, value.replace("url(#", f"url(#{prefix}").replace("\n", "")


def _without(parent: ElementTree.Element, names: set[str]) -> None:
    for child in list(parent):
        _without(child, names)
        if _local(child.tag) in names or (_local(child.tag) in {"defs", "g"} and not len(child)):
            parent.remove(child)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
