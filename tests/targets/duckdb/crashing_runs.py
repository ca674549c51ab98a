"""Runs killed at random moments, and two runs at once: a process of its own, so that it may fork before any thread.

``crashing_runs.py FOLDER`` prints a JSON list of what was found wrong.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import duckdb
import pyarrow as pa

from dativo_ingest.targets.duckdb import DuckDBWriter
from dativo_plugin_sdk import CommitRequest, FencedError, TableSpec, TargetConfig

ROWS = 30_000
BATCHES = 5
FENCED = 79


def run(path: Path, run_id: str, write: str, goal: int) -> None:
    """Bring the table to generation ``goal`` if it is not there yet."""
    writer = DuckDBWriter(TargetConfig(type="duckdb", connection={"path": str(path)}))
    spec = TableSpec(
        name="t", namespace="raw", job="j", stream="s", run_id=run_id, write=write, primary_key=("generation", "id")
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


def start(path: Path, run_id: str, write: str, goal: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        run(path, run_id, write, goal)
    except FencedError:
        os._exit(FENCED)
    except BaseException as error:  # noqa: BLE001  it must not run on in the parent's place
        print(repr(error), file=sys.stderr)  # noqa: T201  the test shows it
        os._exit(3)
    os._exit(0)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def problems(path: Path, goal: int) -> list[str]:
    """Compare the table with what it must be; in a child, as DuckDB starts threads."""
    reader, sender = os.pipe()
    pid = os.fork()
    if not pid:
        with duckdb.connect(str(path), read_only=True) as connection:
            found = connection.execute(
                "SELECT generation, count(*), count(DISTINCT id), max(id) FROM raw.t GROUP BY generation ORDER BY 1"
            ).fetchall()
            rejected = connection.execute("SELECT count(*) FROM raw.t__quarantine").fetchall()
        os.write(sender, json.dumps([found, rejected]).encode())
        os._exit(0)
    os.close(sender)
    with os.fdopen(reader) as stream:
        text = stream.read()
    ended(pid)
    total = BATCHES * ROWS
    expected = [[[number, total, total, total - 1] for number in range(1, goal + 1)], [[goal]]]
    return [] if text and json.loads(text) == expected else [f"generation {goal}: {text}"]


def main(folder: Path) -> list[str]:
    path = folder / "lake.duckdb"
    chance = random.Random(7)
    wrong: list[str] = []
    started_s = time.monotonic()
    ended(start(path, "warm", "append", 1))
    whole_s = time.monotonic() - started_s
    goal = 1
    for write in ("append", "merge", "append", "merge", "append"):
        goal += 1
        pid = start(path, f"killed-{goal}", write, goal)
        time.sleep(chance.uniform(0, whole_s * 1.1))
        os.kill(pid, signal.SIGKILL)
        ended(pid)
        if ended(start(path, f"next-{goal}", write, goal)):
            wrong.append(f"the run after kill {goal} failed")
        wrong += problems(path, goal)
    goal += 1
    codes = sorted(ended(pid) for pid in [start(path, f"pair-{number}", "append", goal) for number in range(2)])
    if codes not in ([0, 0], [0, FENCED]):
        wrong.append(f"two runs at once ended with {codes}")
    wrong += problems(path, goal)
    fresh = folder / "fresh.duckdb"
    codes = sorted(ended(pid) for pid in [start(fresh, f"pair-{number}", "append", 1) for number in range(2)])
    if codes not in ([0, 0], [0, FENCED]):
        wrong.append(f"two first runs at once ended with {codes}")
    wrong += problems(fresh, 1)
    left = {each.name for each in folder.iterdir()} - {path.name, fresh.name}
    return wrong + [f"left over {name}" for name in left]


if __name__ == "__main__":
    pa.array([1])  # what Arrow imports for it, it imports once and not in every child
    print(json.dumps(main(Path(sys.argv[1]))))  # noqa: T201
