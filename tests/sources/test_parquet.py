from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dativo_ingest.sources.parquet import ParquetReader
from dativo_plugin_sdk import DataFormatError, DataValidationError, DativoError, SchemaValidationError, SourceConfig

TABLE = pa.table(
    {
        "id": pa.array(range(3000), pa.int32()),
        "name": pa.array([f"naïve {number % 7}" for number in range(3000)]),
        "price": pa.array([Decimal(number) / 100 for number in range(3000)], pa.decimal128(9, 2)),
        "at": pa.array(range(3000), pa.timestamp("us", "UTC")),
        "tags": pa.array([["a", None]] * 3000, pa.list_(pa.string())),
        "place": pa.array([{"zip": "1", "xy": [1.5]}] * 3000),
        "dotted.name": pa.array([True] * 3000),
    }
)


def write(folder: Path, table: pa.Table = TABLE, name: str = "people.parquet", **options) -> Path:
    path = folder / name
    pq.write_table(table, path, **options)
    return path


def joined(batches: list[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_batches(batches)


def test_rows_and_types_are_what_the_file_says(tmp_path, read_files):
    path = write(tmp_path, row_group_size=700)

    reading = read_files(ParquetReader, path)

    assert reading.schema is not None
    assert reading.schema.equals(TABLE.schema.remove_metadata())
    assert joined(reading.batches).equals(TABLE)


def test_only_the_columns_asked_for_are_read(tmp_path, read_files):
    path = write(tmp_path)
    wanted = pa.schema([("dotted.name", pa.bool_()), ("place", pa.string()), ("absent", pa.string())])

    reading = read_files(ParquetReader, path, wanted)

    assert reading.batches[0].schema.names == ["place", "dotted.name"]
    assert len(reading.rows) == 3000
    assert [text.partition("schema: ")[2] for text in reading.warnings] == [
        "id, name, price, at, tags; they are left out"
    ]


def test_rows_are_counted_even_where_no_column_is_asked_for(tmp_path, read_files):
    reading = read_files(ParquetReader, write(tmp_path), pa.schema([("absent", pa.string())]))

    assert sum(batch.num_rows for batch in reading.batches) == 3000


def test_columns_beyond_the_schema_fail_the_stream_that_forbids_them(tmp_path, read_files):
    with pytest.raises(DataValidationError, match="not in the schema: name"):
        read_files(ParquetReader, write(tmp_path), pa.schema([("id", pa.int32())]), extra_columns="fail")


def test_batches_keep_to_their_bytes_where_a_dictionary_hides_them(tmp_path, read_files):
    table = pa.table({"cell": pa.array([("ab" * 5000) + str(number % 3) for number in range(2000)])})

    reading = read_files(ParquetReader, write(tmp_path, table), batch_bytes=2**20)

    assert joined(reading.batches).equals(table)
    assert max(batch.nbytes for batch in reading.batches) < 3 * 2**20


def test_all_bytes_are_counted(tmp_path, read_files):
    path = write(tmp_path, row_group_size=700)

    reading = read_files(ParquetReader, path, batch_bytes=10_000)

    assert len(reading.batches) > 5
    assert 0.8 * path.stat().st_size < reading.source_bytes <= path.stat().st_size


def test_notes_of_the_files_writer_are_left_out_of_the_schema(tmp_path, read_files):
    inner = pa.field("zip", pa.string(), metadata={"PARQUET:field_id": "9"})
    fields = [
        pa.field("id", pa.int64(), nullable=False, metadata={"PARQUET:field_id": "7", "comment": "kept"}),
        pa.field("place", pa.struct([inner])),
        pa.field("places", pa.map_(pa.string(), pa.list_(inner))),
    ]
    table = pa.table(
        {"id": [1], "place": [{"zip": "1"}], "places": [[("a", ["1"])]]}, pa.schema(fields, {"pandas": "{}"})
    )

    reading = read_files(ParquetReader, write(tmp_path, table))

    assert reading.schema is not None
    assert reading.schema.metadata is None
    assert reading.schema.field("id").metadata == {b"comment": b"kept"}
    assert not reading.schema.field("id").nullable
    assert "field_id" not in str(reading.schema)
    assert joined(reading.batches).num_rows == 1


def test_files_of_one_stream_may_lack_columns_and_widen_types(tmp_path, read_files):
    write(tmp_path, pa.table({"id": pa.array([1], pa.int32())}), "a.parquet")
    write(tmp_path, pa.table({"id": pa.array([2**40]), "name": ["x"]}), "b.parquet")

    reading = read_files(ParquetReader, tmp_path)

    assert reading.schema is not None
    assert reading.schema.types == [pa.int64(), pa.string()]
    assert [row["id"] for row in reading.rows] == [1, 2**40]


def test_files_whose_types_agree_on_nothing_are_refused(tmp_path, read_files):
    write(tmp_path, pa.table({"id": [1]}), "a.parquet")
    write(tmp_path, pa.table({"id": ["x"]}), "b.parquet")

    with pytest.raises(SchemaValidationError, match=r"b\.parquet: column id is string, in files before it int64"):
        read_files(ParquetReader, tmp_path)


def test_a_column_that_is_there_twice_is_a_format_error(tmp_path, read_files):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["id", "id"])

    with pytest.raises(DataFormatError, match="more than one column is called id"):
        read_files(ParquetReader, write(tmp_path, table), pa.schema([("id", pa.int64())]))


def test_a_file_without_rows_has_its_columns(tmp_path, read_files):
    reading = read_files(ParquetReader, write(tmp_path, TABLE.slice(0, 0)))

    assert reading.schema is not None
    assert reading.schema.names == TABLE.schema.names
    assert reading.rows == []


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"id,name\n1,Ann\n", id="CSV"),
        pytest.param(b"", id="empty"),
        pytest.param(b"PAR1", id="four bytes"),
        pytest.param(b"PAR1" + b"\xff" * 100 + b"\xff\xff\xff\x7fPAR1", id="a footer of 2 GB"),
    ],
)
def test_what_is_not_parquet_is_a_format_error_that_names_the_file(tmp_path, read_files, content):
    path = tmp_path / "people.parquet"
    path.write_bytes(content)

    with pytest.raises(DataFormatError, match=r"people\.parquet"):
        read_files(ParquetReader, path)
    with pytest.raises(DataFormatError, match=r"people\.parquet"):
        read_files(ParquetReader, path, TABLE.schema)


def test_text_that_is_not_utf_8_is_a_format_error(tmp_path, read_files):
    bad = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    path = write(tmp_path, pa.table({"name": bad}), use_dictionary=False)

    with pytest.raises(DataFormatError, match="UTF"):
        read_files(ParquetReader, path)


def test_a_page_whose_checksum_is_wrong_is_a_format_error(tmp_path, read_files):
    table = pa.table({"name": ["some text"] * 10})
    path = write(
        tmp_path, table, compression="none", use_dictionary=False, write_statistics=False, write_page_checksum=True
    )
    path.write_bytes(path.read_bytes().replace(b"some text", b"same text", 1))

    with pytest.raises(DataFormatError, match="CRC"):
        read_files(ParquetReader, path)


def test_a_packed_file_is_refused_with_a_way_out(tmp_path, read_files):
    path = tmp_path / "people.parquet.gz"
    path.write_bytes(b"\x1f\x8b")

    with pytest.raises(DataFormatError, match="packed with gzip") as caught:
        read_files(ParquetReader, path)

    assert "unpack" in str(caught.value.hint)


def test_a_damaged_file_is_a_typed_error_or_read_whole(tmp_path, read_files):
    whole = write(tmp_path, TABLE.drop_columns(["at"]), row_group_size=1000).read_bytes()
    chance = random.Random(7)
    outcomes = set()

    for number in range(120):
        damaged = bytearray(whole)
        if number % 3:
            for _ in range(3):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        else:
            del damaged[chance.randrange(len(damaged)) :]
        path = tmp_path / "people.parquet"
        path.write_bytes(damaged)
        try:
            outcomes.add(sum(batch.num_rows for batch in read_files(ParquetReader, path).batches))
        except DativoError as error:
            outcomes.add(type(error).__name__)

    assert outcomes <= {3000, "DataFormatError"}
    assert "DataFormatError" in outcomes


def test_discover_says_that_types_are_exact(tmp_path):
    write(tmp_path)

    found = ParquetReader(SourceConfig(type="parquet", connection={"path": str(tmp_path)})).discover()

    columns = {column["name"]: column for column in found.objects[0]["columns"]}
    assert columns["price"]["arrow_type"] == "decimal128(9, 2)"
    assert {column["fidelity"] for column in columns.values()} == {"exact"}


def test_check_reads_a_sample(tmp_path):
    write(tmp_path)
    reader = ParquetReader(SourceConfig(type="parquet", connection={"path": str(tmp_path)}))

    results = [check.run() for check in reader.check([])]

    assert all(result.success for result in results)
