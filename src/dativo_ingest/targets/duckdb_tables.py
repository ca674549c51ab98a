"""DuckDB tables as `evolve` sees them, and rows on their way into one."""
# ruff: noqa: S608  names are quoted, values are parameters

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from dativo_ingest.targets.duckdb_database import full_name
from dativo_ingest.targets.duckdb_types import quoted, readable, sql_type, wider
from dativo_ingest.targets.evolution import Change, Column, evolve
from dativo_plugin_sdk import SchemaValidationError

_BATCH = "_dativo_batch"


class Shape(NamedTuple):
    """How a table is to be; ``exists`` says whether it has to be made."""

    exists: bool
    columns: Sequence[Column[str]]
    changes: Sequence[Change[str]]


class Table:
    """A table by its name: `sql` is it in a statement, ``title`` in a message."""

    def __init__(self, schema: str, name: str) -> None:
        self._schema = schema
        self._name = name
        self.title = f"{schema}.{name}"

    def sql(self, session: duckdb.DuckDBPyConnection) -> str:
        """Give the table's full name, quoted."""
        return full_name(session, self._schema, self._name)

    def shape(
        self,
        session: duckdb.DuckDBPyConnection,
        incoming: Sequence[Column[str]],
        wider: Callable[[str, str], str | None] = wider,
        *,
        only_these: bool = False,
    ) -> Shape:
        """Find out what the table must become to take these columns; with ``only_these``, the others do not matter."""
        there = self.columns(session)
        if only_these:
            asked = {folded(column.name) for column in incoming}
            there = [column for column in there if folded(column.name) in asked]
        if there and self._is_view(session):
            raise SchemaValidationError(f"{self.title} is a view, a table is needed", hint="choose another table name")
        if not there and not incoming:
            raise SchemaValidationError(
                f"{self.title}: a DuckDB table needs at least one column, the stream has none",
                hint="give the stream a contract that names its columns",
            )
        if not there:
            return Shape(exists=False, columns=incoming, changes=())
        if not incoming:
            return Shape(exists=True, columns=there, changes=())
        spelt = {folded(column.name): column.name for column in there}
        matched = [replace(column, name=spelt.get(folded(column.name), column.name)) for column in incoming]
        columns, changes = evolve(there, matched, wider, name=self.title)
        return Shape(exists=True, columns=columns, changes=changes)

    def columns(self, session: duckdb.DuckDBPyConnection) -> list[Column[str]]:
        """List the table's columns in order; none where there is no such table."""
        return _table_columns(session, self._schema, self._name)

    def _is_view(self, session: duckdb.DuckDBPyConnection) -> bool:
        rows = session.execute(
            "SELECT 1 FROM duckdb_views() WHERE database_name = current_database()"
            " AND lower(schema_name) = lower(?) AND lower(view_name) = lower(?)",
            [self._schema, self._name],
        ).fetchall()
        return bool(rows)

    def apply(self, session: duckdb.DuckDBPyConnection, shape: Shape) -> None:
        """Make the table, or change it."""
        if shape.exists:
            _alter(session, self.sql(session), shape.changes)
        else:
            create(session, self.sql(session), shape.columns)


def _cast(table: pa.Table) -> pa.Table:
    """Cast the few types that DuckDB cannot read from Arrow to ones that keep the same values."""
    schema = pa.schema([field.with_type(readable(field.type)) for field in table.schema])
    return table if schema == table.schema else table.cast(schema)


class Inserts:
    """Rows on their way into a table: gathered by bytes, inserted together.

    Args:
        session: Where; its transaction, if there is one, is used.
        table: The table as SQL.
        columns: The columns to fill; what a batch lacks is null.
        buffer_bytes: How much to gather.
        sequence: A column that numbers the rows from 0.
    """

    def __init__(
        self,
        session: duckdb.DuckDBPyConnection,
        table: str,
        columns: Sequence[str],
        buffer_bytes: int,
        sequence: str | None = None,
    ) -> None:
        self.columns = list(columns)
        self.sequence = sequence
        self.size_bytes = 0
        self._session = session
        self._table = table
        self._buffer_bytes = buffer_bytes
        self._batches: list[pa.RecordBatch] = []
        self._held_bytes = 0
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows."""
        unknown = [name for name in batch.schema.names if name not in self.columns]
        if unknown:
            raise SchemaValidationError(f"columns that the table was not opened with: {', '.join(unknown)}")
        if self._batches and batch.schema != self._batches[0].schema:
            self.flush()
        self._batches.append(batch)
        self._held_bytes += batch.nbytes
        self.size_bytes += batch.nbytes
        if self._held_bytes >= self._buffer_bytes:
            self.flush()

    def add_query(self, columns: Sequence[str], select: str, parameters: Sequence[object] = ()) -> int:
        """Take the rows of a query, after those that were added; give how many they are.

        Args:
            columns: What the query selects.
            select: The query, without its SELECT.
            parameters: Of the query.
        """
        self.flush()
        names = ", ".join(map(quoted, columns))
        number = f", {self._rows - 1} + row_number() OVER ()" if self.sequence is not None else ""
        sequence = f", {quoted(self.sequence)}" if self.sequence is not None else ""
        found = self._session.execute(
            f"INSERT INTO {self._table} ({names}{sequence}) SELECT *{number} FROM (SELECT {select})", list(parameters)
        ).fetchall()
        self._rows += found[0][0]
        return int(found[0][0])

    def flush(self) -> int:
        """Insert what is held; give how many rows there were so far."""
        rows = sum(batch.num_rows for batch in self._batches)
        if rows:
            self._insert(_cast(pa.Table.from_batches(self._batches)))
        self._rows += rows
        self._batches, self._held_bytes = [], 0
        return self._rows

    def _insert(self, table: pa.Table) -> None:
        if self.sequence is not None:
            numbers = pa.array(np.arange(self._rows, self._rows + table.num_rows))
            table = table.append_column(self.sequence, numbers)
        names = ", ".join(quoted(name) for name in table.column_names)
        self._session.register(_BATCH, table)
        try:
            self._session.execute(f"INSERT INTO {self._table} ({names}) SELECT {names} FROM {quoted(_BATCH)}")
        finally:
            with contextlib.suppress(duckdb.Error):  # after a failure the transaction takes no more commands
                self._session.unregister(_BATCH)


def _table_columns(session: duckdb.DuckDBPyConnection, schema: str, table: str) -> list[Column[str]]:
    """List a table's columns in order; none where there is no such table. Names match as DuckDB's do."""
    rows = session.execute(
        "SELECT column_name, data_type, is_nullable FROM duckdb_columns()"
        " WHERE database_name = current_database() AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?)"
        " ORDER BY column_index",
        [schema, table],
    ).fetchall()
    return [Column(name, data_type, nullable) for name, data_type, nullable in rows]


def stream_columns(session: duckdb.DuckDBPyConnection, schema: pa.Schema) -> list[Column[str]]:
    """Give a stream's columns with their types spelt as DuckDB spells them.

    Raises:
        SchemaValidationError: A type that DuckDB does not have, or names that are one name to it.
    """
    spelt: dict[str, str] = {}
    for name in schema.names:
        other = spelt.setdefault(folded(name), name)
        if schema.names.count(name) > 1 or other != name:
            raise SchemaValidationError(
                f"columns {other!r} and {name!r} are one name to DuckDB, which does not tell capitals apart",
                hint="name only one of them in the contract, or rename one in the source, as a query can",
            )
    if not schema.names:
        return []
    types = [sql_type(field.name, field.type) for field in schema]
    nulls = ", ".join(f"CAST(NULL AS {each}) AS {quoted(f.name)}" for f, each in zip(schema, types, strict=True))
    described = session.execute(f"DESCRIBE SELECT {nulls}").fetchall()
    return [Column(field.name, row[1], field.nullable) for field, row in zip(schema, described, strict=True)]


def folded(name: str) -> str:
    """Fold a name as DuckDB does when it compares: ASCII capitals only."""
    return name.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")


def create(
    session: duckdb.DuckDBPyConnection, table: str, columns: Sequence[Column[str]], *, temporary: bool = False
) -> None:
    """Create a table; ``table`` is quoted already."""
    parts = [f"{quoted(c.name)} {c.type}{'' if c.nullable else ' NOT NULL'}" for c in columns]
    kind = "TEMPORARY TABLE" if temporary else "TABLE"
    session.execute(f"CREATE {kind} {table} ({', '.join(parts)})")


def _alter(session: duckdb.DuckDBPyConnection, table: str, changes: Sequence[Change[str]]) -> None:
    """Apply changes to a table; ``table`` is quoted already."""
    for change in changes:
        name = quoted(change.column.name)
        match change.kind:
            case "add":
                session.execute(f"ALTER TABLE {table} ADD COLUMN {name} {change.column.type}")
            case "widen":
                session.execute(f"ALTER TABLE {table} ALTER COLUMN {name} SET DATA TYPE {change.column.type}")
            case "relax":
                session.execute(f"ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL")
