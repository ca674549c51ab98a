"""Where the packets are in what a server sends as a result's rows; pure functions over bytes.

Each row is a packet (MySQL documentation, "Text Resultset Row"): three bytes with the length of what follows, least
first, a byte that counts packets, and the row's values. A row of 16 MiB or more goes on in further packets.
"""

from __future__ import annotations

import struct

import numpy as np

from dativo_ingest.databases.arrow import Positions

HEADER_BYTES = 4
LONGEST = 2**24 - 1
"""The length of a packet whose row goes on in the next one."""

_HEADER = struct.Struct("<I")


def packet_length(octets: bytearray, start: int) -> int:
    """Give how many bytes the packet at ``start`` has after its header."""
    return int(_HEADER.unpack_from(octets, start)[0]) & LONGEST


def packet_starts(octets: bytearray, start: int, end: int) -> tuple[Positions, int]:
    """Find the whole packets that follow each other, up to one whose row goes on in the next.

    Args:
        octets: What was received.
        start: Where a packet begins.
        end: Where what was received ends.

    Returns:
        Where they begin, and where the last one ends: ``start`` where there is none.
    """
    found: list[int] = []
    add, unpack_from = found.append, _HEADER.unpack_from
    last = end - HEADER_BYTES
    while start <= last:  # the only loop over rows in Python: each step counts
        add(start)
        start += HEADER_BYTES + (unpack_from(octets, start)[0] & LONGEST)
    if start > end:
        start = found.pop()
    starts = np.array(found, np.int64)
    if end > LONGEST:
        longest = np.flatnonzero(np.diff(starts, append=start) == HEADER_BYTES + LONGEST)
        if len(longest):
            return starts[: longest[0]], int(starts[longest[0]])
    return starts, start


def joined_end(octets: bytearray, start: int, end: int) -> int:
    """Find where a row of more than one packet ends; beyond ``end``, as far as that is known, where more must come."""
    while start + HEADER_BYTES <= end:
        length = packet_length(octets, start)
        start += HEADER_BYTES + length
        if length < LONGEST:
            return start
    return start + HEADER_BYTES


def without_inner_headers(octets: bytearray, start: int, end: int) -> bytearray:
    """Give a row of more than one packet as one, whose header says nothing of its length."""
    row = bytearray(octets[start : start + HEADER_BYTES])
    while start < end:
        length = packet_length(octets, start)
        start += HEADER_BYTES
        row += memoryview(octets)[start : start + length]
        start += length
    return row
