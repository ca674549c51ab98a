"""Rows into data files: buffered by bytes, by partition, rolled when a file is large enough.

Of ``buffer_bytes``, a part is rows waiting for their partitions to be told apart, a part is rows of each partition
waiting for enough company to be a row group, and the rest is room for sorting and encoding the group that is written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from dativo_ingest.targets.iceberg.failures import translated
from dativo_ingest.targets.iceberg.grouping import Partitioner, PartitionValues
from dativo_ingest.targets.iceberg.parquet_file import FileFormatOptions, ParquetFile

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile

    from dativo_ingest.targets.iceberg.file_schema import FileSchema
    from dativo_ingest.targets.iceberg.merge_keys import KeyLog

MAX_OPEN_FILES = 64
"""How many partitions may have a file open at once."""
_MAX_ROW_GROUP_BYTES = 64 * 2**20
_ARRAY_BYTES = 192
"""About what a small array takes beside its values: padding of its buffers, and its objects."""


@dataclass
class _Buffer:
    """Rows of one partition that are not in a file yet."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    size_bytes: int = 0

    def add(self, batch: pa.RecordBatch) -> int:
        size_bytes = batch.nbytes + _ARRAY_BYTES * batch.num_columns
        self.batches.append(batch)
        self.size_bytes += size_bytes
        return size_bytes

    def take(self) -> list[pa.RecordBatch]:
        batches, self.batches, self.size_bytes = self.batches, [], 0
        return batches


class DataFiles:
    """The data files of one table that one run writes.

    Args:
        io: Where files go.
        name: Gives the location of the next file of a partition's folder.
        shape: What rows look like inside a file.
        options: How files are written.
        partitioner: How rows are told apart; None for a table without partitions.
        sort: Sorts a row group; None to leave rows as they come.
        buffer_bytes: How much Arrow data may wait here.
        target_bytes: About how large a file gets.
        stream_bytes: What the stream of an open file holds.
        log: Takes note of the rows' keys and places; None where nothing asks for them.
    """

    def __init__(  # noqa: PLR0913  what a table's layout consists of
        self,
        *,
        io: FileIO,
        name: Callable[[str], str],
        shape: FileSchema,
        options: FileFormatOptions,
        partitioner: Partitioner | None,
        sort: Callable[[pa.Table], pa.Table] | None,
        buffer_bytes: int,
        target_bytes: int,
        stream_bytes: int,
        log: KeyLog | None = None,
    ) -> None:
        self._io = io
        self._name = name
        self._shape = shape
        self._options = options
        self._partitioner = partitioner
        self._sort = sort
        self._target_bytes = target_bytes
        self._row_group_bytes = min(_MAX_ROW_GROUP_BYTES, max(1, buffer_bytes // 4))
        self._mixed_limit_bytes = max(1, buffer_bytes // 8)
        self._parts_limit_bytes = max(1, buffer_bytes // 2)
        self._open_limit_bytes = buffer_bytes // 4
        self._stream_bytes = stream_bytes
        self._log = log
        self._mixed = _Buffer()
        self._parts: dict[PartitionValues, _Buffer] = {}
        self._parts_bytes = 0
        self._open: dict[PartitionValues, ParquetFile] = {}
        self._finished: list[DataFile] = []
        self.paths: list[str] = []
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows of the schema the files were opened for."""
        if not batch.num_rows:
            return
        self.rows += batch.num_rows
        converted = self._shape.convert(batch)
        if self._log is not None:
            converted = self._log.number(converted)
        if self._partitioner is None:
            self._add((), converted)
            if self._parts[()].size_bytes >= self._row_group_bytes:
                self._flush(())
            return
        self._mixed.add(converted)
        if self._mixed.size_bytes >= self._mixed_limit_bytes:
            self._tell_apart(self._partitioner)

    def finish(self) -> list[DataFile]:
        """Write what waits, close all files and describe them; may be called again for the same answer."""
        if self._partitioner is not None:
            self._tell_apart(self._partitioner)
        for values in list(self._parts):
            self._flush(values)
        for values in list(self._open):
            self._close(values)
        return self._finished

    def discard(self) -> None:
        """Let go of open files and delete everything written; files that cannot be deleted are left as orphans."""
        for file in self._open.values():
            file.discard()
        self._open.clear()
        self._parts.clear()
        self._mixed.take()
        self._parts_bytes = 0
        for path in self.paths:
            # An orphan costs room, not correctness, and the reason why the run failed is the one to be told.
            with contextlib.suppress(OSError):
                self._io.delete(path)
        self.paths.clear()
        self._finished.clear()

    def _tell_apart(self, partitioner: Partitioner) -> None:
        batches = self._mixed.take()
        if not batches:
            return
        batch = pa.concat_batches(batches)  # type: ignore[attr-defined]  # the stubs lack it
        batches.clear()
        with translated("partitioning rows"):
            for values, rows in partitioner.split(batch):
                self._add(values, rows)
        while self._parts_bytes > self._parts_limit_bytes:
            self._flush(max(self._parts, key=lambda each: self._parts[each].size_bytes))

    def _add(self, values: PartitionValues, batch: pa.RecordBatch) -> None:
        self._parts_bytes += self._parts.setdefault(values, _Buffer()).add(batch)

    def _flush(self, values: PartitionValues) -> None:
        """Write a partition's rows as row groups; its file is closed when it is large enough."""
        buffer = self._parts.pop(values)
        self._parts_bytes -= buffer.size_bytes
        batches = buffer.take()
        if not batches:
            return
        for table in self._row_groups(batches):
            file = self._file(values)
            ordered = self._sort(table) if self._sort is not None else table
            file.write(self._log.note(file.path, ordered) if self._log is not None else ordered)
            if file.size_bytes >= self._target_bytes:
                self._close(values)
        self._close_some(but=values)

    def _row_groups(self, batches: list[pa.RecordBatch]) -> Iterator[pa.Table]:
        """Cut rows into tables of at most a row group's bytes; a single batch may be larger."""
        start, size_bytes = 0, 0
        for index, batch in enumerate(batches):
            size_bytes += batch.nbytes
            if size_bytes >= self._row_group_bytes or index == len(batches) - 1:
                yield pa.Table.from_batches(batches[start : index + 1])
                start, size_bytes = index + 1, 0

    def _file(self, values: PartitionValues) -> ParquetFile:
        file = self._open.get(values)
        if file is None:
            folder = self._partitioner.path(values) if self._partitioner is not None else ""
            path = self._name(folder)
            self.paths.append(path)
            file = self._open[values] = ParquetFile(self._io, path, self._shape.arrow, self._options, values)
        return file

    def _close_some(self, but: PartitionValues) -> None:
        """Close files until what they hold is within its share, the largest first: it is nearest to its target."""
        others = sorted((each for each in self._open if each != but), key=lambda each: self._open[each].size_bytes)
        held_bytes = sum(file.held_bytes + self._stream_bytes for file in self._open.values())
        while others and (held_bytes > self._open_limit_bytes or len(self._open) > MAX_OPEN_FILES):
            largest = others.pop()
            held_bytes -= self._open[largest].held_bytes + self._stream_bytes
            self._close(largest)

    def _close(self, values: PartitionValues) -> None:
        # It stays in the list of open files until it is finished, so that a failure leaves it to be discarded.
        self._finished.append(self._open[values].finish())
        del self._open[values]
