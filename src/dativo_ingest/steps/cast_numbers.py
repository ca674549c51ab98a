"""Lossless casts from integers and floats."""

from __future__ import annotations

import pyarrow as pa

from dativo_ingest.steps import cast_text
from dativo_ingest.steps.arrow import Array, DataType, pc
from dativo_ingest.steps.cast_decimals import decimal_to_decimal
from dativo_ingest.steps.masks import Cast, cast_except, found, outside
from dativo_ingest.steps.number_limits import bounds

_EXACT_INTEGERS = {16: 2**11, 32: 2**24, 64: 2**53}
"""The largest n of each float width for which every integer up to n is exact."""


def int_to_int(array: Array, to: DataType) -> Cast:
    """Widen, or narrow what is in range."""
    try:
        return pc.cast(array, to), None
    except pa.ArrowInvalid:
        (low, high), (lowest, highest) = bounds(to), bounds(array.type)
        return cast_except(array, to, outside(array, max(low, lowest), min(high, highest)))


def int_to_float(array: Array, to: DataType) -> Cast:
    """Take integers up to the width's 2^11, 2^24 or 2^53."""
    limit = _EXACT_INTEGERS[to.bit_width]
    lowest, highest = bounds(array.type)
    if highest <= limit:
        return pc.cast(array, to), None
    bad = found(outside(array, max(-limit, lowest), limit))
    return (pc.cast(array, to), None) if bad is None else cast_except(array, to, bad)


def int_to_decimal(array: Array, to: DataType) -> Cast:
    """Take integers that have no more digits than the decimal leaves before its point."""
    digits = len(str(bounds(array.type)[1]))
    return decimal_to_decimal(pc.cast(array, pa.decimal128(digits, 0)), to)


def int_to_bool(array: Array, to: DataType) -> Cast:
    """Take 0 and 1."""
    return cast_except(array, to, outside(array, 0, 1))


def float_to_int(array: Array, to: DataType) -> Cast:
    """Take integral values within range: the comparison is done before the cast, which beyond it is undefined."""
    values = pc.cast(array, pa.float64())
    low, high = bounds(to)
    integral = pc.equal(pc.floor(values), values)
    within = pc.and_(pc.greater_equal(values, float(low)), pc.less(values, float(high + 1)))
    return cast_except(values, to, pc.invert(pc.and_(integral, within)))


def float_to_float(array: Array, to: DataType) -> Cast:
    """Widen, or narrow values that are exact there or whose shortest text stays the same (0.1 is 0.1 in any width)."""
    if to.bit_width >= array.type.bit_width:
        return pc.cast(array, to), None
    wide = pc.cast(array, pa.float64())
    cast = pc.cast(array, to)
    moved = pc.not_equal(pc.cast(cast, pa.float64()), wide)
    moved = pc.and_(moved, pc.invert(pc.is_nan(wide)))
    if found(moved) is None:
        return cast, None
    bad = pc.and_(moved, pc.not_equal(pc.cast(cast, pa.string()), pc.cast(array, pa.string())))
    return cast_except(array, to, bad)


def float_to_decimal(array: Array, to: DataType) -> Cast:
    """Take values whose shortest text, the one everybody prints, fits the decimal exactly: 12.34, not 0.1 + 0.2."""
    return cast_text.to_decimal(pc.cast(array, pa.string()), to)
