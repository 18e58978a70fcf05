"""A Report in, pictures and the HTML page out: what section 3.4 of the paper shows, and what else there is to see.

Each picture is a function of a Report; the same report gives the same bytes.
"""

from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from instag_hf.analysis import Report
from instag_hf.errors import MissingError

if TYPE_CHECKING:
    from instag_hf.charts.canvas import Picture

__all__ = ["Chart", "Charts", "address", "draw", "draw_pictures", "png"]


class Chart(NamedTuple):
    """A picture as SVG that may stand inside an HTML page, several of them too.

    Attributes:
        name: What it shows, in a word that may be a file's name or an element's id.
        title: A heading; it is not in the picture.
        alt: What is to be seen, in a sentence or two of plain text, which is not escaped.
        svg: One `<svg>` element, 700 pixels wide: text as text, no script, no style of CSS, no address.
    """

    name: str
    title: str
    alt: str
    svg: str

    def _repr_svg_(self) -> str:
        return self.svg


class Charts(list[Chart]):
    """All pictures of a report, which a notebook shows one below the other."""

    def _repr_html_(self) -> str:
        """Show each as an image of its own: names within one cannot meet those of another, and no script runs in it."""
        return "\n".join(f"<h4>{escape(chart.title)}</h4>\n{_image(chart)}" for chart in self)


def _image(chart: Chart) -> str:
    return f'<img alt="{escape(chart.alt)}" src="{address(chart.svg)}" />'


def draw(report: Report) -> Charts:
    """Draw all pictures that a report supports, in the order in which they are best read; a notebook shows them.

    Comparisons need two datasets or more, the funnel a normalizer, and tags need `shown` above 0.

    Raises:
        MissingError: matplotlib is not installed.

    Example:
        >>> from instag_hf.analysis import report
        >>> [chart.name for chart in draw(report([["math", "sums"], ["math"]]))]
        ['complexity', 'coverage', 'tags']
    """
    pictures = draw_pictures(report)
    from instag_hf.charts.canvas import svg

    return Charts(Chart(found.name, found.title, found.alt, svg(found)) for found in pictures)


def draw_pictures(report: Report) -> "list[Picture]":
    """Draw the same pictures as figures of matplotlib, to look at, to change, or for `png`.

    Raises:
        MissingError: matplotlib is not installed.
    """
    try:
        from instag_hf.charts.canvas import drawing
        from instag_hf.charts.pictures import PICTURES
    except ModuleNotFoundError as error:
        raise MissingError(f'charts: needs {error.name}. pip install "instag-hf[report]"') from error
    with drawing():
        found = [make(report) for make in PICTURES]
    return [picture for picture in found if picture is not None]


def png(picture: "Picture") -> bytes:
    """Render a picture of `draw_pictures` for a card: 1,400 pixels wide, so that it is sharp at 700."""
    from instag_hf.charts import canvas

    return canvas.png(picture)


def address(svg: str) -> str:
    """Make an image's address of a picture: as an image it can neither run a script nor load anything."""
    return "data:image/svg+xml;base64," + b64encode(svg.encode()).decode()
