"""Tags that others wrote, as our columns: public pools that were tagged already, or a column of people's tags."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from instag_hf.errors import InputError, RowError
from instag_hf.rows import ADDED, ERROR, NORMALIZED, TAGGER, TAGS, clean

if TYPE_CHECKING:
    import datasets

MIG = "annotation.instag.content"  # where the pools of MIG (arXiv 2504.13835) have the tags of InsTagger


def adopt_tags(
    ds: "datasets.Dataset", column: str = MIG, *, tagger: str, overwrite: bool = False
) -> "datasets.Dataset":
    """Give a dataset `instag_tags`, `instag_error` and `instag_tagger` from tags that it has.

    A row without tags is a failed row, with the reason in `instag_error`; it does not vanish. Which query of a
    conversation has which tag is not told by a plain list, so there is no `instag_turns`. What old tags left beside
    these three columns would be read as of the new ones, so it goes, all but the column that is read.

    Args:
        ds: Rows that have tags.
        column: Where they are: a column, or a dotted path into one, of structs or of JSON text. A tag is a text, or a
            struct that has it under "tag".
        tagger: Who wrote the tags, for `instag_tagger`, such as "OFA-Sys/InsTagger".
        overwrite: Whether the dataset may have columns of ours already, which are replaced or removed.

    Raises:
        InputError: There is no such column, or another of ours is there and `overwrite` is off.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_list([{"q": "Hi", "annotation": {"instag": {"content": ["greeting", "greeting"]}}}])
        >>> adopt_tags(rows, tagger="OFA-Sys/InsTagger")["instag_tags"][0]
        ['greeting']
    """
    import datasets

    head, *path = column.split(".") if column not in ds.column_names else [column]
    if head not in ds.column_names:
        raise InputError(f'tags: expected a column "{head}" for {column!r}, found columns {ds.column_names}.')
    made = (TAGS, ERROR, TAGGER)
    taken = [name for name in (*ADDED, NORMALIZED) if name in ds.column_names and (name != head or name in made)]
    if taken and not overwrite:
        raise InputError(
            f"tags: the dataset already has the columns {taken}. "
            "Remove them with ds.remove_columns, or allow it with overwrite=True."
        )
    ds = ds.remove_columns([name for name in taken if name not in made])
    added = {TAGS: datasets.List(datasets.Value("string")), ERROR: datasets.Value("string")}
    features = datasets.Features({**ds.features, **added, TAGGER: datasets.Value("string")})

    def adopt(batch: Mapping[str, Any]) -> dict[str, Any]:
        found = [_adopted(value, path, column) for value in batch[head]]
        tags, errors = zip(*found, strict=True) if found else ((), ())
        return {TAGS: list(tags), ERROR: list(errors), TAGGER: [tagger] * len(found)}

    return ds.map(adopt, batched=True, features=features)


def _adopted(value: Any, path: list[str], column: str) -> tuple[list[str], str]:
    try:
        return _tags(_walk(value, path), column), ""
    except RowError as error:
        return [], f"{error.kind}: {error}"


def _walk(value: Any, path: list[str]) -> Any:
    if isinstance(value, str) and path:
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _tags(value: Any, column: str) -> list[str]:
    if value is None or (isinstance(value, list) and not value):
        raise RowError(f'no tags in "{column}"')
    if not isinstance(value, list):
        raise RowError(f'"{column}": expected a list of tags, found {type(value).__name__}')
    found = [item.get("tag") if isinstance(item, Mapping) else item for item in value]
    texts = [text for text in found if isinstance(text, str)]
    if len(texts) < len(found):
        raise RowError(f'"{column}": expected tags of text, found something else')
    tags = list(dict.fromkeys(filter(None, (clean(text).strip() for text in texts))))
    if not tags:
        raise RowError(f'no tags in "{column}"')
    return tags
