"""Arrow types as DuckDB keeps them, without loss, and which DuckDB type holds the values of two."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import types as t

from dativo_plugin_sdk import SchemaValidationError

_DIGITS = 38
_SIMPLE: dict[Callable[[Any], bool], str] = {
    t.is_null: "VARCHAR",  # nothing but nulls yet: text is what most of such columns turn out to be
    t.is_boolean: "BOOLEAN",
    t.is_int8: "TINYINT",
    t.is_int16: "SMALLINT",
    t.is_int32: "INTEGER",
    t.is_int64: "BIGINT",
    t.is_uint8: "UTINYINT",
    t.is_uint16: "USMALLINT",
    t.is_uint32: "UINTEGER",
    t.is_uint64: "UBIGINT",
    t.is_float16: "FLOAT",
    t.is_float32: "FLOAT",
    t.is_float64: "DOUBLE",
    t.is_string: "VARCHAR",
    t.is_large_string: "VARCHAR",
    t.is_string_view: "VARCHAR",
    t.is_binary: "BLOB",
    t.is_large_binary: "BLOB",
    t.is_binary_view: "BLOB",
    t.is_fixed_size_binary: "BLOB",
    t.is_date: "DATE",
}
_EXTENSIONS = {"arrow.uuid": "UUID", "arrow.json": "JSON", "arrow.bool8": "BOOLEAN"}
_TIMESTAMPS = {"s": "TIMESTAMP_S", "ms": "TIMESTAMP_MS", "us": "TIMESTAMP", "ns": "TIMESTAMP_NS"}

_SIGNED = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_UNSIGNED = ("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")
_FAMILIES = (
    _SIGNED,
    _UNSIGNED,
    ("FLOAT", "DOUBLE"),
    ("TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP"),
    ("TIME", "TIME_NS"),
)
_TAKES = {("VARCHAR", "JSON"), ("TIMESTAMP_NS", "TIMESTAMP"), ("TIMESTAMPTZ_NS", "TIMESTAMP WITH TIME ZONE")}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")


def quoted(name: str) -> str:
    """Write a name so that any of its characters stands for itself."""
    return '"' + name.replace('"', '""') + '"'


def sql_type(column: str, arrow_type: pa.DataType) -> str:
    """Give the DuckDB type that keeps every value of the Arrow type.

    Raises:
        SchemaValidationError: There is none.
    """
    found = _sql_type(arrow_type)
    if found is None:
        raise SchemaValidationError(
            f"column {column}: DuckDB has no type that keeps {arrow_type} without loss",
            details={"column": column, "type": str(arrow_type)},
            hint="give the column another type in the contract, such as string",
        )
    return found


def _sql_type(arrow_type: pa.DataType) -> str | None:  # noqa: PLR0911  one line a kind of type
    if isinstance(arrow_type, pa.BaseExtensionType):
        return _EXTENSIONS.get(arrow_type.extension_name) or _sql_type(arrow_type.storage_type)
    for test, name in _SIMPLE.items():
        if test(arrow_type):
            return name
    if t.is_decimal(arrow_type):
        fits = arrow_type.precision <= _DIGITS and 0 <= arrow_type.scale <= arrow_type.precision
        return f"DECIMAL({arrow_type.precision},{arrow_type.scale})" if fits else None
    if isinstance(arrow_type, pa.TimestampType):
        if arrow_type.tz is None:
            return _TIMESTAMPS[arrow_type.unit]
        return "TIMESTAMPTZ_NS" if arrow_type.unit == "ns" else "TIMESTAMP WITH TIME ZONE"
    if t.is_time(arrow_type):
        return "TIME_NS" if arrow_type == pa.time64("ns") else "TIME"
    if isinstance(arrow_type, pa.DurationType):
        return None if arrow_type.unit == "ns" else "INTERVAL"  # an interval counts microseconds
    return _nested(arrow_type)


def _nested(arrow_type: pa.DataType) -> str | None:
    if isinstance(arrow_type, pa.DictionaryType | pa.RunEndEncodedType):
        return _sql_type(arrow_type.value_type)
    if isinstance(arrow_type, pa.FixedSizeListType):
        return _wrapped(f"{{}}[{arrow_type.list_size}]", arrow_type.value_type) if arrow_type.list_size else None
    if t.is_list(arrow_type) or t.is_large_list(arrow_type) or t.is_list_view(arrow_type):
        return _wrapped("{}[]", arrow_type.value_type)
    if isinstance(arrow_type, pa.MapType):
        return _wrapped("MAP({}, {})", arrow_type.key_type, arrow_type.item_type)
    if isinstance(arrow_type, pa.StructType) and arrow_type.num_fields:
        parts = [_sql_type(field.type) for field in arrow_type]
        names = [quoted(field.name) for field in arrow_type]
        inner = [f"{name} {part}" for name, part in zip(names, parts, strict=True) if part is not None]
        return f"STRUCT({', '.join(inner)})" if len(inner) == len(parts) else None
    return None


def _wrapped(form: str, *inner: pa.DataType) -> str | None:
    parts = [part for part in map(_sql_type, inner) if part is not None]
    return form.format(*parts) if len(parts) == len(inner) else None


def readable(arrow_type: pa.DataType) -> pa.DataType:  # noqa: PLR0911  one line a kind of type
    """Give the Arrow type, the same or one that keeps the same values, that DuckDB can read."""
    if isinstance(arrow_type, pa.BaseExtensionType):
        known = arrow_type.extension_name in _EXTENSIONS
        return arrow_type if known else readable(arrow_type.storage_type)
    if t.is_float16(arrow_type):
        return pa.float32()
    if isinstance(arrow_type, pa.Decimal256Type):
        return pa.decimal128(arrow_type.precision, arrow_type.scale)
    if isinstance(arrow_type, pa.DictionaryType):
        inner = readable(arrow_type.value_type)
        return arrow_type if inner == arrow_type.value_type else inner
    if isinstance(arrow_type, pa.ListType):
        return pa.list_(_readable_field(arrow_type.value_field))
    if isinstance(arrow_type, pa.LargeListType):
        return pa.large_list(_readable_field(arrow_type.value_field))
    if isinstance(arrow_type, pa.FixedSizeListType):
        return pa.list_(_readable_field(arrow_type.value_field), arrow_type.list_size)
    if isinstance(arrow_type, pa.StructType):
        return pa.struct([_readable_field(field) for field in arrow_type])
    return arrow_type


def _readable_field(field: pa.Field[Any]) -> pa.Field[Any]:
    return field.with_type(readable(field.type))


def wider(old: str, new: str) -> str | None:
    """Give the type that the table's column must have so that the values of both fit; None where there is none."""
    if old == new or (old, new) in _TAKES:
        return old
    for family in _FAMILIES:
        if old in family and new in family:
            return max(old, new, key=family.index)
    if old in _SIGNED and new in _UNSIGNED[:-1]:
        return _signed_over(old, _UNSIGNED.index(new))
    if old in _UNSIGNED[:-1] and new in _SIGNED:
        return _signed_over(new, _UNSIGNED.index(old))
    return _wider_decimal(old, new)


def wider_or_text(old: str, new: str) -> str:
    """Give the type that holds both, text where no other does."""
    return wider(old, new) or "VARCHAR"


def _signed_over(signed: str, unsigned: int) -> str:
    return _SIGNED[max(_SIGNED.index(signed), unsigned + 1)]


def _wider_decimal(old: str, new: str) -> str | None:
    ours, theirs = _DECIMAL.fullmatch(old), _DECIMAL.fullmatch(new)
    if ours is None or theirs is None:
        return None
    (digits, scale), (new_digits, new_scale) = map(int, ours.groups()), map(int, theirs.groups())
    after = max(scale, new_scale)
    before = max(digits - scale, new_digits - new_scale)
    return f"DECIMAL({before + after},{after})" if before + after <= _DIGITS else None
