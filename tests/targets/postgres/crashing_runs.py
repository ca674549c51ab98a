"""Runs killed at random moments, and two runs at once: a process of its own, so that it may fork before any thread.

``crashing_runs.py SETTINGS`` prints a JSON list of what was found wrong; SETTINGS is JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import time
from typing import Any

import psycopg
import pyarrow as pa

from dativo_ingest.targets.postgres import PostgresWriter
from dativo_plugin_sdk import CommitRequest, FencedError, TableSpec, TargetConfig

ROWS = 2_000
BATCHES = 5
FENCED = 79


def run(settings: dict[str, Any], name: str, run_id: str, write: str, goal: int) -> None:
    """Bring the table to generation ``goal`` if it is not there yet."""
    given = {key: value for key, value in settings.items() if key not in {"password", "namespace"}}
    config = TargetConfig(type="postgres", connection=given, credentials={"password": settings["password"]})
    writer = PostgresWriter(config)
    spec = TableSpec(
        name=name,
        namespace=settings["namespace"],
        job="j",
        stream="s",
        run_id=run_id,
        write=write,
        primary_key=("generation", "id"),
        buffer_bytes=50_000,
    )
    table = writer.table(spec)
    before = table.load_state()
    if before.generation < goal:
        schema = pa.schema({"generation": pa.int64(), "id": pa.int64()})
        table.open(schema)
        table.quarantine(pa.record_batch({"reason": [run_id]}))
        for number in range(BATCHES):
            ids = pa.array(range(number * ROWS, (number + 1) * ROWS))
            table.write(pa.RecordBatch.from_arrays([pa.array([goal] * ROWS), ids], schema=schema))
        table.commit(CommitRequest(run_id, before.generation, {"at": goal}, "2026-01-01T00:00:00Z"))
    writer.close()


def start(settings: dict[str, Any], name: str, run_id: str, write: str, goal: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        run(settings, name, run_id, write, goal)
    except FencedError:
        os._exit(FENCED)
    except BaseException as error:  # noqa: BLE001  it must not run on in the parent's place
        print(repr(error), file=sys.stderr)  # noqa: T201  the test shows it
        os._exit(3)
    os._exit(0)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def problems(settings: dict[str, Any], name: str, goal: int) -> list[str]:
    """Compare the table with what it must be."""
    found = asked(
        settings, f"SELECT generation, count(*), count(DISTINCT id), max(id) FROM {name} GROUP BY 1 ORDER BY 1"
    )
    rejected = asked(settings, f"SELECT count(*) FROM {name}__quarantine")
    total = BATCHES * ROWS
    expected = [(number, total, total, total - 1) for number in range(1, goal + 1)]
    return [] if (found, rejected) == (expected, [(goal,)]) else [f"{name}, generation {goal}: {found} {rejected}"]


def asked(settings: dict[str, Any], statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(
        host=settings["host"],
        port=settings["port"],
        dbname=settings["database"],
        user=settings["user"],
        password=settings["password"],
        options=f"-c search_path={settings['namespace']}",
    ) as session:
        return session.execute(statement).fetchall()  # type: ignore[arg-type]  # our own names


def left_over(settings: dict[str, Any]) -> list[str]:
    """Name what is there beside the tables, once the server has seen that its clients are gone."""
    mine = "relname LIKE '\\_dativo\\_stage%' OR relname LIKE '\\_dativo\\_rejects%'"
    for _ in range(50):
        stages = asked(settings, f"SELECT relname FROM pg_class WHERE {mine}")
        if not stages:
            break
        time.sleep(0.1)
    known = ("t", "fresh", "t__quarantine", "fresh__quarantine", "_dativo_state", "_dativo_commits")
    tables = asked(
        settings, "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
    )
    return [f"left over {each}" for (each,) in [*stages, *tables] if each not in known]


def main(settings: dict[str, Any]) -> list[str]:
    chance = random.Random(7)
    wrong: list[str] = []
    ended(start(settings, "t", "first", "append", 1))
    started_s = time.monotonic()
    ended(start(settings, "t", "warm", "merge", 2))
    whole_s = time.monotonic() - started_s
    goal = 2
    for write in ("append", "merge", "append", "merge", "append", "merge"):
        goal += 1
        pid = start(settings, "t", f"killed-{goal}", write, goal)
        time.sleep(chance.uniform(0, whole_s * 1.1))
        os.kill(pid, signal.SIGKILL)
        ended(pid)
        if ended(start(settings, "t", f"next-{goal}", write, goal)):
            wrong.append(f"the run after kill {goal} failed")
        wrong += problems(settings, "t", goal)
    for name, write, after in (("t", "append", goal + 1), ("t", "merge", goal + 2), ("fresh", "merge", 1)):
        codes = sorted(ended(pid) for pid in [start(settings, name, f"pair-{n}", write, after) for n in range(2)])
        if codes not in ([0, 0], [0, FENCED]):
            wrong.append(f"two runs at once ended with {codes}")
        wrong += problems(settings, name, after)
    return wrong + left_over(settings)


if __name__ == "__main__":
    importlib.import_module("dativo_ingest.targets.postgres.table")  # once, and not in every child
    pa.array([1])  # the same for what Arrow imports for it
    print(json.dumps(main(json.loads(sys.argv[1]))))  # noqa: T201
