"""Casts that keep the good values and say which ones they could not take."""

from __future__ import annotations

from typing import Any, TypeAlias

import pyarrow as pa

from dativo_ingest.steps.arrow import Array, DataType, pc

Cast: TypeAlias = tuple[Array, pa.BooleanArray | None]
"""Values of the type asked for, and true where the original did not fit (the value there is null); None: all fit."""


def keep(array: Array, to: DataType) -> Cast:
    """Cast what the caller knows to fit, or let `halve` find what does not."""
    try:
        return pc.cast(array, to), None
    except pa.ArrowInvalid:
        return halve(array, to)


def cast_except(array: Array, to: DataType, bad: pa.BooleanArray | None) -> Cast:
    """Cast the values that are not ``bad`` (null is not); those that still do not fit become bad too."""
    known = found(bad)
    cast, more = keep(null_where(array, known), to)
    return cast, either(known, more)


def halve(array: Array, to: DataType) -> Cast:
    """Find the values that a safe cast refuses by casting halves; costs log(n) casts for each bad value."""
    parts: list[Array] = []
    flags: list[Array] = []
    spans = [(0, len(array))]
    while spans:
        start, length = spans.pop()
        try:
            part = pc.cast(array.slice(start, length), to)
        except pa.ArrowInvalid:
            if length > 1:
                spans += [(start + length // 2, length - length // 2), (start, length // 2)]
                continue
            parts.append(pa.nulls(1, to))
            flags.append(pa.array([True]))
        else:
            parts.append(part)
            flags.append(pa.repeat(False, length))  # noqa: FBT003  a value
    bad: Any = pa.concat_arrays(flags)
    return pa.concat_arrays(parts), found(bad)


def refuse(array: Array, to: DataType) -> Cast:
    """Give nulls, and every value that is not null as bad."""
    return pa.nulls(len(array), to), found(pc.is_valid(array))


def null_where(array: Array, bad: pa.BooleanArray | None) -> Array:
    """Put null in place of bad values."""
    return array if bad is None else pc.if_else(bad, pa.scalar(None, array.type), array)


def found(bad: pa.BooleanArray | None) -> pa.BooleanArray | None:
    """Give a mask without nulls (they are not bad), None where nothing is bad."""
    if bad is None:
        return None
    if bad.null_count:
        bad = pc.fill_null(bad, False)  # noqa: FBT003  a value
    return bad if bad.true_count else None


def either(left: pa.BooleanArray | None, right: pa.BooleanArray | None) -> pa.BooleanArray | None:
    """Join two masks without nulls."""
    if left is None or right is None:
        return right if left is None else left
    both: pa.BooleanArray = pc.or_(left, right)
    return both


def outside(array: Array, low: object, high: object) -> pa.BooleanArray:
    """Say which values are below ``low`` or above ``high``, both of the array's type; null stays null."""
    lowest, highest = pa.scalar(low, array.type), pa.scalar(high, array.type)
    beyond: pa.BooleanArray = pc.or_(pc.less(array, lowest), pc.greater(array, highest))
    return beyond


def changed_by(array: Array, to: DataType) -> pa.BooleanArray:
    """Say which values do not come back from ``to`` as they were; only for casts that wrap or cut, never fail."""
    back = pc.cast(pc.cast(array, to, safe=False), array.type, safe=False)
    changed: pa.BooleanArray = pc.not_equal(array, back)
    return changed
