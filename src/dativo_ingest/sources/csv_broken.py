"""Blocks with bytes that are no UTF-8: parsed as Latin-1, which gives every byte a character, and turned back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dativo_ingest.sources.csv_malformed import MalformedRecords

_TAKEN_ROWS = 4096
_SHOWN_BYTES = 40


def as_latin(data: bytes) -> bytes:
    """Give any bytes as UTF-8 text in which ASCII is where it was; `as_before` turns it back."""
    return data.decode("latin-1").encode()


def as_before(text: str) -> str:
    """Give text that went through `as_latin` as UTF-8 says it, with replacement characters where it says nothing."""
    return text.encode("latin-1").decode(errors="replace")


def is_utf8(data: bytes) -> bool:
    """Say whether bytes are text in UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def restored(
    batch: pa.RecordBatch, kinds: Mapping[str, pa.DataType], lines: pa.Array[Any], malformed: MalformedRecords
) -> tuple[pa.RecordBatch, pa.Array[Any]]:
    """Turn the cells of a batch back; rows with text that is no UTF-8 become malformed.

    Args:
        batch: All cells as text that went through `as_latin`.
        kinds: What the columns are to become; those of bytes do so here.
        lines: Each row's line.
        malformed: Takes the rows at fault.

    Returns:
        The rows that are left, and their lines.
    """
    columns: list[pa.Array[Any]] = []
    at_fault: dict[int, tuple[str, str]] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        kind = kinds[name]
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raw = [None if cell is None else cell.encode("latin-1") for cell in column.to_pylist()]
            columns.append(pa.array(raw, kind))
        elif pc.all(pc.string_is_ascii(column)).as_py() is not False:
            columns.append(column)
        else:
            columns.append(_decoded(column, name, at_fault))
    batch = pa.record_batch(columns, names=batch.schema.names)
    wrong = sorted(at_fault)
    for start in range(0, len(wrong), _TAKEN_ROWS):
        some = wrong[start : start + _TAKEN_ROWS]
        taken = pa.array(some, pa.int64())
        places: list[Any] = lines.take(taken).to_pylist()
        for number, line, row in zip(some, places, batch.take(taken).to_pylist(), strict=True):
            reason, column_name = at_fault[number]
            malformed.add(line, reason, row, column_name)
    good = pa.array([number for number in range(batch.num_rows) if number not in at_fault], pa.int64())
    return batch.take(good), lines.take(good)


def _decoded(column: pa.Array[Any], name: str, at_fault: dict[int, tuple[str, str]]) -> pa.Array[Any]:
    cells = column.to_pylist()
    for number, cell in enumerate(cells):
        if cell is None or cell.isascii():
            continue
        octets = cell.encode("latin-1")
        cells[number] = octets.decode(errors="replace")
        if number not in at_fault and not is_utf8(octets):
            at_fault[number] = (f"bytes that are not UTF-8: {octets[:_SHOWN_BYTES]!r}", name)
    return pa.array(cells, pa.string())
