"""One DuckDB file: opened when it is free, and what it remembers of each stream."""
# ruff: noqa: S608  names are quoted, values are parameters

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from dativo_ingest.targets.duckdb_errors import LOCKED, as_dativo_error, translated
from dativo_ingest.targets.duckdb_types import quoted
from dativo_ingest.targets.filesystem import exists, make_folder
from dativo_plugin_sdk import CommittedState

STATE_SCHEMA = "_dativo"
STATE_TABLE = f"{quoted(STATE_SCHEMA)}.{quoted('state')}"
"""What the file remembers of each stream, moved in the transaction of its rows."""

_POLL_S = 0.1


class Database:
    """The file, opened once and held until ``close``: DuckDB lets one process at a time write it.

    Args:
        path: The file; it and its folders are made by `make`.
        lock_timeout_s: How long to wait for another process.
    """

    _making = threading.Lock()
    """Two transactions that make the same schema at once would conflict."""

    def __init__(self, path: Path, *, lock_timeout_s: float) -> None:
        self.path = path
        self._lock_timeout_s = lock_timeout_s
        self._root: duckdb.DuckDBPyConnection | None = None
        self._sessions: list[duckdb.DuckDBPyConnection] = []
        self._memory_bytes = 0

    @property
    def exists(self) -> bool:
        """Whether there is a file already."""
        return self._root is not None or exists(self.path)

    @property
    def is_open(self) -> bool:
        """Whether this run holds the file."""
        return self._root is not None

    def session(self, *, memory_bytes: int) -> duckdb.DuckDBPyConnection:
        """Give a connection of its own, with its own transaction and temporary tables.

        Args:
            memory_bytes: What DuckDB may use at least; the most that any session asked for counts.

        Raises:
            DatabaseLockError: Another process did not let go of the file in time.
        """
        if self._root is None:
            make_folder(self.path.parent)
            self._root = self._connect()
        with translated(str(self.path)):
            if memory_bytes > self._memory_bytes:
                self._memory_bytes = memory_bytes
                self._root.execute(f"SET memory_limit = '{memory_bytes}B'")
            session = self._root.cursor()
        self._sessions.append(session)
        return session

    def close(self) -> None:
        """Let go of the file and every session; may be called twice."""
        for connection in (*self._sessions, self._root):
            if connection is not None:
                with contextlib.suppress(duckdb.Error):  # what is committed is in the file or its log
                    connection.close()
        self._sessions, self._root, self._memory_bytes = [], None, 0

    def make(self, session: duckdb.DuckDBPyConnection, namespace: str | None) -> None:
        """Make the table of states, and the namespace, where they are missing; outside of any transaction."""
        with self._making, translated(str(self.path)):
            if not _has_state_table(session):
                session.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(STATE_SCHEMA)}")
                session.execute(
                    f"CREATE TABLE IF NOT EXISTS {STATE_TABLE}"
                    " (state_key VARCHAR PRIMARY KEY, generation BIGINT NOT NULL, state VARCHAR NOT NULL)"
                )
            if namespace is not None:
                session.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(namespace)}")

    def _connect(self) -> duckdb.DuckDBPyConnection:
        deadline_s = time.monotonic() + self._lock_timeout_s
        while True:
            try:
                return duckdb.connect(str(self.path))
            except duckdb.Error as error:
                if LOCKED not in str(error) or time.monotonic() >= deadline_s:
                    raise as_dativo_error(error, str(self.path)) from error
            time.sleep(_POLL_S)


def _has_state_table(session: duckdb.DuckDBPyConnection) -> bool:
    found = _value(
        session,
        "SELECT count(*) FROM duckdb_tables()"
        " WHERE database_name = current_database() AND schema_name = ? AND table_name = 'state'",
        [STATE_SCHEMA],
    )
    return bool(found)


def load_state(session: duckdb.DuckDBPyConnection, key: str) -> CommittedState:
    """Read what the file remembers of a stream."""
    if not _has_state_table(session):
        return CommittedState()
    row = session.execute(f"SELECT state FROM {STATE_TABLE} WHERE state_key = ?", [key]).fetchone()
    return CommittedState.from_json(None if row is None else row[0])


def move_state(session: duckdb.DuckDBPyConnection, key: str, *, expected: int, state: CommittedState) -> bool:
    """Replace the state of generation ``expected`` within the transaction; say whether it was there."""
    text = state.to_json()
    moved = _value(
        session,
        f"UPDATE {STATE_TABLE} SET generation = ?, state = ? WHERE state_key = ? AND generation = ?",
        [state.generation, text, key, expected],
    )
    if moved or expected != 0 or _value(session, f"SELECT count(*) FROM {STATE_TABLE} WHERE state_key = ?", [key]):
        return bool(moved)
    session.execute(f"INSERT INTO {STATE_TABLE} VALUES (?, ?, ?)", [key, state.generation, text])
    return True


def _value(session: duckdb.DuckDBPyConnection, statement: str, parameters: Sequence[object] = ()) -> Any:
    row = session.execute(statement, list(parameters)).fetchone()
    return None if row is None else row[0]


def count(session: duckdb.DuckDBPyConnection, statement: str) -> int:
    """Run a statement that tells how many rows it changed or counted."""
    return int(_value(session, statement) or 0)
