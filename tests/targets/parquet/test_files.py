from __future__ import annotations

import datetime as dt
import decimal
import resource

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies as st
from parquet_lakes import everywhere

from dativo_ingest.targets.parquet import read_dataset
from dativo_ingest.targets.parquet_partitions import Partitioning
from dativo_plugin_sdk import DataValidationError, InvalidConfigError, SchemaValidationError

UTC = dt.UTC


def load(table, request_of, *batches, generation=0, schema=None, **spec):
    writer = table(**spec)
    changes = writer.open(schema or batches[0].schema)
    for batch in batches:
        writer.write(batch)
    writer.commit(request_of(generation))
    return changes


def by_row(table: pa.Table) -> list[str]:
    return sorted(map(repr, table.to_pylist()))


def test_no_glob_sees_a_file_before_its_commit(table, lake):
    batch = pa.record_batch({"id": [1, 2, 3]})
    writer = table(target={"target_file_mb": 0.0001}, buffer_bytes=1)
    writer.open(batch.schema)
    writer.write(batch)
    writer.write(batch)

    found = list(lake.rglob("*.parquet"))

    assert found == []
    assert list(lake.rglob(".*.part"))
    writer.abort()
    assert not list(lake.rglob(".*.part"))


def test_rows_lie_in_the_folder_of_their_partition_and_keep_every_column(table, request_of, lake):
    batch = pa.record_batch(
        {
            "id": list(range(8)),
            "region": ["eu", "us", None, "", "eu", "a/b", "ä=%", "us"],
            "at": pa.array([dt.datetime(2026, 1, 1 + n % 2, 23, 30, tzinfo=UTC) for n in range(8)]),
        }
    )

    load(table, request_of, batch, batch, options={"partition_by": ["region", "day(at)"]})

    folder = lake / "raw/orders"
    for path in folder.rglob("*.parquet"):
        part = pq.read_table(path, partitioning=None)
        assert part.schema == batch.schema
        assert len(part.group_by(["region"]).aggregate([])) == 1
        assert pc.count_distinct(part["at"]).as_py() == 1
    assert (folder / "region=eu/at_day=2026-01-01").is_dir()
    assert (folder / "region=__HIVE_DEFAULT_PARTITION__").is_dir()
    assert (folder / "region=a%2Fb").is_dir()
    assert by_row(read_dataset(folder).to_table()) == sorted(by_row(pa.table(batch)) * 2)


@everywhere
def test_values_of_any_text_are_folders_that_are_read_again(table, request_of, place):
    batch = pa.record_batch({"id": list(range(7)), "region": ["eu", None, "", "a/b", "ä=% +#?", ".", "x\ny"]})

    load(table, request_of, batch, options={"partition_by": "region"})

    assert len(place.data_files()) == 7
    assert by_row(place.read().to_table()) == by_row(pa.table(batch))


@pytest.mark.parametrize(
    ("transform", "folders"),
    [
        pytest.param("year", {"at_year=1969", "at_year=2026"}, id="year"),
        pytest.param("month", {"at_month=1969-12", "at_month=2026-02"}, id="month"),
        pytest.param("day", {"at_day=1969-12-31", "at_day=2026-02-28"}, id="day"),
        pytest.param("hour", {"at_hour=1969-12-31-23", "at_hour=2026-02-28-05"}, id="hour"),
    ],
)
def test_times_are_cut_in_utc_and_downwards(table, request_of, lake, transform, folders):
    at = pa.array([-1, 1772254800 * 10**6], pa.timestamp("us", tz="Asia/Kolkata"))

    load(table, request_of, pa.record_batch({"at": at}), options={"partition_by": f"{transform}(at)"})

    assert {path.parent.name for path in (lake / "raw/orders").rglob("*.parquet")} == folders


VALUES = {
    "text": st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=3),
    "number": st.none() | st.integers(-(2**63), 2**63 - 1),
    "flag": st.none() | st.booleans(),
    "day": st.none() | st.dates(),
    "amount": st.none() | st.decimals(-99, 99, places=2),
}
TYPES = pa.schema(
    {
        "text": pa.string(),
        "number": pa.int64(),
        "flag": pa.bool_(),
        "day": pa.date32(),
        "amount": pa.decimal128(4, 2),
    }
)


@given(
    st.lists(st.fixed_dictionaries(VALUES), max_size=40),
    st.lists(st.sampled_from([*TYPES.names, "month(day)", "year(day)", "day(day)"]), max_size=3, unique=True),
)
def test_splitting_keeps_every_row_once_and_every_folder_apart(rows, by):
    batch = pa.RecordBatch.from_pylist(rows, schema=TYPES)

    parts = list(Partitioning.parse(by, TYPES).split(batch)) if rows else []

    assert sorted(repr(row) for part in parts for row in part.batch.to_pylist()) == sorted(map(repr, batch.to_pylist()))
    keys = [tuple(part.values.values()) for part in parts]
    assert len(set(keys)) == len(keys)
    for part in parts:
        for name in set(by) & set(TYPES.names):
            assert len(set(part.batch.column(name).to_pylist())) == 1


@pytest.mark.parametrize(
    ("by", "message"),
    [
        pytest.param("bucket(16, id)", "transforms identity, year", id="bucket"),
        pytest.param("nope", "no column 'nope'; there are: id, at, tags", id="missing column"),
        pytest.param("day(id)", "not a timestamp or date", id="a number has no day"),
        pytest.param("tags", "no folders", id="a list"),
        pytest.param(["id", "id"], "twice", id="twice"),
    ],
)
def test_a_partitioning_that_cannot_be_had_is_a_configuration_error(table, by, message):
    schema = pa.schema({"id": pa.int64(), "at": pa.timestamp("us"), "tags": pa.list_(pa.string())})

    with pytest.raises(InvalidConfigError, match=message):
        table(options={"partition_by": by}).open(schema)


def test_files_are_rolled_at_their_target_size(table, request_of, lake):
    batch = pa.record_batch({"id": pa.array(range(20_000))})

    load(table, request_of, *[batch] * 10, target={"target_file_mb": 0.05, "compression": "none"}, buffer_bytes=2**18)

    sizes = [path.stat().st_size for path in (lake / "raw/orders").rglob("*.parquet")]
    assert len(sizes) > 3
    assert read_dataset(lake / "raw/orders").count_rows() == 200_000


def test_row_groups_are_sorted_as_asked_with_nulls_where_asked(table, request_of, lake):
    batch = pa.record_batch({"a": [2, None, 1, 2, None], "b": ["x", "y", "z", None, "w"]})

    load(table, request_of, batch, options={"sort_by": ["a desc nulls first", "b"]})

    (path,) = (lake / "raw/orders").rglob("*.parquet")
    assert pq.read_table(path).to_pylist() == [
        {"a": None, "b": "w"},
        {"a": None, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": None},
        {"a": 1, "b": "z"},
    ]
    assert pq.ParquetFile(path).metadata.row_group(0).sorting_columns[0].descending


@everywhere
def test_more_partitions_than_open_files_lose_nothing(table, request_of, place):
    batch = pa.record_batch({"key": pa.array(range(300), pa.int32()), "text": ["x" * 50] * 300})

    load(table, request_of, batch, batch, options={"partition_by": "key"}, buffer_bytes=4096)

    found = place.read().to_table()
    assert sorted(found["key"].to_pylist()) == sorted([*range(300)] * 2)


@everywhere
def test_every_type_comes_back_as_it_went_in(table, request_of, place):
    batch = pa.record_batch(
        {
            "u64": pa.array([2**64 - 1, None], pa.uint64()),
            "f16": pa.array([1.5, None], pa.float16()),
            "dec": pa.array([decimal.Decimal("-12345678901234567890123456789.123456789"), None], pa.decimal128(38, 9)),
            "big": pa.array([decimal.Decimal("1" * 60), None], pa.decimal256(76, 2)),
            "day": pa.array([-800_000, None], pa.date32()),
            "s": pa.array([2**40, None], pa.timestamp("s")),
            "ns": pa.array([2**62, None], pa.timestamp("ns", "UTC")),
            "zone": pa.array([1, None], pa.timestamp("us", "Europe/Berlin")),
            "time": pa.array([86_399_999_999, None], pa.time64("us")),
            "span": pa.array([5, None], pa.duration("us")),
            "raw": pa.array([b"\x00\xff", None], pa.large_binary()),
            "fixed": pa.array([b"abcd", None], pa.binary(4)),
            "list": pa.array([[1, None], None], pa.list_(pa.int8())),
            "struct": pa.array([{"a": [{"b": "c"}]}, None]),
            "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int32())),
            "dict": pa.array(["a", None], pa.dictionary(pa.int32(), pa.string())),
            "null": pa.nulls(2),
            "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef", None], pa.binary(16))),
        }
    )

    load(table, request_of, batch)

    found = place.read().to_table()
    assert found.schema == batch.schema
    assert found.equals(pa.table(batch))


def test_a_type_that_parquet_does_not_have_is_named(table):
    schema = pa.schema(
        {
            "id": pa.int64(),
            "span": pa.month_day_nano_interval(),
            "none": pa.struct([]),
            "thousands": pa.decimal128(5, -3),
        }
    )

    with pytest.raises(
        SchemaValidationError,
        match=r"span \(month_day_nano_interval\), none \(struct<>\), thousands \(decimal128\(5, -3\)\)",
    ):
        table().open(schema)


def test_a_thousand_columns_of_nulls_and_numbers_fit_in_little_memory(table, request_of, lake):
    columns = {f"c{number}": pa.array([None, number, None, 3] * 500) for number in range(1000)}
    batch = pa.record_batch(columns)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    load(table, request_of, *[batch] * 8, buffer_bytes=8 * 2**20)

    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    assert grown_mb < 300
    found = read_dataset(lake / "raw/orders")
    assert found.count_rows() == 16_000
    assert found.to_table(columns=["c7"])["c7"].null_count == 8_000


@everywhere
def test_new_columns_and_wider_types_are_read_from_old_files_too(table, request_of, place):
    load(table, request_of, pa.record_batch({"id": pa.array([1], pa.int32()), "price": pa.array([1.5], pa.float32())}))
    wide = pa.record_batch({"name": ["x"], "id": pa.array([2**40]), "tags": [["a"]]})

    changes = load(table, request_of, wide, generation=1, run_id="run-2")

    assert changes == ["added name string", "widened id from int32 to int64", "added tags list<item: string>"]
    assert place.read().to_table().to_pylist() == [
        {"id": 1, "price": 1.5, "name": None, "tags": None},
        {"id": 2**40, "price": None, "name": "x", "tags": ["a"]},
    ]


def test_a_narrower_stream_is_written_in_the_tables_types(table, request_of, lake):
    load(table, request_of, pa.record_batch({"id": [1], "at": pa.array([1], pa.timestamp("us", "UTC"))}))
    narrow = pa.record_batch({"at": pa.array([2], pa.timestamp("s", "UTC")), "id": pa.array([2], pa.int16())})

    changes = load(table, request_of, narrow, generation=1, run_id="run-2")

    assert changes == []
    (path,) = (lake / "raw/orders").glob("run-2-*.parquet")
    assert pq.read_schema(path).names == ["id", "at"]
    assert pq.read_schema(path).field("id").type == pa.int64()


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        pytest.param({"id": pa.string()}, "id is int64 there and string here", id="number to text"),
        pytest.param({"id": pa.float64()}, "id is int64 there and double here", id="integer to float"),
        pytest.param({"id": pa.uint64()}, "id is int64 there and uint64 here", id="unsigned"),
        pytest.param({"other": pa.int64()}, "id is required there and missing here", id="required column gone"),
    ],
)
def test_a_schema_that_would_lose_something_is_refused(table, request_of, schema, message):
    required = pa.schema([pa.field("id", pa.int64(), nullable=False)])
    load(table, request_of, pa.record_batch([pa.array([1])], schema=required))

    with pytest.raises(SchemaValidationError, match=message):
        table(run_id="run-2").open(pa.schema(schema))


def test_a_value_that_does_not_fit_the_tables_type_is_a_data_error(table, request_of):
    load(table, request_of, pa.record_batch({"at": pa.array([1], pa.timestamp("ns"))}))
    writer = table(run_id="run-2")
    writer.open(pa.schema({"at": pa.timestamp("s")}))

    with pytest.raises(DataValidationError, match="column at"):
        writer.write(pa.record_batch({"at": pa.array([2**50], pa.timestamp("s"))}))


def test_any_reader_can_glob_the_files(table, request_of, lake):
    batch = pa.record_batch({"id": [1, 2], "day": pa.array([1, 2], pa.date32())})

    load(table, request_of, batch, options={"partition_by": "day"})

    found = ds.dataset(sorted(map(str, (lake / "raw/orders").glob("**/*.parquet"))), format="parquet").to_table()
    assert found.sort_by("id").equals(pa.table(batch))


@everywhere
def test_the_namespace_may_be_left_out(table, request_of, place):
    load(table, request_of, pa.record_batch({"id": [1]}), namespace=None)

    assert place.read("orders").count_rows() == 1
