"""Dates and moments outside of the years 1 to 9999, which Arrow's parser does not know, from text.

Postgres writes them as ``0044-03-15 BC`` and ``12024-01-01``.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dativo_ingest.databases.arrow import Array, pc

_DATE = r"^(?P<year>[0-9]{4,7})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})(?P<era>(?: BC)?)$"
_MOMENT = (
    r"^(?P<year>[0-9]{4,7})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2}) (?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})"
    r":(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,6}))?(?:\+00)?(?P<era>(?: BC)?)$"
)
_DAY_US = 86_400 * 10**6
_LAST_DAY = (2**63 - 1) // _DAY_US - 1  # the days whose every microsecond has a number
_US_DIGITS = 6


def far_dates(texts: Array) -> Array:
    """Read dates; what is none, such as infinity, is null."""
    parts = pc.extract_regex(texts, pattern=_DATE)
    days = _days(parts)
    return pa.array(days.astype(np.int32), pa.int32(), mask=_missing(parts)).cast(pa.date32())


def far_moments(texts: Array, kind: pa.DataType) -> Array:
    """Read timestamps in UTC or without a zone, in microseconds; what is none or too far is null."""
    parts = pc.extract_regex(texts, pattern=_MOMENT)
    days = _days(parts)
    fraction = pc.utf8_rpad(pc.fill_null(pc.struct_field(parts, "fraction"), ""), width=_US_DIGITS, padding="0")
    of_day = (_number(parts, "hour") * 60 + _number(parts, "minute")) * 60 + _number(parts, "second")
    beyond = np.abs(days) > _LAST_DAY
    moments = np.where(beyond, 0, days) * _DAY_US + of_day * 10**6 + _integers(fraction)
    return pa.array(moments, pa.int64(), mask=_missing(parts) | beyond).cast(kind)


def _days(parts: Array) -> NDArray[np.int64]:
    """Count days from 1970-01-01 in the Gregorian calendar, also before it began; the year before 1 is 1 BC."""
    year, month, day = (_number(parts, name) for name in ("year", "month", "day"))
    before_christ = pc.fill_null(pc.equal(pc.struct_field(parts, "era"), " BC"), fill_value=False)
    year = np.where(before_christ.to_numpy(zero_copy_only=False), 1 - year, year)
    year = np.where(month <= 2, year - 1, year)  # noqa: PLR2004  years begin in March, so that leap days end them
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return np.asarray(era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468, np.int64)


def _number(parts: Array, name: str) -> NDArray[np.int64]:
    return _integers(pc.struct_field(parts, name))


def _integers(texts: Array) -> NDArray[np.int64]:
    return np.asarray(pc.fill_null(texts, "0").cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)


def _missing(parts: Array) -> NDArray[np.bool_]:
    return np.asarray(parts.is_null().to_numpy(zero_copy_only=False), np.bool_)
