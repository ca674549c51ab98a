"""Numerics over ADBC's Postgres driver, which gives them as text: whole hundredths instead, and decimals of those."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np
import pyarrow as pa

BATCH_BYTES = 16 * 2**20


def hundredths(name: str) -> str:
    """Ask for a numeric(15,2) as a whole number."""
    return f"({name} * 100)::int8 AS {name}"


def as_hundredths(query: str, table: str, names: Collection[str]) -> str:
    """Ask for whole numbers in place of columns of ``table`` in a SELECT."""
    head, from_, rest = query.partition("FROM")
    for name in names:
        head = re.sub(rf"(?:\w+\.)*{table}\.{name}\b", hundredths(name), head)
    return head + from_ + rest


def as_decimals(batch: pa.RecordBatch, names: Collection[str]) -> pa.RecordBatch:
    """Take whole numbers for hundredths."""
    columns = [
        _as_decimal(column) if name in names else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _as_decimal(numbers: pa.Array) -> pa.Array:
    """Widen numbers without nulls to the 16 bytes of a decimal."""
    values = numbers.to_numpy()
    wide = np.empty((len(values), 2), dtype="<i8")
    wide[:, 0] = values
    wide[:, 1] = values >> 63
    return pa.Array.from_buffers(pa.decimal128(15, 2), len(values), [None, pa.py_buffer(wide)])
