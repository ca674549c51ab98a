"""What a contract lets a column lose."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from dativo_ingest.steps.conform import Conformed, conform
from dativo_plugin_sdk import Rows

FIRST = datetime(1, 1, 1)  # noqa: DTZ001  a local time
LAST = datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001  a local time
BEYOND = "9" * 200


def conformed(values: list[Any], have: pa.DataType, want: pa.DataType, *ways: str) -> Conformed:
    field = pa.field("v", want, metadata={"dativo.lossy": ",".join(ways)})
    return conform(Rows(pa.record_batch({"v": pa.array(values, have)})), pa.schema([field]))


@pytest.mark.parametrize(
    ("have", "want", "ways", "given", "expected"),
    [
        pytest.param(
            pa.string(),
            pa.decimal128(5, 2),
            ["round"],
            ["1.255", "-1.255", "1e-300", "0.005", "1.5e1", None],
            ["1.26", "-1.26", "0.00", "0.01", "15.00", None],
            id="text to decimal",
        ),
        pytest.param(
            pa.string(),
            pa.decimal128(5, 2),
            ["clamp", "round"],
            ["999.995", "Infinity", "-inf", BEYOND, f"-{BEYOND}", "1e500"],
            ["999.99", "999.99", "-999.99", "999.99", "-999.99", "999.99"],
            id="text beyond a decimal",
        ),
        pytest.param(
            pa.decimal128(38, 4),
            pa.decimal128(4, 2),
            ["round", "clamp"],
            [Decimal("1.2350"), Decimal("-99.9950")],
            ["1.24", "-99.99"],
            id="decimal to decimal",
        ),
        pytest.param(pa.float64(), pa.int32(), ["round"], [1.5, -2.5, 1e-300], [2, -3, 0], id="float to integer"),
        pytest.param(
            pa.float64(),
            pa.int8(),
            ["clamp"],
            [1e300, float("-inf"), 5.0],
            [127, -128, 5],
            id="float beyond an integer",
        ),
        pytest.param(pa.int64(), pa.uint8(), ["clamp"], [-1, 256, 7], [0, 255, 7], id="integer beyond another"),
        pytest.param(pa.string(), pa.int64(), ["clamp"], [BEYOND, "-1e30"], [2**63 - 1, -(2**63)], id="text beyond"),
        pytest.param(pa.float64(), pa.float32(), ["round"], [16777217.0, 0.5], [16777216.0, 0.5], id="float to float"),
        pytest.param(
            pa.string(),
            pa.timestamp("us"),
            ["clamp"],
            ["infinity", "-infinity", "294276-12-31 23:59:59", "4714-01-01 00:00:00 BC"],
            [LAST, FIRST, LAST, FIRST],
            id="text to timestamp",
        ),
        pytest.param(
            pa.timestamp("ns"),
            pa.timestamp("us"),
            ["round"],
            [-1, 1999],
            [datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(1970, 1, 1, 0, 0, 0, 1)],  # noqa: DTZ001
            id="nanoseconds",
        ),
        pytest.param(
            pa.string(),
            pa.timestamp("us", "UTC"),
            ["round"],
            ["2024-01-01 00:00:00.1234569+00"],
            [datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)],
            id="digits of a second",
        ),
        pytest.param(
            pa.string(), pa.date32(), ["clamp"], ["infinity", "-infinity"], [date.max, date.min], id="text to date"
        ),
        pytest.param(
            pa.string(),
            pa.time64("us"),
            ["clamp"],
            ["24:00:00", "838:59:59", "-00:00:01", "12:00"],
            [time.max, time.max, time.min, time(12)],
            id="text to time",
        ),
        pytest.param(pa.string(), pa.int8(), ["null"], ["x", "300", "7"], [None, None, 7], id="anything to null"),
        pytest.param(
            pa.string(),
            pa.decimal128(3, 1),
            ["round", "clamp", "null"],
            ["1.25", "1000", "NaN", "1.5"],
            ["1.3", "99.9", None, "1.5"],
            id="one after the other",
        ),
        pytest.param(pa.list_(pa.int64()), pa.list_(pa.int8()), ["null"], [[1], [300]], [[1], None], id="a list"),
    ],
)
def test_what_does_not_fit_is_lost_as_the_contract_allows(have, want, ways, given, expected) -> None:
    found = conformed(given, have, want, *ways)

    if pa.types.is_decimal(want):
        expected = [None if value is None else Decimal(value) for value in expected]
    assert found.rejected is None
    assert found.batch.column("v").to_pylist() == expected
    assert 0 < sum(found.lost.values()) <= len(given)


@pytest.mark.parametrize(
    ("have", "want", "ways", "given"),
    [
        pytest.param(pa.string(), pa.decimal128(5, 2), ["round", "clamp"], "NaN", id="no number"),
        pytest.param(pa.string(), pa.decimal128(5, 2), ["round"], "1000", id="rounding is no clamping"),
        pytest.param(pa.string(), pa.decimal128(5, 2), ["clamp"], "1.005", id="clamping is no rounding"),
        pytest.param(pa.float64(), pa.float32(), ["round"], 1e300, id="a float that would be infinite"),
        pytest.param(pa.string(), pa.date32(), ["clamp", "round"], "0000-00-00", id="no date"),
        pytest.param(pa.string(), pa.int64(), ["round", "clamp"], "a lot", id="text"),
        pytest.param(pa.timestamp("us"), pa.time64("us"), ["round", "clamp"], 1, id="another kind"),
    ],
)
def test_what_the_contract_does_not_allow_is_rejected(have, want, ways, given) -> None:
    found = conformed([given, None], have, want, *ways)

    assert found.rejected is not None
    assert found.rejected.column("rule").to_pylist() == ["type"]
    assert (found.batch.num_rows, found.lost) == (1, {})


def test_a_time_of_24_that_has_its_type_already_is_clamped() -> None:
    day = pa.array([86_400_000_000, 1, None], pa.int64()).cast(pa.time64("us"))
    field = pa.field("v", pa.time64("us"), metadata={"dativo.lossy": "clamp"})

    found = conform(Rows(pa.record_batch({"v": day})), pa.schema([field]))

    assert found.batch.column("v").to_pylist() == [time.max, time(0, 0, 0, 1), None]
    assert found.lost == {("v", "clamp"): 1}


def test_losses_are_counted_by_column_and_way() -> None:
    found = conformed(["1.25", "2.25", "1000", "NaN", "1.5"], pa.string(), pa.decimal128(3, 1), "null", "round")

    assert found.lost == {("v", "round"): 2, ("v", "null"): 2}


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=6)))
def test_rounding_is_what_python_rounds_half_up_to(numbers: list[Decimal]) -> None:
    texts = [f"{number:f}" for number in numbers]

    found = conformed(texts, pa.string(), pa.decimal128(38, 3), "round")

    expected = [number.quantize(Decimal("0.001"), "ROUND_HALF_UP") for number in numbers]
    assert found.batch.column("v").to_pylist() == expected
