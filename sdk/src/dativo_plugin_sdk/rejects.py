"""Rows that could not be taken, in the shape in which they reach the quarantine table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

_FIELDS: list[pa.Field[Any]] = [
    pa.field("column", pa.string()),
    pa.field("rule", pa.string(), nullable=False),
    pa.field("reason", pa.string(), nullable=False),
    pa.field("row", pa.string(), nullable=False),
    pa.field("source", pa.string()),
    pa.field("line", pa.int64()),
]
REJECTED_SCHEMA = pa.schema(_FIELDS)
"""``column`` at fault (null: the row as a whole), ``rule`` broken (``type``, ``required``, ``malformed``, ...), a
``reason`` for people, the original ``row`` as JSON (a malformed line as a JSON string), ``source`` (a file or page)
and ``line`` (from 1) where known."""


def rejected(rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """Build a batch of rejected rows; a missing key is null."""
    return pa.RecordBatch.from_pylist([dict(row) for row in rows], schema=REJECTED_SCHEMA)


def row_json(row: object) -> str:
    """Write one original row as JSON: unicode kept, what JSON has no form for as text."""
    text = json.dumps(row, ensure_ascii=False, default=str)
    return text.encode(errors="backslashreplace").decode()  # a lone surrogate becomes the escape that JSON has for it
