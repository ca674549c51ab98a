"""`evolve` over Arrow schemas: which Arrow type holds the values of two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import types as t

from dativo_ingest.targets.evolution import Column, evolve

_DECIMAL_DIGITS = 38
_UNITS = ("s", "ms", "us")  # ns is none of them: it reaches only from 1677 to 2262
_MIXED = {(bits, other): max(bits, 2 * other) for bits in (8, 16, 32, 64) for other in (8, 16, 32)}
_SIGNED = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}


def evolve_schema(
    table: pa.Schema | None, incoming: pa.Schema, *, name: str, or_text: bool = False
) -> tuple[pa.Schema, list[str]]:
    """Find the schema with which the table takes ``incoming``, and say what changes; None is a table yet to be made.

    Args:
        table: The table's schema as it is.
        incoming: The stream's schema.
        name: The table, for messages.
        or_text: Columns whose types do not go together become text instead of an error.

    Raises:
        SchemaValidationError: Something would be lost.
    """
    if table is None:
        return incoming.remove_metadata(), []
    columns, changes = evolve(_columns(table), _columns(incoming), _wider_or_text if or_text else wider, name=name)
    if not changes:
        return table, []
    return pa.schema([pa.field(c.name, c.type, c.nullable) for c in columns]), [change.text for change in changes]


def _columns(schema: pa.Schema) -> list[Column[pa.DataType]]:
    return [Column(field.name, field.type, field.nullable) for field in schema]


def _wider_or_text(old: pa.DataType, new: pa.DataType) -> pa.DataType | None:
    return wider(old, new) or pa.string()


def wider(old: pa.DataType, new: pa.DataType) -> pa.DataType | None:
    """Give the type that holds every value of both: ``old`` wherever it does, None where no type does."""
    if old == new or t.is_null(new):
        return old
    if t.is_null(old):
        return new
    if t.is_dictionary(old) or t.is_dictionary(new):
        return _wider_values(old, new)
    for rule in _RULES:
        found = rule(old, new)
        if found is not None:
            return found
    return None


def _wider_values(old: pa.DataType, new: pa.DataType) -> pa.DataType | None:
    """A dictionary is only a way to store its values."""
    inner_old = old.value_type if isinstance(old, pa.DictionaryType) else old
    inner_new = new.value_type if isinstance(new, pa.DictionaryType) else new
    found = wider(inner_old, inner_new)
    return old if found == inner_old else found


def _same_family(old: pa.DataType, new: pa.DataType) -> pa.DataType | None:
    for family in (_is_text, _is_binary, t.is_date):
        if family(old) and family(new):
            return old
    return None


def _is_text(data_type: pa.DataType) -> bool:
    return bool(t.is_string(data_type) or t.is_large_string(data_type) or t.is_string_view(data_type))


def _is_binary(data_type: pa.DataType) -> bool:
    return bool(t.is_binary(data_type) or t.is_large_binary(data_type) or t.is_binary_view(data_type))


def _number(old: pa.DataType, new: pa.DataType) -> pa.DataType | None:
    if t.is_floating(old) and t.is_floating(new):
        return old if old.bit_width >= new.bit_width else new
    if not (t.is_integer(old) and t.is_integer(new)):
        return None
    if t.is_signed_integer(old) == t.is_signed_integer(new):
        return old if old.bit_width >= new.bit_width else new
    signed, unsigned = (old, new) if t.is_signed_integer(old) else (new, old)
    bits = _MIXED.get((signed.bit_width, unsigned.bit_width))  # none for uint64: nothing signed holds it
    return None if bits is None else _SIGNED[bits]


def _decimal(old: pa.DataType, new: pa.DataType) -> pa.DataType | None:
    if not (t.is_decimal(old) and t.is_decimal(new)):
        return None
    scale = max(old.scale, new.scale)
    digits = max(old.precision - old.scale, new.precision - new.scale) + scale
    if (digits, scale) == (old.precision, old.scale):
        return old
    return pa.decimal128(digits, scale) if digits <= _DECIMAL_DIGITS else None


def _moment(old: pa.DataType, new: pa.DataType) -> pa.DataType | None:
    if isinstance(old, pa.TimestampType) and isinstance(new, pa.TimestampType):
        if (old.tz is None) != (new.tz is None):
            return None
        if old.unit in ("ns", new.unit):
            return old  # a coarser value that does not fit is refused when it is written
        if new.unit == "ns":
            return None
        return old if _UNITS.index(old.unit) > _UNITS.index(new.unit) else pa.timestamp(new.unit, old.tz)
    if t.is_time(old) and t.is_time(new):
        units = (*_UNITS, "ns")
        return old if units.index(old.unit) >= units.index(new.unit) else new
    return None


def _nested(old: pa.DataType, new: pa.DataType) -> pa.DataType | None:
    if isinstance(old, pa.StructType) and isinstance(new, pa.StructType):
        return _struct(old, new)
    if isinstance(old, pa.FixedSizeListType) or isinstance(new, pa.FixedSizeListType):
        return None
    if isinstance(old, pa.ListType | pa.LargeListType) and isinstance(new, pa.ListType | pa.LargeListType):
        item = _field(old.value_field, new.value_field)
        if item is None:
            return None
        return old if item == old.value_field else (pa.list_(item) if isinstance(old, pa.ListType) else None)
    return None


def _struct(old: pa.StructType, new: pa.StructType) -> pa.DataType | None:
    if [field.name for field in old] != [field.name for field in new]:
        return None
    fields = [_field(ours, theirs) for ours, theirs in zip(old, new, strict=True)]
    found = [field for field in fields if field is not None]
    if len(found) < len(fields):
        return None
    return old if found == list(old) else pa.struct(found)


def _field(old: pa.Field[Any], new: pa.Field[Any]) -> pa.Field[Any] | None:
    found = wider(old.type, new.type)
    return None if found is None else pa.field(old.name, found, old.nullable or new.nullable)


_RULES: tuple[Callable[[pa.DataType, pa.DataType], pa.DataType | None], ...] = (
    _same_family,
    _number,
    _decimal,
    _moment,
    _nested,
)
