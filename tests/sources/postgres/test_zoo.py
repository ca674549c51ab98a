"""Every type that Postgres has, through whole runs into each target: what lands is what Postgres says there is."""

from __future__ import annotations

import json
from contextlib import closing
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from postgres_zoo import asked, columns, statements
from pyiceberg.catalog.sql import SqlCatalog
from workshop import Workshop
from zoo_values import said, spelt

from dativo_ingest.cli.program import dativo

pytestmark = pytest.mark.each_postgres

_SESSION = "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=iso_8601 -c extra_float_digits=3 -c bytea_output=hex"


def is_json(field: pa.Field[Any]) -> bool:
    return (field.metadata or {}).get(b"dativo.logical_type") == b"json"


@pytest.fixture
def zoo(database) -> pa.Schema:
    """Make the zoo, and give what the source makes of it."""
    database.run("SET TIME ZONE 'UTC'", *statements(database.version))
    return database.read("zoo", options={"filter": "false"}).schema


def answers(database, schema: pa.Schema, table: str = "zoo") -> dict[str, list[Any]]:
    """Ask Postgres what the values are."""
    spelling = [asked(field.name, field.type, is_json=is_json(field)) for field in schema]
    with database.server.connect(options=f"{_SESSION} -c search_path={database.name},public") as session:
        rows = session.execute(f"SELECT {', '.join(spelling)} FROM {table} ORDER BY number").fetchall()
    texts = zip(*rows, strict=True)
    return {field.name: said(each, field.type) for field, each in zip(schema, texts, strict=True)}


@pytest.mark.parametrize("target", ["iceberg", "parquet", "duckdb", "delta"])
def test_every_type_lands_as_postgres_says_it_is(database, zoo, tmp_path, target) -> None:
    workshop = Workshop(tmp_path, target=target, in_process=True)
    source = {
        "connector": "postgres",
        "connection": database.server.connection,
        "credentials": database.server.credentials,
    }
    if target == "delta":  # which has no time of day, and says so
        times = [f"DROP COLUMN {field.name}" for field in zoo if "time64" in str(field.type)]
        database.run(f"ALTER TABLE zoo {', '.join(times)}")
        zoo = database.read("zoo", options={"filter": "false"}).schema
    workshop.job(source, {f"{database.name}.zoo": {"table": "zoo", "write": "overwrite"}})

    ran = workshop.run()

    assert ran.code == 0, ran.said
    landed = workshop.table("zoo").sort_by("number")
    expected = answers(database, zoo)
    assert ran.rows["written"] == len(expected["number"])
    assert len(expected) == len(zoo) > len(columns(database.version)) - 5
    wrong = {name: (values, spelt(landed.column(name))) for name, values in expected.items()}
    assert {name: each for name, each in wrong.items() if each[0] != each[1]} == {}


def test_every_type_lands_in_postgres_as_it_is(database, zoo, tmp_path) -> None:
    server = {"connection": database.server.connection, "credentials": database.server.credentials}
    job = {
        "version": 1,
        "name": "zoo",
        "source": {"connector": "postgres", **server},
        "target": {"connector": "postgres", **server, "namespace": database.name},
        "streams": {f"{database.name}.zoo": {"table": "landed", "write": "overwrite"}},
    }
    (tmp_path / "job.json").write_text(json.dumps(job), encoding="utf-8")

    ran = CliRunner().invoke(dativo, ["run", "--progress", "none", "--config", str(tmp_path / "job.json")])

    assert ran.exit_code == 0, ran.output
    expected, landed = answers(database, zoo), answers(database, zoo, "landed")
    wrong = {name: (values, landed[name]) for name, values in expected.items() if values != landed[name]}
    made_of_it = {"composite", "composite_nested", "composites", "domain_of_composite", "matrix", "cube_of_texts"}
    assert {name: each for name, each in wrong.items() if name not in made_of_it} == {}
    for name in made_of_it:  # in jsonb, which spells JSON in its own way
        assert [text and json.loads(text) for text in landed[name]] == [
            text and json.loads(text) for text in expected[name]
        ]


CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: lossy
version: 1.0.0
schema:
- name: odd
  properties:
  - {name: id, physicalType: integer, required: true}
  - {name: day, logicalType: date, customProperties: [{property: dativo.lossy, value: "null"}]}
  - {name: at, logicalType: timestamp, customProperties: [{property: dativo.lossy, value: clamp}]}
  - {name: price, physicalType: "decimal(38,9)", customProperties: [{property: dativo.lossy, value: [round, "null"]}]}
  - {name: strict, physicalType: "decimal(5,2)"}
  - {name: of_day, logicalType: time, customProperties: [{property: dativo.lossy, value: clamp}]}
  - {name: tags, physicalType: "array<int>", customProperties: [{property: dativo.lossy, value: bounds}]}
  - {name: matrix, physicalType: json}
  - {name: text, logicalType: string}
"""
ODD = """
CREATE TABLE odd (
    id int, day date, at timestamptz, price numeric, strict numeric, of_day time, tags int[], matrix int[], text date
)
"""
ODD_ROWS = """
INSERT INTO odd VALUES
    (1, '2024-01-01', '2024-01-01 00:00:00+00', 1.5, 1.5, '12:00', '{1}', '{1}', '2024-01-01'),
    (2, 'infinity', '-infinity', 0.1234567895, 1.50, '24:00', '[0:1]={1,2}', '{{1},{2}}', 'infinity'),
    (3, '0044-03-15 BC', 'infinity', 'NaN', -0.1, '00:00', '{}', NULL, NULL),
    (4, NULL, NULL, NULL, 1.005, NULL, NULL, NULL, NULL),
    (5, NULL, NULL, NULL, NULL, NULL, '{{1,2}}', NULL, NULL)
"""


def test_a_contract_says_what_is_lost_and_the_report_how_much(database, tmp_path) -> None:
    database.run(ODD, ODD_ROWS)
    (tmp_path / "odd.odcs.yaml").write_text(CONTRACT, encoding="utf-8")
    workshop = Workshop(tmp_path, target="parquet", in_process=True)
    source = {
        "connector": "postgres",
        "connection": database.server.connection,
        "credentials": database.server.credentials,
    }
    streams = {f"{database.name}.odd": {"table": "odd", "write": "overwrite", "contract": "odd.odcs.yaml"}}
    workshop.job(source, streams, defaults={"on_bad_row": "quarantine"})

    ran = workshop.run()

    assert ran.code == 0, ran.said
    landed = workshop.table("odd").sort_by("id")
    assert {name: spelt(landed.column(name)) for name in landed.column_names} == {
        "id": [1, 2, 3],
        "day": [19723, None, -735160],
        "at": [1704067200 * 10**6, -62135596800 * 10**6, 253402300800 * 10**6 - 1],
        "price": [Decimal("1.5"), Decimal("0.123456790"), None],
        "strict": [Decimal("1.5"), Decimal("1.5"), Decimal("-0.1")],
        "of_day": [43_200 * 10**6, 86_400 * 10**6 - 1, 0],
        "tags": [[1], [1, 2], []],
        "matrix": ["[1]", "[[1],[2]]", None],
        "text": ["2024-01-01", "infinity", None],
    }
    bad = workshop.table("odd__quarantine").sort_by("column").to_pylist()
    assert [(row["column"], row["rule"]) for row in bad] == [("strict", "type"), ("tags", "type")]
    (stream,) = ran.report["streams"]
    told = {each["name"]: (each["source_type"], each["fidelity"], each["lost"]) for each in stream["columns"]}
    assert told == {
        "id": ("integer", "exact", {}),
        "day": ("date", "exact", {"null": 1}),
        "at": ("timestamp with time zone", "exact", {"clamp": 2}),
        "price": ("numeric", "contract", {"round": 1, "null": 1}),
        "strict": ("numeric", "contract", {}),
        "of_day": ("time without time zone", "exact", {"clamp": 1}),
        "tags": ("integer[]", "exact", {}),
        "matrix": ("integer[]", "contract", {}),
        "text": ("date", "contract", {}),
    }
    assert any("day: 1 value(s) did not fit and are null" in text for text in ran.report["warnings"])


def test_types_of_the_source_are_kept_in_the_targets(database, tmp_path) -> None:
    database.run("CREATE TABLE told (id int, span interval, note text)", "INSERT INTO told VALUES (1, '1 day', '')")
    database.run("COMMENT ON COLUMN told.note IS 'what was said'")
    source = {
        "connector": "postgres",
        "connection": database.server.connection,
        "credentials": database.server.credentials,
    }
    for target in ("parquet", "iceberg"):
        workshop = Workshop(tmp_path, target=target, in_process=True)
        workshop.job(source, {f"{database.name}.told": {"table": "told", "write": "overwrite"}})
        assert workshop.run().code == 0

    (file,) = (tmp_path / "lake").rglob("*.parquet")
    in_parquet = {field.name: field.metadata for field in pq.read_schema(file)}
    with closing(SqlCatalog("default", uri=f"sqlite:///{tmp_path}/warehouse/catalog.db")) as catalog:
        in_iceberg = {field.name: field.doc for field in catalog.load_table("raw.told").schema().fields}
    assert in_parquet["span"][b"dativo.source_type"] == b"interval"
    assert in_parquet["span"][b"dativo.fidelity"] == b"text"
    assert in_iceberg == {
        "id": "source type: integer",
        "span": "source type: interval",
        "note": "what was said",
    }
