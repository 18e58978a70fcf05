"""What was made goes to the Hub: tagged datasets, vocabularies, models, each with a card that states what is known.

This is the only room that writes to the Hub, and `committing` the only way there.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instag_hf.analysis import SHOWN
from instag_hf.cards import dataset_card, normalizer_card
from instag_hf.cards.filling import keys_of
from instag_hf.errors import InputError
from instag_hf.hub import tables
from instag_hf.hub.committing import CARD, Published, Repo, Snapshot, Wanted, check, publish
from instag_hf.hub.facts import FORMAT, Given, Made, funnel_of, make, saved, settings_of
from instag_hf.hub.models import Weights, read_weights
from instag_hf.hub.reading import FACTS, download, find_sources
from instag_hf.hub.sources import decide_license, read_sources
from instag_hf.hub.tables import check_files
from instag_hf.normalizer import TagNormalizer
from instag_hf.selection import Selection
from instag_hf.tagger import Tagger

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "FACTS",
    "FORMAT",
    "ROWS",
    "Given",
    "Published",
    "check_dataset",
    "check_files",
    "download",
    "find_sources",
    "publish_dataset",
    "publish_model",
    "publish_normalizer",
    "write_dataset",
]

ROWS = "subset.parquet"  # of a folder that `write_dataset` wrote


def publish_dataset(
    subset: "Dataset",
    repo_id: str,
    *,
    source: str | Sequence[str],
    pool: "Dataset | None" = None,
    normalizer: TagNormalizer | None = None,
    selection: Selection | Mapping[str, Any] | str | None = None,
    run: Mapping[str, Any] | None = None,
    license: str | None = None,
    tagger: Tagger | None = None,
    charts: bool = True,
    commands: Sequence[str] = (),
    split: str = "train",
    query: str | None = None,
    turns: str = "all",
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
        run: What else it takes to make them again, as `pipeline.run` knows it; for `instag.json`.
        license: An id of the Hub's list or another licence's name; by default that of the card that is there, else of
            the source.
        tagger: Who tagged, where `$INSTAG_HOME` of this machine does not know the hash in `instag_tagger`.
        charts: Whether to draw the report's pictures into the card.
        commands: The commands that made it, for the card.
        split: The name of the split.
        query: The column of queries; found by its name by default, as when tagging.
        turns: Which user turns were tagged: "all", "first" or "last".
        mixed: Whether rows may be of several taggers.
        private: Whether a new repo is private.
        dry_run: Whether to write nothing and only return the card and the list of files.
        token: The Hub's token; that of `hf auth login` or `HF_TOKEN` by default.

    Raises:
        InputError: A fact that the card states is not known, or the rows cannot be published, such as rows that name
            files of this machine.
        MissingError: Charts are wanted, and matplotlib is not installed.
        HubError: The Hub did not take it; what it had is as it was.
    """
    given = Given(
        pool=pool, normalizer=normalizer, selection=selection, run=run, tagger=tagger, charts=charts, commands=commands,
        split=split, query=query, turns=turns, mixed=mixed,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="instag-hub-") as scratch:
        made = make(subset, Path(scratch), given)
        data = tables.write_shards(made.rows, Path(scratch), "default", split)

        def write(found: Snapshot) -> Wanted:
            there = found.read(CARD)
            sources = read_sources(found.api, source)
            terms = decide_license(license, keys_of(there), sources, what=found.repo.id)
            whole = _whole(made, data, repo=found.repo.id, sources=sources, license=terms)
            others = {
                path: file.size
                for path, file in found.files.items()
                if path.startswith("data/") and path.endswith(".parquet") and not path.startswith(f"data/{split}-")
            }

            def describe(keys: Any) -> None:
                tables.describe(keys, "default", split, made.rows.features, data, sum(others.values()))
                tables.describe(keys, tables.VOCABULARY, "train", made.words.features, made.tags)

            card = dataset_card(whole, name=_name(found.repo), existing=there, describe=describe)
            files = {**data, **made.tags, **made.extra, FACTS: _json(whole), CARD: card.encode()}
            ours = _earlier(found)
            return Wanted(files, lambda path: path in ours or path.startswith(f"data/{split}-"))

        return publish(Repo("dataset", repo_id), write, private=private, token=token, dry_run=dry_run)


def write_dataset(
    subset: "Dataset",
    folder: Path,
    *,
    source: str | Sequence[str],
    given: Given,
    license: str | None = None,
    token: str | None = None,
) -> dict[str, Any]:
    """Write what `publish_dataset` publishes into a folder, with the rows as `subset.parquet`.

    The Hub is asked about sources that are there, and nothing else. Where nobody states a licence, the card says so.

    Returns:
        What `instag.json` holds.

    Raises:
        InputError: A fact that the card states is not known, or the rows cannot be published.
        HubError: A source is on the Hub, and it cannot be asked.
    """
    made = make(subset, folder, given)
    data = {ROWS: folder / ROWS}
    tables.to_parquet(made.rows, data[ROWS])
    sources = find_sources(source, token=token)
    try:
        terms = decide_license(license, {}, sources, what=folder.name)
    except InputError:
        terms = {"license": "unknown", "license_name": None, "license_link": None, "from": "nobody"}
    whole = _whole(made, data, repo=folder.name, sources=sources, license=terms)

    def describe(keys: Any) -> None:
        tables.describe(keys, "default", given.split, made.rows.features, data, pattern=ROWS)
        tables.describe(keys, tables.VOCABULARY, "train", made.words.features, made.tags)

    card = dataset_card(whole, name=folder.name, describe=describe)
    for path, content in {**made.extra, FACTS: _json(whole), CARD: card.encode()}.items():
        if isinstance(content, bytes):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    return whole


def check_dataset(
    repo_id: str,
    *,
    source: str | Sequence[str],
    license: str | None = None,
    private: bool = False,
    token: str | None = None,
) -> None:
    """Refuse what `publish_dataset` would refuse, before any work is spent on the rows.

    Raises:
        InputError: The licence is not known, the source is not found, or a public repo should be private.
        AccessError: The token is none, wrong, or may not write.
        HubError: The Hub cannot be asked.
    """

    def write(found: Snapshot) -> None:
        decide_license(license, keys_of(found.read(CARD)), read_sources(found.api, source), what=found.repo.id)

    check(Repo("dataset", repo_id), write, private=private, token=token)


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
    normalizer = normalizer.shared()
    with tempfile.TemporaryDirectory(prefix="instag-hub-") as scratch:
        files = saved(normalizer, Path(scratch), "")
        facts = {
            "vocabulary": dict(normalizer.vocabulary),
            "top": list(normalizer.vocabulary.items())[:SHOWN],
            "funnel": funnel_of(normalizer),
            "settings": settings_of(normalizer),
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
    """Publish a tagger, so that `Tagger(model=repo_id)` loads it, or a chat model, for transformers or peft.

    Weights of the repo that would be loaded in place of the new ones, such as an adapter beside a merged model, are
    removed; other files stay.

    Args:
        model: A folder that `train_tagger` or `train_lm` wrote, or a tagger's GGUF file with its `training.json` beside
            it. The card of a chat model shows what `instag mt-bench --json` printed into `scores.json` of its folder,
            and for the control into `random/scores.json`.
        repo_id: `owner/name`; a name alone is yours.
        license: An id of the Hub's list or another licence's name; by default that of the card that is there. The
            tagger that ships with the package has its own notice.
        private: Whether a new repo is private.
        dry_run: Whether to write nothing.
        token: The Hub's token; that of `hf auth login` or `HF_TOKEN` by default.

    Raises:
        InputError: There is no model, no record of its training, or no licence.
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
    return Wanted({**weights.files, CARD: card.encode()}, weights.replaces)


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


def _whole(made: Made, data: Mapping[str, Path], **more: Any) -> dict[str, Any]:
    return {**made.facts, **more, "files": sorted([*data, *made.tags, *made.extra])}


def _name(repo: Repo) -> str:
    return repo.id.rpartition("/")[2]


def _json(facts: Mapping[str, Any]) -> bytes:
    return (json.dumps(facts, ensure_ascii=False, indent=1) + "\n").encode()
