"""Batches cut to what one message may be."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from dativo_plugin_sdk.errors import DataError
from dativo_plugin_sdk.protocol.arrow_stream import Limits

_LINE_BYTES = 16
"""What the column of lines adds to each row, at most."""


def fitting(
    batch: pa.RecordBatch, limits: Limits, *, batch_bytes: int | None = None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Give parts of a batch that may be sent, each with the number of its first row; no buffer is copied.

    Args:
        batch: Any batch.
        limits: What a message may be.
        batch_bytes: What a part should be at most, where it has more rows than one.

    Raises:
        DataError: A single row is larger than a message may be.
    """
    waiting = [(0, batch)]
    while waiting:
        start, part = waiting.pop()
        part_bytes = pa.ipc.get_record_batch_size(part)
        most_bytes = part_bytes + _LINE_BYTES * part.num_rows
        values = part.num_rows * part.num_columns
        may_be = (
            part.num_rows <= limits.rows and most_bytes <= limits.body_bytes and values <= limits.values_without_bytes
        )
        if part.num_rows > 1 and not (may_be and part_bytes <= (batch_bytes or part_bytes)):
            half = part.num_rows // 2
            waiting += [(start + half, part.slice(half)), (start, part.slice(0, half))]
        elif may_be:
            yield start, part
        else:
            raise DataError(
                f"a row of {part_bytes} bytes is larger than a plugin may give, {limits.body_bytes}",
                details={"row_bytes": part_bytes, "body_bytes": limits.body_bytes},
            )
