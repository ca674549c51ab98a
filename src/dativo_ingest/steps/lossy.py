"""What a contract lets a column lose: a value that does not fit without loss is rounded, clamped or made null.

========  ============================================================================================================
round     numbers to the digits that a decimal or a whole number has, ties away from zero, and to the nearest float;
          of times and timestamps the digits beyond the unit are cut off
clamp     what is out of range becomes the nearest value that there is: a date or timestamp that is infinite or too far
          the last or the first moment of the years 1 to 9999, 24:00 the last moment of the day, a number the largest
null      whatever still does not fit becomes null
========  ============================================================================================================

They are tried in this order. A contract may also say ``bounds``, which is the source's to keep: those of arrays are
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from dativo_ingest.steps.arrow import Array, DataType, Field, Scalar, constant, pc
from dativo_ingest.steps.casting import cast_lossless, kind
from dativo_ingest.steps.number_limits import MAX_DIGITS, bounds

LOSSY = b"dativo.lossy"
"""The field metadata that says what a column may lose, with commas between."""

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_HIGH = r"(?i)^\+?inf(inity)?$"
_LOW = r"(?i)^-inf(inity)?$"
_LATE = r"^[0-9]{5,}-|^[0-9]{3,}:|^(2[4-9]|[3-9][0-9]):"  # years and hours beyond those that there are
_EARLY = r"^-|BC$"
_UNIT_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_FIRST, _LAST, _MIDNIGHT = date(1, 1, 1), date(9999, 12, 31), time(0)
_DAY_S = 86_400


def lossy(field: Field) -> tuple[str, ...]:
    """Give what a column may lose, in the order in which it is tried."""
    said = (field.metadata or {}).get(LOSSY, b"").decode().split(",")
    return tuple(each for each in _WAYS if each in said)


def give_up(
    original: Array, values: Array, bad: pa.BooleanArray, allowed: tuple[str, ...]
) -> tuple[Array, pa.BooleanArray | None, Mapping[str, int]]:
    """Make something of the values that do not fit.

    Args:
        original: The values as they were.
        values: What was made of those that fit.
        bad: Those that do not; without nulls.
        allowed: What may be lost.

    Returns:
        The values, those that still do not fit, and how many were lost in which way.
    """
    places = np.flatnonzero(bad.to_numpy(zero_copy_only=False))
    parts = [values]
    come_from = np.arange(len(values))
    ends_at = len(values)
    lost: dict[str, int] = {}
    left: Array = original.filter(bad)
    for way in allowed:
        made, fits = _WAYS[way](left, values.type)
        helped = fits.to_numpy(zero_copy_only=False)
        if not helped.any():
            continue
        lost[way] = int(helped.sum())
        come_from[places[helped]] = ends_at + np.flatnonzero(helped)
        parts.append(made)
        ends_at += len(made)
        places, left = places[~helped], left.filter(pa.array(~helped))
    still = np.zeros(len(values), np.bool_)
    still[places] = True
    chosen: Array = pc.take(pa.concat_arrays(parts), pa.array(come_from))
    return chosen, pa.array(still) if len(places) else None, lost


def _rounded(array: Array, to: DataType) -> tuple[Array, Array]:
    """Give what is rounded, and whether that is a value of the type."""
    match kind(to):
        case "int":
            values = _round_numbers(array, 0)
        case "decimal":
            values = _round_numbers(array, to.scale)
        case "float":
            return _nearest(array, to)
        case "time" | "timestamp":
            values = _cut(array, to)
        case _:
            values = pa.nulls(len(array))
    made, _ = cast_lossless(values, to)
    return made, pc.is_valid(made)


def _round_numbers(array: Array, scale: int) -> Array:
    """Give decimals of so many digits after the point, null for what is no number or has too many before it."""
    wide = pa.decimal256(MAX_DIGITS, scale)
    if kind(array.type) == "float":
        array = pc.cast(array, pa.string())  # its shortest digits, which are what was meant
    if kind(array.type) == "text":
        # As if what is beyond the first digits after the point were not written: ties go away from zero.
        cut = rf"(\.[0-9]{{{scale + 1}}})[0-9]+$"
        texts = pc.replace_substring_regex(_numerals(array), cut, r"\1")
        array, _ = cast_lossless(texts, pa.decimal256(MAX_DIGITS, scale + 1))
    elif kind(array.type) not in {"int", "decimal"}:
        return pa.nulls(len(array), wide)
    if kind(array.type) == "decimal" and array.type.scale > scale:
        finer = pc.cast(array, pa.decimal256(MAX_DIGITS, array.type.scale))
        array = pc.round(finer, ndigits=scale, round_mode="half_towards_infinity")
    made, _ = cast_lossless(array, wide)
    return made


def _numerals(array: Array) -> Array:
    """Give the text of numbers without powers of ten, and null for what is none."""
    trimmed = pc.utf8_trim_whitespace(pc.cast(array, pa.string()))
    texts: Array = pc.if_else(pc.match_substring_regex(trimmed, _NUMBER), trimmed, pa.scalar(None, pa.string()))
    powers = _found(pc.match_substring_regex(texts, "[eE]"))
    if not powers.true_count:  # they are rare: one by one
        return texts
    plain = pa.array([_positional(Decimal(str(text))) for text in texts.filter(powers).to_pylist()], pa.string())
    texts = pc.replace_with_mask(texts, powers, plain)
    return texts  # noqa: RET504  the name is what has a type


def _positional(number: Decimal) -> str:
    """Write a number without its power of ten; one that is beyond all decimals as another that is."""
    if not number or number.adjusted() < -2 * MAX_DIGITS:
        return "0"
    if number.adjusted() > 2 * MAX_DIGITS:
        return ("-" if number < 0 else "") + "9" * 2 * MAX_DIGITS
    return f"{number:f}"


def _nearest(array: Array, to: DataType) -> tuple[Array, Array]:
    if kind(array.type) not in {"int", "decimal", "float"}:
        return pa.nulls(len(array), to), _nowhere(array)
    made = pc.cast(pc.cast(array, pa.float64(), safe=False), to, safe=False)
    return made, pc.fill_null(pc.is_finite(made), False)  # noqa: FBT003  a value


def _cut(array: Array, to: DataType) -> Array:
    """Leave out the digits of a second that the unit has no place for."""
    digits = _UNIT_DIGITS[to.unit]
    if kind(array.type) == "text":
        fraction = rf"(:[0-9]{{2}}\.[0-9]{{{digits}}})[0-9]+" if digits else r"(:[0-9]{2})\.[0-9]+"
        cut: Array = pc.replace_substring_regex(pc.cast(array, pa.string()), fraction, r"\1")
        return cut
    if kind(array.type) != kind(to):
        return pa.nulls(len(array))
    units = {"s": "second", "ms": "millisecond", "us": "microsecond", "ns": "nanosecond"}
    cut = pc.floor_temporal(array, unit=units[to.unit])
    return cut  # noqa: RET504  the name is what has a type


def _clamped(array: Array, to: DataType) -> tuple[Array, Array]:
    ends = _ends(to)
    if ends is None:
        return pa.nulls(len(array), to), _nowhere(array)
    below, above = _beyond(array, to)
    made = pc.if_else(above, ends[1], pc.if_else(below, ends[0], pa.scalar(None, to)))
    return made, pc.or_(below, above)


def _ends(to: DataType) -> tuple[Scalar, Scalar] | None:
    """Give the least and the greatest value that clamping gives."""
    match kind(to):
        case "int":
            least, most = bounds(to)
            return pa.scalar(least, to), pa.scalar(most, to)
        case "decimal":
            digits = (9,) * to.precision
            low, high = (pa.scalar(Decimal((sign, digits, -to.scale)), to) for sign in (1, 0))
            return low, high
        case "date":
            return pa.scalar(_FIRST, to), pa.scalar(_LAST, to)
        case "time":
            last = _DAY_S * 10 ** _UNIT_DIGITS[to.unit] - 1
            return pa.scalar(_MIDNIGHT, to), pa.scalar(last, _number_type(to)).cast(to)
        case "timestamp":
            return _moments(to)
    return None


def _moments(to: DataType) -> tuple[Scalar, Scalar]:
    per_day = _DAY_S * 10 ** _UNIT_DIGITS[to.unit]
    epoch = date(1970, 1, 1)
    low, high = (_FIRST - epoch).days * per_day, ((_LAST - epoch).days + 1) * per_day - 1
    least, most = bounds(pa.int64())
    return pa.scalar(max(low, least + 1), pa.int64()).cast(to), pa.scalar(min(high, most), pa.int64()).cast(to)


def _beyond(array: Array, to: DataType) -> tuple[Array, Array]:
    """Say which values are below and above all that the type has; without nulls."""
    have = kind(array.type)
    if have == "text":
        texts = pc.utf8_trim_whitespace(pc.cast(array, pa.string()))
        below, above = (_found(pc.match_substring_regex(texts, each)) for each in (_LOW, _HIGH))
        if kind(to) in {"date", "time", "timestamp"}:
            early, late = (_found(pc.match_substring_regex(texts, each)) for each in (_EARLY, _LATE))
            return pc.or_(below, early), pc.or_(above, pc.and_not(late, early))
        less, more = _out_of_range(_numerals(texts), to)
        return pc.or_(below, less), pc.or_(above, more)
    if have in {"int", "decimal"} and kind(to) in {"int", "decimal"}:
        return _out_of_range(array, to)
    if have == "float" and kind(to) in {"int", "decimal"}:
        low, high = (float(each.as_py()) for each in _ends(to) or ())
        return _found(pc.less(array, low)), _found(pc.greater(array, high))
    if have == kind(to) and have in {"time", "timestamp", "date"}:
        numbers = array.view(_number_type(array.type))
        return _found(pc.less(numbers, 0)), _found(pc.greater_equal(numbers, 0))
    return _nowhere(array), _nowhere(array)


def _out_of_range(numbers: Array, to: DataType) -> tuple[Array, Array]:
    """Compare whole numbers, decimals or numerals with the ends of a type."""
    scale = to.scale if kind(to) == "decimal" else 0
    if kind(numbers.type) == "text":
        whole = pc.replace_substring_regex(numbers, rf"(\.[0-9]{{{scale + 1}}})[0-9]+$", r"\1")
        wide = pa.decimal256(MAX_DIGITS, scale + 1)
        negative = pc.starts_with(numbers, "-")
    else:
        whole = numbers
        wide = pa.decimal256(MAX_DIGITS, max(scale, getattr(numbers.type, "scale", 0)))
        negative = pc.less(pc.sign(numbers), 0)
    compared, _ = cast_lossless(whole, wide)
    low, high = (pa.scalar(Decimal(each.as_py()), wide) for each in _ends(to) or ())
    # What has too many digits to be compared is beyond both ends.
    less, more = pc.less(compared, low), pc.greater(compared, high)
    return _found(pc.coalesce(less, negative)), _found(pc.coalesce(more, pc.invert(negative)))


def _number_type(to: DataType) -> DataType:
    return pa.int32() if to.bit_width == 32 else pa.int64()  # noqa: PLR2004  bits


def _nulled(array: Array, to: DataType) -> tuple[Array, Array]:
    return pa.nulls(len(array), to), constant(pa.scalar(True), len(array))  # noqa: FBT003  a value


def _found(mask: Array) -> Any:
    return pc.fill_null(mask, False)  # noqa: FBT003  a value


def _nowhere(array: Array) -> Array:
    return constant(pa.scalar(False), len(array))  # noqa: FBT003  a value


_WAYS: dict[str, Callable[[Array, DataType], tuple[Array, Array]]] = {
    "round": _rounded,
    "clamp": _clamped,
    "null": _nulled,
}
