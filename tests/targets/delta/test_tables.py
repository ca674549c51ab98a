from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from dativo_plugin_sdk import DataValidationError, InvalidConfigError, SchemaValidationError

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901)  # noqa: DTZ001  a moment without a zone is meant
ZOO = {
    "bool": (pa.bool_(), [True, False]),
    "int8": (pa.int8(), [-128, 127]),
    "uint8": (pa.uint8(), [0, 255]),
    "uint16": (pa.uint16(), [0, 2**16 - 1]),
    "uint32": (pa.uint32(), [0, 2**32 - 1]),
    "int64": (pa.int64(), [-(2**63), 2**63 - 1]),
    "float16": (pa.float16(), [0.5, -2.0]),
    "float32": (pa.float32(), [0.5, float("-inf")]),
    "float64": (pa.float64(), [0.1, -1e300]),
    "decimal": (pa.decimal128(38, 10), [Decimal("1.5000000000"), Decimal("-9999999999999999999999999999.9999999999")]),
    "small decimal": (pa.decimal32(5, 2), [Decimal("1.50"), Decimal("-999.99")]),
    "string": (pa.string(), ["", "ü\x00\n🎈"]),
    "large_string": (pa.large_string(), ["a", "b"]),
    "view": (pa.string_view(), ["a", "b" * 40]),
    "category": (pa.dictionary(pa.int8(), pa.string()), ["a", "b"]),
    "binary": (pa.binary(), [b"", b"\x00\xff"]),
    "fixed": (pa.binary(2), [b"ab", b"\x00\xff"]),
    "date": (pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
    "timestamp": (pa.timestamp("us"), [NOW, dt.datetime(1582, 10, 4)]),  # noqa: DTZ001
    "timestamp_s": (pa.timestamp("s"), [NOW.replace(microsecond=0), dt.datetime(1970, 1, 1)]),  # noqa: DTZ001
    "timestamptz": (pa.timestamp("us", "UTC"), [NOW.replace(tzinfo=dt.UTC), dt.datetime(1900, 1, 1, tzinfo=dt.UTC)]),
    "list": (pa.list_(pa.int32()), [[1, None], []]),
    "fixed_list": (pa.list_(pa.uint8(), 2), [[1, 2], [3, None]]),
    "struct": (
        pa.struct({"a": pa.uint8(), "b": pa.list_(pa.string())}),
        [{"a": 1, "b": ["x"]}, {"a": None, "b": None}],
    ),
    "map": (pa.map_(pa.string(), pa.int16()), [[("k", 1)], []]),
}
ONE = pa.record_batch({"id": [1, 2], "v": ["a", "b"]})


def read(lake, name="orders") -> pa.Table:
    return DeltaTable(lake / "raw" / name).to_pyarrow_table()


def values(table: pa.Table) -> list[dict]:
    return sorted(table.to_pylist(), key=str)


@pytest.mark.parametrize("write", ["append", "merge"])
def test_every_type_keeps_its_values(load, lake, write):
    columns = {name: pa.array([*each, None], each_type) for name, (each_type, each) in ZOO.items()}
    batch = pa.record_batch({"id": [1, 2, 3], **columns})

    load(batch, write=write, primary_key=("id",))

    found = read(lake).sort_by("id").to_pydict()
    assert found == {"id": [1, 2, 3], **{name: [*each, None] for name, (_, each) in ZOO.items()}}


def test_unsigned_64_bits_and_uuids_and_zones_keep_their_meaning(load, lake):
    some = uuid.UUID(int=2**127 + 5)
    berlin = pa.array([NOW.replace(tzinfo=dt.UTC)], pa.timestamp("ns", "Europe/Berlin"))
    load(
        pa.record_batch(
            {
                "big": pa.array([2**64 - 1], pa.uint64()),
                "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([some.bytes], pa.binary(16))),
                "at": berlin,
            }
        )
    )

    assert read(lake).to_pylist() == [{"big": Decimal(2**64 - 1), "uuid": some.bytes, "at": NOW.replace(tzinfo=dt.UTC)}]


@pytest.mark.parametrize(
    "kind", [pa.time64("us"), pa.duration("s"), pa.null(), pa.decimal256(60, 2), pa.list_(pa.time32("s"))], ids=str
)
def test_what_delta_cannot_hold_is_refused_by_name(table, kind):
    with pytest.raises(SchemaValidationError, match=r"column odd.*Delta has no type"):
        table().open(pa.schema({"odd": kind}))


def test_a_nanosecond_that_would_be_lost_is_refused(table):
    writer = table()
    batch = pa.record_batch({"at": pa.array([1001], pa.timestamp("ns"))})
    writer.open(batch.schema)

    with pytest.raises(DataValidationError, match="column at"):
        writer.write(batch)


def test_names_that_differ_only_in_case_are_refused(table):
    with pytest.raises(SchemaValidationError, match="differ only in case"):
        table().open(pa.schema({"id": pa.int64(), "ID": pa.int64()}))


def test_names_are_kept_whatever_is_in_them(load, lake):
    keys = ("a b", "q\"'", "dotted.name")
    batch = pa.record_batch({"a b": [1], "q\"'": ["x"], "dotted.name": [2], "größe": [3]})
    load(batch, write="merge", primary_key=keys)

    load(batch, write="merge", primary_key=keys)

    assert read(lake).to_pylist() == batch.to_pylist()


@pytest.mark.parametrize("write", ["append", "merge", "overwrite"])
def test_a_table_gains_columns_and_lets_old_ones_be_missing(load, table, lake, write):
    load(ONE)

    writer = table(write=write, primary_key=("id",))
    changes = writer.open(pa.schema({"id": pa.int64(), "at": pa.timestamp("us")}))
    load(pa.record_batch({"id": [3], "at": pa.array([NOW], pa.timestamp("us"))}), write=write, primary_key=("id",))

    assert changes == ["added at timestamp[us]"]
    assert {"id": 3, "v": None, "at": NOW} in read(lake).to_pylist()
    assert read(lake).num_rows == (1 if write == "overwrite" else 3)


@pytest.mark.parametrize("write", ["append", "merge", "overwrite"])
@pytest.mark.parametrize("partition_by", [[], ["region"]])
def test_wider_types_rewrite_the_table_and_lose_nothing(load, lake, write, partition_by):
    narrow = pa.record_batch(
        {"id": pa.array([1, 2], pa.int32()), "region": ["a", "b"], "x": pa.array([1, 2], pa.int8())}
    )
    load(narrow, options={"partition_by": partition_by})

    load(
        pa.record_batch({"id": [2**40], "region": ["a"], "x": pa.array([300], pa.int16())}),
        write=write,
        primary_key=("id",),
    )

    found = read(lake)
    assert found.schema.field("id").type == pa.int64()
    old = [] if write == "overwrite" else [{"id": 1, "region": "a", "x": 1}, {"id": 2, "region": "b", "x": 2}]
    assert sorted(found.to_pylist(), key=lambda row: row["id"]) == [*old, {"id": 2**40, "region": "a", "x": 300}]
    for uri in DeltaTable(lake / "raw/orders").file_uris():
        assert pq.ParquetFile(uri).schema_arrow.field("id").type == pa.int64()


def test_narrower_values_go_into_a_wider_column(load, lake):
    load(ONE)

    load(pa.record_batch({"id": pa.array([3], pa.int8()), "v": ["c"]}))

    assert read(lake).column("id").type == pa.int64()


def test_a_column_required_by_the_table_may_become_optional(load, lake):
    load(pa.record_batch([pa.array([1])], schema=pa.schema([pa.field("id", pa.int64(), nullable=False)])))

    load(pa.record_batch({"id": pa.array([None], pa.int64())}))

    assert values(read(lake)) == [{"id": 1}, {"id": None}]


def test_a_change_that_would_lose_something_is_refused(load, table):
    load(ONE)

    with pytest.raises(SchemaValidationError, match="id is int64 there and string here"):
        table().open(pa.schema({"id": pa.string()}))


def test_partitions_hold_what_belongs_there(load, lake):
    batch = pa.record_batch(
        {
            "id": [1, 2, 3, 4],
            "region": ["ü/ %20=x", None, "eu", "eu"],
            "day": pa.array([dt.date(2026, 1, 1)] * 3 + [None]),
            "at": pa.array([NOW, None, NOW, NOW], pa.timestamp("us", "UTC")),
            "ok": [True, None, False, True],
        }
    )
    load(batch, options={"partition_by": ["region", "day", "at", "ok"]})
    load(batch.slice(2, 1))

    assert values(read(lake)) == sorted([*batch.to_pylist(), batch.to_pylist()[2]], key=str)
    assert DeltaTable(lake / "raw/orders").metadata().partition_columns == ["region", "day", "at", "ok"]


def test_an_empty_text_as_a_partition_is_refused(table):
    writer = table(options={"partition_by": ["v"]})
    writer.open(ONE.schema)

    with pytest.raises(DataValidationError, match="empty text"):
        writer.write(pa.record_batch({"id": [1], "v": [""]}))


@pytest.mark.parametrize(
    ("partition_by", "message"),
    [
        pytest.param(["day(at)"], "no column 'day\\(at\\)'", id="transform"),
        pytest.param(["id", "v"], "needs a column", id="every column"),
    ],
)
def test_a_partitioning_that_delta_lacks_is_refused(table, partition_by, message):
    with pytest.raises(InvalidConfigError, match=message):
        table(options={"partition_by": partition_by}).open(ONE.schema)


def test_another_partitioning_than_the_tables_is_refused(load, table):
    load(ONE)

    with pytest.raises(InvalidConfigError, match="partitioned by nothing, not by v"):
        table(options={"partition_by": ["v"]}).open(ONE.schema)


def test_rows_are_sorted_and_files_roll(load, lake):
    ids = pa.array(range(20_000, 0, -1))

    load(
        pa.record_batch({"id": ids}),
        options={"sort_by": ["id"], "target_file_mb": 0.01, "compression": "none"},
        buffer_bytes=40_000,
    )

    load(pa.record_batch({"id": pa.array(range(30_000, 20_000, -1))}), options={"sort_by": ["id"]})
    files = [pq.read_table(uri) for uri in DeltaTable(lake / "raw/orders").file_uris()]
    assert len(files) == 2
    assert all(file.column("id").to_pylist() == sorted(file.column("id").to_pylist()) for file in files)


def test_properties_reach_the_table(load, lake):
    load(ONE)

    load(ONE, options={"properties": {"delta.logRetentionDuration": "interval 60 days"}})

    assert DeltaTable(lake / "raw/orders").metadata().configuration == {
        "delta.logRetentionDuration": "interval 60 days"
    }


def test_statistics_let_readers_skip_files_and_are_true(load, lake):
    load(pa.record_batch({"id": [5, None, 1], "v": ["b", "a", None], "d": pa.array([dt.date(2026, 1, 1)] * 3)}))

    found = pa.table(DeltaTable(lake / "raw/orders").get_add_actions(flatten=True)).to_pylist()[0]

    assert (found["num_records"], found["min.id"], found["max.id"], found["null_count.id"]) == (3, 1, 5, 1)
    assert (found["min.v"], found["max.v"], found["min.d"]) == ("a", "b", dt.date(2026, 1, 1))


def test_a_table_that_checks_its_values_is_left_alone(load, table, lake):
    load(ONE)
    DeltaTable(lake / "raw/orders").alter.add_constraint({"positive": "id > 0"})

    with pytest.raises(SchemaValidationError, match=r"delta\.constraints\.positive"):
        table().open(ONE.schema)


def test_a_table_made_by_others_is_written(load, lake):
    write_deltalake(lake / "raw/orders", pa.table({"id": [1], "v": ["x"]}))

    load(ONE)

    assert read(lake).num_rows == 3


def test_the_files_are_read_by_another_engine(load, lake):
    load(ONE)
    files = DeltaTable(lake / "raw/orders").file_uris()

    assert duckdb.read_parquet(files).sum("id").fetchall() == [(3,)]


def test_rejected_rows_gain_columns(table, request_of, lake):
    for generation, batch in enumerate([pa.record_batch({"a": ["x"]}), pa.record_batch({"b": [1]})]):
        writer = table()
        writer.open(ONE.schema)
        writer.quarantine(batch)
        writer.commit(request_of(generation))

    assert values(read(lake, "orders__quarantine")) == [{"a": "x", "b": None}, {"a": None, "b": 1}]
