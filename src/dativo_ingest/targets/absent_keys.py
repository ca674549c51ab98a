"""Which keys of a table the source has no more: both sides wait in DuckDB, on disk where memory does not hold them.

For tables that have no engine of their own. Keys are compared byte by byte: never are two different ones taken for one.
"""
# ruff: noqa: S608  names are ours

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from dativo_ingest.targets.duckdb_database import count, quiet
from dativo_ingest.targets.duckdb_errors import translated
from dativo_ingest.targets.duckdb_tables import Inserts, create
from dativo_ingest.targets.duckdb_types import sql_type
from dativo_ingest.targets.evolution import Column
from dativo_plugin_sdk import KeyComparison

_LEAST_MEMORY_BYTES = 64 * 2**20
_BUFFER_BYTES = 16 * 2**20
_READ_ROWS = 65_536
_EXAMPLES = 10
_SOURCE, _TABLE, _ABSENT = "source_keys", "table_keys", "absent_keys"


class AbsentKeys:
    """Takes keys of both sides, then gives those of the table that the source lacks.

    Args:
        schema: The columns of the key, in the types in which keys are the same when their values are.
        run_id: Begins the name of the folder in which what memory does not hold waits.
        memory_bytes: What to hold in memory.
    """

    def __init__(self, schema: pa.Schema, *, run_id: str, memory_bytes: int) -> None:
        self._schema = schema
        self._bare = pa.schema([(f"k{number}", _bare_type(field.type)) for number, field in enumerate(schema)])
        self._stack = contextlib.ExitStack()
        with translated("comparing keys"):
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix=f"dativo-{run_id}-"))
            self._session = quiet(self._stack.enter_context(duckdb.connect()))
            memory_bytes = max(_LEAST_MEMORY_BYTES, memory_bytes)
            for name, setting in (("memory_limit", f"{memory_bytes}B"), ("temp_directory", folder)):
                self._session.execute(f"SET {name} = '{setting}'")
            self._session.execute("SET threads = 1")
            self._session.execute("SET preserve_insertion_order = false")
        self._source = self._inserts(_SOURCE)
        self._table = self._inserts(_TABLE)

    def compare(self, source: Iterator[pa.RecordBatch], table: Iterator[pa.RecordBatch]) -> KeyComparison:
        """Take all keys of both sides, the table's first: where it has none, the source is not asked.

        Args:
            source: Keys without nulls.
            table: Keys of the table's rows; those with a null are left out.
        """
        for batch in table:
            with translated("comparing keys"):
                self._table.add(self._bared(batch))
        with translated("comparing keys"):
            table_rows = self._table.flush()
        if not table_rows:
            return KeyComparison()
        for batch in source:
            with translated("comparing keys"):
                self._source.add(self._bared(batch))
        with translated("comparing keys"):
            source_keys = self._source.flush()
            same = " AND ".join(f"t.{name} = s.{name}" for name in self._bare.names)
            self._session.execute(
                f"CREATE TABLE {_ABSENT} AS FROM {_TABLE} t WHERE NOT EXISTS (FROM {_SOURCE} s WHERE {same})"
            )
            self._session.execute(f"DROP TABLE {_SOURCE}; DROP TABLE {_TABLE}")
            absent = count(self._session, f"SELECT count(*) FROM {_ABSENT}")
        return KeyComparison(source_keys, table_rows, absent, next(self.batches(_EXAMPLES), None))

    def batches(self, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Give the keys that the source lacks, as the table has them, in no order."""
        with translated("comparing keys"):
            query = f"FROM {_ABSENT}" if limit is None else f"FROM {_ABSENT} ORDER BY ALL LIMIT {limit}"
            for batch in self._session.sql(query).to_arrow_reader(_READ_ROWS):
                if batch.num_rows:
                    yield self._dressed(batch)

    def close(self) -> None:
        """Let go of memory and disk; may be called twice."""
        self._stack.close()

    def _inserts(self, name: str) -> Inserts:
        columns = [Column(field.name, sql_type(field.name, field.type)) for field in self._bare]
        create(self._session, name, columns)
        return Inserts(self._session, name, self._bare.names, _BUFFER_BYTES)

    def _bared(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [_bare(column, field.type) for column, field in zip(batch.columns, self._bare, strict=True)]
        bared = pa.RecordBatch.from_arrays(columns, schema=self._bare)
        return bared.drop_null() if any(column.null_count for column in columns) else bared

    def _dressed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [_dress(column, field.type) for column, field in zip(batch.columns, self._schema, strict=True)]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)


def _bare_type(kind: Any) -> Any:
    """Give the type in which values are the same when DuckDB says so: texts as bytes, moments as numbers."""
    if isinstance(kind, pa.BaseExtensionType):
        return _bare_type(kind.storage_type)
    types = pa.types
    if types.is_date32(kind) or types.is_time32(kind):
        return pa.int32()
    if types.is_temporal(kind):
        return pa.int64()
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_decimal(kind):
        return kind
    return pa.large_binary()


def _bare(column: Any, kind: Any) -> Any:
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.binary())
    return column if column.type == kind else pc.cast(column, kind)


def _dress(column: Any, kind: Any) -> Any:
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _dress(column, kind.storage_type))
    if pa.types.is_fixed_size_binary(kind):
        column = pc.cast(column, pa.binary())
    return column if column.type == kind else pc.cast(column, kind)
