"""Lossless casts from decimals.

Arrow's own casts are used only where they cannot overflow: it does not look at what it multiplies (7 as decimal(38,0)
becomes 0.19... as decimal(38,38)), and dividing wide decimals it sees losses that are none. Everything else goes by the
decimal's text, which is exact.
"""

from __future__ import annotations

import pyarrow as pa

from dativo_ingest.steps import cast_text
from dativo_ingest.steps.arrow import Array, DataType, pc
from dativo_ingest.steps.masks import Cast, cast_except, either, found, outside
from dativo_ingest.steps.number_limits import bounds

_DIGITS = 38


def decimal_to_decimal(array: Array, to: DataType) -> Cast:
    """Change precision and scale of values that lose no digit by it."""
    source: DataType = array.type
    added = to.scale - source.scale
    if max(source.precision, to.precision, source.precision + added) <= _DIGITS or added == 0:
        try:
            return pc.cast(array, to), None
        except pa.ArrowInvalid:
            pass
    return cast_text.to_decimal(pc.cast(array, pa.string()), to)


def decimal_to_int(array: Array, to: DataType) -> Cast:
    """Take integral values within range."""
    whole, broken = decimal_to_decimal(array, pa.decimal128(_DIGITS, 0))
    beyond = found(outside(whole, *bounds(to)))
    cast, more = cast_except(whole, to, beyond)
    return cast, either(broken, more)


def decimal_to_float(array: Array, to: DataType) -> Cast:
    """Take values that the float's shortest text gives back: 12.34, not seventeen digits."""
    cast = pc.cast(pc.cast(array, pa.string()), to)
    back, lost = cast_text.to_decimal(pc.cast(cast, pa.string()), array.type)
    same = pc.equal(back, array) if lost is None else pc.and_(pc.equal(back, array), pc.invert(lost))
    bad = found(pc.and_(pc.is_valid(array), pc.invert(pc.fill_null(same, False))))  # noqa: FBT003  a value
    return (cast, None) if bad is None else cast_except(cast, to, bad)
