"""Numerics over ADBC's Postgres driver, which gives them as text: as whole hundredths instead, and decimals made of those."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np
import pyarrow as pa


def as_whole_numbers(query: str, table: str, names: Collection[str]) -> str:
    """Ask for hundredths in place of columns of ``table``."""
    head, from_, rest = query.partition("FROM")
    for name in names:
        head = re.sub(rf"(?:\w+\.)*{table}\.{name}\b", f"({name} * 100)::int8 AS {name}", head)
    return head + from_ + rest


def as_decimals(batch: pa.RecordBatch, names: Collection[str]) -> pa.RecordBatch:
    """Take hundredths for decimal(15,2)."""
    columns = [
        _as_decimal(column) if name in names else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _as_decimal(hundredths: pa.Array) -> pa.Array:
    """Widen numbers without nulls to the 16 bytes of a decimal."""
    values = hundredths.to_numpy()
    wide = np.empty((len(values), 2), dtype="<i8")
    wide[:, 0] = values
    wide[:, 1] = values >> 63
    return pa.Array.from_buffers(pa.decimal128(15, 2), len(values), [None, pa.py_buffer(wide)])
