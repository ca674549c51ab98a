"""Reading on from where a cursor column stopped; its value travels in the state as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

from dativo_ingest.steps.arrow import Array, DataType, Scalar, constant, pc
from dativo_ingest.steps.casting import cast_lossless, kind
from dativo_ingest.steps.masks import found
from dativo_plugin_sdk import DataValidationError, SchemaValidationError

CursorValue: TypeAlias = int | float | str
"""A number as it is; a decimal, a date or a timestamp (ISO 8601, an instant in UTC) and text as text."""


@dataclass(frozen=True)
class Newer:
    """What of a batch lies after the cursor's last value."""

    batch: pa.RecordBatch
    """Rows with a greater cursor, and those without one: nobody can say whether they are new."""
    skipped: int
    """Rows left out because their cursor is not greater."""
    null_cursor: pa.BooleanArray | None
    """True for the rows of ``batch`` whose cursor is null or no number; None where there are none."""


def newer_than(batch: pa.RecordBatch, column: str, value: CursorValue | None) -> Newer:
    """Leave out rows whose ``column`` is at most ``value``; None leaves none out.

    Raises:
        SchemaValidationError: There is no such column, or its type has no order.
        DataValidationError: The value cannot be one of that column.
    """
    array = _cursor(batch, column)
    unknown = pc.is_null(array, nan_is_null=True)
    if value is not None:
        wanted = pc.or_(unknown, pc.fill_null(pc.greater(array, as_scalar(value, array.type)), False))  # noqa: FBT003
        if wanted.true_count < len(wanted):
            kept = batch.filter(wanted)
            return Newer(kept, batch.num_rows - kept.num_rows, found(unknown.filter(wanted)))
    return Newer(batch, 0, found(unknown))


def maximum(batch: pa.RecordBatch, column: str) -> CursorValue | None:
    """Find the greatest cursor as a JSON value; None where there is none. Errors as `newer_than`."""
    array = _cursor(batch, column)
    if pa.types.is_floating(array.type):
        array = array.filter(pc.is_finite(array))
    return as_json_value(pc.max(array))


def greatest(values: Iterable[CursorValue | None], to: DataType) -> CursorValue | None:
    """Find the greatest of some cursor values of a column of type ``to``; None counts as none."""
    singles = [constant(as_scalar(value, to), 1) for value in values if value is not None]
    return as_json_value(pc.max(pa.concat_arrays(singles))) if singles else None


def as_json_value(scalar: Scalar) -> CursorValue | None:
    """Write a cursor value as JSON; `as_scalar` reads it back exactly.

    Raises:
        DataValidationError: A date or timestamp outside the years 0000 to 9999: ISO 8601 has no form for it.
    """
    if not scalar.is_valid:
        return None
    if kind(scalar.type) in {"int", "float", "text"}:
        value: CursorValue = scalar.as_py()
        return value
    single = constant(scalar, 1)
    if pa.types.is_timestamp(scalar.type) and scalar.type.tz is not None:
        single = pc.cast(single, pa.timestamp(scalar.type.unit, "UTC"))
    text = str(pc.cast(single, pa.string())[0].as_py())
    if pa.types.is_timestamp(scalar.type):
        text = text.replace(" ", "T")
    as_scalar(text, scalar.type)
    return text


def as_scalar(value: CursorValue, to: DataType) -> Scalar:
    """Read a cursor value from a state as one of a column's type.

    Raises:
        DataValidationError: It is none, for instance because the column's type has changed since.
    """
    wanted = kind(to)
    try:
        if wanted in {"int", "float"} and not isinstance(value, str | bool):
            return pa.scalar(value, to)
        if wanted == "decimal" and isinstance(value, int):
            value = str(value)
        array, bad = cast_lossless(pa.array([value], pa.string()), to)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise _no_value(value, to) from error
    if bad is not None:
        raise _no_value(value, to)
    scalar: Scalar = array[0]
    return scalar


def _no_value(value: object, to: DataType) -> DataValidationError:
    return DataValidationError(
        f"{value!r} is no cursor value of type {to}",
        hint="has the cursor column's type changed? `dativo state reset` starts the stream again",
    )


def _cursor(batch: pa.RecordBatch, column: str) -> Array:
    index = batch.schema.get_field_index(column)
    if index < 0:
        raise SchemaValidationError(f"no cursor column {column!r}; there are: {', '.join(batch.schema.names)}")
    array = batch.column(index)
    if kind(array.type) not in {"int", "float", "decimal", "text", "date", "timestamp"}:
        raise SchemaValidationError(
            f"cursor column {column!r} is of type {array.type}; a cursor is a number, a date, a timestamp or text"
        )
    return array
