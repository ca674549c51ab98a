from __future__ import annotations

import gzip
import random
import struct
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import ipc

from dativo_ingest.sources.arrow import ArrowReader
from dativo_plugin_sdk import DataFormatError, DataValidationError, DativoError, MemoryLimitError, SourceConfig

TABLE = pa.table(
    {
        "id": pa.array(range(3000), pa.int32()),
        "name": pa.array([f"naïve {number % 7}" for number in range(3000)]),
        "kind": pa.array([f"k{number % 5}" for number in range(3000)]).dictionary_encode(),
        "place": pa.array([{"zip": "1", "xy": [1.5]}] * 3000),
    }
)
FORMATS = pytest.mark.parametrize("form", [pytest.param("file", id="file"), pytest.param("stream", id="stream")])


def write(
    folder: Path, form: str = "file", table: pa.Table = TABLE, compression: str | None = None, rows: int = 1000
) -> Path:
    path = folder / "people.arrow"
    options = ipc.IpcWriteOptions(compression=compression)
    new = ipc.new_file if form == "file" else ipc.new_stream
    with new(path, table.schema, options=options) as writer:
        writer.write_table(table, rows)
    return path


def joined(batches: list[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_batches(batches).unify_dictionaries()


@FORMATS
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_rows_and_types_are_what_the_file_says(tmp_path, read_files, form, compression):
    path = write(tmp_path, form, compression=compression)

    reading = read_files(ArrowReader, path)

    assert reading.schema == TABLE.schema
    assert joined(reading.batches).equals(TABLE.unify_dictionaries())


@FORMATS
def test_a_packed_file_is_read(tmp_path, read_files, form):
    path = tmp_path / "people.arrow.gz"
    path.write_bytes(gzip.compress(write(tmp_path, form).read_bytes()))

    reading = read_files(ArrowReader, path)

    assert joined(reading.batches).equals(TABLE.unify_dictionaries())


@FORMATS
def test_large_batches_are_cut_by_bytes(tmp_path, read_files, form):
    path = write(tmp_path, form, pa.table({"cell": ["x" * 1000] * 5000}), rows=5000)

    reading = read_files(ArrowReader, path, batch_bytes=2**20)

    assert sum(batch.num_rows for batch in reading.batches) == 5000
    assert max(batch.nbytes for batch in reading.batches) <= 2**20
    assert 0.9 * path.stat().st_size < reading.source_bytes <= path.stat().st_size


def test_only_the_columns_asked_for_are_given(tmp_path, read_files):
    wanted = pa.schema([("name", pa.string()), ("absent", pa.string())])

    reading = read_files(ArrowReader, write(tmp_path), wanted)

    assert reading.batches[0].schema.names == ["name"]
    assert "id, kind, place" in reading.warnings[0]


def test_columns_beyond_the_schema_fail_the_stream_that_forbids_them(tmp_path, read_files):
    with pytest.raises(DataValidationError, match="not in the schema: name"):
        read_files(ArrowReader, write(tmp_path), pa.schema([("id", pa.int32())]), extra_columns="fail")


@FORMATS
def test_a_file_without_rows_has_its_columns(tmp_path, read_files, form):
    reading = read_files(ArrowReader, write(tmp_path, form, TABLE.slice(0, 0)))

    assert reading.schema is not None
    assert reading.schema.names == TABLE.schema.names
    assert reading.rows == []


@FORMATS
def test_a_truncated_file_is_a_format_error_wherever_it_is_cut(tmp_path, read_files, form):
    whole = write(tmp_path, form).read_bytes()
    path = tmp_path / "people.arrow"

    for end in [0, 3, 8, 20, *range(100, len(whole), 5001), *range(len(whole) - 40, len(whole) - 1, 4)]:
        path.write_bytes(whole[:end])
        with pytest.raises(DataFormatError, match=r"people\.arrow"):
            read_files(ArrowReader, path)


def test_a_stream_cut_between_two_batches_is_a_format_error(tmp_path, read_files):
    whole = write(tmp_path, "stream").read_bytes()
    path = tmp_path / "people.arrow"
    path.write_bytes(whole[:-8])

    with pytest.raises(DataFormatError, match="without its end mark"):
        read_files(ArrowReader, path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"id,name\n1,Ann\n", id="CSV"),
        pytest.param(b"FEA1" + b"\0" * 20, id="Feather version 1"),
        pytest.param(b"PAR1" + b"\0" * 20, id="Parquet"),
        pytest.param(b"ARROW1\0\0" + b"\0" * 20 + struct.pack("<i", 2**31 - 1) + b"ARROW1", id="a footer of 2 GB"),
        pytest.param(b"\xff\xff\xff\xff" + struct.pack("<i", 2**31 - 1) + b"\0" * 50, id="a schema of 2 GB"),
    ],
)
def test_what_is_not_arrow_is_a_format_error_that_names_the_file(tmp_path, read_files, content):
    path = tmp_path / "people.arrow"
    path.write_bytes(content)

    with pytest.raises(DataFormatError, match=r"people\.arrow"):
        read_files(ArrowReader, path)


def test_a_length_in_a_packed_file_that_goes_beyond_the_limit_is_not_allocated(tmp_path, read_files):
    path = tmp_path / "people.arrow.gz"
    path.write_bytes(gzip.compress(b"\xff\xff\xff\xff" + struct.pack("<i", 2**31 - 1) + b"\0" * 50))

    with pytest.raises(MemoryLimitError, match="2047 MB"):
        read_files(ArrowReader, path)


def test_a_batch_that_is_too_large_for_the_memory_allowed_is_named(tmp_path, read_files):
    path = write(tmp_path, "stream", pa.table({"cell": pa.repeat(pa.scalar(7, pa.int64()), 9 * 2**20)}), rows=9 * 2**20)

    with pytest.raises(MemoryLimitError, match="72 MB") as caught:
        read_files(ArrowReader, path, batch_bytes=2**20)

    assert "smaller batches" in str(caught.value.hint)


def test_offsets_that_point_anywhere_are_a_format_error(tmp_path, read_files):
    offsets = pa.array([0, 1_000_000, 1], pa.int32()).buffers()[1]
    bad = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"x")])
    path = write(tmp_path, "stream", pa.table({"name": bad}))

    with pytest.raises(DataFormatError):
        read_files(ArrowReader, path)


@FORMATS
def test_a_damaged_file_is_a_typed_error_or_read_whole(tmp_path, read_files, form):
    whole = write(tmp_path, form).read_bytes()
    chance = random.Random(11)
    outcomes = set()

    for _ in range(80):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.choice([chance.randrange(len(damaged)), chance.randrange(2000)])] = chance.randrange(256)
        path = tmp_path / "people.arrow"
        path.write_bytes(damaged)
        try:
            outcomes.add(sum(batch.num_rows for batch in read_files(ArrowReader, path, TABLE.schema).batches))
        except DativoError as error:
            outcomes.add(type(error).__name__)

    assert outcomes <= {3000, "DataFormatError", "MemoryLimitError"}
    assert "DataFormatError" in outcomes


def test_check_and_discover_read_the_schema_and_a_sample(tmp_path):
    write(tmp_path)
    reader = ArrowReader(SourceConfig(type="arrow", connection={"path": str(tmp_path)}))

    results = [check.run() for check in reader.check([])]
    [found] = reader.discover().objects

    assert all(result.success for result in results)
    assert {column["fidelity"] for column in found["columns"]} == {"exact"}
