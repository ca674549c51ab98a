import enum
import json
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from dativo_ingest.steps.conform import conform
from dativo_plugin_sdk import PluginExecutionError, Rejected, Rows, infer_schema, to_batches

JSON = {b"dativo.logical_type": b"json"}
NOON = datetime.fromisoformat("2024-06-01T12:00:00")
EAST = timezone(timedelta(hours=2))


def rows_of(value, schema=None):
    """Give the one batch of rows, and the rejected rows as dicts."""
    messages = list(to_batches(value, schema))
    batches = [message.batch for message in messages if isinstance(message, Rows)]
    bad = [row for message in messages if isinstance(message, Rejected) for row in message.batch.to_pylist()]
    return (batches[0] if batches else None), bad


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([1, None], pa.int64(), id="ints"),
        pytest.param([-(2**63), 2**63 - 1], pa.int64(), id="the largest ints"),
        pytest.param([1, 2**63], pa.decimal128(38, 0), id="larger ints"),
        pytest.param([1.5, float("nan")], pa.float64(), id="floats"),
        pytest.param([1, 1.5], pa.float64(), id="ints and floats"),
        pytest.param([True, None], pa.bool_(), id="booleans"),
        pytest.param(["a"], pa.string(), id="texts"),
        pytest.param([b"a", bytearray(b"b")], pa.binary(), id="bytes"),
        pytest.param([Decimal("1.5"), Decimal("10.25"), 3], pa.decimal128(38, 2), id="decimals"),
        pytest.param([date(2024, 6, 1)], pa.date32(), id="dates"),
        pytest.param([NOON], pa.timestamp("us"), id="local times"),
        pytest.param([NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=EAST)], pa.timestamp("us", "UTC"), id="instants"),
        pytest.param([time(1, 2)], pa.time64("us"), id="times of day"),
        pytest.param([timedelta(seconds=1)], pa.duration("us"), id="durations"),
        pytest.param([uuid.UUID(int=1)], pa.string(), id="uuids"),
        pytest.param([np.int32(1), np.int64(2)], pa.int64(), id="numpy's ints"),
        pytest.param([np.float32(1.5)], pa.float64(), id="numpy's floats"),
        pytest.param([np.bool_(True)], pa.bool_(), id="numpy's booleans"),
        pytest.param([enum.StrEnum("Colour", ["RED"]).RED], pa.string(), id="enums"),
        pytest.param([None], pa.string(), id="nulls"),
        pytest.param([{"a": 1}, {"b": None}], pa.struct([("a", pa.int64()), ("b", pa.string())]), id="dicts"),
        pytest.param([[1], (2,), []], pa.list_(pa.int64()), id="lists"),
        pytest.param([[{"a": [1]}]], pa.list_(pa.struct([("a", pa.list_(pa.int64()))])), id="nested"),
    ],
)
def test_a_columns_type_is_the_one_its_values_agree_on(values, expected):
    schema = infer_schema([{"value": value} for value in values])

    assert schema.field("value").type == expected
    assert schema.field("value").metadata is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([1, "a"], ["1", '"a"'], id="ints and texts"),
        pytest.param([True, 1], ["true", "1"], id="booleans and ints"),
        pytest.param([2**53 + 1, 1.5], ["9007199254740993", "1.5"], id="ints that no float holds"),
        pytest.param([10**40], ["1" + "0" * 40], id="ints of forty digits"),
        pytest.param([{}], ["{}"], id="empty dicts"),
        pytest.param([[]], ["[]"], id="empty lists"),
        pytest.param([{"a": 1}, [1]], ['{"a": 1}', "[1]"], id="dicts and lists"),
        pytest.param(
            [NOON, NOON.replace(tzinfo=UTC)], ['"2024-06-01T12:00:00"', '"2024-06-01T12:00:00+00:00"'], id="times"
        ),
        pytest.param([Decimal("NaN")], ['"NaN"'], id="a decimal that is no number"),
        pytest.param([float("inf"), "a"], ['"Infinity"', '"a"'], id="a float that JSON has no number for"),
        pytest.param(['{"a":1}', 1], ['{"a":1}', "1"], id="texts that are JSON"),
    ],
)
def test_values_that_do_not_agree_are_json_which_the_column_says(values, expected):
    rows = [{"value": value} for value in values]

    batch, bad = rows_of(rows)

    assert batch["value"].to_pylist() == expected
    assert batch.schema.field("value").metadata == JSON == infer_schema(rows).field("value").metadata
    assert bad == []


def test_inside_a_struct_only_what_does_not_agree_is_json():
    schema = infer_schema([{"o": {"a": 1, "b": 1}}, {"o": {"a": 2, "b": "x"}}])

    kind = schema.field("o").type
    assert kind == pa.struct([("a", pa.int64()), ("b", pa.string())])
    assert kind.field("b").metadata == JSON


def test_columns_come_in_the_order_of_their_first_appearance_and_missing_keys_are_null():
    batch, _ = rows_of([{"b": 1}, {"a": "x", "b": 2}])

    assert batch.to_pylist() == [{"b": 1, "a": None}, {"b": 2, "a": "x"}]
    assert batch.schema.names == ["b", "a"]


def test_an_empty_list_gives_nothing():
    assert list(to_batches([], None)) == []
    assert list(to_batches([], pa.schema([("a", pa.int64())]))) == []


@pytest.mark.parametrize("schema", [None, pa.schema([])])
def test_rows_without_any_column_are_rejected_one_by_one(schema):
    (message,) = to_batches([{}, {}], schema)

    assert isinstance(message, Rejected)
    assert message.batch.to_pydict()["reason"] == ["the row has no columns"] * 2


def test_rows_without_any_column_are_nulls_where_the_schema_has_columns():
    (message,) = to_batches([{}], pa.schema([("id", pa.int64())]))

    assert message.batch.to_pylist() == [{"id": None}]


def test_keys_beyond_the_schema_are_kept_for_the_engine_to_report():
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])

    batch, _ = rows_of([{"a": 1, "c": 2.5}], schema)

    assert batch.to_pylist() == [{"a": 1, "b": None, "c": 2.5}]


CASES = {
    "id": (pa.int64(), [1, "2", 3.0, Decimal(4), "x", 1.5, True, None, b"5"], [1, 2, 3, 4, None]),
    "text": (
        pa.string(),
        ["a", 1, True, b"b", b"\xff", "\ud800", uuid.UUID(int=0), None],
        ["a", "b", str(uuid.UUID(int=0)), None],
    ),
    "amount": (
        pa.decimal128(5, 2),
        [1, "2.50", 3.25, Decimal("4.1"), 0.1 + 0.2, 1000],
        [Decimal(1), Decimal("2.50"), Decimal("3.25"), Decimal("4.10")],
    ),
    "flag": (pa.bool_(), [True, "false", 1, 2, "x", 0.0], [True, False, True]),
    "at": (
        pa.timestamp("us", "UTC"),
        [NOON.replace(tzinfo=EAST), "2024-06-01T10:00:00Z", NOON, "2024-06-01", 5],
        [NOON.replace(hour=10, tzinfo=UTC)] * 2,
    ),
    "local": (pa.timestamp("us"), [NOON, "2024-06-01 12:00", NOON.replace(tzinfo=UTC), 5], [NOON, NOON]),
    "day": (pa.date32(), [date(2024, 6, 1), "2024-06-01", NOON, NOON.replace(hour=0)], [date(2024, 6, 1)] * 3),
    "ratio": (pa.float64(), [1, 1.5, "2.5", 2**53 + 1, True], [1.0, 1.5, 2.5]),
    "small": (pa.float32(), [0.5, 1, 0.1 + 0.2], [0.5, 1.0]),
    "data": (pa.binary(), [b"a", "b", 1], [b"a", b"b"]),
    "u": (pa.uuid(), [uuid.UUID(int=7), str(uuid.UUID(int=8)), "x", 1], [uuid.UUID(int=7), uuid.UUID(int=8)]),
    "o": (
        pa.struct([("a", pa.int8())]),
        [{"a": 1}, {"a": "2"}, {}, {"a": 300}, "x", [1]],
        [{"a": 1}, {"a": 2}, {"a": None}],
    ),
    "l": (pa.list_(pa.int8()), [[1], ["2", 3], [], [300], {"a": 1}, "x"], [[1], [2, 3], []]),
    "m": (pa.map_(pa.string(), pa.int8()), [{"a": 1}, {"b": "2"}, {}, {"c": 300}, [1]], [[("a", 1)], [("b", 2)], []]),
    "mi": (pa.map_(pa.int64(), pa.string()), [{"1": "a"}, {2: "b"}, {"x": "c"}, {"3": 1}], [[(1, "a")], [(2, "b")]]),
}


@pytest.mark.parametrize(("kind", "values", "expected"), CASES.values(), ids=list(CASES))
def test_values_of_many_kinds_reach_the_columns_type_without_loss_or_are_rejected(kind, values, expected):
    schema = pa.schema([("value", kind)])

    taken, rejected_rows = through(values, schema)

    assert taken == expected
    assert len(taken) + len(rejected_rows) == len(values)
    assert {(row["column"], row["rule"]) for row in rejected_rows} <= {("value", "type")}


@pytest.mark.parametrize(("kind", "values", "expected"), CASES.values(), ids=list(CASES))
def test_a_value_fares_the_same_alone(kind, values, expected):
    schema = pa.schema([("value", kind)])

    alone = [taken for value in values for taken in through([value], schema)[0]]

    assert alone == expected


def through(values, schema):
    """Go through the border and the engine's conform, as a run does."""
    taken, bad = [], []
    for message in to_batches([{"value": value} for value in values], schema):
        if isinstance(message, Rejected):
            bad += message.batch.to_pylist()
            continue
        result = conform(message, schema)
        taken += result.batch["value"].to_pylist()
        bad += [] if result.rejected is None else result.rejected.to_pylist()
    return taken, bad


def test_a_rejected_row_says_what_is_wrong_and_keeps_the_row():
    schema = pa.schema([("id", pa.int64()), ("name", pa.string())])

    batch, bad = rows_of([{"id": 1, "name": 5}, {"id": 2, "name": "b"}], schema)

    assert batch.to_pylist() == [{"id": 2, "name": "b"}]
    assert bad == [
        {
            "column": "name",
            "rule": "type",
            "reason": "5 (int) does not fit string without loss",
            "row": '{"id": 1, "name": 5}',
            "source": None,
            "line": None,
        }
    ]


def test_a_value_of_a_class_that_arrow_does_not_know_is_rejected():
    batch, bad = rows_of([{"a": object()}, {"a": 1}])

    assert batch.to_pylist() == [{"a": "1"}]
    assert "(object) does not fit JSON" in bad[0]["reason"]


def test_a_list_of_nothing_but_bad_rows_gives_no_rows():
    batch, bad = rows_of([{"a": 1}], pa.schema([("a", pa.string())]))

    assert batch is None
    assert len(bad) == 1


def test_a_json_column_takes_anything_and_keeps_json_text():
    schema = pa.schema([pa.field("doc", pa.string(), metadata={"dativo.logical_type": "json"})])

    batch, _ = rows_of([{"doc": {"a": [1]}}, {"doc": '{"b":2}'}, {"doc": "plain"}, {"doc": 5}, {"doc": None}], schema)

    assert batch["doc"].to_pylist() == ['{"a": [1]}', '{"b":2}', '"plain"', "5", None]


FRAMES = {
    "RecordBatch": lambda: pa.record_batch({"a": ["x", None], "b": [1, 2]}),
    "Table": lambda: pa.table({"a": ["x", None], "b": [1, 2]}),
    "RecordBatchReader": lambda: pa.table({"a": ["x", None], "b": [1, 2]}).to_reader(),
    "polars": lambda: pl.DataFrame({"a": ["x", None], "b": [1, 2]}),
    "DuckDB": lambda: duckdb.sql("select * from (values ('x', 1::bigint), (null, 2)) t(a, b) order by b"),
}


@pytest.mark.parametrize("make", FRAMES.values(), ids=list(FRAMES))
def test_anything_with_the_arrow_interface_is_taken(make):
    wanted = pa.schema([("a", pa.string()), ("b", pa.int64())])

    messages = list(to_batches(make(), None))

    rows = [row for message in messages for row in conform(message, wanted).batch.to_pylist()]
    assert rows == [{"a": "x", "b": 1}, {"a": None, "b": 2}]


@pytest.mark.parametrize("make", FRAMES.values(), ids=list(FRAMES))
def test_its_schema_is_found_without_using_it_up(make):
    value = make()

    schema = infer_schema(value)

    assert schema.names == ["a", "b"]
    assert not any(pa.types.is_string_view(kind) for kind in schema.types)
    assert sum(message.batch.num_rows for message in to_batches(value, schema)) == 2


def test_a_record_batch_is_passed_on_as_it_is():
    batch = pa.record_batch({"a": [1]})

    (message,) = to_batches(batch, None)

    assert message.batch is batch


def test_batches_without_rows_are_left_out():
    assert list(to_batches(pa.table({"a": pa.array([], pa.int64())}), None)) == []


def test_an_object_with_only_the_array_interface_is_taken():
    class Array:
        def __arrow_c_array__(self, requested_schema=None):
            return pa.record_batch({"a": [1]}).__arrow_c_array__(requested_schema)

    (message,) = to_batches(Array(), None)

    assert message.batch.to_pylist() == [{"a": 1}]
    assert infer_schema(Array()).names == ["a"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param({"a": 1}, "a batch is dict, expected a list of dicts", id="a dict"),
        pytest.param("rows", "a batch is str", id="text"),
        pytest.param(None, "a batch is NoneType", id="nothing"),
        pytest.param(iter([]), "a batch is list_iterator", id="an iterator"),
        pytest.param([{"a": 1}, (1,)], "item 1 of a batch is tuple, expected a dict", id="a list of other things"),
        pytest.param([{1: 2}], "item 0 of a batch has the key 1", id="keys that are no text"),
        pytest.param(pl.Series("a", [1]), "polars.series.series.Series is no Arrow table", id="a single column"),
    ],
)
@pytest.mark.parametrize("take", [lambda value: list(to_batches(value, None)), infer_schema], ids=["rows", "schema"])
def test_anything_else_is_refused_by_name(take, value, said):
    with pytest.raises(PluginExecutionError) as caught:
        take(value)

    assert said in str(caught.value)


def test_a_thousand_columns_and_nested_rows_are_taken():
    rows = [{f"c{index}": index + row for index in range(1000)} | {"deep": [[{"x": [row]}]]} for row in range(3)]

    batch, bad = rows_of(rows, infer_schema(rows))

    assert batch.to_pylist() == rows
    assert bad == []


PLAIN_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), PLAIN_VALUES), min_size=1, max_size=8))
def test_json_rows_are_taken_whole_and_conform_to_the_schema_inferred_from_them(rows):
    schema = infer_schema(rows)

    (message,) = to_batches(rows, schema)

    if len(schema):
        result = conform(message, schema)
        assert (result.batch.num_rows, result.rejected) == (len(rows), None)
    else:
        assert isinstance(message, Rejected)
        assert message.batch.num_rows == len(rows)


@settings(max_examples=60)
@given(st.lists(st.dictionaries(st.sampled_from("ab"), PLAIN_VALUES, min_size=1), min_size=1, max_size=8))
def test_columns_of_json_hold_the_values_as_they_were(rows):
    batch, _ = rows_of(rows)

    for name in batch.schema.names:
        if batch.schema.field(name).metadata != JSON:
            continue
        for row, text in zip(rows, batch[name].to_pylist(), strict=True):
            value = row.get(name)
            if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
                continue  # may be JSON already
            assert (None if text is None else json.loads(text)) == value


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        pytest.param(Decimal("2.50"), True, id="fits"),
        pytest.param(Decimal("1E+3"), True, id="an exponent"),
        pytest.param(Decimal("2.505"), False, id="too many digits after the point"),
        pytest.param(Decimal(12345678901), False, id="too many digits before it"),
    ],
)
def test_decimals_have_the_wanted_type_at_once_where_nothing_is_lost(value: Decimal, fits: bool) -> None:
    schema = pa.schema({"amount": pa.decimal128(12, 2)})

    (message,) = to_batches([{"amount": value}, {"amount": Decimal("1.00")}], schema)

    assert isinstance(message, Rows)
    assert (message.batch.schema == schema) is fits
    assert message.batch["amount"][0].as_py() == value
