"""Rows as CSV, whose cells are texts: lists go into them as JSON, and ours come out as lists again."""

import csv
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from instag_hf.rows import NORMALIZED
from instag_hf.rows.stored import stored
from instag_hf.tagger import features

if TYPE_CHECKING:
    from datasets import Dataset


def write_csv(dataset: "Dataset", file: TextIO) -> None:
    """Write rows as CSV; a list or a struct is JSON in its cell, and nothing is an empty cell."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(dataset.column_names)
    writer.writerows(map(_cell, row.values()) for row in stored(dataset))


def _cell(value: Any) -> Any:
    nested = isinstance(value, list | tuple | Mapping)
    return json.dumps(value, ensure_ascii=False, default=str) if nested else value


def _is_text(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in {"string", "large_string"}


def with_lists(dataset: "Dataset") -> "Dataset":
    """Read our columns of lists out of the JSON that `write_csv` wrote; texts of another form stay as they are."""
    import datasets

    texts = datasets.List(datasets.Value("string"))
    kinds = {name: kind for name, kind in {**features(), NORMALIZED: texts}.items() if isinstance(kind, datasets.List)}
    told = {name: kind for name, kind in kinds.items() if _is_text(dataset.features.get(name))}

    if not told:
        return dataset

    def read(rows: Mapping[str, list[str | None]]) -> dict[str, list[Any]]:
        return {name: [None if text is None else json.loads(text) for text in rows[name]] for name in told}

    try:
        return dataset.map(read, batched=True, features=datasets.Features({**dataset.features, **told}))
    except (ValueError, TypeError, RecursionError):  # pyarrow's are ValueErrors too
        return dataset
