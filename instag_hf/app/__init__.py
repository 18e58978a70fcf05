"""A dataset in, a page to explore it out: what is in it, rows by tag, tags of a typed query, selections to download.

Visitors of a public page are strangers. They read the dataset that the page was started with, files that they upload
and what is public on the Hub, and nothing else of the machine; text of datasets is shown as text.
"""

import socket
from typing import TYPE_CHECKING, Any

from instag_hf.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Callable

    import gradio as gr

    from instag_hf.app.shelf import Shelf
    from instag_hf.normalizer import TagNormalizer

MOST_UPLOADED = "200mb"


def build(
    source: str | None = None,
    *,
    split: str | None = None,
    column: str | None = None,
    query: str | None = None,
    turns: str = "all",
    normalizer: "TagNormalizer | None" = None,
    local: bool = False,
) -> "gr.Blocks":
    """Build the page; `launch` builds and serves it in one call.

    Args:
        source: The dataset it begins with: a file, a folder or a Hub id, tagged or not; none by default.
        split: Which split of it, where there are several.
        column: The column of tags; `instag_normalized` by default, where it is not there `instag_tags`.
        query: The column of queries; found by its name by default, as when tagging.
        turns: Which user turns were tagged: "all", "first" or "last".
        normalizer: What normalizes tags where the dataset has only raw ones, and whose vocabulary coverage is of.
        local: Whether visitors may name files of this machine, and use its token on the Hub.

    Raises:
        InputError: The dataset cannot be read.
        MissingError: Gradio is not installed.
    """
    try:
        import gradio  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingError('app: needs gradio. pip install "instag-hf[app]"') from error
    from instag_hf.app.page import page
    from instag_hf.app.shelf import Shelf

    shelf = Shelf(normalizer=normalizer, local=local)
    first = "" if source is None else _first(shelf, source, split, column=column, query=query, turns=turns)
    return page(shelf, first)


def launch(
    source: str | None = None,
    *,
    split: str | None = None,
    column: str | None = None,
    query: str | None = None,
    turns: str = "all",
    normalizer: "TagNormalizer | None" = None,
    local: bool = False,
    host: str | None = None,
    port: int | None = None,
    on_start: "Callable[[str], None] | None" = None,
) -> None:
    """Serve the page until it is stopped; to this machine alone if not told otherwise, as a Space does by variables.

    Args:
        source: As given to `build`.
        split: As given to `build`.
        column: As given to `build`.
        query: As given to `build`.
        turns: As given to `build`.
        normalizer: As given to `build`.
        local: As given to `build`.
        host: The address to listen at; by default `GRADIO_SERVER_NAME`, else 127.0.0.1.
        port: The port; 0 takes any that is free; by default `GRADIO_SERVER_PORT`, else the first free one from 7860 on.
        on_start: Told the address as soon as the page is there.

    Raises:
        InputError: The dataset cannot be read.
        MissingError: Gradio is not installed.
    """
    made = build(source, split=split, column=column, query=query, turns=turns, normalizer=normalizer, local=local)
    from instag_hf.app.page import look

    _, address, _ = made.launch(
        server_name=host,
        server_port=_free_port(host) if port == 0 else port,
        share=False,
        inbrowser=False,
        quiet=True,
        prevent_thread_lock=True,
        max_file_size=MOST_UPLOADED,
        footer_links=["api"],
        enable_monitoring=False,
        ssr_mode=False,
        **look(),
    )
    if on_start is not None:
        on_start(address)
    made.block_thread()


def _first(shelf: "Shelf", source: str, split: str | None, **read: Any) -> str:
    from instag_hf import pipeline

    dataset = pipeline.load(source, split=split)
    return shelf.put(dataset, source, keep=True, **read).key


def _free_port(host: str | None) -> int:
    with socket.create_server((host or "127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
