"""Reader plugins that give the same rows in each of the ways that there are.

``connection.path`` is an Arrow file, or a CSV for `CsvPlugin`; ``options.rows`` is how many rows `DictPlugin` gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa
from made_rows import row

from dativo_plugin_sdk import (
    BaseReader,
    Check,
    ConnectionTestResult,
    DiscoveryResult,
    Message,
    Partition,
    Rows,
    State,
    StreamReader,
    StreamSpec,
)

_PAGE_ROWS = 1_000


class ArrowPlugin(BaseReader):
    """Yields the record batches of a file that is mapped into memory: reading costs nothing, passing on is all."""

    def extract(self, state_manager: Any = None) -> Iterator[pa.RecordBatch]:  # noqa: ARG002
        """Yield them."""
        with pa.memory_map(self.source_config.connection["path"]) as file:
            reader = pa.ipc.open_file(file)
            for at in range(reader.num_record_batches):
                yield reader.get_batch(at)


class CsvPlugin(BaseReader):
    """Parses a CSV: a reader that works for its rows."""

    def extract(self, state_manager: Any = None) -> Iterator[pa.RecordBatch]:  # noqa: ARG002
        """Yield what Arrow's parser gives."""
        from pyarrow import csv  # noqa: PLC0415  the other plugins have no use for it

        read = csv.ReadOptions(use_threads=False, block_size=16 * 2**20)
        with csv.open_csv(self.source_config.connection["path"], read_options=read) as batches:
            yield from batches


class StreamPlugin(StreamReader):
    """The rows of `ArrowPlugin`, through the engine's own interface."""

    __version__: ClassVar[str] = "1.0.0"

    def check(self, streams: Any) -> list[Check]:  # noqa: ARG002
        """Say that all is well."""
        return [Check("file", lambda: ConnectionTestResult(success=True, message="it is there"))]

    def discover(self, pattern: str | None = None) -> DiscoveryResult:  # noqa: ARG002
        """Offer the one stream."""
        return DiscoveryResult([{"name": "rows", "type": "file"}])

    def schema(self, stream: StreamSpec) -> pa.Schema:  # noqa: ARG002
        """Give the file's."""
        with pa.memory_map(self.config.connection["path"]) as file:
            return pa.ipc.open_file(file).schema

    def read(self, stream: StreamSpec, partition: Partition, state: State | None) -> Iterator[Message]:  # noqa: ARG002
        """Yield its record batches."""
        with pa.memory_map(self.config.connection["path"]) as file:
            reader = pa.ipc.open_file(file)
            for at in range(reader.num_record_batches):
                yield Rows(reader.get_batch(at))


class DictPlugin(BaseReader):
    """Yields pages of dicts of ten columns, as an API client does once it has parsed the JSON."""

    def extract(self, state_manager: Any = None) -> Iterator[list[dict[str, Any]]]:  # noqa: ARG002
        """Yield them; each page is made anew."""
        for start in range(0, self.source_config.options["rows"], _PAGE_ROWS):
            yield [row(at) for at in range(start, start + _PAGE_ROWS)]


class NativePlugin(BaseReader):
    """Yields what a C library makes, handed over through Arrow's C stream interface without a copy."""

    def extract(self, state_manager: Any = None) -> Iterator[pa.RecordBatch]:  # noqa: ARG002
        """Yield them."""
        import ctypes  # noqa: PLC0415  the other plugins have no use for it

        options = self.source_config.options
        library = ctypes.CDLL(options["library"])
        stream = ctypes.create_string_buffer(64)  # struct ArrowArrayStream has five pointers
        library.make_rows(ctypes.byref(stream), ctypes.c_int64(options["rows"]))
        yield from pa.RecordBatchReader._import_from_c(ctypes.addressof(stream))  # noqa: SLF001  documented for this
