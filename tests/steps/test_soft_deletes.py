"""Which rows a column of the source says are deleted."""

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from dativo_ingest.steps.soft_deletes import ops_of_marks, require_telling
from dativo_plugin_sdk import SchemaValidationError

MOMENT = 1_700_000_000


@pytest.mark.parametrize(
    ("kind", "given", "values", "deleted"),
    [
        pytest.param(pa.bool_(), [True, False, None], [], [True, False, False], id="boolean"),
        pytest.param(pa.int8(), [1, 0, None], [], [True, False, False], id="whole number"),
        pytest.param(pa.uint64(), [2**64 - 1, 0, None], [], [True, False, False], id="large number"),
        pytest.param(pa.decimal128(3, 1), [Decimal("0.1"), Decimal(0), None], [], [True, False, False], id="decimal"),
        pytest.param(pa.float64(), [0.5, 0.0, None], [], [True, False, False], id="float"),
        pytest.param(pa.timestamp("us", "UTC"), [MOMENT, 0, None], [], [True, True, False], id="moment"),
        pytest.param(pa.date32(), [1, 0, None], [], [True, True, False], id="day"),
        pytest.param(pa.string(), ["Y", "N", None], ["Y", "y"], [True, False, False], id="text"),
        pytest.param(pa.int32(), [2, 1, None], ["2"], [True, False, False], id="chosen number"),
        pytest.param(pa.bool_(), [True, False, None], ["false"], [False, True, False], id="chosen boolean"),
    ],
)
def test_what_says_deleted_depends_on_the_type(
    kind: Any, given: list[Any], values: list[str], deleted: list[bool]
) -> None:
    batch = pa.record_batch({"gone": pa.array(given, kind)})

    ops = ops_of_marks(batch, pa.field("gone", kind), values)

    assert ops is not None
    assert ops.deleted is not None
    assert ops.deleted.to_pylist() == deleted
    assert ops.values.to_pylist() == ["d" if each else "u" for each in deleted]


def test_no_row_that_is_deleted_needs_no_ops() -> None:
    batch = pa.record_batch({"gone": pa.array([False, None])})

    assert ops_of_marks(batch, pa.field("gone", pa.bool_()), []) is None


def test_values_are_read_as_they_land() -> None:
    batch = pa.record_batch({"gone": ["false", "true", "perhaps", ""]})

    ops = ops_of_marks(batch, pa.field("gone", pa.bool_()), [])

    assert ops is not None
    assert ops.deleted is not None
    assert ops.deleted.to_pylist() == [False, True, False, False]


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.list_(pa.int8())])
def test_a_column_in_which_nothing_says_deleted_by_itself_is_refused(kind: pa.DataType) -> None:
    with pytest.raises(SchemaValidationError, match="nobody can tell what says deleted"):
        require_telling(pa.field("gone", kind), [])
