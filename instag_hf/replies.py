"""The durable reply store: each reply is on disk as soon as it arrives, so that nothing is paid for twice.

One SQLite file in `$INSTAG_HOME`, shared by the processes of a machine. A row is one request, named by the hash of what
was asked (never of where), so the same question is answered from here whatever server or dataset it comes from.
"""

import atexit
import contextlib
import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from instag_hf.errors import InputError, StoreError

try:
    import fcntl
except ImportError:  # Windows: two processes may then ask the same at the same time
    fcntl = None  # type: ignore[assignment]

BUSY_TIMEOUT_S = 30.0
DAY_S = 86_400.0

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


class Stats(NamedTuple):
    """What a store holds: replies by model, bytes on disk, and when (seconds since 1970) the first and last came."""

    path: Path
    models: dict[str, int]
    bytes: int
    oldest: float | None
    newest: float | None

    @property
    def replies(self) -> int:
        """All replies, of whatever model."""
        return sum(self.models.values())


def home() -> Path:
    """Return the folder that holds replies and prepared models: `$INSTAG_HOME`, else `~/.cache/instag`."""
    return Path(os.environ.get("INSTAG_HOME") or "~/.cache/instag").expanduser()


class Store:
    """A reply store in one file, shared by the threads of a process; `store()` gives one that a fork closes."""

    def __init__(self, path: Path) -> None:
        """Open the store, and make it where there is none.

        Raises:
            StoreError: The folder cannot be written, or lies on a file system without the locks that SQLite needs.
        """
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._claims: int | None = None
        with self._lock:
            self._open()

    def get(self, key: str) -> Reply | None:
        """Look up the reply to a request by the request's key."""
        found = self._execute(
            "SELECT text, finish_reason, prompt_tokens, completion_tokens FROM replies WHERE key = ?", key
        )
        return Reply(*found[0]) if found else None

    def put(self, key: str, reply: Reply, model: str) -> None:
        """Write a reply; it survives the death of this process as soon as the call returns."""
        self._execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)", key, *reply, model, time.time())

    def claim(self, key: str) -> bool:
        """Say that this process asks a request now; false where another process of this machine does.

        A claim is a lock on one byte of a file, at the place that the key names, so it ends with its process however
        that dies, and also where that forks: then a request may be asked twice, and nothing is lost. Within a process
        all claims are granted: there, equal requests are joined.
        """
        if fcntl is None:
            return True
        try:
            with self._lock:
                if self._claims is None:
                    self._claims = os.open(self.path.with_suffix(".claims"), os.O_RDWR | os.O_CREAT, 0o644)
                fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(key))
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._failed("lock", error) from error
        return True

    def release(self, key: str) -> None:
        """End a claim."""
        if fcntl is not None and self._claims is not None:
            fcntl.lockf(self._claims, fcntl.LOCK_UN, 1, _place(key))

    def put_tagger(self, name: str, facts: Mapping[str, Any]) -> None:
        """Keep the full facts behind the short hash that the column `instag_tagger` carries."""
        self._execute("INSERT OR IGNORE INTO taggers VALUES (?, ?)", name, json.dumps(facts, sort_keys=True))

    def get_tagger(self, name: str) -> dict[str, Any] | None:
        """Find the facts of a tagger by the hash in the column `instag_tagger`."""
        found = self._execute("SELECT facts FROM taggers WHERE hash = ?", name)
        return dict(json.loads(found[0][0])) if found else None

    def __len__(self) -> int:
        """Count the replies."""
        return int(self._execute("SELECT count(*) FROM replies")[0][0])

    def stats(self) -> Stats:
        """Count what the store holds."""
        models = dict(self._execute("SELECT model, count(*) FROM replies GROUP BY model ORDER BY count(*) DESC, model"))
        oldest, newest = self._execute("SELECT min(created), max(created) FROM replies")[0]
        self._execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log of the last writes would count them twice
        size = self.path.stat().st_size
        with contextlib.suppress(FileNotFoundError):  # another process may just have closed the store
            size += self.path.with_name(self.path.name + "-wal").stat().st_size
        return Stats(self.path, models, size, oldest, newest)

    def merge(self, other: Path) -> int:
        """Take over the replies of another store, and return how many were new; what is here already stays.

        Raises:
            InputError: There is no store at `other`, or it cannot be read.
        """
        if not other.is_file():
            raise InputError(f"replies: expected the file of another store, found nothing at {other}.")
        with self._lock:
            try:
                self._execute("ATTACH DATABASE ? AS other", str(other))
                self._execute("SELECT 1 FROM other.replies, other.taggers LIMIT 1")
            except StoreError as error:
                with contextlib.suppress(StoreError):  # it is attached where only its tables are others
                    self._execute("DETACH DATABASE other")
                raise InputError(
                    f"replies: expected another reply store, found {other}: {error.__cause__}. Give its replies.sqlite."
                ) from error
            try:
                self._execute("INSERT OR IGNORE INTO replies SELECT * FROM other.replies")
                taken = int(self._execute("SELECT changes()")[0][0])
                self._execute("INSERT OR IGNORE INTO taggers SELECT * FROM other.taggers")
            finally:
                self._execute("DETACH DATABASE other")
        return taken

    def prune(self, *, model: str | None = None, older_than_days: float | None = None) -> int:
        """Delete replies of a model, replies older than some days, or those that are both; return how many.

        Raises:
            InputError: Neither is given, for deleting everything must be asked for by deleting the file; or the age is
                no age.
        """
        if model is None and older_than_days is None:
            raise InputError("replies: expected a model or an age to prune by, found neither.")
        if older_than_days is not None and not 0 <= older_than_days < math.inf:
            raise InputError(f"replies: expected an age of 0 days or more, found {older_than_days}.")
        with self._lock:
            self._execute(
                "DELETE FROM replies WHERE (?1 IS NULL OR model = ?1) AND (?2 IS NULL OR created < ?2)",
                model,
                None if older_than_days is None else time.time() - older_than_days * DAY_S,
            )
            deleted = int(self._execute("SELECT changes()")[0][0])
        self._execute("VACUUM")
        self._execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return deleted

    def close(self) -> None:
        """Close the files; the next use opens them again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if self._claims is not None:
                os.close(self._claims)
                self._claims = None

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            opened = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise self._failed("open", error) from error
        try:
            mode = _prepare(opened)
        except sqlite3.Error as error:
            opened.close()
            raise self._failed("open", error) from error
        if mode != "wal":
            opened.close()
            raise StoreError(
                f"replies: expected a local disk for {self.path}, found one where SQLite cannot share a file. "
                "Set INSTAG_HOME to a folder on a local disk."
            )
        self._connection = opened
        return opened

    def _execute(self, statement: str, *values: Any) -> list[Any]:
        with self._lock:
            try:
                return (self._connection or self._open()).execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise self._failed("use", error) from error

    def _failed(self, verb: str, error: Exception) -> StoreError:
        return StoreError(
            f"replies: could not {verb} the reply store {self.path}: {error}. "
            "Free some disk space or set INSTAG_HOME to a folder that can be written; replies already there are kept."
        )


def _prepare(opened: sqlite3.Connection) -> str:
    """Set a connection up and return its journal mode.

    While another process closes the file as its last user, SQLite says "busy" at once instead of waiting.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            mode = str(opened.execute("PRAGMA journal_mode=WAL").fetchone()[0])
            opened.execute("PRAGMA synchronous=NORMAL")
            opened.executescript(_SCHEMA)
            return mode
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


_stores: dict[Path, Store] = {}


def store() -> Store:
    """Return this process's store in `$INSTAG_HOME`."""
    path = home() / "replies.sqlite"
    if path not in _stores:
        _stores[path] = Store(path)
    return _stores[path]


def _place(key: str) -> int:
    return int(key[:15], 16)  # 60 bits, which is as far as a file may be locked


def _before_fork() -> None:
    """Close what a child must not inherit: SQLite forbids to carry an open file over a fork."""
    for opened in _stores.values():
        opened._lock.acquire()
        opened.close()


def _after_fork() -> None:
    for opened in _stores.values():
        opened._lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


@atexit.register
def _close() -> None:
    for opened in _stores.values():
        opened.close()
