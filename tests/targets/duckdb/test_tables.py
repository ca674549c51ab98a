from __future__ import annotations

import datetime as dt
import decimal
import uuid

import duckdb
import pyarrow as pa
import pytest

from dativo_ingest.targets.duckdb import DuckDBWriter
from dativo_plugin_sdk import InvalidConfigError, SchemaValidationError, TableSpec, TargetConfig

D = decimal.Decimal
NAIVE = dt.datetime(2024, 2, 29, 23, 59, 59)  # noqa: DTZ001  a moment without a zone is what is meant
CASES = {
    "bool": (pa.array([True, None]), "BOOLEAN", True),
    "i8": (pa.array([-128, None], pa.int8()), "TINYINT", -128),
    "u64": (pa.array([2**64 - 1, None], pa.uint64()), "UBIGINT", 2**64 - 1),
    "f16": (pa.array([1.5, None], pa.float16()), "FLOAT", 1.5),
    "f64": (pa.array([1e308, None]), "DOUBLE", 1e308),
    "dec": (pa.array([D("-1.05"), None], pa.decimal128(38, 9)), "DECIMAL(38,9)", D("-1.050000000")),
    "dec64": (pa.array([D("1.5"), None], pa.decimal64(9, 1)), "DECIMAL(9,1)", D("1.5")),
    "dec256": (pa.array([D("1.25"), None], pa.decimal256(30, 2)), "DECIMAL(30,2)", D("1.25")),
    "text": (pa.array(["ü\U0001f4a1", None]), "VARCHAR", "ü\U0001f4a1"),
    "large": (pa.array(["x", None], pa.large_string()), "VARCHAR", "x"),
    "raw": (pa.array([b"\x00\xff", None]), "BLOB", b"\x00\xff"),
    "fixed": (pa.array([b"abcd", None], pa.binary(4)), "BLOB", b"abcd"),
    "day": (pa.array([dt.date(1, 1, 1), None]), "DATE", dt.date(1, 1, 1)),
    "ms": (pa.array([NAIVE, None], pa.timestamp("ms")), "TIMESTAMP_MS", NAIVE),
    "us": (pa.array([NAIVE, None], pa.timestamp("us")), "TIMESTAMP", NAIVE),
    "time": (pa.array([dt.time(23, 59, 59, 999999), None]), "TIME", dt.time(23, 59, 59, 999999)),
    "span": (pa.array([dt.timedelta(days=2, microseconds=7), None]), "INTERVAL", dt.timedelta(days=2, microseconds=7)),
    "list": (pa.array([[1, None], None], pa.list_(pa.int8())), "TINYINT[]", [1, None]),
    "pair": (pa.array([[1.5, 2.5], None], pa.list_(pa.float16(), 2)), "FLOAT[2]", (1.5, 2.5)),
    "nested": (
        pa.array([{'a "b"': [{"c": "d"}]}, None]),
        'STRUCT("a ""b""" STRUCT(c VARCHAR)[])',
        {'a "b"': [{"c": "d"}]},
    ),
    "map": (pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int32())), "MAP(VARCHAR, INTEGER)", {"k": 1}),
    "dict": (pa.array(["a", None], pa.dictionary(pa.int32(), pa.string())), "VARCHAR", "a"),
    "nothing": (pa.nulls(2), "VARCHAR", None),
    "json": (
        pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(['{"a": 1}', None])),
        "JSON",
        '{"a": 1}',
    ),
    "uuid": (
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.UUID(int=7).bytes, None], pa.binary(16))),
        "UUID",
        uuid.UUID(int=7),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("write", ["append", "merge"])
def test_a_type_is_kept_without_loss(load, ask, name, write):
    values, sql_type, expected = CASES[name]

    load(pa.record_batch({"id": [1, 2], name: values}), write=write, primary_key=("id",))

    assert ask(f"SELECT data_type FROM duckdb_columns() WHERE column_name = '{name}'") == [(sql_type,)]
    assert ask(f"SELECT {name} FROM raw.orders ORDER BY id") == [(expected,), (None,)]


@pytest.mark.parametrize(
    ("unit", "sql_type"),
    [
        pytest.param("s", "TIMESTAMP WITH TIME ZONE", id="seconds"),
        pytest.param("us", "TIMESTAMP WITH TIME ZONE", id="microseconds"),
        pytest.param("ns", "TIMESTAMPTZ_NS", id="nanoseconds"),
    ],
)
def test_moments_are_kept_whatever_their_zone(load, ask, unit, sql_type):
    at = pa.array([1_700_000_000], pa.timestamp("s", "Asia/Kolkata")).cast(pa.timestamp(unit, "Asia/Kolkata"))

    load(pa.record_batch({"at": at}))

    assert ask('SELECT epoch("at"::TIMESTAMPTZ)::BIGINT, typeof("at") FROM raw.orders') == [(1_700_000_000, sql_type)]


@pytest.mark.parametrize(
    "arrow_type",
    [pa.duration("ns"), pa.decimal256(50, 2), pa.struct([]), pa.month_day_nano_interval(), pa.list_(pa.duration("ns"))],
    ids=str,
)
def test_a_type_that_would_lose_something_is_named(table, arrow_type):
    with pytest.raises(SchemaValidationError, match="column odd: DuckDB has no type"):
        table().open(pa.schema({"odd": arrow_type}))


@pytest.mark.parametrize(
    "name", ['quo"te', "a space", "select", "ünï 💡", "semi;colon", "--", "1st", "new", "old", "a" * 500, "t.x"]
)
def test_any_name_is_a_name(load, ask, name):
    batch = pa.record_batch({name: [1, 1], "value": ["a", "b"]})

    load(batch, name=name, namespace=name, write="merge", primary_key=(name,), options={"sort_by": [name]})

    quoted = '"' + name.replace('"', '""') + '"'
    assert ask(f"FROM {quoted}.{quoted}") == [(1, "b")]


@pytest.mark.parametrize("name", ["shop", "_dativo", "main", "temp"])
def test_a_file_may_be_called_as_a_schema_is(tmp_path, request_of, name):
    batch = pa.record_batch({"id": [1]})
    namespace = "main" if name == "_dativo" else name
    for generation in (0, 1):
        writer = DuckDBWriter(TargetConfig(type="duckdb", connection={"path": str(tmp_path / f"{name}.duckdb")}))
        spec = TableSpec(name, namespace, "job", name, f"run-{generation}", write="merge", primary_key=("id",))
        table = writer.table(spec)

        assert table.load_state().generation == generation

        table.open(batch.schema)
        table.write(batch)
        table.commit(request_of(generation))
        writer.close()


def test_a_stream_without_columns_leaves_those_of_the_table(load, ask):
    strict = pa.schema([pa.field("id", pa.int64(), nullable=False)])
    nothing = pa.record_batch([], schema=pa.schema([]))
    load(pa.record_batch({"id": [1]}, schema=strict))

    for generation, write in enumerate(["append", "merge", "overwrite"], 1):
        _, changes = load(nothing, generation=generation, write=write, primary_key=("id",))

        assert changes == []

    assert ask("SELECT column_name, is_nullable FROM duckdb_columns() WHERE table_name = 'orders'") == [("id", False)]
    assert ask("FROM raw.orders") == []


def test_a_table_cannot_begin_without_columns(table):
    with pytest.raises(SchemaValidationError, match=r"raw\.orders: a DuckDB table needs at least one column"):
        table().open(pa.schema([]))


def test_columns_that_differ_in_capitals_only_are_refused(table):
    with pytest.raises(SchemaValidationError, match="'Id' and 'id' are one name"):
        table().open(pa.schema({"Id": pa.int64(), "id": pa.int64()}))


def test_a_stream_follows_the_tables_spelling(load, ask):
    load(pa.record_batch({"Id": [1]}))

    _, changes = load(pa.record_batch({"id": [2]}), generation=1)

    assert changes == []
    assert ask("SELECT * FROM raw.orders ORDER BY 1") == [(1,), (2,)]


def test_columns_are_added_widened_and_relaxed_with_the_rows(load, ask):
    strict = pa.schema(
        [
            pa.field("id", pa.int32(), nullable=False),
            pa.field("price", pa.decimal128(5, 2)),
            pa.field("at", pa.timestamp("s")),
            pa.field("small", pa.uint8()),
        ]
    )
    load(
        pa.record_batch(
            [pa.array([1], pa.int32()), [D("1.25")], pa.array([5], pa.timestamp("s")), [200]], schema=strict
        )
    )
    wide = pa.record_batch(
        {
            "new": ["x"],
            "id": pa.array([None], pa.int64()),
            "price": pa.array([D("12345.6789")], pa.decimal128(12, 4)),
            "at": pa.array([7], pa.timestamp("us")),
            "small": pa.array([-1], pa.int8()),
        }
    )

    _, changes = load(wide, generation=1)

    assert changes == [
        "added new VARCHAR",
        "widened id from INTEGER to BIGINT",
        "id may be null",
        "widened price from DECIMAL(5,2) to DECIMAL(12,4)",
        "widened at from TIMESTAMP_S to TIMESTAMP",
        "widened small from UTINYINT to SMALLINT",
    ]
    assert ask('SELECT id, price, epoch_us("at"), small, new FROM raw.orders ORDER BY id') == [
        (1, D("1.2500"), 5_000_000, 200, None),
        (None, D("12345.6789"), 7, -1, "x"),
    ]


def test_a_narrower_stream_and_missing_columns_change_nothing(load, ask):
    load(pa.record_batch({"id": [1], "name": ["a"]}))

    _, changes = load(pa.record_batch({"id": pa.array([2], pa.int16())}), generation=1)

    assert changes == []
    assert ask("FROM raw.orders ORDER BY id") == [(1, "a"), (2, None)]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        pytest.param({"id": pa.string()}, "id is BIGINT there and VARCHAR here", id="number to text"),
        pytest.param({"id": pa.float64()}, "id is BIGINT there and DOUBLE here", id="integer to float"),
        pytest.param({"other": pa.int64()}, "id is required there and missing here", id="required column gone"),
    ],
)
@pytest.mark.parametrize("write", ["append", "overwrite"])
def test_a_schema_that_would_lose_something_is_refused(load, table, schema, message, write):
    load(pa.record_batch([pa.array([1])], schema=pa.schema([pa.field("id", pa.int64(), nullable=False)])))

    with pytest.raises(SchemaValidationError, match=message):
        table(run_id="run-2", write=write).open(pa.schema(schema))


def test_a_view_is_no_table(load, path, table):
    load(pa.record_batch({"id": [1]}))
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE VIEW raw.v AS SELECT 1 AS id")

    with pytest.raises(SchemaValidationError, match=r"raw\.v is a view"):
        table(name="v").open(pa.schema({"id": pa.int32()}))


def test_rows_are_stored_in_the_order_asked_for(load, ask):
    batch = pa.record_batch({"a": [2, None, 1], "b": ["x", "y", "z"]})

    load(batch, batch, options={"sort_by": ["a desc nulls first", "b"]})

    assert ask("SELECT a FROM raw.orders ORDER BY rowid") == [(None,), (None,), (2,), (2,), (1,), (1,)]


def test_a_thousand_columns_of_nulls_and_numbers_land(load, ask):
    batch = pa.record_batch({f"c{number}": pa.array([None, number, None, 3] * 100) for number in range(1000)})

    load(batch, batch)

    assert ask("SELECT count(*), count(c7), sum(c999) FROM raw.orders") == [(800, 400, 200_400)]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param(
            {"options": {"partition_by": ["id"]}}, r"streams\.orders\.partition_by: DuckDB tables", id="partition"
        ),
        pytest.param({"options": {"properties": {"a": "b"}}}, "no properties", id="properties"),
        pytest.param({"options": {"sort_bye": "id"}}, "did you mean sort_by", id="misspelt"),
        pytest.param({"namespace": "_dativo"}, "choose another", id="our own namespace"),
    ],
)
def test_what_duckdb_cannot_do_is_a_configuration_error(table, spec, message):
    with pytest.raises(InvalidConfigError, match=message):
        table(**spec)


def test_a_sort_column_that_is_missing_is_a_configuration_error(table):
    with pytest.raises(InvalidConfigError, match="no column 'nope'; there are: id"):
        table(options={"sort_by": "nope desc"}).open(pa.schema({"id": pa.int64()}))


def test_an_index_of_the_users_own_does_not_keep_rows_out(load, path, ask):
    load(pa.record_batch({"id": [1], "v": ["a"]}))
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE UNIQUE INDEX own ON raw.orders (id)")

    receipt, _ = load(
        pa.record_batch({"id": [1, 2], "v": ["A", "B"]}), generation=1, write="merge", primary_key=("id",)
    )

    assert (receipt.inserted, receipt.updated) == (1, 1)
    assert ask("FROM raw.orders ORDER BY id") == [(1, "A"), (2, "B")]
