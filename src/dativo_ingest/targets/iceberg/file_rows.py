"""The rows of a data file in the columns that its table has now, one row group in memory at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import _get_column_projection_values, _to_requested_schema, pyarrow_to_schema
from pyiceberg.schema import prune_columns

from dativo_ingest.targets.iceberg.failures import translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile
    from pyiceberg.table.metadata import TableMetadata

_BATCH_BYTES = 8 * 2**20
_MOST_ROWS = 131_072


def file_rows(io: FileIO, file: DataFile, metadata: TableMetadata) -> Iterator[pa.RecordBatch]:
    """Read all rows of a Parquet data file in their order, deleted or not.

    Columns that are younger than the file are null, or have the value of their partition; types that were widened
    since are the table's.
    """
    schema = metadata.schema()
    with translated(f"reading {file.file_path}"), io.new_input(file.file_path).open() as stream:
        source: Any = stream
        parquet = pq.ParquetFile(source, pre_buffer=True)
        to_microseconds = metadata.format_version <= 2  # noqa: PLR2004  nanoseconds came with the third
        stored = pyarrow_to_schema(
            parquet.schema_arrow, metadata.name_mapping(), to_microseconds, metadata.format_version
        )
        wanted = prune_columns(stored, schema.field_ids, select_full_types=False)
        constants = _get_column_projection_values(
            file, schema, schema, metadata.specs().get(file.spec_id), stored.field_ids
        )
        for number in range(parquet.num_row_groups):
            size = parquet.metadata.row_group(number)
            rows = min(_MOST_ROWS, max(1, _BATCH_BYTES * size.num_rows // max(1, size.total_byte_size)))
            for batch in parquet.iter_batches(rows, row_groups=[number]):
                yield _to_requested_schema(
                    schema,
                    wanted,
                    batch.select([column.name for column in wanted.columns]),
                    downcast_ns_timestamp_to_us=to_microseconds,
                    projected_missing_fields=constants,
                    allow_timestamp_tz_mismatch=True,
                )
