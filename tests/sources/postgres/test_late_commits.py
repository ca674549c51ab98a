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
import psycopg
from click.testing import CliRunner
from late_writers import LateWriters, NaiveReader, carry_on

from dativo_ingest.cli.program import dativo as program

logger = logging.getLogger(__name__)

LOGS = {
    "log_by_time": {"cursor": "at"},
    "log_by_number": {"cursor": "id"},
    "log_by_xid": {"cursor": "xmin"},
}
ROWS = {"row_by_time": {"cursor": "updated_at"}, "row_by_xid": {"cursor": "xmin"}}


def tables() -> list[str]:
    return [
        *(
            f"CREATE TABLE {name} (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), writer int, n int)"
            for name in LOGS
        ),
        *(
            f"CREATE TABLE {name} (id bigint PRIMARY KEY, updated_at timestamptz NOT NULL DEFAULT now(), n int)"
            for name in ROWS
        ),
        "CREATE INDEX ON log_by_time (at)",
    ]


def write(session: psycopg.Connection[Any], number: int, chance: Random, linger: Callable[[], None]) -> None:
    """Write a few rows, with waits at every place where a value was taken and its row is not there yet."""
    session.execute("SELECT 1")  # the transaction, and its time, begin here
    if chance.random() < 0.5:
        linger()
    for name in chance.sample(list(LOGS), len(LOGS)):
        rows = chance.randint(1, 3)
        if chance.random() < 0.2:
            (drawn,) = session.execute(f"SELECT nextval('{name}_id_seq')").fetchone() or (0,)
            linger()
            session.execute(f"INSERT INTO {name} (id, writer, n) VALUES (%s, %s, 0)", [drawn, number])
        session.execute(
            f"INSERT INTO {name} (at, writer, n)"
            f" SELECT CASE WHEN %s THEN now() ELSE clock_timestamp() END, %s, g FROM generate_series(1, %s) g",
            [chance.random() < 0.7, number, rows],
        )
        if chance.random() < 0.2:
            linger()
    for name in ROWS:
        session.execute(
            f"INSERT INTO {name} AS own (id, n) VALUES (%s, 0)"
            " ON CONFLICT (id) DO UPDATE SET n = own.n + 1, updated_at = now()",
            [chance.randrange(30) * 8 + number],  # its own, so that none waits for another
        )


def test_no_row_of_a_late_transaction_is_lost_nor_comes_twice(database, tmp_path) -> None:
    server = database.server
    database.run(*tables())
    path = tmp_path / "lake.duckdb"
    config = tmp_path / "job.json"
    config.write_text(json.dumps(job(database, path)), encoding="utf-8")
    writers = LateWriters(write, lambda: server.connect(autocommit=False, options=f"-c search_path={database.name}"))
    naive = {name: naive_reader(database, name, key) for name, key in (("log_by_time", "at"), ("log_by_number", "id"))}

    runs = carry_on(lambda: run(config, server.password), writers, list(naive.values()))
    time.sleep(1.2)  # the newest second is left for the next run
    run(config, server.password)

    lake = duckdb.connect(str(path), read_only=True)
    counted = {}
    for name in LOGS:
        landed = lake.execute(f"SELECT id, writer, n FROM {name} ORDER BY id").fetchall()
        assert landed == server.ask(f"SELECT id, writer, n FROM {database.name}.{name} ORDER BY id"), name
        counted[name] = len(landed)
    for name in ROWS:
        landed = lake.execute(f"SELECT id, n FROM {name} ORDER BY id").fetchall()
        assert landed == server.ask(f"SELECT id, n FROM {database.name}.{name} ORDER BY id"), name
        counted[name] = len(landed)
    lost = {}
    for name, reader in naive.items():
        there = {id_ for (id_,) in server.ask(f"SELECT id FROM {database.name}.{name}")}
        lost[name] = len(there - reader.seen)
    logger.info("%s runs, %s transactions, %s rolled back", runs, writers.committed, writers.rolled_back)
    logger.info("rows landed: %s, lost by the naive: %s", counted, lost)
    assert writers.rolled_back
    assert all(lost.values()), "the load is too light to show anything"


def job(database: Any, path: Path) -> dict[str, Any]:
    return {
        "version": 1,
        "name": "late",
        "source": {
            "connector": "postgres",
            "connection": database.server.connection,
            "credentials": {"password": "${env:PG_PASSWORD}"},
        },
        "target": {"connector": "duckdb", "connection": {"path": str(path)}},
        "defaults": {"mode": "incremental"},
        "streams": {
            **{f"{database.name}.{name}": {**spec, "write": "append"} for name, spec in LOGS.items()},
            **{f"{database.name}.{name}": {**spec, "primary_key": ["id"]} for name, spec in ROWS.items()},
        },
    }


def run(config: Path, password: str) -> None:
    ran = CliRunner().invoke(program, ["run", "--config", str(config)], env={"PG_PASSWORD": password})
    assert ran.exit_code == 0, ran.output


def naive_reader(database: Any, name: str, cursor: str) -> NaiveReader:
    def ask(highest: Any) -> list[tuple[Any, Any]]:
        with database.server.connect(options=f"-c search_path={database.name}") as session:
            if highest is None:
                return session.execute(f"SELECT {cursor}, id FROM {name}").fetchall()
            return session.execute(f"SELECT {cursor}, id FROM {name} WHERE {cursor} > %s", [highest]).fetchall()

    return NaiveReader(ask)
