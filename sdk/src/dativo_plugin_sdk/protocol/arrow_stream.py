"""Arrow on the data socket: a header, an Arrow IPC stream as any Arrow library writes it, the next header, and so on.

The header is 16 bytes, little-endian: ``u32`` 1, ``u32`` flags, ``u64`` the number of the stream's first batch; batches
are numbered from 0 over all the streams of a connection. A sender whose columns change ends the stream and begins
another. What is received may be hostile: lengths are bounded before anything is allocated, places within a body are
checked, compressed bodies, dictionaries and foreign types are refused, and every value is validated.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

from dativo_plugin_sdk.protocol.arrow_message import RECORD_BATCH, Claims, claims_of
from dativo_plugin_sdk.protocol.arrow_schema import read_schema
from dativo_plugin_sdk.protocol.breach import breach
from dativo_plugin_sdk.protocol.plain_types import plain_batch

Fill: TypeAlias = Callable[[memoryview], None]
"""Fills a view with the bytes that come next, all of it; raises where there are no more."""


class Sink(Protocol):
    """Where bytes go."""

    def writelines(self, lines: list[Any], /) -> None:
        """Take these buffers whole, one after the other."""


_HEADER = struct.Struct("<IIQ")
_PREFIX = struct.Struct("<Ii")
_VERSION = 1
_CONTINUES = 0xFFFFFFFF
_ALIGNMENT = 8
_BITS = 8


class Flags(IntFlag):
    """What the rows of a stream are."""

    ROWS = 0
    REJECTED = 1
    """They have the schema `dativo_plugin_sdk.rejects.REJECTED_SCHEMA`."""
    LINES = 2
    """The last column is the line of each row in its source."""


_KNOWN_FLAGS = int(Flags.REJECTED | Flags.LINES)


@dataclass(frozen=True)
class Limits:
    """How much one message may be."""

    body_bytes: int = 256 * 2**20
    metadata_bytes: int = 16 * 2**20
    rows: int = 2**24
    values_without_bytes: int = 2**26
    """How many values there may be in all beyond those that the bits of the body can hold."""


@dataclass(frozen=True)
class Received:
    """A batch, and what it is."""

    number: int
    flags: Flags
    batch: pa.RecordBatch


class ArrowReceiver:
    """Reads the batches that a peer sends.

    Args:
        fill: Where the bytes come from.
        limits: What one message may be.
    """

    def __init__(self, fill: Fill, limits: Limits = Limits()) -> None:
        self._fill = fill
        self._limits = limits
        self._schema: pa.Schema | None = None
        self._flags = Flags.ROWS
        self._next = 0
        self.received_bytes = 0

    def batch(self) -> Received:
        """Read the next batch; ends and beginnings of streams before it are passed over.

        Raises:
            PluginExecutionError: What came breaks the protocol; the connection is of no more use.
        """
        while True:
            schema = self._schema = self._begin() if self._schema is None else self._schema
            message = self._message()
            if message is None:
                self._schema = None
                continue
            claims, buffer = message
            if claims.kind != RECORD_BATCH:
                raise breach(f"an Arrow message of kind {claims.kind} where a record batch is expected")
            number, self._next = self._next, self._next + 1
            return Received(number, self._flags, self._checked(schema, claims, buffer))

    def _begin(self) -> pa.Schema:
        version, flags, first = _HEADER.unpack(self._read(_HEADER.size))
        if version != _VERSION or flags & ~_KNOWN_FLAGS:
            raise breach(f"a stream begins with version {version} and flags {flags}, which are not known")
        if first != self._next:
            raise breach(f"a stream begins with batch {first}, {self._next} is next")
        message = self._message()
        if message is None or message[0].body_bytes:
            raise breach("a stream begins without a schema")
        schema = read_schema(message[1].to_pybytes())
        self._flags = Flags(flags)
        return schema

    def _message(self) -> tuple[Claims, pa.Buffer] | None:
        """Read a message whole; None at the end of a stream."""
        prefix = self._read(_PREFIX.size)
        continues, metadata_bytes = _PREFIX.unpack(prefix)
        if continues != _CONTINUES:
            raise breach("an Arrow message does not begin as one")
        if metadata_bytes == 0:
            return None
        if not 0 < metadata_bytes <= self._limits.metadata_bytes:
            raise breach(f"metadata of {metadata_bytes} bytes, where {self._limits.metadata_bytes} are allowed")
        if metadata_bytes % _ALIGNMENT:
            raise breach(f"metadata of {metadata_bytes} bytes, where a multiple of {_ALIGNMENT} is expected")
        metadata = self._read(metadata_bytes)
        claims = claims_of(metadata)
        if not 0 <= claims.body_bytes <= self._limits.body_bytes:
            raise breach(f"a batch of {claims.body_bytes} bytes, where {self._limits.body_bytes} are allowed")
        if claims.is_compressed:
            raise breach("a batch is compressed")
        self._see_places(claims)
        head = prefix + metadata
        buffer = pa.allocate_buffer(len(head) + claims.body_bytes)
        view = memoryview(buffer).cast("B")
        view[: len(head)] = head
        self._fill_counted(view[len(head) :])
        return claims, buffer

    def _see_places(self, claims: Claims) -> None:
        """See that rows are not too many, and that buffers lie in the body one after the other.

        Values of some types take no bytes, such as those of a column that is always null; what is made of them may.
        """
        if not 0 <= claims.rows <= self._limits.rows:
            raise breach(f"a batch of {claims.rows} rows, where {self._limits.rows} are allowed")
        if any(not 0 <= nulls <= length for length, nulls in claims.nodes):
            raise breach("an array has a length below 0, or more nulls than values")
        if sum(length for length, _ in claims.nodes) > claims.body_bytes * _BITS + self._limits.values_without_bytes:
            raise breach("the arrays of a batch are longer than it can hold")
        end = 0
        for at, length in claims.buffers:
            if at < 0 or length < 0 or (at < end and length):
                raise breach("the buffers of a batch overlap")
            end = max(end, at + length)
        if end > claims.body_bytes:
            raise breach("a buffer lies outside of its batch")

    def _checked(self, schema: pa.Schema, claims: Claims, buffer: pa.Buffer) -> pa.RecordBatch:
        try:
            batch = pa.ipc.read_record_batch(pa.ipc.read_message(buffer), schema)
            batch.validate(full=True)
        except (pa.ArrowException, OSError, ValueError, IndexError) as error:
            raise breach(f"a batch is damaged: {error}") from error
        if batch.num_rows != claims.rows:
            raise breach("a batch has not the rows that it says")
        return batch

    def _read(self, count: int) -> bytes:
        data = bytearray(count)
        self._fill_counted(memoryview(data))
        return bytes(data)

    def _fill_counted(self, view: memoryview) -> None:
        if len(view):
            self._fill(view)
            self.received_bytes += len(view)


class ArrowSender:
    """Writes batches as `ArrowReceiver` reads them.

    Args:
        sink: Something with ``writelines(buffers)``, such as a file or a
            `dativo_plugin_sdk.protocol.sockets.SocketSink`; it takes all that it is given. A batch is given to it in
            one call, its columns' own buffers, uncopied.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._gathered = _Gathered()
        self._stream: Any = None
        self._schema: pa.Schema | None = None
        self._flags = Flags.ROWS
        self._next = 0

    def send(self, batch: pa.RecordBatch, flags: Flags = Flags.ROWS) -> int:
        """Write a batch and give its number."""
        plain = plain_batch(batch)
        if self._schema is None or self._flags != flags or not plain.schema.equals(self._schema, check_metadata=True):
            self._end()
            self._gathered.write(_HEADER.pack(_VERSION, flags, self._next))
            self._stream = pa.ipc.new_stream(
                pa.PythonFile(self._gathered, "w"),  # type: ignore[arg-type]  # it wants no more of a file
                plain.schema,
            )
            self._schema, self._flags = plain.schema, flags
        self._stream.write_batch(plain)
        self._sink.writelines(self._gathered.taken())
        number, self._next = self._next, self._next + 1
        return number

    def end(self) -> None:
        """End the stream that is open, if any."""
        self._end()
        self._sink.writelines(self._gathered.taken())

    def _end(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = self._schema = None


class _Gathered:
    """What Arrow writes of a batch, piece by piece, as a file that it writes to."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[Any] = []

    def write(self, data: Any) -> int:
        self._pieces.append(data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def taken(self) -> list[Any]:
        pieces, self._pieces = self._pieces, []
        return pieces
