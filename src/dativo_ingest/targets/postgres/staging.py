"""Rows that wait for the commit, in a temporary table of the session: its end, however it comes, takes them away.

Each filling of the buffer is a COPY and a transaction of its own, so a run of hours keeps no transaction open and does
not hold back the server's vacuum. Temporary tables write no log.
"""
# ruff: noqa: S608  names are quoted, values are parameters

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from dativo_ingest.postgres.names import quoted
from dativo_ingest.postgres.sessions import Session, run
from dativo_ingest.targets.evolution import Column
from dativo_ingest.targets.postgres.values import Array, has_nul, nul_error, without_nul, writable
from dativo_plugin_sdk import SchemaValidationError

_BUFFER_BYTES = 16 * 2**20
_COPY_BYTES = 4 * 2**20
_CSV = csv.WriteOptions(include_header=False, quoting_style="needed", batch_size=16_384)


class Staging:
    """A temporary table, filled by COPY.

    Args:
        session: Where; no transaction may be open while rows are added.
        name: The table's name, one a session.
        columns: The stream's columns, with the types that keep its values.
        types: Types that the table's columns have instead, by name.
        buffer_bytes: How much to gather before a COPY.
        keys: The columns of the key where rows are merged: they are numbered then, and may be deletions.
        remove_nul: Whether texts lose the character NUL.
    """

    def __init__(  # noqa: PLR0913  the columns and how they are written
        self,
        session: Session,
        name: str,
        columns: Sequence[Column[str]],
        *,
        types: Mapping[str, str],
        buffer_bytes: int,
        keys: Sequence[str] = (),
        remove_nul: bool = False,
    ) -> None:
        self.sql = f"pg_temp.{quoted(name)}"
        self.columns = [column.name for column in columns]
        self.keys = list(keys)
        self.size_bytes = 0
        self.deletes = False
        self.number, self.gone = (_free_name(each, self.columns) for each in ("_dativo_number", "_dativo_gone"))
        self._session = session
        self._buffer_bytes = min(_BUFFER_BYTES, buffer_bytes)
        self._remove_nul = remove_nul
        # JSON is written as such, whatever the table's column is.
        self._types = {c.name: c.type if c.type == "jsonb" else types.get(c.name, c.type) for c in columns}
        self._batches: list[pa.RecordBatch] = []
        self._held_bytes = 0
        self._rows = 0
        self._stored = {column.name: types.get(column.name, column.type) for column in columns}
        parts = [f"{quoted(name)} {kind}" for name, kind in self._stored.items()]
        if keys:
            parts += [f"{quoted(self.number)} bigint", f"{quoted(self.gone)} boolean"]
        run(session, f"DROP TABLE IF EXISTS {self.sql}")
        run(session, f"CREATE TEMPORARY TABLE {quoted(name)} ({', '.join(parts)})")

    def type_of(self, column: str) -> str:
        """Give the type that a column has here."""
        return self._stored[column]

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows; a column that the batch lacks is null."""
        unknown = [name for name in batch.schema.names if name not in self._types]
        if unknown:
            raise SchemaValidationError(f"columns that the table was not opened with: {', '.join(unknown)}")
        self._hold(batch)

    def delete(self, keys: pa.RecordBatch) -> None:
        """Take keys whose rows are to go."""
        self.deletes = True
        self._hold(keys.append_column(self.gone, pa.repeat(pa.scalar(True), keys.num_rows)))  # noqa: FBT003  a value

    def add_query(self, columns: Sequence[str], select: str, *parameters: object) -> None:
        """Take the rows of a query on this server, after those that were added.

        Args:
            columns: What the query selects.
            select: The query, without its SELECT.
            parameters: Of the query.
        """
        self.flush()
        names = ", ".join(map(quoted, [*columns, self.number]))
        self._rows += run(
            self._session,
            f"INSERT INTO {self.sql} ({names}) SELECT found.*, {self._rows - 1} + row_number() OVER ()"
            f" FROM (SELECT {select}) found",
            *parameters,
        )

    def delete_query(self, keys: Sequence[str], select: str) -> None:
        """Take the keys that a query on this server finds, as ones whose rows are to go."""
        self.deletes = True
        self.add_query([*keys, self.gone], f"{', '.join(map(quoted, keys))}, true FROM {select}")

    def flush(self) -> int:
        """Copy what is held; give how many rows there were so far."""
        batches, self._batches, self._held_bytes = self._batches, [], 0
        if batches and batches[0].num_columns:
            self._copy(batches)
        return self._rows

    def settle(self) -> None:
        """Let the last row of each key alone remain, and tell the planner how many there are."""
        self.flush()
        if not self._rows:
            return
        keys = ", ".join(map(quoted, self.keys))
        number = quoted(self.number)
        run(
            self._session,
            f"DELETE FROM {self.sql} old USING (SELECT ctid AS place, lead({number}) OVER (PARTITION BY {keys}"
            f" ORDER BY {number}) AS later FROM {self.sql}) known WHERE old.ctid = known.place AND later IS NOT NULL",
        )
        run(self._session, f"ANALYZE {self.sql}")

    def _hold(self, batch: pa.RecordBatch) -> None:
        if self._batches and batch.schema != self._batches[0].schema:
            self.flush()
        self._batches.append(batch)
        self._held_bytes += batch.nbytes
        if self._held_bytes >= self._buffer_bytes:
            self.flush()

    def _copy(self, batches: Sequence[pa.RecordBatch]) -> None:
        names = [*batches[0].schema.names, *([self.number] if self.keys else [])]
        statement: Any = f"COPY {self.sql} ({', '.join(map(quoted, names))}) FROM STDIN (FORMAT csv)"
        with self._session.cursor() as cursor, cursor.copy(statement) as copy:
            for part in (part for batch in batches for part in _slices(batch, _COPY_BYTES)):
                text = self._text(part)
                copy.write(text)
                self.size_bytes += len(text)
                self._rows += part.num_rows

    def _text(self, batch: pa.RecordBatch) -> bytes:
        """Give the rows as CSV, in which an empty field is null and an empty text is quoted."""
        columns = {
            name: writable(name, batch.column(name), self._types.get(name, "boolean"), remove_nul=self._remove_nul)
            for name in batch.schema.names
        }
        text = self._csv(columns, batch.num_rows)
        if b"\0" in text:
            found = [name for name, column in columns.items() if has_nul(column)]
            if not self._remove_nul:
                raise nul_error(found[0])
            text = self._csv(columns | {name: without_nul(columns[name]) for name in found}, batch.num_rows)
        return text

    def _csv(self, columns: Mapping[str, Array], rows: int) -> bytes:
        arrays: list[Any] = list(columns.values())
        if self.keys:
            arrays.append(pa.array(np.arange(self._rows, self._rows + rows)))
        stream = pa.BufferOutputStream()
        csv.write_csv(pa.RecordBatch.from_arrays(arrays, [str(number) for number in range(len(arrays))]), stream, _CSV)
        return stream.getvalue().to_pybytes()


def _slices(batch: pa.RecordBatch, max_bytes: int) -> Iterator[pa.RecordBatch]:
    rows = max(1, min(batch.num_rows, batch.num_rows * max_bytes // max(batch.nbytes, 1)))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _free_name(name: str, taken: Sequence[str]) -> str:
    """Give a column name that is not taken: ``name``, or longer."""
    return next(each for each in (name + "_" * more for more in itertools.count()) if each not in taken)
