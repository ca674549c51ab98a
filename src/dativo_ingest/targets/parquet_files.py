"""Rows into Parquet files: grouped by folder, in row groups bounded by bytes, rolled at a target size.

``token`` begins every file's name and says whose it is: after a crash, a later run knows them by it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dativo_ingest.targets.parquet_encoding import Dictionaries
from dativo_ingest.targets.parquet_partitions import Partitioning
from dativo_ingest.targets.parquet_storage import DataFolder
from dativo_ingest.targets.sort_order import SortKey
from dativo_plugin_sdk import DataValidationError, SchemaValidationError

Compression: TypeAlias = Literal["zstd", "snappy", "gzip", "lz4", "brotli", "none"]

_MOST_ROW_GROUP_BYTES = 64 * 2**20
_MOST_ROW_GROUP_ROWS = 2**20
_MOST_OPEN_FILES = 64


@dataclass(frozen=True)
class DataFile:
    """One finished file; ``path`` is relative to the table's folder."""

    path: str
    rows: int
    size_bytes: int
    partition: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class FileFormat:
    """How files are to be written."""

    schema: pa.Schema
    compression: Compression = "zstd"
    target_bytes: int = 256 * 2**20
    """A file that has grown beyond is closed; it may end up larger by a row group."""
    sort_by: tuple[SortKey, ...] = ()
    """The order of the rows within each row group."""


def check_storable(schema: pa.Schema, *, name: str) -> None:
    """Find out whether Parquet can keep these types.

    Raises:
        SchemaValidationError: Naming every column that it cannot keep.
    """
    problems = [f"{each.name} ({each.type})" for each in schema if not _storable(each)]
    if problems:
        raise SchemaValidationError(
            f"table {name}: Parquet has no type for: {', '.join(problems)}",
            details={"table": name, "columns": problems},
            hint="give these columns another type in the contract, such as string",
        )
    if len(set(schema.names)) < len(schema.names):
        twice = sorted({each for each in schema.names if schema.names.count(each) > 1})
        raise SchemaValidationError(f"table {name}: columns appear twice: {', '.join(twice)}")


def _storable(column: pa.Field[Any]) -> bool:
    schema = pa.schema([column])
    try:
        pq.write_table(schema.empty_table(), pa.BufferOutputStream())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, OSError):  # the last for a decimal of a scale below 0
        return False
    return True


class ParquetFiles:
    """The files that one run adds to a folder: ``write`` many times, then ``finish``, ``publish`` or ``discard``.

    Args:
        folder: Where they go; hive folders below it are made as needed.
        token: Begins every file's name; nobody else uses it while this run is alive.
        file_format: What the files hold and how.
        partitioning: Which rows go where.
        buffer_bytes: The most bytes of Arrow data held before they go into a file.
    """

    def __init__(
        self, folder: DataFolder, token: str, file_format: FileFormat, partitioning: Partitioning, *, buffer_bytes: int
    ) -> None:
        self._folder = folder
        self._token = token
        self._format = file_format
        self._partitioning = partitioning
        self._buffer_bytes = buffer_bytes
        self._open_bytes = max(folder.most_held_bytes, buffer_bytes // 2)
        self._row_group_bytes = max(1, min(_MOST_ROW_GROUP_BYTES, buffer_bytes // 2))
        self._groups: dict[str, _Group] = {}
        self._open: dict[str, _OpenFile] = {}  # in the order of their last use
        self._held_bytes = 0
        self._dictionaries = Dictionaries()
        self._paths: list[str] = []  # of every file ever begun
        self._finished: list[DataFile] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows: columns in any order, missing ones null, types that fit the files' without loss.

        Raises:
            DataValidationError: A value does not fit the files' schema.
            DiskFullError: No space is left.
        """
        for part in self._partitioning.split(conform(batch, self._format.schema)):
            group = self._groups.setdefault(part.folder, _Group(part.values))
            group.batches.append(part.batch)
            group.rows += part.batch.num_rows
            group.size_bytes += part.batch.nbytes
            self._held_bytes += part.batch.nbytes
            if group.size_bytes >= self._row_group_bytes or group.rows >= _MOST_ROW_GROUP_ROWS:
                self._flush(part.folder)
        while self._held_bytes > self._buffer_bytes:
            self._flush(max(self._groups, key=lambda folder: self._groups[folder].size_bytes))

    def finish(self) -> Sequence[DataFile]:
        """Write what is held, close every file and make it durable; may be called twice."""
        for folder in list(self._groups):
            self._flush(folder)
        for folder in list(self._open):
            self._close(folder)
        return self._finished

    def publish(self) -> None:
        """Let readers find every finished file by its name, durably; may be called twice."""
        self._folder.publish([file.path for file in self._finished])

    def discard(self) -> None:
        """Remove every file, finished or not; may be called twice."""
        for file in self._open.values():
            file.abandon()
        self._folder.remove(self._paths)
        self._open, self._groups, self._finished, self._held_bytes = {}, {}, [], 0

    def _flush(self, folder: str) -> None:
        group = self._groups.pop(folder)
        self._held_bytes -= group.size_bytes
        table = sort_rows(pa.Table.from_batches(group.batches, self._format.schema), self._format.sort_by)
        file = self._open.pop(folder, None) or self._start(folder, group.values, table)
        self._open[folder] = file
        file.write(table)
        if file.size_bytes >= self._format.target_bytes:
            self._close(folder)
        held = {name: min(each.size_bytes, self._folder.most_held_bytes) for name, each in self._open.items()}
        while sum(held.values()) > self._open_bytes:
            largest = max(held, key=lambda name: held[name])
            self._close(largest)
            del held[largest]

    def _start(self, folder: str, values: Mapping[str, str | None], table: pa.Table) -> _OpenFile:
        if len(self._open) >= _MOST_OPEN_FILES:
            self._close(next(iter(self._open)))
        name = f"{self._token}-{len(self._paths)}.parquet"
        path = f"{folder}/{name}" if folder else name
        self._paths.append(path)
        return _OpenFile(self._folder, path, self._format, values, dictionaries=self._dictionaries.paths(table))

    def _close(self, folder: str) -> None:
        file = self._open[folder]
        size_bytes = file.close()
        del self._open[folder]
        self._finished.append(DataFile(file.path, file.rows, size_bytes, file.values))


@dataclass
class _Group:
    """Rows held for one folder."""

    values: Mapping[str, str | None]
    batches: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    size_bytes: int = 0


class _OpenFile:
    """One file in the making; ``path`` is the name it will have."""

    def __init__(
        self,
        folder: DataFolder,
        path: str,
        file_format: FileFormat,
        values: Mapping[str, str | None],
        *,
        dictionaries: list[str],
    ) -> None:
        self.path = path
        self.values = values
        self.rows = 0
        self._folder = folder
        with self._written():
            self._sink = folder.start(path)
            self._writer = pq.ParquetWriter(
                self._sink.stream,
                file_format.schema,
                compression=file_format.compression,
                use_dictionary=dictionaries,  # type: ignore[arg-type]  # the stubs lack the list
                sorting_columns=_sorting_columns(file_format),
            )

    @property
    def size_bytes(self) -> int:
        return int(self._sink.stream.tell())

    def write(self, table: pa.Table) -> None:
        with self._written():
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self.rows += table.num_rows

    def close(self) -> int:
        with self._written():
            self._writer.close()
            return self._sink.close()

    def abandon(self) -> None:
        """Let go of the file as it is; it is no Parquet file."""
        self._sink.abandon()
        with contextlib.suppress(OSError, pa.ArrowException, ValueError):
            self._writer.close()

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        """Turn what pyarrow says while the file is written into a Dativo error."""
        try:
            with self._folder.translated(self.path):
                yield
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataValidationError(f"{self.path}: rows cannot be written as Parquet: {error}") from error


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Give the batch the files' columns, in their order and types."""
    if batch.schema.equals(schema):
        return batch
    unknown = set(batch.schema.names) - set(schema.names)
    if unknown:
        raise SchemaValidationError(f"columns that the table was not opened with: {', '.join(sorted(unknown))}")
    arrays = [_column(batch, column) for column in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _column(batch: pa.RecordBatch, column: pa.Field[Any]) -> pa.Array[Any]:
    index = batch.schema.get_field_index(column.name)
    if index < 0:
        return cast("pa.Array[Any]", pa.nulls(batch.num_rows, column.type))
    values = batch.column(index)
    if values.type == column.type:
        return values
    try:
        return cast("pa.Array[Any]", values.cast(column.type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataValidationError(
            f"column {column.name}: a value of {values.type} does not fit the table's {column.type}: {error}"
        ) from error


def sort_rows(table: pa.Table, sort_by: Sequence[SortKey]) -> pa.Table:
    """Sort stably; whether a value is null is a key of its own, so that every column has its own place for nulls."""
    if not sort_by:
        return table
    columns: dict[str, Any] = {}
    order: list[tuple[str, Any]] = []
    for number, key in enumerate(sort_by):
        values = table.column(key.column)
        if isinstance(values.type, pa.DictionaryType):
            values = values.cast(values.type.value_type)
        columns[f"null {number}"] = values.is_null()
        columns[f"value {number}"] = values
        order.append((f"null {number}", "descending" if key.nulls_first else "ascending"))
        order.append((f"value {number}", "descending" if key.descending else "ascending"))
    return table.take(pc.sort_indices(pa.table(columns), order))


def _sorting_columns(file_format: FileFormat) -> Sequence[Any] | None:
    if not file_format.sort_by:
        return None
    index: Callable[[str], int] = file_format.schema.get_field_index
    if any(pa.types.is_nested(column.type) for column in file_format.schema):
        return None  # Parquet counts leaves, and so would we have to
    return [pq.SortingColumn(index(key.column), key.descending, key.nulls_first) for key in file_format.sort_by]
