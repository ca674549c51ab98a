"""Text to values: exactly the spellings that pyarrow's CSV reader takes, and a few more it would hand back as text.

A file whose blocks parse at full speed and one whose blocks came back as text because a value was bad must give the
same rows, so whatever the CSV reader takes is taken here with the same value:

==========  ==========================================================================================================
integer     ``-7``, ``007``, ``0x1F`` (the bits: ``0xFF`` as int8 is -1); no ``+``, no ``1.0``, no ``1_000``
float       ``1``, ``+1``, ``.5``, ``5.``, ``1e5``, ``nan``, ``inf``, ``-Infinity``; more digits than the float holds
            are rounded, beyond its range it is infinite: a float column asks for that
decimal     ``1``, ``+1.50``, ``.5``, ``1.5e1``; digits beyond the scale must be zeros
boolean     ``true`` and ``false`` in any case, ``1``, ``0``
date        ``2024-02-29``, years 0000 to 9999
time        ``23:59``, ``23:59:59``, ``23:59:59.123456``
duration    an integer: how many of the column's unit
timestamp   a date, or a date, ``T`` or a space, and ``23``, ``23:59``, ``23:59:59`` or ``23:59:59.123456``; then
            ``Z``, ``+01``, ``+0100`` or ``+01:00`` where the column has a time zone, and only there
==========  ==========================================================================================================

Fraction digits beyond the unit must be zeros. Spaces and tabs around numbers, dates and times do not count. The one
thing that the CSV reader takes and this does not is a decimal with too many digits before the point: where precision
and scale are at most 38 together `conform` finds it in the parsed column; beyond that the CSV reader overflows (7 is
0.19... in a decimal(38,38)), and such a column must be read as text.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext

import pyarrow as pa

from dativo_ingest.steps.arrow import Array, DataType, pc
from dativo_ingest.steps.masks import Cast, cast_except, either, found, keep, null_where, outside
from dativo_ingest.steps.number_limits import MAX_DIGITS, bounds

_HEX = r"^0[xX][0-9a-fA-F]+$"
_INTEGER = r"^-?0*[0-9]{1,20}$"
_FLOAT = r"(?i)^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?$|^[+-]?(nan(\([a-z0-9_]*\))?|inf|infinity)$"
_DECIMAL = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_DECIMAL128_DIGITS = 38
_BOOLEAN = r"(?i)^(true|false|0|1)$"
_LEAP = r"([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29"
_DATE = (
    r"([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    rf"|02-(0[1-9]|1[0-9]|2[0-8]))|{_LEAP})"
)
_HOUR, _SIXTY = "([01][0-9]|2[0-3])", "[0-5][0-9]"
_ZONE = rf"(Z|[+-]{_HOUR}(:?{_SIXTY})?)"
_UNIT_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


def to_int(array: Array, to: DataType) -> Cast:
    """Read integers."""
    return _read(array, to, _integers)


def to_float(array: Array, to: DataType) -> Cast:
    """Read floating point numbers."""
    return _read(array, to, lambda text, to: cast_except(text, to, _unlike(text, _FLOAT)))


def to_bool(array: Array, to: DataType) -> Cast:
    """Read booleans."""
    return _read(array, to, lambda text, to: cast_except(text, to, _unlike(text, _BOOLEAN)), trim=False)


def to_date(array: Array, to: DataType) -> Cast:
    """Read dates."""
    return _read(array, to, lambda text, to: cast_except(text, to, _unlike(text, rf"^{_DATE}$")))


def to_timestamp(array: Array, to: DataType) -> Cast:
    """Read timestamps: with an offset into a column with a time zone, without one into a column without."""
    return _read(array, to, _timestamps)


def to_time(array: Array, to: DataType) -> Cast:
    """Read times of day."""
    digits = _UNIT_DIGITS[to.unit]
    text = _without_zeros(pc.utf8_trim(_plain(array), characters=" \t"), digits)
    fraction = rf"(\.[0-9]{{0,{digits}}})?" if digits else r"\.?"
    bad = found(_unlike(text, rf"^{_HOUR}:{_SIXTY}(:{_SIXTY}{fraction})?$"))
    text = pc.replace_substring_regex(null_where(text, bad), r"\.$", "")
    # Arrow has no cast from text to time: it goes by the first day of a timestamp.
    stamps, more = keep(pc.binary_join_element_wise("1970-01-01", text, "T"), pa.timestamp(to.unit))
    return pc.cast(stamps, to), either(bad, more)


def to_decimal(array: Array, to: DataType) -> Cast:
    """Read decimals.

    Not by Arrow's own cast where the digits written and those of the scale are more than 38 together: it does not look
    at what it multiplies, and 39 nines become -208..., as 7 becomes 0.19... in a decimal(38,38).
    """
    text = pc.utf8_trim(_plain(array), characters=" \t")
    safe_digits = _DECIMAL128_DIGITS - to.scale
    if (
        safe_digits > 0
        and pc.all(pc.match_substring_regex(text, rf"^[+-]?[0-9.]{{1,{safe_digits}}}$"), min_count=0).as_py()
    ):
        try:
            return pc.cast(text, to), None
        except pa.ArrowInvalid:
            pass
    spelt = pc.match_substring_regex(text, _DECIMAL)
    odd = found(pc.and_(spelt, pc.match_substring_regex(text, "[eE]")))
    if odd is not None:  # exponents are rare: one by one, and rewritten without
        positional = pa.array([_positional(value, to) for value in text.filter(odd).to_pylist()], text.type)
        text = pc.replace_with_mask(text, odd, positional)
    whole, scale = to.precision - to.scale, to.scale
    fits = pc.match_substring_regex(text, rf"^[+-]?0*[0-9]{{0,{whole}}}(\.[0-9]{{0,{scale}}}0*)?$")
    bad = pc.invert(pc.and_(spelt, pc.fill_null(fits, pc.is_null(array))))
    text = pc.replace_substring_regex(text, r"^([+-]?)0+([0-9])", r"\1\2")
    text = pc.replace_substring_regex(text, rf"(\.[0-9]{{{scale}}})0+$" if scale else r"(\.)0*$", r"\1")
    return cast_except(text, to, bad)


def to_duration(array: Array, to: DataType) -> Cast:
    """Read a duration as an integer number of its units."""
    count, bad = to_int(array, pa.int64())
    return pc.cast(count, to), bad


def to_binary(array: Array, to: DataType) -> Cast:
    """Give the text's UTF-8 bytes; of exactly the width for a type that has one."""
    data = pc.cast(_plain(array), pa.binary())
    return binary_to_binary(data, to)


def to_uuid(array: Array, to: DataType) -> Cast:
    """Read UUIDs in the form 8-4-4-4-12."""
    text = _plain(array)
    bad = found(_unlike(text, _UUID))
    digits = pc.replace_substring(null_where(text, bad), "-", "")
    joined = bytes.fromhex("".join(digits.drop_null().to_pylist()))
    values = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(joined) // 16, [None, pa.py_buffer(joined)])
    return pa.ExtensionArray.from_storage(to, _spread(values, pc.is_valid(digits))), bad


def binary_to_text(array: Array, to: DataType) -> Cast:
    """Take bytes that are valid UTF-8."""
    data = pc.cast(array, pa.binary())
    try:
        return pc.cast(data, to), None
    except pa.ArrowInvalid:
        bad = pa.array([value is not None and not _is_utf8(value) for value in data.to_pylist()], pa.bool_())
        return cast_except(data, to, bad)


def binary_to_binary(array: Array, to: DataType) -> Cast:
    """Change the layout; a fixed width takes values of that width."""
    data = pc.cast(array, pa.binary())
    if not pa.types.is_fixed_size_binary(to):
        return pc.cast(data, to), None
    return cast_except(data, to, pc.not_equal(pc.binary_length(data), to.byte_width))


def _plain(array: Array) -> Array:
    """Give text in the one layout that every kernel knows."""
    return array if array.type == pa.string() or array.type == pa.large_string() else pc.cast(array, pa.string())


def _unlike(text: Array, pattern: str) -> pa.BooleanArray:
    unlike: pa.BooleanArray = pc.invert(pc.match_substring_regex(text, pattern))
    return unlike


def _read(array: Array, to: DataType, slow: Callable[[Array, DataType], Cast], *, trim: bool = True) -> Cast:
    """Cast at once, and only where that fails look for what is bad."""
    text = _plain(array)
    try:
        return pc.cast(text, to), None
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim(text, characters=" \t") if trim else text
        return slow(trimmed, to)


def _integers(text: Array, to: DataType) -> Cast:
    hexadecimal = pc.match_substring_regex(text, _HEX)
    numeral = pc.match_substring_regex(text, _INTEGER)
    if pa.types.is_unsigned_integer(to):
        numeral = pc.and_(numeral, pc.invert(pc.starts_with(text, "-")))
    bad = pc.invert(pc.or_(numeral, hexadecimal))
    widest = pa.uint64() if to == pa.uint64() else pa.int64()
    numbers, far = keep(null_where(text, found(pc.invert(numeral))), widest)
    if far is not None:
        bad = pc.or_(bad, far)
    if to.bit_width < widest.bit_width:
        bad = pc.or_(bad, pc.fill_null(outside(numbers, *bounds(to)), False))  # noqa: FBT003  a value
    return cast_except(text, to, bad)


def _timestamps(text: Array, to: DataType) -> Cast:
    digits = _UNIT_DIGITS[to.unit]
    text = _without_zeros(text, digits)
    fraction = rf"(\.[0-9]{{1,{digits}}})?" if digits else ""
    clock = rf"[ T]{_HOUR}(:{_SIXTY}(:{_SIXTY}{fraction})?)?"
    pattern = rf"^{_DATE}({clock})?$" if to.tz is None else rf"^{_DATE}{clock}{_ZONE}$"
    return cast_except(text, to, _unlike(text, pattern))


def _without_zeros(text: Array, digits: int) -> Array:
    """Drop zeros of a second's fraction beyond ``digits``."""
    if digits:
        cut: Array = pc.replace_substring_regex(text, rf"(:[0-9]{{2}}\.[0-9]{{{digits}}})0+($|[Z+-])", r"\1\2")
    else:
        cut = pc.replace_substring_regex(text, r"(:[0-9]{2})\.0+($|[Z+-])", r"\1\2")
    return cut


def _positional(value: str, to: DataType) -> str | None:
    """Write a decimal without exponent; None where it has more digits than the type on either side of the point."""
    with localcontext(prec=len(value) + 2 * MAX_DIGITS):
        number = Decimal(value)
        if number and not -MAX_DIGITS <= number.adjusted() < to.precision - to.scale:
            return None
        rounded = number.quantize(Decimal(1).scaleb(-to.scale)) if number else Decimal(0)
        return f"{rounded:f}" if rounded == number else None


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _spread(values: Array, valid: pa.BooleanArray) -> Array:
    """Put the values, in order, where ``valid`` is true, null elsewhere."""
    if len(values) == len(valid):
        return values
    ranks = pc.subtract(pc.cumulative_sum(pc.cast(valid, pa.int64())), 1)
    return values.take(pc.if_else(valid, ranks, pa.scalar(None, pa.int64())))
