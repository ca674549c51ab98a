from pathlib import Path

import pytest
import yaml
from desk import SMALL_JOB
from jsonschema import Draft202012Validator

from dativo_ingest.job.schema import job_schema

EXAMPLES = Path(__file__).parents[2] / "examples/jobs"
READERS = {
    "csv": {
        "connection": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "CsvConfig",
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "port": {"type": "integer", "title": "Port"},
                "dialect": {"$ref": "#/$defs/Dialect"},
                "kind": {"oneOf": [{"const": "a"}, {"const": "b"}]},
            },
            "required": ["path"],
            "additionalProperties": False,
            "$defs": {"Dialect": {"type": "string", "enum": ["excel", "unix"]}},
        },
        "options": {"type": "object", "properties": {"header": {"type": "boolean"}}, "additionalProperties": False},
    },
    "json": {},
}
VALIDATOR = Draft202012Validator(job_schema(sources=READERS, targets={"iceberg": {}}))


def complaints(text: str) -> list[str]:
    return [error.json_path for error in VALIDATOR.iter_errors(yaml.safe_load(text))]


def with_line(old: str, new: str) -> str:
    assert old in SMALL_JOB
    return SMALL_JOB.replace(old, new)


def test_the_schema_is_a_schema_with_a_name() -> None:
    schema = job_schema()

    Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["$id"]
    assert schema["title"] == "Dativo job"
    assert schema["$defs"]["Stream"]["properties"]["mode"]["description"]


def test_a_small_job_is_valid() -> None:
    assert complaints(SMALL_JOB) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(with_line("orders: {}", "orders: {mode: '${MODE}', max_bad_rows: '${env:N:-3}'}"), id="scalars"),
        pytest.param(with_line("name: orders", "name: job-${STAGE}"), id="name"),
        pytest.param(SMALL_JOB + "limits: {memory_mb: '${MEMORY}'}\n", id="limits"),
        pytest.param(with_line("orders: {}", "orders: {system_columns: ['${COLUMN}']}"), id="item of a list"),
        pytest.param(with_line("{path: data}", "{path: d, port: '${PORT}', dialect: '${D}', kind: '${K}'}"), id="own"),
        pytest.param(with_line("connector: csv", "connector: plugins/x.py:Reader"), id="unknown connector"),
        pytest.param(with_line("orders: {}", "orders:"), id="stream without settings"),
        pytest.param(with_line("orders: {}", "orders: {primary_key: id, properties: {a: 1, b: true}}"), id="lone key"),
    ],
)
def test_what_loads_is_valid(text: str) -> None:
    assert complaints(text) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        pytest.param(with_line("orders: {}", "orders: {mode: sometimes}"), "$.streams.orders", id="enum"),
        pytest.param(SMALL_JOB + "limits: {memory_mb: lots}\n", "$.limits", id="text for a number"),
        pytest.param(SMALL_JOB + "limit: {}\n", "$", id="unknown key"),
        pytest.param(with_line("version: 1", "version: 2"), "$.version", id="version"),
        pytest.param(with_line("  connector: csv\n", ""), "$.source", id="no connector"),
        pytest.param(with_line("{path: data}", "{paht: data}"), "$.source.connection", id="connector's unknown key"),
        pytest.param(
            with_line("{path: data}", "{path: d, port: x}"), "$.source.connection.port", id="connector's type"
        ),
        pytest.param(
            with_line("{path: data}", "{path: d, dialect: x}"), "$.source.connection.dialect", id="connector's enum"
        ),
        pytest.param(with_line("  connection: {path: data}\n", ""), "$.source", id="connector's required section"),
    ],
)
def test_what_does_not_load_is_invalid(text: str, path: str) -> None:
    assert path in complaints(text)


def test_known_connectors_are_offered() -> None:
    schema = job_schema(sources=READERS, targets={"iceberg": {}})

    assert {"enum": ["csv", "json"]} in schema["$defs"]["Source"]["properties"]["connector"]["anyOf"]
    assert {"enum": ["iceberg"]} in schema["$defs"]["Target"]["properties"]["connector"]["anyOf"]


@pytest.mark.parametrize("job", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid(job: Path) -> None:
    document = yaml.safe_load(job.read_text(encoding="utf-8"))

    errors = [error.message for error in Draft202012Validator(job_schema()).iter_errors(document)]

    assert errors == []
