"""Arrow types as Iceberg types (format version 2), and which of two Iceberg types holds both.

Every mapping keeps each value; what Iceberg cannot hold is refused with the column's path.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from dativo_plugin_sdk import SchemaValidationError

MAX_PRECISION = 38
_UINT64_DIGITS = 20

_PLAIN: dict[pa.DataType, IcebergType] = {
    pa.bool_(): BooleanType(),
    pa.int8(): IntegerType(),
    pa.int16(): IntegerType(),
    pa.int32(): IntegerType(),
    pa.int64(): LongType(),
    pa.uint8(): IntegerType(),
    pa.uint16(): IntegerType(),
    pa.uint32(): LongType(),
    pa.uint64(): DecimalType(_UINT64_DIGITS, 0),
    pa.float16(): FloatType(),
    pa.float32(): FloatType(),
    pa.float64(): DoubleType(),
    pa.string(): StringType(),
    pa.large_string(): StringType(),
    pa.string_view(): StringType(),
    pa.binary(): BinaryType(),
    pa.large_binary(): BinaryType(),
    pa.binary_view(): BinaryType(),
    pa.date32(): DateType(),
    pa.date64(): DateType(),
    pa.time32("s"): TimeType(),
    pa.time32("ms"): TimeType(),
    pa.time64("us"): TimeType(),
    pa.time64("ns"): TimeType(),
}

_WAYS_OUT: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (pa.types.is_null, "it holds nothing but nulls: give the column a type in the contract"),
    (pa.types.is_duration, "make it a whole number of a unit, or a string, in the contract"),
    (pa.types.is_interval, "make it a string (ISO 8601) in the contract"),
    (pa.types.is_decimal, "Iceberg's decimals have 38 digits at most: make it a string in the contract"),
    (pa.types.is_union, "make it a string or a struct in the contract"),
    (pa.types.is_struct, "a struct needs at least one field"),
)


def to_iceberg_schema(schema: pa.Schema, identifier: tuple[str, ...] = ()) -> Schema:
    """Give the Iceberg schema of an Arrow schema, with field ids of its own.

    Docs come from the metadata key ``doc``, else from ``dativo.source_type``. ``identifier`` becomes the table's
    identifier fields where Iceberg allows it: all of its columns are there, not nullable, and neither nested nor
    floating-point.

    Raises:
        SchemaValidationError: A column Iceberg cannot hold, or two columns of one name.
    """
    ids = count(1)
    fields = [_field(field, (field.name,), lambda: next(ids)) for field in schema]
    _require_distinct([field.name for field in schema])
    by_name = {field.name: field for field in fields}
    chosen = [by_name[name] for name in identifier if name in by_name]
    usable = len(chosen) == len(identifier) and all(
        field.required and field.field_type.is_primitive and not isinstance(field.field_type, FloatType | DoubleType)
        for field in chosen
    )
    try:
        return Schema(*fields, identifier_field_ids=[field.field_id for field in chosen] if usable else [])
    except ValueError as error:  # a column "a.b" beside a struct a with a field b
        raise SchemaValidationError(f"columns cannot be told apart: {error}", hint="rename one of them") from error


def _require_distinct(names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other is not name and other != name:
            raise SchemaValidationError(
                f"the columns {other!r} and {name!r} differ only in case: many readers cannot tell them apart",
                hint="name only one of them in the contract, or rename one in the source, as a query can",
            )
    if len(set(names)) != len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise SchemaValidationError(f"two columns are called {double!r}", hint="rename one of them")


def _field(field: pa.Field[Any], path: tuple[str, ...], new_id: Callable[[], int]) -> NestedField:
    field_id = new_id()
    doc = _doc(field)
    return NestedField(
        field_id=field_id,
        name=field.name,
        field_type=to_iceberg_type(field.type, path, new_id),
        required=not field.nullable,
        doc=doc,
    )


def _doc(field: pa.Field[Any]) -> str | None:
    """Give a column's description; without one, the type that it has at the source."""
    metadata = field.metadata or {}
    if metadata.get(b"doc"):
        return metadata[b"doc"].decode()
    source_type = metadata.get(b"dativo.source_type")
    return f"source type: {source_type.decode()}" if source_type else None


def to_iceberg_type(  # noqa: C901, PLR0911  a few lines a kind of type
    type_: Any, path: tuple[str, ...], new_id: Callable[[], int]
) -> IcebergType:
    """Give the Iceberg type that holds every value of an Arrow type; nested fields get their ids from ``new_id``."""
    if isinstance(type_, pa.BaseExtensionType):
        if type_.extension_name == "arrow.uuid":
            return UUIDType()
        if type_.extension_name == "arrow.json":
            return StringType()
        raise _refused(type_, path)
    if isinstance(type_, pa.DictionaryType | pa.RunEndEncodedType):
        return to_iceberg_type(type_.value_type, path, new_id)
    if type_ in _PLAIN:
        return _PLAIN[type_]
    if pa.types.is_fixed_size_binary(type_):
        return FixedType(type_.byte_width)
    if pa.types.is_timestamp(type_):
        return TimestampType() if type_.tz is None else TimestamptzType()
    if pa.types.is_decimal(type_):
        return _decimal(type_, path)
    if is_list(type_):
        element_id = new_id()
        return ListType(
            element_id=element_id,
            element_type=to_iceberg_type(type_.value_type, (*path, "element"), new_id),
            element_required=not type_.value_field.nullable,
        )
    if pa.types.is_map(type_):
        key_id, value_id = new_id(), new_id()
        return MapType(
            key_id=key_id,
            key_type=to_iceberg_type(type_.key_type, (*path, "key"), new_id),
            value_id=value_id,
            value_type=to_iceberg_type(type_.item_type, (*path, "value"), new_id),
            value_required=not type_.item_field.nullable,
        )
    if pa.types.is_struct(type_) and type_.num_fields:
        fields = [type_.field(index) for index in range(type_.num_fields)]
        _require_distinct([field.name for field in fields])
        return StructType(*(_field(field, (*path, field.name), new_id) for field in fields))
    raise _refused(type_, path)


def is_list(type_: pa.DataType) -> bool:
    """Say whether a type is a list of any of Arrow's kinds."""
    return isinstance(
        type_, pa.ListType | pa.LargeListType | pa.FixedSizeListType | pa.ListViewType | pa.LargeListViewType
    )


def _decimal(type_: Any, path: tuple[str, ...]) -> DecimalType:
    # A negative scale means trailing zeros, which Iceberg writes out: decimal(5,-2) holds what decimal(7,0) does.
    scale = max(type_.scale, 0)
    precision = max(type_.precision - min(type_.scale, 0), scale)
    if precision > MAX_PRECISION:
        raise _refused(type_, path)
    return DecimalType(precision, scale)


def _refused(type_: pa.DataType, path: tuple[str, ...]) -> SchemaValidationError:
    hint = next((text for matches, text in _WAYS_OUT if matches(type_)), "make it a string in the contract")
    return SchemaValidationError(
        f"column {'.'.join(path)}: Iceberg has no type for Arrow's {type_}",
        details={"column": ".".join(path), "arrow_type": str(type_)},
        hint=hint,
    )


def wider(one: IcebergType, other: IcebergType) -> IcebergType | None:
    """Give the primitive type that holds the values of both and that the spec lets a column become; None if none.

    Iceberg spec, "Schema Evolution": int to long, float to double, and a decimal to more digits of the same scale.
    """
    if one == other:
        return one
    if isinstance(one, IntegerType | LongType) and isinstance(other, IntegerType | LongType):
        return LongType()
    if isinstance(one, FloatType | DoubleType) and isinstance(other, FloatType | DoubleType):
        return DoubleType()
    if isinstance(one, DecimalType) and isinstance(other, DecimalType) and one.scale == other.scale:
        return one if one.precision >= other.precision else other
    return None
