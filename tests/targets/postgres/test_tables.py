from __future__ import annotations

import decimal

import pyarrow as pa
import pytest

from dativo_plugin_sdk import InvalidConfigError, SchemaValidationError

D = decimal.Decimal


@pytest.mark.parametrize(
    "name", ['quo"te', "a space", "select", "ünï 💡", "semi;colon", "--", "1st", "new", "old", "100%s $1 {0}", "t.x"]
)
def test_any_name_is_a_name(load, postgres, name):
    batch = pa.record_batch({name: [1, 1], "value": ["a", "b"]})

    load(batch, name=name, namespace=name, stream=name, write="merge", primary_key=(name,))
    load(batch, name=name, namespace=name, stream=name, write="merge", primary_key=(name,), generation=1)

    quoted = '"' + name.replace('"', '""') + '"'
    assert postgres.ask(f"SELECT * FROM {quoted}.{quoted}") == [(1, "b")]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param({"name": "t" * 64}, "table t+ has 64 bytes", id="table"),
        pytest.param({"name": "ü" * 30}, "ü+__quarantine has 72 bytes", id="table beside it"),
        pytest.param({"namespace": "n" * 64}, "namespace n+ has 64 bytes", id="namespace"),
        pytest.param({"namespace": "pg_mine"}, "Postgres keeps this schema", id="reserved"),
        pytest.param({"name": "_dativo_state"}, "Dativo keeps its state", id="our own"),
        pytest.param({"options": {"partition_by": ["id"]}}, "Dativo makes plain tables", id="partitions"),
        pytest.param({"options": {"sort_by": ["id"]}}, "keep no order", id="order"),
        pytest.param({"options": {"properties": {"a": "b"}}}, "no properties", id="properties"),
        pytest.param({"options": {"lock_timeout": 1}}, "did you mean lock_timeout_s", id="misspelt"),
    ],
)
def test_what_postgres_cannot_do_is_a_configuration_error(table, spec, message):
    with pytest.raises(InvalidConfigError, match=message):
        table(**spec)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(["c" * 64], "column c+ has 64 bytes", id="long"),
        pytest.param(["a\0b"], "cannot be the name of a column", id="nul"),
        pytest.param([""], "cannot be the name of a column", id="empty"),
        pytest.param(["ctid"], "conflicts with a system column", id="system column"),
        pytest.param(["a", "a"], "column a is there twice", id="twice"),
        pytest.param([f"c{number}" for number in range(1601)], "has 1601 columns, .* at most 1600", id="too many"),
        pytest.param([], "needs at least one column", id="none"),
    ],
)
def test_columns_that_postgres_cannot_have_are_named(table, names, message):
    with pytest.raises(SchemaValidationError, match=message):
        table().open(pa.schema([pa.field(name, pa.int64()) for name in names]))


@pytest.mark.parametrize("write", ["append", "merge"])
def test_a_thousand_columns_of_nulls_and_numbers_land(load, ask, write):
    columns = {f"c{number}": pa.array([None, number, None, 3] * 10, pa.int32()) for number in range(1000)}
    batch = pa.record_batch({"id": range(40), **columns})

    load(batch, write=write, primary_key=("id",))

    assert ask("SELECT count(*), count(c7), sum(c999) FROM orders") == [(40, 20, 10_020)]


def test_a_row_that_is_larger_than_a_page_tells_what_to_do(load):
    batch = pa.record_batch({f"c{number}": [1.5] for number in range(1600)})

    with pytest.raises(SchemaValidationError, match="row is too big") as caught:
        load(batch)

    assert "json" in str(caught.value.hint)


def test_a_large_cell_lands(load, ask):
    load(pa.record_batch({"id": [1, 2], "text": ["x" * 20_000_000, "y"]}), generation=0, buffer_bytes=1000)

    assert ask("SELECT length(text) FROM orders ORDER BY id") == [(20_000_000,), (1,)]


def test_a_stream_without_columns_leaves_those_of_the_table(load, ask):
    strict = pa.schema([pa.field("id", pa.int64(), nullable=False)])
    nothing = pa.record_batch([], schema=pa.schema([]))
    load(pa.record_batch({"id": [1]}, schema=strict))

    for generation, write in enumerate(["append", "merge", "overwrite"], 1):
        _, changes = load(nothing, generation=generation, write=write, primary_key=("id",))

        assert changes == []

    assert ask("SELECT attnotnull FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0") == [(True,)]
    assert ask("SELECT * FROM orders") == []


def test_names_that_differ_in_capitals_are_two(load, ask):
    load(pa.record_batch({"Id": [1], "id": [2]}))

    assert ask('SELECT "Id", id FROM orders') == [(1, 2)]


def test_columns_are_added_widened_and_relaxed_with_the_rows(load, ask):
    strict = pa.schema(
        [
            pa.field("id", pa.int32(), nullable=False),
            pa.field("price", pa.decimal128(5, 2)),
            pa.field("small", pa.uint8()),
            pa.field("some", pa.list_(pa.int16())),
            pa.field("about", pa.float32()),
        ]
    )
    load(
        pa.record_batch(
            [pa.array([1], pa.int32()), [D("1.25")], pa.array([200], pa.uint8()), [[1]], [0.1]], schema=strict
        )
    )
    ask("ALTER TABLE orders ADD COLUMN code varchar(3)")
    wide = pa.record_batch(
        {
            "new": ["x"],
            "id": pa.array([None], pa.int64()),
            "price": pa.array([D("12345.6789")], pa.decimal128(12, 4)),
            "small": pa.array([2**64 - 1], pa.uint64()),
            "some": pa.array([[2**40]]),
            "about": [0.5],
            "code": ["longer"],
        }
    )

    _, changes = load(wide, generation=1)

    assert changes == [
        "added new text",
        "widened id from integer to bigint",
        "id may be null",
        "widened price from numeric(5,2) to numeric(12,4)",
        "widened small from smallint to numeric(20,0)",
        "widened some from smallint[] to bigint[]",
        "widened about from real to double precision",
        "widened code from character varying(3) to text",
    ]
    assert ask('SELECT id, price, small, "some", code, new FROM orders ORDER BY id') == [
        (1, D("1.2500"), D(200), [1], None, None),
        (None, D("12345.6789"), D(2**64 - 1), [2**40], "longer", "x"),
    ]


def test_a_narrower_stream_and_missing_columns_change_nothing(load, ask):
    load(pa.record_batch({"id": [1], "name": ["a"], "about": [0.5]}))
    narrow = pa.record_batch({"id": pa.array([2], pa.int16()), "about": pa.array([0.1], pa.float32())})

    _, changes = load(narrow, generation=1)

    assert changes == []
    exactly = pa.scalar(0.1, pa.float32()).cast(pa.float64()).as_py()
    assert ask("SELECT * FROM orders ORDER BY id") == [(1, "a", 0.5), (2, None, exactly)]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        pytest.param({"id": pa.string()}, "id is bigint there and text here", id="number to text"),
        pytest.param({"id": pa.float64()}, "id is bigint there and double precision here", id="integer to float"),
        pytest.param({"other": pa.int64()}, "id is required there and missing here", id="required column gone"),
    ],
)
@pytest.mark.parametrize("write", ["append", "overwrite"])
def test_a_schema_that_would_lose_something_is_refused(load, table, schema, message, write):
    load(pa.record_batch([pa.array([1])], schema=pa.schema([pa.field("id", pa.int64(), nullable=False)])))

    with pytest.raises(SchemaValidationError, match=message):
        table(run_id="run-2", write=write).open(pa.schema(schema))


def test_a_table_of_the_users_own_keeps_its_defaults_types_and_partitions(load, ask, namespace):
    ask(f'CREATE SCHEMA "{namespace}"')
    ask(
        "CREATE TABLE orders (key bigint GENERATED ALWAYS AS IDENTITY, made timestamptz NOT NULL DEFAULT now(),"
        " id integer NOT NULL, code varchar, doc json, amount numeric, doubled integer GENERATED ALWAYS AS (id * 2)"
        " STORED) PARTITION BY RANGE (id)"
    )
    ask("CREATE TABLE low PARTITION OF orders FOR VALUES FROM (0) TO (10)")
    batch = pa.record_batch(
        {
            "id": pa.array([7, 7], pa.int32()),
            "code": ["a", "b"],
            "doc": pa.array([{"a": 1}, None]),
            "amount": pa.array([D("1.50"), None], pa.decimal128(9, 2)),
        },
        schema=pa.schema(
            [
                pa.field("id", pa.int32(), nullable=False),
                pa.field("code", pa.string()),
                pa.field("doc", pa.struct({"a": pa.int64()})),
                pa.field("amount", pa.decimal128(9, 2)),
            ]
        ),
    )

    _, changes = load(batch)
    load(batch.slice(1), generation=1, write="merge", primary_key=("id", "code"))

    assert changes == []
    assert ask("SELECT key, made IS NULL, id, code, doc, amount, doubled FROM low ORDER BY key") == [
        (1, False, 7, "a", {"a": 1}, D("1.50"), 14),
        (2, False, 7, "b", None, None, 14),
    ]


def test_a_column_that_the_database_computes_cannot_be_loaded(load, ask, namespace):
    ask(f'CREATE SCHEMA "{namespace}"')
    ask("CREATE TABLE orders (id bigint, doubled bigint GENERATED ALWAYS AS (id * 2) STORED)")

    with pytest.raises(SchemaValidationError, match="doubled"):
        load(pa.record_batch({"id": [1], "doubled": [2]}))


def test_a_view_is_no_table(load, table, ask):
    load(pa.record_batch({"id": [1]}))
    ask("CREATE VIEW v AS SELECT 1 AS id")

    with pytest.raises(SchemaValidationError, match=r"\.v is no table"):
        table(name="v").open(pa.schema({"id": pa.int32()}))


def test_without_a_namespace_tables_are_in_public(load, postgres):
    load(pa.record_batch({"id": [1]}), namespace=None, name="without_namespace")

    assert postgres.ask("SELECT * FROM public.without_namespace") == [(1,)]
