"""The SQLite file beside a job, ``.dativo/state.db``: opened briefly, safe against other processes.

It keeps SQLite's rollback journal: a write-ahead log needs memory that all processes share, which machines that share a
network file system do not (sqlite.org/wal.html).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dativo_plugin_sdk.errors import ConfigurationError, DatabaseLockError, DiskFullError, InsufficientPermissionsError

BUSY_TIMEOUT_S = 30.0


def state_file(folder: str | Path) -> Path:
    """Give the file's place for a job in ``folder``."""
    return Path(folder) / ".dativo" / "state.db"


@contextmanager
def opened(path: Path, table: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Iterator[sqlite3.Connection]:
    """Open the file, which is made with its folder where it is missing; statements commit one by one.

    Args:
        path: The file.
        table: The statement that makes the caller's table where it is missing.
        busy_timeout_s: How long to wait for another process that writes.

    Raises:
        DatabaseLockError: Another process holds the file for longer.
        DiskFullError: There is no space for it.
        InsufficientPermissionsError: The file or its folder cannot be written.
        ConfigurationError: It is no file of ours.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InsufficientPermissionsError(f"cannot create {path.parent}: {error.strerror}") from error
    try:
        with closing(sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(table)
            yield connection
    except sqlite3.Error as error:
        raise _translated(path, error) from error


def _translated(path: Path, error: sqlite3.Error) -> Exception:
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary result code
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return DatabaseLockError(f"{path} is locked by another process")
    if primary == sqlite3.SQLITE_FULL:
        return DiskFullError(f"no space is left for {path}")
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return InsufficientPermissionsError(f"{path} cannot be written: {error}")
    return ConfigurationError(f"{path} is no state file of ours: {error}")
