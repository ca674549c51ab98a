"""Rows into the Parquet files of a Delta table: by partition, in row groups bounded by bytes, rolled at a target size.

A file has its own name from the start: nothing lists it before the commit. Its name begins with the run's id.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dativo_ingest.targets.delta.config import Place
from dativo_ingest.targets.delta.failures import translated
from dativo_ingest.targets.filesystem import make_folder, sync
from dativo_ingest.targets.parquet_encoding import Dictionaries
from dativo_ingest.targets.parquet_files import FileFormat, conform, sort_rows
from dativo_ingest.targets.parquet_partitions import Partitioning
from dativo_plugin_sdk import DataValidationError

_MOST_ROW_GROUP_BYTES = 64 * 2**20
_MOST_ROW_GROUP_ROWS = 2**20
_MOST_OPEN_FILES = 64
_UPLOAD_BYTES = 10 * 2**20  # what Arrow holds of each object it uploads
_MOST_STATISTICS = 32  # columns, as Delta's own writers have it by default
_MOST_TEXT = 64
_PLAIN_FOLDER = re.compile(r"[A-Za-z0-9_.=/-]*")


@dataclass(frozen=True)
class DataFile:
    """One finished file; ``path`` is relative to the table's root and needs no escapes."""

    path: str
    rows: int
    size_bytes: int
    stats: str
    partition: Mapping[str, str | None] = field(default_factory=dict)


class DeltaFiles:
    """The files that one run adds to a table: ``write`` many times, then ``finish`` or ``discard``.

    Args:
        place: The table's root.
        run_id: Begins every file's name.
        file_format: The table's columns and how files hold them; columns of ``partitions`` are not in the files.
        partitions: The columns that the table is partitioned by.
        buffer_bytes: The most bytes of Arrow data held before they go into a file.
    """

    def __init__(
        self, place: Place, run_id: str, file_format: FileFormat, partitions: Sequence[str], *, buffer_bytes: int
    ) -> None:
        self._place = place
        self._token = f"{re.sub('[^A-Za-z0-9_.-]', '_', run_id)}-{secrets.token_hex(4)}"
        self._format = file_format
        self._partitions = tuple(partitions)
        self._partitioning = Partitioning.parse(partitions, file_format.schema)
        self._inside = pa.schema([each for each in file_format.schema if each.name not in partitions])
        self._buffer_bytes = buffer_bytes
        self._row_group_bytes = max(1, min(_MOST_ROW_GROUP_BYTES, buffer_bytes // 2))
        on_disk = place.folder is not None
        self._most_open = _MOST_OPEN_FILES if on_disk else max(1, min(_MOST_OPEN_FILES, buffer_bytes // _UPLOAD_BYTES))
        self._groups: dict[str, _Group] = {}
        self._open: dict[str, _OpenFile] = {}  # in the order of their last use
        self._held_bytes = 0
        self._dictionaries = Dictionaries()
        self._paths: list[str] = []  # of every file ever begun
        self._finished: list[DataFile] = []

    @property
    def schema(self) -> pa.Schema:
        """The columns of the rows, those of the partitions included."""
        return self._format.schema

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows: columns in any order, missing ones null, types that fit the table's without loss.

        Raises:
            DataValidationError: A value does not fit, or an empty text is to be a partition.
            DiskFullError: No space is left.
        """
        for part in self._partitioning.split(conform(batch, self._format.schema)):
            if "" in part.values.values():
                # Delta protocol, "Partition Value Serialization": an empty string stands for null.
                raise DataValidationError(
                    f"an empty text in a partition column ({', '.join(self._partitions)}): Delta would read it as null",
                    hint="partition by another column, or make the empty text a value in the source",
                )
            key = part.folder
            group = self._groups.setdefault(key, _Group(part.values))
            group.batches.append(part.batch)
            group.rows += part.batch.num_rows
            group.size_bytes += part.batch.nbytes
            self._held_bytes += part.batch.nbytes
            if group.size_bytes >= self._row_group_bytes or group.rows >= _MOST_ROW_GROUP_ROWS:
                self._flush(key)
        while self._held_bytes > self._buffer_bytes:
            self._flush(max(self._groups, key=lambda folder: self._groups[folder].size_bytes))

    def finish(self) -> Sequence[DataFile]:
        """Write what is held, close every file and make it durable; may be called twice."""
        for key in list(self._groups):
            self._flush(key)
        for key in list(self._open):
            self._close(key)
        return self._finished

    def discard(self) -> None:
        """Remove every file, finished or not; may be called twice."""
        for file in self._open.values():
            file.abandon()
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError), translated(f"removing {path}", self._place.folder):
                remove(self._place, path)
        self._open, self._groups, self._finished, self._held_bytes, self._paths = {}, {}, [], 0, []

    def _flush(self, key: str) -> None:
        group = self._groups.pop(key)
        self._held_bytes -= group.size_bytes
        table = sort_rows(pa.Table.from_batches(group.batches, self._format.schema), self._format.sort_by)
        file = self._open.pop(key, None) or self._start(key, group.values, table)
        self._open[key] = file
        file.write(table.select(self._inside.names))
        if file.size_bytes >= self._format.target_bytes:
            self._close(key)

    def _start(self, key: str, values: Mapping[str, str | None], table: pa.Table) -> _OpenFile:
        if len(self._open) >= self._most_open:
            self._close(next(iter(self._open)))
        name = f"{self._token}-{len(self._paths):05d}.parquet"
        # Readers go by the log, not by folders: one whose name would need escapes is done without.
        path = f"{key}/{name}" if key and _PLAIN_FOLDER.fullmatch(key) else name
        if self._place.folder is not None:
            make_folder((self._place.folder / path).parent)
        self._paths.append(path)
        return _OpenFile(
            self._place, path, self._format, self._inside, values, dictionaries=self._dictionaries.paths(table)
        )

    def _close(self, key: str) -> None:
        self._finished.append(self._open[key].close())
        del self._open[key]


def remove(place: Place, path: str) -> None:
    """Remove a file of a table; one that is gone is fine."""
    with contextlib.suppress(FileNotFoundError):
        place.filesystem.delete_file(f"{place.path}/{path}")


@dataclass
class _Group:
    """Rows held for one partition."""

    values: Mapping[str, str | None]
    batches: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    size_bytes: int = 0


class _OpenFile:
    """One file in the making."""

    def __init__(  # noqa: PLR0913  what a file consists of
        self,
        place: Place,
        path: str,
        file_format: FileFormat,
        inside: pa.Schema,
        values: Mapping[str, str | None],
        *,
        dictionaries: list[str],
    ) -> None:
        self._place = place
        self._path = path
        self._values = values
        self._inside = inside
        self._rows = 0
        with self._written():
            self._sink = place.filesystem.open_output_stream(f"{place.path}/{path}", compression=None)
            self._writer = pq.ParquetWriter(
                self._sink,
                inside,
                compression=file_format.compression,
                use_dictionary=dictionaries,  # type: ignore[arg-type]  # the stubs lack the list
            )

    @property
    def size_bytes(self) -> int:
        return int(self._sink.tell())

    def write(self, table: pa.Table) -> None:
        with self._written():
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._rows += table.num_rows

    def close(self) -> DataFile:
        with self._written():
            self._writer.close()
            size_bytes = int(self._sink.tell())
            self._sink.close()
            if self._place.folder is not None:
                sync(self._place.folder / self._path)
        stats = json.dumps(_statistics(self._inside, self._writer.writer.metadata), ensure_ascii=False)
        return DataFile(self._path, self._rows, size_bytes, stats, dict(self._values))

    def abandon(self) -> None:
        """Let go of the file as it is; it is no Parquet file."""
        with contextlib.suppress(OSError, pa.ArrowException):  # the disk may be full: what is abandoned may be cut
            self._sink.close()
        with contextlib.suppress(OSError, pa.ArrowException, ValueError):
            self._writer.close()

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        with translated(f"writing {self._path}", self._place.folder):
            try:
                yield
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise DataValidationError(f"{self._path}: rows cannot be written as Parquet: {error}") from error


def _statistics(schema: pa.Schema, footer: pq.FileMetaData) -> dict[str, Any]:
    """Give what lets readers skip the file: the bounds of whole numbers, dates and short texts, and counts of nulls.

    Delta protocol, "Per-file Statistics". Bounds of floats are left out, as those of Parquet do not count NaN.
    """
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    chosen = {each.name: each.type for each in list(schema)[:_MOST_STATISTICS] if "." not in each.name}
    for index in range(footer.num_columns):
        name = footer.schema.column(index).path
        if name not in chosen:
            continue
        parts: list[Any] = [footer.row_group(group).column(index).statistics for group in range(footer.num_row_groups)]
        if any(part is None or not part.has_null_count for part in parts):
            continue
        nulls[name] = sum(part.null_count for part in parts)
        bounds = _bounds(chosen[name], [part for part in parts if part.num_values])
        if bounds:
            low[name], high[name] = _json(min(each for each, _ in bounds)), _json(max(each for _, each in bounds))
    return {"numRecords": footer.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls}


def _bounds(data_type: pa.DataType, parts: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Give the least and the greatest value of each part; nothing where there is one that readers do without."""
    is_text = pa.types.is_string(data_type)
    if not (is_text or pa.types.is_integer(data_type) or pa.types.is_date(data_type)):
        return []
    try:
        bounds = [(part.min, part.max) for part in parts if part.has_min_max]
    except OverflowError:  # dates before the year 1 or after 9999, which have no ISO form that all readers know
        return []
    is_short = not is_text or all(len(text) <= _MOST_TEXT for pair in bounds for text in pair)
    return bounds if len(bounds) == len(parts) and is_short else []


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
