"""Comparing a cursor column with where a stream stopped: pure functions over Arrow, typed once, never as text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dativo_plugin_sdk.errors import DataError, InvalidConfigError


@dataclass(frozen=True)
class CursorSplit:
    """A batch's rows by their cursor values, as row numbers from 0 in order."""

    new: pa.Array[Any]
    """Beyond the state, or of a value that is not of the column's type: the engine rejects those by its own rule."""
    missing: pa.Array[Any]
    """Null or NaN: nobody can say whether they were read before."""
    seen: int
    """How many are at or before the state."""
    highest: pa.Scalar[Any] | None
    """The highest value there is, None where there is none."""

    @property
    def keeps_all(self) -> bool:
        """Say whether every row is new."""
        return self.seen == 0 and len(self.missing) == 0


def split_by_cursor(values: pa.Array[Any], kind: pa.DataType, after: pa.Scalar[Any] | None) -> CursorSplit:
    """Tell rows that are new from those read before.

    Args:
        values: The cursor column of a batch, as the source has it.
        kind: The column's type in the stream's schema: values are compared as this.
        after: Where the stream stopped, of type ``kind``; rows at it count as seen. None lets every row through.
    """
    typed, misfits = _typed(values, kind)
    nothing = pa.scalar(None, kind)
    if pa.types.is_floating(kind):
        typed = pc.if_else(pc.is_nan(typed), nothing, typed)
    absent = pc.is_null(typed) if misfits is None else pc.and_not(pc.is_null(typed), misfits)
    later = pc.is_valid(typed) if after is None else pc.greater(typed, after)
    new = later if misfits is None else pc.or_kleene(later, misfits)
    missing = pc.indices_nonzero(absent)  # a null in a mask is no
    fresh = pc.indices_nonzero(new)
    highest = pc.max(typed) if typed.null_count < len(typed) else None
    return CursorSplit(new=fresh, missing=missing, seen=len(values) - len(fresh) - len(missing), highest=highest)


def rows_in_range(
    values: pa.Array[Any], kind: pa.DataType, first: pa.Scalar[Any] | None, end: pa.Scalar[Any] | None
) -> pa.Array[Any]:
    """Give the numbers of the rows whose value is ``first`` or beyond and below ``end``.

    Null, NaN and values that are not of the column's type are in no range.

    Args:
        values: The cursor column of a batch, as the source has it.
        kind: The column's type in the stream's schema: values are compared as this.
        first: The range's beginning, of type ``kind``; None where it has none.
        end: What the range ends before, of type ``kind``; None where it has no end.
    """
    typed, _ = _typed(values, kind)
    wanted = pc.is_valid(typed)
    if first is not None:
        wanted = pc.and_kleene(wanted, pc.greater_equal(typed, first))
    if end is not None:
        wanted = pc.and_kleene(wanted, pc.less(typed, end))
    return pc.indices_nonzero(wanted)


def cursor_bound(text: str | None, kind: pa.DataType, *, column: str) -> pa.Scalar[Any] | None:
    """Read an end of a range as a person writes it; a time without a zone is taken as UTC where the column has one.

    Raises:
        InvalidConfigError: It is no value of the column's type.
    """
    if text is None:
        return None
    value = pa.scalar(text)
    kinds = [kind]
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        kinds = [kind, pa.timestamp(kind.unit)]
    for each in kinds:
        try:
            found: pa.Scalar[Any] = value.cast(each)
            return found.cast(kind)  # from a time without a zone: Arrow takes it as UTC
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    raise InvalidConfigError(
        f"{text!r} is no {kind}, which the cursor column {column} has", details={"column": column, "type": str(kind)}
    )


def higher(one: pa.Scalar[Any] | None, other: pa.Scalar[Any] | None) -> pa.Scalar[Any] | None:
    """Give the higher of two cursor values of one type; None is lower than any."""
    if one is None or other is None:
        return other if one is None else one
    return other if pc.greater(other, one).as_py() else one


def cursor_to_json(value: pa.Scalar[Any] | None) -> Any:
    """Write a cursor value for the state: whole numbers and text as they are, all else as exact text."""
    if value is None or not value.is_valid:
        return None
    if pa.types.is_integer(value.type) or pa.types.is_string(value.type) or pa.types.is_large_string(value.type):
        return value.as_py()
    if pa.types.is_floating(value.type) and math.isfinite(value.as_py()):  # JSON has no infinity
        return value.as_py()
    return value.cast(pa.string()).as_py()


def cursor_from_json(value: Any, kind: pa.DataType, *, column: str) -> pa.Scalar[Any] | None:
    """Read what `cursor_to_json` wrote.

    Raises:
        DataError: The column has another type now, and the value is none of it.
    """
    if value is None:
        return None
    try:
        found: pa.Scalar[Any] = pa.scalar(value).cast(kind)
        return found  # noqa: TRY300  the cast is what may fail
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"the state's cursor {value!r} is no {kind}, which column {column} has",
            details={"column": column, "type": str(kind)},
            hint="reset the stream's state, or give the column the type that it had",
        ) from error


def _typed(values: pa.Array[Any], kind: pa.DataType) -> tuple[pa.Array[Any], pa.Array[Any] | None]:
    """Cast values, those that cannot be cast to null; the mask marks them, None where there are none."""
    if values.type == kind:
        return values, None
    try:
        return values.cast(kind), None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if len(values) == 1:
            return pa.array([None], kind), pa.array([True])
    half = len(values) // 2
    parts = [_typed(values.slice(0, half), kind), _typed(values.slice(half), kind)]
    masks = [pa.repeat(pa.scalar(value=False), len(part)) if mask is None else mask for part, mask in parts]
    return pa.concat_arrays([part for part, _ in parts]), pa.concat_arrays(masks)
