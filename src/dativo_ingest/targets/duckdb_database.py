"""One DuckDB file: opened when it is free, and what it remembers of each stream."""
# ruff: noqa: S608  names are quoted, values are parameters

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb

from dativo_ingest.targets.duckdb_errors import LOCKED, as_dativo_error, translated
from dativo_ingest.targets.duckdb_types import quoted
from dativo_ingest.targets.filesystem import exists, make_folder
from dativo_plugin_sdk import CommittedState, PastCommit

STATE_SCHEMA = "_dativo"
_STATE_TABLE = "state"  # what the file remembers of each stream, moved in the transaction of its rows
_HISTORY_TABLE = "commits"  # and the commits that led there
_KEPT_COMMITS = 1000

_POLL_S = 0.1


class Database:
    """The file, opened once and held until ``close``: DuckDB lets one process at a time write it.

    Args:
        path: The file; it and its folders are made by `make`.
        lock_timeout_s: How long to wait for another process.
    """

    _making = threading.Lock()
    """Two threads that make the file, or the same schema, at once would conflict."""

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

    def session(self, *, memory_bytes: int, run_id: str | None = None) -> duckdb.DuckDBPyConnection:
        """Give a connection of its own, with its own transaction and temporary tables.

        Args:
            memory_bytes: What DuckDB may use at least; the most that any session asked for counts.
            run_id: The run that the file is made by where it is missing.

        Raises:
            DatabaseLockError: Another process did not let go of the file in time.
        """
        if self._root is None:
            make_folder(self.path.parent)
            if run_id is not None:
                with self._making:
                    if not exists(self.path):
                        self._create(run_id)
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
            if not _has_table(session, _STATE_TABLE):
                session.execute(f"CREATE SCHEMA IF NOT EXISTS {full_name(session, STATE_SCHEMA)}")
                session.execute(
                    f"CREATE TABLE IF NOT EXISTS {_state_table(session)} (state_key VARCHAR PRIMARY KEY,"
                    " generation BIGINT NOT NULL, state VARCHAR NOT NULL, has_table BOOLEAN NOT NULL)"
                )
            if not _has_table(session, _HISTORY_TABLE):
                session.execute(
                    f"CREATE TABLE IF NOT EXISTS {_history_table(session)} (state_key VARCHAR NOT NULL,"
                    " generation BIGINT NOT NULL, rows_added BIGINT NOT NULL, state VARCHAR NOT NULL)"
                )
            if namespace is not None:
                session.execute(f"CREATE SCHEMA IF NOT EXISTS {full_name(session, namespace)}")

    def _create(self, run_id: str) -> None:
        """Make the file under the run's name, and give it its own when it is whole.

        DuckDB makes a file in several steps, and refuses one that another process has only begun, or died over.
        """
        draft = self.path.with_name(f".{self.path.name}.{quote(run_id, safe='')}.part")
        try:
            with translated(str(draft)):
                duckdb.connect(str(draft)).close()
            # Another run may have been faster; where there are no hard links, DuckDB makes the file in its own way.
            with contextlib.suppress(OSError):
                self.path.hardlink_to(draft)
        finally:
            with contextlib.suppress(OSError):  # it is named by the run that left it
                draft.unlink(missing_ok=True)

    def _connect(self) -> duckdb.DuckDBPyConnection:
        deadline_s = time.monotonic() + self._lock_timeout_s
        while True:
            try:
                return quiet(duckdb.connect(str(self.path)))
            except duckdb.Error as error:
                if LOCKED not in str(error) or time.monotonic() >= deadline_s:
                    raise as_dativo_error(error, str(self.path)) from error
            time.sleep(_POLL_S)


def quiet(session: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Keep DuckDB from drawing the progress of slow statements on stdout, which is the commands' own."""
    return session.execute("SET enable_progress_bar = false")


def full_name(session: duckdb.DuckDBPyConnection, *names: str) -> str:
    """Give a schema or table of the file as SQL, in full: a schema called like the file is ambiguous otherwise."""
    return ".".join(map(quoted, (_value(session, "SELECT current_database()"), *names)))


def _state_table(session: duckdb.DuckDBPyConnection) -> str:
    return full_name(session, STATE_SCHEMA, _STATE_TABLE)


def _history_table(session: duckdb.DuckDBPyConnection) -> str:
    return full_name(session, STATE_SCHEMA, _HISTORY_TABLE)


def _has_table(session: duckdb.DuckDBPyConnection, name: str) -> bool:
    found = _value(
        session,
        "SELECT count(*) FROM duckdb_tables()"
        " WHERE database_name = current_database() AND schema_name = ? AND table_name = ?",
        [STATE_SCHEMA, name],
    )
    return bool(found)


def load_state(session: duckdb.DuckDBPyConnection, key: str, *, has_table: bool) -> CommittedState:
    """Read what the file remembers of a stream.

    Args:
        session: The file.
        key: The stream's key.
        has_table: Whether the stream's table is there. Where somebody has dropped it since, reading starts over.
    """
    if not _has_table(session, _STATE_TABLE):
        return CommittedState()
    row = session.execute(f"SELECT state, has_table FROM {_state_table(session)} WHERE state_key = ?", [key]).fetchone()
    if row is None:
        return CommittedState()
    state = CommittedState.from_json(row[0])
    return replace(state, state=None) if row[1] and not has_table else state


def move_state(
    session: duckdb.DuckDBPyConnection, key: str, *, expected: int, state: CommittedState, has_table: bool
) -> bool:
    """Replace the state of generation ``expected`` within the transaction; say whether it was there."""
    table, text = _state_table(session), state.to_json()
    moved = _value(
        session,
        f"UPDATE {table} SET generation = ?, state = ?, has_table = ? WHERE state_key = ? AND generation = ?",
        [state.generation, text, has_table, key, expected],
    )
    if moved or expected != 0 or _value(session, f"SELECT count(*) FROM {table} WHERE state_key = ?", [key]):
        return bool(moved)
    session.execute(f"INSERT INTO {table} VALUES (?, ?, ?, ?)", [key, state.generation, text, has_table])
    return True


def load_history(session: duckdb.DuckDBPyConnection, key: str) -> list[PastCommit]:
    """List the commits of a stream that the file remembers, the newest first."""
    if not _has_table(session, _HISTORY_TABLE):
        return []
    rows = session.execute(
        f"SELECT state, rows_added FROM {_history_table(session)} WHERE state_key = ? ORDER BY generation DESC", [key]
    ).fetchall()
    return [PastCommit(**{**vars(CommittedState.from_json(state)), "rows": added}) for state, added in rows]


def remember(session: duckdb.DuckDBPyConnection, key: str, state: CommittedState, *, rows_added: int) -> None:
    """Add a commit to the history within its transaction; the oldest beyond a thousand is let go."""
    table = _history_table(session)
    session.execute(f"INSERT INTO {table} VALUES (?, ?, ?, ?)", [key, state.generation, rows_added, state.to_json()])
    session.execute(
        f"DELETE FROM {table} WHERE state_key = ? AND generation <= ?", [key, state.generation - _KEPT_COMMITS]
    )


def _value(session: duckdb.DuckDBPyConnection, statement: str, parameters: Sequence[object] = ()) -> Any:
    # All rows are fetched: a result with rows to come would keep the connection from other work.
    rows = session.execute(statement, list(parameters)).fetchall()
    return rows[0][0] if rows else None


def count(session: duckdb.DuckDBPyConnection, statement: str) -> int:
    """Run a statement that tells how many rows it changed or counted."""
    return int(_value(session, statement) or 0)
