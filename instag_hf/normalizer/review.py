"""Vocabularies edited by people: single edits, and a CSV that a spreadsheet opens."""

import csv
import dataclasses
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from instag_hf.errors import InputError
from instag_hf.normalizer.artefact import Artefact, Entry, ordered
from instag_hf.normalizer.steps import rows_of
from instag_hf.rows.cells import guard, unguard
from instag_hf.rows.columns import TagColumn

COLUMNS = ("tag", "rows", "canonical", "step", "why")


def assign(artefact: Artefact, names: Mapping[str, str | None], *, known: Sequence[str]) -> Artefact:
    """Give canonical tags other names; `None` drops them.

    Raises:
        InputError: A tag of `known` is not in the vocabulary.
    """
    for tag in known:
        if tag not in artefact.vocabulary:
            raise InputError(f"normalizer: expected a tag of the vocabulary, found {tag!r}. See table().")
    changes = {
        entry.tag: names[entry.canonical]
        for entry in artefact.entries
        if entry.canonical is not None and entry.canonical in names
    }
    return reassign(artefact, changes)


def reassign(artefact: Artefact, changes: Mapping[str, str | None]) -> Artefact:
    """Give raw tags other canonical ones; `None` drops them.

    Rows are not at hand, so a group that changes counts the rows of its parts, and no more than there are rows.

    Raises:
        InputError: A tag was not in the fit data, a canonical one is blank, or nothing would be left.
    """
    before = {entry.tag: entry for entry in artefact.entries}
    for tag, canonical in changes.items():
        if tag not in before:
            raise InputError(f"normalizer: expected a tag of the fit data, found {tag!r}. See table().")
        if canonical is not None and not canonical.strip():
            raise InputError(f"normalizer: expected a canonical tag for {tag!r}, found {canonical!r}.")
    entries = tuple(
        entry._replace(canonical=changes[entry.tag], step="review")
        if entry.tag in changes and changes[entry.tag] != entry.canonical
        else entry
        for entry in artefact.entries
    )
    vocabulary = _counted(artefact, entries)
    if not vocabulary:
        raise InputError("normalizer: expected at least one tag to be left, found that the edit drops all.")
    return dataclasses.replace(artefact, entries=entries, vocabulary=vocabulary)


def _counted(artefact: Artefact, entries: Sequence[Entry]) -> dict[str, int]:
    """Count the rows of each canonical tag: exactly where whole groups moved, else by their parts."""
    old: dict[str, set[str]] = defaultdict(set)
    new: dict[str, set[str]] = defaultdict(set)
    for was, now in zip(artefact.entries, entries, strict=True):
        if was.canonical is not None:
            old[was.canonical].add(was.tag)
        if now.canonical is not None:
            new[now.canonical].add(now.tag)
    counts = {entry.tag: entry.rows for entry in entries}
    group_of = {tag: canonical for canonical, members in old.items() for tag in members}
    rows = artefact.rows - sum(artefact.failed.values())
    found = {}
    for canonical, members in new.items():
        total = 0
        for group in {group_of.get(tag) for tag in members}:
            whole = group is not None and old[group] <= members
            parts = [counts[tag] for tag in members if group_of.get(tag) == group]
            most = sum(parts) if group is None else min(sum(parts), artefact.vocabulary[group])
            total += artefact.vocabulary[group] if whole and group is not None else most
        found[canonical] = min(total, rows)
    return ordered(found)


def recounted(artefact: Artefact, column: TagColumn) -> Artefact:
    """Count the rows of each canonical tag in a dataset.

    Raises:
        InputError: A tag of the vocabulary is in no row.
    """
    canonical = {entry.tag: entry.canonical for entry in artefact.entries}
    now = column.relabel([canonical.get(tag) for tag in column.names])
    counts = rows_of(now)
    missing = [tag for tag in artefact.vocabulary if tag not in counts]
    if missing:
        raise InputError(
            f"normalizer: expected every tag of the vocabulary in the dataset, found no {missing[0]!r} "
            f"({len(missing):,} in all). Count with the dataset it was fitted on, or drop them."
        )
    failed = dict(column.failed)
    return dataclasses.replace(artefact, vocabulary=ordered(counts), rows=len(column), failed=failed)


def write(artefact: Artefact, path: Path, sample: int | None = None) -> Path:
    """Write a review: one line for each raw tag, those of one canonical tag together.

    A cell that a spreadsheet would run as a formula gets an apostrophe before it, which `apply` takes off again.

    Raises:
        InputError: It cannot be written there, or `sample` is below 0.
    """
    if sample is not None and sample < 0:
        raise InputError(f"review: expected sample to be a number of tags from 0 on, found {sample}.")
    order = {tag: place for place, tag in enumerate(artefact.vocabulary)}
    entries = list(artefact.entries)
    if sample is not None:
        entries = [entry for entry in entries if entry.step][:sample]
    entries.sort(key=lambda entry: (order.get(entry.canonical or "", len(order)), -entry.rows, entry.tag))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(COLUMNS)
            for entry in entries:
                cells = (entry.tag, str(entry.rows), entry.canonical or "", entry.step, why(entry))
                lines.writerow([guard(cell) for cell in cells])
    except OSError as error:
        raise InputError(f"review: could not write {path}: {error}. Choose another place.") from error
    return path


def why(entry: Entry) -> str:
    """Tell in one line how a tag became what it is.

    Example:
        >>> why(Entry("loop", 40, "for loop", "association", "loop", "loop", "", None, "loop => for loop", 40, 1.0, ""))
        'loop => for loop in 40 rows, confidence 1.000'
    """
    told = []
    if entry.spelled not in {None, entry.tag}:
        told.append(f"spelled {entry.spelled}")
    if entry.similarity is not None:
        told.append(f"near {entry.near} (cosine {entry.similarity:.3f})")
    if entry.rule:
        told.append(f"{entry.rule} in {entry.support:,} rows, confidence {entry.confidence:.3f}")
    if entry.step == "frequency":
        told.append("too rare")
    if entry.apart:
        told.append(f"apart from {entry.apart}")
    return "; ".join(told)


def apply(artefact: Artefact, path: Path) -> Artefact:
    """Read an edited review.

    Raises:
        InputError: The file cannot be read or is no review, or a line of it cannot be.
    """
    known = {entry.tag: entry.canonical for entry in artefact.entries}
    seen: set[str] = set()
    changes: dict[str, str | None] = {}
    lines = csv.DictReader(io.StringIO(_text(path), newline=""))
    try:
        if not {"tag", "canonical"} <= set(lines.fieldnames or ()):
            raise InputError(
                f"review: {path.name}: expected the columns tag and canonical, found {lines.fieldnames}. "
                "Edit a file that review wrote."
            )
        for line in lines:
            at = f"review: {path.name}, line {lines.line_num}"
            tag, canonical = (unguard(line[name] or "") for name in ("tag", "canonical"))
            if line["canonical"] is None:
                raise InputError(f"{at}: expected {len(lines.fieldnames or ())} cells, found fewer.")
            if tag not in known:
                raise InputError(f"{at}: expected a tag of the fit data, found {tag!r}.")
            if tag in seen:
                raise InputError(f"{at}: expected each tag once, found {tag!r} again.")
            seen.add(tag)
            if canonical != (
                known[tag] or ""
            ):  # as it is written, for without the spelling step a tag keeps its spaces
                changes[tag] = canonical.strip() or None
    except csv.Error as error:
        raise InputError(f"review: {path.name}: expected CSV after line {lines.line_num}, found {error}.") from error
    return reassign(artefact, changes)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"review: expected a file that can be read, found {path.name}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"review: {path.name}: expected UTF-8, found something else in byte {error.start}. "
            "Save it as CSV in UTF-8 again."
        ) from error
