"""State of targets that cannot keep it themselves, in one SQLite file beside the job."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dativo_plugin_sdk.errors import ConfigurationError, DatabaseLockError, DiskFullError, InsufficientPermissionsError

_BUSY_TIMEOUT_S = 30.0
_TABLE = """
CREATE TABLE IF NOT EXISTS states (
    key TEXT PRIMARY KEY, generation INTEGER NOT NULL, text TEXT NOT NULL, saved_at TEXT NOT NULL
) WITHOUT ROWID
"""
_FIRST = """
INSERT INTO states VALUES (?, 1, ?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) ON CONFLICT (key) DO NOTHING
"""
_NEXT = """
UPDATE states SET generation = generation + 1, text = ?, saved_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE key = ? AND generation = ?
"""


class SqliteStateStore:
    """A `StateStore` in a file, safe against other processes; the file appears with the first save.

    Args:
        path: The file; its folder is created with it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, key: str) -> str | None:
        """Give the text saved last; None where nothing ever was, also where the file does not exist.

        Raises:
            DatabaseLockError: Another process holds the file for longer than 30 seconds.
        """
        if not self._path.exists():
            return None
        with self._opened() as connection:
            row = connection.execute("SELECT text FROM states WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def save(self, key: str, expected_generation: int, text: str) -> bool:
        """Replace the text in one statement if it was saved ``expected_generation`` times; say whether it was.

        Raises:
            DatabaseLockError: Another process holds the file for longer than 30 seconds.
            DiskFullError: There is no space for it.
            InsufficientPermissionsError: The file or its folder cannot be written.
        """
        with self._opened() as connection:
            if expected_generation == 0:
                changed = connection.execute(_FIRST, (key, text))
            else:
                changed = connection.execute(_NEXT, (text, key, expected_generation))
            return changed.rowcount == 1

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InsufficientPermissionsError(f"cannot create {self._path.parent}: {error.strerror}") from error
        try:
            with closing(sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_TABLE)
                yield connection
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.Error) -> Exception:
        primary = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary result code
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return DatabaseLockError(f"{self._path} is locked by another process")
        if primary == sqlite3.SQLITE_FULL:
            return DiskFullError(f"no space is left for {self._path}")
        if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return InsufficientPermissionsError(f"{self._path} cannot be written: {error}")
        return ConfigurationError(f"{self._path} is no state file of ours: {error}")
