"""A batch of changes, conformed and with the op of each row in its last column, as what a table takes.

Rows that are deleted may lack everything but their key, so that the columns of such a batch may all be null.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa

from dativo_ingest.steps.arrow import Array, DataType, Field, constant, pc
from dativo_ingest.steps.row_ops import DELETE, OP
from dativo_ingest.steps.system_columns import LOADED_AT, RUN_ID
from dativo_plugin_sdk import SchemaValidationError

DELETED: Field = pa.field("_dativo_deleted", pa.bool_(), nullable=False)
SEQ: Field = pa.field("_dativo_seq", pa.int64(), nullable=False)
_LOGGED = (OP, RUN_ID, SEQ, LOADED_AT)


def nullable(schema: pa.Schema, but: Sequence[str] = ()) -> pa.Schema:
    """Let every column be null, those named in ``but`` as they are."""
    fields = [field if field.name in but else field.with_nullable(True) for field in schema]  # noqa: FBT003  Arrow's signature
    return pa.schema(fields).with_metadata(schema.metadata or {})


def with_ops(batch: pa.RecordBatch, ops: Array) -> pa.RecordBatch:
    """Give conformed rows the form of changes."""
    schema = nullable(batch.schema).append(OP)
    return pa.RecordBatch.from_arrays([*batch.columns, ops], schema=schema)


def split_deletes(
    changes: pa.RecordBatch, schema: pa.Schema, keys: Sequence[str]
) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
    """Tell rows to write from keys to delete, by the last change of each key; no key is in both.

    Args:
        changes: The batch; every row has its key.
        schema: What rows that are not deleted conform to.
        keys: The columns of the primary key.

    Returns:
        The rows to write, and the keys of rows to delete; None where there are none.

    Raises:
        SchemaValidationError: A column of the key holds what rows cannot be told apart by.
    """
    deleted = pc.equal(changes.column(len(schema)), DELETE)
    if not deleted.true_count:
        # Of several rows of one key the table takes the last one by itself.
        return pa.RecordBatch.from_arrays(changes.columns[:-1], schema=schema), None
    last = _last_of_each_key(changes, keys)
    if len(last) < changes.num_rows:
        changes, deleted = changes.take(last), deleted.take(last)
    kept = changes.filter(pc.invert(deleted))
    gone = changes.filter(deleted)
    named = pa.schema([schema.field(key) for key in keys])
    return (
        pa.RecordBatch.from_arrays(kept.columns[:-1], schema=schema),
        pa.RecordBatch.from_arrays([gone.column(key) for key in keys], schema=named) if gone.num_rows else None,
    )


def marked_schema(schema: pa.Schema, keys: Sequence[str]) -> pa.Schema:
    """Add the field that marks deleted rows, which may lack all but their key.

    Raises:
        SchemaValidationError: The stream has such a column of its own.
    """
    return _added(nullable(schema, but=keys), (DELETED,), "deletes: soft")


def mark_deleted(changes: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Put the mark of deleted rows in place of the ops; ``schema`` is from `marked_schema`."""
    deleted = pc.equal(changes.column(changes.num_columns - 1), DELETE)
    return pa.RecordBatch.from_arrays([*changes.columns[:-1], deleted], schema=schema)


def changelog_schema(schema: pa.Schema) -> pa.Schema:
    """Add the fields of a changelog: what became of the row, in which run, as which of its changes, and when.

    Raises:
        SchemaValidationError: The stream has such a column of its own.
    """
    return _added(nullable(schema), _LOGGED, "changelog: true")


def log_changes(
    changes: pa.RecordBatch, schema: pa.Schema, *, first_seq: int, run_id: str, loaded_at: datetime
) -> pa.RecordBatch:
    """Add the values of a changelog's fields; ``schema`` is from `changelog_schema`.

    Args:
        changes: The batch.
        schema: What comes out.
        first_seq: The number of the first row among the run's.
        run_id: The run.
        loaded_at: When it began.
    """
    rows = changes.num_rows
    numbers: Array = pa.arange(first_seq, first_seq + rows)  # type: ignore[attr-defined]  # missing in the stubs
    return pa.RecordBatch.from_arrays(
        [
            *changes.columns,
            constant(pa.scalar(run_id, RUN_ID.type), rows),
            numbers,
            constant(pa.scalar(loaded_at, LOADED_AT.type), rows),
        ],
        schema=schema,
    )


def _added(schema: pa.Schema, fields: Sequence[Field], why: str) -> pa.Schema:
    taken = [field.name for field in fields if field.name in schema.names]
    if taken:
        raise SchemaValidationError(
            f"the stream has a column {', '.join(taken)}, which {why} adds",
            details={"columns": taken},
            hint="leave the column out of the contract, or rename it in the source",
        )
    for field in fields:
        schema = schema.append(field)
    return schema


def _last_of_each_key(changes: pa.RecordBatch, keys: Sequence[str]) -> Array:
    """Give the numbers of the rows that are the last of their key, ascending."""
    names = [str(number) for number in range(len(keys))]
    numbers: Array = pa.arange(0, changes.num_rows)  # type: ignore[attr-defined]  # missing in the stubs
    table = pa.table([*(_plain(changes.column(key)) for key in keys), numbers], names=[*names, "row"])
    try:
        last = table.group_by(names, use_threads=False).aggregate([("row", "max")])
    except (pa.ArrowNotImplementedError, pa.ArrowKeyError) as error:
        kinds = ", ".join(f"{key} ({changes.schema.field(key).type})" for key in keys)
        raise SchemaValidationError(
            f"primary_key: rows cannot be told apart by {kinds}", hint="use columns of numbers, texts, dates or times"
        ) from error
    rows = last.column("row_max").combine_chunks()
    ordered: Array = rows.take(pc.sort_indices(rows))
    return ordered


def _plain(array: Array) -> Array:
    kind: DataType = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return pc.cast(array, kind.storage_type)  # type: ignore[no-any-return]  # a kernel
    if isinstance(kind, pa.DictionaryType):
        return pc.cast(array, kind.value_type)  # type: ignore[no-any-return]  # a kernel
    return array
