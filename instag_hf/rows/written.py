"""Content in, a file out that is whole or not there."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from instag_hf.rows import clean

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all, since half of one would be taken for another.

    What was there stays until the new file is complete, and processes that write at once do not meet. Half a surrogate
    pair, which a path or a reply may hold, is written as the sign for what is no character.

    Args:
        path: The file; its folder is made where it is not there.
        content: Text is written as UTF-8, with lines as they are.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".instag-") as scratch:
        written = Path(scratch) / path.name
        written.write_bytes(clean(content).encode() if isinstance(content, str) else content)
        os.replace(written, path)


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let processes that add to the files of a folder do so one after another, since each writes what it has read.

    Where a folder cannot be locked, as on Windows and on some disks of a network, they go on side by side.
    """
    with contextlib.ExitStack() as held:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                place = os.open(folder, os.O_RDONLY)
                held.callback(os.close, place)
                fcntl.flock(place, fcntl.LOCK_EX)
        yield
