"""Where the values are in a block of rows; pure functions over bytes.

A value is its length and its bytes (MySQL documentation, "Length-Encoded Integer"): a length up to 250 is one byte, a
longer one is a byte that says how many bytes of length follow, and one byte stands for null. All rows of a block are
walked in step, a column at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dativo_ingest.databases.arrow import Mask, Octets, Positions

_NULL = 0xFB
_LENGTH_BYTES = {0xFC: 2, 0xFD: 3, 0xFE: 8}


@dataclass(frozen=True)
class Cells:
    """The values of one column: row by row, where the length stands, and where the value begins and ends."""

    marks: Positions
    starts: Positions
    ends: Positions
    nulls: Mask | None
    """Which are null; None where none is."""
    has_long: bool
    """Whether a length is more than one byte."""


def find_cells(octets: Octets, starts: Positions, columns: int) -> tuple[list[Cells], Positions]:
    """Find the values of rows.

    Args:
        octets: The block; must go on for 8 bytes after the last row.
        starts: Where each row's first value begins.
        columns: How many values a row has.

    Returns:
        The columns, and where each row ends.
    """
    found = []
    position = starts
    for _ in range(columns):
        cells = _column(octets, position)
        found.append(cells)
        position = cells.ends
    return found, position


def _column(octets: Octets, marks: Positions) -> Cells:
    lengths = octets.take(marks, mode="clip")  # rows that end too early are found out later
    if not len(lengths) or lengths.max() < _NULL:
        starts = marks + 1
        return Cells(marks, starts, starts + lengths, None, has_long=False)
    sizes = lengths.astype(np.int64)
    starts = marks + 1
    nulls: Mask = lengths == _NULL
    sizes[nulls] = 0
    has_long = False
    for mark, width in _LENGTH_BYTES.items():
        long = np.flatnonzero(lengths == mark)
        if not len(long):
            continue
        has_long = True
        places = octets[starts[long, None] + np.arange(width)].astype(np.int64)
        sizes[long] = (places << (8 * np.arange(width))).sum(axis=1)
        starts[long] += width
    return Cells(marks, starts, starts + sizes, nulls if nulls.any() else None, has_long)
