"""Rows on their way: a private dataset that keeps them as they are, failed ones too, between one machine and the next.

What is for others to read is published by `publish_dataset`, with a card that states what is known.
"""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from instag_hf.cards.filling import fill_card
from instag_hf.errors import InputError
from instag_hf.hub import tables
from instag_hf.hub.committing import CARD, Content, Published, Repo, Snapshot, Wanted, check, publish
from instag_hf.replies import store
from instag_hf.tagger import hash_facts

if TYPE_CHECKING:
    from datasets import Dataset

TAGGERS = "taggers"
_BODY = """Rows on their way through `instag_hf`, as they are: nothing was left out, and failed rows are among them.
Splits named `shard_…` are parts of one dataset, which `instag merge` puts together; the others are whole.
For others to read, publish them with `instag publish-dataset`."""


def keep_rows(ds: "Dataset", repo_id: str, *, split: str = "train", token: str | None = None) -> Published:
    """Keep rows as a split of a private dataset on the Hub; its other splits stay.

    The settings of their taggers go with them, so that the next machine can state them on a card.

    Args:
        ds: Rows, tagged or not.
        repo_id: `owner/name`; a name alone is yours. A repo that is public is refused.
        split: The name of the split; one that is there is replaced.
        token: The Hub's token; that of `hf auth login` or `HF_TOKEN` by default.

    Raises:
        InputError: The repo is public, its other splits have other columns, or rows name files of this machine.
        HubError: The Hub did not take it; what it had is as it was.
    """
    with tempfile.TemporaryDirectory(prefix="instag-hub-") as scratch:
        data = tables.write_shards(ds, Path(scratch), "default", split)
        taggers = _settings(ds)

        def write(found: Snapshot) -> Wanted:
            others = sum(
                file.size
                for path, file in found.files.items()
                if path.startswith("data/") and not path.startswith(f"data/{split}-")
            )
            card = fill_card(
                "dataset",
                found.read(CARD),
                {"tags": ["instag_hf"]},
                _BODY,
                heading=found.repo.id.rpartition("/")[2],
                finish=lambda keys: tables.describe(keys, "default", split, ds.features, data, others),
            )
            return Wanted({**data, **taggers, CARD: card.encode()}, lambda path: path.startswith(f"data/{split}-"))

        return publish(Repo("dataset", repo_id), write, private=True, token=token)


def check_keeping(repo_id: str, *, token: str | None = None) -> None:
    """Refuse a place where `keep_rows` could not keep rows, before anything is spent on them.

    Raises:
        InputError: It is no repo's name, or the repo is public.
        HubError: The token is none, or may not write, or the Hub cannot be asked.
    """
    check(Repo("dataset", repo_id), lambda found: None, private=True, token=token)


def learn_taggers(repo_id: str, *, revision: str | None = None) -> None:
    """Take the settings of taggers that a dataset on the Hub keeps into the store of this machine.

    Raises:
        InputError: The settings are not those that their name is the hash of.
    """
    import huggingface_hub

    files = huggingface_hub.HfFileSystem(skip_instance_cache=True)
    at = f"@{revision}" if revision else ""
    for path in files.glob(f"datasets/{repo_id}{at}/{TAGGERS}/*.json"):
        digest = Path(str(path)).stem
        try:
            facts = json.loads(files.read_text(path))
        except ValueError:
            facts = None
        if not isinstance(facts, dict) or hash_facts(facts) != digest:
            raise InputError(
                f"hub: expected the settings of the tagger #{digest} in {path}, found others. "
                "Delete the file, or push the rows again."
            )
        store().put_tagger(digest, facts)


def _settings(ds: "Dataset") -> dict[str, Content]:
    digests = {name.rpartition("#")[2] for name in tables.taggers_of(ds) if "#" in name}
    known = {digest: store().get_tagger(digest) for digest in sorted(digests)}
    return {
        f"{TAGGERS}/{digest}.json": (json.dumps(facts, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()
        for digest, facts in known.items()
        if facts is not None
    }
