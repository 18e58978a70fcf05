"""Where rows come from, and under which licence: inherited from the source or told by the publisher, never guessed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instag_hf.cards.filling import LICENSES, listed
from instag_hf.errors import InputError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_KEYS = ("license", "license_name", "license_link")


def read_sources(api: "HfApi", source: str | Sequence[str]) -> list[dict[str, Any]]:
    """Describe the datasets that rows are from.

    Args:
        api: The Hub's client.
        source: `owner/name@revision` on the Hub, or the name of a local file; one or several.

    Returns:
        For each `id`, `revision` (the commit), `named` (whether the revision was given, or is the newest) and what its
        card says: `license`, `license_name`, `license_link`, `language`. Of a local file only `id` is known.

    Raises:
        InputError: A source is neither a file nor a dataset on the Hub.
    """
    names = [source] if isinstance(source, str) else list(source)
    if not names or not all(names):
        raise InputError(
            "hub: expected the dataset that the rows are from, found none. Give source=, such as owner/name."
        )
    return [_local(Path(name)) if Path(name).exists() else _on_hub(api, name) for name in names]


def decide_license(
    given: str | None, there: Mapping[str, Any], sources: Sequence[Mapping[str, Any]], *, what: str
) -> dict[str, Any]:
    """Decide a licence: the one given, else the one the card has, else that of the sources.

    Args:
        given: An id of the Hub's list, or the name of another licence.
        there: The keys of the card that is on the Hub.
        sources: As `read_sources` returns them.
        what: What needs the licence, for the message.

    Returns:
        `license`, as YAML has it; `license_name` and `license_link` where it is of no list; `from`, who says so:
        "source" or "publisher".

    Raises:
        InputError: Nobody says.
    """
    if given is not None:
        known = given.lower()
        if known in LICENSES:
            return {"license": known, "license_name": None, "license_link": None, "from": "publisher"}
        return {"license": "other", "license_name": given, "license_link": None, "from": "publisher"}
    if there.get("license"):
        of_card = {key: there.get(key) for key in _KEYS}
        inherited = bool(sources) and all(source.get("license") for source in sources)
        same = inherited and _of_sources(sources) == of_card
        return {**of_card, "from": "source" if same else "publisher"}
    unknown = [source["id"] for source in sources if not source.get("license")]
    if unknown or not sources:
        whose = f", and {', '.join(unknown)} states none" if unknown else ""
        raise InputError(f"hub: expected the licence of {what}, found none{whose}. Give license= (--license).")
    found = _of_sources(sources)
    if "other" in listed(found["license"]) and not found["license_name"] and len(sources) > 1:
        told = ", ".join(f"{source['id']} ({source.get('license_name') or source['license']})" for source in sources)
        raise InputError(
            f"hub: expected one licence of {what}, found several, some with terms of their own: {told}. "
            "Give license= (--license)."
        )
    return {**found, "from": "source"}


def _of_sources(sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = {key: sources[0].get(key) for key in _KEYS}
    if all({key: source.get(key) for key in _KEYS} == first for source in sources):
        return first
    several = list(dict.fromkeys(license for source in sources for license in listed(source["license"])))
    return {"license": several, "license_name": None, "license_link": None}


def _local(path: Path) -> dict[str, Any]:
    # The folders of a machine tell others nothing.
    return {"id": path.name, "revision": None, "named": False, **dict.fromkeys((*_KEYS, "language"))}


def _on_hub(api: "HfApi", name: str) -> dict[str, Any]:
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    repo_id, _, revision = name.partition("@")
    try:
        info = api.dataset_info(repo_id, revision=revision or None)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        raise InputError(
            f"hub: expected the source {name!r} to be a local file, or a dataset on the Hub that the token may see, "
            "found none. Check the name and the revision."
        ) from None
    card = vars(info.card_data) if info.card_data else {}
    said = {key: card.get(key) for key in (*_KEYS, "language")}
    return {"id": repo_id, "revision": info.sha, "named": bool(revision), **said}
