"""Columns of files: what discover says of them, and one schema out of several files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pyarrow as pa

from dativo_plugin_sdk import SchemaValidationError

_NAMES: tuple[tuple[Any, str], ...] = (
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_integer, "integer"),
    (pa.types.is_floating, "number"),
    (pa.types.is_decimal, "decimal"),
    (pa.types.is_timestamp, "timestamp"),
    (pa.types.is_date, "date"),
    (pa.types.is_time, "time"),
    (pa.types.is_duration, "duration"),
    (pa.types.is_string, "string"),
    (pa.types.is_large_string, "string"),
    (pa.types.is_binary, "binary"),
    (pa.types.is_large_binary, "binary"),
    (pa.types.is_fixed_size_binary, "binary"),
    (pa.types.is_struct, "object"),
    (pa.types.is_map, "map"),
    (pa.types.is_list, "array"),
    (pa.types.is_large_list, "array"),
    (pa.types.is_null, "null"),
)


def describe(schema: pa.Schema, *, exact: bool) -> list[dict[str, Any]]:
    """Give a schema's columns as discover shows them; ``exact`` says that the file itself declares its types."""
    return [
        {
            "name": field.name,
            "type": type_name(field.type),
            "arrow_type": str(field.type),
            "nullable": field.nullable,
            "fidelity": "exact" if exact else "inferred",
        }
        for field in schema
    ]


def type_name(kind: pa.DataType) -> str:
    """Name a type as people do: ``integer``, ``timestamp``."""
    if pa.types.is_dictionary(kind):
        return type_name(kind.value_type)
    return next((name for is_kind, name in _NAMES if is_kind(kind)), str(kind))


def cursor_candidates(schema: pa.Schema) -> list[str]:
    """Name the columns that rows can be followed by: times and whole numbers."""
    return [field.name for field in schema if type_name(field.type) in {"timestamp", "date", "integer"}]


def merge(schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """Make one schema of several files' inferred ones: every column, in order of first sight.

    A column that is empty everywhere is text. Numbers beside floats become floats, dates beside timestamps timestamps,
    anything beside text text: what was inferred from a sample says what the values look like, no more. A field's
    metadata stays, that of the first file that has the column.

    Args:
        schemas: Each file's name and schema.
    """
    fields: dict[str, pa.Field[Any]] = {}
    for _, schema in schemas:
        for field in schema:
            known = fields.get(field.name)
            kind = field.type if known is None else _promote(known.type, field.type)
            fields[field.name] = pa.field(field.name, kind, metadata=(known or field).metadata)
    return pa.schema(
        [field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in fields.values()]
    )


def merge_exact(schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """Make one schema of several files' declared ones: every column, nullable unless no file says otherwise.

    Raises:
        SchemaValidationError: Two files declare types that no type holds without loss.
    """
    fields: dict[str, pa.Field[Any]] = {}
    counts: dict[str, int] = {}
    for name, schema in schemas:
        for field in schema:
            known = fields.get(field.name)
            counts[field.name] = counts.get(field.name, 0) + 1
            if known is None:
                fields[field.name] = field
                continue
            try:
                unified = pa.unify_schemas([pa.schema([known]), pa.schema([field])], promote_options="permissive")
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise SchemaValidationError(
                    f"{name}: column {field.name} is {field.type}, in files before it {known.type}",
                    details={"path": name, "column": field.name},
                    hint="give the files streams of their own, or a contract that says what the column is",
                ) from error
            fields[field.name] = unified.field(0)
    return pa.schema(
        [field if counts[field.name] == len(schemas) else field.with_nullable(True) for field in fields.values()]  # noqa: FBT003  Arrow's signature
    )


def _promote(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    names = {type_name(one), type_name(other)}
    promoted: pa.DataType = pa.string()
    if one == other or pa.types.is_null(other):
        promoted = one
    elif pa.types.is_null(one):
        promoted = other
    elif names == {"integer"}:
        promoted = pa.int64()
    elif names <= {"integer", "number", "decimal"} and "number" in names:
        promoted = pa.float64()
    elif names <= {"date", "timestamp"}:
        zones = {kind.tz for kind in (one, other) if pa.types.is_timestamp(kind)}
        promoted = pa.timestamp("us", zones.pop()) if len(zones) == 1 else pa.string()
    elif names in ({"object"}, {"array"}):
        promoted = _nested(one, other)
    return promoted


def _nested(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    both = [pa.schema([pa.field("it", kind)]) for kind in (one, other)]
    try:
        return cast("pa.DataType", pa.unify_schemas(both, promote_options="permissive").field(0).type)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string()
