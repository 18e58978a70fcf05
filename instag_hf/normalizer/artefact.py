"""A normalizer as it lies on disk: two JSON files and two Parquet files, the same bytes for the same vocabulary.

Anybody may read and edit them; what does not fit together is refused with the place, before a row is normalized.
"""

import dataclasses
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from instag_hf.errors import InputError
from instag_hf.normalizer.rules import MINERS
from instag_hf.normalizer.spelling import STEMMERS
from instag_hf.normalizer.steps import (
    MIN_CONFIDENCE,
    MIN_COUNT,
    MIN_SAMPLES,
    MIN_SUPPORT,
    STEPS,
    Apart,
    FunnelStep,
)
from instag_hf.rows import TAGS

FORMAT = 1
POLICIES = ("drop", "keep")
RECORD, VOCABULARY, TABLE, PREVENTED = "normalizer.json", "vocabulary.json", "tags.parquet", "prevented.parquet"
FILES = (RECORD, VOCABULARY, TABLE, PREVENTED)


class Entry(NamedTuple):
    """What became of one raw tag, and by which evidence.

    Attributes:
        tag: As the tagger wrote it.
        rows: Rows of the fit data that have it.
        canonical: The tag that stands for it; `None` if it was dropped.
        step: The last step that changed it: one of `STEPS`, "review" for an edit by hand, `""` if none did.
        spelled: What the spelling step made of it.
        meant: What the meaning step made of that.
        near: The member of its group that `spelled` is nearest to.
        similarity: Their cosine, -1 to 1.
        rule: The association rule by which it went.
        support: Rows that have both sides of the rule.
        confidence: Share of the rows with its one side that have the other, 0 to 1.
        apart: Tags that it was kept apart from, with the reasons.
    """

    tag: str
    rows: int
    canonical: str | None
    step: str = ""
    spelled: str | None = None
    meant: str | None = None
    near: str = ""
    similarity: float | None = None
    rule: str = ""
    support: int | None = None
    confidence: float | None = None
    apart: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How a vocabulary was made, and what it does with tags that it does not know; the defaults are the paper's.

    Attributes:
        column: The column of raw tags.
        steps: The steps that were taken.
        min_count: Rows that a tag needs.
        stemmer: What groups spellings.
        embedder: The name of the model that embeds tags; `None` without the meaning step.
        weights: Which exact model that was.
        max_distance: Cosine distance up to which tags are near.
        min_samples: DBSCAN's density.
        min_support: Rows that a rule needs.
        min_confidence: The share of rows for which it must hold, above 0 to 1.
        miner: What finds the rules.
        guards: Whether tags that embeddings confuse were kept apart.
        unseen: What is done with a tag that was not there at the fit and is near none: "drop" or "keep".
    """

    column: str = TAGS
    steps: Sequence[str] = STEPS
    min_count: int = MIN_COUNT
    stemmer: str = "porter"
    embedder: str | None = None
    weights: str | None = None
    max_distance: float | None = None
    min_samples: int = MIN_SAMPLES
    min_support: int = MIN_SUPPORT
    min_confidence: float = MIN_CONFIDENCE
    miner: str = "sparse"
    guards: bool = True
    unseen: str = "drop"

    def __post_init__(self) -> None:
        """Refuse what no step can work with."""
        for name, kind in {"column": str, "embedder": str | None, "weights": str | None, "guards": bool}.items():
            if not isinstance(getattr(self, name), kind):
                called = "true or false" if kind is bool else "a text"
                raise InputError(f"normalizer: expected {name} to be {called}, found {getattr(self, name)!r}.")
        if isinstance(self.steps, str) or not set(self.steps) <= set(STEPS):
            raise InputError(f"normalizer: expected steps of {list(STEPS)}, found {self.steps!r}.")
        object.__setattr__(self, "steps", tuple(step for step in STEPS if step in self.steps))
        for name, known in {"stemmer": STEMMERS, "miner": MINERS, "unseen": POLICIES}.items():
            if getattr(self, name) not in known:
                raise InputError(f"normalizer: expected {name} of {list(known)}, found {getattr(self, name)!r}.")
        self._check_numbers()

    def _check_numbers(self) -> None:
        for name in ("min_count", "min_samples", "min_support"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"normalizer: expected {name} to be a whole number above 0, found {value!r}.")
        if self.max_distance is not None and not (_is_number(self.max_distance) and 0 <= self.max_distance <= 2):
            raise InputError(f"normalizer: expected max_distance from 0 to 2, found {self.max_distance!r}.")
        if not (_is_number(self.min_confidence) and 0 < self.min_confidence <= 1):
            raise InputError(f"normalizer: expected min_confidence above 0 to 1, found {self.min_confidence!r}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artefact:
    """All that a normalizer is.

    Attributes:
        settings: How it was made.
        funnel: What each step left.
        rows: Rows of the fit data, failed ones too.
        failed: Rows that carried an error, by its kind.
        vocabulary: Rows that have each canonical tag, most frequent first.
        entries: One for each raw tag, most frequent first.
        prevented: Merges that were prevented.
    """

    settings: Settings
    funnel: tuple[FunnelStep, ...]
    rows: int
    failed: dict[str, int]
    vocabulary: dict[str, int]
    entries: tuple[Entry, ...]
    prevented: tuple[Apart, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return what `normalizer.json` holds."""
        settings = {**dataclasses.asdict(self.settings), "steps": list(self.settings.steps)}
        return {
            "format": FORMAT,
            "settings": settings,
            "funnel": [step._asdict() for step in self.funnel],
            "rows": self.rows,
            "failed": dict(sorted(self.failed.items())),
        }

    def digest(self) -> str:
        """Hash all of it, independent of how a library writes files."""
        whole = [self.facts(), list(self.vocabulary.items()), self.entries, self.prevented]
        return hashlib.sha256(json.dumps(whole, ensure_ascii=False).encode()).hexdigest()

    def files(self) -> dict[str, bytes]:
        """Write it as files: name and content."""
        return {
            RECORD: _json(self.facts()),
            VOCABULARY: _json(self.vocabulary),
            TABLE: _parquet(Entry, self.entries),
            PREVENTED: _parquet(Apart, self.prevented),
        }


def ordered(counts: Mapping[str, int]) -> dict[str, int]:
    """Order a vocabulary: most frequent first, ties alphabetically."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def table(entries: Iterable[Entry]) -> pa.Table:
    """Write entries as columns."""
    return _columns(Entry, tuple(entries))


def read(folder: Path) -> Artefact:
    """Read a normalizer from its folder.

    Raises:
        InputError: A file is missing, or holds what cannot be; the message names the place.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"normalizer: expected the files {list(FILES)} in {folder.name}, found no {missing}.")
    return parse({name: (folder / name).read_bytes() for name in FILES})


def parse(files: Mapping[str, bytes]) -> Artefact:
    """Read a normalizer from its files' contents, as `read` does."""
    facts = _object(files, RECORD)
    if facts.get("format") != FORMAT:
        raise _wrong(RECORD, "format", f"{FORMAT}", facts.get("format"))
    for name, kind, called in (
        ("settings", dict, "an object"),
        ("funnel", list, "a list"),
        ("failed", dict, "an object"),
    ):
        if not isinstance(facts.get(name), kind):
            raise _wrong(RECORD, name, called, facts.get(name))
    for place, count in {
        "rows": facts.get("rows"),
        **{f"failed: {kind}": n for kind, n in facts["failed"].items()},
    }.items():
        if not _counts(count):
            raise _wrong(RECORD, place, "a whole number from 0 on", count)
    vocabulary = _object(files, VOCABULARY)
    for tag, rows in vocabulary.items():
        if not _counts(rows) or not rows:
            raise _wrong(VOCABULARY, repr(tag), "a number of rows above 0", rows)
    found = Artefact(
        settings=_settings(facts["settings"]),
        funnel=tuple(_funnel_step(at, step) for at, step in enumerate(facts["funnel"])),
        rows=facts["rows"],
        failed=facts["failed"],
        vocabulary=ordered(vocabulary),
        entries=_tuples(Entry, files, TABLE),
        prevented=_tuples(Apart, files, PREVENTED),
    )
    _check(found)
    return found


def _check(found: Artefact) -> None:
    """Refuse a table and a vocabulary that do not fit together."""
    seen: Counter[str] = Counter()
    for at, entry in enumerate(found.entries):
        place = f"row {at} ({entry.tag!r})"
        seen[entry.tag] += 1
        if seen[entry.tag] > 1:
            raise _wrong(TABLE, place, "each tag once", "it again")
        if entry.rows < 1:
            raise _wrong(TABLE, f"{place}: rows", "a number above 0", entry.rows)
        if entry.canonical is not None and entry.canonical not in found.vocabulary:
            raise _wrong(TABLE, f"{place}: canonical", f"a tag of {VOCABULARY}", entry.canonical)
        if entry.step not in {"", "review", *STEPS}:
            raise _wrong(TABLE, f"{place}: step", f"one of {list(STEPS)}", entry.step)
    unused = set(found.vocabulary) - {entry.canonical for entry in found.entries}
    if unused:
        raise _wrong(VOCABULARY, repr(min(unused)), f"a canonical tag of {TABLE}", "none of it")


def _settings(found: dict[str, Any]) -> Settings:
    known = {field.name for field in dataclasses.fields(Settings)}
    if set(found) != known:
        raise _wrong(RECORD, "settings", f"the fields {sorted(known)}", sorted(found))
    try:
        return Settings(**{**found, "steps": tuple(found["steps"])})
    except (InputError, TypeError) as error:
        raise InputError(f"{RECORD}: settings: {error}") from error


def _funnel_step(at: int, found: Any) -> FunnelStep:
    place = f"funnel, step {at}"
    if not isinstance(found, dict) or set(found) != set(FunnelStep._fields):
        raise _wrong(RECORD, place, f"the fields {list(FunnelStep._fields)}", found)
    step = FunnelStep(**found)
    if not isinstance(step.step, str) or not _counts(step.tags) or not _counts(step.assignments):
        raise _wrong(RECORD, place, "a name and whole numbers", found)
    return step


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _object(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        found = json.loads(files[name])
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: byte {error.start}: expected UTF-8, found something else.") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{name}: line {error.lineno}: expected JSON, found something else: {error.msg}.") from error
    if not isinstance(found, dict):
        raise _wrong(name, "top", "an object", found)
    return found


def _wrong(name: str, place: str, expected: str, found: Any) -> InputError:
    return InputError(
        f"{name}: {place}: expected {expected}, found {str(found)[:200]!r}. Undo the edit, or fit and save it again."
    )


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


_TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}


def _schema(kind: type[Entry] | type[Apart]) -> pa.Schema:
    names = {name: str(getattr(of, "__name__", of)).partition(" ")[0] for name, of in kind.__annotations__.items()}
    optional = {name: "None" in str(of) for name, of in kind.__annotations__.items()}
    return pa.schema([pa.field(name, _TYPES[of], nullable=optional[name]) for name, of in names.items()])


def _columns(kind: type[Entry] | type[Apart], items: tuple[Any, ...]) -> pa.Table:
    schema = _schema(kind)
    values = zip(*items, strict=True) if items else [()] * len(schema)
    return pa.table([pa.array(list(each), field.type) for each, field in zip(values, schema, strict=True)], schema)


def _parquet(kind: type[Entry] | type[Apart], items: tuple[Any, ...]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(_columns(kind, items), sink, compression="zstd", store_schema=False)
    return sink.getvalue()


def _tuples(kind: type[Any], files: Mapping[str, bytes], name: str) -> tuple[Any, ...]:
    schema = _schema(kind)
    try:
        # Without threads, and no file of Python's: what Arrow's threads still hold of one can abort the process's end.
        found = pq.ParquetFile(pa.BufferReader(files[name])).read(use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{name}: expected a Parquet file, found something else: {str(error)[:200]}") from error
    if found.schema.names != schema.names:
        raise _wrong(name, "columns", schema.names, found.schema.names)
    for field in schema:
        column = found.column(field.name)
        if column.type != field.type:
            raise _wrong(name, f"column {field.name}", field.type, column.type)
        if column.null_count and not field.nullable:
            row = column.is_null().to_pylist().index(True)
            raise _wrong(name, f"row {row}: {field.name}", "a value", None)
    return tuple(kind(*row) for row in zip(*(column.to_pylist() for column in found.columns), strict=True))
