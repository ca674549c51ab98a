from __future__ import annotations

import pyarrow as pa
import pytest

from dativo_plugin_sdk.column_types import arrow_type, type_name


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        pytest.param({"type": "integer"}, pa.int64(), id="integer"),
        pytest.param({"type": "String"}, pa.string(), id="in capitals"),
        pytest.param({"type": "number"}, pa.float64(), id="number"),
        pytest.param({"type": "datetime"}, pa.timestamp("us", tz="UTC"), id="datetime"),
        pytest.param({"type": "json"}, pa.string(), id="json is text"),
        pytest.param({"type": "decimal(10, 2)"}, pa.decimal128(10, 2), id="decimal"),
        pytest.param({"type": "number", "arrow_type": "int16"}, pa.int16(), id="arrow_type goes first"),
        pytest.param({"arrow_type": "timestamp[ms, tz=UTC]"}, pa.timestamp("ms", tz="UTC"), id="zoned"),
        pytest.param({"arrow_type": "list<item: string>"}, pa.list_(pa.string()), id="list"),
        pytest.param({"arrow_type": pa.date32()}, pa.date32(), id="a type itself"),
    ],
)
def test_a_column_has_the_type_that_its_name_stands_for(column: dict[str, object], expected: pa.DataType) -> None:
    assert arrow_type(column) == expected


@pytest.mark.parametrize("name", ["decimal", "decimal(50,2)", "geometry", "null", "struct<a: int64>", "", None, 7])
def test_a_type_that_says_too_little_stands_for_none(name: object) -> None:
    assert arrow_type({"type": name}) is None


@pytest.mark.parametrize(
    "name", ["string", "integer", "number", "boolean", "date", "time", "timestamp", "timestamp_ntz", "binary"]
)
def test_a_short_name_is_given_back_as_it_was_read(name: str) -> None:
    data_type = arrow_type({"type": name})

    assert data_type is not None
    assert type_name(data_type) == name
