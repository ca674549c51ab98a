"""A batch of every Arrow type that passes between processes, with the values that are hard to keep, and nulls."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa

from dativo_plugin_sdk.testing.type_zoo import KINDS, zoo_batch

_TEXTS = ["", "é€😀\x00\n", None]
_OCTETS = [b"", b"\x00\xff", None]


def plain_zoo() -> pa.RecordBatch:
    """Make the columns that every connector knows."""
    return _beside({f"{kind} {name}": column for kind in KINDS for name, column in _columns_of(kind).items()})


def zoo() -> pa.RecordBatch:
    """Make all of them."""
    plain = plain_zoo()
    return _beside({**dict(zip(plain.schema.names, plain.columns, strict=True)), **_rare()})


def _columns_of(kind: str) -> dict[str, pa.Array[Any]]:
    batch = zoo_batch(kind)
    return dict(zip(batch.schema.names[1:], batch.columns[1:], strict=True))


def _beside(columns: dict[str, pa.Array[Any]]) -> pa.RecordBatch:
    rows = max(map(len, columns.values()))
    filled = [pa.concat_arrays([column, pa.nulls(rows - len(column), column.type)]) for column in columns.values()]
    return pa.RecordBatch.from_arrays(filled, names=list(columns))


def _rare() -> dict[str, pa.Array[Any]]:
    columns: dict[str, tuple[Any, list[Any]]] = {
        "nothing": (pa.null(), [None, None, None]),
        "float16": (pa.float16(), [1.5, -0.0, None]),
        "decimal256": (pa.decimal256(76, 0), [Decimal("9" * 76), Decimal("-" + "9" * 76), None]),
        "date64": (pa.date64(), [-86400000, 86400000, None]),
        "time32_s": (pa.time32("s"), [0, 86399, None]),
        "time32_ms": (pa.time32("ms"), [0, 86399999, None]),
        "time64_ns": (pa.time64("ns"), [0, 86399999999999, None]),
        "large_string": (pa.large_string(), _TEXTS),
        "large_binary": (pa.large_binary(), _OCTETS),
        "fixed_binary": (pa.binary(2), [b"ab", b"\x00\xff", None]),
        "large_list": (pa.large_list(pa.string()), [["a", None], [], None]),
        "fixed_list": (pa.list_(pa.int8(), 2), [[1, 2], [None, 3], None]),
        "nested": (pa.struct({"a": pa.list_(pa.struct({"b": pa.string()}))}), [{"a": [{"b": "x"}, None]}, {}, None]),
        "map": (pa.map_(pa.string(), pa.int64()), [[("a", 1), ("b", None)], [], None]),
    }
    for unit in ("s", "ms", "us", "ns"):
        columns[f"timestamp_{unit}"] = (pa.timestamp(unit), [-1, 1_000_000_001, None])
        columns[f"instant_{unit}"] = (pa.timestamp(unit, "Europe/Berlin"), [-1, 1_000_000_001, None])
        columns[f"duration_{unit}"] = (pa.duration(unit), [-1, 1_000_000_001, None])
    return {name: pa.array(values, kind) for name, (kind, values) in columns.items()}
