"""Parquet files: row group by row group, only the columns asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from dativo_ingest.sources.file_config import FileOptions
from dativo_ingest.sources.file_opening import OpenedFile
from dativo_ingest.sources.file_reader import FileReader
from dativo_ingest.sources.self_describing import plain_schema, project, reading, rows_of
from dativo_plugin_sdk import DataFormatError, Message, Rows, StreamSpec

_FORMAT = "a whole Parquet file"
_BUFFERS_BYTES = 32 * 2**20  # for reading, shared by the columns
_BUFFER_BYTES = range(64 * 2**10, 2**20 + 1)
_READ_AHEAD_BYTES = 64 * 2**20  # the largest row group that is fetched from S3 as a whole
_PROBED_ROWS = 256
_MAX_ROWS = 128 * 2**10


class ParquetOptions(FileOptions):
    """How Parquet files are read: their schema is their own."""


class ParquetReader(FileReader[ParquetOptions]):
    """Reads Parquet files; columns and types are what the footer says."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".parq", ".pq")
    options_model: ClassVar[type[FileOptions]] = ParquetOptions
    declares_types: ClassVar[bool] = True

    def infer_schema(self, file: OpenedFile, options: ParquetOptions) -> pa.Schema:  # noqa: ARG002
        """Read the schema from the footer."""
        with reading(file, _FORMAT), pq.ParquetFile(file.seekable()) as parquet:
            return plain_schema(parquet.schema_arrow)

    def read_file(self, file: OpenedFile, stream: StreamSpec, options: ParquetOptions) -> Iterator[Message]:
        """Read one file in batches of about ``stream.batch_bytes``."""
        with reading(file, _FORMAT):
            metadata = pq.read_metadata(file.seekable())
            found = plain_schema(metadata.schema.to_arrow_schema())
        columns, extra = project(found, stream.schema, file.name)
        yield from self.note_extra_columns(file, extra, options)
        rows = 0
        with reading(file, _FORMAT), _open(file, metadata, columns) as parquet:
            for number in range(parquet.num_row_groups):
                for batch in _batches(parquet, number, columns, stream):
                    rows += batch.num_rows
                    yield Rows(batch, source=file.name, source_bytes=_share(metadata.row_group(number), batch))
        if rows != metadata.num_rows:
            raise DataFormatError(
                f"{file.name}: the footer says {metadata.num_rows} rows, {rows} are there",
                details={"path": file.name},
                hint="write or copy it again",
            )


def _open(file: OpenedFile, metadata: pq.FileMetaData, columns: Sequence[str]) -> pq.ParquetFile:
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    largest = max((_packed_bytes(group) for group in groups), default=0)
    is_fetched_whole = file.name.startswith("s3://") and largest <= _READ_AHEAD_BYTES
    buffer_bytes = max(_BUFFER_BYTES.start, min(_BUFFERS_BYTES // max(1, len(columns)), _BUFFER_BYTES[-1]))
    return pq.ParquetFile(
        file.seekable(),
        metadata=metadata,
        pre_buffer=is_fetched_whole,
        buffer_size=0 if is_fetched_whole else buffer_bytes,
        page_checksum_verification=True,
    )


def _batches(
    parquet: pq.ParquetFile, number: int, columns: Sequence[str], stream: StreamSpec
) -> Iterator[pa.RecordBatch]:
    """Read a row group.

    What the footer says of its size leaves out how much dictionaries spread, so a few rows are looked at first.
    """
    group = parquet.metadata.row_group(number)
    if not group.num_rows:
        return
    reading: dict[str, Any] = {
        "row_groups": [number],
        "columns": list(columns),
        "use_threads": stream.parallelism > 1,
    }
    probe = next(parquet.iter_batches(batch_size=_PROBED_ROWS, **reading), None)
    if probe is None:
        return
    if group.num_rows > _PROBED_ROWS:
        row_bytes = max(probe.nbytes / probe.num_rows, _unpacked_bytes(group, columns) / group.num_rows)
        batches = parquet.iter_batches(batch_size=rows_of(stream.batch_bytes, row_bytes, _MAX_ROWS), **reading)
    else:
        batches = iter([probe])
    for batch in batches:
        batch.validate(full=True)  # text that is no UTF-8 is not looked at by the reader
        yield batch.select(columns) if batch.schema.names != columns else batch


def _unpacked_bytes(group: pq.RowGroupMetaData, columns: Sequence[str]) -> int:
    wanted = set(columns)
    chunks = (group.column(number) for number in range(group.num_columns))
    return sum(
        chunk.total_uncompressed_size
        for chunk in chunks
        if chunk.path_in_schema in wanted or chunk.path_in_schema.partition(".")[0] in wanted
    )


def _packed_bytes(group: pq.RowGroupMetaData) -> int:
    return sum(group.column(number).total_compressed_size for number in range(group.num_columns))


def _share(group: pq.RowGroupMetaData, batch: pa.RecordBatch) -> int:
    """Give a batch's part of its row group's bytes, those of columns that are not read too."""
    return _packed_bytes(group) * batch.num_rows // group.num_rows
