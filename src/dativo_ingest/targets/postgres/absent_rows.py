"""Rows of a Postgres table whose keys the source has no more: found in temporary tables, and handed on to the merge."""
# ruff: noqa: S608  names are quoted, values are parameters

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from dativo_ingest.postgres.names import quoted
from dativo_ingest.postgres.sessions import Session, ask, run, value
from dativo_ingest.targets.postgres.staging import Staging
from dativo_ingest.targets.postgres.tables import Table, stream_columns
from dativo_plugin_sdk import KeyComparison

_KEYS = "_dativo_source_keys"
_ABSENT = "_dativo_absent"
_EXAMPLES = 10


class AbsentRows:
    """The rows of one table that the source does not have.

    Args:
        session: Where; its temporary tables are used, and no transaction is open.
        table: The table, as it is committed.
        buffer_bytes: How much Arrow data to gather before it is copied.
        remove_nul: Whether texts lose the character NUL.
    """

    def __init__(self, session: Session, table: Table, *, buffer_bytes: int, remove_nul: bool) -> None:
        self._session = session
        self._table = table
        self._buffer_bytes = buffer_bytes
        self._remove_nul = remove_nul
        self._names: Sequence[str] = ()
        self._sql = f"pg_temp.{quoted(_ABSENT)}"

    def find(self, schema: pa.Schema, keys: Iterator[pa.RecordBatch], *, marked: str | None) -> KeyComparison:
        """Find them; where the table has no rows to compare, the keys are not asked for."""
        session, there = self._session, self._columns()
        if not set(schema.names) <= there:
            return KeyComparison()
        self._names = schema.names
        live = [f"old.{quoted(name)} IS NOT NULL" for name in schema.names]
        if marked is not None and marked in there:
            live.append(f"old.{quoted(marked)} IS NOT TRUE")
        rows = f"{self._table.sql} old WHERE {' AND '.join(live)}"
        if not value(session, f"SELECT EXISTS (SELECT FROM {rows})"):
            return KeyComparison()
        found, source_keys = self._take(schema, keys)
        same = " AND ".join(f"old.{name} = new.{name}" for name in map(quoted, schema.names))
        named = ", ".join(map(quoted, schema.names))
        run(session, f"DROP TABLE IF EXISTS {self._sql}")
        absent = run(
            session,
            f"CREATE TEMPORARY TABLE {quoted(_ABSENT)} AS SELECT {named} FROM {rows} AND NOT EXISTS"
            f" (SELECT FROM {found} new WHERE {same})",
        )
        run(session, f"DROP TABLE {found}")
        run(session, f"ANALYZE {self._sql}")
        few = ask(
            session,
            f"SELECT {', '.join(f'{n}::text' for n in map(quoted, schema.names))} FROM {self._sql} LIMIT {_EXAMPLES}",
        )
        columns = [pa.array([row[number] for row in few], pa.string()) for number in range(len(schema))]
        return KeyComparison(
            source_keys,
            value(session, f"SELECT count(*) FROM {rows}"),
            absent,
            pa.RecordBatch.from_arrays(columns, schema.names),
        )

    def delete(self, rows: Staging) -> None:
        """Add their keys to the rows that wait, as ones that go."""
        rows.delete_query(self._names, self._sql)

    def mark(self, rows: Staging, marks: Mapping[str, pa.Scalar[Any]]) -> None:
        """Add them to the rows that wait, with the values they have and those that they get."""
        there = self._columns()
        columns = [name for name in rows.columns if name in there or name in marks]
        given = [name for name in columns if name in marks]
        values = [
            f"${given.index(name) + 1}::{rows.type_of(name)}" if name in marks else f"old.{quoted(name)}"
            for name in columns
        ]
        same = " AND ".join(f"old.{name} = new.{name}" for name in map(quoted, self._names))
        rows.add_query(
            columns,
            f"{', '.join(values)} FROM {self._table.sql} old WHERE EXISTS (SELECT FROM {self._sql} new WHERE {same})",
            *(marks[name].as_py() for name in given),
        )

    def _columns(self) -> set[str]:
        return {each.column.name for each in self._table.columns(self._session)}

    def _take(self, schema: pa.Schema, keys: Iterator[pa.RecordBatch]) -> tuple[str, int]:
        """Copy the source's keys into a table with the types that the table's columns are to have."""
        session = self._session
        columns = stream_columns(schema, name=self._table.title)
        shape = self._table.shape(session, columns, only_these=True)
        rows = Staging(
            session,
            _KEYS,
            columns,
            types=shape.types,
            buffer_bytes=self._buffer_bytes,
            remove_nul=self._remove_nul,
        )
        for batch in keys:
            rows.add(batch)
        count = rows.flush()
        run(session, f"ANALYZE {rows.sql}")
        return rows.sql, count
