from __future__ import annotations

import json
from decimal import Decimal

import pyarrow as pa
import pytest

from dativo_ingest.sources.json import JsonLinesReader, JsonReader
from dativo_ingest.sources.json_blocks import Block
from dativo_ingest.sources.json_parse import RecordParser
from dativo_ingest.sources.json_types import infer_schema
from dativo_ingest.sources.json_values import json_text
from dativo_ingest.steps.conform import conform
from dativo_plugin_sdk import Rows, SourceConfig

JSON_TEXT = pa.field("value", pa.string(), metadata={"dativo.logical_type": "json"})
INSTANT = pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([1, None, -(2**63)], pa.int64(), id="integers"),
        pytest.param([1, 2**63], pa.decimal128(38, 0), id="integers beyond 64 bits"),
        pytest.param([1, Decimal("1.5")], pa.float64(), id="integers and fractions"),
        pytest.param([2**53 + 1, Decimal("1.5")], JSON_TEXT, id="an integer that no double holds, and fractions"),
        pytest.param([10**38], JSON_TEXT, id="39 digits"),
        pytest.param([Decimal("1e400")], JSON_TEXT, id="beyond a double"),
        pytest.param([True, None], pa.bool_(), id="booleans"),
        pytest.param([True, 1], JSON_TEXT, id="booleans and numbers"),
        pytest.param(["a", None], pa.string(), id="strings"),
        pytest.param(["1", 1], JSON_TEXT, id="strings and numbers"),
        pytest.param([None, None], pa.null(), id="nulls"),
        pytest.param(["2024-01-31T10:00:00Z", "2024-01-31T10:00:00.123456+02:00"], INSTANT, id="instants"),
        pytest.param(["2024-01-31T10:00:00Z", "soon"], pa.string(), id="an instant and a text"),
        pytest.param(["2024-01-31T10:00:00"], pa.string(), id="no offset"),
        pytest.param(["2024-01-31"], pa.string(), id="a date"),
        pytest.param(["2024-02-30T10:00:00Z"], pa.string(), id="no such day"),
        pytest.param(["2024-01-31T10:00:00.1234567Z"], pa.string(), id="finer than a microsecond"),
        pytest.param([[1], [None], [], None], pa.list_(pa.int64()), id="lists"),
        pytest.param([[]], JSON_TEXT, id="empty lists"),
        pytest.param([[1, "a"]], JSON_TEXT, id="a mixed list"),
        pytest.param(
            [{"a": 1}, {"b": [True]}], pa.struct([("a", pa.int64()), ("b", pa.list_(pa.bool_()))]), id="objects"
        ),
        pytest.param([{"a": None}], pa.struct([("a", pa.string())]), id="a null in an object"),
        pytest.param([{}], JSON_TEXT, id="empty objects"),
        pytest.param([{"a": 1}, {"a": "x"}], JSON_TEXT, id="a member that agrees on no type"),
        pytest.param([{"a": 1}, [1]], JSON_TEXT, id="objects and lists"),
    ],
)
def test_a_sample_gives_the_narrowest_type_that_keeps_every_value(values, expected):
    schema = infer_schema([{"value": value} for value in values])

    column = expected if isinstance(expected, pa.Field) else pa.field("value", expected)
    assert schema.equals(pa.schema([column]), check_metadata=True)


def test_columns_stand_in_the_order_in_which_they_are_met():
    assert infer_schema([{"b": 1}, {"a": 1, "b": 2}, {"c": 1}]).names == ["b", "a", "c"]


def test_what_is_inferred_is_what_is_read(tmp_path, read_files):
    rows = [
        {"id": 1, "mixed": 1, "at": "2024-01-31T10:00:00Z", "tags": ["a"], "none": None},
        {"id": 2, "mixed": "x", "at": None, "tags": [], "none": None, "late": {"deep": 1.5}},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    reading = read_files(JsonLinesReader, path)

    assert reading.schema is not None
    assert reading.schema.types == [
        pa.int64(),
        pa.string(),
        INSTANT,
        pa.list_(pa.string()),
        pa.string(),
        pa.struct([("deep", pa.float64())]),
    ]
    assert reading.rejected == []
    assert [row["mixed"] for row in reading.rows] == ["1", '"x"']
    assert reading.rows[1]["late"] == {"deep": 1.5}


def test_what_is_inferred_conforms_without_loss():
    values = {
        "at": ["2024-01-31T10:00:00Z", "2024-01-31 10:00:00.123456+02:00", "0001-01-01T00:00:00-23:59"],
        "mixed": [1, "x", {"a": [Decimal("1.10")]}],
        "wide": [2**63, -1, 10**37],
        "inside": [{"at": "2024-01-31T10:00:00Z"}, None, {}],
    }
    objects = [{name: column[number] for name, column in values.items()} for number in range(3)]
    schema = infer_schema(objects)
    raw = "\n".join(json_text(item) for item in objects).encode()

    conformed = conform(Rows(RecordParser(schema, "file").parse(Block(raw, 1)).batch), schema)

    assert conformed.rejected is None
    assert conformed.batch.schema.equals(schema)
    assert conformed.batch.column("mixed").to_pylist() == ["1", '"x"', '{"a":[1.10]}']
    assert conformed.batch.column("at").cast(pa.string()).to_pylist()[1] == "2024-01-31 08:00:00.123456Z"


def test_several_files_have_one_schema_that_keeps_the_values_of_all(tmp_path, read_files):
    (tmp_path / "a.jsonl").write_text('{"id": 1, "only_a": true}\n')
    (tmp_path / "b.jsonl").write_text('{"id": "x", "only_b": 1}\n')

    reading = read_files(JsonLinesReader, tmp_path)

    assert reading.rows == [
        {"id": "1", "only_a": True, "only_b": None},
        {"id": '"x"', "only_a": None, "only_b": 1},
    ]
    assert reading.rejected == []


def test_only_the_sample_is_looked_at(tmp_path, read_files):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1}\n' * 10 + '{"id": "x", "late": 1}\n')

    reading = read_files(JsonLinesReader, path, infer_rows=10)

    assert len(reading.rows) == 10
    assert [row["line"] for row in reading.rejected] == [11]


def test_discover_says_that_types_are_inferred(tmp_path):
    (tmp_path / "people.json").write_text('[{"id": 1, "payload": {}}]')

    found = JsonReader(SourceConfig(type="json", connection={"path": str(tmp_path)})).discover()

    assert [item["name"] for item in found.objects] == ["people"]
    assert [(column["name"], column["type"], column["fidelity"]) for column in found.objects[0]["columns"]] == [
        ("id", "integer", "inferred"),
        ("payload", "string", "inferred"),
    ]


def test_check_reads_a_sample_and_warns_of_malformed_lines(tmp_path):
    (tmp_path / "people.jsonl").write_text('{"id": 1, "any": 1}\noops\n{"id": 2, "any": "x"}\n')
    reader = JsonLinesReader(SourceConfig(type="jsonl", connection={"path": str(tmp_path)}))

    results = [check.run() for check in reader.check([])]

    assert all(result.success for result in results)
    assert "2 row(s) of a sample parse, 1 malformed line(s)" in results[-1].message
