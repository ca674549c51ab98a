"""Lossless casts between dates, times, timestamps and durations."""

from __future__ import annotations

import pyarrow as pa

from dativo_ingest.steps.arrow import Array, DataType, pc
from dativo_ingest.steps.masks import Cast, cast_except, changed_by, refuse


def exact(array: Array, to: DataType) -> Cast:
    """Change the unit (or the date's layout) of values that lose nothing by it."""
    try:
        return pc.cast(array, to), None
    except pa.ArrowInvalid:
        return cast_except(array, to, changed_by(array, to))


def timestamp_to_timestamp(array: Array, to: DataType) -> Cast:
    """Change unit and time zone, the instant stays; an instant is no local time, nor the other way round."""
    if (array.type.tz is None) is not (to.tz is None):
        return refuse(array, to)
    return exact(array, to)


def timestamp_to_date(array: Array, to: DataType) -> Cast:
    """Take local midnights."""
    if array.type.tz is not None:
        return refuse(array, to)
    return cast_except(array, to, changed_by(array, to))


def date_to_timestamp(array: Array, to: DataType) -> Cast:
    """Take a date as its midnight, in a column without time zone."""
    return refuse(array, to) if to.tz is not None else exact(array, to)
