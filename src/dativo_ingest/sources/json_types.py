"""Which Arrow types JSON values have: as they are parsed for a given schema, and as a sample suggests them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

LOGICAL_TYPE = b"dativo.logical_type"
"""The field metadata that says ``json`` where a string holds a JSON text."""

_JSON = pa.field("", pa.string(), metadata={LOGICAL_TYPE: b"json"})
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_WHOLE = (("small", 2**53), ("int", 2**63), ("long", 10**38))
"""Kinds of whole numbers by size: those a double holds exactly, those of 64 bits, those of 38 digits."""


def is_json_text(column: pa.Field[Any]) -> bool:
    """Say whether a column is declared to hold JSON texts."""
    return (column.metadata or {}).get(LOGICAL_TYPE) == b"json"


def has_nested_json_text(data_type: pa.DataType) -> bool:
    """Say whether a column inside this type is declared to hold JSON texts."""
    children = [data_type.field(number) for number in range(data_type.num_fields)]
    return any(is_json_text(child) or has_nested_json_text(child.type) for child in children)


def has_map(data_type: pa.DataType) -> bool:
    """Say whether a map is somewhere in this type: pyarrow's parser takes no object for one."""
    return pa.types.is_map(data_type) or any(
        has_map(data_type.field(number).type) for number in range(data_type.num_fields)
    )


def wire_type(data_type: pa.DataType) -> pa.DataType:  # noqa: PLR0911  one line a type
    """Give the type as which values of ``data_type`` are parsed; what JSON has no form for is text.

    Dates, times and binary values stay text here: what spellings they may have is the same for every text format, and
    the engine's to say.
    """
    if isinstance(data_type, pa.BaseExtensionType):
        return wire_type(data_type.storage_type)
    if pa.types.is_dictionary(data_type):
        return wire_type(data_type.value_type)
    if pa.types.is_struct(data_type):
        return pa.struct(
            [_wire_field(data_type.field(number)) for number in range(data_type.num_fields)],
        )
    if pa.types.is_map(data_type):
        return pa.map_(pa.string(), wire_type(data_type.item_type))
    if _is_any_list(data_type):
        return pa.list_(_wire_field(data_type.field(0)))
    if pa.types.is_float16(data_type):
        return pa.float32()
    is_own = (
        pa.types.is_boolean(data_type)
        or pa.types.is_integer(data_type)
        or pa.types.is_floating(data_type)
        or pa.types.is_decimal128(data_type)
        or pa.types.is_decimal256(data_type)
        or pa.types.is_large_string(data_type)
    )
    return data_type if is_own else pa.string()


def wire_schema(schema: pa.Schema) -> pa.Schema:
    """Give the schema as which JSON objects are parsed; names and order stay, everything may be null."""
    return pa.schema([_wire_field(column) for column in schema])


def _wire_field(column: pa.Field[Any]) -> pa.Field[Any]:
    metadata = {LOGICAL_TYPE: b"json"} if is_json_text(column) else None
    return pa.field(column.name, wire_type(column.type), metadata=metadata)


def _is_any_list(data_type: pa.DataType) -> bool:
    return (
        pa.types.is_list(data_type)
        or pa.types.is_large_list(data_type)
        or pa.types.is_fixed_size_list(data_type)
        or pa.types.is_list_view(data_type)
        or pa.types.is_large_list_view(data_type)
    )


def infer_schema(objects: Iterable[Mapping[str, Any]]) -> pa.Schema:
    """Find a schema for which every sampled value is kept as it is.

    Columns stand in the order in which they are first met. Values that agree on no type, empty objects and empty lists
    become JSON texts (a string with the metadata `LOGICAL_TYPE`), also when only a value inside them does not agree.
    Strings that are all RFC 3339 date-times with an offset become instants in UTC. A column that is always null has
    the type null; within an object or a list, nulls alone are strings.

    Args:
        objects: Parsed objects, integers as ``int`` and other numbers as ``Decimal`` or ``float``.
    """
    row = _Seen()
    for item in objects:
        row.add(item)
    return pa.schema([_field_of(name, seen) for name, seen in row.members.items()])


def _field_of(name: str, seen: _Seen) -> pa.Field[Any]:
    if seen.kinds <= {"null"}:
        return pa.field(name, pa.null())
    try:
        return pa.field(name, seen.type())
    except _NoCommonTypeError:
        return _JSON.with_name(name)


class _NoCommonTypeError(Exception):
    """Values of one column agree on nothing but being JSON."""


@dataclass
class _Seen:
    """What the values of one column have been so far."""

    kinds: set[str] = field(default_factory=set)
    members: dict[str, _Seen] = field(default_factory=dict)
    items: _Seen | None = None

    def add(self, value: object) -> None:
        """Take note of one more value."""
        self.kinds.add(_kind(value))
        if isinstance(value, Mapping):
            for name, member in value.items():
                self.members.setdefault(name, _Seen()).add(member)
        elif isinstance(value, list):
            self.items = self.items or _Seen()
            for item in value:
                self.items.add(item)

    def type(self) -> pa.DataType:  # noqa: PLR0911  one line a type
        """Give the narrowest type that holds all of them.

        Raises:
            _NoCommonTypeError: There is none.
        """
        kinds = self.kinds - {"null"}
        match sorted(kinds):
            case []:
                return pa.string()
            case ["object"] if self.members:
                return pa.struct([pa.field(name, seen.type()) for name, seen in self.members.items()])
            case ["list"] if self.items is not None and self.items.kinds - {"null"}:
                return pa.list_(self.items.type())
            case ["bool"]:
                return pa.bool_()
            case ["timestamp"]:
                return pa.timestamp("us", tz="UTC")
        if kinds <= {"string", "timestamp"}:
            return pa.string()
        if kinds <= {"small", "int"}:
            return pa.int64()
        if kinds <= {"small", "int", "long"}:
            return pa.decimal128(38, 0)
        if kinds <= {"small", "float"}:
            return pa.float64()
        raise _NoCommonTypeError


def _kind(value: object) -> str:  # noqa: PLR0911  one line a kind
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return next((kind for kind, limit in _WHOLE if -limit <= value < limit), "digits")
        case float() | Decimal():
            return "float" if abs(float(value)) < float("inf") else "digits"
        case str():
            return "timestamp" if _is_instant(value) else "string"
        case Mapping():
            return "object"
        case _:
            return "list"


def _is_instant(text: str) -> bool:
    if _RFC3339.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
