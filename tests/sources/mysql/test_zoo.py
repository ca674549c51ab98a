"""Every type that MariaDB has, through whole runs into each target: what lands is what MariaDB says there is."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from mariadb_zoo import ZOO, asked, statements
from workshop import Workshop
from zoo_values import said, spelt

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
  - {name: at, logicalType: timestamp, customProperties: [{property: dativo.lossy, value: "null"}]}
  - {name: of_day, logicalType: time, customProperties: [{property: dativo.lossy, value: clamp}]}
  - {name: many, physicalType: "decimal(38,9)", customProperties: [{property: dativo.lossy, value: round}]}
  - {name: flag, logicalType: boolean}
  - {name: text, logicalType: string}
"""


@pytest.fixture
def job(database, tmp_path):
    """Write a job that carries a table of the test's database to a target."""

    def write(target: str, table: str, **stream: Any) -> Workshop:
        source = {
            "connector": "mysql",
            "connection": {**database.server.connection, "database": database.name},
            "credentials": database.server.credentials,
        }
        streams = {f"{database.name}.{table}": {"table": table, "write": "overwrite", **stream}}
        return Workshop(tmp_path, target=target, in_process=True).job(source, streams)

    return write


def answers(database, schema: pa.Schema) -> dict[str, list[Any]]:
    """Ask MariaDB what the values are."""
    spelling = ", ".join(asked(field.name, field.type) for field in schema)
    with database.server.connect(database=database.name) as session, session.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00'")
        cursor.execute(f"SELECT {spelling} FROM zoo ORDER BY number")
        texts = zip(*cursor.fetchall(), strict=True)
        return {field.name: said(each, field.type) for field, each in zip(schema, texts, strict=True)}


@pytest.mark.parametrize("target", ["iceberg", "parquet", "duckdb", "delta"])
def test_every_type_lands_as_mariadb_says_it_is(database, job, target) -> None:
    database.run("SET time_zone = '+00:00'", *statements())
    schema = database.read("zoo").schema
    workshop = job(target, "zoo")

    ran = workshop.run()

    assert ran.code == 0, ran.said
    landed = workshop.table("zoo").sort_by("number")
    expected = answers(database, schema)
    assert len(expected) == len(ZOO) + 1
    wrong = {name: (values, spelt(landed.column(name))) for name, values in expected.items()}
    assert {name: each for name, each in wrong.items() if each[0] != each[1]} == {}


def test_a_contract_says_what_is_lost_and_the_report_how_much(database, job, tmp_path) -> None:
    database.run(
        "SET sql_mode = ''",
        "SET time_zone = '+00:00'",
        "CREATE TABLE odd (id int, day date, at timestamp NULL, of_day time(6), many decimal(65,30), flag tinyint(1),"
        " text date)",
        "INSERT INTO odd VALUES (1, '2024-01-01', '0000-00-00 00:00:00', '12:00', 1.5, 1, '0000-00-00'),"
        " (2, '0000-00-00', '2024-01-01 00:00:00', '838:59:59', 0.1234567895, 0, '2024-00-15'),"
        " (3, '2024-00-15', '2024-01-01 00:00:00', '-00:00:01', NULL, NULL, NULL), (4, NULL, NULL, NULL, 1, 2, NULL)",
    )
    (tmp_path / "odd.odcs.yaml").write_text(CONTRACT, encoding="utf-8")
    workshop = job("parquet", "odd", contract="odd.odcs.yaml")

    ran = workshop.run()

    assert ran.code == 0, ran.said
    landed = workshop.table("odd").sort_by("id")
    at = datetime(2024, 1, 1, tzinfo=UTC)
    assert landed.column("id").to_pylist() == [1, 2, 3]
    assert landed.column("day").to_pylist() == [date(2024, 1, 1), None, None]
    assert landed.column("at").to_pylist() == [None, at, at]
    assert spelt(landed.column("of_day")) == [43_200 * 10**6, 86_400 * 10**6 - 1, 0]
    assert [value and str(value) for value in landed.column("many").to_pylist()] == ["1.500000000", "0.123456790", None]
    assert landed.column("flag").to_pylist() == [True, False, None]
    assert landed.column("text").to_pylist() == ["0000-00-00", "2024-00-15", None]
    (stream,) = ran.report["streams"]
    assert {each["name"]: each["lost"] for each in stream["columns"] if each["lost"]} == {
        "day": {"null": 2},
        "at": {"null": 1},
        "of_day": {"clamp": 2},
        "many": {"round": 1},
    }
    assert [row["column"] for row in workshop.table("odd__quarantine").to_pylist()] == ["flag"]
    assert {each["name"]: each["source_type"] for each in stream["columns"]}["many"] == "decimal(65,30)"
