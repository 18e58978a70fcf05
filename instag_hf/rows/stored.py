"""A dataset in, its rows as they are stored out: no file or address that a stranger's row names is opened."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset, Features

BATCH = 1_000


def stored(ds: "Dataset") -> Iterator[dict[str, Any]]:
    """Give rows as `datasets` does, but images, sounds and the like as what is stored of them, bytes and a path.

    `datasets` would open the file, or fetch the address, and needs packages for it that no query needs.
    """
    features = undecoded(ds.features)
    for table in ds.with_format("arrow").iter(BATCH):
        yield from map(features.decode_example, table.to_pylist())


def undecoded(features: "Features") -> "Features":
    """Return features by which images, sounds and the like are not decoded, wherever in a column they are."""
    found = features.copy()
    _leave(found)
    return found


def _leave(feature: Any) -> None:
    if hasattr(feature, "embed_storage"):  # what stands for a file
        feature.decode = False
    inner = feature.values() if isinstance(feature, dict) else feature if isinstance(feature, list) else ()
    for each in inner or [getattr(feature, "feature", None)]:
        if each is not None:
            _leave(each)
