"""Position deletes: small files that say which rows of a data file are gone (Iceberg spec, "Position Delete Files")."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import _read_deletes
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat

from dativo_ingest.targets.iceberg.failures import translated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyiceberg.io import FileIO

PATH_ID = 2147483546
POSITION_ID = 2147483545
_PATH: pa.Field[Any] = pa.field("file_path", pa.string(), nullable=False)
_POSITION: pa.Field[Any] = pa.field("pos", pa.int64(), nullable=False)
_SCHEMA = pa.schema(
    [
        _PATH.with_metadata({"PARQUET:field_id": str(PATH_ID)}),
        _POSITION.with_metadata({"PARQUET:field_id": str(POSITION_ID)}),
    ]
)


def write_deletes(io: FileIO, path: str, of: DataFile, positions: pa.Array[Any]) -> DataFile:
    """Write the file that deletes rows of one data file.

    Its bounds are the whole path, not a part of it: readers find by them that it is about this data file alone.

    Args:
        io: Where it goes.
        path: Its full location.
        of: The data file.
        positions: Which of its rows, ascending, at least one.
    """
    table = pa.table([pa.repeat(of.file_path, len(positions)), positions], schema=_SCHEMA)
    with translated(f"writing {path}"):
        stream: Any = io.new_output(path).create(overwrite=True)
        with stream:
            pq.write_table(table, stream, compression="zstd")
            size_bytes = stream.tell()
    name = of.file_path.encode()
    described = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=of.partition,
        record_count=len(positions),
        file_size_in_bytes=size_bytes,
        value_counts={PATH_ID: len(positions), POSITION_ID: len(positions)},
        null_value_counts={PATH_ID: 0, POSITION_ID: 0},
        lower_bounds={PATH_ID: name, POSITION_ID: struct.pack("<q", positions[0].as_py())},
        upper_bounds={PATH_ID: name, POSITION_ID: struct.pack("<q", positions[-1].as_py())},
    )
    described.spec_id = of.spec_id
    return described


def is_about_only(deletes: DataFile, of: DataFile) -> bool:
    """Say whether a file of position deletes is about one data file and no other."""
    name = of.file_path.encode()
    return (deletes.lower_bounds or {}).get(PATH_ID) == name == (deletes.upper_bounds or {}).get(PATH_ID)


def read_deletes(io: FileIO, files: Iterable[DataFile], of: DataFile) -> pa.Array[Any]:
    """Give the positions of a data file's rows that are deleted already, each once, in no order."""
    found: list[pa.Array[Any]] = []
    for file in files:
        with translated(f"reading {file.file_path}"):
            positions = _read_deletes(io, file).get(of.file_path)
        if positions is not None:
            found += positions.chunks
    every: Any = pa.chunked_array(found, pa.int64())
    distinct: pa.Array[Any] = pc.unique(every)
    return distinct


def without(batch: pa.RecordBatch, start: int, deleted: pa.Array[Any]) -> pa.RecordBatch:
    """Leave deleted rows out of a batch that begins at the position ``start`` of its file."""
    if not len(deleted):
        return batch
    kept: Any = pc.invert(pc.is_in(numbers(start, start + batch.num_rows), value_set=deleted))
    return batch.filter(kept)


def numbers(start: int, end: int) -> pa.Array[Any]:
    """Count from ``start`` to before ``end``."""
    counted: pa.Array[Any] = pa.arange(start, end)  # type: ignore[attr-defined]  # the stubs lack it
    return counted
