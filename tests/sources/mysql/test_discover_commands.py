"""Discover, assets and globs of a MySQL source, through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from click.testing import CliRunner, Result
from command_line import validate
from mariadb_service import MariaDB

from dativo_ingest.cli.program import dativo as program
from dativo_ingest.mysql.sessions import Session
from dativo_ingest.run.documents_schema import DISCOVER


@pytest.fixture
def job(tmp_path: Path, mariadb: MariaDB) -> Callable[..., Path]:
    def write(database: str, **keywords: Any) -> Path:
        text = {
            "version": 1,
            "name": "shop",
            "source": {
                "connector": "mysql",
                "connection": {**mariadb.connection, "database": database},
                "credentials": {"password": "${env:MYSQL_PASSWORD}"},
            },
            "target": {"connector": "duckdb", "connection": {"path": "lake.duckdb"}, "namespace": "raw"},
            **keywords,
        }
        path = tmp_path / "job.yaml"
        path.write_text(json.dumps(text), encoding="utf-8")
        return path

    return write


@pytest.fixture
def dativo(mariadb: MariaDB) -> Callable[..., Result]:
    def run(*arguments: object) -> Result:
        environment = {"MYSQL_PASSWORD": mariadb.password}
        return CliRunner().invoke(program, [str(each) for each in arguments], env=environment)

    return run


def _shop(database: Any) -> None:
    database.run(
        "CREATE TABLE orders (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, amount decimal(10, 2) COMMENT 'with tax',"
        " updated_at timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp())",
        "INSERT INTO orders (amount, updated_at) SELECT seq, '2026-01-01 00:00:00' FROM seq_1_to_3",
        "CREATE TABLE countries (code char(2) PRIMARY KEY, name text NOT NULL)",
        "INSERT INTO countries VALUES ('de', 'Germany')",
        "CREATE TABLE `order log` (line text)",
        "CREATE VIEW large AS SELECT * FROM orders WHERE amount > 2",
    )


def test_discover_tells_what_there_is_in_json_and_in_text(
    database: Any, job: Callable[..., Path], dativo: Callable[..., Result]
) -> None:
    _shop(database)
    asked = ("discover", "--config", job(database.name))

    document = json.loads(dativo(*asked, "--json").stdout)
    short = dativo(*asked).stdout

    validate(document, DISCOVER)
    assert document["source"]["connector"] == "mysql"
    assert [item["name"].partition(".")[2] for item in document["objects"]] == [
        "countries",
        "large",
        "order log",
        "orders",
    ]
    assert "found 4 objects" in short
    assert "amount: decimal(10,2)" in short


def test_assets_propose_keys_and_cursors_and_run(
    database: Any, job: Callable[..., Path], dativo: Callable[..., Result], tmp_path: Path
) -> None:
    _shop(database)
    assets = tmp_path / "assets"

    written = dativo("discover", "--config", job(database.name), "--write-assets", assets)
    made = yaml.safe_load((assets / "job.yaml").read_text())
    first = dativo("run", "--config", assets / "job.yaml", "--progress", "none", "--report", "-")
    database.run("UPDATE orders SET amount = 7 WHERE id = 1")
    second = dativo("run", "--config", assets / "job.yaml", "--progress", "none", "--report", "-")

    assert (written.exit_code, first.exit_code, second.exit_code) == (0, 0, 0), first.output
    assert made["streams"][f"{database.name}.orders"] == {
        "mode": "incremental",
        "cursor": "updated_at",
        "primary_key": ["id"],
        "contract": f"{database.name}.orders.odcs.yaml",
    }
    assert made["streams"][f"{database.name}.countries"]["primary_key"] == ["code"]
    with duckdb.connect(str(tmp_path / "lake.duckdb"), read_only=True) as lake:
        tables = lake.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'raw'").fetchall()
        orders = lake.execute("SELECT id, amount FROM raw.orders ORDER BY id").fetchall()
    assert {"orders", "countries", "order log", "large"} <= {name for (name,) in tables}
    assert [int(number) for number, _ in orders] == [1, 2, 3]


def test_assets_of_many_tables_take_as_few_queries_as_those_of_one(
    database: Any,
    job: Callable[..., Path],
    dativo: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    statements: list[str] = []
    asked = Session.query

    def query(self: Session, sql: str, *rest: Any, **more: Any) -> int:
        statements.append(sql)
        return asked(self, sql, *rest, **more)

    monkeypatch.setattr(Session, "query", query)
    counts = []
    for count in (1, 30):
        database.run(*(f"CREATE TABLE t{count}_{each} (a int PRIMARY KEY, b json)" for each in range(count)))
        statements.clear()
        done = dativo("discover", "--config", job(database.name), "--write-assets", tmp_path / f"assets{count}")
        assert done.exit_code == 0, done.output
        counts.append(len(statements))

    assert len(list((tmp_path / "assets30").glob("*.odcs.yaml"))) == 31
    assert counts[0] == counts[1] < 25


def test_a_glob_picks_from_the_connections_database(
    database: Any, job: Callable[..., Path], dativo: Callable[..., Result]
) -> None:
    _shop(database)
    config = job(database.name, streams={f"{database.name}.o*": {"write": "overwrite"}})

    done = dativo("run", "--config", config, "--progress", "none", "--report", "-")

    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert {stream["name"].partition(".")[2] for stream in report["streams"]} == {"orders", "order log"}


def test_a_check_of_globs_tells_the_step_at_which_there_is_no_way_in(
    database: Any, job: Callable[..., Path], dativo: Callable[..., Result]
) -> None:
    _shop(database)
    config = job(database.name, streams={f"{database.name}.o*": {}})
    asked = ("check", "--config", str(config), "--only", "source", "--json")

    refused = json.loads(CliRunner().invoke(program, asked, env={"MYSQL_PASSWORD": "wrong"}).stdout)
    passed = json.loads(dativo(*asked).stdout)

    steps = {each["step"]: each["status"] for each in refused["checks"]}
    assert steps == {
        "configuration": "ok",
        "dns": "ok",
        "tcp": "ok",
        "tls": "ok",
        "authentication": "fail",
        "database": "skipped",
        "permission": "skipped",
        "streams": "skipped",
    }
    assert refused["exit_code"] == 77
    assert f"read {database.name}.order log" in {each["step"] for each in passed["checks"]}
    assert passed["status"] == "succeeded"
