"""How the data files of a table are written: its layout, its properties and a run's options, brought together."""

from __future__ import annotations

import uuid
from itertools import count
from typing import TYPE_CHECKING

from pyiceberg.table.locations import load_location_provider

from dativo_ingest.targets.iceberg.config import STREAM_BUFFER
from dativo_ingest.targets.iceberg.data_files import DataFiles
from dativo_ingest.targets.iceberg.file_schema import FileSchema
from dativo_ingest.targets.iceberg.grouping import OnePartition, Partitioner
from dativo_ingest.targets.iceberg.parquet_file import FileFormatOptions
from dativo_ingest.targets.iceberg.sorting import Sorter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa
    from pyiceberg.io import FileIO
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table.metadata import TableMetadata

    from dativo_ingest.targets.iceberg.config import IcebergOptions
    from dativo_ingest.targets.iceberg.grouping import PartitionValues
    from dativo_ingest.targets.iceberg.merge_keys import KeyLog

COMPRESSION = "write.parquet.compression-codec"
TARGET_FILE_BYTES = "write.target-file-size-bytes"
_MIB = 2**20
DEFAULT_TARGET_FILE_MB = 256
_STREAM_BYTES = int(STREAM_BUFFER["buffer-size"])
_UPLOAD_BYTES = 6 * _MIB
"""The part of an upload that is being filled: it grows to 10 MiB, then goes."""


def layout_properties(options: IcebergOptions) -> dict[str, str]:
    """Give the properties that tell a new table's other writers what this one was told."""
    compression = options.compression or "zstd"
    return {
        COMPRESSION: "uncompressed" if compression == "none" else compression,
        TARGET_FILE_BYTES: str((options.target_file_mb or DEFAULT_TARGET_FILE_MB) * _MIB),
    }


def format_options(metadata: TableMetadata, options: IcebergOptions) -> FileFormatOptions:
    """Say how files of a table are written; what a job says goes before what the table says."""
    order = metadata.sort_order_by_id(metadata.default_sort_order_id)
    sorts = order is not None and Sorter.can_sort(order)
    return FileFormatOptions(
        schema=metadata.schema(),
        spec_id=metadata.default_spec_id,
        properties=dict(metadata.properties),
        compression=options.compression or metadata.properties.get(COMPRESSION, "zstd"),
        sort_order_id=metadata.default_sort_order_id if sorts else None,
    )


def namer(metadata: TableMetadata, run_id: str, suffix: str = ".parquet") -> Callable[[str], str]:
    """Give what makes up the location of the next file in a partition's folder."""
    locations = load_location_provider(metadata.location, metadata.properties)
    numbers = count()

    def name(folder: str) -> str:
        file = f"{run_id}-{next(numbers):05d}-{uuid.uuid4()}{suffix}"
        return locations.new_data_location(f"{folder}/{file}" if folder else file)

    return name


def open_files(  # noqa: PLR0913  what a table's files depend on
    metadata: TableMetadata,
    io: FileIO,
    incoming: pa.Schema,
    options: IcebergOptions,
    *,
    run_id: str,
    buffer_bytes: int,
    log: KeyLog | None = None,
    partition: PartitionValues | None = None,
    target_bytes: int | None = None,
) -> DataFiles:
    """Make ready to write rows of the schema ``incoming`` into files of a table.

    Args:
        metadata: The table, with the schema it will have when the files are committed.
        io: Where its files go.
        incoming: The schema of the rows.
        options: What the job says.
        run_id: Begins the names of the files.
        buffer_bytes: How much Arrow data may wait to be written.
        log: Takes note of the rows' keys and places.
        partition: The one that all rows are known to belong to; None where they have to be told apart.
        target_bytes: About how large a file gets; None takes what the job or the table says.
    """
    schema, spec = metadata.schema(), metadata.spec()
    order = metadata.sort_order_by_id(metadata.default_sort_order_id)
    return DataFiles(
        io=io,
        name=namer(metadata, run_id),
        shape=FileSchema.of(incoming, schema),
        options=format_options(metadata, options),
        partitioner=_partitioner(spec, schema, partition),
        sort=Sorter(order, schema) if order is not None and Sorter.can_sort(order) else None,
        buffer_bytes=buffer_bytes,
        target_bytes=target_bytes or target_file_bytes(metadata.properties, options),
        stream_bytes=_STREAM_BYTES if metadata.location.startswith(("file:", "/")) else _UPLOAD_BYTES,
        log=log,
    )


def _partitioner(spec: PartitionSpec, schema: Schema, partition: PartitionValues | None) -> Partitioner | None:
    if spec.is_unpartitioned():
        return None
    return Partitioner(spec, schema) if partition is None else OnePartition(spec, schema, partition)


def target_file_bytes(properties: Mapping[str, str], options: IcebergOptions) -> int:
    """Say about how large a data file of a table gets; what a job says goes before what the table says."""
    if options.target_file_mb is not None:
        return options.target_file_mb * _MIB
    return int(properties.get(TARGET_FILE_BYTES, DEFAULT_TARGET_FILE_MB * _MIB))
