"""Arrow types as Postgres keeps them, without loss, and which Postgres type holds the values of two.

Types are spelt as Postgres itself spells them (``format_type``), so that they can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import types as t

from dativo_plugin_sdk import SchemaValidationError

_MAX_DIGITS = 1000  # of numeric(precision)
_SIMPLE: dict[Callable[[Any], bool], str] = {
    t.is_null: "text",  # nothing but nulls yet: text is what most of such columns turn out to be
    t.is_boolean: "boolean",
    t.is_int8: "smallint",
    t.is_int16: "smallint",
    t.is_int32: "integer",
    t.is_int64: "bigint",
    t.is_uint8: "smallint",
    t.is_uint16: "integer",
    t.is_uint32: "bigint",
    t.is_uint64: "numeric(20,0)",
    t.is_float16: "real",
    t.is_float32: "real",
    t.is_float64: "double precision",
    t.is_string: "text",
    t.is_large_string: "text",
    t.is_string_view: "text",
    t.is_binary: "bytea",
    t.is_large_binary: "bytea",
    t.is_binary_view: "bytea",
    t.is_fixed_size_binary: "bytea",
    t.is_date: "date",
    t.is_time: "time without time zone",
    t.is_duration: "interval",
    t.is_interval: "interval",
}
_EXTENSIONS = {"arrow.uuid": "uuid", "arrow.json": "jsonb", "arrow.bool8": "boolean"}

_FAMILIES = (("smallint", "integer", "bigint"), ("real", "double precision"))
_DIGITS = {"smallint": 5, "integer": 10, "bigint": 19}
_TAKES = {
    ("json", "jsonb"),
    ("jsonb", "json"),
    ("text", "json"),
    ("text", "jsonb"),
    ("character varying", "text"),
    ("character varying", "jsonb"),
    ("citext", "text"),
}
_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")
_TEXT_OF_LENGTH = re.compile(r"character varying\(\d+\)")
_MOMENT_OF_DIGITS = re.compile(r"(time|timestamp|interval)\(\d\)( with time zone| without time zone|)")


def is_json(field: pa.Field[Any]) -> bool:
    """Say whether a field's text is JSON, by its type or as a contract marks it."""
    return (field.metadata or {}).get(b"dativo.logical_type") == b"json"


def is_list(arrow_type: Any) -> bool:
    """Say whether the type is a list of any kind."""
    return bool(
        t.is_list(arrow_type)
        or t.is_large_list(arrow_type)
        or t.is_fixed_size_list(arrow_type)
        or t.is_list_view(arrow_type)
        or t.is_large_list_view(arrow_type)
    )


def sql_type(field: pa.Field[Any]) -> str:
    """Give the Postgres type that keeps every value of the field.

    Raises:
        SchemaValidationError: There is none.
    """
    found = _json_type(field) if is_json(field) else sql_type_of(field.type)
    if found is None:
        raise SchemaValidationError(
            f"column {field.name}: Postgres has no type that keeps {field.type} without loss",
            details={"column": field.name, "type": str(field.type)},
            hint="give the column another type in the contract, such as string",
        )
    return found


def _json_type(field: pa.Field[Any]) -> str:
    """Choose between the two: jsonb keeps neither the spelling nor a key that is there twice, as the other does."""
    is_text = (field.metadata or {}).get(b"dativo.source_type") == b"json" and t.is_string(field.type)
    return "json" if is_text else "jsonb"


def sql_type_of(arrow_type: Any) -> str | None:  # noqa: PLR0911  one line a kind of type
    """Give the Postgres type that keeps every value of the Arrow type; None where there is none."""
    if isinstance(arrow_type, pa.BaseExtensionType):
        return _EXTENSIONS.get(arrow_type.extension_name) or sql_type_of(arrow_type.storage_type)
    for test, name in _SIMPLE.items():
        if test(arrow_type):
            return name
    if t.is_decimal(arrow_type):
        # A negative scale means trailing zeros, which are written out: decimal(5,-2) holds what numeric(7,0) does.
        scale = max(arrow_type.scale, 0)
        digits = max(arrow_type.precision - min(arrow_type.scale, 0), scale)
        return f"numeric({digits},{scale})"
    if isinstance(arrow_type, pa.TimestampType):
        return f"timestamp {'without' if arrow_type.tz is None else 'with'} time zone"
    if isinstance(arrow_type, pa.DictionaryType | pa.RunEndEncodedType):
        return sql_type_of(arrow_type.value_type)
    if is_list(arrow_type):
        inner = sql_type_of(arrow_type.value_type)
        nested = inner is None or inner.endswith("[]") or inner == "jsonb"  # an array of arrays would be a matrix
        return None if inner is None else "jsonb" if nested else f"{inner}[]"
    if isinstance(arrow_type, pa.StructType):
        names = [field.name for field in arrow_type]
        parts = [sql_type_of(field.type) for field in arrow_type]
        return "jsonb" if None not in parts and len(set(names)) == len(names) else None
    if isinstance(arrow_type, pa.MapType):
        plain_key = not t.is_nested(arrow_type.key_type)
        return "jsonb" if plain_key and sql_type_of(arrow_type.item_type) is not None else None
    return None


def wider(old: str, new: str) -> str | None:
    """Give the type that the table's column must have so that the values of both fit; None where there is none."""
    if old == new or (old, new) in _TAKES:
        return old
    if old.endswith("[]") and new.endswith("[]"):
        found = wider(old[:-2], new[:-2])
        return None if found is None else f"{found}[]"
    for family in _FAMILIES:
        if old in family and new in family:
            return max(old, new, key=family.index)
    if _TEXT_OF_LENGTH.fullmatch(old) and new in {"text", "jsonb"}:
        return "text"
    if moment := _MOMENT_OF_DIGITS.fullmatch(old):
        return new if f"{moment[1]}{moment[2]}" == new else None
    return _wider_number(old, new)


def wider_or_text(old: str, new: str) -> str:
    """Give the type that holds both, text where no other does."""
    return wider(old, new) or "text"


def _wider_number(old: str, new: str) -> str | None:
    whole = _digits(old), _digits(new)
    if old == "numeric":
        return old if whole[1] is not None else None
    if None in whole or whole[0] is None or whole[1] is None or (old in _DIGITS and new in _DIGITS):
        return None
    after = max(whole[0][1], whole[1][1])
    before = max(whole[0][0], whole[1][0])
    return f"numeric({before + after},{after})" if before + after <= _MAX_DIGITS else None


def _digits(name: str) -> tuple[int, int] | None:
    """Give how many digits before and after the point an exact number of this type may have."""
    if name in _DIGITS:
        return _DIGITS[name], 0
    found = _NUMERIC.fullmatch(name)
    return None if found is None else (int(found[1]) - int(found[2]), int(found[2]))
