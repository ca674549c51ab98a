"""Record batches into one Parquet file, in row groups as large as those that Dativo writes of such rows."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 250_000


def write(batches: Iterable[pa.RecordBatch], target: str) -> None:
    """Write them with zstd."""
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        writer = writer or pq.ParquetWriter(target, batch.schema, compression="zstd")
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= ROW_GROUP_ROWS:
            writer.write_table(pa.Table.from_batches(waiting), row_group_size=rows)
            waiting, rows = [], 0
    if writer is not None:
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting), row_group_size=rows)
        writer.close()
