"""Decimals: what fits which precision and scale."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa

from dativo_ingest.steps.arrow import Array, DataType, pc
from dativo_ingest.steps.masks import Cast, cast_except, halve, outside

MAX_DIGITS = 76
"""The digits of Arrow's widest decimal."""


def bounds(integer: DataType) -> tuple[int, int]:
    """Give the least and the greatest value of an integer type."""
    width = integer.bit_width
    if pa.types.is_signed_integer(integer):
        return -(2 ** (width - 1)), 2 ** (width - 1) - 1
    return 0, 2**width - 1


def decimal_to_decimal(array: Array, to: DataType) -> Cast:
    """Change precision and scale of values that lose no digit by it."""
    try:
        return pc.cast(array, to), None
    except pa.ArrowInvalid:
        pass
    source = array.type
    wide = pc.cast(array, pa.decimal256(MAX_DIGITS, source.scale))
    bad = over_precision(wide, to.precision - to.scale)
    if to.scale < source.scale:
        inexact = pc.not_equal(pc.round(wide, ndigits=to.scale, round_mode="towards_zero"), wide)
        bad = inexact if bad is None else pc.or_(bad, inexact)
    return halve(array, to) if bad is None else cast_except(array, to, bad)


def over_precision(wide: Array, digits_before: int) -> pa.BooleanArray | None:
    """Say which values need more than ``digits_before`` digits before the point; None: none can."""
    scale = wide.type.scale
    if digits_before > MAX_DIGITS - 1 - scale:
        return None
    largest = str(10 ** (digits_before + scale) - 1) if digits_before + scale > 0 else "0"
    # from a tuple: arithmetic would round to the context's precision
    limits = [Decimal((sign, tuple(map(int, largest)), -scale)) for sign in (1, 0)]
    return outside(wide, *limits)
