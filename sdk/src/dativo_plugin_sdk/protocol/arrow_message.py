"""What the metadata of an Arrow IPC message claims, read before Arrow acts on it.

Arrow's own reader allocates what a message says it needs, inflates compressed bodies, and trusts the places of
buffers. A message of a foreign process may say anything; this reads the few fields that matter from the flatbuffer by
hand, every place checked against the bytes there are. Field numbers: Arrow's ``Message.fbs`` and ``Schema.fbs``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from dativo_plugin_sdk.protocol.breach import breach

SCHEMA: Final = 1
DICTIONARY_BATCH: Final = 2
RECORD_BATCH: Final = 3

_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3  # of Message
_LENGTH, _NODES, _BUFFERS, _COMPRESSION = 0, 1, 2, 3  # of RecordBatch
_PAIR = 16  # bytes of a FieldNode and of a Buffer: two 64-bit integers
_LENGTH_BYTES = 4
_VTABLE_HEAD = 4  # bytes: the sizes of the vtable and of the table


@dataclass(frozen=True)
class Claims:
    """What a message says of itself."""

    kind: int
    body_bytes: int
    rows: int = 0
    is_compressed: bool = False
    nodes: tuple[tuple[int, int], ...] = ()
    """Of each array, in depth-first order, its length and how many nulls it has."""
    buffers: tuple[tuple[int, int], ...] = ()
    """Of each buffer its place in the body and its length, in bytes."""


def claims_of(metadata: bytes) -> Claims:
    """Read a message's metadata.

    Raises:
        PluginExecutionError: It is no flatbuffer of a message.
    """
    try:
        message = _Table.root(metadata)
        claims = Claims(message.scalar(_HEADER_TYPE, "<B"), message.scalar(_BODY_LENGTH, "<q"))
        if claims.kind != RECORD_BATCH:
            return claims
        batch = message.table(_HEADER)
        return Claims(
            claims.kind,
            claims.body_bytes,
            rows=batch.scalar(_LENGTH, "<q"),
            is_compressed=batch.has(_COMPRESSION),
            nodes=batch.pairs(_NODES),
            buffers=batch.pairs(_BUFFERS),
        )
    except (struct.error, IndexError) as error:
        raise breach("the metadata of an Arrow message is damaged") from error


@dataclass(frozen=True)
class _Table:
    """A flatbuffer table at a place of ``data``."""

    data: bytes
    at: int

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, _read(data, 0, "<I"))

    def has(self, number: int) -> bool:
        return self._field(number) is not None

    def scalar(self, number: int, kind: str) -> int:
        at = self._field(number)
        return 0 if at is None else _read(self.data, at, kind)

    def table(self, number: int) -> _Table:
        at = self._field(number)
        if at is None:
            raise IndexError(number)
        return _Table(self.data, at + _read(self.data, at, "<I"))

    def pairs(self, number: int) -> tuple[tuple[int, int], ...]:
        """Read a vector of structs of two 64-bit integers."""
        at = self._field(number)
        if at is None:
            return ()
        at += _read(self.data, at, "<I")
        count = _read(self.data, at, "<I")
        at += _LENGTH_BYTES
        if at + count * _PAIR > len(self.data):
            raise IndexError(count)
        return tuple(struct.iter_unpack("<qq", self.data[at : at + count * _PAIR]))

    def _field(self, number: int) -> int | None:
        """Find a field's place through the table's list of them, its vtable; None where it has its default."""
        vtable = self.at - _read(self.data, self.at, "<i")
        entry = _VTABLE_HEAD + 2 * number
        if entry >= _read(self.data, vtable, "<H"):
            return None
        offset = _read(self.data, vtable + entry, "<H")
        return self.at + offset if offset else None


def _read(data: bytes, at: int, kind: str) -> int:
    if at < 0:  # a negative place would count from the end
        raise IndexError(at)
    (found,) = struct.unpack_from(kind, data, at)
    return int(found)
