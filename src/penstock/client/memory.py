"""What the client remembers of uploads between two runs, so that the second goes on where the first ended.

A small SQLite file of the user's own (mode 0600). It is a convenience and never the truth: the server says what is there, and
without this file an upload works and merely begins again. It holds no key: who uploaded is part of a digest.
"""

import hashlib
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

_FORM = 1  # of the table; a file of another form is replaced
_LIFE_S = 90 * 86400  # of a line that nobody asks for
_DAMAGED = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
_TABLE = """CREATE TABLE IF NOT EXISTS uploads (
    label TEXT PRIMARY KEY, attempt TEXT, sha256 TEXT, upload_id TEXT, video_id TEXT, touched INTEGER NOT NULL
)"""


@dataclass(frozen=True, slots=True)
class Remembered:
    """One file's way to one server. ``attempt`` is the idempotency key of an upload whose answer may have been lost."""

    attempt: str | None = None
    sha256: str | None = None
    upload_id: str | None = None
    video_id: str | None = None


def label(*facts: str) -> str:
    """What a line is found by: server, account, file, and how it is to be uploaded, none of which it tells."""
    return hashlib.sha256("\0".join(facts).encode("utf-8", "surrogateescape")).hexdigest()


class Memory:
    """Safe to use from several threads and processes. What cannot be kept is not, and nobody is bothered with it."""

    def __init__(self, path: Path) -> None:
        """``path`` is the file; it and its folder are made when there is something to keep."""
        self._path = path
        self._lock = Lock()
        self._swept = False

    def recall(self, label: str) -> Remembered:
        """What is known; nothing, where nothing is."""
        if not self._path.exists():
            return Remembered()
        found = self._run("SELECT attempt, sha256, upload_id, video_id FROM uploads WHERE label = ?", label)
        return Remembered(*found[0]) if found else Remembered()

    def remember(self, label: str, known: Remembered) -> None:
        """Keeps it in the place of what was known."""
        self._run(
            "INSERT OR REPLACE INTO uploads (label, attempt, sha256, upload_id, video_id, touched) VALUES (?, ?, ?, ?, ?, ?)",
            label,
            known.attempt,
            known.sha256,
            known.upload_id,
            known.video_id,
            int(time.time()),
        )

    def _run(self, statement: str, *values: object) -> list[tuple[str | None, ...]]:
        with self._lock:
            for _ in range(2):
                try:
                    return self._ask(statement, values)
                except sqlite3.Error as error:
                    if getattr(error, "sqlite_errorcode", None) not in _DAMAGED:
                        break
                    self._path.unlink(missing_ok=True)
                except OSError:
                    break  # a home that cannot be written to
            return []

    def _ask(self, statement: str, values: tuple[object, ...]) -> list[tuple[str | None, ...]]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(self._path, timeout=10)) as database, database:
            self._prepare(database)
            return database.execute(statement, values).fetchall()

    def _prepare(self, database: sqlite3.Connection) -> None:
        if self._swept:
            return
        if database.execute("PRAGMA user_version").fetchone()[0] != _FORM:
            database.execute("DROP TABLE IF EXISTS uploads")
            database.execute(f"PRAGMA user_version = {_FORM}")
        database.execute(_TABLE)
        database.execute("DELETE FROM uploads WHERE touched < ?", (int(time.time()) - _LIFE_S,))
        self._swept = True
