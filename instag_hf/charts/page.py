"""A Report and its rows in, one HTML file out that can be searched, and that asks nothing of any network.

Text of datasets is hostile: the template escapes it, the script writes it as text and never as HTML, no link is made of
it, and the page's own policy lets the browser run one script, whose hash it names, and load nothing.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instag_hf import __version__
from instag_hf.analysis import Report
from instag_hf.analysis.reading import Asked
from instag_hf.charts import Chart, address
from instag_hf.charts.explorer import EXAMPLES, NAME, QUERY, dumped, explore, shortened
from instag_hf.errors import InputError
from instag_hf.rows.written import write_whole

if TYPE_CHECKING:
    from instag_hf.rows.columns import Tagged

TEMPLATES = Path(__file__).parents[1] / "templates"
CITATION = "arXiv 2308.07074"
MOST_TEXT_BYTES = 4_000_000  # of examples and pictures, so that a page stays under 10 MB
MOST_RECALL = 12
MOST_LINES = 50


def render_page(
    report: Report,
    data: "Tagged | Mapping[str, Tagged]",
    *,
    title: str = "Tag report",
    by: str | None = None,
    query: str | None = None,
    turns: str = "all",
    charts: Sequence[Chart] = (),
    no_charts: str = "",
) -> str:
    """Render the page of a report: figures, a table of tags to search, their neighbours and example queries.

    The page holds all it shows. It stays under 10 MB however many rows there are, and says what it leaves out.

    Args:
        report: What was counted.
        data: What it was counted in.
        title: The page's heading.
        by: As given to `report`.
        query: As given to `report`.
        turns: As given to `report`.
        charts: Pictures of the report.
        no_charts: Why there are none.

    Raises:
        InputError: The data is not what the report was made of.
    """
    asked = Asked(column=report.column, by=by, query=query, turns=turns, mixed=True)
    pictures = [{"title": each.title, "alt": each.alt, "source": address(each.svg)} for each in charts]
    room = MOST_TEXT_BYTES - sum(len(picture["source"]) for picture in pictures)
    explorer = explore(report, data, asked=asked, most_text_bytes=room)
    values = {**explorer.values, "sizes": [part.rows - part.failed for part in report.parts.values()]}
    return _render(
        report=report,
        title=title,
        by=by,
        explorer=explorer,
        values=values | {"fine": report.total.rows - report.total.failed, "all": report.total.tags},
        pictures=pictures,
        no_charts=no_charts,
        compared=dict(list(report.recall.items())[:MOST_RECALL]),
        bounds={"examples": EXAMPLES, "characters": QUERY, "lines": MOST_LINES},
        version=__version__,
        citation=CITATION,
    )


def write_page(text: str, target: str | Path) -> Path:
    """Write a page, whole or not at all.

    Raises:
        InputError: It cannot be written there.
    """
    path = Path(target)
    try:
        write_whole(path, text)
    except OSError as error:
        raise InputError(f"page: could not write {target}: {error}. Choose another place.") from error
    return path


def _render(**facts: Any) -> str:
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.filters |= {
        "count": lambda number: "–" if number is None else f"{number:,}",
        "percent": lambda share: "–" if share is None else f"{share:.1%}",
        "decimal": lambda number: "–" if number is None else f"{number:.2f}",
        "whole": lambda number: "–" if number is None else f"{number:,.0f}",
        "short": lambda text: shortened(text, NAME),
    }
    script, style = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    return environment.get_template("page.html.j2").render(
        **facts | {"values": Markup(dumped(facts["values"]))},  # noqa: S704 - JSON in which no character is HTML's
        script=Markup(script),  # noqa: S704 - ours
        style=Markup(style),  # noqa: S704 - ours
        script_hash=_hash(script),
        style_hash=_hash(style),
    )


def _hash(text: str) -> str:
    """Name a script or style as a content security policy does."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
