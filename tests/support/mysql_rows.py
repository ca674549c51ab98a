"""Rows as a MySQL server sends them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from dativo_ingest.sources.mysql.packets import LONGEST, packet_starts
from dativo_ingest.sources.mysql.rows import RowBlock


def packets(payload: bytes, number: int = 0) -> bytes:
    """Write a payload as the packets that it takes."""
    found = b""
    while True:
        part, payload = payload[:LONGEST], payload[LONGEST:]
        found += len(part).to_bytes(3, "little") + bytes([number % 256]) + part
        number += 1
        if len(part) < LONGEST:
            return found


def row(values: Iterable[bytes | None]) -> bytes:
    """Write a row's values."""
    return b"".join(b"\xfb" if value is None else _length(len(value)) + value for value in values)


def block(rows: Sequence[Sequence[bytes | None]], *, before: bytes = b"") -> RowBlock:
    """Write rows as one block."""
    octets = bytearray(before + b"".join(packets(row(values), number) for number, values in enumerate(rows)))
    starts, end = packet_starts(octets, len(before), len(octets))
    return RowBlock(np.frombuffer(octets, np.uint8), starts, end)


def _length(size: int) -> bytes:
    if size < 251:
        return bytes([size])
    for mark, width in ((0xFC, 2), (0xFD, 3), (0xFE, 8)):
        if size < 256**width:
            return bytes([mark]) + size.to_bytes(width, "little")
    raise OverflowError
