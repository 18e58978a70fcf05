"""Rows in, an artefact out: the steps in their order, and the books kept between them."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from instag_hf.embeddings import Embedder, identity
from instag_hf.errors import InputError
from instag_hf.normalizer.artefact import Artefact, Entry, Settings, ordered
from instag_hf.normalizer.steps import (
    Apart,
    FunnelStep,
    Merge,
    Step,
    calibrated,
    keep_frequent,
    merge_companions,
    merge_meaning,
    merge_spelling,
    rows_of,
)
from instag_hf.rows.columns import TagColumn, read_tags

if TYPE_CHECKING:
    from instag_hf.rows.columns import Tagged

SHOWN = 3  # merges prevented that the table tells of one tag; `prevented` has all


def fitted(tagged: "Tagged", settings: Settings, *, embedder: str | Embedder, mixed: bool) -> Artefact:
    """Take the steps.

    Raises:
        InputError: There are no tags, or an option does not fit them.
    """
    if "meaning" in settings.steps:
        distance = calibrated(embedder) if settings.max_distance is None else settings.max_distance
        name = embedder if isinstance(embedder, str) else None
        settings = dataclasses.replace(settings, max_distance=distance, embedder=name, weights=identity(embedder))
    raw = read_tags(tagged, settings.column, mixed=mixed)
    if not len(raw.codes):
        told = ", ".join(f"{count:,} {kind}" for kind, count in raw.failed.most_common())
        failed = f", {sum(raw.failed.values()):,} of them failed ({told})" if raw.failed else ""
        raise InputError(f"normalizer: expected rows with tags, found {len(raw):,} rows without any{failed}.")
    taken: list[Step] = []
    funnel = [_counted("raw", raw)]
    column = raw
    for name in settings.steps:
        step = _take(name, column, settings, embedder)
        column = column.relabel([step.merges[tag].into if tag in step.merges else tag for tag in column.names])
        taken.append(step)
        funnel.append(_counted(name, column))
    return Artefact(
        settings=settings,
        funnel=tuple(funnel),
        rows=len(raw),
        failed=dict(raw.failed),
        vocabulary=ordered(rows_of(column)),
        entries=_entries(raw, taken),
        prevented=tuple(pair for step in taken for pair in step.prevented),
    )


def _counted(step: str, column: TagColumn) -> FunnelStep:
    return FunnelStep(step, len(column.names), len(column.codes))


def _take(name: str, column: TagColumn, settings: Settings, embedder: str | Embedder) -> Step:
    if name == "frequency":
        return keep_frequent(rows_of(column), min_count=settings.min_count)
    if name == "spelling":
        return merge_spelling(rows_of(column), stemmer=settings.stemmer)
    if name == "meaning":
        return merge_meaning(
            rows_of(column),
            embedder=embedder,
            max_distance=settings.max_distance,
            min_samples=settings.min_samples,
            guards=settings.guards,
        )
    return merge_companions(
        column,
        min_support=settings.min_support,
        min_confidence=settings.min_confidence,
        miner=settings.miner,
        guards=settings.guards,
    )


def _entries(raw: TagColumn, taken: Iterable[Step]) -> tuple[Entry, ...]:
    """Follow every raw tag through the steps."""
    steps = {step.name: step.merges for step in taken}
    against = _told(pair for step in taken for pair in step.prevented)
    counts = ordered(rows_of(raw))
    return tuple(_entry(tag, count, steps, against) for tag, count in counts.items())


def _entry(tag: str, count: int, steps: Mapping[str, Mapping[str, Merge]], against: Mapping[str, list[str]]) -> Entry:
    if tag in steps.get("frequency", {}):
        return Entry(tag, count, None, "frequency")
    spelling = steps.get("spelling", {}).get(tag)
    spelled = spelling.into if spelling else tag
    meaning = steps.get("meaning", {}).get(spelled or "")
    meant = meaning.into if meaning else spelled
    rule = steps.get("association", {}).get(meant or "")
    changed = [
        name
        for name, merge in (("spelling", spelling), ("meaning", meaning), ("association", rule))
        if merge is not None
    ]
    told = list(dict.fromkeys(why for name in (tag, spelled, meant) if name for why in against.get(name, [])))
    more = f"; and {len(told) - SHOWN:,} more" if len(told) > SHOWN else ""
    return Entry(
        tag,
        count,
        rule.into if rule else meant,
        changed[-1] if changed else "",
        spelled,
        meant,
        near=meaning.near if meaning else "",
        similarity=meaning.similarity if meaning else None,
        rule=f"{meant} => {rule.near}" if rule else "",
        support=rule.support if rule else None,
        confidence=rule.confidence if rule else None,
        apart="; ".join(told[:SHOWN]) + more,
    )


def _told(prevented: Iterable[Apart]) -> dict[str, list[str]]:
    """Tell of each tag what it was kept apart from."""
    found: dict[str, list[str]] = defaultdict(list)
    for tag, other, _, why in prevented:
        for one, against in ((tag, other), (other, tag)):
            found[one].append(f"{against} ({why})")
    return found
