"""Batches of about the same number of bytes, whatever the source gives.

Bytes are counted by ``nbytes``, which counts a slice as what it shows and not as the buffers it shares.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa


def split(batch: pa.RecordBatch, max_bytes: int) -> Iterator[pa.RecordBatch]:
    """Cut a batch until each part takes at most ``max_bytes``, or is a single row that takes more.

    No buffer is copied: the parts share the batch's memory.

    Yields:
        Parts of 1 row or more, in order; nothing where the batch is empty.
    """
    if batch.num_rows == 0:
        return
    if batch.num_rows == 1 or batch.nbytes <= max_bytes:
        yield batch
        return
    half = batch.num_rows // 2
    yield from split(batch.slice(0, half), max_bytes)
    yield from split(batch.slice(half), max_bytes)


class Merger:
    """Puts small batches together until they reach ``target_bytes``; large ones pass through.

    The schema must stay the same. A batch of at least half the target with nothing waiting is not copied.
    """

    def __init__(self, target_bytes: int) -> None:
        self._target_bytes = target_bytes
        self._waiting: list[pa.RecordBatch] = []
        self.waiting_bytes = 0

    def takes(self, batch: pa.RecordBatch) -> bool:
        """Say whether nothing waits that has another schema."""
        return not self._waiting or self._waiting[0].schema.equals(batch.schema)

    def push(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """Take a batch; give one back when there is enough."""
        if batch.num_rows == 0:
            return None
        if not self._waiting and batch.nbytes * 2 >= self._target_bytes:
            return batch
        self._waiting.append(batch)
        self.waiting_bytes += batch.nbytes
        return self.flush() if self.waiting_bytes >= self._target_bytes else None

    def flush(self) -> pa.RecordBatch | None:
        """Give what waits as one batch, None where nothing does."""
        if not self._waiting:
            return None
        waiting, self._waiting, self.waiting_bytes = self._waiting, [], 0
        return waiting[0] if len(waiting) == 1 else pa.concat_batches(waiting)  # type: ignore[attr-defined]  # missing in the stubs
