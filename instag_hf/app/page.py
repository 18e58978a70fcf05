"""The page itself: what is asked where, and where answers are shown. Imports Gradio, which takes seconds.

Text of datasets goes into text boxes and into tables of plain text. The one piece of HTML holds pictures, as images.
"""

import functools
import html
from collections.abc import Callable
from typing import Any, NamedTuple

import gradio as gr

from instag_hf.app import answers
from instag_hf.app.shelf import Shelf
from instag_hf.charts import Chart, address
from instag_hf.errors import InstagError
from instag_hf.rows import ERROR, TURN_POLICIES
from instag_hf.selection import METHODS
from instag_hf.tagger import Columns

FIRST = 100  # rows that are offered to be tagged
AT_ONCE = {"look": 20, "open": 2, "tag": 2, "tag rows": 1, "select": 2}  # requests of a kind; others wait in line
KEEP_S = 3600  # seconds after which Gradio's copies of files go
ROWS = ["row", "query", "tags"]
CSS = ".mono textarea { font-family: ui-monospace, monospace; white-space: pre; overflow-x: auto }"


def page(shelf: Shelf, first: str) -> gr.Blocks:
    """Lay out the page.

    Args:
        shelf: The datasets that visitors share.
        first: The key of the dataset that a visitor sees first; "" for none.
    """
    made: gr.Blocks = gr.Blocks(title="InsTag explorer", analytics_enabled=False, delete_cache=(KEEP_S, KEEP_S))
    with made:
        key = gr.State(first)
        with gr.Tab("Data"):
            _data(shelf, key, made)
        with gr.Tab("Report") as tab:
            _report(shelf, key, tab)
        with gr.Tab("Browse") as tab:
            _browse(shelf, key, tab)
        with gr.Tab("Tag"):
            _tag(shelf, key)
        with gr.Tab("Select"):
            _select(shelf, key)
    return made


def look() -> dict[str, Any]:
    """Return what `launch` is told of the page's looks: fonts of the visitor's machine, so that none is fetched."""
    theme = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return {"theme": theme, "css": CSS}


class _Kind(NamedTuple):
    """How requests of a kind are let in."""

    name: str

    @property
    def line(self) -> dict[str, Any]:
        return {"concurrency_limit": AT_ONCE[self.name], "concurrency_id": self.name}


LOOK, OPEN, TAG, TAG_ROWS, SELECT = map(_Kind, AT_ONCE)


def _told(work: Callable[..., Any]) -> Callable[..., Any]:
    """Show an error of ours to the visitor, as text: Gradio takes a message for HTML."""

    @functools.wraps(work)
    def told(*given: Any, **named: Any) -> Any:
        try:
            return work(*given, **named)
        except InstagError as error:
            raise gr.Error(_escaped(str(error)), duration=None, print_exception=False) from None

    return told


def _escaped(text: str) -> str:
    """Make text mean itself in HTML, and in the templates that Gradio fills in."""
    return html.escape(text).replace("$", "&#36;").replace("{", "&#123;").replace("`", "&#96;")


def _table(headers: list[str], label: str, name: str) -> gr.Dataframe:
    """Make a table of plain text, never of HTML or Markdown."""
    return gr.Dataframe(
        headers=headers,
        column_count=len(headers),
        datatype="str",
        type="array",
        label=label,
        elem_id=name,
        interactive=False,
        wrap=True,
    )


def _data(shelf: Shelf, key: gr.State, made: gr.Blocks) -> None:
    places = "A dataset on the Hub, or a file or folder" if shelf.local else "A public dataset on the Hub"
    with gr.Row():
        source = gr.Textbox(label=places, placeholder="owner/name", elem_id="source")
        uploaded = gr.File(label="… or a Parquet, JSONL or CSV file of yours", type="filepath", height=120)
    with gr.Accordion("Split and columns", open=False), gr.Row():
        split = gr.Textbox(label="Split, where there are several")
        column = gr.Textbox(label="Column of tags, if not instag_normalized or instag_tags")
        query = gr.Textbox(label="Column of queries, if not found by its name")
        turns = gr.Dropdown(list(TURN_POLICIES), value="all", label="Turns of a conversation that were tagged")
    button = gr.Button("Open", variant="primary", elem_id="open")
    facts = _table(["what", "found"], "The dataset", "facts")
    with gr.Group(visible=False) as offer:
        rows = gr.Number(FIRST, label="It is not tagged. Tag its first rows: how many", precision=0, minimum=1)
        tag = gr.Button("Tag them", elem_id="tag-rows")

    def shown(name: str) -> tuple[Any, ...]:
        if not name:
            return [["dataset", "none yet: open one above"]], gr.update(visible=False)
        found = shelf.get(name)
        return answers.facts(found), gr.update(visible=found.tags is None)

    @_told
    def open_dataset(source: str, uploaded: str | None, *asked: str) -> tuple[Any, ...]:
        read = dict(zip(("split", "column", "query", "turns"), asked, strict=True))
        found = answers.open_dataset(shelf, source, uploaded=uploaded, **read)
        return found.key, *shown(found.key)

    @_told
    def tag_rows(name: str, rows: int, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        done = failed = 0

        def on_row(columns: Columns) -> None:
            nonlocal done, failed
            done, failed = done + 1, failed + bool(columns[ERROR])
            progress((done, rows), desc=f"tagging, {failed} failed", unit="rows")

        found = answers.tag_rows(shelf, name, int(rows or 0), on_row)
        return found.key, *shown(found.key)

    outputs = [key, facts, offer]
    given = [source, uploaded, split, column, query, turns]
    gr.on([button.click, source.submit], open_dataset, given, outputs, api_name="open", **OPEN.line)
    tag.click(tag_rows, [key, rows], outputs, api_name="tag_rows", **TAG_ROWS.line)
    made.load(_told(shown), key, [facts, offer], api_name="facts", **LOOK.line)


def _report(shelf: Shelf, key: gr.State, tab: gr.Tab) -> None:
    figures = gr.Textbox(
        label="Figures", lines=24, max_lines=40, interactive=False, elem_id="figures", elem_classes="mono"
    )
    pictures = gr.HTML(elem_id="pictures")

    @_told
    def report(name: str) -> tuple[str, str]:
        found = shelf.get(name).tagged
        return str(found.report), _pictures(found.charts, found.no_charts)

    gr.on([tab.select], report, key, [figures, pictures], api_name="report", **LOOK.line)


def _pictures(charts: list[Chart], no_charts: str) -> str:
    """Write our HTML around pictures, which are images and run nothing."""
    shown = [
        f'<h3>{_escaped(chart.title)}</h3><img src="{address(chart.svg)}" alt="{_escaped(chart.alt)}" '
        'style="max-width: 100%; background: white">'
        for chart in charts
    ]
    return "\n".join(shown) or f"<p>{_escaped(no_charts)}</p>"


def _browse(shelf: Shelf, key: gr.State, tab: gr.Tab) -> None:
    text = gr.Textbox(label="Find a tag", placeholder="a part of its name", elem_id="find")
    with gr.Row():
        matches = _table(["tag", "rows"], "Tags: click one", "matches")
        near = _table(["tag", "rows of both"], "Tags that share rows with it: click one", "near")
    tag = gr.Textbox(label="Tag", interactive=False, elem_id="tag")
    told = gr.Textbox(label="Rows", interactive=False, elem_id="told")
    with gr.Row():
        before, after = gr.Button("Page before", elem_id="before"), gr.Button("Next page", elem_id="after")
    number = gr.Number(1, label="Page", precision=0, minimum=1)
    rows = _table(ROWS, "Rows that have the tag", "rows")

    @_told
    def search(name: str, text: str) -> answers.Table:
        return answers.search(shelf, name, text)

    @_told
    def browse(name: str, tag: str, page: int) -> answers.Browsed:
        return answers.browse(shelf, name, tag, int(page or 1))

    def picked(event: gr.SelectData) -> tuple[str, int]:
        return str(event.row_value[0]), 1

    shown = {"fn": browse, "inputs": [key, tag, number], "outputs": [told, number, rows, near], **LOOK.line}
    gr.on(
        [text.change, tab.select],
        search,
        [key, text],
        matches,
        api_name="tags",
        trigger_mode="always_last",
        **LOOK.line,
    )
    for table in (matches, near):
        table.select(picked, None, [tag, number], api_visibility="private", **LOOK.line).then(
            api_visibility="private", **shown
        )
    number.submit(api_name="rows", **shown)
    for turn, step in ((before, -1), (after, 1)):
        turn.click(
            lambda page, step=step: max(1, page + step), number, number, api_visibility="private", **LOOK.line
        ).then(api_visibility="private", **shown)
    # A dataset's rows are gone with it.
    key.change(
        lambda: ("", "", 1, [], [], []), None, [tag, told, number, rows, near, matches], api_visibility="private"
    )


def _tag(shelf: Shelf, key: gr.State) -> None:
    text = gr.Textbox(label="A query", lines=4, elem_id="query")
    button = gr.Button("Tag it", variant="primary", elem_id="tag-query")
    told = gr.Textbox(label="What the tagger said", interactive=False, elem_id="said")
    tags = _table(["tag", "rows of the dataset that have it"], "Tags", "query-tags")

    @_told
    def tag_query(name: str, text: str) -> tuple[str, answers.Table]:
        return answers.tag_query(shelf, name, text)

    button.click(tag_query, [key, text], [told, tags], api_name="tag", **TAG.line)


def _select(shelf: Shelf, key: gr.State) -> None:
    with gr.Row():
        method = gr.Dropdown(list(METHODS), value=next(iter(METHODS)), label="Method", elem_id="method")
        n = gr.Number(100, label="How many rows", precision=0, minimum=1, elem_id="n")
        seed = gr.Number(42, label="Seed, where something is drawn", precision=0, minimum=0)
    button = gr.Button("Select", variant="primary", elem_id="select")
    told = gr.Textbox(label="Chosen", interactive=False, elem_id="chosen")
    figures = _table(
        ["method", "rows", "coverage", "tags a row", "characters a row"], "Beside its controls", "compared"
    )
    with gr.Row():
        parquet = gr.DownloadButton("Download as Parquet", interactive=False, elem_id="parquet")
        jsonl = gr.DownloadButton("Download as JSONL", interactive=False, elem_id="jsonl")
    rows = _table(ROWS, f"The first {answers.SHOWN} rows, in the order chosen", "selected")

    @_told
    def select(name: str, method: str, n: int, seed: int) -> tuple[Any, ...]:
        found = answers.select(shelf, name, method, int(n or 0), int(seed or 0))
        ready = [gr.update(value=str(path), interactive=True) for path in found.files]
        return found.told, found.figures, found.rows, *ready

    button.click(
        select, [key, method, n, seed], [told, figures, rows, parquet, jsonl], api_name="select", **SELECT.line
    )
    nothing = gr.update(value=None, interactive=False)
    key.change(
        lambda: ("", [], [], nothing, nothing), None, [told, figures, rows, parquet, jsonl], api_visibility="private"
    )
