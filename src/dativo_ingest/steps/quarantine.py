"""Rejected rows as the quarantine table keeps them."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa

from dativo_plugin_sdk import REJECTED_SCHEMA

QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("loaded_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("stream", pa.string(), nullable=False),
        *REJECTED_SCHEMA,
    ]
)


def to_quarantine(rejected: pa.RecordBatch, *, stream: str, run_id: str, loaded_at: datetime) -> pa.RecordBatch:
    """Say of which run and stream rejected rows are; their own columns are not copied."""
    rows = rejected.num_rows
    return pa.RecordBatch.from_arrays(
        [
            pa.repeat(pa.scalar(run_id, pa.string()), rows),
            pa.repeat(pa.scalar(loaded_at, pa.timestamp("us", tz="UTC")), rows),
            pa.repeat(pa.scalar(stream, pa.string()), rows),
            *rejected.columns,
        ],
        schema=QUARANTINE_SCHEMA,
    )
