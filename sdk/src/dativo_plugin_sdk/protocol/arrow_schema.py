"""Which Arrow types pass between processes: those whose values lie in buffers of their own, without a second way in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from dativo_plugin_sdk.protocol.arrow_message import SCHEMA, claims_of
from dativo_plugin_sdk.protocol.arrow_schema_claims import (
    EXTENSION_TYPE,
    MAX_COLUMNS,
    MAX_DEPTH,
    NAME_IS_NO_TEXT,
    OTHER_TYPE,
    TOO_DEEP,
    see_schema,
)
from dativo_plugin_sdk.protocol.breach import breach

MAX_SCALE = 76
MAX_FIXED_SIZE = 2**20
"""Of a value whose type fixes its size, in bytes or values: one that is null takes as much."""
_PREFIX_BYTES = 8

_PLAIN = (
    pa.types.is_null,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
    pa.types.is_duration,
    pa.types.is_interval,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_fixed_size_binary,
)
_NESTED = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_struct,
    pa.types.is_map,
)


def read_schema(message: bytes) -> pa.Schema:
    """Read Arrow's IPC message of a schema, which may be hostile.

    Raises:
        PluginExecutionError: It is damaged, or has a type that does not pass between processes: a breach.
    """
    metadata = message[_PREFIX_BYTES:]
    claims = claims_of(metadata)
    if claims.kind != SCHEMA or claims.body_bytes:
        raise breach("a stream begins without a schema")
    see_schema(metadata)
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(message))
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise breach("the schema of a stream is damaged") from error
    why = what_cannot_pass(schema)
    if why:
        raise breach(why)
    return schema


def what_cannot_pass(schema: pa.Schema) -> str | None:
    """Say what keeps a schema from passing between processes; None where nothing does.

    Columns are named by their number: names of a foreign process are not repeated.
    """
    if len(schema) > MAX_COLUMNS:
        return f"a schema of {len(schema)} columns, where {MAX_COLUMNS} are allowed"
    for number, field in enumerate(schema):
        why = _what_is_wrong(field)
        if why:
            return f"column {number} of the schema {why}"
    return None


def _what_is_wrong(field: pa.Field[Any]) -> str | None:  # noqa: PLR0911  one for each reason
    for depth, size, name, each in _walk(field):
        if depth > MAX_DEPTH:
            return TOO_DEEP
        if name is None:
            return NAME_IS_NO_TEXT
        if pa.types.is_decimal(each) and abs(each.scale) > MAX_SCALE:
            return f"is a decimal of scale {each.scale}"
        if not 0 <= size <= MAX_FIXED_SIZE:
            return f"has values of a fixed size of more than {MAX_FIXED_SIZE}"
        if isinstance(each, pa.BaseExtensionType):
            return EXTENSION_TYPE
        if not any(is_it(each) for is_it in (*_PLAIN, *_NESTED)):
            return OTHER_TYPE
    return None


def _walk(field: pa.Field[Any]) -> Iterator[tuple[int, int, str | None, Any]]:
    """Give depth, fixed size, name and type of a field and of all that is in it."""
    waiting = [(1, 1, field)]
    while waiting:
        depth, size, each = waiting.pop()
        if pa.types.is_fixed_size_list(each.type):
            size *= each.type.list_size
        elif pa.types.is_fixed_size_binary(each.type):
            size *= each.type.byte_width
        yield depth, size, _name(each), each.type
        if depth <= MAX_DEPTH and any(is_it(each.type) for is_it in _NESTED):
            waiting.extend((depth + 1, size, each.type.field(number)) for number in range(each.type.num_fields))


def _name(field: pa.Field[Any]) -> str | None:
    try:
        return field.name
    except UnicodeDecodeError:
        return None
