"""Type names as plugins and people write them, and the Arrow types they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

_NAMED: dict[str, pa.DataType] = {
    **dict.fromkeys(("string", "str", "text", "varchar", "char", "uuid", "email", "enum"), pa.string()),
    **dict.fromkeys(("json", "jsonb", "object", "array"), pa.string()),
    **dict.fromkeys(("integer", "int", "bigint", "long", "int8"), pa.int64()),
    **dict.fromkeys(("smallint", "short"), pa.int16()),
    **dict.fromkeys(("number", "float", "double", "real", "float8"), pa.float64()),
    **dict.fromkeys(("boolean", "bool"), pa.bool_()),
    "date": pa.date32(),
    **dict.fromkeys(("timestamp", "datetime", "timestamptz", "timestamp_tz"), pa.timestamp("us", tz="UTC")),
    "timestamp_ntz": pa.timestamp("us"),
    "time": pa.time64("us"),
    **dict.fromkeys(("binary", "bytes", "bytea"), pa.binary()),
}
_DECIMAL = re.compile(r"(?:decimal|numeric|decimal128)\(\s*(\d+)\s*,\s*(-?\d+)\s*\)")
_ZONED = re.compile(r"timestamp\[(s|ms|us|ns),\s*tz=([^\]]+)\]")
_LIST = re.compile(r"list<(?:\w+:\s*)?(.+)>")
_DECIMAL_DIGITS = 38


def arrow_type(column: Mapping[str, Any]) -> pa.DataType | None:
    """Give the type that a discovered column has: ``arrow_type`` where it is usable, else ``type``.

    A column of JSON, an object or an array is text: the JSON itself. None stands for a type that says too little to
    store values without loss (``decimal`` without its digits, a name that is not known).
    """
    exact = column.get("arrow_type")
    if isinstance(exact, pa.DataType):
        return exact
    if isinstance(exact, str) and (found := _from_arrow_text(exact)) is not None:
        return found
    name = column.get("type")
    if not isinstance(name, str):
        return None
    return _NAMED.get(name.strip().lower()) or _from_arrow_text(name)


def type_name(data_type: pa.DataType) -> str:
    """Give the short name of an Arrow type: the one that `arrow_type` reads back, as near as it has one."""
    if pa.types.is_decimal(data_type):
        return f"decimal({data_type.precision},{data_type.scale})"
    if pa.types.is_timestamp(data_type):
        return "timestamp" if data_type.tz else "timestamp_ntz"
    named = (
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_integer, "integer"),
        (pa.types.is_floating, "number"),
        (pa.types.is_date, "date"),
        (pa.types.is_time, "time"),
        (pa.types.is_nested, "json"),
    )
    if any(test(data_type) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)):
        return "binary"
    return next((name for test, name in named if test(data_type)), "string")


def _from_arrow_text(text: str) -> pa.DataType | None:
    """Read what ``str(data_type)`` gives for flat types and lists of them."""
    text = text.strip()
    if match := _DECIMAL.fullmatch(text.lower()):
        precision, scale = int(match[1]), int(match[2])
        return pa.decimal128(precision, scale) if 1 <= precision <= _DECIMAL_DIGITS else None
    if match := _ZONED.fullmatch(text):
        return pa.timestamp(match[1], tz=match[2])  # type: ignore[type-var]  # the pattern allows the four units
    if match := _LIST.fullmatch(text):
        item = _from_arrow_text(match[1])
        return None if item is None else pa.list_(item)
    try:
        found: pa.DataType = pa.type_for_alias(text)  # type: ignore[call-overload]  # any text: that is the question
    except ValueError:
        return None
    return None if pa.types.is_null(found) else found
