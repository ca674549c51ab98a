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
def test_rows_that_are_gone_from_the_source_go(target: str, shop: Any) -> None:
    made = shop(target)
    made.sql(*ORDERS)
    first = made.run(orders={**FOLLOWED, "delete_detection": NOW})
    made.sql("DELETE FROM orders WHERE id IN (3, 4)", "INSERT INTO orders VALUES (21, 21, 'new')")

    second = made.run(orders={**FOLLOWED, "delete_detection": NOW})

    assert made.report["errors"] == []
    assert made.ids() == [each for each in range(1, 22) if each not in {3, 4}]
    assert first["delete_detection"]["table_rows"] == 0
    assert (second["rows"]["inserted"], second["rows"]["updated"], second["rows"]["deleted"]) == (1, 0, 2)
    found = second["delete_detection"]
    assert (found["source_keys"], found["table_rows"], found["absent"], found["deletes"]) == (19, 20, 2, "hard")
    assert found["examples"] == []


@pytest.mark.parametrize("target", TARGETS)
def test_soft_deletes_keep_the_rows_with_their_values(target: str, shop: Any) -> None:
    made = shop(target)
    made.sql(*ORDERS)
    stream = {**FOLLOWED, "delete_detection": NOW, "deletes": "soft", "system_columns": ["run_id"]}
    made.run(orders=stream)
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


KEYS = {
    "padded": ("char(5)", "'a', 'ab ', 'abcde'"),
    "exact": ("numeric(20,4)", "1.5, 2.2500, -99999999999.0001"),
    "free": ("numeric", "1.5, 2.2500, 1e30"),
    "uuids": (
        "uuid",
        "'00000000-0000-0000-0000-000000000001', 'ffffffff-ffff-ffff-ffff-ffffffffffff', gen_random_uuid()",
    ),
    "moments": ("timestamptz", "'2024-01-01 00:00:00.000001+02', '1900-01-01', '0001-01-01'"),
    "plain": ("timestamp", "'2024-01-01 00:00:00.000001', '1900-01-01', '9999-12-31'"),
    "days": ("date", "'2024-02-29', '0001-01-01', '9999-12-31'"),
    "texts": ("text", "'', 'é', 'a b\tc\n\"'"),
    "big": ("bigint", "1, -9223372036854775808, 9223372036854775807"),
}


@pytest.mark.parametrize("target", TARGETS)
def test_keys_of_any_type_are_the_same_on_both_sides(target: str, shop: Any) -> None:
    made = shop(target)
    for name, (kind, values) in KEYS.items():
        made.sql(
            f"CREATE TABLE {name} (id {kind} PRIMARY KEY, n int)",
            f"INSERT INTO {name} SELECT v, row_number() OVER () FROM unnest(ARRAY[{values}]::{kind}[]) v",
        )
    made.sql(
        "CREATE TABLE pairs (a int, b char(3), c timestamptz, n int, PRIMARY KEY (a, b, c))",
        "INSERT INTO pairs VALUES (1, 'x', '2024-01-01', 1), (1, 'y', '2024-01-01', 2), (2, 'x', '2024-01-01', 3)",
    )
    streams = {
        name: {"mode": "incremental", "cursor": "n", "primary_key": "id", "delete_detection": NOW} for name in KEYS
    }
    streams["pairs"] = {**streams["big"], "primary_key": ["a", "b", "c"]}
    made.run(**streams)
    made.sql(*(f"DELETE FROM {name} WHERE n = 2" for name in streams))

    found = made.run(**streams)

    assert made.report["errors"] == []
    absent = {name: each["delete_detection"]["absent"] for name, each in found.items()}
    assert absent == dict.fromkeys(streams, 1)
    left = {name: sorted(row["n"] for row in made.rows(name)) for name in streams}
    assert left == {name: [1, 3] for name in streams}
