"""Rows and deleted keys that wait for a merge, in a nameless file, from which the last one of each key is read."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dativo_ingest.targets.filesystem import translated
from dativo_ingest.targets.parquet_files import conform

_READ_ROWS = 65_536


class Staging:
    """A file of rows of one schema; `close` lets go of it, and so does the end of the process, however it comes.

    Attributes:
        rows: How many rows and deleted keys wait.
        deletes: Whether any of them is a deleted key.
        gone: The column that is true for deleted keys and null for rows; `last_of_each_key` gives it if there are any.
    """

    def __init__(self, schema: pa.Schema, keys: Sequence[str], *, run_id: str, memory_bytes: int) -> None:
        self.rows = 0
        self._prefix = f"dativo-{run_id}-"  # what a dead run leaves has its name
        self.deletes = False
        free = ("_dativo_gone" + "_" * more for more in itertools.count())
        self.gone = next(name for name in free if name not in schema.names)
        self._schema = schema
        # A deleted key has no values in the other columns.
        optional = [field.with_nullable(True) for field in schema]  # noqa: FBT003  Arrow's signature
        self._stored = pa.schema([*optional, pa.field(self.gone, pa.bool_())])
        self._keys = list(keys)
        self._memory_bytes = memory_bytes
        with translated(Path(tempfile.gettempdir())):
            self._file = tempfile.TemporaryFile(prefix=self._prefix)  # noqa: SIM115  it lives as long as this
            self._writer: pa.RecordBatchStreamWriter | None = pa.ipc.new_stream(
                self._file, self._stored, options=pa.ipc.IpcWriteOptions(compression="zstd")
            )

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows."""
        assert self._writer is not None  # noqa: S101  writing ends with the first reading
        with translated(Path(tempfile.gettempdir())):
            self._writer.write_batch(conform(batch, self._stored))
        self.rows += batch.num_rows

    def delete(self, keys: pa.RecordBatch) -> None:
        """Take keys whose rows go."""
        self.deletes = True
        self.write(keys.append_column(self.gone, pa.repeat(pa.scalar(True), keys.num_rows)))  # noqa: FBT003  a value

    def last_of_each_key(self) -> pa.RecordBatchReader:
        """Read the rows again, without those that a later one of the same key replaces; may be called again."""
        self._end()
        if self.deletes:
            return pa.RecordBatchReader.from_batches(self._stored, self._last())
        rows = (pa.RecordBatch.from_arrays(each.columns[:-1], schema=self._schema) for each in self._last())
        return pa.RecordBatchReader.from_batches(self._schema, rows)

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        with contextlib.suppress(OSError, pa.ArrowException):  # the disk may be full: the file goes anyway
            self._end()
        with contextlib.suppress(OSError):
            self._file.close()

    def _end(self) -> None:
        if self._writer is not None:
            with translated(Path(tempfile.gettempdir())):
                self._writer.close()
                self._file.flush()
            self._writer = None

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with translated(Path(tempfile.gettempdir())), contextlib.closing(_second(self._file.fileno())) as file:
            yield from pa.ipc.open_stream(file)

    def _numbered_keys(self) -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in self._batches():
            numbers = pa.array(range(start, start + batch.num_rows), pa.int64())
            columns = [*(batch.column(key) for key in self._keys), numbers]
            yield pa.RecordBatch.from_arrays(columns, names=self._names)
            start += batch.num_rows

    @property
    def _names(self) -> list[str]:
        return [*(f"k{number}" for number in range(len(self._keys))), "row"]

    def _last(self) -> Iterator[pa.RecordBatch]:
        numbers = self._last_numbers()
        waiting = next(numbers, None)
        start = 0
        for batch in self._batches():
            end = start + batch.num_rows
            parts = []
            while waiting is not None and len(waiting):
                inside = waiting.filter(pc.less(waiting, pa.scalar(end)))  # they are in order
                parts.append(inside)
                waiting = waiting.slice(len(inside)) if len(inside) < len(waiting) else next(numbers, None)
                if waiting is not None and len(waiting) and waiting[0].as_py() >= end:
                    break
            rows = pa.concat_arrays(parts) if parts else pa.array([], pa.int64())
            kept = batch if len(rows) == batch.num_rows else batch.take(pc.subtract(rows, pa.scalar(start)))
            if kept.num_rows:
                yield kept
            start = end

    def _last_numbers(self) -> Iterator[pa.Int64Array]:
        """Give the number of the last row of every key, in order."""
        import duckdb  # noqa: PLC0415  heavy, and only for merges

        keys = pa.RecordBatchReader.from_batches(
            pa.schema(
                [
                    *(pa.field(f"k{number}", self._schema.field(key).type) for number, key in enumerate(self._keys)),
                    pa.field("row", pa.int64()),
                ]
            ),
            self._numbered_keys(),
        )
        with tempfile.TemporaryDirectory(prefix=self._prefix) as folder, duckdb.connect() as connection:
            connection.execute(f"SET memory_limit = '{max(64, self._memory_bytes // 2**20)}MB'")
            connection.execute(f"SET temp_directory = '{folder}'")
            connection.execute("SET threads = 1")
            connection.execute("SET enable_progress_bar = false")  # it would be drawn on the commands' stdout
            connection.register("keys", keys)
            grouped = ", ".join(self._names[:-1])
            found = connection.sql(f'SELECT max("row") AS "row" FROM keys GROUP BY {grouped} ORDER BY 1')  # noqa: S608  names are ours
            for batch in found.to_arrow_reader(_READ_ROWS):
                yield batch.column(0)


def _second(descriptor: int) -> pa.OSFile:
    """Open a file that has no name once more, from its beginning."""
    return pa.OSFile(f"/proc/self/fd/{descriptor}", mode="rb")
