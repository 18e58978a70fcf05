"""What commands show to people: bars, summaries, tables."""

import contextlib
import os
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from instag_hf.rows import fit

if TYPE_CHECKING:
    from datasets import Dataset

    from instag_hf.tagger import Columns, Tagger

SHOWN_ROWS = 120  # a demo prints its whole sample; of a longer dataset the beginning


@contextlib.contextmanager
def progress(
    rows: int, doing: str, tagger: "Tagger | None" = None, *, unit: str = "row"
) -> Iterator[Callable[["Columns"], None]]:
    """Show one bar with rows/s (or what `unit` names), failures, the time left, and what a tagger's server says."""
    from tqdm import tqdm

    from instag_hf.rows import ERROR

    failed, started = 0, time.monotonic()

    def said() -> dict[str, str]:
        telemetry = tagger and tagger.telemetry()
        if not telemetry or not telemetry.tokens:
            return {}
        speed = telemetry.tokens / (time.monotonic() - started)
        queued = {} if telemetry.queue_s is None else {"queued": f"{telemetry.queue_s:.2f}s"}
        return {"tokens/s": f"{speed:,.0f}", **queued}

    with tqdm(total=rows, unit=unit, desc=doing, file=sys.stderr, mininterval=0.5) as bar:

        def on_row(columns: "Columns") -> None:
            nonlocal failed
            failed += bool(columns[ERROR])
            bar.set_postfix(failed=failed, **said(), refresh=False)
            bar.update()

        yield on_row


def summary(rows: int, failed: Counter[str]) -> str:
    """Say in one line how many rows were tagged, and how many failed of which kind."""
    total = sum(failed.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in failed.most_common())
    return f"{rows:,} rows: {rows - total:,} tagged, {total:,} failed" + (f" ({kinds})" if kinds else "")


def table(tagged: "Dataset") -> Iterator[str]:
    """Show queries and their tags side by side, one line for each row."""
    from instag_hf.rows import ERROR, TAGS, queries
    from instag_hf.rows.stored import stored

    shown = tagged.select(range(min(SHOWN_ROWS, len(tagged))))
    yield f"{'query':<52}  tags"
    for row in stored(shown):
        told = "; ".join(row[TAGS]) if not row[ERROR] else f"! {row[ERROR]}"
        asked = "" if row[ERROR] else " / ".join(queries({k: v for k, v in row.items() if not k.startswith("instag_")}))
        yield f"{fit(asked, 52)}  {fit(told, 100).rstrip()}"
    if len(shown) < len(tagged):
        yield f"… and {len(tagged) - len(shown):,} more rows"


def command_line() -> str:
    """Write the command as it was given, with files by their name: the folders of a machine tell others nothing."""
    return shlex.join(["instag", *map(_without_folders, sys.argv[1:])])


def _without_folders(word: str) -> str:
    named = re.match(r"-\w|[^/]*=", word)  # -o/tmp/x, --output=/tmp/x, name=/tmp/x
    for name in ("", named.group() if named else ""):
        value = word.removeprefix(name)
        # Unlike a `Path`, these take a text of any length.
        if os.path.isabs(value) or os.path.exists(value) or value.startswith(("~", f"..{os.sep}")):
            return f"{name}{Path(value).name}"
    return word
