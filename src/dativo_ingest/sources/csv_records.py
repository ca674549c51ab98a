"""Where the records of a CSV end, found without parsing them. Pure.

A newline ends a record unless it stands in quotes. From a record's beginning to a byte, the number of quotes is odd
just where the byte stands in quotes, provided that every opening quote stands at the beginning of a cell: that is
checked, all quotes at once. Where it does not hold (``5" pipe``), or quotes can be escaped, an exact scan takes over.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

if TYPE_CHECKING:
    import numpy as np

Octets: TypeAlias = bytes | pa.Buffer
_NUMPY_BYTES = 256 * 1024  # below this the exact scan is cheaper than loading numpy
_STEP_BYTES = 64 * 1024  # temporary arrays of this size stay in the processor's cache
_CR, _LF = 13, 10


@dataclass(frozen=True)
class Dialect:
    """The signs that structure a CSV, each one ASCII character."""

    delimiter: str = ","
    quote_char: str | None = '"'
    escape_char: str | None = None
    double_quote: bool = True


@dataclass(frozen=True)
class Cut:
    """Where the complete records of some bytes end, and whether the bytes end inside quotes."""

    end: int
    in_quotes: bool


def cut(data: Octets, dialect: Dialect) -> Cut:
    """Find the end of the last complete record.

    Args:
        data: Bytes that begin where a record begins.
        dialect: Their signs.
    """
    marks = quote_marks(data, dialect)
    end = _last_outside(data, b"\n", marks, len(data))
    if end == 0:
        # Lines may end with a carriage return alone; one at the very end may be the first half of two.
        end = _last_outside(data, b"\r", marks, len(data) - 1)
    return Cut(end, in_quotes=len(marks) % 2 == 1)


def first_record_end(data: Octets, dialect: Dialect) -> int:
    """Find where the first record ends, its line's end included; 0 where it does not end in ``data``."""
    marks = quote_marks(data, dialect)
    at = 0
    while True:
        found = _LINE_END.search(data, at)
        if found is None or (found.group() == b"\r" and found.end() == len(data)):
            return 0
        before = bisect_left(marks, found.start())
        if before % 2 == 0:
            return found.end()
        if before == len(marks):
            return 0
        at = marks[before]


def line_count(data: Octets) -> int:
    """Count the line ends: newlines, and carriage returns without one."""
    if len(data) < _NUMPY_BYTES:
        text = bytes(data)
        lone = text.count(b"\r") - text.count(b"\r\n") if b"\r" in text else 0
        return text.count(b"\n") + lone
    import numpy as np  # noqa: PLC0415  heavy, and only large data is worth it

    octets = np.frombuffer(memoryview(data), np.uint8)
    newlines = returns = 0
    for at in range(0, len(octets), _STEP_BYTES):
        step = octets[at : at + _STEP_BYTES]
        newlines += int(np.count_nonzero(step == _LF))
        returns += int(np.count_nonzero(step == _CR))
    return newlines + (returns - bytes(data).count(b"\r\n") if returns else 0)


def record_lines(data: Octets, dialect: Dialect) -> np.ndarray[Any, Any]:
    """Give each record's line, from 0 at the beginning of ``data``; blank lines are no records."""
    import numpy as np  # noqa: PLC0415  heavy, and only data with blank lines or broken cells comes here

    if not len(data):
        return np.zeros(0, np.int64)
    octets = np.frombuffer(memoryview(data), np.uint8)
    returns = np.flatnonzero(octets == _CR)
    followed = octets[np.minimum(returns + 1, len(octets) - 1)] == _LF
    ends = np.sort(np.concatenate([np.flatnonzero(octets == _LF), returns[~followed]]))
    before = np.searchsorted(np.asarray(quote_marks(data, dialect), np.int64), ends)
    outside = np.flatnonzero(before % 2 == 0)
    stops = ends[outside]
    starts = np.concatenate([[0], stops + 1])
    lines = np.concatenate([[0], outside + 1])
    if starts[-1] == len(data):
        starts, lines = starts[:-1], lines[:-1]
    else:
        stops = np.concatenate([stops, [len(data)]])
    two = (stops > starts) & (octets[np.minimum(stops, len(data) - 1)] == _LF) & (octets[stops - 1] == _CR)
    return lines[stops - two > starts]  # type: ignore[no-any-return]  # numpy's indexing is Any


def quote_marks(data: Octets, dialect: Dialect) -> Sequence[int]:
    """Give offsets, ascending, such that a byte stands in quotes where an odd number of them is before it."""
    if dialect.quote_char is None and dialect.escape_char is None:
        return ()
    if dialect.escape_char is None and dialect.quote_char is not None:
        if len(data) >= _NUMPY_BYTES:
            marks = _all_quotes(data, dialect)
            if marks is not None:
                return marks
        elif dialect.quote_char.encode() not in bytes(data):
            return ()
    return _scan(data, dialect)


def _all_quotes(data: Octets, dialect: Dialect) -> Sequence[int] | None:
    """Give all quotes where each that opens stands where a cell begins, or doubles the one before it; else None."""
    import numpy as np  # noqa: PLC0415  heavy, and only large data is worth it

    assert dialect.quote_char is not None  # noqa: S101  quote_marks has looked
    octets = np.frombuffer(memoryview(data), np.uint8)
    quote = ord(dialect.quote_char)
    steps = range(0, len(octets), _STEP_BYTES)
    marks = np.concatenate([np.flatnonzero(octets[at : at + _STEP_BYTES] == quote) + at for at in steps])
    before = np.zeros(256, bool)
    before[[ord(dialect.delimiter), _CR, _LF]] = True
    before[quote] = dialect.double_quote
    opening = marks[::2]
    if len(opening) and opening[0] == 0:
        opening = opening[1:]
    return marks if bool(before[octets[opening - 1]].all()) else None  # type: ignore[return-value]  # is a sequence


def _scan(data: Octets, dialect: Dialect) -> Sequence[int]:
    marks: list[int] = []
    for found in _quoted(dialect).finditer(data):
        marks.append(found.start())
        if found.group("open") is None or found.group("close"):  # an escaped character, or a closed quote
            marks.append(found.end() - 1)
    return marks


@lru_cache(maxsize=16)
def _quoted(dialect: Dialect) -> re.Pattern[bytes]:
    """Match a quoted part from its opening quote to its closing one, or an escaped character outside quotes."""
    alternatives: list[bytes] = []
    escape = re.escape(dialect.escape_char.encode()) if dialect.escape_char else b""
    quote = re.escape(dialect.quote_char.encode()) if dialect.quote_char else b""
    if quote:
        inner = [b"[^" + quote + escape + b"]++"]
        if escape:
            inner.append(escape + b".")
        if dialect.double_quote:
            inner.append(quote + quote)
        begins = rb"(?:(?<=[\r\n" + re.escape(dialect.delimiter.encode()) + rb"])|\A)"
        alternatives.append(
            begins + b"(?P<open>" + quote + b")(?:" + b"|".join(inner) + b")*+(?P<close>" + quote + b"?)"
        )
    else:
        alternatives.append(b"(?P<open>(?!))(?P<close>)")
    if escape:  # a quote right after it is in the middle of a cell
        alternatives.append(escape + b"." + (quote + b"?" if quote else b""))
    return re.compile(b"|".join(alternatives), re.DOTALL)


_LINE_END = re.compile(rb"\r\n|\r|\n")


def _last_outside(data: Octets, sign: bytes, marks: Sequence[int], end: int) -> int:
    """Find the end of the last ``sign`` before ``end`` that is not in quotes; 0 where there is none."""
    while True:
        at = _rfind(data, sign, end)
        if at < 0:
            return 0
        before = bisect_left(marks, at)
        if before % 2 == 0:
            return at + 1
        end = marks[before - 1]


def _rfind(data: Octets, sign: bytes, end: int) -> int:
    """Find the last ``sign``, one byte, before ``end``; -1 where there is none."""
    while end > 0:
        start = max(0, end - _STEP_BYTES)
        at = bytes(data[start:end]).rfind(sign)
        if at >= 0:
            return start + at
        end = start
    return -1
