"""Our part of a card, between what others wrote: their text and keys stay, and the Hub's library writes the YAML."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instag_hf.errors import InputError

if TYPE_CHECKING:
    from huggingface_hub.repocard_data import CardData

BEGIN, END = "<!-- instag_hf: begin -->", "<!-- instag_hf: end -->"

# The ids of licences that the Hub takes; any other licence is "other" with a name.
LICENSES = frozenset((Path(__file__).parents[1] / "data" / "licenses.txt").read_text(encoding="utf-8").split())
_BOUNDS = {"1K": 1_000, "10K": 10_000, "100K": 100_000, "1M": 1_000_000, "10M": 10_000_000, "100M": 100_000_000}
_BOUNDS |= {"1B": 10**9, "10B": 10**10, "100B": 10**11, "1T": 10**12}
SIZES = frozenset(
    ["n<1K", *(f"{low}<n<{high}" for low, high in zip(list(_BOUNDS), list(_BOUNDS)[1:], strict=False)), "n>1T", "other"]
)
_UNITED = ("annotations_creators", "datasets", "source_datasets", "tags")  # lists in which both cards' values stand
_OURS = ("dataset_info", "configs", "license", "license_link", "license_name", "model-index", "size_categories")


def fill_card(
    kind: str,
    existing: str,
    keys: Mapping[str, Any],
    body: str,
    *,
    heading: str,
    finish: Callable[[Any], None] | None = None,
) -> str:
    """Put our part into a card, between two comments, and our keys among its own.

    Args:
        kind: "dataset" or "model".
        existing: The card that is there, or nothing.
        keys: Ours. Of lists such as `tags` both have their say; the licence and what describes files and scores is
            ours; any other key that is there stays as it is.
        body: Our part.
        heading: A new card's, in Markdown; "" where `body` has one.
        finish: Told the keys as the Hub's library holds them, may change them.

    Raises:
        InputError: The YAML that is there cannot be read.
    """
    import huggingface_hub
    import yaml

    card_of, data_of = (
        (huggingface_hub.DatasetCard, huggingface_hub.DatasetCardData)
        if kind == "dataset"
        else (huggingface_hub.ModelCard, huggingface_hub.ModelCardData)
    )
    try:
        before = card_of(existing) if existing.strip() else None
        merged = _merged(keys_of(existing) if before else {}, keys)
        data: CardData = data_of(**merged)
        if finish is not None:
            finish(data)
    except (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            "card: expected a card with YAML that can be read, found one that cannot: "
            f"{' '.join(str(error).split())[:200]}. Mend README.md on the Hub."
        ) from error
    text = before.text if before else f"\n# {heading}\n" if heading else ""
    head, begun, rest = text.partition(BEGIN)
    _, ended, tail = rest.rpartition(END)  # the last one: the first may stand in a row that the card shows
    if not (begun and ended):
        head, tail = f"{text.rstrip()}\n\n" if text.strip() else "\n", "\n"
    return f"---\n{data.to_yaml()}\n---\n{head}{BEGIN}\n{body.strip()}\n{END}{tail}"


def keys_of(card: str) -> dict[str, Any]:
    """Read a card's YAML keys; none where there is no card, or none that can be read."""
    import huggingface_hub
    import yaml

    try:
        data = huggingface_hub.RepoCard(card, ignore_metadata_errors=True).data if card.strip() else None
    except (ValueError, TypeError, yaml.YAMLError):
        return {}
    return dict(data.to_dict()) if data else {}  # type: ignore[no-untyped-call]


def size_category(rows: int) -> str:
    """Name a number of rows as the Hub does.

    Example:
        >>> size_category(999), size_category(1000), size_category(6000)
        ('n<1K', '1K<n<10K', '1K<n<10K')
    """
    names = list(_BOUNDS)
    above = [name for name in names if rows >= _BOUNDS[name]]
    if not above:
        return "n<1K"
    return "n>1T" if len(above) == len(names) else f"{above[-1]}<n<{names[len(above)]}"


def _merged(there: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(there)
    for key, value in ours.items():
        if key in _UNITED:
            value = list(dict.fromkeys([*listed(there.get(key)), *value]))
        if value in (None, []):
            if key in _OURS:
                merged.pop(key, None)
        elif key in _OURS or key in _UNITED or merged.get(key) is None:
            merged[key] = value
    return merged


def listed(value: Any) -> list[Any]:
    """Return a value that may be one, several or nothing as a list."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
