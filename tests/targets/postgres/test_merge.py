from __future__ import annotations

import uuid

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from dativo_plugin_sdk import CommitRequest, DataValidationError, InvalidConfigError

SCHEMA = pa.schema({"k": pa.int64(), "l": pa.string(), "v": pa.int64(), "t": pa.list_(pa.string())})
KEYS = st.tuples(st.integers(0, 3), st.sampled_from(["", "a", "A", "ü"]))
ROW = st.fixed_dictionaries(
    {
        "k": st.integers(0, 3),
        "l": st.sampled_from(["", "a", "A", "ü"]),
        "v": st.none() | st.integers(-(2**63), 2**63 - 1),
        "t": st.none()
        | st.lists(st.none() | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=2)),
    }
)
WRITTEN = st.lists(ROW, max_size=8)
DELETED = st.lists(KEYS, max_size=6, unique=True)
RUNS = st.lists(st.lists(WRITTEN | DELETED, max_size=4), min_size=1, max_size=3)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=RUNS)
def test_rows_and_deletes_in_any_order_leave_what_a_dict_would_hold(target, table, ask, runs):
    name = f"t{uuid.uuid4().hex}"
    model: dict[tuple, dict] = {}
    writer = target()
    for number, calls in enumerate(runs):
        before = dict(model)
        made = table(writer=writer, name=name, write="merge", primary_key=("l", "k"), buffer_bytes=100)
        made.open(SCHEMA)
        touched = set()
        for call in calls:
            if call and isinstance(call[0], tuple):
                made.delete(pa.record_batch({"l": [text for _, text in call], "k": [number for number, _ in call]}))
                touched |= set(call)
                for key in call:
                    model.pop(key, None)
            else:
                made.write(pa.RecordBatch.from_pylist(call, schema=SCHEMA))
                touched |= {(row["k"], row["l"]) for row in call}
                model |= {(row["k"], row["l"]): row for row in call}

        receipt = made.commit(CommitRequest(f"c{number}", number, None, "2026-01-01T00:00:00Z"))

        stays, there = touched & model.keys(), touched & before.keys()
        assert (receipt.inserted, receipt.updated, receipt.deleted) == (
            len(stays - there),
            len(stays & there),
            len(there - stays),
        )
    writer.close()
    found = ask(f'SELECT k, l, v, t FROM "{name}"')
    assert sorted(map(repr, found)) == sorted(repr(tuple(row[name] for name in SCHEMA.names)) for row in model.values())


def test_a_table_made_by_a_merge_has_a_primary_key(load, ask):
    load(pa.record_batch({"b": [1], "a": ["x"], "v": [1]}), write="merge", primary_key=("a", "b"))

    found = ask(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype = 'p'"
    )
    assert found == [("PRIMARY KEY (a, b)",)]


def test_a_table_without_an_index_is_merged_into_as_well(load, ask):
    load(pa.record_batch({"id": [1, 1, 2], "v": ["a", "b", "c"]}))

    receipt, changes = load(
        pa.record_batch({"id": [1, 3], "v": ["A", "C"]}), generation=1, write="merge", primary_key=("id",)
    )

    assert (receipt.inserted, receipt.updated) == (1, 2)
    assert changes == []
    assert ask("SELECT * FROM orders ORDER BY id, v") == [(1, "A"), (1, "A"), (2, "c"), (3, "C")]


def test_merging_into_a_wider_table_leaves_the_other_columns_alone(load, ask):
    load(pa.record_batch({"id": [1, 2], "name": ["a", "b"], "note": ["x", "y"]}))

    receipt, changes = load(
        pa.record_batch({"id": [2, 3], "name": ["B", "C"], "price": [0.5, None]}),
        generation=1,
        write="merge",
        primary_key=("id",),
    )

    assert (receipt.inserted, receipt.updated) == (1, 1)
    assert changes == ["added price double precision"]
    assert ask("SELECT * FROM orders ORDER BY id") == [(1, "a", "x", None), (2, "B", "y", 0.5), (3, "C", None, None)]


def test_merging_rows_of_nothing_but_a_key_adds_the_missing_ones(load, ask):
    load(pa.record_batch({"id": [1]}))

    receipt, _ = load(pa.record_batch({"id": [1, 2, 2]}), generation=1, write="merge", primary_key=("id",))

    assert (receipt.inserted, receipt.updated) == (1, 1)
    assert ask("SELECT * FROM orders ORDER BY id") == [(1,), (2,)]


def test_rows_may_be_appended_to_a_table_that_was_merged_before(load, ask):
    load(pa.record_batch({"id": [1]}), write="merge", primary_key=("id",))

    _, changes = load(pa.record_batch({"id": [2]}), generation=1)
    with pytest.raises(DataValidationError, match="orders_pkey"):
        load(pa.record_batch({"id": [2]}), generation=2)

    assert changes == []
    assert ask("SELECT * FROM orders ORDER BY id") == [(1,), (2,)]


def test_a_row_that_somebody_else_adds_during_the_run_is_replaced(load, table, request_of, ask):
    load(pa.record_batch({"id": [1], "v": ["a"]}), write="merge", primary_key=("id",))
    made = table(run_id="run-1", write="merge", primary_key=("id",))
    made.open(pa.schema({"id": pa.int64(), "v": pa.string()}))
    made.write(pa.record_batch({"id": [2], "v": ["B"]}))

    ask("INSERT INTO orders VALUES (2, 'theirs')")

    receipt = made.commit(request_of(1))

    assert (receipt.inserted, receipt.updated) == (0, 1)
    assert ask("SELECT * FROM orders ORDER BY id") == [(1, "a"), (2, "B")]


def test_a_row_without_key_cannot_be_merged(table):
    made = table(write="merge", primary_key=("id",))
    made.open(pa.schema({"id": pa.int64()}))

    with pytest.raises(DataValidationError, match="primary_key id is null in 1 of 2 rows"):
        made.write(pa.record_batch({"id": [1, None]}))
    with pytest.raises(DataValidationError, match="primary_key id is null in 1 of 1 rows"):
        made.delete(pa.record_batch({"id": pa.array([None], pa.int64())}))


def test_a_merge_needs_a_key_that_is_a_column(table):
    with pytest.raises(InvalidConfigError, match="needs primary_key"):
        table(write="merge")
    with pytest.raises(InvalidConfigError, match="primary_key uid is no column; there are: id"):
        table(write="merge", primary_key=("uid",)).open(pa.schema({"id": pa.int64()}))


def test_only_a_table_that_is_merged_deletes_rows(table):
    made = table()
    made.open(pa.schema({"id": pa.int64()}))

    with pytest.raises(InvalidConfigError, match="not opened to merge"):
        made.delete(pa.record_batch({"id": [1]}))


def test_columns_named_like_the_writers_own_are_merged_too(load, ask):
    batch = pa.record_batch({"_dativo_number": [1, 1], "_dativo_gone": ["a", "b"], "new": [1, 2], "old": [1, 2]})

    load(batch, write="merge", primary_key=("_dativo_number",))

    assert ask("SELECT * FROM orders") == [(1, "b", 2, 2)]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(pa.array([b"\x00", b"\x00"]), id="bytes"),
        pytest.param(pa.array([float("nan"), float("nan")]), id="no number"),
        pytest.param(pa.array([[1, None], [1, None]]), id="list"),
        pytest.param(pa.array([{"a": 1}, {"a": 1}]), id="struct"),
    ],
)
def test_any_type_that_can_be_compared_is_a_key(load, ask, values):
    batch = pa.record_batch({"k": values, "v": [1, 2]})
    load(batch, write="merge", primary_key=("k",))

    receipt, _ = load(batch, generation=1, write="merge", primary_key=("k",))

    assert (receipt.inserted, receipt.updated) == (0, 1)
    assert ask("SELECT v FROM orders") == [(2,)]
