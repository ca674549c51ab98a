"""Rows with an op: which conform, and what a table is told of them."""

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from dativo_ingest.steps.changes import (
    changelog_schema,
    log_changes,
    mark_deleted,
    marked_schema,
    split_deletes,
)
from dativo_ingest.steps.conform import Conformed, conform
from dativo_ingest.steps.row_ops import ops_of
from dativo_plugin_sdk import DataValidationError, Rows, SchemaValidationError

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("n", pa.int32(), nullable=False),
        pa.field("s", pa.struct([pa.field("x", pa.int64(), nullable=False)])),
    ]
)


def conformed(rows: list[dict[str, Any]], *, types: dict[str, pa.DataType] | None = None, op: str = "op") -> Conformed:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: pa.array([row.get(name) for row in rows], (types or {}).get(name)) for name in names}
    batch = pa.record_batch(columns)
    return conform(Rows(batch), SCHEMA, ops_of(batch, op), ("id",))


def rejected(result: Conformed) -> list[tuple[str, str, str]]:
    assert result.rejected is not None
    return [(row["column"], row["rule"], row["reason"]) for row in result.rejected.to_pylist()]


def test_the_ops_travel_with_the_rows_in_the_last_column() -> None:
    result = conformed([{"id": 1, "n": 1, "op": "c"}, {"id": 2, "n": None, "op": "u"}, {"id": 3, "n": 3, "op": "r"}])

    assert result.batch.to_pylist() == [
        {"id": 1, "n": 1, "s": None, "_dativo_op": "c"},
        {"id": 3, "n": 3, "s": None, "_dativo_op": "r"},
    ]
    assert rejected(result) == [("n", "required", "null where a value is required")]
    assert (result.missing, result.extra) == (("s",), ())


@pytest.mark.parametrize(
    ("given_op", "reason"),
    [
        (None, "null where one of c, u, d, r, t is required"),
        ("D", '"D" is not one of c, u, d, r, t'),
        ("delete", '"delete" is not one of c, u, d, r, t'),
        ("", '"" is not one of c, u, d, r, t'),
    ],
)
def test_a_row_whose_op_is_none_that_there_is_is_rejected(given_op: str | None, reason: str) -> None:
    result = conformed([{"id": 1, "n": 1, "op": "c"}, {"id": 2, "n": 2, "op": given_op}])

    assert result.batch["id"].to_pylist() == [1]
    assert rejected(result) == [("op", "op", reason)]


@pytest.mark.parametrize("kind", [pa.int8(), pa.float64(), pa.null()], ids=str)
def test_ops_that_are_no_text_reject_every_row(kind: pa.DataType) -> None:
    result = conformed([{"id": 1, "n": 1, "op": None if kind == pa.null() else 1}], types={"op": kind})

    assert result.batch.num_rows == 0
    assert [rule for _, rule, _ in rejected(result)] == ["op"]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_ops_are_text_of_any_layout(kind: pa.DataType) -> None:
    batch = pa.record_batch({"op": pa.array(["c", "d"]).cast(kind), "id": [1, 2], "n": [1, None]})

    result = conform(Rows(batch), SCHEMA, ops_of(batch, "op"), ("id",))

    assert result.batch["_dativo_op"].to_pylist() == ["c", "d"]
    assert result.rejected is None


def test_a_deleted_row_needs_nothing_but_its_key() -> None:
    result = conformed(
        [
            {"id": "1", "n": None, "s": None, "op": "d"},
            {"id": "2", "n": "many", "s": {"x": None}, "op": "d"},
            {"id": "3", "n": "4", "s": {"x": 5}, "op": "d"},
            {"id": None, "n": "6", "s": None, "op": "d"},
            {"id": "no", "n": "7", "s": None, "op": "d"},
            {"id": "8", "n": None, "s": {"x": None}, "op": "u"},
            {"id": None, "n": None, "s": None, "op": "t"},
        ]
    )

    assert result.batch.to_pylist() == [
        {"id": 1, "n": None, "s": None, "_dativo_op": "d"},
        {"id": 2, "n": None, "s": None, "_dativo_op": "d"},
        {"id": 3, "n": 4, "s": {"x": 5}, "_dativo_op": "d"},
        {"id": None, "n": None, "s": None, "_dativo_op": "t"},
    ]
    assert [(column, rule) for column, rule, _ in rejected(result)] == [
        ("id", "required"),
        ("id", "type"),
        ("n", "required"),
    ]
    assert set(result.forgiven) == {"n", "s"}


def test_a_batch_of_nothing_but_deleted_rows_may_lack_required_columns() -> None:
    result = conformed([{"id": 1, "op": "d"}, {"id": 2, "op": "d"}, {"id": 3, "op": "?"}])

    assert result.batch.to_pylist() == [{"id": each, "n": None, "s": None, "_dativo_op": "d"} for each in (1, 2)]
    assert result.missing == ()
    with pytest.raises(DataValidationError, match="required column n is missing; there are: id, op"):
        conformed([{"id": 1, "op": "d"}, {"id": 2, "op": "c"}])
    with pytest.raises(DataValidationError, match="required column id is missing; there are: n, op"):
        conformed([{"n": 1, "op": "d"}])


changes = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("cudr"), st.integers(0, 9)), max_size=20)


@given(changes)
def test_writing_then_deleting_what_a_batch_is_split_into_is_what_its_rows_say_in_order(
    rows: list[tuple[int, str, int]],
) -> None:
    model: dict[int, int] = dict.fromkeys(range(3), -1)
    for key, op, value in rows:
        if op == "d":
            model.pop(key, None)
        else:
            model[key] = value
    batch = conformed([{"id": key, "n": value, "op": op} for key, op, value in rows] or [{"id": 1, "n": 1, "op": "?"}])

    upserts, gone = split_deletes(batch.batch, SCHEMA, ("id",))

    found = dict.fromkeys(range(3), -1) | {row["id"]: row["n"] for row in upserts.to_pylist()}
    deleted = gone["id"].to_pylist() if gone is not None else []
    assert upserts.schema.equals(SCHEMA)
    assert len(deleted) == len(set(deleted))
    assert not set(deleted) & set(upserts["id"].to_pylist())
    assert {key: value for key, value in found.items() if key not in deleted} == model


def test_deleted_keys_have_the_columns_of_the_key_in_its_order_and_their_types() -> None:
    schema = pa.schema([("a", pa.dictionary(pa.int8(), pa.string())), ("b", pa.uuid()), ("n", pa.int64())])
    batch = pa.record_batch({"a": ["x", "x"], "b": [bytes(16), bytes(16)], "op": ["c", "d"]})
    made = conform(Rows(batch), schema, ops_of(batch, "op"), ("b", "a"))

    upserts, gone = split_deletes(made.batch, schema, ("b", "a"))

    assert gone is not None
    assert gone.schema == pa.schema([schema.field("b"), schema.field("a")])
    assert (upserts.num_rows, gone.num_rows) == (0, 1)


def test_keys_that_rows_cannot_be_told_apart_by_are_refused() -> None:
    batch = conformed([{"id": 1, "n": 1, "s": {"x": 1}, "op": "d"}]).batch

    with pytest.raises(SchemaValidationError, match=r"cannot be told apart by s \(struct<x: int64 not null>\)"):
        split_deletes(batch, SCHEMA, ("s",))


def test_marked_rows_say_whether_they_are_deleted_and_may_lack_all_but_their_key() -> None:
    batch = conformed([{"id": 1, "n": 1, "op": "u"}, {"id": 2, "op": "d"}]).batch
    schema = marked_schema(SCHEMA, ("id",))

    marked = mark_deleted(batch, schema)

    assert [field.nullable for field in schema] == [False, True, True, False]
    assert [(row["id"], row["n"], row["_dativo_deleted"]) for row in marked.to_pylist()] == [
        (1, 1, False),
        (2, None, True),
    ]


def test_logged_rows_say_what_when_in_which_run_and_in_which_order() -> None:
    batch = conformed([{"id": 1, "n": 1, "op": "c"}, {"op": "t"}]).batch
    schema = changelog_schema(SCHEMA)
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

    logged = log_changes(batch, schema, first_seq=5, run_id="run", loaded_at=at)

    assert logged.schema.equals(schema)
    assert logged.select(["id", "_dativo_op", "_dativo_run_id", "_dativo_seq", "_dativo_loaded_at"]).to_pylist() == [
        {"id": 1, "_dativo_op": "c", "_dativo_run_id": "run", "_dativo_seq": 5, "_dativo_loaded_at": at},
        {"id": None, "_dativo_op": "t", "_dativo_run_id": "run", "_dativo_seq": 6, "_dativo_loaded_at": at},
    ]


def test_columns_that_are_added_must_not_be_the_streams_own() -> None:
    with pytest.raises(SchemaValidationError, match="a column _dativo_deleted, which deletes: soft adds"):
        marked_schema(SCHEMA.append(pa.field("_dativo_deleted", pa.bool_())), ())
    with pytest.raises(SchemaValidationError, match="a column _dativo_seq, which changelog: true adds"):
        changelog_schema(SCHEMA.append(pa.field("_dativo_seq", pa.int64())))
