"""The floor: pyarrow's Parquet reader into its writer, batch by batch. bare_parquet.py SOURCE TARGET."""

from __future__ import annotations

import sys

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS, ROW_GROUP = 100_000, 1_000_000


def main(source: str, target: str) -> None:
    """Copy one file, holding at most a row group."""
    file = pq.ParquetFile(source)
    waiting: list[pa.RecordBatch] = []
    rows = 0
    with pq.ParquetWriter(target, file.schema_arrow, compression="zstd", compression_level=1) as writer:
        for batch in file.iter_batches(BATCH_ROWS):
            waiting.append(batch)
            rows += batch.num_rows
            if rows >= ROW_GROUP:
                writer.write_table(pa.Table.from_batches(waiting), row_group_size=rows)
                waiting, rows = [], 0
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting), row_group_size=rows)


main(*sys.argv[1:])
