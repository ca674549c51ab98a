"""Rows into data files: buffered by bytes, by partition, rolled when a file is large enough.

Of ``buffer_bytes``, a part is rows waiting for their partitions to be told apart, a part is rows of each partition
waiting for enough company to be a row group, and the rest is room for sorting and encoding the group that is written.

Rows that come partition by partition go to their files at once. Where so many partitions come mixed that none of them
gets large enough in memory, all of them wait on disk instead, and each is written as one file in the end: a thousand
partitions take no more memory than two, and no more files.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from dativo_ingest.targets.iceberg.failures import translated
from dativo_ingest.targets.iceberg.grouping import Partitioner, PartitionValues
from dativo_ingest.targets.iceberg.parquet_file import FileFormatOptions, ParquetFile
from dativo_ingest.targets.parquet_encoding import Dictionaries
from dativo_ingest.targets.spill import Spill

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile

    from dativo_ingest.targets.iceberg.file_schema import FileSchema
    from dativo_ingest.targets.iceberg.merge_keys import KeyLog

MAX_OPEN_FILES = 64
"""How many partitions may have a file open at once."""
_FILES_AT_ONCE = 2
"""How many files are written side by side where many partitions are."""
_MAX_ROW_GROUP_BYTES = 64 * 2**20
SPILL_BYTES = 4 * 2**30
"""How much Arrow data may wait on disk; with more, a file of every partition is written, and it begins anew."""
_ARRAY_BYTES = 192
"""About what a small array takes beside its values: padding of its buffers, and its objects."""


@dataclass
class _Buffer:
    """Rows of one partition that are not in a file yet."""

    size_bytes: int = 0
    last_round: int = 0
    """The latest time of telling rows apart that brought some."""
    _own: list[pa.RecordBatch] = field(default_factory=list)
    _shared: list[pa.RecordBatch] = field(default_factory=list)
    """The latest rows: their memory is a part of other partitions'."""

    def add(self, batch: pa.RecordBatch, size_bytes: int) -> None:
        self._shared.append(batch)
        self.size_bytes += size_bytes

    def detach(self) -> None:
        """Copy what is shared, so that the others' memory can go when they do."""
        if self._shared:
            self._own.append(pa.concat_batches(self._shared))  # type: ignore[attr-defined]  # the stubs lack it
            self._shared.clear()

    def take(self) -> list[pa.RecordBatch]:
        batches, self._own, self._shared, self.size_bytes = [*self._own, *self._shared], [], [], 0
        return batches


def _size_bytes(batch: pa.RecordBatch) -> int:
    return batch.nbytes + _ARRAY_BYTES * batch.num_columns


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
        self._round = 0
        self._spill: Spill[PartitionValues] | None = None
        self._dictionaries = Dictionaries()
        self._open: dict[PartitionValues, ParquetFile] = {}  # in the order of their last use
        self._finished: list[DataFile] = []
        self.paths: list[str] = []
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows of the schema the files were opened for."""
        if batch.num_rows:
            self._take(self._shape.convert(batch))

    def write_stored(self, batch: pa.RecordBatch) -> None:
        """Take rows that the table has already, with the columns of the schema that the files were opened for."""
        columns = [batch.column(field.name).cast(field.type) for field in self._shape.arrow]
        self._take(pa.RecordBatch.from_arrays(columns, schema=self._shape.arrow))

    def _take(self, converted: pa.RecordBatch) -> None:
        self.rows += converted.num_rows
        if self._log is not None:
            converted = self._log.number(converted)
        if self._partitioner is None:
            self._add((), converted, _size_bytes(converted))
            if self._parts[()].size_bytes >= self._row_group_bytes:
                self._flush(())
            return
        self._mixed.add(converted, _size_bytes(converted))
        if self._mixed.size_bytes >= self._mixed_limit_bytes:
            self._tell_apart(self._partitioner)

    def finish(self) -> list[DataFile]:
        """Write what waits, close all files and describe them; may be called again for the same answer."""
        if self._partitioner is not None:
            self._tell_apart(self._partitioner)
        self._drain()
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
        self._let_go_of_spill()
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
        batch = pa.concat_batches(batches) if len(batches) > 1 else batches[0]  # type: ignore[attr-defined]  # the stubs lack it
        batches.clear()
        self._round += 1
        row_bytes = batch.nbytes / batch.num_rows  # of each part about so many: to measure them all takes its time
        with translated("partitioning rows"):
            for values, rows in partitioner.split(batch):
                self._add(values, rows, int(row_bytes * rows.num_rows) + _ARRAY_BYTES * rows.num_columns)
        while self._parts_bytes > self._parts_limit_bytes:
            self._make_room()

    def _add(self, values: PartitionValues, batch: pa.RecordBatch, size_bytes: int) -> None:
        part = self._parts.setdefault(values, _Buffer())
        part.last_round = self._round
        part.add(batch, size_bytes)
        self._parts_bytes += size_bytes

    def _make_room(self) -> None:
        """Write the partitions that are worth a row group; where none is, let all of them wait on disk."""
        ripe = [values for values, part in self._parts.items() if self._is_ripe(part)]
        for values in ripe:
            self._flush(values)
        if ripe:
            for part in self._parts.values():
                part.detach()
            return
        for values, part in self._parts.items():
            batches = part.take()
            if self._spill is None:
                self._spill = Spill(batches[0].schema)
            self._spill.add(values, batches)
        self._parts.clear()
        self._parts_bytes = 0
        if self._spill is not None and self._spill.size_bytes >= SPILL_BYTES:
            self._drain()

    def _is_ripe(self, part: _Buffer) -> bool:
        """Say whether a partition is worth a row group: has half of one, or gets no more rows and is not tiny."""
        if part.last_round == self._round:
            return 2 * part.size_bytes >= self._row_group_bytes
        return 32 * part.size_bytes >= self._row_group_bytes

    def _drain(self) -> None:
        """Write what waits on disk, and the rest of the same partitions: a file of each."""
        spill = self._spill
        if spill is None:
            return
        groups = spill.finish()
        latest = {values: self._taken(values) for values in groups}

        def write(values: PartitionValues) -> None:
            self._write(values, itertools.chain(spill.read(values), latest.pop(values)), at_once=_FILES_AT_ONCE)
            self._close(values)

        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            list(pool.map(write, groups))
        self._let_go_of_spill()

    def _let_go_of_spill(self) -> None:
        if self._spill is not None:
            self._spill.close()
            self._spill = None

    def _flush(self, values: PartitionValues) -> None:
        """Write what a partition has in memory."""
        self._write(values, self._taken(values))
        self._close_some(but=values)

    def _taken(self, values: PartitionValues) -> list[pa.RecordBatch]:
        part = self._parts.pop(values, None)
        if part is None:
            return []
        self._parts_bytes -= part.size_bytes
        return part.take()

    def _write(self, values: PartitionValues, batches: Iterable[pa.RecordBatch], *, at_once: int = 1) -> None:
        """Write a partition's rows as row groups; its file is closed when it is large enough.

        Args:
            values: The partition.
            batches: Its rows.
            at_once: How many threads do so, each with a partition of its own.
        """
        for table in _row_groups(batches, self._row_group_bytes // at_once):
            file = self._file(values, table)
            ordered = self._sort(table) if self._sort is not None else table
            file.write(self._log.note(file.path, ordered) if self._log is not None else ordered)
            if file.size_bytes >= self._target_bytes:
                self._close(values)

    def _file(self, values: PartitionValues, table: pa.Table) -> ParquetFile:
        file = self._open.pop(values, None)
        if file is None:
            folder = self._partitioner.path(values) if self._partitioner is not None else ""
            path = self._name(folder)
            self.paths.append(path)
            file = ParquetFile(
                self._io, path, self._shape.arrow, self._options, values, dictionaries=self._dictionaries.paths(table)
            )
        self._open[values] = file
        return file

    def _close_some(self, but: PartitionValues) -> None:
        """Close files until what they hold is within its share, the one first that was not used for longest."""
        held_bytes = sum(file.held_bytes + self._stream_bytes for file in self._open.values())
        for values in [each for each in self._open if each != but]:
            if held_bytes <= self._open_limit_bytes and len(self._open) <= MAX_OPEN_FILES:
                break
            held_bytes -= self._open[values].held_bytes + self._stream_bytes
            self._close(values)

    def _close(self, values: PartitionValues) -> None:
        if values not in self._open:
            return
        # It stays in the list of open files until it is finished, so that a failure leaves it to be discarded.
        self._finished.append(self._open[values].finish())
        del self._open[values]


def _row_groups(batches: Iterable[pa.RecordBatch], size_bytes: int) -> Iterator[pa.Table]:
    """Cut rows into tables of a row group's bytes, or as much more as the last batch brings."""
    waiting = _Buffer()
    for batch in batches:
        waiting.add(batch, _size_bytes(batch))
        if waiting.size_bytes >= size_bytes:
            yield pa.Table.from_batches(waiting.take())
    if waiting.size_bytes:
        yield pa.Table.from_batches(waiting.take())
