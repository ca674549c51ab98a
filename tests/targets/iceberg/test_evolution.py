"""A table's schema follows the stream's where nothing is lost, in the commit that brings the rows."""

import pyarrow as pa
import pytest
from iceberg_lake import NUMBERS, Lake, numbers
from pyiceberg.types import DecimalType, DoubleType, LongType, StringType

from dativo_plugin_sdk import ConcurrencyError, SchemaValidationError


def schema(**types: pa.DataType) -> pa.Schema:
    return pa.schema(list(types.items()))


def test_a_new_column_is_added_with_the_rows(lake: Lake) -> None:
    lake.load(numbers(1))
    wider = numbers(2).append_column("x", pa.array([7], pa.int64()))

    with lake.run(wider.schema) as run:
        run.table.write(wider)
        before = lake.rows().column_names
        run.commit()

    assert run.changes == ["added column x long"]
    assert before == ["id", "text"]
    assert lake.rows().sort_by("id")["x"].to_pylist() == [None, 7]
    with lake.table() as table:
        assert len(table.snapshots()) == 2
        assert len(table.metadata.metadata_log) == 1


def test_a_required_new_column_is_added_as_one_that_may_be_null(lake: Lake) -> None:
    lake.load(numbers(1))
    wider = pa.schema([*NUMBERS, pa.field("x", pa.int64(), nullable=False, metadata={"doc": "why"})])

    lake.load(pa.RecordBatch.from_arrays([*numbers(2).columns, pa.array([7])], schema=wider))

    with lake.table() as table:
        field = table.schema().find_field("x")
    assert (field.required, field.doc) == (False, "why")
    assert lake.rows().sort_by("id")["x"].to_pylist() == [None, 7]


@pytest.mark.parametrize(
    ("before", "after", "found", "said"),
    [
        (pa.int32(), pa.int64(), LongType(), "widened column c from int to long"),
        (pa.int16(), pa.uint32(), LongType(), "widened column c from int to long"),
        (pa.float32(), pa.float64(), DoubleType(), "widened column c from float to double"),
        (
            pa.decimal128(5, 2),
            pa.decimal128(20, 2),
            DecimalType(20, 2),
            "widened column c from decimal(5, 2) to decimal(20, 2)",
        ),
    ],
    ids=str,
)
def test_a_type_is_widened_and_old_rows_stay_readable(
    lake: Lake, before: pa.DataType, after: pa.DataType, found: object, said: str
) -> None:
    lake.load(pa.record_batch({"c": pa.array([1], before)}))

    with lake.run(schema(c=after)) as run:
        run.table.write(pa.record_batch({"c": pa.array([2], after)}))
        run.commit()

    assert run.changes == [said]
    assert lake.values("c") == [1, 2]
    with lake.table() as table:
        assert table.schema().find_type("c") == found


@pytest.mark.parametrize(
    ("table_type", "stream_type"),
    [(pa.int64(), pa.int8()), (pa.float64(), pa.float32()), (pa.decimal128(20, 2), pa.decimal128(5, 2))],
    ids=str,
)
def test_a_narrower_stream_fits_without_a_change(lake: Lake, table_type: pa.DataType, stream_type: pa.DataType) -> None:
    lake.load(pa.record_batch({"c": pa.array([1], table_type)}))

    with lake.run(schema(c=stream_type)) as run:
        run.table.write(pa.record_batch({"c": pa.array([2], stream_type)}))
        run.commit()

    assert run.changes == []
    assert lake.values("c") == [1, 2]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (pa.int64(), pa.string()),
        (pa.string(), pa.int64()),
        (pa.float64(), pa.decimal128(10, 2)),
        (pa.decimal128(10, 2), pa.decimal128(12, 3)),
        (pa.timestamp("us"), pa.timestamp("us", tz="UTC")),
        (pa.date32(), pa.timestamp("us")),
        (pa.int64(), pa.list_(pa.int64())),
        (pa.map_(pa.int32(), pa.string()), pa.map_(pa.int64(), pa.string())),
    ],
    ids=str,
)
def test_a_change_that_would_lose_something_is_refused(lake: Lake, before: pa.DataType, after: pa.DataType) -> None:
    lake.load(schema=schema(c=before))

    with (
        lake.run(None) as run,
        pytest.raises(SchemaValidationError, match=r"raw\.t: column c\b.* in the table") as error,
    ):
        run.table.open(schema(c=after))

    assert "contract" in str(error.value.hint)


def test_a_required_column_may_become_null(lake: Lake) -> None:
    lake.load(schema=pa.schema([pa.field("id", pa.int64(), nullable=False)]))

    with lake.run(schema(id=pa.int64())) as run:
        run.table.write(pa.record_batch({"id": pa.array([None], pa.int64())}))
        run.commit()

    assert run.changes == ["column id may be null"]
    assert lake.rows()["id"].to_pylist() == [None]


def test_an_identifier_must_not_become_null(lake: Lake) -> None:
    lake.load(schema=pa.schema([pa.field("id", pa.int64(), nullable=False)]), primary_key=("id",))

    with pytest.raises(SchemaValidationError, match="identifier"):
        lake.load(schema=schema(id=pa.int64()))


def test_a_required_column_that_the_stream_lacks_is_refused(lake: Lake) -> None:
    lake.load(schema=pa.schema([pa.field("id", pa.int64(), nullable=False), ("x", pa.int8())]))

    with pytest.raises(SchemaValidationError, match="lacks column id"):
        lake.load(schema=schema(x=pa.int8()))


def test_a_column_that_the_stream_lacks_is_null(lake: Lake) -> None:
    lake.load(numbers(1))

    lake.load(pa.record_batch({"id": [2]}))

    assert lake.rows().sort_by("id")["text"].to_pylist() == ["row 1", None]


def test_columns_are_matched_by_name_whatever_their_order(lake: Lake) -> None:
    lake.load(numbers(1))

    lake.load(numbers(2).select(["text", "id"]))

    assert lake.rows().sort_by("id").to_pydict() == {"id": [1, 2], "text": ["row 1", "row 2"]}


def test_a_name_that_differs_only_in_case_is_refused(lake: Lake) -> None:
    lake.load(numbers(1))

    with pytest.raises(SchemaValidationError, match="ID and the table's id differ only in case"):
        lake.load(pa.record_batch({"ID": [2]}))


def test_fields_inside_structs_lists_and_maps_are_added_and_widened(lake: Lake) -> None:
    before = pa.struct({"a": pa.int32()})
    after = pa.struct({"a": pa.int64(), "b": pa.string()})
    old = schema(s=before, l=pa.list_(before), m=pa.map_(pa.string(), before))
    new = schema(s=after, l=pa.list_(after), m=pa.map_(pa.string(), after))
    lake.load(pa.RecordBatch.from_pylist([{"s": {"a": 1}, "l": [{"a": 1}], "m": [("k", {"a": 1})]}], schema=old))
    row = {"s": {"a": 2**40, "b": "x"}, "l": [{"a": 2, "b": "y"}], "m": [("k", {"a": 3, "b": "z"})]}

    with lake.run(new) as run:
        run.table.write(pa.RecordBatch.from_pylist([row], schema=new))
        run.commit()

    assert sorted(run.changes) == [
        "added column l.element.b string",
        "added column m.value.b string",
        "added column s.b string",
        "widened column l.element.a from int to long",
        "widened column m.value.a from int to long",
        "widened column s.a from int to long",
    ]
    found = lake.rows().to_pylist()
    assert {"s": {"a": 1, "b": None}, "l": [{"a": 1, "b": None}], "m": [("k", {"a": 1, "b": None})]} in found
    assert row in found


def test_a_schema_changed_meanwhile_by_a_stranger_makes_a_run_with_changes_try_again(lake: Lake) -> None:
    lake.load(numbers(1))
    wider = numbers(2).append_column("x", pa.array([7], pa.int64()))

    with lake.run(wider.schema) as run:
        run.table.write(wider)
        with lake.table() as table, table.update_schema() as update:
            update.add_column("other", StringType())
        with pytest.raises(ConcurrencyError, match="schema was changed"):
            run.commit()
        run.table.abort()

    lake.load(wider)
    assert lake.values() == [1, 2]


def test_an_overwrite_changes_the_schema_by_the_same_rules(lake: Lake) -> None:
    lake.load(numbers(1))

    lake.load(numbers(2).append_column("x", pa.array([7], pa.int64())), write="overwrite")

    assert lake.rows().to_pydict() == {"id": [2], "text": ["row 2"], "x": [7]}
    with pytest.raises(SchemaValidationError):
        lake.load(pa.record_batch({"id": ["text"]}), write="overwrite")


def test_a_table_made_by_another_tool_takes_rows(lake: Lake) -> None:
    lake.load(numbers(0))
    with lake.catalog() as catalog:
        catalog.create_table("raw.foreign", schema(id=pa.int32())).append(pa.table({"id": pa.array([1], pa.int32())}))

    lake.load(pa.record_batch({"id": pa.array([2], pa.int64())}), name="foreign")

    assert lake.values(name="foreign") == [1, 2]
