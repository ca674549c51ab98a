import json
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from dativo_ingest.steps.conform import conform
from dativo_plugin_sdk import REJECTED_SCHEMA, DataValidationError, Rows

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])


def test_a_batch_of_the_schema_passes_without_a_copy():
    batch = pa.record_batch({"id": [1, 2], "name": ["a", None]}, schema=SCHEMA)

    result = conform(Rows(batch), SCHEMA)

    assert result.rejected is None
    assert (result.missing, result.extra) == ((), ())
    assert all(new is old for new, old in zip(result.batch.columns, batch.columns, strict=True)) or [
        buffer.address for column in result.batch.columns for buffer in column.buffers() if buffer
    ] == [buffer.address for column in batch.columns for buffer in column.buffers() if buffer]


def test_columns_are_found_by_name_and_come_in_the_schemas_order():
    batch = pa.record_batch({"name": ["a"], "ID": [9], "id": [1]})

    result = conform(Rows(batch), SCHEMA)

    assert result.batch.schema.equals(SCHEMA, check_metadata=True)
    assert result.batch.to_pylist() == [{"id": 1, "name": "a"}]
    assert result.extra == ("ID",)


def test_a_missing_column_that_may_be_null_is_null():
    result = conform(Rows(pa.record_batch({"id": [1, 2]})), SCHEMA)

    assert result.missing == ("name",)
    assert result.batch["name"].to_pylist() == [None, None]


def test_a_missing_column_that_must_not_be_null_stops_the_stream():
    with pytest.raises(DataValidationError) as caught:
        conform(Rows(pa.record_batch({"Id": [1], "name": ["a"]})), SCHEMA)

    assert str(caught.value) == "required column id is missing; there are: Id, name"
    assert caught.value.details["missing"] == ["id"]


def test_a_wanted_name_that_comes_twice_stops_the_stream():
    batch = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["id", "id"])

    with pytest.raises(DataValidationError, match="column id comes more than once"):
        conform(Rows(batch), SCHEMA)


def test_rows_of_a_stream_without_columns_stop_it_and_do_not_disappear():
    with pytest.raises(DataValidationError, match="had no columns; the rows have: id"):
        conform(Rows(pa.record_batch({"id": [1]})), pa.schema([]))


def test_rejected_rows_say_column_rule_reason_row_source_and_line():
    batch = pa.record_batch({"id": ["1", "x", None, "4"], "name": [b"a", b"\xff", b"c", b"\xff"]})

    result = conform(Rows(batch, source="orders.csv", first_line=2), SCHEMA)

    assert result.batch.to_pylist() == [{"id": 1, "name": "a"}]
    assert result.rejected.schema == REJECTED_SCHEMA
    rejected = result.rejected.to_pylist()
    assert [(row["column"], row["rule"], row["source"], row["line"]) for row in rejected] == [
        ("id", "type", "orders.csv", 3),
        ("id", "required", "orders.csv", 4),
        ("name", "type", "orders.csv", 5),
    ]
    assert [row["reason"] for row in rejected] == [
        '"x" (string) does not fit int64 without loss; and 1 more column',
        "null where a value is required",
        '"/w==" (binary) does not fit string without loss',
    ]
    assert json.loads(rejected[0]["row"]) == {"id": "x", "name": "/w=="}


def test_lines_of_rows_that_spread_over_several_come_from_the_reader():
    batch = pa.record_batch({"id": ["x", "2", "y"], "name": ["a", "b", "c"]})

    result = conform(Rows(batch, source="f", lines=pa.array([2, 5, 9])), SCHEMA)

    assert result.rejected["line"].to_pylist() == [2, 9]


def test_lines_that_nobody_knows_are_null():
    result = conform(Rows(pa.record_batch({"id": ["x"], "name": ["a"]})), SCHEMA)

    assert result.rejected["line"].to_pylist() == [None]
    assert result.rejected["source"].to_pylist() == [None]


def test_a_reason_repeats_at_most_a_hundred_characters_of_a_value():
    result = conform(Rows(pa.record_batch({"id": ["x" * 5000]})), SCHEMA)

    (reason,) = result.rejected["reason"].to_pylist()
    assert len(reason) < 200
    assert len(json.loads(result.rejected["row"][0].as_py())["id"]) == 5000


def test_values_that_python_has_no_dates_for_reach_the_row_as_text():
    batch = pa.record_batch(
        {
            "id": pa.array(["x"]),
            "bc": pa.array([-800_000], pa.int32()).cast(pa.date32()),
            "far": pa.array([2**62], pa.int64()).cast(pa.timestamp("us")),
            "nano": pa.array([1], pa.timestamp("ns")),
            "nan": pa.array([float("nan")]),
            "map": pa.array([[("k", Decimal("1.10"))]], pa.map_(pa.string(), pa.decimal128(5, 2))),
            "pair": pa.array([[(1, 2)]], pa.map_(pa.int8(), pa.int8())),
            "dict": pa.array(["a"]).dictionary_encode(),
            "empty": pa.array([{}], pa.struct([])),
        }
    )

    result = conform(Rows(batch), SCHEMA)

    row = json.loads(result.rejected["row"][0].as_py())
    assert row["bc"] == "-0221-09-04"
    assert row["nano"] == "1970-01-01 00:00:00.000000001"
    assert row["nan"] == "NaN"
    assert row["map"] == {"k": "1.10"}
    assert row["pair"] == [[1, 2]]
    assert row["dict"] == "a"
    assert row["empty"] == {}
    assert "out of range" in row["far"] or row["far"].startswith("1")


def test_a_null_inside_a_struct_or_list_that_must_not_be_null_is_rejected():
    inner = pa.struct([pa.field("zip", pa.string(), nullable=False)])
    schema = pa.schema([("address", inner), ("tags", pa.list_(pa.field("item", pa.int8(), nullable=False)))])
    loose = pa.record_batch(
        {
            "address": pa.array([{"zip": "1"}, {"zip": None}, None, {"zip": "4"}]),
            "tags": [[1], [1], None, [1, None]],
        }
    )

    result = conform(Rows(loose), schema)

    assert result.batch.to_pylist() == [{"address": {"zip": "1"}, "tags": [1]}, {"address": None, "tags": None}]
    assert [(row["column"], row["rule"]) for row in result.rejected.to_pylist()] == [
        ("address", "required"),
        ("tags", "required"),
    ]


def test_fields_inside_a_struct_without_a_place_count_as_extra():
    schema = pa.schema([("address", pa.struct([("zip", pa.string())]))])

    result = conform(Rows(pa.record_batch({"address": [{"zip": "1", "city": "x"}]})), schema)

    assert result.extra == ("address.city",)
    assert result.batch.to_pylist() == [{"address": {"zip": "1"}}]


def test_a_json_column_takes_nested_values_as_json():
    schema = pa.schema([pa.field("doc", pa.string(), metadata={"dativo.logical_type": "json"})])

    result = conform(Rows(pa.record_batch({"doc": [{"a": 1}, None]})), schema)

    assert result.batch["doc"].to_pylist() == ['{"a": 1}', None]


def test_a_column_without_that_mark_does_not_take_them():
    result = conform(Rows(pa.record_batch({"doc": [{"a": 1}]})), pa.schema([("doc", pa.string())]))

    assert result.batch.num_rows == 0
    assert result.rejected.num_rows == 1


def test_a_thousand_columns_are_conformed_at_once():
    names = [f"c{index}" for index in range(1000)]
    batch = pa.record_batch({name: ["1", "2", "x" if name == "c999" else "3"] for name in reversed(names)})
    schema = pa.schema([(name, pa.int32()) for name in names])

    result = conform(Rows(batch), schema)

    assert result.batch.num_rows == 2
    assert result.batch.schema == schema
    assert result.rejected["column"].to_pylist() == ["c999"]


def test_a_batch_without_rows_conforms():
    result = conform(Rows(pa.record_batch({"id": pa.array([], pa.string())})), SCHEMA)

    assert result.batch.schema == SCHEMA
    assert (result.batch.num_rows, result.rejected) == (0, None)


WANTED = pa.schema(
    [
        pa.field("n", pa.int16(), nullable=False),
        pa.field("d", pa.decimal128(6, 2)),
        pa.field("t", pa.timestamp("us")),
        pa.field("l", pa.list_(pa.struct([pa.field("x", pa.int8(), nullable=False)]))),
    ]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.integers(0, 10**6),
            "n": st.none() | st.integers(-40_000, 40_000),
            "d": st.none() | st.floats(-1e5, 1e5).map(lambda value: round(value, 3)),
            "t": st.none() | st.sampled_from(["2024-02-29", "2023-02-29", "2024-01-01T10:00:00.5", "noon"]),
            "l": st.none() | st.lists(st.fixed_dictionaries({"x": st.none() | st.integers(0, 200)}), max_size=3),
        }
    ),
    max_size=40,
)
SOURCE = pa.schema(
    [
        ("key", pa.int64()),
        ("n", pa.int64()),
        ("d", pa.float64()),
        ("t", pa.string()),
        ("l", pa.list_(pa.struct([("x", pa.int64())]))),
    ]
)


@settings(max_examples=60)
@given(ROWS)
def test_every_row_is_kept_or_rejected_once_and_in_order(rows):
    schema = pa.schema([pa.field("key", pa.int64()), *WANTED])
    batch = pa.RecordBatch.from_pylist(rows, schema=SOURCE)

    result = conform(Rows(batch, first_line=1), schema)

    rejected = result.rejected.to_pylist() if result.rejected is not None else []
    assert result.batch.num_rows + len(rejected) == len(rows)
    lines = [row["line"] for row in rejected]
    assert lines == sorted(set(lines))
    assert [json.loads(row["row"])["key"] for row in rejected] == [rows[line - 1]["key"] for line in lines]
    assert result.batch["key"].to_pylist() == [row["key"] for line, row in enumerate(rows, 1) if line not in lines]
    result.batch.validate(full=True)


@settings(max_examples=60)
@given(ROWS)
def test_conforming_twice_changes_nothing_more(rows):
    batch = pa.RecordBatch.from_pylist(rows, schema=SOURCE)

    once = conform(Rows(batch), WANTED)
    twice = conform(Rows(once.batch), WANTED)

    assert twice.batch.equals(once.batch)
    assert (twice.rejected, twice.missing, twice.extra) == (None, (), ())


@settings(max_examples=60)
@given(ROWS, st.integers(0, 40))
def test_a_row_fares_the_same_whatever_rows_are_beside_it(rows, at):
    batch = pa.RecordBatch.from_pylist(rows, schema=SOURCE)

    whole = conform(Rows(batch), WANTED)
    parts = [conform(Rows(part), WANTED) for part in (batch.slice(0, at), batch.slice(at))]

    assert pa.concat_batches([part.batch for part in parts]).equals(whole.batch)
    rejected = [part.rejected for part in parts if part.rejected is not None]
    assert pa.Table.from_batches(rejected, REJECTED_SCHEMA).equals(
        pa.Table.from_batches([whole.rejected] if whole.rejected is not None else [], REJECTED_SCHEMA)
    )
