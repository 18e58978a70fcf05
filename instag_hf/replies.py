"""The durable reply store: each reply is on disk as soon as it arrives, so that nothing is paid for twice.

One SQLite file in `$INSTAG_HOME`, shared by the processes of a machine. A row is one request, named by the hash of what
was asked (never of where), so the same question is answered from here whatever server or dataset it comes from.
"""

import atexit
import json
import os
import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from instag_hf.errors import StoreError

BUSY_TIMEOUT_S = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, text TEXT NOT NULL, finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, model TEXT NOT NULL, created REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS taggers (hash TEXT PRIMARY KEY, facts TEXT NOT NULL) WITHOUT ROWID;
"""


class Reply(NamedTuple):
    """What an engine answered.

    `finish_reason` is "stop", or "length" where the reply was cut; the counts are tokens, 0 where the engine is silent.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


def home() -> Path:
    """Return the folder that holds replies and prepared models: `$INSTAG_HOME`, else `~/.cache/instag`."""
    return Path(os.environ.get("INSTAG_HOME") or Path.home() / ".cache" / "instag")


class Store:
    """A reply store in one file, open in one thread of one process."""

    def __init__(self, path: Path) -> None:
        """Open the store, and make it where there is none.

        Raises:
            StoreError: The folder cannot be written, or lies on a file system without the locks that SQLite needs.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            mode = self._connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise self._failed("open", error) from error
        if mode != "wal":
            self.close()
            raise StoreError(
                f"replies: expected a local disk for {path}, found a file system where SQLite cannot share a file. "
                "Set INSTAG_HOME to a folder on a local disk."
            )

    def get(self, key: str) -> Reply | None:
        """Look up the reply to a request by the request's key."""
        row = self._execute(
            "SELECT text, finish_reason, prompt_tokens, completion_tokens FROM replies WHERE key = ?", key
        )
        return Reply(*row) if row else None

    def put(self, key: str, reply: Reply, model: str) -> None:
        """Write a reply; it survives the death of this process as soon as the call returns."""
        self._execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)", key, *reply, model, time.time())

    def put_tagger(self, name: str, facts: Mapping[str, Any]) -> None:
        """Keep the full facts behind the short hash that the column `instag_tagger` carries."""
        self._execute("INSERT OR IGNORE INTO taggers VALUES (?, ?)", name, json.dumps(facts, sort_keys=True))

    def get_tagger(self, name: str) -> dict[str, Any] | None:
        """Find the facts of a tagger by the hash in the column `instag_tagger`."""
        row = self._execute("SELECT facts FROM taggers WHERE hash = ?", name)
        return dict(json.loads(row[0])) if row else None

    def __len__(self) -> int:
        """Count the replies."""
        return int(self._execute("SELECT count(*) FROM replies")[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _execute(self, statement: str, *values: Any) -> Any:
        try:
            return self._connection.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            raise self._failed("use", error) from error

    def _failed(self, verb: str, error: Exception) -> StoreError:
        return StoreError(
            f"replies: could not {verb} the reply store {self.path}: {error}. "
            "Free some disk space or set INSTAG_HOME to a folder that can be written; replies already there are kept."
        )


_stores: dict[tuple[int, int, Path], Store] = {}


def store() -> Store:
    """Return this thread's store in `$INSTAG_HOME`; a forked process opens its own, as SQLite demands."""
    path = home() / "replies.sqlite"
    place = (os.getpid(), threading.get_ident(), path)
    if place not in _stores:
        _stores[place] = Store(path)
    return _stores[place]


@atexit.register
def _close() -> None:
    for (pid, _, _), opened in list(_stores.items()):
        if pid == os.getpid():
            opened.close()
    _stores.clear()
