"""Rows that a column of the source says are deleted, as the ops of changes."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from dativo_ingest.steps.arrow import Array, DataType, Field, pc
from dativo_ingest.steps.casting import cast_lossless, kind
from dativo_ingest.steps.masks import found
from dativo_ingest.steps.row_ops import DELETE, OP, RowOps
from dativo_plugin_sdk import SchemaValidationError

UPDATE = "u"


def require_telling(field: Field, values: Sequence[str]) -> None:
    """Refuse a column whose values do not say by themselves which rows are deleted.

    Raises:
        SchemaValidationError: It holds texts or something nested, and no values are named.
    """
    if not values and kind(field.type) in {"text", "binary", "list", "struct", "map"}:
        raise SchemaValidationError(
            f"delete_detection: column {field.name} holds {field.type}, in which nobody can tell what says deleted",
            details={"column": field.name, "type": str(field.type)},
            hint="name the values that do: {mode: soft_column, column: …, values: [Y]}",
        )


def ops_of_marks(batch: pa.RecordBatch, field: Field, values: Sequence[str]) -> RowOps | None:
    """Read which rows of a batch are deleted; None where none is.

    Args:
        batch: It has the column.
        field: The column as the stream has it: its values are read as they land.
        values: Those that say deleted; empty where the column's type tells.
    """
    given: Array = batch.column(field.name)
    marks, _ = cast_lossless(given, field.type)  # what does not fit is rejected later, with its row
    deleted = found(pc.fill_null(_deleted(marks, values), False))  # noqa: FBT003  a value
    if deleted is None:
        return None
    ops = pc.if_else(deleted, pa.scalar(DELETE, OP.type), pa.scalar(UPDATE, OP.type))
    return RowOps(column=field.name, given=given, values=ops, unknown=None, deleted=deleted, truncated=None)


def _deleted(marks: Array, values: Sequence[str]) -> Array:
    plain: DataType = marks.type
    if isinstance(plain, pa.DictionaryType):
        marks = pc.cast(marks, plain.value_type)
    if isinstance(plain, pa.BaseExtensionType):
        marks = pc.cast(marks, plain.storage_type)
    if values:
        return pc.is_in(pc.cast(marks, pa.string()), value_set=pa.array(values, pa.string()))  # type: ignore[no-any-return]  # a kernel
    if pa.types.is_boolean(marks.type):
        return marks
    if kind(marks.type) in {"int", "float", "decimal"}:
        return pc.not_equal(marks, pa.scalar(0, marks.type))  # type: ignore[no-any-return]  # a kernel
    return marks.is_valid()
