"""What a visitor asks in, plain values out: everything behind the page, which knows nothing of Gradio."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from instag_hf import pipeline
from instag_hf.app.shelf import Collection, Shelf
from instag_hf.errors import InputError
from instag_hf.rows import ERROR, NORMALIZED, TAGS
from instag_hf.rows.stored import undecoded
from instag_hf.selection import GAIN, ROUND, Selection, check_n, choose_from, method_of
from instag_hf.selection.comparing import Comparison, compare_in
from instag_hf.selection.pool import Pool, Rules
from instag_hf.tagger import Columns, Tagger

PAGE = 20  # rows
SHOWN = 100  # chosen rows that are shown; the files have all
SEEDS = 5
MOST_TAGGED = 1000  # rows that a visitor may have tagged at once
MOST_FILES = 32  # selections whose files are kept
MOST_TYPED = 20_000  # characters of a query; tagging cuts far earlier

_writing = threading.Lock()  # two visitors may ask for the same files at once

Table = list[list[str | int | float]]


def open_dataset(
    shelf: Shelf,
    source: str,
    *,
    split: str = "",
    column: str = "",
    query: str = "",
    turns: str = "all",
    uploaded: str | None = None,
) -> Collection:
    """Open what a visitor uploaded, else what they named: on the Hub, or where the shelf allows it on this machine.

    Raises:
        InputError: There is no such dataset, or the visitor may not read it.
    """
    named = source.strip()
    if not named and uploaded is None:
        raise InputError("app: expected a dataset, found none. Upload a file, or give the id of a dataset on the Hub.")
    if uploaded is not None:
        dataset, named = pipeline.load(uploaded, split=split or None), Path(uploaded).name
    elif shelf.local:
        dataset = pipeline.load(named, split=split or None)
    else:
        dataset = pipeline.load_public(named, split=split or None)
    return shelf.put(dataset, named, column=column or None, query=query or None, turns=turns)


def facts(collection: Collection) -> Table:
    """Say what a dataset is: rows, failures, taggers, tags."""
    known: Table = [["dataset", collection.name], ["rows", f"{len(collection.dataset):,}"]]
    tags = collection.tags
    if tags is None:
        return [*known, ["tags", "none: it is not tagged"]]
    total = tags.report.total
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in total.failures.items())
    return [
        *known,
        ["failed", f"{total.failed:,}" + (f" ({kinds})" if kinds else "")],
        ["tagged by", ", ".join(tags.report.taggers) or "the dataset does not say"],
        ["column of tags", tags.report.column],
        ["different tags", f"{total.tags:,}"],
        ["tags a row", "–" if total.tags_per_row is None else f"{total.tags_per_row:.2f}"],
    ]


def tag_rows(shelf: Shelf, key: str, rows: int, on_row: Callable[[Columns], None]) -> Collection:
    """Tag the first rows of a dataset that is not tagged, and put them on the shelf as a dataset of their own.

    Raises:
        InputError: The number of rows cannot be meant, or the dataset is tagged already.
    """
    collection = shelf.get(key)
    if collection.tags is not None:
        raise InputError(f"app: expected a dataset without tags, found {collection.name}, which is tagged.")
    if not 1 <= rows <= MOST_TAGGED:
        raise InputError(f"app: expected 1 to {MOST_TAGGED:,} rows to tag, found {rows:,}. Tag more with instag tag.")
    first = collection.dataset.select(range(min(rows, len(collection.dataset))))
    first = first.cast(undecoded(first.features))
    tagged = pipeline.tag(first, Tagger(engine="embedded", column=collection.query), on_row=on_row)
    return shelf.put(tagged, f"the first {len(first):,} rows of {collection.name}", query=collection.query)


class Browsed(NamedTuple):
    """A page of the rows that have a tag.

    Attributes:
        told: How many there are, and which are shown.
        page: Which page it is, from 1 on.
        rows: Number, queries and tags of each.
        near: Tags that share rows with it, and how many.
    """

    told: str
    page: int
    rows: Table
    near: Table


def search(shelf: Shelf, key: str, text: str) -> Table:
    """Find tags by a part of their name; all, with the most frequent first, by no text."""
    return [[tag, rows] for tag, rows in shelf.get(key).tagged.search(text)]


def browse(shelf: Shelf, key: str, tag: str, page: int) -> Browsed:
    """Show a page of the rows that have a tag; a page beyond the last is the last."""
    collection = shelf.get(key)
    tags = collection.tagged
    rows = tags.rows_of(tag)
    if not len(rows):
        return Browsed(f"No row has the tag {tag!r}." if tag else "Choose a tag.", 1, [], [])
    pages = -(-len(rows) // PAGE)
    page = min(max(1, page), pages)
    shown = rows[PAGE * (page - 1) : PAGE * page]
    told = f"{len(rows):,} rows have the tag {tag!r}; page {page:,} of {pages:,}"
    return Browsed(told, page, collection.show(shown), [[name, count] for name, count in tags.neighbours(tag)])


def tag_query(shelf: Shelf, key: str, text: str) -> tuple[str, Table]:
    """Tag a typed query with the embedded tagger; say what failed where it fails, and else who tagged.

    Raises:
        InputError: The text is far longer than any query.
    """
    if len(text) > MOST_TYPED:
        raise InputError(f"app: expected a query of at most {MOST_TYPED:,} characters, found {len(text):,}.")
    tagger = Tagger(engine="embedded")
    columns = tagger({"query": text})
    if columns[ERROR]:
        return f"failed: {columns[ERROR]}", []
    told = f"{len(columns[TAGS])} tags by {tagger.name}"
    tags = list(columns[TAGS])
    if shelf.normalizer is not None:
        tags = list(shelf.normalizer.normalize({shelf.normalizer.settings.column: tags})[NORMALIZED])
        told += f"; {len(tags)} in the vocabulary"
    known = shelf.get(key).tags if key else None
    return told, [[tag, len(known.rows_of(tag)) if known else "–"] for tag in tags]


class Chosen(NamedTuple):
    """A selection, as the page shows it.

    Attributes:
        told: How many rows, and what the visitor should hear about.
        figures: The method beside random rows, the longest rows, and all rows.
        rows: Number, queries and tags of the first.
        files: The whole selection, as Parquet and as JSONL.
    """

    told: str
    figures: Table
    rows: Table
    files: tuple[Path, Path]


def select(shelf: Shelf, key: str, method: str, n: int, seed: int) -> Chosen:
    """Choose rows as `instag select` does, and set the choice beside its controls.

    Raises:
        InputError: As in `instag_hf.select`.
    """
    check_n(n)
    collection = shelf.get(key)
    tags = collection.tagged
    rules = Rules(column=tags.report.column, text_column=collection.query, seed=seed, mixed=True)
    how = method_of(method)
    selection = choose_from(tags.pool, n, how, rules)
    comparison = compare_in(tags.pool, n, [how], range(seed, seed + SEEDS), rules=rules)
    told = [f"{len(selection):,} of {len(collection.dataset):,} rows", *dict.fromkeys(selection.notes)]
    return Chosen(
        told="\n".join(told),
        figures=_figures(selection, comparison, tags.pool),
        rows=collection.show(selection.indices[:SHOWN]),
        files=_write(shelf.folder, collection, selection, f"{method}-{n}-{seed}"),
    )


def _figures(selection: Selection, comparison: Comparison, pool: Pool) -> Table:
    """Lay out coverage, complexity and length; of the chosen method the choice itself, of others means over seeds."""
    first, *others = comparison.methods
    table: Table = [
        [found.label, found.rows, f"{found.coverage:.1%}", f"{found.complexity:.2f}", f"{found.length:,.0f}"]
        for found in (first, *others, comparison.pool)
    ]
    length = pool.characters[selection.indices].mean()
    table[0][2:] = [f"{selection.coverage:.1%}", f"{selection.complexity:.2f}", f"{length:,.0f}"]
    return table


def _write(folder: Path, collection: Collection, selection: Selection, name: str) -> tuple[Path, Path]:
    """Write the chosen rows once, and let the files of the oldest selections go."""
    inside = folder / f"{collection.key}-{name}"
    paths = inside / f"{name}.parquet", inside / f"{name}.jsonl"
    with _writing:
        if not all(path.exists() for path in paths):
            reasons = not {ROUND, GAIN} & set(collection.dataset.column_names)
            rows = selection.rows(collection.dataset, reasons=reasons)
            for path in paths:
                pipeline.save(rows, str(path))
        inside.touch()
        for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-MOST_FILES]:
            shutil.rmtree(old, ignore_errors=True)
    return paths
