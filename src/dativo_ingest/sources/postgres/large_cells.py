r"""Cells of many megabytes, which a parser would copy again and again, are taken out before it and put in after.

A row with such a cell is parsed alone, with ``\N`` in the cell's place.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from dativo_ingest.databases.arrow import Array, buffer_of

LARGE_BYTES = 2**20
_TAB, _LINE_FEED = re.compile(rb"\t"), re.compile(rb"\n")
_HEX_PREFIX = len(rb"\\x")
_STAND_IN = b"\0"  # for a backslash, while other escapes are taken out: text in Postgres has no zero bytes
_ESCAPES = ((rb"\b", b"\b"), (rb"\f", b"\f"), (rb"\n", b"\n"), (rb"\r", b"\r"), (rb"\t", b"\t"), (rb"\v", b"\v"))


@dataclass(frozen=True)
class Piece:
    """Rows of a block: as they are, or one row without its large cells."""

    block: memoryview
    cells: dict[int, memoryview] = field(default_factory=dict)
    """The cells that were taken out, by the numbers of their columns."""


def without_large_cells(block: memoryview, takes: frozenset[int]) -> Iterator[Piece]:
    """Give the rows of a block in order, large cells of the columns ``takes`` apart.

    Args:
        block: Whole rows, each with a cell before its first that nobody reads.
        takes: The columns from which cells are taken.
    """
    if not takes or not _may_have_large_rows(block):
        yield Piece(block)
        return
    start = first = 0
    for end in (found.end() for found in _LINE_FEED.finditer(block)):
        if end - start >= LARGE_BYTES and (piece := _piece(block[start:end], takes)) is not None:
            if start > first:
                yield Piece(block[first:start])
            yield piece
            first = end
        start = end
    if start > first:
        yield Piece(block[first:start])


def _may_have_large_rows(block: memoryview) -> bool:
    """Look for a line feed in each window that a large row would fill: there is one near the beginning of most."""
    window = LARGE_BYTES // 2
    return any(
        _LINE_FEED.search(block, start, start + window) is None
        for start in range(0, len(block) - LARGE_BYTES + 1, window)
    )


def _piece(row: memoryview, takes: frozenset[int]) -> Piece | None:
    ends = [*(found.start() for found in _TAB.finditer(row)), len(row) - 1]
    starts = [0, *(end + 1 for end in ends[:-1])]
    spans = list(zip(starts, ends, strict=True))
    cells = {
        number: row[start:end]
        for number, (start, end) in enumerate(spans[1:])
        if end - start >= LARGE_BYTES and number in takes
    }
    if not cells:
        return None
    kept = [rb"\N" if number - 1 in cells else bytes(row[start:end]) for number, (start, end) in enumerate(spans)]
    return Piece(memoryview(b"\t".join(kept) + b"\n"), cells)


def large_text(cell: memoryview) -> Array:
    """Give the one value of a text; as bytes where it is no UTF-8."""
    octets = bytes(cell)
    if b"\\" in octets:
        octets = octets.replace(rb"\\", _STAND_IN)
        for escape, character in _ESCAPES if b"\\" in octets else ():
            octets = octets.replace(escape, character)
        octets = octets.replace(_STAND_IN, b"\\")
    text = _single(pa.string(), octets)
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return _single(pa.binary(), octets)
    return text


def large_bytes(cell: memoryview) -> Array:
    """Give the one value of bytes in hexadecimal digits."""
    return _single(pa.binary(), binascii.unhexlify(cell[_HEX_PREFIX:]))


def _single(kind: pa.DataType, octets: bytes) -> Array:
    ends = np.array([0, len(octets)], np.int32)
    array: Array = pa.Array.from_buffers(kind, 1, [None, buffer_of(ends), buffer_of(octets)])
    return array
