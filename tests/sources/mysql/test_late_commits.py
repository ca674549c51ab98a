"""Runs that go on while eight writers commit late: nothing is lost, and nothing comes twice."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import duckdb
from click.testing import CliRunner
from late_writers import LateWriters, NaiveReader, carry_on

from dativo_ingest.cli.program import dativo as program

logger = logging.getLogger(__name__)

LOGS = {"log_by_time": {"cursor": "at"}, "log_by_number": {"cursor": "id"}}
NOW = "datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)"


def tables() -> list[str]:
    return [
        *(f"CREATE TABLE {name} (id bigint AUTO_INCREMENT PRIMARY KEY, at {NOW}, writer int, n int)" for name in LOGS),
        f"CREATE TABLE row_by_time (id bigint PRIMARY KEY, updated_at {NOW} ON UPDATE CURRENT_TIMESTAMP(6), n int)",
        "CREATE INDEX by_time ON log_by_time (at)",
    ]


def write(session: Any, number: int, chance: Random, linger: Callable[[], None]) -> None:
    """Write a few rows, with waits between."""
    with session.cursor() as cursor:
        cursor.execute("SELECT 1 FROM log_by_time LIMIT 1")  # a transaction that has only read by then
        linger()
        for name in chance.sample(list(LOGS), len(LOGS)):
            rows = ", ".join([f"({number}, 0)"] * chance.randint(1, 3))
            cursor.execute(f"INSERT INTO {name} (writer, n) VALUES {rows}")
            if chance.random() < 0.2:
                linger()
        own = chance.randrange(30) * 8 + number  # so that none waits for another
        cursor.execute(f"INSERT INTO row_by_time (id, n) VALUES ({own}, 0) ON DUPLICATE KEY UPDATE n = n + 1")


def test_no_row_of_a_late_transaction_is_lost_nor_comes_twice(database, tmp_path) -> None:
    server = database.server
    database.run(*tables())
    path = tmp_path / "lake.duckdb"
    config = tmp_path / "job.json"
    config.write_text(json.dumps(job(database, path)), encoding="utf-8")

    def connect() -> Any:
        session = server.connect(database=database.name, autocommit=False)
        with session.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        return session

    writers = LateWriters(write, connect)
    naive = {name: naive_reader(database, name, key) for name, key in (("log_by_time", "at"), ("log_by_number", "id"))}

    runs = carry_on(lambda: run(config, server.password), writers, list(naive.values()))
    time.sleep(2.2)  # the newest two seconds are left for the next run
    run(config, server.password)

    lake = duckdb.connect(str(path), read_only=True)
    counted = {}
    for name, columns in (
        ("log_by_time", "id, writer, n"),
        ("log_by_number", "id, writer, n"),
        ("row_by_time", "id, n"),
    ):
        landed = lake.execute(f"SELECT {columns} FROM {name} ORDER BY id").fetchall()
        assert landed == database.ask(f"SELECT {columns} FROM {name} ORDER BY id"), name
        counted[name] = len(landed)
    lost = {
        name: len({id_ for (id_,) in database.ask(f"SELECT id FROM {name}")} - reader.seen)
        for name, reader in naive.items()
    }
    logger.info("%s runs, %s transactions, %s rolled back", runs, writers.committed, writers.rolled_back)
    logger.info("rows landed: %s, lost by the naive: %s", counted, lost)
    assert writers.rolled_back
    assert all(lost.values()), "the load is too light to show anything"


def job(database: Any, path: Path) -> dict[str, Any]:
    return {
        "version": 1,
        "name": "late",
        "source": {
            "connector": "mysql",
            "connection": {**database.server.connection, "database": database.name},
            "credentials": {"password": "${env:MYSQL_PASSWORD}"},
        },
        "target": {"connector": "duckdb", "connection": {"path": str(path)}},
        "defaults": {"mode": "incremental"},
        "streams": {
            **{f"{database.name}.{name}": {**spec, "write": "append"} for name, spec in LOGS.items()},
            f"{database.name}.row_by_time": {"cursor": "updated_at", "primary_key": ["id"]},
        },
    }


def run(config: Path, password: str) -> None:
    ran = CliRunner().invoke(program, ["run", "--config", str(config)], env={"MYSQL_PASSWORD": password})
    assert ran.exit_code == 0, ran.output


def naive_reader(database: Any, name: str, cursor: str) -> NaiveReader:
    def ask(highest: Any) -> list[tuple[Any, Any]]:
        beyond = "" if highest is None else f" WHERE {cursor} > '{highest}'"
        return database.ask(f"SELECT {cursor}, id FROM {name}{beyond}")

    return NaiveReader(ask)
