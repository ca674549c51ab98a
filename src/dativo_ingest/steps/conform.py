"""A batch as the source has it becomes one of the stream's schema; rows that cannot are rejected, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field as dataclass_field, replace

import pyarrow as pa

from dativo_ingest.steps.arrow import Array, Field, pc
from dativo_ingest.steps.casting import beyond_type, cast_lossless, extra_fields, is_json, nested_nulls
from dativo_ingest.steps.changes import with_ops
from dativo_ingest.steps.json_text import json_texts, rows_json
from dativo_ingest.steps.lossy import give_up, lossy
from dativo_ingest.steps.masks import either, found, null_where
from dativo_ingest.steps.row_ops import OPS, RowOps
from dativo_plugin_sdk import REJECTED_SCHEMA, DataValidationError, Rows

SHOWN_CHARACTERS = 100
"""How much of a value a reason repeats."""


@dataclass(frozen=True)
class Conformed:
    """What became of a batch: ``batch`` and ``rejected`` together hold every row once, in order."""

    batch: pa.RecordBatch
    rejected: pa.RecordBatch | None
    """Of `REJECTED_SCHEMA`, one line a row; None where every row conforms."""
    missing: tuple[str, ...]
    """Columns of the schema that the batch lacks; they are null."""
    extra: tuple[str, ...]
    """Columns of the batch that the schema has no place for, also inside structs (``address.zip``); left out."""
    forgiven: tuple[str, ...] = ()
    """Columns in which a deleted row has a value that does not fit; it is null."""
    lost: Mapping[tuple[str, str], int] = dataclass_field(default_factory=dict)
    """How many values of a column were given up in a way that its contract allows (`dativo_ingest.steps.lossy`)."""


@dataclass(frozen=True)
class _Fault:
    """The rows in which one column breaks one rule."""

    column: str
    rule: str
    bad: pa.BooleanArray
    values: Array
    expected: str


def conform(rows: Rows, schema: pa.Schema, ops: RowOps | None = None, keys: Sequence[str] = ()) -> Conformed:
    """Make a batch exactly one of ``schema``.

    Columns are found by name, case matters. A column that has its type already, and no null where none may be, is
    passed on as it is, without a copy; others are cast by `cast_lossless`. A row with a value that does not fit is
    rejected by rule ``type``, one with a null in a column that must not be null by rule ``required``; the line names
    the first such column in the schema's order. Where the schema lets a column lose something, values that do not fit
    are made to.

    Args:
        rows: The batch.
        schema: What it is to become.
        ops: What became of each row. A row without a known op is rejected by rule ``op``; one that is deleted needs
            only its key to conform, one that says that all are gone nothing. The conformed batch then has the ops in a
            column more, and all of its columns may be null.
        keys: The columns that a deleted row must have.

    Raises:
        DataValidationError: A column that must not be null is missing, a wanted name comes twice, or the schema has no
            column at all to put rows into.
    """
    batch = rows.batch
    if not len(schema) and batch.num_rows:
        raise DataValidationError(
            f"rows came of a stream that had no columns; the rows have: {_listed(batch.schema.names)}",
            hint="give the stream a contract that names its columns",
        )
    if batch.schema.equals(schema):
        found_at: Sequence[int] = range(len(schema))
        missing: tuple[str, ...] = ()
        extra: list[str] = []
    else:
        found_at, missing, extra = _match(batch.schema, schema, ops, keys)
    columns: list[Array] = []
    faults: list[_Fault] = []
    forgiven: list[str] = []
    lost: dict[tuple[str, str], int] = {}
    if ops is not None and ops.unknown is not None:
        faults.append(_Fault(ops.column, "op", ops.unknown, ops.given, f"one of {', '.join(OPS)}"))
    for index, field in zip(found_at, schema, strict=True):
        if index < 0:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        at_fault: list[_Fault] = []
        column = _column(batch.column(index), field, at_fault, extra, lost)
        excused = ops.excused(of_key=field.name in keys) if ops is not None else None
        if excused is not None:
            column = _forgive(column, at_fault, excused, forgiven)
        columns.append(column)
        faults += at_fault
    conformed = pa.RecordBatch.from_arrays(columns, schema=schema)
    if ops is not None:
        conformed = with_ops(conformed, ops.values)
    bad: pa.BooleanArray | None = None
    for fault in faults:
        bad = either(bad, fault.bad)
    if bad is None:
        return Conformed(conformed, None, missing, tuple(extra), tuple(forgiven), lost)
    rejected = _rejected(rows, bad, faults)
    return Conformed(conformed.filter(pc.invert(bad)), rejected, missing, tuple(extra), tuple(forgiven), lost)


def _match(
    have: pa.Schema, want: pa.Schema, ops: RowOps | None, keys: Sequence[str]
) -> tuple[list[int], tuple[str, ...], list[str]]:
    at: dict[str, int] = {}
    twice = set()
    for index, name in enumerate(have.names):
        if at.setdefault(name, index) != index:
            twice.add(name)
    wanted = set(want.names)
    if twice & wanted:
        raise DataValidationError(
            f"column {', '.join(sorted(twice & wanted))} comes more than once; there are: {_listed(have.names)}",
            hint="rename the column in the source, so that each name is there once",
        )
    missing = [
        field
        for field in want
        if field.name not in at and not (ops is not None and ops.all_excused(of_key=field.name in keys))
    ]
    required = [field.name for field in missing if not field.nullable]
    if required:
        raise DataValidationError(
            f"required column {', '.join(required)} is missing; there are: {_listed(have.names)}",
            details={"missing": required, "columns": have.names[:1000]},
            hint="correct the name in the contract (names are case-sensitive), or drop `required` there",
        )
    known = wanted if ops is None else {*wanted, ops.column}
    extra = [name for name in dict.fromkeys(have.names) if name not in known]
    return [at.get(name, -1) for name in want.names], tuple(field.name for field in missing), extra


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:50]) or "no columns at all"
    return f"{shown} and {len(names) - 50} more" if len(names) > 50 else shown  # noqa: PLR2004  a screenful


def _column(
    array: Array, field: Field, faults: list[_Fault], extra: list[str], lost: dict[tuple[str, str], int]
) -> Array:
    """Give the column of the right type, and note what is wrong with it and what it lost."""
    original = array
    if array.type == field.type:
        wrong = beyond_type(array)
    else:
        extra += extra_fields(array.type, field.type, field.name)
        array, wrong = cast_lossless(array, field.type, as_json=is_json(field))
    if wrong is not None and (allowed := lossy(field)):
        array, wrong, given_up = give_up(original, array, wrong, allowed)
        lost |= {(field.name, way): count for way, count in given_up.items()}
    if wrong is not None:
        faults.append(_Fault(field.name, "type", wrong, original, str(field.type)))
    if not field.nullable and original.null_count:
        absent = found(pc.is_null(original))
        if absent is not None:
            faults.append(_Fault(field.name, "required", absent, original, "a value"))
    if pa.types.is_nested(field.type):
        inside = nested_nulls(array)
        if inside is not None:
            faults.append(_Fault(field.name, "required", inside, original, "a value in every required field inside"))
    return array


def _forgive(array: Array, faults: list[_Fault], excused: pa.BooleanArray, forgiven: list[str]) -> Array:
    """Put null in place of what does not fit in excused rows, and leave those rows out of the faults."""
    left = []
    for fault in faults:
        misfits = found(pc.and_(pc.and_(fault.bad, excused), pc.is_valid(fault.values)))
        if misfits is not None:
            forgiven.append(fault.column)
            array = null_where(array, found(pc.and_(misfits, pc.is_valid(array))))
        bad = found(pc.and_not(fault.bad, excused))
        if bad is not None:
            left.append(replace(fault, bad=bad))
    faults[:] = left
    return array


def _rejected(rows: Rows, bad: pa.BooleanArray, faults: Sequence[_Fault]) -> pa.RecordBatch:
    indices = pc.indices_nonzero(bad)
    first: dict[int, tuple[_Fault, str | None]] = {}
    columns_at_fault: dict[int, set[str]] = {}
    for fault in faults:
        at = pc.indices_nonzero(fault.bad)
        shown = json_texts(fault.values.take(at))
        for row, value in zip(at.to_pylist(), shown.to_pylist(), strict=True):
            first.setdefault(row, (fault, value))
            columns_at_fault.setdefault(row, set()).add(fault.column)
    lines = indices.to_pylist()
    return pa.RecordBatch.from_arrays(
        [
            pa.array([first[row][0].column for row in lines], pa.string()),
            pa.array([first[row][0].rule for row in lines], pa.string()),
            pa.array([_reason(*first[row], others=len(columns_at_fault[row]) - 1) for row in lines], pa.string()),
            pa.array(rows_json(rows.batch.take(indices)), pa.string()),
            pa.array([rows.source] * len(lines), pa.string()),
            _lines(rows, indices),
        ],
        schema=REJECTED_SCHEMA,
    )


def _lines(rows: Rows, indices: Array) -> Array:
    if rows.lines is not None:
        given: Array = pc.cast(rows.lines.take(indices), pa.int64())
        return given
    if rows.first_line is None:
        return pa.nulls(len(indices), pa.int64())
    counted: Array = pc.add(pc.cast(indices, pa.int64()), rows.first_line)
    return counted


def _reason(fault: _Fault, value: str | None, *, others: int) -> str:
    if value is None:
        text = f"null where {fault.expected} is required"
    elif fault.rule == "op":
        text = f"{_shortened(value)} is not {fault.expected}"
    elif fault.rule == "required":
        text = f"{_shortened(value)} lacks {fault.expected}"
    else:
        have, want = _shortened(str(fault.values.type)), _shortened(fault.expected)
        text = f"{_shortened(value)} ({have}) does not fit {want} without loss"
    if others:
        text += f"; and {others} more column{'s' if others > 1 else ''}"
    return text


def _shortened(value: str) -> str:
    return value if len(value) <= SHOWN_CHARACTERS else value[: SHOWN_CHARACTERS - 1] + "…"
