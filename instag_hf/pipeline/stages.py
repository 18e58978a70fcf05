"""Single stages in one call each: tagging with a place for a progress bar, and scoring a tagger."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instag_hf.agreement import tag_f1
from instag_hf.embeddings import MINILM, Embedder
from instag_hf.errors import InputError, RowError
from instag_hf.pipeline.stopping import CtrlC
from instag_hf.replies import Reply, store
from instag_hf.rows import ERROR, NORMALIZED, TAGS, check_columns, queries
from instag_hf.rows.columns import class_names, label
from instag_hf.rows.stored import stored
from instag_hf.tagger import Columns, Row, Tagger, features

if TYPE_CHECKING:
    from datasets import Dataset

SAMPLE = Path(__file__).parents[1] / "data" / "sample.jsonl"


def tag(dataset: "Dataset", tagger: Tagger, *, on_row: Callable[[Columns], None] | None = None) -> "Dataset":
    """Tag a dataset, and tell every finished row to `on_row`.

    The same as `dataset.map(tagger.tag)`, with a place for a progress bar that knows about failures, and a Ctrl-C that
    always ends the run. A tagger that overwrites drops `instag_normalized` too, which `map` cannot.

    Raises:
        InputError: The dataset has no column to read, or one that we would write.
        Interrupted: Somebody pressed Ctrl-C.
    """
    from datasets.fingerprint import Hasher

    dataset = without_normalized(dataset, tagger)
    check_columns(dataset.column_names, column=tagger.column, overwrite=tagger.overwrite)
    with CtrlC() as stop:
        one = stop.watch(tagger.tag)

        async def watched(row: Row) -> Columns:
            columns = await one(row)
            if on_row is not None:
                on_row(columns)
            return columns

        return dataset.map(
            watched,
            features=type(dataset.features)({**dataset.features, **features()}),
            new_fingerprint=Hasher.hash([dataset._fingerprint, tagger]),
        )


def without_normalized(dataset: "Dataset", tagger: Tagger) -> "Dataset":
    """Drop the canonical tags of tags that a tagger overwrites; other datasets stay as they are."""
    stale = tagger.overwrite and tagger.column != NORMALIZED and NORMALIZED in dataset.column_names
    return dataset.remove_columns(NORMALIZED) if stale else dataset


def evaluate(
    dataset: "Dataset",
    tagger: Tagger,
    *,
    gold: str = "tags",
    embedder: str | Embedder | None = MINILM,
    on_row: Callable[[Columns], None] | None = None,
) -> dict[str, Any]:
    """Score a tagger against gold tags, people's or another tagger's.

    Rows that have no gold tags are left out, and so are those that failed where gold is a tagger's; a row whose list is
    empty has gold.

    Args:
        dataset: Rows with one query each and a column of gold tags; with a column `source`, each source is scored too.
        tagger: Whom to score.
        gold: The column of gold tags.
        embedder: For the fuzzy match; `None` leaves it out.
        on_row: Told every finished row.

    Returns:
        `tagger`, its name; `agreement`, as `agreement.tag_f1` found it, where a failed row counts without tags;
        `failed` and `failures`, rows by kind; `gold_failed`, the rows left out; `tokens_a_reply`; `rows_a_second`, and
        `kept_replies`, how many were in the store before.

    Raises:
        InputError: The column of gold tags is missing, has no list, or all of it failed.
    """
    if gold not in dataset.column_names:
        raise InputError(f'evaluate: expected a column "{gold}" of gold tags, found {dataset.column_names}.')
    rows = len(dataset)
    if gold in {TAGS, NORMALIZED} and ERROR in dataset.column_names:
        dataset = dataset.select([place for place, error in enumerate(dataset[ERROR]) if not error])
    dataset = dataset.select([place for place, tags in enumerate(dataset[gold]) if tags is not None])
    if not len(dataset):
        raise InputError(f"evaluate: expected rows with gold tags, found {rows:,} rows without, or that all failed.")
    wanted = []
    for place, tags in enumerate(dataset[gold]):
        if not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
            raise InputError(
                f'evaluate: expected lists of gold tags, texts, in "{gold}", found {str(tags)[:80]!r} in row {place}.'
            )
        wanted.append(tags)
    ours = (*features(), NORMALIZED)
    dataset = dataset.remove_columns([name for name in ours if name in dataset.column_names])  # they come anew
    before = _replies(dataset, tagger)
    started = time.monotonic()
    tagged = tag(dataset, tagger, on_row=on_row)
    took = time.monotonic() - started
    failed = failures(tagged)
    classes = class_names(dataset, "source")
    sources = [label(value, classes) for value in dataset["source"]] if "source" in dataset.column_names else None
    agreed = tag_f1(tagged[TAGS], wanted, embedder=embedder, sources=sources)
    tokens = [reply.completion_tokens for reply in _replies(dataset, tagger)]
    return {
        "tagger": tagger.name,
        "agreement": agreed.to_dict(),
        "failed": failed.total(),
        "failures": dict(failed),
        "gold_failed": rows - len(dataset),
        "tokens_a_reply": round(sum(tokens) / max(1, len(tokens)), 1),
        "rows_a_second": round(len(tagged) / took, 1),
        "kept_replies": len(before),
    }


def _replies(dataset: "Dataset", tagger: Tagger) -> list[Reply]:
    """Take what the store has for the queries of a dataset."""
    found = []
    for row in stored(dataset):
        try:
            asked = queries(row, column=tagger.column, turns=tagger.turns)
        except RowError:
            continue
        found += [reply for query in asked if (reply := store().get(tagger.request(query).key))]
    return found


def failures(dataset: "Dataset") -> Counter[str]:
    """Count failed rows by kind of failure: "row", "parse", "truncated", "reply", "refused"."""
    return Counter(error.partition(":")[0] for error in dataset[ERROR] if error)
