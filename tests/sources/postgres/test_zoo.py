"""Every type that Postgres has, through whole runs into each target: what lands is what Postgres says there is."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from postgres_zoo import asked, columns, said, spelt, statements
from workshop import Workshop

_SESSION = "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=iso_8601 -c extra_float_digits=3 -c bytea_output=hex"


def is_json(field: pa.Field[Any]) -> bool:
    return (field.metadata or {}).get(b"dativo.logical_type") == b"json"


@pytest.fixture
def zoo(database) -> pa.Schema:
    """Make the zoo, and give what the source makes of it."""
    database.run("SET TIME ZONE 'UTC'", *statements(database.version))
    return database.read("zoo", options={"filter": "false"}).schema


def answers(database, schema: pa.Schema) -> dict[str, list[Any]]:
    """Ask Postgres what the values are."""
    spelling = [asked(field.name, field.type, is_json=is_json(field)) for field in schema]
    with database.server.connect(options=f"{_SESSION} -c search_path={database.name},public") as session:
        rows = session.execute(f"SELECT {', '.join(spelling)} FROM zoo ORDER BY number").fetchall()
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
