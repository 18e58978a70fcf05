"""What commands show to people: bars, summaries, tables."""

import contextlib
import shlex
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

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

    shown = tagged.select(range(min(SHOWN_ROWS, len(tagged))))
    yield f"{'query':<52}  tags"
    for row in shown:
        told = "; ".join(row[TAGS]) if not row[ERROR] else f"! {row[ERROR]}"
        asked = "" if row[ERROR] else " / ".join(queries({k: v for k, v in row.items() if not k.startswith("instag_")}))
        yield f"{fit(asked, 52)}  {fit(told, 100).rstrip()}"
    if len(shown) < len(tagged):
        yield f"… and {len(tagged) - len(shown):,} more rows"


def fit(text: str, width: int) -> str:
    """Cut and pad text to columns of a terminal, without the control characters that a dataset may hold."""
    plain = " ".join("".join(c if unicodedata.category(c)[0] != "C" else " " for c in text).split())
    fitted, used = "", 0
    for char in plain:
        wide = 2 if unicodedata.east_asian_width(char) in "WF" else 0 if unicodedata.combining(char) else 1
        if used + wide > width - 1:
            return fitted + "…" + " " * (width - used - 1)
        fitted, used = fitted + char, used + wide
    return fitted + " " * (width - used)


def command_line() -> str:
    """Write the command as it was given, with files by their name: the folders of a machine tell others nothing."""
    local = {word for word in sys.argv[1:] if Path(word).is_absolute() or Path(word).exists()}
    words = [Path(word).name if word in local else word for word in sys.argv[1:]]
    return shlex.join(["instag", *words])
