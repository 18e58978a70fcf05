"""Tagged rows in, the facts of `instag.json` and the files that go with them out; the Hub is not asked."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instag_hf import __version__
from instag_hf.analysis import Report, report
from instag_hf.errors import InputError
from instag_hf.hub import tables
from instag_hf.hub.committing import Content
from instag_hf.normalizer import TagNormalizer
from instag_hf.replies import store
from instag_hf.rows import ERROR, EXPLANATIONS, NORMALIZED, TAGGER, TAGS, TURNS
from instag_hf.rows.stored import stored
from instag_hf.selection import ROUND, Selection
from instag_hf.selection.records import facts_of
from instag_hf.tagger import Tagger

if TYPE_CHECKING:
    from datasets import Dataset

FORMAT = 1
COMPARING = ("diversity-complexity", "recall")  # pictures of several datasets
MINE, POOL = "this dataset", "the pool"  # as tables and pictures call them
SHOWN_CHARS = 400  # of a text in the card's example

MEANINGS = {
    TAGS: "raw tags, in the tagger's order",
    EXPLANATIONS: "one for each tag, empty where the tagger gives none",
    TURNS: "number of raw tags of each query, in order",
    ERROR: "why the row failed; empty, since failed rows are not here",
    TAGGER: "who tagged the row: model, revision, recipe, hash of all settings",
    NORMALIZED: "canonical tags",
    ROUND: "the round of the selection that took the row",
    "instag_gain": "tags that the row brought to its round",
}


_HASHED = re.compile(r"#[0-9a-f]{8}$")  # how the name of one of our taggers ends


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given:
    """What is known of tagged rows besides the rows, as `publish_dataset` takes it."""

    pool: "Dataset | None" = None
    normalizer: TagNormalizer | None = None
    selection: Selection | Mapping[str, Any] | str | None = None
    run: Mapping[str, Any] | None = None
    tagger: Tagger | None = None
    charts: bool = True
    commands: Sequence[str] = ()
    split: str = "train"
    query: str | None = None
    turns: str = "all"
    mixed: bool = False

    @property
    def read(self) -> dict[str, Any]:
        """How rows are read, as `report` takes it."""
        return {"query": self.query, "turns": self.turns, "mixed": self.mixed}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """What a dataset's repo holds besides its card.

    Attributes:
        rows: The rows that did not fail.
        words: The rows of the config `tag_vocabulary`.
        tags: Its files.
        extra: The normalizer's files, and the pictures.
        facts: All that `instag.json` says, but for the files, the sources and the licence.
    """

    rows: "Dataset"
    words: "Dataset"
    tags: dict[str, Path]
    extra: dict[str, Content]
    facts: dict[str, Any]


def make(subset: "Dataset", folder: Path, given: Given) -> Made:
    """Count what the card states, and write the files that are not the rows.

    Raises:
        InputError: A fact that the card states is not known, or the rows cannot be published.
        MissingError: Charts are wanted, and matplotlib is not installed.
    """
    rows = tables.without_failed(_checked(subset, given.split))
    if not len(rows):
        raise InputError(f"hub: expected rows with tags, found {len(subset):,} rows that all failed.")
    normalizer = given.normalizer and given.normalizer.shared()
    data = {MINE: rows} if given.pool is None else {MINE: rows, POOL: given.pool}
    found = report(data, normalizer=normalizer, column=tables.tag_column(rows), **given.read)
    words = tables.vocabulary(rows, normalizer)
    facts = {
        "format": FORMAT,
        "package": f"instag_hf {__version__}",
        "split": given.split,
        "rows": len(rows),
        "columns": _columns(rows),
        "report": {name: fact for name, fact in found.to_dict().items() if name != "total"},  # counts rows twice
        "failures": tables.failures(subset),
        "taggers": _taggers(rows, given.tagger),
        "selection": _selection(given.selection, rows, given.pool),
        "normalizer": _normalizer_facts(normalizer),
        "run": None if given.run is None else dict(given.run),
        "example": _example(rows),
        "commands": list(given.commands),
        "vocabulary": {"rows": len(words), "fitted": normalizer is not None},
    }
    tags = tables.write_shards(words, folder, tables.VOCABULARY, "train")
    extra, facts["charts"] = _charts(rows, found, normalizer, given.read) if given.charts else ({}, [])
    extra |= saved(normalizer, folder / "normalizer", "normalizer/") if normalizer is not None else {}
    return Made(rows=rows, words=words, tags=tags, extra=extra, facts=facts)


def _checked(subset: "Dataset", split: str) -> "Dataset":
    import datasets

    if not isinstance(subset, datasets.Dataset):
        splits = f" with the splits {list(subset)}. Name one" if isinstance(subset, datasets.DatasetDict) else ""
        raise InputError(f"hub: expected a Dataset, found {type(subset).__name__}{splits}.")
    if not split.replace(".", "_").isidentifier():
        raise InputError(f"hub: expected the name of a split, of letters, digits, _ and ., found {split!r}.")
    tables.tag_column(subset)
    return subset


def _columns(rows: "Dataset") -> list[dict[str, str]]:
    return [
        {"name": name, "type": _type(feature), "meaning": MEANINGS.get(name, "as in the source")}
        for name, feature in rows.features.items()
    ]


def _type(feature: Any) -> str:
    inner = getattr(feature, "feature", None)
    if inner is not None and not isinstance(inner, dict):
        return f"list of {_type(inner)}"
    if isinstance(feature, dict) or isinstance(inner, dict):
        return "list of structs" if inner is not None else "struct"
    return str(getattr(feature, "dtype", type(feature).__name__))


def _taggers(rows: "Dataset", tagger: Tagger | None) -> list[dict[str, Any]]:
    found = []
    for name, count in tables.taggers_of(rows).items():
        digest = name.rpartition("#")[2] if _HASHED.search(name) else ""
        facts = None
        if digest:
            facts = tagger.facts if tagger is not None and tagger.hash == digest else store().get_tagger(digest)
            if facts is None:
                raise InputError(
                    f"hub: expected the settings of the tagger {name}, found none in $INSTAG_HOME of this machine. "
                    "Give tagger=, made as the one that tagged, or take over what the machine that tagged has kept: "
                    "instag replies merge replies.sqlite."
                )
        found.append({"name": name, "rows": count, "facts": facts})
    return found


def _selection(
    selection: Selection | Mapping[str, Any] | str | None, ds: "Dataset", pool: "Dataset | None"
) -> dict[str, Any] | None:
    """Say how rows were selected, in facts by name, with `pool_rows`; `None` if they were not."""
    rows = len(ds)
    if selection is None:
        there = rows if pool is None else len(tables.without_failed(pool))
        if there != rows:
            raise InputError(
                f"hub: expected to know how {rows:,} of {there:,} rows were selected, found nothing. Give selection=, "
                'such as "complexity-first".'
            )
        if ROUND in ds.column_names:  # the card would say that nothing was selected
            raise InputError(
                f'hub: expected to know how these rows were selected, found only the column "{ROUND}". Give pool= and '
                'selection=, such as "complexity-first"; or, if they are all the rows, remove the column.'
            )
        return None
    if isinstance(selection, Selection):
        if len(selection) != rows:
            raise InputError(f"hub: expected the {len(selection):,} rows of the selection, found {rows:,} rows.")
        facts = facts_of(selection)
    else:
        facts = {"method": selection} if isinstance(selection, str) else dict(selection)
    if pool is not None:
        facts["pool_rows"] = len(pool)
    if "pool_rows" not in facts:
        raise InputError("hub: expected to know of how many rows these were selected, found nothing. Give pool=.")
    return facts


def _normalizer_facts(normalizer: TagNormalizer | None) -> dict[str, Any] | None:
    if normalizer is None:
        return None
    return {"tags": len(normalizer.vocabulary), "funnel": funnel_of(normalizer), "settings": settings_of(normalizer)}


def funnel_of(normalizer: TagNormalizer) -> list[dict[str, Any]]:
    """Write what each step of normalizing left."""
    return [step._asdict() for step in normalizer.funnel]


def settings_of(normalizer: TagNormalizer) -> dict[str, Any]:
    """Write how a vocabulary was made."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(normalizer.settings)))
    return plain


def _charts(
    rows: "Dataset", both: Report, normalizer: TagNormalizer | None, read: Mapping[str, Any]
) -> tuple[dict[str, Content], list[dict[str, str]]]:
    """Draw the dataset beside its pool, and then alone: its rows are also among the pool's."""
    from instag_hf.charts import draw_pictures, png

    alone = report(rows, normalizer=normalizer, column=both.column, **read)
    pictures = [each for each in draw_pictures(both) if each.name in COMPARING] + draw_pictures(alone)
    told = [{"file": f"charts/{each.name}.png", "title": each.title, "alt": each.alt} for each in pictures]
    return {chart["file"]: png(each) for chart, each in zip(told, pictures, strict=True)}, told


def _example(rows: "Dataset") -> dict[str, Any]:
    row = {name: _shown(value) for name, value in next(stored(rows.select([0]))).items()}
    after = {name: value for name, value in row.items() if name in MEANINGS and name not in {ERROR, TAGGER}}
    return {"before": {name: value for name, value in row.items() if name not in MEANINGS}, "after": after}


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= SHOWN_CHARS else f"{value[:SHOWN_CHARS]} …"
    if isinstance(value, Mapping):
        return {str(key): _shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    return value if isinstance(value, int | float | bool) or value is None else f"<{type(value).__name__}>"


def saved(normalizer: TagNormalizer, folder: Path, prefix: str) -> dict[str, Content]:
    """Save a vocabulary, and return its files by their path in the repo."""
    normalizer.save_pretrained(folder)
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {f"{prefix}{path.relative_to(folder).as_posix()}": path.read_bytes() for path in found}
