"""Rows in, what the page's table of tags shows out: counts, neighbours, and queries as examples.

Everything is bounded, so that the page of a million rows opens as fast as that of a thousand; what is left out is
counted. Counts are of all rows, whatever the page shows of them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from instag_hf.analysis import Report
from instag_hf.analysis.counting import count_pairs
from instag_hf.analysis.reading import UNKNOWN, Asked, Rows, read_rows, texts_of
from instag_hf.errors import InputError
from instag_hf.rows.columns import TagColumn

if TYPE_CHECKING:
    from instag_hf.rows.columns import Tagged

MOST_TAGS = 30_000
MOST_NAME_BYTES = 1_200_000
MOST_PARTED = 200_000  # pairs of a tag and a part that has it
MOST_EXAMPLES = 40_000
NEIGHBOURS = 8  # of each tag
EXAMPLES = 5  # that each tag is given; it has those too that other tags were given
NAME = 100  # characters of a tag or a part
QUERY = 360  # characters of a row's queries together
TURNS = 3  # queries of a row

TRIES = 50  # rows to look at for one that is not taken
ENTRY = 40  # bytes of an example beside its texts and tags, at most

NO_PART = -1
NOT_LISTED = -1


class Explorer(NamedTuple):
    """What the page's script shows, as plain values, and what of the data that is.

    Attributes:
        values: For JSON; see `explore`.
        tags: Tags that are listed: the most frequent.
        with_example: Tags of these that have an example.
        examples: Rows that are shown as examples.
    """

    values: dict[str, Any]
    tags: int
    with_example: int
    examples: int


def explore(
    report: Report, data: "Tagged | Mapping[str, Tagged]", *, asked: Asked, most_text_bytes: int = 4_000_000
) -> Explorer:
    """Gather what the table of tags shows.

    Args:
        report: What was counted.
        data: What it was counted in.
        asked: How the data was read for the report.
        most_text_bytes: Bytes that examples take at most.

    Returns:
        What the page shows. Its `values` are:

        - `tags`: names, most rows first; places below are places in it. `rows`: of each tag.
        - `near`: of each tag its neighbours and the rows they share, in turn.
        - `parts`: names. `spread`: of each tag, how many parts have it. `in`: of each tag the parts and its rows there,
          in turn, for the first `counted` parts.
        - `texts`, and `examples`: part, number of queries, places in `texts`, places of tags (-1 if not listed).

    Raises:
        InputError: The data is not what the report was made of.
    """
    rows = read_rows(data, asked)
    found = (len(rows.kind), len(rows.tags.names))
    if found != (report.total.rows, report.total.tags) or (report.parts and set(rows.parts) != set(report.parts)):
        raise InputError(
            f"page: expected the data of the report, {report.total.rows:,} rows with {report.total.tags:,} tags, "
            f"found {found[0]:,} with {found[1]:,}. Give both the same data and the same arguments."
        )
    tags = ranked(rows.tags)
    listed = _listed(tags)
    parts, part = _parts(report, rows)
    values = {
        "tags": [shortened(name, NAME) for name in tags.names[:listed]],
        "rows": tags.counts[:listed].tolist(),
        "near": _neighbours(tags, listed),
        **_parted(tags, listed, part, parts),
        **_examples(tags, listed, rows, part, _texts(data, asked), most_text_bytes),
    }
    having = {code for *_, codes in values["examples"] for code in codes if code != NOT_LISTED}
    return Explorer(values, listed, len(having), len(values["examples"]))


def shortened(text: str, most: int) -> str:
    """Cut text to so many characters, the last of them an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def dumped(values: Any) -> str:
    """Write JSON that means the same inside a script element of HTML, whatever texts it holds."""
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _size(text: str) -> int:
    return len(dumped(text).encode())


def ranked(column: TagColumn) -> TagColumn:
    """Number tags by their rows, most first, in the order of the alphabet where they are equal."""
    counts = column.counts.tolist()
    order = sorted(range(len(counts)), key=lambda code: (-counts[code], column.names[code]))
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return TagColumn([column.names[code] for code in order], place[column.codes], column.starts)


def _listed(tags: TagColumn) -> int:
    """Say how many of the most frequent tags have room on the page."""
    sizes = [_size(shortened(name, NAME)) for name in tags.names[:MOST_TAGS]]
    return int(np.searchsorted(np.cumsum(sizes), MOST_NAME_BYTES, side="right"))


def _parts(report: Report, rows: Rows) -> tuple[list[str], np.ndarray]:
    """Return the parts in the order of the report, and each row's place among them."""
    names = list(report.parts)
    place = [names.index(name) if name in report.parts else NO_PART for name in rows.parts]
    return names, np.array(place, np.int64)[rows.part]


def _neighbours(tags: TagColumn, listed: int) -> list[list[int]]:
    """Find the tags that share the most rows with each, the more frequent first where they share as many."""
    left, right, shared = count_pairs(tags, np.arange(len(tags.names)) < listed)
    one, other, shared = np.concatenate([left, right]), np.concatenate([right, left]), np.tile(shared, 2)
    order = np.lexsort((other, -shared, one))
    one, other, shared = one[order], other[order], shared[order]
    begins = np.searchsorted(one, np.arange(listed))
    ends = np.minimum(np.searchsorted(one, np.arange(listed), side="right"), begins + NEIGHBOURS)
    both = np.stack([other, shared], axis=1)
    return [both[begin:end].ravel().tolist() for begin, end in zip(begins, ends, strict=True)]


def _parted(tags: TagColumn, listed: int, part: np.ndarray, parts: Sequence[str]) -> dict[str, Any]:
    """Count each tag's rows by part, for as many of the parts, from the first on, as there is room for."""
    width = max(1, len(parts))
    kept = (tags.codes < listed) & bool(parts)
    keys, counts = np.unique(tags.codes[kept] * width + part[tags.row_numbers[kept]], return_counts=True)
    code, place = keys // width, keys % width
    spread = np.bincount(code, minlength=listed).tolist()
    shown = int(np.searchsorted(np.cumsum(np.bincount(place, minlength=len(parts))), MOST_PARTED, side="right"))
    inside = place < shown
    code, both = code[inside], np.stack([place[inside], counts[inside]], axis=1)
    ends = np.searchsorted(code, np.arange(listed), side="right")
    each = [rows.ravel().tolist() for rows in np.split(both, ends[:-1])] if listed else []
    return {"parts": [shortened(name, NAME) for name in parts], "counted": shown, "in": each, "spread": spread}


def _examples(
    tags: TagColumn, listed: int, rows: Rows, part: np.ndarray, texts: Iterator[list[str]], room: int
) -> dict[str, Any]:
    """Keep rows in the order in which they are wanted until `room` bytes are full; a text is kept once."""
    wanted = _wanted(tags, listed, ~_has_text(rows))
    read = _read(set(wanted), texts)
    place: dict[str, int] = {}
    examples: dict[tuple[Any, ...], list[Any]] = {}
    for row in wanted:
        shown, queries = read.get(row, ((), 0))
        codes = tags.codes[tags.starts[row] : tags.starts[row + 1]]
        facts = (int(part[row]), queries, shown, tuple(np.where(codes < listed, codes, NOT_LISTED).tolist()))
        if not shown or facts in examples:
            continue
        room -= len(dumped(facts[3])) + ENTRY + sum(_size(text) + 1 for text in set(shown) - place.keys())
        if room < 0:
            break
        at = [place.setdefault(text, len(place)) for text in shown]
        examples[facts] = [*facts[:2], at, list(facts[3])]
    return {"texts": list(place), "examples": list(examples.values())}


def _has_text(rows: Rows) -> np.ndarray:
    """Find the rows that have a query to show; shape (rows,), bool."""
    found = np.zeros(len(rows.kind), bool)
    if rows.query_row is not None:
        found[rows.query_row[rows.query_chars != UNKNOWN]] = True
    return found


def _read(wanted: set[int], texts: Iterator[list[str]]) -> dict[int, tuple[tuple[str, ...], int]]:
    """Take what is shown of the wanted rows, and how many queries they have."""
    if not wanted:
        return {}
    return {row: (_cut(queries), len(queries)) for row, queries in enumerate(texts) if row in wanted}


def _wanted(tags: TagColumn, listed: int, without: np.ndarray) -> list[int]:
    """Choose rows so that first every tag has one, then two, and so on; a tag's rows come from all over the data.

    Args:
        tags: Tags of rows, the most frequent first.
        listed: How many of them are to have rows.
        without: Shape (rows,), bool: rows that have no text to show.
    """
    holders = np.split(tags.holders, np.cumsum(tags.counts)[:-1])
    having = np.zeros(len(tags.names), np.int64)
    taken = without.copy()
    chosen: list[int] = []
    for number in range(EXAMPLES):
        for code, mine in enumerate(holders[:listed]):
            if having[code] > number or len(mine) <= number or len(chosen) == MOST_EXAMPLES:
                continue
            begin = number * len(mine) // EXAMPLES
            near = np.concatenate([mine[begin : begin + TRIES], mine[:TRIES]])
            for row in near[~taken[near]][:1].tolist():
                taken[row] = True
                chosen.append(row)
                having[tags.codes[tags.starts[row] : tags.starts[row + 1]]] += 1
    return chosen


def _cut(queries: Sequence[str]) -> tuple[str, ...]:
    """Keep the beginning of a row's first queries."""
    shown: list[str] = []
    left = QUERY
    for query in queries[:TURNS]:
        if left > 0:
            shown.append(shortened(query, left))
            left -= len(query)
    return tuple(shown)


def _texts(data: Any, asked: Asked) -> Iterator[list[str]]:
    for one in data.values() if isinstance(data, Mapping) else [data]:
        if hasattr(one, "column_names"):
            for batch in texts_of(one, asked):
                yield from batch
