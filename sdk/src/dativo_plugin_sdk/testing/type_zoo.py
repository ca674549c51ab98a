"""Columns with the values that are hard to keep, type by type."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

_BIG = Decimal("9" * 28 + "." + "9" * 10)
_TEXTS = [
    *("", " ", "null", "NULL", "\\N", "'", '"', ",;\t|", "\r\n", "\\", "%s {0} ${x}"),
    *("Åsa", "日本語", "🧊👩‍👩‍👧", "e\u0301", "\u202eabc", "\ufeff", "x" * 100_000),
]


def _integers(*types: pa.DataType) -> dict[str, pa.Array[Any]]:
    found: dict[str, pa.Array[Any]] = {}
    for data_type in types:
        bits, signed = data_type.bit_width, str(data_type).startswith("int")
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        found[str(data_type)] = pa.array([low, high, 0, 1, None], data_type)
    return found


def _floats(data_type: pa.DataType, least: float, most: float) -> dict[str, pa.Array[Any]]:
    values = [0.0, -0.0, 1.5, least, most, -most, float("nan"), float("inf"), float("-inf"), None]
    return {str(data_type): pa.array(values, data_type)}


_COLUMNS: dict[str, Callable[[], dict[str, pa.Array[Any]]]] = {
    "boolean": lambda: {"flag": pa.array([True, False, None])},
    "integer": lambda: _integers(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
    "unsigned": lambda: _integers(pa.uint8(), pa.uint16(), pa.uint32()),
    "uint64": lambda: _integers(pa.uint64()),
    "float32": lambda: _floats(pa.float32(), 2.0**-149, (2 - 2.0**-23) * 2.0**127),
    "float64": lambda: _floats(pa.float64(), 5e-324, 1.7976931348623157e308),
    "decimal": lambda: {
        "wide": pa.array([_BIG, _BIG.copy_negate(), Decimal(0), Decimal("1e-10"), None], pa.decimal128(38, 10)),
        "money": pa.array([Decimal("999.99"), Decimal("-999.99"), Decimal("0.10"), None], pa.decimal128(5, 2)),
    },
    "string": lambda: {"text": pa.array([*_TEXTS, None], pa.string())},
    "binary": lambda: {"bytes": pa.array([b"", b"\x00", bytes(range(256)), b"\xff\xfe", None], pa.binary())},
    "date": lambda: {"day": pa.array([date(1, 1, 1), date(1970, 1, 1), date(1969, 12, 31), date(9999, 12, 31), None])},
    "time": lambda: {"at": pa.array([time(0), time(23, 59, 59, 999_999), time(12, 0, 0, 1), None], pa.time64("us"))},
    "timestamp": lambda: {
        "at": pa.array(
            [datetime(1, 1, 1), datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(9999, 12, 31, 23, 59), None],  # noqa: DTZ001  of no zone, on purpose
            pa.timestamp("us"),
        )
    },
    "timestamp_utc": lambda: {
        "at": pa.array(
            [datetime(1900, 1, 1, tzinfo=UTC), datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC), None],
            pa.timestamp("us", tz="UTC"),
        )
    },
    "list": lambda: {"items": pa.array([[], [1, None, 3], None], pa.list_(pa.field("item", pa.int64())))},
    "struct": lambda: {
        "inner": pa.array(
            [{"a": 1, "b": "x"}, {"a": None, "b": None}, None], pa.struct([("a", pa.int64()), ("b", pa.string())])
        )
    },
}
"""Columns by the kind that a check is about; columns of one kind may be of different lengths."""

KINDS = tuple(_COLUMNS)


def zoo_batch(kind: str) -> pa.RecordBatch:
    """Give a batch of one kind's columns, which ``id`` numbers; shorter columns end with nulls."""
    columns = _COLUMNS[kind]()
    rows = max(map(len, columns.values()))
    filled: dict[str, Any] = {"id": pa.array(range(rows), pa.int64())}
    for name, column in columns.items():
        filled[name] = pa.concat_arrays([column, pa.nulls(rows - len(column), column.type)])
    return pa.record_batch(filled)


def as_written(found: pa.Table | Any, schema: pa.Schema) -> list[dict[str, Any]]:
    """Give rows that were read back as values of the types that were written, in the order of ``id``.

    Raises:
        pa.ArrowException: A value has no form as the type.
    """
    table = found if isinstance(found, pa.Table) else _table_of(found, schema)
    columns = {field.name: _cast(table.column(field.name), field.type) for field in schema}
    rows = pa.table(columns).to_pylist()
    return sorted(rows, key=lambda row: row["id"])


def _table_of(rows: Any, schema: pa.Schema) -> pa.Table:
    columns: dict[str, Any] = {}
    for field in schema:
        values = [row.get(field.name) for row in rows]
        is_text = any(isinstance(value, str) for value in values) and not pa.types.is_string(field.type)
        if is_text and pa.types.is_time(field.type):  # Arrow reads no times
            values, is_text = [None if value is None else time.fromisoformat(value) for value in values], False
        columns[field.name] = pa.array(values, pa.string() if is_text else field.type)
    return pa.table(columns)


def _cast(column: pa.ChunkedArray[Any], data_type: pa.DataType) -> pa.ChunkedArray[Any]:
    return column if column.type == data_type else column.cast(data_type)
