"""Partitioning and sort order: from the words of a job to Iceberg's specs, and whether a table has them already."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import NullOrder, SortDirection, SortField, SortOrder
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    TruncateTransform,
    YearTransform,
)
from pyiceberg.types import NestedField

from dativo_ingest.targets.sort_order import read_sort_key
from dativo_plugin_sdk import InvalidConfigError, SchemaValidationError

_CALL = re.compile(r"^\s*([A-Za-z]+)\s*\(\s*(?:(\d+)\s*,\s*)?(.+?)\s*\)\s*$")
_PLAIN: dict[str, type[Transform[Any, Any]]] = {
    "year": YearTransform,
    "month": MonthTransform,
    "day": DayTransform,
    "hour": HourTransform,
    "identity": IdentityTransform,
}
_MAX_NUMBER = 2**31  # Iceberg spec, "Partition Transforms": numbers of buckets and widths are ints
_KNOWN = "year(c), month(c), day(c), hour(c), bucket(n, c), truncate(n, c), or a column's name"


def partition_spec(texts: Sequence[str], schema: Schema) -> PartitionSpec:
    """Build the partition spec that ``partition_by`` describes; no text gives an unpartitioned table.

    Raises:
        InvalidConfigError: A text is no transform.
        SchemaValidationError: There is no such column, or its type cannot be partitioned so.
    """
    fields: list[PartitionField] = []
    for text in texts:
        transform, column, suffix = _parse_transform(text, schema)
        source = _find(schema, column, "partition_by", text)
        if not transform.can_transform(source.field_type):
            raise SchemaValidationError(
                f"partition_by {text!r}: a column of type {source.field_type} cannot be partitioned by {transform}",
                hint=f"known are {_KNOWN}",
            )
        if any((field.source_id, field.transform) == (source.field_id, transform) for field in fields):
            raise InvalidConfigError(f"partition_by names {text!r} twice")
        name = f"{column}{suffix}"
        while suffix and (_has(schema, name) or any(field.name == name for field in fields)):
            name += "_"  # Iceberg spec, "Partitioning": no partition field has the name of another column
        fields.append(PartitionField(source.field_id, PARTITION_FIELD_ID_START + len(fields), transform, name))
    return PartitionSpec(*fields)


def _parse_transform(text: str, schema: Schema) -> tuple[Transform[Any, Any], str, str]:
    """Give the transform, its column, and what is added to the column's name to call the partition field."""
    call = _CALL.match(text)
    if call is None or _has(schema, text.strip()):  # a column may well be called "day(x)"
        return IdentityTransform(), text.strip(), ""
    kind, number, column = call.group(1).lower(), call.group(2), call.group(3)
    if kind in _PLAIN and number is None:
        return _PLAIN[kind](), column, "" if kind == "identity" else f"_{kind}"
    fits = number is not None and 0 < int(number) < _MAX_NUMBER
    if kind == "bucket" and fits:
        return BucketTransform(int(number)), column, f"_bucket_{number}"
    if kind == "truncate" and fits:
        return TruncateTransform(int(number)), column, f"_trunc_{number}"
    raise InvalidConfigError(f"partition_by {text!r} is no partition transform", hint=f"known are {_KNOWN}")


def sort_order(texts: Sequence[str], schema: Schema) -> SortOrder:
    """Build the sort order that ``sort_by`` describes; nulls go first, unless descending, as the spec's readers do.

    Raises:
        InvalidConfigError: A text is no sort key.
        SchemaValidationError: There is no such column, or it is nested.
    """
    fields = []
    for text in texts:
        asked = read_sort_key(text, schema.column_names)
        source = _find(schema, asked.column, "sort_by", text)
        if not source.field_type.is_primitive:
            raise SchemaValidationError(f"sort_by {text!r}: a column of type {source.field_type} has no order")
        nulls = asked.nulls or ("last" if asked.descending else "first")
        fields.append(
            SortField(
                source.field_id,
                IdentityTransform(),
                SortDirection.DESC if asked.descending else SortDirection.ASC,
                NullOrder.NULLS_FIRST if nulls == "first" else NullOrder.NULLS_LAST,
            )
        )
    return SortOrder(*fields)


def require_same_partitioning(texts: Sequence[str], schema: Schema, spec: PartitionSpec, table: str) -> None:
    """Refuse a ``partition_by`` that an existing table does not have; none asked for takes the table's.

    Raises:
        SchemaValidationError: They differ.
    """
    if not texts:
        return
    asked = [(field.source_id, str(field.transform)) for field in partition_spec(texts, schema).fields]
    if asked != [(field.source_id, str(field.transform)) for field in spec.fields]:
        raise _differs(table, "partition_by", texts, describe_partitioning(spec, schema))


def require_same_sorting(texts: Sequence[str], schema: Schema, order: SortOrder, table: str) -> None:
    """Refuse a ``sort_by`` that an existing table does not have; none asked for takes the table's.

    Raises:
        SchemaValidationError: They differ.
    """
    if texts and sort_order(texts, schema).fields != order.fields:
        raise _differs(table, "sort_by", texts, describe_sorting(order, schema))


def _differs(
    table: str, key: Literal["partition_by", "sort_by"], texts: Sequence[str], actual: Sequence[str]
) -> SchemaValidationError:
    return SchemaValidationError(
        f"{table} exists with {key}: [{', '.join(actual)}], the job says [{', '.join(texts)}]",
        hint=f"remove {key} from the job to keep the table's, or load into another table",
    )


def describe_partitioning(spec: PartitionSpec, schema: Schema) -> list[str]:
    """Write a spec as a job would."""
    return [_call(str(field.transform), schema.find_column_name(field.source_id) or "?") for field in spec.fields]


def describe_sorting(order: SortOrder, schema: Schema) -> list[str]:
    """Write a sort order as a job would."""
    return [
        f"{_call(str(field.transform), schema.find_column_name(field.source_id) or '?')}"
        f" {field.direction.name.lower()} {field.null_order.name.lower().replace('_', ' ')}"
        for field in order.fields
    ]


def _call(transform: str, column: str) -> str:
    if transform == "identity":
        return column
    name, _, width = transform.rstrip("]").partition("[")
    return f"{name}({width}, {column})" if width else f"{name}({column})"


def _has(schema: Schema, column: str) -> bool:
    return column in schema.column_names


def _find(schema: Schema, column: str, key: str, text: str) -> NestedField:
    if not _has(schema, column):
        names = [field.name for field in schema.fields]
        raise SchemaValidationError(
            f"{key} {text!r}: there is no column {column!r}; there are: {', '.join(names[:50])}"
        )
    return schema.find_field(column)
