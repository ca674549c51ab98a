"""Runs that die: started as a process of its own, so that it may fork before Arrow has threads.

``crashing_runs.py every-step LAKE WRITE`` dies at the first step of the protocol, then at the second.
``crashing_runs.py kill LAKE COUNT`` kills runs at random moments.

After each death a whole run follows; it ends when a run gets through. stdout is JSON: the number of steps, and what was
found wrong.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pyarrow as pa
from deltalake import DeltaTable

from dativo_ingest.targets.delta import DeltaWriter
from dativo_plugin_sdk import CommitRequest, TableSpec, TargetConfig

ROWS = 200 if "every-step" in sys.argv else 50_000
BATCHES = 2
STRIDE = 6  # of the steps, each of which begins and ends
SCHEMA = pa.schema({"generation": pa.int64(), "id": pa.int64()})
STEPS = frozenset(
    {
        *("load_table", "finish", "_start", "write", "properties", "_create", "_prepare", "_land"),
        *("_merge", "_landed", "forget_before", "publish", "_append", "create_write_transaction", "execute"),
        *("create_table_with_add_actions", "_look_again", "abort"),
    }
)


def target(lake: Path) -> DeltaWriter:
    return DeltaWriter(
        TargetConfig(type="delta", connection={"path": str(lake)}, options={"target_file_mb": ROWS / 100_000})
    )


def spec_of(name: str, run_id: str, write: str) -> TableSpec:
    return TableSpec(
        name=name,
        namespace=None,
        job="j",
        stream="s",
        run_id=run_id,
        write=write,  # type: ignore[arg-type]  # one of the three
        primary_key=("id",),
        buffer_bytes=ROWS * 40,
    )


def run(lake: Path, name: str, run_id: str, write: str, goal: int) -> None:
    """Bring the table to generation ``goal`` if it is not there yet."""
    writer = target(lake)
    table = writer.table(spec_of(name, run_id, write))
    before = table.load_state()
    table.open(SCHEMA)
    if before.generation < goal:
        table.quarantine(pa.record_batch({"reason": [run_id]}))
        for number in range(BATCHES):
            ids = pa.array(range(number * ROWS, (number + 1) * ROWS))
            table.write(pa.RecordBatch.from_arrays([pa.array([goal] * ROWS), ids], schema=SCHEMA))
        table.commit(CommitRequest(f"{run_id}-{goal}", before.generation, {"at": goal}, "2026-01-01T00:00:00Z"))
    writer.close()


def problems(lake: Path, name: str, write: str, goal: int, *, clean: bool) -> list[str]:
    """Compare the table with what it must be; ``clean`` asks that the goal is reached and the rejects are there."""
    found: list[str] = []
    folder = lake / name
    state = target(lake).table(spec_of(name, "look", write)).load_state()
    generation = state.generation
    if clean and generation != goal:
        found.append(f"generation {generation}, not {goal}")
    table = DeltaTable(folder).to_pyarrow_table() if (folder / "_delta_log").exists() else pa.table({"id": []})
    loads = range(1, generation + 1) if write == "append" else [generation]
    whole = {(load, BATCHES * ROWS, BATCHES * ROWS, 0, BATCHES * ROWS - 1) for load in loads if load}
    if whole != (per_load(table) if table.num_rows else set()):
        found.append(f"loads {per_load(table)}, not {whole}")
    rejects = lake / f"{name}__quarantine"
    rejected = DeltaTable(rejects).count() if (rejects / "_delta_log").exists() else 0
    if rejected not in ({generation} if clean else {generation, generation - 1}):
        found.append(f"{rejected} rejected rows, not {generation}")
    for top in (folder, rejects):
        runs = [path.name.partition("-")[0] for path in top.rglob("*.parquet") if "_delta_log" not in path.parts]
        # What a dead run leaves has its name: deltalake's own come from merges.
        found += [
            f"left over by {run}" for run in set(runs) - {"first", "dying", "next", "last", "warm", "part", "killed"}
        ]
    return found


def per_load(table: pa.Table) -> set[tuple[int, ...]]:
    """Count each load's rows and distinct ids, and find the ends of the ids."""
    ask = [("id", "count"), ("id", "count_distinct"), ("id", "min"), ("id", "max")]
    return set(
        zip(*(column.to_pylist() for column in table.group_by("generation").aggregate(ask).columns), strict=True)
    )


def in_child(work: Callable[[], None], *, kill_after_s: float | None = None) -> bool:
    """Do the work in a child; say whether it got through."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  it must not run on in the parent's place
            print(repr(error), file=sys.stderr)  # noqa: T201  the test shows it
            os._exit(3)
        os._exit(0)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def die_at(step: int) -> None:
    """Leave when a step of the protocol, the given number of them on, begins or ends, without any clean-up."""
    left = step

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal left
        where = frame.f_code
        if event in {"call", "return"} and where.co_name in STEPS and "delta" in where.co_filename:
            left -= 1
            if left < 0:
                os._exit(9)

    sys.setprofile(watch)


def checked(lake: Path, name: str, write: str, goal: int, *, clean: bool) -> list[str]:
    """Look for problems in a child, as reading starts threads."""
    reader, sender = os.pipe()

    def look() -> None:
        os.write(sender, json.dumps(problems(lake, name, write, goal, clean=clean)).encode()[:4000])

    done = in_child(look)
    os.close(sender)
    with os.fdopen(reader) as stream:
        text = stream.read()
    return json.loads(text) if done else ["the table could not be read"]


def every_step(lake: Path, write: str) -> tuple[int, list[str]]:
    found: list[str] = []
    step = 0
    while True:
        name = f"t{step}"
        in_child(lambda: run(lake, name, "first", write, 1))  # noqa: B023  called at once

        def dying() -> None:
            die_at(step)  # noqa: B023  called at once
            run(lake, name, "dying", write, 2)  # noqa: B023

        through = in_child(dying)
        found += [f"step {step}, dead: {each}" for each in checked(lake, name, write, 2, clean=False)]
        if not in_child(lambda: run(lake, name, "next", write, 2)):  # noqa: B023
            found.append(f"step {step}: the next run failed")
        if not in_child(lambda: run(lake, name, "last", write, 3)):  # noqa: B023
            found.append(f"step {step}: the last run failed")
        found += [f"step {step}, after: {each}" for each in checked(lake, name, write, 3, clean=True)]
        if through:
            return step, found
        step += STRIDE


def kills(lake: Path, count: int, seed: int) -> tuple[int, list[str]]:
    chance = random.Random(seed)
    started_s = time.monotonic()
    in_child(lambda: run(lake, "t", "warm", "append", 1))
    whole_s = time.monotonic() - started_s
    found: list[str] = []
    for number in range(count):
        goal = number + 2
        in_child(
            lambda: run(lake, "t", f"killed-{goal}", "append", goal),  # noqa: B023  called at once
            kill_after_s=chance.uniform(0, whole_s * 1.1),
        )
        found += [f"kill {number}: {each}" for each in checked(lake, "t", "append", goal, clean=False)]
        if not in_child(lambda: run(lake, "t", f"next-{goal}", "append", goal)):  # noqa: B023
            found.append(f"kill {number}: the next run failed")
    in_child(lambda: run(lake, "t", "last", "append", count + 2))
    return count, found + checked(lake, "t", "append", count + 2, clean=True)


if __name__ == "__main__":
    # What is imported here is not imported in every child.
    import pyarrow.dataset

    import dativo_ingest.targets.delta.table  # noqa: F401

    pa.array([1])  # what Arrow imports for it, it imports once and not in every child
    how, where, what = sys.argv[1:4]
    steps, wrong = every_step(Path(where), what) if how == "every-step" else kills(Path(where), int(what), 7)
    print(json.dumps({"steps": steps, "wrong": wrong}))  # noqa: T201
