"""Text in, a file out that is whole or not there."""

import os
import tempfile
from pathlib import Path

from instag_hf.rows import clean


def write_whole(path: Path, text: str) -> None:
    """Write text into a file, whole or not at all, since half of one would be taken for another.

    What was there stays until the new file is complete, and processes that write at once do not meet. Half a surrogate
    pair, which a path or a reply may hold, is written as the sign for what is no character.

    Args:
        path: The file; its folder is made where it is not there.
        text: Written as UTF-8, with lines as they are.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".instag-") as scratch:
        written = Path(scratch) / path.name
        written.write_text(clean(text), encoding="utf-8", newline="\n")
        os.replace(written, path)
