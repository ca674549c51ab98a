"""Jobs that read MySQL and MariaDB."""

from __future__ import annotations

from typing import Any

from workshop import Workshop

DAYS = (
    "CREATE TABLE days (id int PRIMARY KEY, day date, flag tinyint(1), of_day time)",
    "SET sql_mode = 'ALLOW_INVALID_DATES'",
    (
        "INSERT INTO days VALUES (1, '2024-02-29', 1, '12:00:00'), (2, '0000-00-00', 0, '00:00:00'),"
        " (3, '2024-02-31', 1, '00:00:01'), (4, NULL, 2, '25:00:00')"
    ),
)
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: days
version: 1.0.0
schema:
- name: days
  properties:
  - {name: id, physicalType: integer, required: true}
  - {name: day, logicalType: date, customProperties: [{property: dativo.lossy, value: "null"}]}
  - {name: flag, logicalType: boolean}
  - {name: of_day, logicalType: time}
"""


def source(database: Any, connector: str = "mysql") -> dict[str, Any]:
    connection = {**database.server.connection, "database": database.name}
    return {"connector": connector, "connection": connection, "credentials": database.server.credentials}


def test_days_that_are_none_are_in_quarantine_as_they_were(database, tmp_path) -> None:
    database.run(*DAYS)
    workshop = Workshop(tmp_path, target="parquet", in_process=True)
    workshop.job(
        source(database), {"days": {"table": "days", "write": "overwrite"}}, defaults={"on_bad_row": "quarantine"}
    )

    ran = workshop.run()

    assert ran.code == 0, ran.said
    assert workshop.table("days")["id"].to_pylist() == [1, 4]
    bad = workshop.table("days__quarantine").to_pylist()
    assert [(row["column"], row["rule"]) for row in bad] == [("day", "type"), ("day", "type")]
    assert ["0000-00-00" in row["reason"] or "2024-02-31" in row["reason"] for row in bad] == [True, True]
    (stream,) = ran.report["streams"]
    told = {each["name"]: (each["source_type"], each["fidelity"]) for each in stream["columns"]}
    assert told["flag"] == ("tinyint(1)", "exact")
    assert told["of_day"] == ("time", "text")


def test_a_contract_says_what_is_lost(database, tmp_path) -> None:
    database.run(*DAYS)
    (tmp_path / "days.odcs.yaml").write_text(CONTRACT, encoding="utf-8")
    workshop = Workshop(tmp_path, target="parquet", in_process=True)
    streams = {"days": {"table": "days", "write": "overwrite", "contract": "days.odcs.yaml"}}
    workshop.job(source(database), streams, defaults={"on_bad_row": "quarantine"})

    ran = workshop.run()

    assert ran.code == 0, ran.said
    landed = workshop.table("days").sort_by("id")
    assert [(row["id"], str(row["day"]), row["flag"], str(row["of_day"])) for row in landed.to_pylist()] == [
        (1, "2024-02-29", True, "12:00:00"),
        (2, "None", False, "00:00:00"),
        (3, "None", True, "00:00:01"),
    ]
    (bad,) = workshop.table("days__quarantine").to_pylist()
    assert (bad["column"], bad["rule"]) == ("flag", "type")
