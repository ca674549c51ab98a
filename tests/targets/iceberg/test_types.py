"""Every value comes back as it went in; what Iceberg cannot hold is refused with the column's name."""

import datetime as dt
import decimal
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from iceberg_lake import Lake
from pyiceberg.types import (
    DecimalType,
    FixedType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from dativo_plugin_sdk import DataValidationError, SchemaValidationError

UTC = dt.UTC
DAY = dt.date(2026, 11, 22)
# Naive on purpose: Iceberg has timestamps without a zone.
# ruff: noqa: DTZ001
MOMENT = dt.datetime(2026, 11, 22, 1, 2, 3, 456789)

ZOO: list[tuple[str, pa.DataType, list[Any]]] = [
    ("bool", pa.bool_(), [True, False]),
    ("int8", pa.int8(), [-128, 127]),
    ("int16", pa.int16(), [-(2**15), 2**15 - 1]),
    ("int32", pa.int32(), [-(2**31), 2**31 - 1]),
    ("int64", pa.int64(), [-(2**63), 2**63 - 1]),
    ("uint8", pa.uint8(), [0, 255]),
    ("uint16", pa.uint16(), [0, 2**16 - 1]),
    ("uint32", pa.uint32(), [0, 2**32 - 1]),
    ("float16", pa.float16(), [1.5, -2.0]),
    ("float32", pa.float32(), [1.5, float("inf")]),
    ("float64", pa.float64(), [1e300, float("-inf")]),
    ("string", pa.string(), ["", "žluť 漢字 🦆"]),
    ("large_string", pa.large_string(), ["a", "b"]),
    ("string_view", pa.string_view(), ["a", "a string that is longer than twelve bytes"]),
    ("dictionary", pa.dictionary(pa.int8(), pa.string()), ["x", "x"]),
    ("binary", pa.binary(), [b"", b"\x00\xff"]),
    ("large_binary", pa.large_binary(), [b"a", b"b"]),
    ("binary_view", pa.binary_view(), [b"a", b"bytes that are longer than twelve"]),
    ("fixed", pa.binary(4), [b"abcd", b"\x00\x01\x02\x03"]),
    ("date32", pa.date32(), [DAY, dt.date(1, 1, 1)]),
    ("date64", pa.date64(), [DAY, dt.date(1969, 12, 31)]),
    ("time32s", pa.time32("s"), [dt.time(0, 0), dt.time(23, 59, 59)]),
    ("time32ms", pa.time32("ms"), [dt.time(1, 2, 3, 4000), dt.time(0)]),
    ("time64us", pa.time64("us"), [dt.time(23, 59, 59, 999999), dt.time(0)]),
    ("time64ns", pa.time64("ns"), [dt.time(1, 2, 3, 4), dt.time(0)]),
    ("timestamp_s", pa.timestamp("s"), [dt.datetime(2026, 1, 1), dt.datetime(1, 1, 1)]),
    ("timestamp_ms", pa.timestamp("ms"), [dt.datetime(2026, 1, 1, 0, 0, 0, 5000), dt.datetime(1969, 1, 1)]),
    ("timestamp_us", pa.timestamp("us"), [MOMENT, dt.datetime(9999, 12, 31, 23, 59, 59, 999999)]),
    ("timestamp_ns", pa.timestamp("ns"), [MOMENT, dt.datetime(1970, 1, 1)]),
    ("timestamptz", pa.timestamp("us", tz="UTC"), [MOMENT.replace(tzinfo=UTC), dt.datetime(1970, 1, 1, tzinfo=UTC)]),
    ("berlin", pa.timestamp("ms", tz="Europe/Berlin"), [dt.datetime(2026, 7, 1, tzinfo=UTC), None]),
    ("decimal9", pa.decimal128(9, 2), [decimal.Decimal("1234567.89"), decimal.Decimal("-0.01")]),
    ("decimal18", pa.decimal128(18, 4), [decimal.Decimal("12345678901234.5678"), decimal.Decimal(0)]),
    ("decimal38", pa.decimal128(38, 10), [decimal.Decimal("1234567890123456789012345678.0123456789"), None]),
    ("decimal256", pa.decimal256(38, 0), [decimal.Decimal(10**37), decimal.Decimal(-1)]),
    ("decimal_hundreds", pa.decimal128(5, -2), [decimal.Decimal(12300), decimal.Decimal(-100)]),
    ("list", pa.list_(pa.int32()), [[1, None, 3], []]),
    ("large_list", pa.large_list(pa.string()), [["a"], None]),
    ("fixed_list", pa.list_(pa.int16(), 2), [[1, 2], [3, 4]]),
    ("list_view", pa.list_view(pa.int64()), [[1], [2, 3]]),
    ("list_of_uint32", pa.list_(pa.uint32()), [[2**32 - 1], []]),
    ("struct", pa.struct({"a": pa.int8(), "ü b": pa.string()}), [{"a": 1, "ü b": "x"}, {"a": None, "ü b": None}]),
    ("map", pa.map_(pa.string(), pa.float64()), [[("k", 1.0)], []]),
    (
        "deep",
        pa.list_(pa.struct({"m": pa.map_(pa.string(), pa.list_(pa.decimal128(5, 1)))})),
        # No null list here: pyiceberg 0.12 reads a null list of structs as an empty one (the file is right).
        [[{"m": [("k", [decimal.Decimal("1.5")])]}], [{"m": []}]],
    ),
]


def test_values_and_nulls_of_every_type_come_back_as_they_went_in(lake: Lake) -> None:
    batch = pa.record_batch({name: pa.array([*values, None], type_) for name, type_, values in ZOO if name != "deep"})

    lake.load(batch, batch)

    rows = lake.rows().to_pydict()
    assert rows == {name: [*values, None] * 2 for name, _, values in ZOO if name != "deep"}


def test_nested_values_come_back_as_they_went_in(lake: Lake) -> None:
    name, type_, values = ZOO[-1]

    lake.load(pa.record_batch({name: pa.array(values, type_)}))

    assert lake.rows()[name].to_pylist() == values


def test_a_null_list_of_structs_is_null_in_the_file(lake: Lake) -> None:
    array = pa.array([None, [], [None]], pa.list_(pa.struct({"a": pa.int8()})))

    lake.load(pa.record_batch({"c": array}))

    (file,) = lake.data_files()
    assert pq.read_table(file)["c"].to_pylist() == [None, [], [None]]


def test_the_largest_unsigned_number_is_a_decimal(lake: Lake) -> None:
    lake.load(pa.record_batch({"c": pa.array([2**64 - 1, 0, None], pa.uint64())}))

    with lake.table() as table:
        assert table.schema().find_type("c") == DecimalType(20, 0)
    assert lake.rows()["c"].to_pylist() == [decimal.Decimal(2**64 - 1), decimal.Decimal(0), None]


def test_a_uuid_stays_a_uuid(lake: Lake) -> None:
    value = uuid.uuid4()
    storage = pa.array([value.bytes, None], pa.binary(16))

    lake.load(pa.record_batch({"c": pa.ExtensionArray.from_storage(pa.uuid(), storage)}))

    with lake.table() as table:
        assert table.schema().find_type("c") == UUIDType()
    assert lake.rows()["c"].to_pylist() == [value, None]


def test_json_is_a_string(lake: Lake) -> None:
    storage = pa.array(['{"a": 1}', None], pa.string())

    lake.load(pa.record_batch({"c": pa.ExtensionArray.from_storage(pa.json_(), storage)}))

    assert lake.rows()["c"].to_pylist() == ['{"a": 1}', None]


EXPECTED: list[tuple[pa.DataType, object]] = [
    (pa.int8(), IntegerType()),
    (pa.uint16(), IntegerType()),
    (pa.uint32(), LongType()),
    (pa.time32("s"), TimeType()),
    (pa.timestamp("ns"), TimestampType()),
    (pa.timestamp("s", tz="+02:00"), TimestamptzType()),
    (pa.dictionary(pa.int32(), pa.large_string()), StringType()),
    (pa.binary(7), FixedType(7)),
    (pa.decimal256(10, 3), DecimalType(10, 3)),
]


def test_arrow_types_become_the_iceberg_types_that_hold_them(lake: Lake) -> None:
    lake.load(schema=pa.schema([(str(arrow), arrow) for arrow, _ in EXPECTED]))

    with lake.table() as table:
        found = {field.name: field.field_type for field in table.schema().fields}
    assert found == {str(arrow): iceberg for arrow, iceberg in EXPECTED}


@pytest.mark.parametrize(
    "type_",
    [
        pa.null(),
        pa.duration("s"),
        pa.month_day_nano_interval(),
        pa.decimal256(39, 0),
        pa.struct([]),
        pa.dense_union([pa.field("a", pa.int8())]),
        pa.list_(pa.struct({"x": pa.duration("us")})),
    ],
    ids=str,
)
def test_a_type_that_iceberg_lacks_is_refused_with_its_column_and_a_way_out(lake: Lake, type_: pa.DataType) -> None:
    with lake.run(None) as run, pytest.raises(SchemaValidationError, match=r"column c\b.*Iceberg has no type") as error:
        run.table.open(pa.schema([("c", type_)]))

    assert error.value.hint
    assert not lake.exists()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (pa.array([1], pa.timestamp("ns")), "would lose data"),
        (pa.array([1], pa.time64("ns")), "would lose data"),
        (pa.array([86_400_000_000], pa.int64()).cast(pa.time64("us"), safe=False), "24:00"),
        (pa.array([2**62], pa.timestamp("s")), "out of bounds"),
    ],
    ids=["nanoseconds", "nanoseconds of a time", "24:00", "far future"],
)
def test_a_value_that_iceberg_cannot_hold_is_refused_and_never_rounded(lake: Lake, array: pa.Array, said: str) -> None:
    with lake.run(pa.schema([("c", array.type)])) as run, pytest.raises(DataValidationError, match=said) as error:
        run.table.write(pa.record_batch({"c": array}))

    assert error.value.details["column"] == "c"


def test_a_null_in_a_required_column_is_refused(lake: Lake) -> None:
    schema = pa.schema([pa.field("c", pa.int64(), nullable=False)])

    with lake.run(schema) as run:
        run.table.write(pa.RecordBatch.from_arrays([pa.array([None], pa.int64())], schema=schema))
        with pytest.raises(DataValidationError):
            run.commit()

    assert not lake.exists()


def test_docs_requirements_and_identifiers_are_in_the_tables_schema(lake: Lake) -> None:
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False, metadata={"doc": "the number"}),
            pa.field("name", pa.string(), metadata={"other": "x"}),
        ]
    )

    lake.load(schema=schema, primary_key=("id",))

    with lake.table() as table:
        fields = table.schema().fields
        assert table.format_version == 2
        assert fields == (
            NestedField(1, "id", LongType(), required=True, doc="the number"),
            NestedField(2, "name", StringType(), required=False),
        )
        assert table.schema().identifier_field_names() == {"id"}


@pytest.mark.parametrize("key", [("name",), ("id", "missing")], ids=["nullable", "missing"])
def test_a_key_that_iceberg_does_not_allow_as_identifier_is_left_out(lake: Lake, key: tuple[str, ...]) -> None:
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])

    lake.load(schema=schema, primary_key=key)

    with lake.table() as table:
        assert table.schema().identifier_field_names() == set()


@pytest.mark.parametrize("names", [("a", "A"), ("a", "a")])
def test_columns_of_one_name_are_refused(lake: Lake, names: tuple[str, str]) -> None:
    with lake.run(None) as run, pytest.raises(SchemaValidationError):
        run.table.open(pa.schema([(name, pa.int64()) for name in names]))


def test_a_dotted_name_beside_a_struct_of_that_name_is_refused(lake: Lake) -> None:
    schema = pa.schema([("a.b", pa.int64()), ("a", pa.struct({"b": pa.int64()}))])

    with lake.run(None) as run, pytest.raises(SchemaValidationError, match="cannot be told apart"):
        run.table.open(schema)


def test_names_of_all_kinds_come_back(lake: Lake) -> None:
    names = ["名前", "with space", "a.b", "naïve", "1st", "quote\"'", "slash/", "emoji 🦆", "__x", "%"]
    batch = pa.record_batch({name: pa.array([number]) for number, name in enumerate(names)})

    lake.load(batch)
    lake.load(batch)

    assert lake.rows().to_pydict() == {name: [number] * 2 for number, name in enumerate(names)}


@pytest.mark.parametrize("name", ["Ünïcode", "with space", "percent%20", "hash#1", "question?"])
def test_tables_may_be_called_anything(lake: Lake, name: str) -> None:
    lake.load(pa.record_batch({"id": [1]}), name=name)
    lake.load(pa.record_batch({"id": [2]}), name=name)

    with lake.run(None, name) as run:
        assert run.before.generation == 2
    assert lake.values(name=name) == [1, 2]


def test_a_thousand_columns_and_columns_of_nothing_but_nulls(lake: Lake) -> None:
    schema = pa.schema([(f"c{number}", pa.string() if number % 2 else pa.int64()) for number in range(1000)])
    batch = pa.RecordBatch.from_arrays([pa.nulls(10, field.type) for field in schema], schema=schema)

    lake.load(batch, batch.slice(0, 0), batch)

    rows = lake.rows()
    assert (rows.num_rows, rows.num_columns) == (20, 1000)
    assert all(column.null_count == 20 for column in rows.columns)


def test_empty_batches_make_no_files(lake: Lake) -> None:
    batch = pa.record_batch({"id": pa.array([], pa.int64())})

    receipt = lake.load(batch, batch)

    assert receipt.files == 0
    assert lake.data_files() == []
