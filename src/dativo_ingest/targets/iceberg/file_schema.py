"""The shape of rows inside a data file: Arrow types that Parquet and Iceberg share, with the table's field ids.

What can be written as it comes is not touched: strings, numbers and dates keep their buffers. Only types that Iceberg
lacks are cast, value by value and checked: a value that would change is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
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

from dativo_plugin_sdk import DataValidationError

_FIELD_ID = b"PARQUET:field_id"
_DAY_US = 86_400_000_000

_CANONICAL: dict[type[IcebergType], pa.DataType] = {
    BooleanType: pa.bool_(),
    IntegerType: pa.int32(),
    LongType: pa.int64(),
    FloatType: pa.float32(),
    DoubleType: pa.float64(),
    DateType: pa.date32(),
    TimeType: pa.time64("us"),
    TimestampType: pa.timestamp("us"),
    TimestamptzType: pa.timestamp("us", tz="UTC"),
    StringType: pa.string(),
    BinaryType: pa.binary(),
    UUIDType: pa.uuid(),
}
_AS_IT_COMES: dict[type[IcebergType], tuple[pa.DataType, ...]] = {
    StringType: (pa.string(), pa.large_string()),
    BinaryType: (pa.binary(), pa.large_binary()),
}


@dataclass(frozen=True)
class FileSchema:
    """How batches of one Arrow schema become rows of a data file.

    Attributes:
        arrow: The schema of the file, each field with the id it has in the table.
        cast: By column: whether its values need a cast, or only the new field.
        times: Names of the columns of times of day, which must be less than a day.
    """

    arrow: pa.Schema
    cast: Sequence[bool]
    times: Sequence[str]

    @classmethod
    def of(cls, incoming: pa.Schema, table: Schema) -> FileSchema:
        """Match columns by name; ``table`` has each of them."""
        fields = [_file_field(field, table.find_field(field.name)) for field in incoming]
        return cls(
            arrow=pa.schema(fields),
            cast=[new.type != old.type for new, old in zip(fields, incoming, strict=True)],
            times=[field.name for field in fields if pa.types.is_time(field.type)],
        )

    def convert(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Give the rows in the file's schema; buffers are shared where nothing needed a cast.

        Raises:
            DataValidationError: A value that Iceberg cannot hold, such as a timestamp with nanoseconds.
        """
        columns = [
            _cast(column, field) if needs_cast else column
            for column, field, needs_cast in zip(batch.columns, self.arrow, self.cast, strict=True)
        ]
        converted = pa.RecordBatch.from_arrays(columns, schema=self.arrow)
        for name in self.times:
            _require_time_of_day(converted.column(name), name)
        return converted


def arrow_type(table: IcebergType) -> Any:
    """Give the Arrow type of a primitive Iceberg type's values in a file; decimals and fixed have their own."""
    return _CANONICAL[type(table)]


def _file_field(field: Any, table: NestedField) -> pa.Field[Any]:
    return pa.field(
        field.name, _file_type(field.type, table.field_type), field.nullable, {_FIELD_ID: str(table.field_id).encode()}
    )


def _file_type(incoming: Any, table: IcebergType) -> Any:
    match table:
        case StructType():
            by_name = {field.name: field for field in table.fields}
            children = [incoming.field(index) for index in range(incoming.num_fields)]
            return pa.struct([_file_field(child, by_name[child.name]) for child in children])
        case ListType():
            element = _file_field(incoming.value_field.with_name("element"), table.element_field)
            return pa.large_list(element) if pa.types.is_large_list(incoming) else pa.list_(element)
        case MapType():
            key = _file_field(incoming.key_field, table.key_field)
            return pa.map_(key, _file_field(incoming.item_field, table.value_field))
        case DecimalType():
            return pa.decimal128(table.precision, table.scale)
        case FixedType():
            return pa.binary(len(table))
        case _:
            return incoming if incoming in _AS_IT_COMES.get(type(table), ()) else _CANONICAL[type(table)]


def _cast(column: pa.Array[Any], field: pa.Field[Any]) -> Any:
    try:
        return _cast_any(column, field.type)
    except pa.ArrowInvalid as error:
        raise DataValidationError(
            f"column {field.name}: a value of type {column.type} does not fit Iceberg's {field.type}: {error}",
            details={"column": field.name, "arrow_type": str(column.type)},
            hint="Iceberg's timestamps and times have microseconds: round them, or declare the column a string, "
            "in the contract"
            if pa.types.is_temporal(column.type)
            else None,
        ) from error


def _cast_any(column: Any, to: pa.DataType) -> Any:
    if isinstance(column, pa.ExtensionArray):
        return _cast_any(column.storage, to)
    if isinstance(column.type, pa.RunEndEncodedType):
        return _cast_any(pc.run_end_decode(column), to)  # type: ignore[attr-defined]  # the stubs lack it
    if isinstance(column.type, pa.ListViewType | pa.LargeListViewType):
        return _cast_any(_without_views(column), to)
    return column.cast(to)


def _without_views(column: Any) -> pa.Array[Any]:
    """Lay the values of a list view out one list after the other; pyarrow's own cast refuses those with nulls."""
    lengths = pc.fill_null(pc.list_value_length(column).cast(pa.int64()), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
    return pa.LargeListArray.from_arrays(offsets, pc.list_flatten(column), mask=column.is_null())


def _require_time_of_day(column: pa.Array[Any], name: str) -> None:
    """Refuse 24:00: Arrow holds it, Iceberg's times end before it."""
    highest: Any = pc.max(column.cast(pa.int64())).as_py()
    if highest is not None and highest >= _DAY_US:
        raise DataValidationError(
            f"column {name}: a time of 24:00 or later is no time of day for Iceberg",
            details={"column": name},
            hint="declare the column a string in the contract",
        )
