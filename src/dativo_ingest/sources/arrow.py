"""Arrow IPC files, in the file and in the stream format, checked as what anyone may have written."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import ClassVar

import pyarrow as pa
from pyarrow import ipc

from dativo_ingest.sources.file_config import FileOptions
from dativo_ingest.sources.file_opening import OpenedFile
from dativo_ingest.sources.file_reader import FileReader
from dativo_ingest.sources.self_describing import plain_schema, project, reading, rows_of
from dativo_plugin_sdk import DataFormatError, MemoryLimitError, Message, Rows, StreamSpec

_FORMAT = "a whole Arrow IPC file or stream"
_FILE_MAGIC = b"ARROW1\0\0"
_FEATHER_1_MAGIC = b"FEA1"
_PIECE_BYTES = 4 * 2**20
_LEAST_BATCH_LIMIT_BYTES = 64 * 2**20
_BATCH_LIMIT_FACTOR = 16  # a batch of the file must be whole in memory: half of limits.memory_mb at most


class ArrowOptions(FileOptions):
    """How Arrow IPC files are read: their schema is their own."""


class ArrowReader(FileReader[ArrowOptions]):
    """Reads Arrow IPC files; columns and types are what the file says."""

    suffixes: ClassVar[tuple[str, ...]] = (".arrow", ".arrows", ".feather", ".ipc")
    options_model: ClassVar[type[FileOptions]] = ArrowOptions
    declares_types: ClassVar[bool] = True

    def infer_schema(self, file: OpenedFile, options: ArrowOptions) -> pa.Schema:  # noqa: ARG002
        """Read the schema message."""
        with reading(file, _FORMAT):
            return plain_schema(_open(file, _LEAST_BATCH_LIMIT_BYTES).schema)

    def read_file(self, file: OpenedFile, stream: StreamSpec, options: ArrowOptions) -> Iterator[Message]:
        """Read one file, its batches cut to about ``stream.batch_bytes``."""
        limit_bytes = max(_LEAST_BATCH_LIMIT_BYTES, _BATCH_LIMIT_FACTOR * stream.batch_bytes)
        with reading(file, _FORMAT):
            batches = _open(file, limit_bytes)
            columns, extra = project(batches.schema, stream.schema, file.name)
            yield from self.note_extra_columns(file, extra, options)
            for batch in batches:
                batch.validate(full=True)  # offsets and indices are the writer's, and not yet checked
                taken = batch.select(columns)
                step = rows_of(stream.batch_bytes, taken.nbytes / max(1, taken.num_rows), max(1, taken.num_rows))
                for start in range(0, taken.num_rows, step):
                    read_bytes = file.newly_read_bytes() if start == 0 else 0
                    yield Rows(taken.slice(start, step), source=file.name, source_bytes=read_bytes)


class _Batches:
    """A file's schema and batches, in either format."""

    def __init__(self, file: OpenedFile, guarded: _GuardedFile, *, is_file_format: bool) -> None:
        self._name = file.name
        self._guarded = guarded
        source = pa.PythonFile(guarded, mode="r")
        self._reader = ipc.open_file(source) if is_file_format else ipc.open_stream(source)

    @property
    def schema(self) -> pa.Schema:
        return self._reader.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if isinstance(self._reader, ipc.RecordBatchFileReader):
            yield from map(self._reader.get_batch, range(self._reader.num_record_batches))
        else:
            yield from self._reader
            if self._guarded.is_at_end:  # Arrow takes that for the end, and it may as well be a copy cut short
                raise DataFormatError(
                    f"{self._name}: the Arrow stream ends without its end mark: it is cut short",
                    details={"path": self._name},
                    hint="write or copy it again; its writer must be closed",
                )


def _open(file: OpenedFile, limit_bytes: int) -> _Batches:
    """Open either format; a packed file of the file format is read as the stream that it holds."""
    stream = file.stream()
    start = stream.read(len(_FILE_MAGIC))
    if start.startswith(_FEATHER_1_MAGIC):
        raise DataFormatError(
            f"{file.name}: Feather version 1, which is no Arrow IPC",
            details={"path": file.name},
            hint="write it again as Feather version 2",
        )
    is_file_format = start == _FILE_MAGIC and file.packing == "none"
    guarded = _GuardedFile(file, stream.native, b"" if start == _FILE_MAGIC else start, limit_bytes)
    return _Batches(file, guarded, is_file_format=is_file_format)


class _GuardedFile(io.RawIOBase):
    """Bytes for Arrow's reader that allocate no more than there is: lengths in the file may say anything."""

    def __init__(self, file: OpenedFile, native: pa.NativeFile, start: bytes, limit_bytes: int) -> None:
        super().__init__()
        self._name = file.name
        self._native = native
        self._start = start
        self._limit_bytes = limit_bytes
        self._size_bytes = file.size_bytes if file.packing == "none" else None
        self.is_at_end = False
        """Whether a read found nothing any more."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._size_bytes is not None

    def size(self) -> int:
        """Give the file's size, as Arrow asks for it."""
        assert self._size_bytes is not None  # noqa: S101  only files that can be read at random are asked
        return self._size_bytes

    def tell(self) -> int:
        return self._native.tell() - len(self._start)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._start = b""
        return int(self._native.seek(offset, whence))

    def read(self, size: int = -1, /) -> bytes:
        """Read in pieces.

        Raises:
            MemoryLimitError: More is asked for than a batch may take.
        """
        asked = size
        if self._size_bytes is not None:
            left = max(0, self._size_bytes - self.tell())
            size = left if size < 0 else min(size, left)
        if size > self._limit_bytes:
            raise MemoryLimitError(
                f"{self._name}: a record batch of {size // 2**20} MB, {self._limit_bytes // 2**20} MB are the most",
                details={"path": self._name, "bytes": size},
                hint="raise limits.memory_mb and limits.batch_mb, or write the file in smaller batches",
            )
        parts = [self._start[:size]]
        self._start = self._start[size:]
        missing = size - len(parts[0])
        while missing > 0 and (part := self._native.read(min(missing, _PIECE_BYTES))):
            parts.append(part)
            missing -= len(part)
        found = b"".join(parts)
        self.is_at_end = asked > 0 and not found
        return found
