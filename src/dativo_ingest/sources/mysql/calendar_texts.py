"""Dates and moments out of text that may have what is no day: ``0000-00-00``, ``2024-00-15``, ``2024-02-31``.

The server keeps such values where its ``sql_mode`` lets them in, and writes them as it writes others.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dativo_ingest.databases.arrow import Array, Mask, booleans, pc

_DAY_LETTERS = len("2024-01-01")
_SHAPE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
_FEBRUARY = 2
_MONTHS = 12
_LONGEST = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def dates(texts: Array) -> Array:
    """Read dates; what is none is null."""
    return _where_days(texts).cast(pa.date32())


def moments(texts: Array, kind: pa.DataType) -> Array:
    """Read moments, in UTC where ``kind`` has a zone; what is none is null."""
    known: pa.TimestampType = kind  # type: ignore[assignment]  # of which a caller has made sure
    return _where_days(texts).cast(pa.timestamp(known.unit)).cast(kind)


def _where_days(texts: Array) -> Array:
    return pc.if_else(booleans(_are_days(texts)), texts, pa.scalar(None, pa.string()))


def _are_days(texts: Array) -> Mask:
    """Mark the texts that begin with a day of the calendar."""
    shaped = pc.fill_null(pc.match_substring_regex(texts, _SHAPE), fill_value=False)
    days = pc.if_else(shaped, pc.utf8_slice_codeunits(texts, 0, _DAY_LETTERS), "0000-00-00")
    year, month, day = (
        _integers(pc.utf8_slice_codeunits(days, start, end)) for start, end in ((0, 4), (5, 7), (8, 10))
    )
    is_leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    longest = _LONGEST[np.minimum(month, _MONTHS)] + (is_leap & (month == _FEBRUARY))
    return np.asarray((month >= 1) & (month <= _MONTHS) & (day >= 1) & (day <= longest), np.bool_)


def _integers(texts: Array) -> NDArray[np.int64]:
    return np.asarray(texts.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)
