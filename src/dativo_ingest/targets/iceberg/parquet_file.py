"""One Parquet data file, from its first row group to the entry it gets in a manifest."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    DataFileStatistics,
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.typedef import Record

from dativo_ingest.targets.iceberg.failures import translated
from dativo_ingest.targets.iceberg.far_bounds import PlainBounds
from dativo_plugin_sdk import DataValidationError

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.schema import Schema

_PAGE_BYTES = 2**20
_CODECS = {"none": "none", "uncompressed": "none", "lz4": "lz4", "zstd": "zstd", "gzip": "gzip", "snappy": "snappy"}


@dataclass(frozen=True)
class FileFormatOptions:
    """How every data file of a table is written."""

    schema: Schema
    spec_id: int
    properties: Mapping[str, str]
    compression: str
    sort_order_id: int | None

    @property
    def codec(self) -> Any:
        """The codec by pyarrow's name."""
        return _CODECS.get(self.compression, self.compression)

    @cached_property
    def statistics(self) -> dict[int, Any]:
        """Which statistics of which columns go into manifests."""
        return compute_statistics_plan(self.schema, dict(self.properties))

    @cached_property
    def column_ids(self) -> dict[str, int]:
        """The ids of columns by their paths in Parquet."""
        return parquet_path_to_id_mapping(self.schema)


def data_file(  # noqa: PLR0913  the parts of a manifest entry
    metadata: pq.FileMetaData,
    options: FileFormatOptions,
    *,
    path: str,
    size_bytes: int,
    partition: tuple[Any, ...] = (),
    sorted_: bool = False,
) -> DataFile:
    """Describe a written Parquet file as a manifest does, with the statistics of its footer."""
    try:
        statistics = _statistics(metadata, options)
    except OverflowError:  # dates that Python has none for
        statistics = _statistics(PlainBounds(metadata), options)
    described = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(*partition),
        file_size_in_bytes=size_bytes,
        sort_order_id=options.sort_order_id if sorted_ else None,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )
    described.spec_id = options.spec_id
    return described


def _statistics(metadata: Any, options: FileFormatOptions) -> DataFileStatistics:
    return data_file_statistics_from_parquet_metadata(
        parquet_metadata=metadata,
        stats_columns=options.statistics,
        parquet_column_mapping=options.column_ids,
    )


class ParquetFile:
    """A data file that is being written.

    ``size_bytes`` is what has gone to its stream so far, ``held_bytes`` about what its writer holds in memory.

    Args:
        io: Where it goes.
        path: Its full location.
        arrow_schema: The schema of its row groups, with field ids.
        options: How it is written.
        partition: The partition that all of its rows belong to.
        dictionaries: Paths of the columns that are written with dictionaries.
    """

    def __init__(  # noqa: PLR0913  what a file consists of
        self,
        io: FileIO,
        path: str,
        arrow_schema: pa.Schema,
        options: FileFormatOptions,
        partition: tuple[Any, ...],
        *,
        dictionaries: Sequence[str],
    ) -> None:
        self.path = path
        self.size_bytes = 0
        self.held_bytes = 0
        self._options = options
        self._partition = partition
        self._row_groups = 0
        with translated(f"creating {path}"):
            # The name is new, so there is no need to ask first whether it is taken.
            stream: Any = io.new_output(path).create(overwrite=True)
            self._stream = stream
        with translated(f"writing {path}"):
            self._writer = pq.ParquetWriter(
                stream,
                arrow_schema,
                compression=options.codec,
                use_dictionary=list(dictionaries),  # type: ignore[arg-type]  # the stubs lack the list
                store_decimal_as_integer=True,  # Iceberg spec, Appendix A: decimals of up to 18 digits are integers
                write_page_index=False,
            )

    def write(self, table: pa.Table) -> None:
        """Write one row group."""
        with translated(f"writing {self.path}"):
            try:
                self._writer.write_table(table, row_group_size=max(1, table.num_rows))
            except pa.ArrowInvalid as error:
                raise DataValidationError(
                    f"rows cannot be written to {self.path}: {error}",
                    hint="look for nulls in columns that the contract marks as required",
                ) from error
            self.size_bytes = self._stream.tell()
        # The writer keeps the page buffers of its last row group until the next one, or until it is closed.
        self.held_bytes = min(table.nbytes, table.num_columns * _PAGE_BYTES)
        self._row_groups += 1

    def finish(self) -> DataFile:
        """Close the file; only now do its last bytes reach the store."""
        with translated(f"writing {self.path}"):
            self._writer.close()
            self.size_bytes = self._stream.tell()
            self._stream.close()
        return data_file(
            self._writer.writer.metadata,
            self._options,
            path=self.path,
            size_bytes=self.size_bytes,
            partition=self._partition,
            sorted_=self._row_groups == 1,  # every row group is sorted by itself
        )

    def discard(self) -> None:
        """Let go of the file without finishing it; what the store has of it is deleted by whoever knows its path."""
        # Closing writes a footer, which fails again where writing just failed: the file is thrown away in any case.
        with contextlib.suppress(OSError, pa.ArrowException, ValueError):
            self._writer.close()
        with contextlib.suppress(OSError, pa.ArrowException, ValueError):
            self._stream.close()
