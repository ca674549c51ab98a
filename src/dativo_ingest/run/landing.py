"""How a stream's rows land in its table: as they are, merged with deletes, marked as deleted, or as a log of changes.

A `Landing` says what to ask of the reader, makes batches conform, and turns conformed batches into what the table is
to write and to delete. It writes nothing itself.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from dativo_ingest.run.plan import StreamPlan
from dativo_ingest.steps.changes import (
    DELETED,
    changelog_schema,
    log_changes,
    mark_deleted,
    marked_schema,
    split_deletes,
    with_ops,
)
from dativo_ingest.steps.conform import Conformed, conform
from dativo_ingest.steps.row_ops import OP, RowOps, ops_of, same_op
from dativo_ingest.steps.soft_deletes import UPDATE, ops_of_marks, require_telling
from dativo_ingest.steps.system_columns import LOADED_AT, RUN_ID, add_system_columns, with_system_fields
from dativo_plugin_sdk.errors import DataValidationError, SchemaValidationError
from dativo_plugin_sdk.streams import Rows

Kind: TypeAlias = Literal["rows", "deletes", "marks", "log"]


@dataclass(frozen=True)
class Landed:
    """What a batch means for the table: no key is both in ``rows`` and in ``deleted``."""

    rows: pa.RecordBatch
    deleted: pa.RecordBatch | None = None
    """Keys whose rows go."""


class Landing:
    """How the rows of one stream land in one run.

    Args:
        plan: What to do.
        schema: The stream's schema, as its contract or discovery has it.
        run_id: The run.
        loaded_at: When it began.

    Attributes:
        reads: The schema to ask the reader for.
        rows: The schema that rows must conform to.
        table: The schema of what the table is given to write.

    Raises:
        SchemaValidationError: The stream lacks the column of ops that the job names, or has a column that is added.
    """

    def __init__(self, plan: StreamPlan, schema: pa.Schema, *, run_id: str, loaded_at: datetime) -> None:
        self._plan = plan
        self._run_id = run_id
        self._loaded_at = loaded_at
        self._kind = kind = _kind(plan)
        self._soft = plan.soft_column
        self._column = self._soft.column if self._soft else plan.op_column or OP.name
        self._is_known = self._column in schema.names
        self._seq = 1
        if kind == "rows":
            self.reads = self.rows = schema
        elif self._soft is not None:
            if not self._is_known:
                raise _lacks(self._column, schema, "delete_detection")
            require_telling(schema.field(self._column), self._soft.values)
            self.reads, self.rows = schema, _with_keys(schema, plan.primary_key)
        else:
            if plan.op_column is not None and plan.contract is None and not self._is_known:
                raise _lacks(self._column, schema, "op_column")
            plain = _without(schema, self._column)
            self.reads = plain.append(pa.field(self._column, OP.type))  # text, whatever was inferred of it
            self.rows = _with_keys(plain, plan.primary_key)
        self._shape = self._table_schema()
        self.table = with_system_fields(self._shape, plan.system_columns)

    def conform(self, rows: Rows) -> Conformed:
        """Make a batch conform to ``rows``; where it is one of changes, the last column is what became of each row.

        Raises:
            DataValidationError: It does not conform as a whole, or has changes that cannot land as the job asks.
        """
        if self._kind == "rows":
            return conform(rows, self.rows)
        ops = self._marks(rows.batch) if self._soft is not None else self._ops(rows.batch)
        if ops is not None:
            self._refuse(ops)
            return conform(rows, self.rows, ops, self._plan.primary_key)
        if self._soft is None and self._column in rows.batch.schema.names:
            rows = replace(rows, batch=rows.batch.drop_columns([self._column]))
        conformed = conform(rows, self.rows)
        if self._kind == "deletes":
            return conformed
        op = same_op("r" if self._plan.ignore_state else UPDATE, conformed.batch.num_rows)
        return replace(conformed, batch=with_ops(conformed.batch, op))

    def land(self, batch: pa.RecordBatch) -> Landed:
        """Turn a batch that `conform` gave into what the table takes, with the columns of the system."""
        deleted = None
        match self._kind:
            case "deletes" if batch.num_columns > len(self.rows):
                batch, deleted = split_deletes(batch, self.rows, self._plan.primary_key)
                if self._plan.replaces_merge:
                    deleted = None  # the table has no rows but those that are written
            case "marks":
                batch = mark_deleted(batch, self._shape)
            case "log":
                first, self._seq = self._seq, self._seq + batch.num_rows
                batch = log_changes(batch, self._shape, first_seq=first, run_id=self._run_id, loaded_at=self._loaded_at)
            case _:
                pass
        rows = add_system_columns(batch, self._plan.system_columns, loaded_at=self._loaded_at, run_id=self._run_id)
        return Landed(rows, deleted)

    @property
    def keys(self) -> pa.Schema:
        """The columns of the primary key, as rows have them.

        Raises:
            SchemaValidationError: The rows lack one of them.
        """
        self._require_keys()
        return pa.schema([self.rows.field(key) for key in self._plan.primary_key])

    @property
    def marks(self) -> dict[str, pa.Scalar[Any]]:
        """What rows get that are found to be deleted; empty where they go."""
        if self._kind != "marks":
            return {}
        added = {LOADED_AT.name: pa.scalar(self._loaded_at, LOADED_AT.type), RUN_ID.name: pa.scalar(self._run_id)}
        stamps = {
            name: value for name, value in added.items() if name in self.table.names and name not in self._shape.names
        }
        return {DELETED.name: pa.scalar(True, DELETED.type), **stamps}  # noqa: FBT003  a value

    def _table_schema(self) -> pa.Schema:
        keys = self._plan.primary_key
        match self._kind:
            case "marks":
                return marked_schema(self.rows, keys)
            case "log":
                self._require_keys()
                return changelog_schema(self.rows)
            case _:
                return self.rows

    def _require_keys(self) -> None:
        absent = [key for key in self._plan.primary_key if key not in self.rows.names]
        if absent:
            raise SchemaValidationError(
                f"primary_key {', '.join(absent)} is no column; there are: {', '.join(self.rows.names[:50])}"
            )

    def _ops(self, batch: pa.RecordBatch) -> RowOps | None:
        """Give the ops of a batch; None where its rows are not changes."""
        there = self._column in batch.schema.names
        if self._plan.op_column is not None and not there and batch.num_rows:
            raise _lacks(self._column, batch.schema, "op_column")
        if not there:
            return None
        if self._plan.op_column is None and not self._is_known and _is_null(batch.column(self._column)):
            return None  # nobody says that there is such a column, and JSON's readers give what they were asked for
        return ops_of(batch, self._column)

    def _marks(self, batch: pa.RecordBatch) -> RowOps | None:
        """Give the ops of a batch whose rows say themselves whether they are deleted; None where none is."""
        assert self._soft is not None  # noqa: S101  asked only then
        if self._column not in batch.schema.names:
            if batch.num_rows:
                raise _lacks(self._column, batch.schema, "delete_detection")
            return None
        return ops_of_marks(batch, self.rows.field(self._column), self._soft.values)

    def _refuse(self, ops: RowOps) -> None:
        """Refuse changes that would land as something else than they say."""
        if self._kind == "log":
            return
        if self._plan.replaces_merge and self._soft is None:
            raise DataValidationError(
                f"{self._plan.name}: rows with an op ({self._column}) are changes to rows before them, a full refresh "
                "cannot replace the table by them",
                hint="dativo state reset and a run without --full-refresh merge all changes again, in their order",
            )
        if ops.truncated is not None:
            raise DataValidationError(
                f"{self._plan.name}: {ops.truncated.true_count} row(s) with op t say that the source's table was "
                "emptied, which cannot be merged row by row",
                hint="changelog: true keeps such rows in their place; or drop the rows by hand, dativo state reset, "
                "and leave the row out",
            )
        if self._kind == "deletes" and ops.deleted is not None and not self._plan.can_delete:
            raise DataValidationError(
                f"{self._plan.name}: {ops.deleted.true_count} row(s) with op d are to be deleted, which this target "
                "cannot",
                hint="deletes: soft keeps such rows and marks them; changelog: true appends every change",
            )


def _kind(plan: StreamPlan) -> Kind:
    if plan.changelog:
        return "log"
    if plan.write == "merge" or plan.replaces_merge:
        return "marks" if plan.deletes == "soft" else "deletes"
    return "rows"


def _lacks(column: str, schema: pa.Schema, key: str) -> DataValidationError:
    return DataValidationError(
        f"the rows have no column {column}, which {key} names; there are: {', '.join(schema.names[:50])}",
        details={"columns": schema.names[:1000]},
        hint=f"correct {key} (names are case-sensitive), or leave it out",
    )


def _is_null(array: pa.Array) -> bool:  # type: ignore[type-arg]  # of any type
    return array.null_count == len(array)


def _without(schema: pa.Schema, name: str) -> pa.Schema:
    at = schema.get_field_index(name)
    return schema if at < 0 else schema.remove(at)


def _with_keys(schema: pa.Schema, keys: Collection[str]) -> pa.Schema:
    """Require a value in the columns that rows are told apart by: one without is rejected, and the others land."""
    fields = [field.with_nullable(False) if field.name in keys else field for field in schema]  # noqa: FBT003  Arrow's
    return pa.schema(fields).with_metadata(schema.metadata or {})
