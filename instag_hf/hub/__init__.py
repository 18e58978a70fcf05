"""What was made goes to the Hub: tagged datasets, vocabularies, taggers, each with a card that states what is known.

This is the only room that writes to the Hub, and `committing` the only way there.
"""

import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instag_hf import __version__
from instag_hf.analysis import SHOWN, Report, report
from instag_hf.cards import dataset_card, normalizer_card
from instag_hf.cards.filling import keys_of
from instag_hf.errors import InputError
from instag_hf.hub import tables
from instag_hf.hub.committing import CARD, Content, Published, Repo, Snapshot, Wanted, publish
from instag_hf.hub.models import Weights, read_weights
from instag_hf.hub.sources import decide_license, read_sources
from instag_hf.normalizer import TagNormalizer
from instag_hf.replies import store
from instag_hf.rows import ERROR, EXPLANATIONS, NORMALIZED, TAGGER, TAGS, TURNS
from instag_hf.selection import Selection
from instag_hf.tagger import Tagger

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["FACTS", "Published", "publish_dataset", "publish_model", "publish_normalizer"]

FACTS = "instag.json"
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
    "instag_round": "the round of the selection that took the row",
    "instag_gain": "tags that the row brought to its round",
}


def publish_dataset(
    subset: "Dataset",
    repo_id: str,
    *,
    source: str | Sequence[str],
    pool: "Dataset | None" = None,
    normalizer: TagNormalizer | None = None,
    selection: Selection | Mapping[str, Any] | str | None = None,
    license: str | None = None,
    tagger: Tagger | None = None,
    charts: bool = True,
    commands: Sequence[str] = (),
    split: str = "train",
    mixed: bool = False,
    private: bool = False,
    dry_run: bool = False,
    token: str | None = None,
) -> Published:
    """Publish a tagged dataset: its rows as Parquet, its vocabulary, `instag.json` with all facts, and a card.

    One commit holds everything. Rows that failed are left out, and the card counts them. A card that is there keeps its
    own text and keys, and the same dataset published twice is uploaded once. Other splits of the repo stay; our part of
    the card, `instag.json` and the vocabulary are those of the split that was published last.

    Args:
        subset: Tagged rows.
        repo_id: `owner/name`; a name alone is yours.
        source: What the rows are from: `owner/name@revision` on the Hub, or a local file; one or several.
        pool: The tagged rows that `subset` was selected from; the card shows both side by side.
        normalizer: Whose vocabulary it is.
        selection: How the rows were selected: what `choose` returned, a method's name, or facts by name.
        license: An id of the Hub's list or another licence's name; by default that of the card that is there, else of
            the source.
        tagger: Who tagged, where `$INSTAG_HOME` of this machine does not know the hash in `instag_tagger`.
        charts: Whether to draw the report's pictures into the card.
        commands: The commands that made it, for the card.
        split: The name of the split.
        mixed: Whether rows may be of several taggers.
        private: Whether a new repo is private.
        dry_run: Whether to write nothing and only return the card and the list of files.
        token: The Hub's token; that of `hf auth login` or `HF_TOKEN` by default.

    Raises:
        InputError: A fact that the card states is not known, or the rows cannot be published.
        MissingError: Charts are wanted, and matplotlib is not installed.
        HubError: The Hub did not take it; what it had is as it was.
    """
    rows = tables.without_failed(_checked(subset, split))
    if not len(rows):
        raise InputError(f"hub: expected rows with tags, found {len(subset):,} rows that all failed.")
    with tempfile.TemporaryDirectory(prefix="instag-hub-") as scratch:
        folder = Path(scratch)
        found = _report(rows, pool, normalizer, mixed=mixed)
        facts = {
            "format": FORMAT,
            "package": f"instag_hf {__version__}",
            "split": split,
            "rows": len(rows),
            "columns": _columns(rows),
            "report": {name: fact for name, fact in found.to_dict().items() if name != "total"},  # counts rows twice
            "failures": tables.failures(subset),
            "taggers": _taggers(rows, tagger),
            "selection": _selection(selection, len(rows), pool),
            "normalizer": _normalizer_facts(normalizer),
            "example": _example(rows),
            "commands": list(commands),
        }
        words = tables.vocabulary(rows, normalizer)
        facts["vocabulary"] = {"rows": len(words), "fitted": normalizer is not None}
        data = tables.write_shards(rows, folder, "default", split)
        tags = tables.write_shards(words, folder, tables.VOCABULARY, "train")
        extra, facts["charts"] = _charts(rows, found, normalizer, mixed=mixed) if charts else ({}, [])
        extra |= _saved(normalizer, folder / "normalizer", "normalizer/") if normalizer is not None else {}

        def write(found: Snapshot) -> Wanted:
            there = found.read(CARD)
            sources = read_sources(found.api, source)
            terms = decide_license(license, keys_of(there), sources, what=found.repo.id)
            whole = {**facts, "repo": found.repo.id, "sources": sources, "license": terms}
            whole["files"] = sorted([*data, *tags, *extra])
            others = {
                path: file.size
                for path, file in found.files.items()
                if path.startswith("data/") and path.endswith(".parquet") and not path.startswith(f"data/{split}-")
            }

            def describe(keys: Any) -> None:
                tables.describe(keys, "default", split, rows.features, data, sum(others.values()))
                tables.describe(keys, tables.VOCABULARY, "train", words.features, tags)

            card = dataset_card(whole, name=_name(found.repo), existing=there, describe=describe)
            files = {**data, **tags, **extra, FACTS: _json(whole), CARD: card.encode()}
            ours = _earlier(found)
            return Wanted(files, lambda path: path in ours or path.startswith(f"data/{split}-"))

        return publish(Repo("dataset", repo_id), write, private=private, token=token, dry_run=dry_run)


def publish_normalizer(
    normalizer: TagNormalizer,
    repo_id: str,
    *,
    license: str | None = None,
    private: bool = False,
    dry_run: bool = False,
    token: str | None = None,
) -> Published:
    """Publish a vocabulary as a model repo, from which `TagNormalizer.from_pretrained` reads it.

    Args:
        normalizer: The vocabulary.
        repo_id: `owner/name`; a name alone is yours.
        license: An id of the Hub's list or another licence's name; by default that of the card that is there.
        private: Whether a new repo is private.
        dry_run: Whether to write nothing.
        token: The Hub's token; that of `hf auth login` or `HF_TOKEN` by default.

    Raises:
        InputError: The licence is not known.
        HubError: The Hub did not take it; what it had is as it was.
    """
    with tempfile.TemporaryDirectory(prefix="instag-hub-") as scratch:
        files = _saved(normalizer, Path(scratch), "")
        facts = {
            "vocabulary": dict(normalizer.vocabulary),
            "top": list(normalizer.vocabulary.items())[:SHOWN],
            "funnel": _funnel(normalizer),
            "settings": _settings(normalizer),
        }

        def write(found: Snapshot) -> Wanted:
            there = found.read(CARD)
            terms = decide_license(license, keys_of(there), [], what=found.repo.id)
            whole = {**facts, "repo": found.repo.id, "license": terms}
            card = normalizer_card(whole, name=_name(found.repo), existing=there)
            return Wanted({**files, CARD: card.encode()})

        return publish(Repo("model", repo_id), write, private=private, token=token, dry_run=dry_run)


def publish_model(
    model: str | Path,
    repo_id: str,
    *,
    license: str | None = None,
    private: bool = False,
    dry_run: bool = False,
    token: str | None = None,
) -> Published:
    """Publish a tagger, so that `Tagger(model=repo_id)` loads it.

    Args:
        model: A folder that `train_tagger` wrote, or a GGUF file with its `training.json` beside it.
        repo_id: `owner/name`; a name alone is yours.
        license: An id of the Hub's list or another licence's name; by default that of the card that is there. The
            tagger that ships with the package has its own notice.
        private: Whether a new repo is private.
        dry_run: Whether to write nothing.
        token: The Hub's token; that of `hf auth login` or `HF_TOKEN` by default.

    Raises:
        InputError: There is no tagger, no record of its training, or no licence.
        HubError: The Hub did not take it; what it had is as it was.
    """
    weights = read_weights(Path(model))

    def write(found: Snapshot) -> Wanted:
        return _model_files(weights, found, license)

    return publish(Repo("model", repo_id), write, private=private, token=token, dry_run=dry_run)


def _model_files(weights: Weights, found: Snapshot, license: str | None) -> Wanted:
    there = found.read(CARD)
    given = weights.license if license is None else license
    terms = decide_license(given, keys_of(there), [], what=found.repo.id)
    card = weights.card(found.repo.id, _name(found.repo), there, terms)
    return Wanted({**weights.files, CARD: card.encode()})


def _checked(subset: "Dataset", split: str) -> "Dataset":
    import datasets

    if not isinstance(subset, datasets.Dataset):
        splits = f" with the splits {list(subset)}. Name one" if isinstance(subset, datasets.DatasetDict) else ""
        raise InputError(f"hub: expected a Dataset, found {type(subset).__name__}{splits}.")
    if not split.replace(".", "_").isidentifier():
        raise InputError(f"hub: expected the name of a split, of letters, digits, _ and ., found {split!r}.")
    tables.tag_column(subset)
    return subset


def _report(rows: "Dataset", pool: "Dataset | None", normalizer: TagNormalizer | None, *, mixed: bool) -> Report:
    data = {MINE: rows} if pool is None else {MINE: rows, POOL: pool}
    return report(data, normalizer=normalizer, column=tables.tag_column(rows), mixed=mixed)


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
        _, hashed, digest = name.rpartition("#")
        facts = None
        if hashed:
            facts = tagger.facts if tagger is not None and tagger.hash == digest else store().get_tagger(digest)
            if facts is None:
                raise InputError(
                    f"hub: expected the settings of the tagger {name}, found none in $INSTAG_HOME of this machine. "
                    "Give tagger=, made as the one that tagged."
                )
        found.append({"name": name, "rows": count, "facts": facts})
    return found


def _selection(
    selection: Selection | Mapping[str, Any] | str | None, rows: int, pool: "Dataset | None"
) -> dict[str, Any] | None:
    """Say how rows were selected, in facts by name, with `pool_rows`; `None` if they were not."""
    if selection is None:
        there = rows if pool is None else len(tables.without_failed(pool))
        if there != rows:
            raise InputError(
                f"hub: expected to know how {rows:,} of {there:,} rows were selected, found nothing. Give selection=, "
                'such as "complexity-first".'
            )
        return None
    if isinstance(selection, Selection):
        facts = _facts_of(selection, rows)
    else:
        facts = {"method": selection} if isinstance(selection, str) else dict(selection)
    if pool is not None:
        facts["pool_rows"] = len(pool)
    if "pool_rows" not in facts:
        raise InputError("hub: expected to know of how many rows these were selected, found nothing. Give pool=.")
    return facts


def _facts_of(selection: Selection, rows: int) -> dict[str, Any]:
    if len(selection) != rows:
        raise InputError(f"hub: expected the {len(selection):,} rows of the selection, found {rows:,} rows.")
    settings: dict[str, Any] = (
        dataclasses.asdict(selection.method) if dataclasses.is_dataclass(selection.method) else {}
    )
    told = {"asked for": selection.asked, **{f"not eligible, {why}": n for why, n in sorted(selection.skipped.items())}}
    return {"method": selection.method.name, **settings, **told, "pool_rows": selection.pool_rows}


def _normalizer_facts(normalizer: TagNormalizer | None) -> dict[str, Any] | None:
    if normalizer is None:
        return None
    return {"tags": len(normalizer.vocabulary), "funnel": _funnel(normalizer), "settings": _settings(normalizer)}


def _funnel(normalizer: TagNormalizer) -> list[dict[str, Any]]:
    return [step._asdict() for step in normalizer.funnel]


def _settings(normalizer: TagNormalizer) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(normalizer.settings)))
    return plain


def _saved(normalizer: TagNormalizer, folder: Path, prefix: str) -> dict[str, Content]:
    normalizer.save_pretrained(folder)
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {f"{prefix}{path.relative_to(folder).as_posix()}": path.read_bytes() for path in found}


def _charts(
    rows: "Dataset", both: Report, normalizer: TagNormalizer | None, *, mixed: bool
) -> tuple[dict[str, Content], list[dict[str, str]]]:
    """Draw the dataset beside its pool, and then alone: its rows are also among the pool's."""
    from instag_hf.charts import draw_pictures, png

    alone = report(rows, normalizer=normalizer, column=both.column, mixed=mixed)
    pictures = [each for each in draw_pictures(both) if each.name in COMPARING] + draw_pictures(alone)
    told = [{"file": f"charts/{each.name}.png", "title": each.title, "alt": each.alt} for each in pictures]
    return {chart["file"]: png(each) for chart, each in zip(told, pictures, strict=True)}, told


def _example(rows: "Dataset") -> dict[str, Any]:
    row = {name: _shown(value) for name, value in rows.with_format(None)[0].items()}
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


def _earlier(found: Snapshot) -> set[str]:
    """Take the files that an earlier publication said were its own."""
    try:
        listed = json.loads(found.read(FACTS) or "{}").get("files", [])
    except (ValueError, AttributeError):
        return set()
    if not isinstance(listed, list):
        return set()
    # What lies in data/ may be of another split.
    return {path for path in listed if isinstance(path, str) and not path.startswith("data/")}


def _name(repo: Repo) -> str:
    return repo.id.rpartition("/")[2]


def _json(facts: Mapping[str, Any]) -> bytes:
    return (json.dumps(facts, ensure_ascii=False, indent=1, default=str) + "\n").encode()
