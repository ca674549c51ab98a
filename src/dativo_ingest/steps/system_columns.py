"""The columns that Dativo adds to what the source has, where a job asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa

from dativo_ingest.steps.arrow import Field, constant

LOADED_AT: Field = pa.field("_dativo_loaded_at", pa.timestamp("us", tz="UTC"), nullable=False)
RUN_ID: Field = pa.field("_dativo_run_id", pa.string(), nullable=False)
_FIELDS: dict[str, Field] = {"loaded_at": LOADED_AT, "run_id": RUN_ID}


def with_system_fields(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """Add the fields that a job's ``system_columns`` names (``loaded_at``, ``run_id``), in that order, at the end.

    A field of that name that the schema has already is left where it is.
    """
    for name in names:
        if schema.get_field_index(_FIELDS[name].name) < 0:
            schema = schema.append(_FIELDS[name])
    return schema


def add_system_columns(
    batch: pa.RecordBatch, names: Sequence[str], *, loaded_at: datetime, run_id: str
) -> pa.RecordBatch:
    """Add the columns of `with_system_fields`, the same value in every row; the others are not copied."""
    schema = with_system_fields(batch.schema, names)
    values = {LOADED_AT.name: pa.scalar(loaded_at, LOADED_AT.type), RUN_ID.name: pa.scalar(run_id, RUN_ID.type)}
    added = [constant(values[field.name], batch.num_rows) for field in list(schema)[batch.num_columns :]]
    return pa.RecordBatch.from_arrays([*batch.columns, *added], schema=schema)
