"""Cases out as a CSV sheet that people fill in, and back in with their verdicts.

A sheet is whole in itself: what a person must not see (which cases are controls) stands in a column nobody can read at
a glance. Queries and tags are a stranger's text, so no cell may begin like a formula; reading takes the guard off.
"""

import base64
import binascii
import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from instag_hf.errors import InputError
from instag_hf.quality.cases import TASKS, Case, Verdict
from instag_hf.rows.cells import guard, unguard

COLUMNS = ("case", "task", "question", "subject", "items", "wrong", "key")
QUESTIONS = {
    "precision": "Which of these tags do not name precisely something that the query intends? "
    "Write their numbers with spaces between, or none.",
    "consistency": "In which of these queries does the tag mean something else than in most of them, or does not fit? "
    "Write their numbers with spaces between, or none.",
}
NONE = "none"
MAX_CELL = 32_767  # characters; spreadsheets cut off the rest

_NEW_ITEM = re.compile(r"\n(?!   )")


class Sheet(NamedTuple):
    """What a sheet holds: its cases, in its order, and a verdict for each, by the case's id."""

    cases: tuple[Case, ...]
    verdicts: dict[str, Verdict]


def write_sheet(cases: Sequence[Case], path: str | Path, *, overwrite: bool = False) -> Path:
    """Write cases as a CSV sheet (UTF-8) with an empty column "wrong" for people's verdicts.

    Args:
        cases: What to decide, each once.
        path: Where to write.
        overwrite: Whether a file that is there may be replaced; it may hold somebody's work.

    Raises:
        InputError: There is such a file, a text is longer than a spreadsheet's cell, or it cannot be written.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise InputError(f"sheet: {target} is there already and may hold verdicts. Choose another name.")
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for case in cases:
        cells = [guard(case.subject), guard(_join(case.items))]
        longest = max(map(len, cells))
        if longest > MAX_CELL:
            raise InputError(
                f"sheet: expected at most {MAX_CELL:,} characters in a cell, found {longest:,} in case {case.id}. "
                "Draw with another seed, or leave this case out."
            )
        writer.writerow([case.id, case.task, QUESTIONS[case.task], *cells, "", _seal(case)])
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.getvalue().encode("utf-8-sig"))  # with a mark, or Excel takes it for Latin letters
    except OSError as error:
        raise InputError(f"sheet: could not write {target}: {error}. Choose another place.") from error
    return target


def read_sheet(path: str | Path) -> Sheet:
    """Read a sheet back, filled in or not.

    Columns may stand in another order, and there may be more of them; rows may be sorted or missing. A row with an
    empty "wrong" has no verdict, and its failure is "blank".

    Raises:
        InputError: It is no sheet of ours, the text of a case was changed, or a verdict cannot be read.
    """
    cases: dict[str, Case] = {}
    verdicts: dict[str, Verdict] = {}
    for number, row in enumerate(_rows(Path(path)), 2):  # as a spreadsheet counts: the first row is the header
        if not any(row.values()):  # spreadsheets leave such rows behind
            continue
        where = f"sheet {Path(path).name}, row {number}"
        case = _case(row, where)
        if case.id in cases:
            raise InputError(f"{where}: expected each case once, found {case.id} again.")
        cases[case.id] = case
        verdicts[case.id] = _verdict(row["wrong"] or "", len(case.items), where)
    return Sheet(tuple(cases.values()), verdicts)


def _join(items: Sequence[str]) -> str:
    """Number items, one a line; the further lines of an item are set in, so that they can be told apart."""
    return "\n".join(f"{number}. " + item.replace("\n", "\n   ") for number, item in enumerate(items, 1))


def _split(cell: str) -> tuple[str, ...]:
    lines = _NEW_ITEM.split(cell)
    return tuple(line.partition(". ")[2].replace("\n   ", "\n") for line in lines)


def _seal(case: Case) -> str:
    hidden = {"replaced": case.replaced, "rows": case.rows}
    return base64.b64encode(json.dumps(hidden).encode()).decode()


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"sheet: expected a CSV file in UTF-8 at {path}, found {error}.") from error
    # A spreadsheet writes with the separator of its country.
    first = text.partition("\n")[0].strip("\r")
    separators = [mark for mark in ",;\t" if set(COLUMNS) <= set(next(csv.reader([first], delimiter=mark), []))]
    if not separators:
        raise InputError(f"sheet: expected the columns {list(COLUMNS)} in {path.name}, found {first[:200]!r}.")
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separators[0])
    try:
        return list(reader)
    except csv.Error as error:
        raise InputError(f"sheet: expected CSV in {path.name}, found in line {reader.line_num}: {error}.") from error


def _case(row: Mapping[str, str], where: str) -> Case:
    if row["task"] not in TASKS:
        raise InputError(f"{where}: expected a task of {list(TASKS)}, found {row['task']!r}.")
    try:
        hidden = json.loads(base64.b64decode(row["key"] or "", validate=True))
        case = Case(
            task=row["task"],
            subject=unguard(row["subject"]),
            items=_split(unguard(row["items"])),
            replaced=tuple(hidden["replaced"]),
            rows=tuple(hidden["rows"]),
        )
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise InputError(f'{where}: expected the column "key" as it was written, found it changed.') from error
    if case.id != row["case"]:
        raise InputError(
            f"{where}: expected the text of case {row['case']}, found another. "
            "Was a column edited, or sorted without the others?"
        )
    return case


def _verdict(cell: str, items: int, where: str) -> Verdict:
    told = cell.strip().lower()
    if not told:
        return Verdict(None, "blank: nobody filled it in")
    words = [] if told == NONE else re.split(r"[\s,;]+", told.strip(" ,;"))
    if not all(re.fullmatch("[0-9]{1,9}", word) and 1 <= int(word) <= items for word in words):
        raise InputError(f'{where}: expected "{NONE}" or numbers from 1 to {items} under "wrong", found {cell!r}.')
    return Verdict(tuple(sorted({int(word) - 1 for word in words})))
