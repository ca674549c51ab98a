"""Rows that are deleted in Postgres go from the target, whatever the target is."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from postgres_service import Postgres
from workshop import READERS

from dativo_ingest.cli.program import dativo

TARGETS = ["iceberg", "duckdb", "delta", "postgres"]
NOW = {"mode": "key_diff", "every": 0}


class Shop:
    """A job from one schema of a Postgres server into a target."""

    def __init__(self, server: Postgres, target: str, folder: Path) -> None:
        self.server, self.target, self.folder = server, target, folder
        self.source, self.raw = (f"{name}_{uuid.uuid4().hex[:12]}" for name in ("shop", "raw"))
        self.place = folder / ("lake.duckdb" if target == "duckdb" else "lake")
        self.report: dict[str, Any] = {}
        server.ask(f"CREATE SCHEMA {self.source}")

    def sql(self, *statements: str) -> None:
        with self.server.connect(options=f"-c search_path={self.source}") as session:
            for statement in statements:
                session.execute(statement)  # type: ignore[arg-type]  # tests write what they ask

    def run(self, *arguments: str, **streams: dict[str, Any]) -> Any:
        """Run the job; give the only stream's report, or all of them by name."""
        access = {"connection": self.server.connection, "credentials": {"password": self.server.password}}
        ends: dict[str, Any] = {
            "postgres": access,
            "iceberg": {"connection": {"warehouse": str(self.place)}},
        }
        settings = ends.get(self.target, {"connection": {"path": str(self.place)}})
        namespace = self.raw if self.target == "postgres" else "raw"
        job = {
            "version": 1,
            "name": "shop",
            "source": {"connector": "postgres", **access},
            "target": {"connector": self.target, "namespace": namespace, **settings},
            "limits": {"memory_mb": 256},
            "streams": {f"{self.source}.{name}": {"write": "merge", **spec} for name, spec in streams.items()},
        }
        config, report = self.folder / "job.json", self.folder / "report.json"
        config.write_text(json.dumps(job), encoding="utf-8")
        done = CliRunner().invoke(
            dativo, ["run", "--config", str(config), "--progress", "none", "--report", str(report), *arguments]
        )
        self.said = done.stderr + done.stdout
        self.report = json.loads(report.read_text(encoding="utf-8"))
        found = {each["name"].partition(".")[2]: each for each in self.report["streams"]}
        return found if len(streams) > 1 else found[next(iter(streams))]

    def rows(self, table: str) -> list[dict[str, Any]]:
        if self.target != "postgres":
            return READERS[self.target](self.place, table).to_pylist()
        with self.server.connect() as session:
            cursor = session.execute(f"SELECT * FROM {self.raw}.{table}")  # type: ignore[arg-type]  # the test's own
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def ids(self, table: str = "orders") -> list[int]:
        return sorted(row["id"] for row in self.rows(table))


@pytest.fixture
def shop(postgres: Postgres, tmp_path: Path) -> Iterator[Callable[[str], Shop]]:
    made: list[Shop] = []

    def make(target: str) -> Shop:
        made.append(Shop(postgres, target, tmp_path))
        return made[-1]

    yield make
    for each in made:
        postgres.ask(f"DROP SCHEMA IF EXISTS {each.source}, {each.raw} CASCADE")


ORDERS = (
    "CREATE TABLE orders (id int PRIMARY KEY, at int NOT NULL, note text)",
    "INSERT INTO orders SELECT n, n, 'note ' || n FROM generate_series(1, 20) n",
)
FOLLOWED = {"mode": "incremental", "cursor": "at", "primary_key": "id"}


@pytest.mark.parametrize("target", TARGETS)
def test_soft_deletes_keep_the_rows_with_their_values(target: str, shop: Any) -> None:
    made = shop(target)
    made.sql(*ORDERS)
    stream = {**FOLLOWED, "delete_detection": NOW, "deletes": "soft", "system_columns": ["run_id"]}
    made.run(orders={**stream, "deletes": "hard"})
    made.sql("DELETE FROM orders WHERE id IN (3, 4)")

    second = made.run(orders=stream)
    third = made.run(orders=stream)

    assert made.report["errors"] == []
    rows = {row["id"]: row for row in made.rows("orders")}
    assert sorted(each for each, row in rows.items() if row["_dativo_deleted"]) == [3, 4]
    assert rows[3]["note"] == "note 3"
    assert rows[3]["_dativo_run_id"] > rows[5]["_dativo_run_id"]
    assert (second["rows"]["updated"], second["rows"]["deleted"]) == (2, 0)
    assert second["delete_detection"]["absent"] == 2
    assert third["delete_detection"]["table_rows"] == 18
    assert third["delete_detection"]["absent"] == 0


KEYS = """
CREATE TABLE orders (
    padded char(5), exact numeric(20,4), free numeric, number uuid, at timestamptz, plain timestamp, day date,
    name text, big bigint, flag boolean, n int NOT NULL,
    PRIMARY KEY (padded, exact, free, number, at, plain, day, name, big, flag)
);
INSERT INTO orders VALUES
    ('a', 1.5, 1.50, '00000000-0000-0000-0000-000000000001', '2024-01-01 00:00:00.000001+02', '1900-01-01',
     '0001-01-01', '', -9223372036854775808, true, 1),
    ('ab ', 2.25, 1e30, 'ffffffff-ffff-ffff-ffff-ffffffffffff', '1900-01-01', '9999-12-31', '9999-12-31', 'é', 0,
     false, 2),
    ('abcde', -99999999999.0001, -1e-9, gen_random_uuid(), '0001-01-01', '2024-01-01 00:00:00.000001', '2024-02-29',
     E'a b\\t"c', 9223372036854775807, false, 3)
"""


@pytest.mark.parametrize("target", TARGETS)
def test_rows_that_are_gone_from_the_source_go_whatever_their_keys_are(target: str, shop: Any) -> None:
    made = shop(target)
    made.sql(KEYS)
    names = ["padded", "exact", "free", "number", "at", "plain", "day", "name", "big", "flag"]
    stream = {"mode": "incremental", "cursor": "n", "primary_key": names, "delete_detection": NOW}
    first = made.run(orders=stream)
    made.sql("INSERT INTO orders SELECT 'new', exact, free, number, at, plain, day, name, big, flag, 4 FROM orders")
    made.sql("DELETE FROM orders WHERE n = 2")

    second = made.run(orders=stream)

    assert made.report["errors"] == []
    assert sorted(row["n"] for row in made.rows("orders")) == [1, 3, 4, 4, 4]
    assert first["delete_detection"]["table_rows"] == 0
    assert (second["rows"]["inserted"], second["rows"]["updated"], second["rows"]["deleted"]) == (3, 0, 1)
    found = second["delete_detection"]
    assert (found["source_keys"], found["table_rows"], found["absent"], found["deletes"]) == (5, 3, 1, "hard")
    assert found["examples"] == []


def test_what_is_read_of_a_stream_is_what_is_compared(shop: Any) -> None:
    made = shop("duckdb")
    made.sql(*ORDERS)
    options = {"filter": "id <> 7", "columns": ["id", "at"]}
    stream = {**FOLLOWED, "delete_detection": NOW, "extra_columns": "fail"}
    made.run(orders={**stream, "options": options})
    made.sql("DELETE FROM orders WHERE id = 1")

    found = made.run(orders={**stream, "options": {**options, "filter": "id NOT IN (7, 8)"}})

    assert made.report["errors"] == []
    assert made.ids() == [each for each in range(2, 21) if each not in {7, 8}]
    assert found["delete_detection"]["source_keys"] == 17


def test_keys_are_compared_again_only_after_a_while(shop: Any) -> None:
    made = shop("duckdb")
    made.sql(*ORDERS)
    made.run(orders={**FOLLOWED, "delete_detection": "key_diff"})
    made.sql("DELETE FROM orders WHERE id = 1", "UPDATE orders SET at = 30 WHERE id = 2")

    soon = made.run(orders={**FOLLOWED, "delete_detection": "key_diff"})
    made.run("--limit", "1", orders={**FOLLOWED, "delete_detection": NOW})
    made.run("--from", "0", orders={**FOLLOWED, "delete_detection": NOW})
    part = made.ids()
    made.run(orders={**FOLLOWED, "delete_detection": NOW})

    assert soon["delete_detection"] is None
    assert (1 in part, 1 in made.ids()) == (True, False)


def test_a_dry_run_tells_the_keys_that_would_go(shop: Any) -> None:
    made = shop("duckdb")
    made.sql(*ORDERS)
    made.run(orders={**FOLLOWED, "delete_detection": NOW})
    made.sql("DELETE FROM orders WHERE id IN (3, 4)")

    found = made.run("--dry-run", orders={**FOLLOWED, "delete_detection": NOW})

    assert found["delete_detection"]["examples"] == [{"id": 3}, {"id": 4}]
    assert '2 of 20 rows are gone from the source and would be deleted: {"id": 3}, {"id": 4}' in made.said
    assert len(made.ids()) == 20


def test_too_many_deletes_are_an_error_of_the_data(shop: Any) -> None:
    made = shop("duckdb")
    made.sql(*ORDERS)
    made.run(orders={**FOLLOWED, "delete_detection": NOW})
    made.sql("TRUNCATE orders")

    failed = made.run(orders={**FOLLOWED, "delete_detection": NOW})

    assert made.report["exit_code"] == 65
    assert failed["error"]["error_code"] == "DATA_VALIDATION_ERROR"
    assert "the source has no keys, so that all 20 rows of raw.orders would be deleted" in failed["error"]["message"]
    assert failed["delete_detection"]["absent"] == 20
    assert len(made.ids()) == 20
    made.run(orders={**FOLLOWED, "delete_detection": {**NOW, "max_deleted_share": 1}})
    assert made.ids() == []


def test_a_column_of_the_source_says_what_is_deleted(shop: Any) -> None:
    made = shop("duckdb")
    made.sql(
        "CREATE TABLE orders (id int PRIMARY KEY, at int NOT NULL, note text NOT NULL, deleted_at timestamptz)",
        "INSERT INTO orders SELECT n, n, 'note', CASE WHEN n = 5 THEN now() END FROM generate_series(1, 5) n",
    )
    stream = {**FOLLOWED, "delete_detection": {"mode": "soft_column", "column": "deleted_at"}}
    made.run(orders=stream)
    made.sql("UPDATE orders SET deleted_at = now(), at = 10 WHERE id = 2", "UPDATE orders SET at = 11 WHERE id = 3")

    found = made.run(orders=stream)

    assert made.ids() == [1, 3, 4]
    assert (found["rows"]["updated"], found["rows"]["deleted"]) == (1, 1)
    made.sql("UPDATE orders SET deleted_at = NULL, at = 12 WHERE id = 2")
    made.run(orders=stream)
    assert made.ids() == [1, 2, 3, 4]


def test_check_says_whether_deletes_can_be_found(shop: Any) -> None:
    made = shop("duckdb")
    made.sql(*ORDERS)
    spec = {**FOLLOWED, "delete_detection": NOW}
    made.run("--dry-run", orders=spec)

    def check(**changes: Any) -> dict[str, Any]:
        made.run("--dry-run", orders={**spec, **changes})
        done = CliRunner().invoke(dativo, ["check", "--config", str(made.folder / "job.json"), "--json"])
        return next(
            each for each in json.loads(done.stdout)["checks"] if each["step"] == f"deletes {made.source}.orders"
        )

    good, bad = check(), check(primary_key="number")
    soft = check(delete_detection={"mode": "soft_column", "column": "note"})

    assert good["message"] == "id of all rows is compared with the table's by every run"
    assert (good["status"], good["details"]) == ("ok", {"id": "int32"})
    assert "primary_key number is no column" in bad["message"]
    assert "name the values that do" in soft["error"]["hint"]
