"""How large a number each type holds."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa

from dativo_ingest.steps.arrow import Array, DataType, pc
from dativo_ingest.steps.masks import outside

MAX_DIGITS = 76
"""The digits of Arrow's widest decimal."""


def bounds(integer: DataType) -> tuple[int, int]:
    """Give the least and the greatest value of an integer type."""
    width = integer.bit_width
    if pa.types.is_signed_integer(integer):
        return -(2 ** (width - 1)), 2 ** (width - 1) - 1
    return 0, 2**width - 1


def over_precision(array: Array) -> pa.BooleanArray:
    """Say which decimals have more digits than their own type."""
    scale = array.type.scale
    digits = tuple(map(int, str(10**array.type.precision - 1)))
    # from tuples: arithmetic would round to the context's precision
    limits = [Decimal((sign, digits, -scale)) for sign in (1, 0)]
    return outside(pc.cast(array, pa.decimal256(MAX_DIGITS, scale)), *limits)
