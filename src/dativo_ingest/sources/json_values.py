"""JSON read strictly, one value at a time: the slow way, which can say what is wrong and where."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa

from dativo_ingest.sources.json_types import is_json_text

_SHOWN_CHARACTERS = 60
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_MAX_EXPONENT = 10_000
_FLOAT_BITS = 32


class MalformedError(Exception):
    """A text that is no JSON object; the message says why."""


class MisfitError(Exception):
    """A value that does not fit its column; the message says why."""


def parse_object(text: bytes) -> dict[str, Any]:
    """Read one JSON object (RFC 8259), other numbers than integers as `Decimal`.

    Raises:
        MalformedError: It is not one object: no JSON, no UTF-8, another value, a key given twice, NaN.
    """
    try:
        decoded = text.decode()
        value = _DECODER.decode(decoded)
    except UnicodeDecodeError as error:
        raise MalformedError(f"not UTF-8: byte {error.start + 1} of it is 0x{text[error.start]:02x}") from error
    except json.JSONDecodeError as error:
        raise MalformedError(f"not JSON: {error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise MalformedError("nested too deeply") from error
    except ValueError as error:  # an integer of more digits than Python takes
        raise MalformedError(f"not JSON that can be read: {error}") from error
    if not isinstance(value, dict):
        raise MalformedError(f"not a JSON object but {_what(value)}")
    if _SURROGATE_ESCAPE.search(decoded):
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError as error:
            raise MalformedError("not Unicode: half of a surrogate pair stands alone") from error
    return value


def fit(value: Any, column: pa.Field[Any]) -> Any:
    """Give a parsed value as pyarrow takes it for a column, without loss.

    What is taken is what pyarrow's own JSON parser takes, and besides ``1.0`` and ``1e3`` as integers, objects as maps,
    and objects and lists as JSON texts where text is asked for.

    Raises:
        MisfitError: It does not fit.
    """
    if value is None:
        return None
    if is_json_text(column):
        return json_text(value)
    take = next((take for is_type, take in _TAKERS if is_type(column.type)), _take_string)
    return take(value, column.type)


def json_text(value: Any) -> str:
    """Write a parsed value as JSON; numbers keep their digits."""
    match value:
        case Mapping():
            members = (f"{json.dumps(key, ensure_ascii=False)}:{json_text(member)}" for key, member in value.items())
            return f"{{{','.join(members)}}}"
        case list():
            return f"[{','.join(map(json_text, value))}]"
        case Decimal():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def _take_bool(value: Any, to: pa.DataType) -> bool:
    if not isinstance(value, bool):
        raise _misfit(value, to)
    return value


def _take_integer(value: Any, to: pa.DataType) -> int:
    if isinstance(value, Decimal) and value.adjusted() < _MAX_EXPONENT and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _misfit(value, to)
    bits = to.bit_width
    lowest, highest = (0, 2**bits) if pa.types.is_unsigned_integer(to) else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    if not lowest <= value < highest:
        raise MisfitError(f"{_shown(value)} is beyond {to}")
    return value


def _take_float(value: Any, to: pa.DataType) -> float:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _misfit(value, to)
    try:
        number = float(value)
        struct.pack("<f" if to.bit_width == _FLOAT_BITS else "<d", number)
    except OverflowError as error:
        raise MisfitError(f"{_shown(value)} is beyond {to}") from error
    if math.isinf(number):
        raise MisfitError(f"{_shown(value)} is beyond {to}")
    return number


def _take_decimal(value: Any, to: Any) -> Decimal:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _misfit(value, to)
    number = Decimal(value)
    sign, digits, exponent = number.as_tuple()
    if not any(digits):
        return Decimal(0)
    assert isinstance(exponent, int)  # noqa: S101  NaN and infinity are no JSON
    while digits[-1] == 0:
        digits, exponent = digits[:-1], exponent + 1
    if -exponent > to.scale:
        raise MisfitError(f"{_shown(value)} has more than {to.scale} digits behind the point ({to})")
    if len(digits) + exponent > to.precision - to.scale:
        raise MisfitError(f"{_shown(value)} has more than {to.precision - to.scale} digits before the point ({to})")
    return Decimal((sign, digits, exponent))


def _take_string(value: Any, to: pa.DataType) -> str:
    if isinstance(value, dict | list):
        return json_text(value)
    if not isinstance(value, str):
        raise _misfit(value, to)
    return value


def _take_struct(value: Any, to: pa.DataType) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _misfit(value, to)
    columns = [to.field(number) for number in range(to.num_fields)]
    return {column.name: _inside(f".{column.name}", value.get(column.name), column) for column in columns}


def _take_list(value: Any, to: pa.DataType) -> list[Any]:
    if not isinstance(value, list):
        raise _misfit(value, to)
    column = to.field(0)
    return [_inside(f"[{number}]", item, column) for number, item in enumerate(value)]


def _take_map(value: Any, to: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise _misfit(value, to)
    return [(key, _inside(f".{key}", member, to.item_field)) for key, member in value.items()]


def _inside(place: str, value: Any, column: pa.Field[Any]) -> Any:
    try:
        return fit(value, column)
    except MisfitError as error:
        raise MisfitError(f"{place}: {error}") from error


_TAKERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any, pa.DataType], Any]], ...] = (
    (pa.types.is_boolean, _take_bool),
    (pa.types.is_integer, _take_integer),
    (pa.types.is_floating, _take_float),
    (pa.types.is_decimal, _take_decimal),
    (pa.types.is_struct, _take_struct),
    (pa.types.is_map, _take_map),
    (pa.types.is_list, _take_list),
)


def _misfit(value: Any, to: pa.DataType) -> MisfitError:
    return MisfitError(f"{_shown(value)} is {_what(value)}, {to} was expected")


def _what(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case list():
            return "an array"
        case Mapping():
            return "an object"
        case _:
            return "a number"


def _shown(value: Any) -> str:
    text = json_text(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _refuse_constant(name: str) -> None:
    raise MalformedError(f"not JSON: {name} is no JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedError(f"the key {json.dumps(twice, ensure_ascii=False)} is given twice in one object")
    return found


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_object)
