"""Flatbuffers read by hand, every place checked against the bytes there are."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_LENGTH_BYTES = 4
_VTABLE_HEAD = 4  # bytes: the sizes of the vtable and of the table
_PAIR = 16  # bytes of a struct of two 64-bit integers


@dataclass(frozen=True)
class Table:
    """A table at a place of ``data``; fields are known by their numbers.

    Every method raises ``struct.error`` or ``IndexError`` where it is sent to a place outside of ``data``.
    """

    data: bytes
    at: int

    @classmethod
    def root(cls, data: bytes) -> Table:
        """Find the table that the whole is about."""
        return cls(data, _read(data, 0, "<I"))

    def has(self, number: int) -> bool:
        """Say whether a field is there, and not left at its default."""
        return self._field(number) is not None

    def scalar(self, number: int, kind: str) -> int:
        """Read a number, ``kind`` as in `struct`; 0 where the field is not there."""
        at = self._field(number)
        return 0 if at is None else _read(self.data, at, kind)

    def table(self, number: int) -> Table:
        """Follow a field that is another table."""
        at = self._field(number)
        if at is None:
            raise IndexError(number)
        return Table(self.data, at + _read(self.data, at, "<I"))

    def tables(self, number: int) -> Iterator[Table]:
        """Follow the entries of a vector of tables."""
        count, start = self._vector(number, _LENGTH_BYTES)
        for at in range(start, start + count * _LENGTH_BYTES, _LENGTH_BYTES):
            yield Table(self.data, at + _read(self.data, at, "<I"))

    def count(self, number: int) -> int:
        """Give how many tables a vector of tables has."""
        return self._vector(number, _LENGTH_BYTES)[0]

    def text(self, number: int) -> bytes:
        """Read a text; empty where the field is not there."""
        count, start = self._vector(number, 1)
        return self.data[start : start + count]

    def pairs(self, number: int) -> tuple[tuple[int, int], ...]:
        """Read a vector of structs of two 64-bit integers."""
        count, start = self._vector(number, _PAIR)
        return tuple(struct.iter_unpack("<qq", self.data[start : start + count * _PAIR]))

    def _vector(self, number: int, item_bytes: int) -> tuple[int, int]:
        """Give a vector's count of entries, and where they begin."""
        at = self._field(number)
        if at is None:
            return 0, 0
        at += _read(self.data, at, "<I")
        count = _read(self.data, at, "<I")
        at += _LENGTH_BYTES
        if at + count * item_bytes > len(self.data):
            raise IndexError(count)
        return count, at

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
