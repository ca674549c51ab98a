"""Rows of many groups that wait on disk, in a file without a name, until each group can be written in one go."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import pyarrow as pa

from dativo_ingest.targets.filesystem import translated

Group = TypeVar("Group", bound=Hashable)


class Spill(Generic[Group]):
    """A file of rows of one schema: ``add`` many times, ``finish`` once, then ``read``, also by several threads.

    `close` lets go of the file, and so does the end of the process, however it comes.

    Attributes:
        size_bytes: How much Arrow data is in it; on disk it is less.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.size_bytes = 0
        self._batches: dict[Group, list[int]] = {}
        self._count = 0
        with _translated():
            self._file = tempfile.TemporaryFile(prefix="dativo-rows-")  # noqa: SIM115  it lives as long as this
            self._path = f"/proc/self/fd/{self._file.fileno()}"
            self._sink = pa.OSFile(self._path, mode="wb")
            self._writer = pa.ipc.new_file(self._sink, schema)

    def add(self, group: Group, batches: Sequence[pa.RecordBatch]) -> None:
        """Take rows of a group.

        Raises:
            DiskFullError: No space is left where temporary files go.
        """
        rows = pa.concat_batches(batches)  # type: ignore[attr-defined]  # the stubs lack it
        with _translated():
            self._writer.write_batch(rows)
        self._batches.setdefault(group, []).append(self._count)
        self._count += 1
        self.size_bytes += rows.nbytes

    def finish(self) -> Sequence[Group]:
        """End the file, and give the groups that have rows in it, in the order of their first ones."""
        with _translated():
            self._writer.close()
        return list(self._batches)

    def read(self, group: Group) -> Iterator[pa.RecordBatch]:
        """Read a group's rows in the order they came."""
        with _translated(), pa.OSFile(self._path, mode="rb") as file, pa.ipc.open_file(file) as reader:
            for index in self._batches[group]:
                yield reader.get_batch(index)

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        for each in (self._writer, self._sink, self._file):
            # The disk may be full: the file goes anyway.
            with contextlib.suppress(OSError, pa.ArrowException):
                each.close()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    with translated(Path(tempfile.gettempdir())):
        yield
