"""What became of each row, as a column of the source says it: created, updated, deleted, read, or all of them gone."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from dativo_ingest.steps.arrow import Array, DataType, Field, constant, pc
from dativo_ingest.steps.masks import either, found

OP: Field = pa.field("_dativo_op", pa.string(), nullable=False)
"""The column's name where a job says no other, and its type in a changelog."""
DELETE = "d"
TRUNCATE = "t"
OPS = ("c", "u", DELETE, "r", TRUNCATE)


@dataclass(frozen=True)
class RowOps:
    """The ops of a batch's rows; masks are without nulls, None where no row is of the kind.

    Attributes:
        column: What the source calls the column.
        given: Its values, as the source has them.
        values: The same as text.
        unknown: Rows whose op is null or none that there is.
        deleted: Rows that say of their key that it is gone.
        truncated: Rows that say that all rows before them are gone.
    """

    column: str
    given: Array
    values: Array
    unknown: pa.BooleanArray | None
    deleted: pa.BooleanArray | None
    truncated: pa.BooleanArray | None

    def excused(self, *, of_key: bool) -> pa.BooleanArray | None:
        """Mark rows that need no value in a column, or not one that fits: a deleted row only has its key to give."""
        return self.truncated if of_key else either(self.deleted, self.truncated)

    def all_excused(self, *, of_key: bool) -> bool:
        """Say whether no row needs a value in a column; one without an op is rejected anyway."""
        mask = either(self.excused(of_key=of_key), self.unknown)
        return mask is not None and mask.true_count == len(self.given)


def ops_of(batch: pa.RecordBatch, column: str) -> RowOps:
    """Read the ops of a batch that has the column; values are taken as they are written, case matters."""
    given: Array = batch.column(column)
    values = _texts(given)
    return RowOps(
        column=column,
        given=given,
        values=values,
        unknown=found(pc.invert(pc.is_in(values, value_set=pa.array(OPS)))),
        deleted=found(pc.equal(values, DELETE)),
        truncated=found(pc.equal(values, TRUNCATE)),
    )


def same_op(op: str, rows: int) -> Array:
    """Give the ops of rows that all have the same one."""
    return constant(pa.scalar(op, OP.type), rows)


def _texts(array: Array) -> Array:
    kind: DataType = array.type
    if isinstance(kind, pa.DictionaryType):
        array, kind = pc.cast(array, kind.value_type), kind.value_type
    if pa.types.is_string(kind):
        return array
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        texts: Array = pc.cast(array, pa.string())
        return texts
    return pa.nulls(len(array), pa.string())
