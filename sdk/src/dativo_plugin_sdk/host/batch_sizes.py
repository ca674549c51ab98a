"""Batches cut to what one message may be."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from dativo_plugin_sdk.errors import DataError
from dativo_plugin_sdk.protocol.arrow_stream import Limits

_LINE_BYTES = 16
"""What the column of lines adds to each row, at most."""


def fitting(batch: pa.RecordBatch, limits: Limits) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Give parts of a batch that may be sent, each with the number of its first row; no buffer is copied.

    Raises:
        DataError: A single row is larger than a message may be.
    """
    waiting = [(0, batch)]
    while waiting:
        start, part = waiting.pop()
        size_bytes = pa.ipc.get_record_batch_size(part) + _LINE_BYTES * part.num_rows
        if part.num_rows <= limits.rows and size_bytes <= limits.body_bytes:
            yield start, part
        elif part.num_rows > 1:
            half = part.num_rows // 2
            waiting += [(start + half, part.slice(half)), (start, part.slice(0, half))]
        else:
            raise DataError(
                f"a row of {size_bytes} bytes is larger than a plugin may give, {limits.body_bytes}",
                details={"row_bytes": size_bytes, "body_bytes": limits.body_bytes},
            )
