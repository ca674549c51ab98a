"""Cursor values: compared as what they are, and the same after a trip through the state's JSON."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from dativo_plugin_sdk import DataError, InvalidConfigError
from dativo_plugin_sdk.cursor import (
    cursor_bound,
    cursor_from_json,
    cursor_to_json,
    higher,
    rows_in_range,
    split_by_cursor,
)


@given(values=st.lists(st.none() | st.integers(-9, 9)), after=st.none() | st.integers(-9, 9))
def test_every_row_is_new_or_seen_or_missing(values: list[int | None], after: int | None) -> None:
    array = pa.array(values, pa.int64())

    split = split_by_cursor(array, pa.int64(), None if after is None else pa.scalar(after, pa.int64()))

    present = [value for value in values if value is not None]
    assert split.new.to_pylist() == [
        at for at, value in enumerate(values) if value is not None and (after is None or value > after)
    ]
    assert split.missing.to_pylist() == [at for at, value in enumerate(values) if value is None]
    assert len(split.new) + len(split.missing) + split.seen == len(values)
    assert (split.highest.as_py() if split.highest is not None else None) == max(present, default=None)
    assert split.keeps_all == (len(split.new) == len(values))


def test_values_are_compared_as_the_columns_type_and_not_as_text() -> None:
    split = split_by_cursor(pa.array(["9", "10", "11"]), pa.int64(), pa.scalar(10, pa.int64()))

    assert split.new.to_pylist() == [2]
    assert split.seen == 2


def test_values_of_another_type_are_left_to_the_engine() -> None:
    split = split_by_cursor(pa.array(["9", "x", None, "11"]), pa.int64(), pa.scalar(10, pa.int64()))

    assert split.new.to_pylist() == [1, 3]
    assert split.missing.to_pylist() == [2]
    assert split.seen == 1
    assert split.highest is not None
    assert split.highest.as_py() == 11


def test_nan_is_no_place_to_resume_from() -> None:
    split = split_by_cursor(pa.array([1.0, float("nan")]), pa.float64(), None)

    assert split.missing.to_pylist() == [1]
    assert split.highest is not None
    assert split.highest.as_py() == 1.0


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        pytest.param(2**63 - 1, pa.int64(), id="int64"),
        pytest.param("zoë", pa.string(), id="text"),
        pytest.param(0.1, pa.float64(), id="float"),
        pytest.param(float("inf"), pa.float64(), id="infinity"),
        pytest.param(Decimal("12345678901234567890.123"), pa.decimal128(30, 3), id="decimal"),
        pytest.param(date(2026, 2, 28), pa.date32(), id="date"),
        pytest.param(datetime(2026, 2, 28, 1, 2, 3, 4), pa.timestamp("us"), id="timestamp"),  # noqa: DTZ001  naive
        pytest.param(datetime(2026, 2, 28, 1, 2, 3, tzinfo=UTC), pa.timestamp("us", "UTC"), id="with a zone"),
        pytest.param(
            datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")), pa.timestamp("us", "Europe/Berlin"), id="in summer"
        ),
    ],
)
def test_a_value_is_the_same_after_the_states_json(value: Any, kind: pa.DataType) -> None:
    scalar = pa.scalar(value, kind)

    written = json.dumps(cursor_to_json(scalar), allow_nan=False)

    assert cursor_from_json(json.loads(written), kind, column="at") == scalar


def test_nanoseconds_are_not_rounded_in_the_state() -> None:
    scalar = pa.scalar(1_767_225_600_123_456_789, pa.timestamp("ns"))

    assert cursor_from_json(cursor_to_json(scalar), pa.timestamp("ns"), column="at") == scalar


def test_no_value_stays_none() -> None:
    assert cursor_to_json(None) is None
    assert cursor_from_json(None, pa.int64(), column="id") is None


def test_a_state_of_another_type_is_refused() -> None:
    with pytest.raises(DataError, match="the state's cursor 'abc' is no int64, which column id has") as caught:
        cursor_from_json("abc", pa.int64(), column="id")

    assert caught.value.hint


@pytest.mark.parametrize(("one", "other", "expected"), [(1, 2, 2), (2, 1, 2), (None, 1, 1), (1, None, 1)])
def test_the_higher_of_two_values(one: int | None, other: int | None, expected: int) -> None:
    def scalar(value: int | None) -> pa.Scalar[Any] | None:
        return None if value is None else pa.scalar(value)

    found = higher(scalar(one), scalar(other))

    assert found is not None
    assert found.as_py() == expected


@pytest.mark.parametrize(
    ("values", "kind", "first", "end", "expected"),
    [
        pytest.param([1, 2, 3, 4], pa.int64(), "2", "4", [1, 2], id="the beginning is in it, the end is not"),
        pytest.param([1, None, 3], pa.int64(), None, "9", [0, 2], id="null is in no range"),
        pytest.param([1.0, float("nan"), 3.0], pa.float64(), "0", None, [0, 2], id="nor is NaN"),
        pytest.param(["1", "x", "3"], pa.int64(), "1", None, [0, 2], id="nor is what is not of the type"),
        pytest.param(["2026-01-01", "2026-02-01"], pa.date32(), "2026-01-15", None, [1], id="dates"),
        pytest.param(["9.99", "10.00"], pa.decimal128(12, 2), "10", None, [1], id="decimals are no text"),
        pytest.param(["a", "b"], pa.string(), None, "b", [0], id="text"),
    ],
)
def test_rows_of_a_range(values: Any, kind: Any, first: str | None, end: str | None, expected: list[int]) -> None:
    bounds = [cursor_bound(text, kind, column="c") for text in (first, end)]

    found = rows_in_range(pa.array(values), kind, *bounds)

    assert found.to_pylist() == expected


@pytest.mark.parametrize("text", ["2026-01-01", "2026-01-01T00:00:00", "2026-01-01T01:00:00+01:00"])
def test_a_bound_without_a_zone_is_utc(text: str) -> None:
    found = cursor_bound(text, pa.timestamp("us", "UTC"), column="at")

    assert found is not None
    assert found.as_py() == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_bound_that_is_no_value_of_the_column_is_refused() -> None:
    with pytest.raises(InvalidConfigError, match="'soon' is no timestamp"):
        cursor_bound("soon", pa.timestamp("us", "UTC"), column="at")
