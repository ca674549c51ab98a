"""Arrow types as Delta tables hold them: every mapping keeps each value; what Delta cannot hold is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import types as t

from dativo_plugin_sdk import SchemaValidationError

_MAX_PRECISION = 38
_PLAIN: dict[pa.DataType, pa.DataType] = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
    pa.date64(): pa.date32(),
}
_KEPT = frozenset(
    {
        *(pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64()),
        *(pa.string(), pa.binary(), pa.date32()),
    }
)
_WAYS_OUT: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (t.is_null, "it holds nothing but nulls: give the column a type in the contract"),
    (t.is_time, "Delta has no time of day: make it a string in the contract"),
    (t.is_duration, "make it a whole number of a unit, or a string, in the contract"),
    (t.is_decimal, "Delta's decimals have 38 digits at most: make it a string in the contract"),
    (t.is_struct, "a struct needs at least one field"),
)


def stored_schema(schema: pa.Schema, *, name: str) -> pa.Schema:
    """Give the Arrow schema of the table that takes these columns.

    Unsigned integers become the next wider signed ones (``uint64`` a decimal of 20 digits), timestamps have
    microseconds and are in UTC or without a zone; a nanosecond that would be lost is refused when it is written.

    Raises:
        SchemaValidationError: A column that Delta cannot hold, or two columns of one name.
    """
    seen: dict[str, str] = {}
    for column in schema.names:
        other = seen.setdefault(column.casefold(), column)
        if schema.names.count(column) > 1:
            raise SchemaValidationError(f"table {name}: columns appear twice: {column}", hint="rename one of them")
        if other != column:
            raise SchemaValidationError(
                f"table {name}: the columns {other!r} and {column!r} differ only in case: Delta sees one",
                hint="name only one of them in the contract, or rename one in the source, as a query can",
            )
    return pa.schema([_field(field, field.name) for field in schema])


def _field(field: pa.Field[Any], path: str) -> pa.Field[Any]:
    return pa.field(field.name, _type(field.type, path), field.nullable)


def _type(type_: Any, path: str) -> pa.DataType:  # noqa: C901, PLR0911  a line or two a kind of type
    if type_ in _KEPT:
        return type_  # type: ignore[no-any-return]  # it is one of the types of the set
    if type_ in _PLAIN:
        return _PLAIN[type_]
    if isinstance(type_, pa.BaseExtensionType):
        if type_.extension_name in {"arrow.uuid", "arrow.json"}:
            return _type(type_.storage_type, path)
    elif isinstance(type_, pa.DictionaryType | pa.RunEndEncodedType):
        return _type(type_.value_type, path)
    elif t.is_fixed_size_binary(type_):
        return pa.binary()
    elif isinstance(type_, pa.TimestampType):
        return pa.timestamp("us", None if type_.tz is None else "UTC")
    elif t.is_decimal(type_):
        # A negative scale means trailing zeros, which Delta writes out: decimal(5,-2) holds what decimal(7,0) does.
        scale = max(type_.scale, 0)
        digits = max(type_.precision - min(type_.scale, 0), scale)
        if digits <= _MAX_PRECISION:
            return pa.decimal128(digits, scale)
    elif isinstance(
        type_, pa.ListType | pa.LargeListType | pa.FixedSizeListType | pa.ListViewType | pa.LargeListViewType
    ):
        return pa.list_(pa.field("element", _type(type_.value_type, f"{path}[]"), type_.value_field.nullable))
    elif isinstance(type_, pa.MapType):
        item: Any = pa.field("value", _type(type_.item_type, f"{path}{{}}"), type_.item_field.nullable)
        key: Any = pa.field("key", _type(type_.key_type, f"{path}{{}}"), nullable=False)
        mapped: pa.DataType = pa.map_(key, item)
        return mapped
    elif isinstance(type_, pa.StructType) and type_.num_fields:
        return pa.struct([_field(each, f"{path}.{each.name}") for each in type_])
    hint = next((text for matches, text in _WAYS_OUT if matches(type_)), "make it a string in the contract")
    raise SchemaValidationError(
        f"column {path}: Delta has no type for Arrow's {type_}",
        details={"column": path, "arrow_type": str(type_)},
        hint=hint,
    )
