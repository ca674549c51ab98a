"""Runs into an Iceberg catalog in Postgres, killed at random moments, and two runs at once; forks before any thread.

``crashing_postgres_runs.py SETTINGS`` prints as JSON the last generation and what was found wrong.
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

import pyarrow as pa

from dativo_ingest.targets.iceberg import IcebergWriter
from dativo_plugin_sdk import CommitRequest, FencedError, TableSpec, TargetConfig

ROWS = 100
FENCED = 79


def run(settings: dict[str, Any], run_id: str, goal: int) -> None:
    """Bring the table to generation ``goal`` if it is not there yet."""
    writer = IcebergWriter(TargetConfig(type="iceberg", **settings))
    table = writer.table(TableSpec("t", "raw", "j", "s", run_id))
    before = table.load_state()
    if before.generation < goal:
        batch = pa.record_batch({"goal": [goal] * ROWS, "id": list(range(ROWS))})
        table.open(batch.schema)
        table.write(batch)
        table.commit(CommitRequest(run_id, before.generation, {"at": goal}, "2026-01-01T00:00:00Z"))
    writer.close()


def start(settings: dict[str, Any], run_id: str, goal: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        run(settings, run_id, goal)
    except FencedError:
        os._exit(FENCED)
    except BaseException as error:  # noqa: BLE001  it must not run on in the parent's place
        print(repr(error), file=sys.stderr)  # noqa: T201  the test shows it
        os._exit(3)
    os._exit(0)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(settings: dict[str, Any]) -> tuple[int, list[str]]:
    chance = random.Random(7)
    wrong: list[str] = []
    codes = sorted(ended(pid) for pid in [start(settings, f"first-{number}", 1) for number in range(2)])
    if codes not in ([0, 0], [0, FENCED]):
        wrong.append(f"two first runs at once ended with {codes}")
    started_s = time.monotonic()
    ended(start(settings, "warm", 2))
    whole_s = time.monotonic() - started_s
    goal = 2
    for _ in range(5):
        goal += 1
        pid = start(settings, f"killed-{goal}", goal)
        time.sleep(chance.uniform(0, whole_s * 1.1))
        os.kill(pid, signal.SIGKILL)
        ended(pid)
        if ended(start(settings, f"next-{goal}", goal)):
            wrong.append(f"the run after kill {goal} failed")
    goal += 1
    codes = sorted(ended(pid) for pid in [start(settings, f"pair-{number}", goal) for number in range(2)])
    if codes not in ([0, 0], [0, FENCED]):
        wrong.append(f"two runs at once ended with {codes}")
    return goal, wrong


if __name__ == "__main__":
    for name in ("table", "postgres"):
        importlib.import_module(f"dativo_ingest.targets.iceberg.{name}")  # once, and not in every child
    pa.array([1])  # the same for what Arrow imports for it
    print(json.dumps(main(json.loads(sys.argv[1]))))  # noqa: T201
