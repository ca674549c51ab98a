"""The ``duckdb`` target: tables of one DuckDB file, whose rows and state move in one transaction.

The file is held from the first look at it until the run ends, as DuckDB lets one process at a time write: a second
runner waits, then reads the state that the first one left. Rows go straight into the table inside the transaction; for
a merge or a sort order they wait in a temporary table, which DuckDB keeps within its memory limit.
"""
# ruff: noqa: S608  names are quoted, values are parameters

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import duckdb
import pyarrow as pa
from pydantic import Field

from dativo_ingest.targets import duckdb_database as db
from dativo_ingest.targets.duckdb_absent_rows import AbsentRows
from dativo_ingest.targets.duckdb_database import Database, quiet
from dativo_ingest.targets.duckdb_errors import translated
from dativo_ingest.targets.duckdb_tables import Inserts, Table, create, folded, stream_columns
from dativo_ingest.targets.duckdb_types import quoted, wider_or_text
from dativo_ingest.targets.evolution import Column
from dativo_ingest.targets.filesystem import exists, nearest_folder, probe
from dativo_ingest.targets.primary_key import require_key_columns, require_keys
from dativo_ingest.targets.sort_order import parse_sort_order
from dativo_plugin_sdk import (
    Check,
    CommitRequest,
    CommitStateUnknownError,
    CommittedState,
    ConnectionTestResult,
    DativoError,
    FencedError,
    InsufficientPermissionsError,
    InvalidConfigError,
    KeyComparison,
    PluginConfig,
    Receipt,
    StreamWriter,
    TableSpec,
    TableWriter,
    TargetConfig,
    WriteMode,
    parse,
)
from dativo_plugin_sdk.config import Texts

_MIN_MEMORY_BYTES = 512 * 2**20
_BUFFERS = 8  # a table's buffer is an eighth of limits.memory_mb
_INSERT_BYTES = 16 * 2**20
_STAGE = 'temp.main."_dativo_stage"'
_REJECTS = 'temp.main."_dativo_rejects"'


class DuckDBConnection(PluginConfig):
    """Which database."""

    path: str = Field(min_length=1)
    """A DuckDB file; it is made when missing."""


class DuckDBOptions(PluginConfig):
    """How tables are written."""

    sort_by: Texts = ()
    """The order in which a run's rows are stored: ``id``, ``id desc``, ``id nulls first``."""
    lock_timeout_s: float = Field(default=60.0, ge=0)
    """How long to wait for another process that has the file open."""
    memory_limit_mb: int | None = Field(default=None, ge=64)
    """What DuckDB may use beside the run itself; without it, as much as ``limits.memory_mb`` and at least 512.

    DuckDB keeps up to 122,880 rows of each table in memory until it stores them, whatever their size.
    """


class DuckDBWriter(StreamWriter):
    """Writes tables of a DuckDB file; append, overwrite and merge are exactly once."""

    write_modes = frozenset[WriteMode]({"append", "overwrite", "merge"})
    deletes_rows = True
    compares_keys = True

    def __init__(self, config: TargetConfig) -> None:
        super().__init__(config)
        path = parse(DuckDBConnection, config.connection, where="target.connection").path
        self._path = _local(path)
        self._options = _options(config.options, where="target.options")
        self._database = Database(self._path, lock_timeout_s=self._options.lock_timeout_s)
        self._tables: list[DuckDBTableWriter] = []

    def check(self, tables: Sequence[TableSpec]) -> Sequence[Check]:
        """List the steps: the file, each table in it, and whether file and folder can be written."""
        return [
            Check("path", self._check_path),
            *(Check(f"table {_title(spec)}", lambda spec=spec: self._check_table(spec)) for spec in tables),  # type: ignore[misc]  # mypy does not see the default
            Check("write_probe", self._probe),
        ]

    def table(self, spec: TableSpec) -> TableWriter:
        """Give the writer of one table.

        Raises:
            InvalidConfigError: An option that cannot be had, or a merge without a primary key.
        """
        table = DuckDBTableWriter(spec, self._database, self._table_options(spec))
        self._tables.append(table)
        return table

    def close(self) -> None:
        """Drop what was neither committed nor aborted, and let go of the file."""
        for table in self._tables:
            table.abort()
        self._tables = []
        self._database.close()

    def _table_options(self, spec: TableSpec) -> DuckDBOptions:
        own = _options(spec.options, where=f"streams.{spec.stream}")
        if spec.write == "merge" and not spec.primary_key:
            raise InvalidConfigError(f"streams.{spec.stream}: write: merge needs primary_key")
        if spec.namespace == db.STATE_SCHEMA:
            raise InvalidConfigError(f"namespace {spec.namespace!r} is where Dativo keeps its state; choose another")
        return self._options.model_copy(update=own.model_dump(exclude_unset=True))

    def _check_path(self) -> ConnectionTestResult:
        folder = nearest_folder(self._path.parent)
        if not exists(self._path):
            return ConnectionTestResult(
                success=True, message=f"{self._path} is to be made", details={"in": str(folder)}
            )
        with self._looking() as session, translated(str(self._path)):
            version = session.execute("SELECT version()").fetchall()[0][0]
        return ConnectionTestResult(
            success=True, message=f"{self._path} is a DuckDB database", details={"duckdb": version}
        )

    def _check_table(self, spec: TableSpec) -> ConnectionTestResult:
        self._table_options(spec)
        title = _title(spec)
        if exists(self._path):
            with self._looking() as session, translated(title):
                columns = _table(spec).columns(session)
                state = db.load_state(session, _state_key(spec), has_table=bool(columns))
            if columns:
                details = {"columns": len(columns), "generation": state.generation}
                return ConnectionTestResult(success=True, message=f"{title} exists", details=details)
        return ConnectionTestResult(success=True, message=f"{title} does not exist yet")

    def _probe(self) -> ConnectionTestResult:
        # The file itself is only asked about: opening and closing it would drop the lock that DuckDB may hold on it.
        if exists(self._path) and not os.access(self._path, os.W_OK):
            raise InsufficientPermissionsError(
                f"{self._path} cannot be written", hint="let the user that runs the job write it"
            )
        folder = nearest_folder(self._path.parent)
        probe(folder)  # DuckDB keeps its log beside the file
        return ConnectionTestResult(
            success=True, message="a file was written and is gone", details={"folder": str(folder)}
        )

    @contextlib.contextmanager
    def _looking(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file for reading alone, unless this run has it open anyway."""
        if self._database.is_open:
            yield self._database.session(memory_bytes=0)
            return
        with translated(str(self._path)):
            connection = quiet(duckdb.connect(str(self._path), read_only=True))
        try:
            yield connection
        finally:
            connection.close()


class DuckDBTableWriter(TableWriter):
    """One table during one run, with a session and a transaction of its own."""

    keeps_history = True

    def __init__(self, spec: TableSpec, database: Database, options: DuckDBOptions) -> None:
        self._spec = spec
        self._database = database
        self._options = options
        self._title = _title(spec)
        self._state_key = _state_key(spec)
        self._table = _table(spec)
        self._rejects = Table(spec.namespace or "main", spec.quarantine_name)
        self._session: duckdb.DuckDBPyConnection | None = None
        self._incoming: pa.Schema | None = None
        self._staged = spec.write == "merge" or bool(options.sort_by)
        self._rows: Inserts | None = None
        self._gone = ""  # the column that marks keys whose rows go; tables that are not merged have none
        self._deletes = False
        self._rejected: Inserts | None = None
        self._rejected_schema: pa.Schema | None = None
        self._absent: AbsentRows | None = None
        self._deleted = 0
        self._committing = False

    def load_state(self) -> CommittedState:
        """Read what the file remembers of this stream; waits while another process has the file."""
        if not self._database.exists:
            return CommittedState()
        session = self._connected()
        with translated(self._title):
            has_table = bool(self._table.columns(session))
            return db.load_state(session, self._state_key, has_table=has_table)

    def history(self) -> Sequence[CommittedState]:
        """List the commits that the file remembers: the last thousand."""
        newest = self.load_state()
        if not newest.generation:
            return []
        with translated(self._title):
            found = db.load_history(self._connected(), self._state_key)
        # A file of an earlier release remembers the newest one alone.
        return found if found and found[0].commit_id == newest.commit_id else [newest, *found]

    def open(self, schema: pa.Schema) -> Sequence[str]:
        """Begin the transaction and shape the table in it; what waits for a merge waits outside of it."""
        session = self._connected()
        with translated(self._title):
            shape = self._table.shape(session, stream_columns(session, schema))
            self._refuse_keys_without_column(schema)
            parse_sort_order(self._options.sort_by, schema)
            self._database.make(session, self._spec.namespace)
            self._incoming = schema
            if self._staged:
                types = {folded(column.name): column.type for column in shape.columns}
                columns = [Column(name, types[folded(name)]) for name in schema.names]
                if self._spec.write == "merge":
                    self._gone = _free_name("_dativo_gone", schema)
                    columns.append(Column(self._gone, "BOOLEAN"))
                self._rows = self._stage(session, _STAGE, columns, _free_name("_dativo_seq", schema))
            else:
                session.begin()
                self._shape_table(session)
                self._rows = Inserts(session, self._table.sql(session), schema.names, self._buffer_bytes)
        return [change.text for change in shape.changes]

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows of the schema given to ``open``.

        Raises:
            DataValidationError: A row to be merged has no key.
        """
        if self._rows is None:
            raise InvalidConfigError("write was called before open")
        if self._spec.write == "merge" and batch.num_rows:
            require_keys(batch, self._spec.primary_key, self._title)
        with translated(self._title):
            self._rows.add(batch)

    def delete(self, keys: pa.RecordBatch) -> None:
        """Take keys whose rows go; they wait among the rows, so that what comes last counts.

        Raises:
            DataValidationError: A key has a null.
        """
        if self._rows is None or not self._gone:
            raise InvalidConfigError("delete was called on a table that was not opened to merge")
        require_keys(keys, self._spec.primary_key, self._title)
        self._deletes = True
        with translated(self._title):
            self._rows.add(keys.append_column(self._gone, pa.repeat(pa.scalar(True), keys.num_rows)))  # noqa: FBT003  a value

    def compare_keys(
        self, schema: pa.Schema, keys: Iterator[pa.RecordBatch], *, marked: str | None = None
    ) -> KeyComparison:
        """Put the source's keys beside the table, and find out which rows have none."""
        if not self._database.exists:
            return KeyComparison()
        session = self._connected()
        self._absent = AbsentRows(session, self._table, self._title, buffer_bytes=self._buffer_bytes)
        with translated(self._title):
            return self._absent.find(schema, keys, marked=marked)

    def delete_absent(self, marks: Mapping[str, pa.Scalar[Any]] | None = None) -> None:
        """Let the rows that were found wait among the others: as keys that go, or as rows with their marks."""
        if self._rows is None or not self._gone:
            raise InvalidConfigError("delete_absent was called on a table that was not opened to merge")
        assert self._absent is not None  # noqa: S101  the engine's order of calls
        with translated(self._title):
            if marks:
                self._absent.mark(self._rows, but=self._gone, marks=marks)
            else:
                self._deletes = True
                self._absent.delete(self._rows, gone=self._gone)

    def quarantine(self, batch: pa.RecordBatch) -> None:
        """Take rejected rows; they wait in a temporary table for the commit."""
        session = self._connected()
        with translated(self._rejects.title):
            if self._rejected is None:
                self._rejected_schema = batch.schema
                self._rejected = self._stage(session, _REJECTS, stream_columns(session, batch.schema), None)
            self._rejected.add(batch)

    def commit(self, request: CommitRequest) -> Receipt:
        """Commit the transaction with rows, rejected rows and state.

        Raises:
            DiskFullError: Nothing landed.
        """
        session = self._connected()
        receipt: Receipt | None = None
        failure: DativoError | None = None
        try:
            with translated(self._title):
                receipt = self._land(session, request)
        except DativoError as error:
            failure = error
        if receipt is None:
            receipt = self._look_again(request, failure)
        self._settle()
        return receipt

    def abort(self) -> None:
        """Roll back."""
        self._settle()

    @property
    def _buffer_bytes(self) -> int:
        return min(_INSERT_BYTES, self._spec.buffer_bytes)

    def _connected(self) -> duckdb.DuckDBPyConnection:
        if self._session is None:
            limit_mb = self._options.memory_limit_mb
            memory_bytes = (
                max(_MIN_MEMORY_BYTES, _BUFFERS * self._spec.buffer_bytes) if limit_mb is None else limit_mb * 2**20
            )
            self._session = self._database.session(memory_bytes=memory_bytes, run_id=self._spec.run_id)
        return self._session

    def _refuse_keys_without_column(self, schema: pa.Schema) -> None:
        if schema.names and self._spec.write == "merge":
            require_key_columns(schema, self._spec.primary_key, self._title)

    def _stage(
        self, session: duckdb.DuckDBPyConnection, table: str, columns: Sequence[Column[str]], sequence: str | None
    ) -> Inserts:
        """Make a temporary table in which rows wait, all of them nullable."""
        numbered = [Column(sequence, "BIGINT")] if sequence is not None else []
        create(session, table, [*(Column(column.name, column.type) for column in columns), *numbered], temporary=True)
        return Inserts(session, table, [column.name for column in columns], self._buffer_bytes, sequence)

    def _shape_table(self, session: duckdb.DuckDBPyConnection) -> None:
        """Make or change the table within the transaction; an overwrite empties it."""
        assert self._incoming is not None  # noqa: S101  only called once a schema is known
        self._table.apply(session, self._table.shape(session, stream_columns(session, self._incoming)))
        if self._spec.write == "overwrite":
            self._deleted = db.count(session, f"DELETE FROM {self._table.sql(session)}")

    def _land(self, session: duckdb.DuckDBPyConnection, request: CommitRequest) -> Receipt | None:
        """Do the whole commit; None where the state is not of the expected generation."""
        written = rejected = 0
        if self._rows is not None:
            written = self._rows.flush()
        if self._rejected is not None:
            rejected = self._rejected.flush()
        if self._rows is None:
            self._database.make(session, self._spec.namespace)
        if self._rows is None or self._staged:
            session.begin()
        state = request.next_state(self._spec.run_id, self._pointer(rejected))
        has_table = self._rows is not None or bool(self._table.columns(session))
        if not db.move_state(
            session, self._state_key, expected=request.expected_generation, state=state, has_table=has_table
        ):
            return None
        inserted, updated = written, 0
        if self._staged and self._rows is not None:
            self._shape_table(session)
            inserted, updated = self._take_staged(session, self._rows)
        if self._rejected is not None:
            self._take_rejected(session, self._rejected)
        db.remember(session, self._state_key, state, rows_added=inserted + updated)
        self._committing = True
        session.commit()
        return self._receipt(request, inserted, updated)

    def _take_staged(self, session: duckdb.DuckDBPyConnection, rows: Inserts) -> tuple[int, int]:
        """Move what waited into the table; give how many rows were inserted and updated, and note the deleted ones."""
        names = [quoted(name) for name in rows.columns if name != self._gone]
        if not names:
            return 0, 0
        schema = cast("pa.Schema", self._incoming)
        order = ", ".join(
            f"{quoted(key.column)} {'DESC' if key.descending else 'ASC'} NULLS {'FIRST' if key.nulls_first else 'LAST'}"
            for key in parse_sort_order(self._options.sort_by, schema)
        )
        ordered = f" ORDER BY {order}" if order else ""
        if self._spec.write != "merge":
            select = f"SELECT {', '.join(names)} FROM {_STAGE}{ordered}"
            return db.count(session, f"INSERT INTO {self._table.sql(session)} ({', '.join(names)}) {select}"), 0
        keys = [quoted(key) for key in self._spec.primary_key]
        number = quoted(cast("str", rows.sequence))
        gone = quoted(self._gone)
        # Of the rows of one key only the last one counts.
        last = f"{_STAGE} WHERE {number} IN (SELECT max({number}) FROM {_STAGE} GROUP BY {', '.join(keys)})"
        same = " AND ".join(f"old.{key} = new.{key}" for key in keys)
        table = self._table.sql(session)
        if self._deletes:
            delete = f"DELETE FROM {table} old USING (FROM {last} AND {gone}) new WHERE {same}"
            self._deleted = db.count(session, delete)
        last = f"{last} AND {gone} IS NULL"
        total = db.count(session, f"SELECT count(*) FROM {last}")
        known = db.count(
            session,
            f"SELECT count(*) FROM (FROM {last}) new WHERE EXISTS (FROM {table} old WHERE {same})",
        )
        values = [name for name in names if name not in keys]
        update = f"UPDATE SET {', '.join(f'{name} = new.{name}' for name in values)}" if values else "DO NOTHING"
        session.execute(
            f"MERGE INTO {table} old USING (SELECT * FROM {last}{ordered}) new ON {same}"
            f" WHEN MATCHED THEN {update}"
            f" WHEN NOT MATCHED THEN INSERT ({', '.join(names)}) VALUES ({', '.join(f'new.{name}' for name in names)})"
        )
        return total - known, known

    def _take_rejected(self, session: duckdb.DuckDBPyConnection, rows: Inserts) -> None:
        """Move rejected rows into their table; a column whose type has changed over time becomes text."""
        assert self._rejected_schema is not None  # noqa: S101  set with the first rejected row
        columns = stream_columns(session, self._rejected_schema)
        self._rejects.apply(session, self._rejects.shape(session, columns, wider_or_text))
        names = ", ".join(quoted(name) for name in rows.columns)
        session.execute(f"INSERT INTO {self._rejects.sql(session)} ({names}) SELECT {names} FROM {_REJECTS}")

    def _pointer(self, rejected: int) -> dict[str, Any] | None:
        if not rejected:
            return None
        return {
            "table": self._spec.quarantine_name,
            "namespace": self._spec.namespace,
            "rows": rejected,
            "run_id": self._spec.run_id,
        }

    def _receipt(self, request: CommitRequest, inserted: int | None, updated: int | None) -> Receipt:
        return Receipt(
            commit_id=request.commit_id,
            generation=request.expected_generation + 1,
            inserted=inserted,
            updated=updated,
            deleted=self._deleted,
            bytes_written=self._rows.size_bytes if self._rows is not None else 0,
        )

    def _look_again(self, request: CommitRequest, failure: DativoError | None) -> Receipt:
        """Find out what became of a commit that did not say that it landed.

        Raises:
            FencedError: Another run has moved the state.
            CommitStateUnknownError: The commit was begun and the state cannot be read.
        """
        try:
            state = self._reread()
        except DativoError as error:
            if not self._committing:
                raise failure or error from error
            raise CommitStateUnknownError(
                f"{self._title}: the commit failed and its outcome cannot be read: {failure}",
                details={"commit_id": request.commit_id},
                hint="the next run reads what is there",
            ) from failure
        if state.commit_id == request.commit_id:
            return self._receipt(request, None, None)
        if state.generation == request.expected_generation and failure is not None:
            raise failure
        raise FencedError(
            f"{self._title}: run {state.run_id} committed generation {state.generation} of stream {self._spec.stream},"
            f" this run read generation {request.expected_generation}",
            details={"found": state.generation, "expected": request.expected_generation, "run_id": state.run_id},
            hint="nothing of this run landed; let one run of a job at a time do the work",
        ) from failure

    def _reread(self) -> CommittedState:
        self._settle()
        try:
            return self.load_state()
        except DativoError:
            # After a failure in the midst of a commit DuckDB refuses to go on before the file is opened anew.
            self._settle()
            self._database.close()
            return self.load_state()

    def _settle(self) -> None:
        """Let go of the session: what is not committed is rolled back, what waits is dropped."""
        if self._session is not None:
            with contextlib.suppress(duckdb.Error):  # a broken session has nothing left to let go of
                self._session.close()
        self._session = None


def _free_name(name: str, schema: pa.Schema) -> str:
    """Give a column name that the schema does not have: ``name``, or longer."""
    taken = {folded(each) for each in schema.names}
    return next(each for each in (name + "_" * more for more in itertools.count()) if each not in taken)


def _options(given: Mapping[str, Any], *, where: str) -> DuckDBOptions:
    """Parse options; what is empty counts as not given, so that it does not hide the target's own."""
    options = {key: value for key, value in given.items() if value not in (None, [], (), {})}
    for name, why in (
        ("partition_by", "DuckDB tables have no partitions; sort_by makes filters as fast"),
        ("properties", "DuckDB tables have no properties"),
    ):
        if name in options:
            raise InvalidConfigError(f"{where}.{name}: {why}")
    return parse(DuckDBOptions, options, where=where)


def _local(path: str) -> Path:
    if "://" in path or path.startswith((":memory:", "md:")):
        raise InvalidConfigError(f"target.connection.path: {path} is no local file, which the duckdb target needs")
    return Path(path)


def _state_key(spec: TableSpec) -> str:
    """Give the key of a stream's state: a stream that goes into another table now has loaded nothing there."""
    return f"{spec.state_key} in {folded(_table(spec).title)}"


def _table(spec: TableSpec) -> Table:
    return Table(spec.namespace or "main", spec.name)


def _title(spec: TableSpec) -> str:
    return ".".join(name for name in (spec.namespace, spec.name) if name is not None)
