"""Batches that wait to be taken: the first ones in memory, the others on disk, in files without a name."""

from __future__ import annotations

import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO

import pyarrow as pa

_SEGMENT_BYTES = 256 * 2**20  # room on disk is given back file by file
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")


class NobodyTakesError(Exception):
    """The one who takes has gone; what is put now would be read by nobody."""


def _unnamed_file() -> IO[bytes]:
    return tempfile.TemporaryFile(prefix="dativo-rows-", buffering=0)


@dataclass(eq=False)
class _Segment:
    """A file that is gone with the process, however that ends."""

    file: IO[bytes] = field(default_factory=_unnamed_file)
    size_bytes: int = 0
    waiting: int = 0
    """How many batches in it are still to be taken, or being written."""


@dataclass(frozen=True)
class _Stored:
    segment: _Segment
    start: int
    size_bytes: int


class WaitingBatches:
    """Hands batches from one thread to another, in order.

    Args:
        in_memory: How many batches may wait in memory, 1 or more.
        disk_bytes: How many bytes may wait on disk, where temporary files go; beyond that `put` waits.

    Attributes:
        warnings: What went less well than it might have.
        stored_bytes: How much had to wait on disk so far.
    """

    def __init__(self, *, in_memory: int, disk_bytes: int) -> None:
        self.warnings: list[str] = []
        self.stored_bytes = 0
        self._in_memory = in_memory
        self._disk_bytes = disk_bytes
        self._used_bytes = 0
        self._held = 0
        self._entries: deque[pa.RecordBatch | _Stored] = deque()
        self._segments: list[_Segment] = []
        self._changed = threading.Condition()
        self._is_finished = self._is_closed = False
        self._error: BaseException | None = None

    def put(self, batch: pa.RecordBatch) -> None:
        """Hand over a batch, waiting while there is no room.

        Raises:
            NobodyTakesError: `close` was called.
        """
        with self._changed:
            if self._disk_bytes == 0 or self._has_room():
                self._keep(batch)
                return
        if not self._store(_packed(batch)):
            with self._changed:
                self._keep(batch)

    def finish(self, error: BaseException | None = None) -> None:
        """Say that nothing more comes; an ``error`` is raised on the other side after the batches before it."""
        with self._changed:
            self._is_finished = True
            self._error = error
            self._changed.notify_all()

    def close(self) -> None:
        """Drop what waits, and wake who puts; may be called twice."""
        with self._changed:
            self._is_closed = True
            self._entries.clear()
            self._held = 0
            for segment in self._segments:
                segment.file.close()
            self._segments.clear()
            self._changed.notify_all()

    def items(self) -> Iterator[pa.RecordBatch]:
        """Give what is put, until nothing more comes."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._entries or self._is_finished or self._is_closed)
                if not self._entries:
                    if self._error is not None:
                        raise self._error
                    return
                entry = self._entries.popleft()
                self._held -= isinstance(entry, pa.RecordBatch)
                self._changed.notify_all()
            yield self._fetched(entry) if isinstance(entry, _Stored) else entry

    def _has_room(self) -> bool:
        return self._held < self._in_memory

    def _wait_for(self, room: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._is_closed or room())
        if self._is_closed:
            raise NobodyTakesError

    def _keep(self, batch: pa.RecordBatch) -> None:
        self._wait_for(self._has_room)
        self._entries.append(batch)
        self._held += 1
        self._changed.notify_all()

    def _store(self, data: pa.Buffer) -> bool:
        """Put a batch on disk; say no where there is room in memory by now, or never will be on disk."""
        with self._changed:
            self._wait_for(lambda: self._has_room() or self._used_bytes + data.size <= self._disk_bytes)
            if self._has_room():
                return False
            try:
                # Within the lock: nobody takes more than a few batches meanwhile, and closing has to wait.
                stored = self._written(data)
            except OSError as error:
                self._disk_bytes = 0
                self.warnings.append(f"rows cannot wait on disk in {tempfile.gettempdir()}: {error.strerror}")
                return False
            self._used_bytes += data.size
            self.stored_bytes += data.size
            self._entries.append(stored)
            self._changed.notify_all()
            return True

    def _written(self, data: pa.Buffer) -> _Stored:
        if not self._segments or self._segments[-1].size_bytes >= _SEGMENT_BYTES:
            self._segments.append(_Segment())
        segment = self._segments[-1]
        view, written = memoryview(data), 0
        while written < len(view):
            written += os.pwrite(segment.file.fileno(), view[written:], segment.size_bytes + written)
        stored = _Stored(segment, segment.size_bytes, len(view))
        segment.size_bytes += len(view)
        segment.waiting += 1
        return stored

    def _fetched(self, stored: _Stored) -> pa.RecordBatch:
        segment = stored.segment
        data = os.pread(segment.file.fileno(), stored.size_bytes, stored.start)
        with self._changed:
            self._used_bytes -= stored.size_bytes
            segment.waiting -= 1
            if not segment.waiting and segment is not self._segments[-1]:
                self._segments.remove(segment)
                segment.file.close()
            self._changed.notify_all()
        with pa.ipc.open_stream(data) as reader:
            return reader.read_next_batch()


def _packed(batch: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_COMPRESSED) as writer:
        writer.write_batch(batch)
    return sink.getvalue()
