r"""Where the rows are in what a server sends during COPY TO STDOUT; pure functions over bytes.

Each row is a message of its own (PostgreSQL documentation, "Message Formats", CopyData): the byte ``d``, four bytes
with the length of what follows including themselves, and the row's text, whose last byte is a line feed and which has
no other: within a value it is written ``\n``. So the rows of a block are found by looking for line feeds, all at once,
and nothing is taken for found that the lengths do not confirm.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Octets: TypeAlias = NDArray[np.uint8]
Positions: TypeAlias = NDArray[np.int64]

LEAD = b"d   \t"
"""What stands before each row once `blank_headers` is done: a cell that nobody reads, in place of the header."""

HEADER_BYTES = len(LEAD)
_COPY_DATA = ord("d")
_LINE_FEED = ord("\n")
_LENGTH = struct.Struct("!i")
_LEAST_BYTES = HEADER_BYTES + 1  # of a row: a line feed
_BLANK = np.frombuffer(LEAD[1:], np.uint32)[0]


def row_starts(octets: Octets, start: int, end: int) -> tuple[Positions, int]:
    """Find the whole rows that follow each other without another message between them.

    Args:
        octets: What was received.
        start: Where a message begins.
        end: Where what was received ends.

    Returns:
        Where their messages begin, and where the last one ends: ``start`` where there is none.
    """
    ends: Positions = np.flatnonzero(octets[start:end] == _LINE_FEED) + (start + 1)
    for _ in range(2):
        starts = np.concatenate((np.array([start], np.int64), ends[:-1]))[: len(ends)]
        if _are_rows(octets, starts, ends):
            return starts, int(ends[-1]) if len(ends) else start
        # A length has a byte that looks like a line feed: it follows another too closely to end a row.
        ends = ends[np.diff(ends, prepend=start) >= _LEAST_BYTES]
    return _walk(octets, start, end)


def blank_headers(octets: Octets, starts: Positions) -> None:
    """Write `LEAD` over the headers, so that rows follow each other as lines of text."""
    after: NDArray[np.uint32] = np.ndarray((len(octets) - 4,), np.uint32, octets, 1, (1,))
    after[starts] = _BLANK


def message_length(octets: bytes | bytearray | memoryview, start: int) -> int:
    """Give how many bytes the message at ``start`` has, its first byte included."""
    return 1 + int(_LENGTH.unpack_from(octets, start + 1)[0])


def _are_rows(octets: Octets, starts: Positions, ends: Positions) -> bool:
    if not len(starts):
        return True
    if int(starts[-1]) + HEADER_BYTES > len(octets):
        return False
    lengths: NDArray[np.int32] = np.ndarray((len(octets) - 4,), ">i4", octets, 1, (1,))
    return bool(np.all(octets[starts] == _COPY_DATA) and np.array_equal(starts + 1 + lengths[starts], ends))


def _walk(octets: Octets, start: int, end: int) -> tuple[Positions, int]:
    """Go from message to message: for blocks in which line feeds do not tell."""
    found = []
    data = octets.data
    while start + HEADER_BYTES <= end and data[start] == _COPY_DATA:
        following = start + message_length(data, start)
        if following > end:
            break
        found.append(start)
        start = following
    return np.array(found, np.int64), start
