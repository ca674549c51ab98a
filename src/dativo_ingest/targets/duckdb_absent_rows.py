"""Rows of a DuckDB table whose keys the source has no more: found in temporary tables, and handed on to the merge."""
# ruff: noqa: S608  names are quoted, values are parameters

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from dativo_ingest.targets.duckdb_database import count
from dativo_ingest.targets.duckdb_tables import Inserts, Table, create, folded, stream_columns
from dativo_ingest.targets.duckdb_types import quoted
from dativo_ingest.targets.evolution import Column
from dativo_plugin_sdk import KeyComparison

_KEYS = 'temp.main."_dativo_source_keys"'
_ABSENT = 'temp.main."_dativo_absent"'
_EXAMPLES = 10


class AbsentRows:
    """The rows of one table that the source does not have.

    Args:
        session: Where; its temporary tables are used.
        table: The table, as it is committed.
        title: Its name in messages.
        buffer_bytes: How much Arrow data to gather before it is inserted.
    """

    def __init__(self, session: duckdb.DuckDBPyConnection, table: Table, title: str, *, buffer_bytes: int) -> None:
        self._session = session
        self._table = table
        self._title = title
        self._buffer_bytes = buffer_bytes
        self._names: Sequence[str] = ()

    def find(self, schema: pa.Schema, keys: Iterator[pa.RecordBatch], *, marked: str | None) -> KeyComparison:
        """Find them; where the table has no rows to compare, the keys are not asked for."""
        session = self._session
        there = {folded(column.name) for column in self._table.columns(session)}
        if not all(folded(name) in there for name in schema.names):
            return KeyComparison()
        self._names = schema.names
        live = [f"old.{quoted(name)} IS NOT NULL" for name in schema.names]
        if marked is not None and folded(marked) in there:
            live.append(f"old.{quoted(marked)} IS NOT TRUE")
        rows = f"{self._table.sql(session)} old WHERE {' AND '.join(live)}"
        table_rows = count(session, f"SELECT count(*) FROM {rows}")
        if not table_rows:
            return KeyComparison()
        source_keys = self._take(schema, keys)
        same = " AND ".join(f"old.{name} = new.{name}" for name in map(quoted, schema.names))
        named = ", ".join(map(quoted, schema.names))
        session.execute(
            f"CREATE TEMPORARY TABLE {_ABSENT} AS SELECT {named} FROM {rows} AND NOT EXISTS (FROM {_KEYS} new"
            f" WHERE {same})"
        )
        session.execute(f"DROP TABLE {_KEYS}")
        absent = count(session, f"SELECT count(*) FROM {_ABSENT}")
        few = session.sql(f"FROM {_ABSENT} ORDER BY ALL LIMIT {_EXAMPLES}").to_arrow_reader()
        return KeyComparison(source_keys, table_rows, absent, next(few, None))

    def delete(self, rows: Inserts, *, gone: str) -> None:
        """Add their keys to the rows that wait, as ones that go."""
        named = ", ".join(map(quoted, self._names))
        rows.add_query([*self._names, gone], f"{named}, true FROM {_ABSENT}")

    def mark(self, rows: Inserts, *, but: str, marks: Mapping[str, pa.Scalar[Any]]) -> None:
        """Add them to the rows that wait, with the values they have and those that they get."""
        there = {folded(column.name) for column in self._table.columns(self._session)}
        columns = [name for name in rows.columns if name != but and (folded(name) in there or name in marks)]
        values = ["?" if name in marks else f"old.{quoted(name)}" for name in columns]
        same = " AND ".join(f"old.{name} = new.{name}" for name in map(quoted, self._names))
        table = self._table.sql(self._session)
        rows.add_query(
            columns,
            f"{', '.join(values)} FROM {table} old WHERE EXISTS (FROM {_ABSENT} new WHERE {same})",
            [marks[name].as_py() for name in columns if name in marks],
        )

    def _take(self, schema: pa.Schema, keys: Iterator[pa.RecordBatch]) -> int:
        """Insert the source's keys, with the types that the table's columns are to have."""
        session = self._session
        shape = self._table.shape(session, stream_columns(session, schema), only_these=True)
        types = {folded(column.name): column.type for column in shape.columns}
        create(session, _KEYS, [Column(name, types[folded(name)]) for name in schema.names], temporary=True)
        rows = Inserts(session, _KEYS, schema.names, self._buffer_bytes)
        for batch in keys:
            rows.add(batch)
        return rows.flush()
