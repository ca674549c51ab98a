"""One Postgres table during one run."""
# ruff: noqa: S608  names are quoted, values are parameters

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pyarrow as pa

from dativo_ingest.postgres.names import quoted
from dativo_ingest.postgres.sessions import Session, Sessions, begin, let_go, run, value
from dativo_ingest.targets.evolution import Column
from dativo_ingest.targets.postgres.absent_rows import AbsentRows
from dativo_ingest.targets.postgres.config import PostgresOptions
from dativo_ingest.targets.postgres.failures import translated
from dativo_ingest.targets.postgres.names import namespace_of, require_columns, title
from dativo_ingest.targets.postgres.staging import Staging
from dativo_ingest.targets.postgres.state import StreamState, end, outcome_of, transaction_of
from dativo_ingest.targets.postgres.tables import Table, stream_columns, wait_to_make
from dativo_ingest.targets.postgres.types import wider_or_text
from dativo_ingest.targets.primary_key import require_key_columns, require_keys
from dativo_plugin_sdk import (
    CommitRequest,
    CommitStateUnknownError,
    CommittedState,
    DativoError,
    FencedError,
    InvalidConfigError,
    KeyComparison,
    Receipt,
    SchemaValidationError,
    TableSpec,
    TableWriter,
)

_STAGE = "_dativo_stage"
_REJECTS = "_dativo_rejects"
_MOST_COLUMNS = 1600
_OWN_COLUMNS = 2  # of a staging table for a merge: the row's number, and whether its key is to go

_LOOK_FOR_S = 30.0
_LOOK_AGAIN_S = 0.3
_PATIENCE_S = 3.0  # before a transaction whose client is gone is ended


class _Counts(NamedTuple):
    """Rows of the table that a commit touched."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0


class PostgresTableWriter(TableWriter):
    """One table during one run.

    Args:
        spec: The table and its stream.
        sessions: Where sessions come from.
        options: How it is written.
    """

    keeps_history = True

    def __init__(self, spec: TableSpec, sessions: Sessions, options: PostgresOptions) -> None:
        self._spec = spec
        self._sessions = sessions
        self._options = options
        self._title = title(spec)
        schema = namespace_of(spec)
        self._table = Table(schema, spec.name)
        self._rejects = Table(schema, spec.quarantine_name)
        self._state = StreamState.of(spec)
        self._session: Session | None = None
        self._columns: list[Column[str]] | None = None
        self._rows: Staging | None = None
        self._absent: AbsentRows | None = None
        self._rejected_columns: list[Column[str]] = []
        self._rejected: Staging | None = None
        self._transaction: str | None = None

    def load_state(self) -> CommittedState:
        """Read what the schema remembers of this stream; nothing is made."""
        with translated(self._title):
            session = self._connected()
            state = self._state.load(session, has_table=self._table.exists(session))
        if self._columns is None:
            self._settle()  # a job has many streams, and most have nothing new
        return state

    def history(self) -> Sequence[CommittedState]:
        """List the last thousand commits of this stream."""
        with translated(self._title):
            commits = self._state.history(self._connected())
        if self._columns is None:
            self._settle()
        return commits

    def open(self, schema: pa.Schema) -> Sequence[str]:
        """Find out how the table takes the rows, and make the temporary table in which they wait."""
        columns = self._wanted(schema)
        session = self._connected()
        with translated(self._title):
            shape = self._table.shape(session, columns)
            if not shape.columns:
                raise SchemaValidationError(
                    f"{self._title}: a Postgres table needs at least one column, the stream has none",
                    hint="give the stream a contract that names its columns",
                )
            keys = self._spec.primary_key if self._spec.write == "merge" and columns else ()
            self._rows = Staging(
                session,
                _STAGE,
                columns,
                types=shape.types,
                buffer_bytes=self._spec.buffer_bytes,
                keys=keys,
                remove_nul=self._options.nul_characters == "remove",
            )
        self._columns = columns
        return [change.text for change in shape.changes]

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows of the schema given to ``open``.

        Raises:
            DataValidationError: A value that Postgres cannot keep, or a row to be merged has no key.
        """
        if self._rows is None:
            raise InvalidConfigError("write was called before open")
        if self._spec.write == "merge" and batch.num_columns:
            require_keys(batch, self._spec.primary_key, self._title)
        with translated(self._title):
            self._rows.add(batch)

    def delete(self, keys: pa.RecordBatch) -> None:
        """Take keys whose rows go; they wait among the rows, so that what comes last counts.

        Raises:
            DataValidationError: A key has a null.
        """
        if self._rows is None or not self._rows.keys:
            raise InvalidConfigError("delete was called on a table that was not opened to merge")
        require_keys(keys, self._spec.primary_key, self._title)
        with translated(self._title):
            self._rows.delete(keys)

    def compare_keys(
        self, schema: pa.Schema, keys: Iterator[pa.RecordBatch], *, marked: str | None = None
    ) -> KeyComparison:
        """Put the source's keys beside the table, and find out which rows have none."""
        session = self._connected()
        self._absent = AbsentRows(
            session,
            self._table,
            buffer_bytes=self._spec.buffer_bytes,
            remove_nul=self._options.nul_characters == "remove",
        )
        with translated(self._title):
            return self._absent.find(schema, keys, marked=marked)

    def delete_absent(self, marks: Mapping[str, pa.Scalar[Any]] | None = None) -> None:
        """Let the rows that were found wait among the others: as keys that go, or as rows with their marks."""
        if self._rows is None or not self._rows.keys or self._absent is None:
            raise InvalidConfigError("delete_absent was called on a table that was not opened to merge, or compared")
        with translated(self._title):
            if marks:
                self._absent.mark(self._rows, marks)
            else:
                self._absent.delete(self._rows)

    def quarantine(self, batch: pa.RecordBatch) -> None:
        """Take rejected rows; they wait in a temporary table for the commit."""
        session = self._connected()
        with translated(self._rejects.title):
            if self._rejected is None:
                self._rejected_columns = stream_columns(batch.schema, name=self._rejects.title)
                self._rejected = Staging(
                    session,
                    _REJECTS,
                    self._rejected_columns,
                    types={},
                    buffer_bytes=self._spec.buffer_bytes,
                    remove_nul=True,  # what is wrong with a row may be that very character
                )
            self._rejected.add(batch)

    def commit(self, request: CommitRequest) -> Receipt:
        """Land rows, rejected rows, state and changes of the table in one transaction."""
        state: CommittedState | None = None
        try:
            with translated(self._title):
                session = self._connected()
                rejected = self._gather()
                state = request.next_state(self._spec.run_id, self._pointer(rejected))
                receipt = self._land(session, request, state)
        except DativoError as failure:
            if self._transaction is None or state is None:
                raise  # COMMIT was not sent: the server rolls back
            return self._find_out(request, state, failure)
        finally:
            self._settle()
        return receipt

    def abort(self) -> None:
        """Drop what waits."""
        self._settle()

    def _wanted(self, schema: pa.Schema) -> list[Column[str]]:
        """Give the columns that the stream asks for; those of a key that is merged by have a value in every row."""
        merges = self._spec.write == "merge"
        require_columns(schema.names, name=self._title, most=_MOST_COLUMNS - (_OWN_COLUMNS if merges else 0))
        columns = stream_columns(schema, name=self._title)
        if not merges or not columns:
            return columns
        keys = self._spec.primary_key
        require_key_columns(schema, keys, self._title)
        return [replace(column, nullable=column.nullable and column.name not in keys) for column in columns]

    def _connected(self) -> Session:
        if self._session is None:
            self._session = self._sessions.lend()
        return self._session

    def _gather(self) -> int:
        """Copy what is still held, before the transaction begins; give how many rows were rejected."""
        if self._rows is not None:
            if self._rows.keys:
                self._rows.settle()
            else:
                self._rows.flush()
        return self._rejected.flush() if self._rejected is not None else 0

    def _land(self, session: Session, request: CommitRequest, state: CommittedState) -> Receipt:
        """Do the whole commit.

        Raises:
            FencedError: The state is not of the expected generation.
        """
        begin(session, lock_timeout_s=self._options.lock_timeout_s)
        self._state.make(session)
        has_table = self._rows is not None or self._table.exists(session)
        if not self._state.move(session, state, has_table=has_table):
            run(session, "ROLLBACK")
            return self._already(session, request)
        counts = self._take_rows(session, self._rows) if self._rows is not None else _Counts()
        if self._rejected is not None:
            self._take_rejected(session, self._rejected)
        self._state.remember(session, state, rows_added=counts.inserted + counts.updated)
        self._transaction = transaction_of(session)
        run(session, "COMMIT")
        return self._receipt(request, counts)

    def _take_rows(self, session: Session, rows: Staging) -> _Counts:
        """Move what waited into the table, which is made or changed first."""
        self._shape_table(session)
        table = self._table.sql
        names = ", ".join(map(quoted, rows.columns))
        if rows.keys:
            return self._merge(session, rows)
        deleted = run(session, f"DELETE FROM {table}") if self._spec.write == "overwrite" else 0
        if not rows.columns:
            return _Counts(deleted=deleted)
        inserted = run(session, f"INSERT INTO {table} ({names}) SELECT {names} FROM {rows.sql}")
        return _Counts(inserted=inserted, deleted=deleted)

    def _shape_table(self, session: Session) -> None:
        columns = self._columns or []
        if not self._table.exists(session):
            wait_to_make(session)
        if self._spec.write != "append" and self._table.exists(session):
            # Nobody else adds a row between the looking and the writing; readers go on.
            run(session, f"LOCK TABLE {self._table.sql} IN SHARE ROW EXCLUSIVE MODE")
        keys = self._spec.primary_key if self._spec.write == "merge" else ()
        self._table.apply(session, self._table.shape(session, columns), primary_key=keys)

    def _merge(self, session: Session, rows: Staging) -> _Counts:
        """Replace the rows of known keys and add the others."""
        table, gone = self._table.sql, f"new.{quoted(rows.gone)}"
        same = " AND ".join(f"old.{key} = new.{key}" for key in map(quoted, rows.keys))
        deleted = updated = 0
        if rows.deletes:
            deleted = run(session, f"DELETE FROM {table} old USING {rows.sql} new WHERE {gone} AND {same}")
        values = [quoted(name) for name in rows.columns if name not in rows.keys]
        if values:
            changes = ", ".join(f"{name} = new.{name}" for name in values)
            updated = run(
                session, f"UPDATE {table} old SET {changes} FROM {rows.sql} new WHERE {gone} IS NULL AND {same}"
            )
        else:
            known = f"SELECT count(*) FROM {rows.sql} new WHERE {gone} IS NULL AND EXISTS"
            updated = value(session, f"{known} (SELECT FROM {table} old WHERE {same})")
        names = [quoted(name) for name in rows.columns]
        inserted = run(
            session,
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(f'new.{name}' for name in names)}"
            f" FROM {rows.sql} new WHERE {gone} IS NULL AND NOT EXISTS (SELECT FROM {table} old WHERE {same})",
        )
        return _Counts(inserted, updated, deleted)

    def _take_rejected(self, session: Session, rows: Staging) -> None:
        """Move rejected rows into their table; a column whose type has changed over time becomes text."""
        if not self._rejects.exists(session):
            wait_to_make(session)
        self._rejects.apply(session, self._rejects.shape(session, self._rejected_columns, wider_or_text))
        names = ", ".join(map(quoted, rows.columns))
        run(session, f"INSERT INTO {self._rejects.sql} ({names}) SELECT {names} FROM {rows.sql}")

    def _pointer(self, rejected: int) -> dict[str, Any] | None:
        if not rejected:
            return None
        return {
            "table": self._spec.quarantine_name,
            "namespace": self._table.schema,
            "rows": rejected,
            "run_id": self._spec.run_id,
        }

    def _receipt(self, request: CommitRequest, counts: _Counts | None) -> Receipt:
        return Receipt(
            commit_id=request.commit_id,
            generation=request.expected_generation + 1,
            inserted=None if counts is None else counts.inserted,
            updated=None if counts is None else counts.updated,
            deleted=None if counts is None else counts.deleted,
            bytes_written=self._rows.size_bytes if self._rows is not None else 0,
        )

    def _already(self, session: Session, request: CommitRequest) -> Receipt:
        """Tell what stands where this commit's state was to go.

        Raises:
            FencedError: It is another run's.
        """
        state = self._state.load(session, has_table=True)
        if state.commit_id == request.commit_id:
            return self._receipt(request, None)
        raise FencedError(
            f"{self._title}: run {state.run_id} committed generation {state.generation} of stream {self._spec.stream},"
            f" this run read generation {request.expected_generation}",
            details={"found": state.generation, "expected": request.expected_generation, "run_id": state.run_id},
            hint="nothing of this run landed; let one run of a job at a time do the work",
        )

    def _find_out(self, request: CommitRequest, state: CommittedState, failure: DativoError) -> Receipt:
        """Find out what became of a COMMIT that got no answer.

        Raises:
            DativoError: ``failure``, where the server says that the transaction was rolled back.
            CommitStateUnknownError: Nobody could tell.
        """
        assert self._transaction is not None  # noqa: S101  COMMIT was sent
        outcome: str | None = "in progress"
        begun_s = time.monotonic()
        while outcome == "in progress" and time.monotonic() < begun_s + _LOOK_FOR_S:
            try:
                with translated(self._title):
                    self._let_go()
                    session = self._connected()
                    if self._state.shows(session, state):
                        return self._receipt(request, None)
                    outcome = outcome_of(session, self._transaction)
                    if outcome == "in progress" and time.monotonic() > begun_s + _PATIENCE_S:
                        end(session, self._transaction)  # nobody is left to hear its answer
            except DativoError:
                pass  # the server may be on its way back
            if outcome == "aborted":
                raise failure
            time.sleep(_LOOK_AGAIN_S)
        raise CommitStateUnknownError(
            f"{self._title}: the commit got no answer, and looking again did not tell: {failure}",
            details={"commit_id": request.commit_id, "transaction": self._transaction},
            hint="when the server can be reached, the next run reads what is there",
        ) from failure

    def _settle(self) -> None:
        """Give the session back: what is not committed is rolled back, what waits is dropped."""
        if self._session is not None:
            self._sessions.take_back(self._session)
        self._session = self._rows = self._rejected = None

    def _let_go(self) -> None:
        """Close a session in which something went wrong."""
        if self._session is not None:
            let_go(self._session)
        self._session = None
