"""Runs that die: started as a process of its own, so that it may fork before Arrow has threads.

``crashing_runs.py every-step LAKE WRITE`` dies at the first thing asked of the operating system or the bucket, then at
the second. ``crashing_runs.py kill LAKE COUNT`` kills runs at random moments. LAKE is a folder, or a prefix in the
bucket of a service: ``PREFIX@ENDPOINT``.

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
from parquet_lakes import BucketLake, FolderLake, Lake
from s3_service import S3

from dativo_ingest.targets import s3_store
from dativo_plugin_sdk import CommitRequest, TableSpec

ROWS = 500 if "every-step" in sys.argv else 50_000
BATCHES = 4
STRIDE = 5  # of the steps in a bucket, each of which begins and ends
STEPS = frozenset({"open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.listdir", "os.scandir", "fcntl.flock"})
BUCKET_STEPS = frozenset({"page", "read", "create", "replace", "remove", "upload"})


def run(lake: Lake, name: str, run_id: str, write: str, goal: int) -> None:
    """Bring the table to generation ``goal`` if it is not there yet."""
    writer = lake.writer(target_file_mb=ROWS / 100_000)
    table = writer.table(
        TableSpec(name=name, namespace=None, job="j", stream="s", run_id=run_id, write=write, buffer_bytes=ROWS * 40)
    )
    before = table.load_state()
    if before.generation < goal:
        schema = pa.schema({"generation": pa.int64(), "id": pa.int64()})
        table.open(schema)
        table.quarantine(pa.record_batch({"reason": [run_id]}))
        for number in range(BATCHES):
            ids = pa.array(range(number * ROWS, (number + 1) * ROWS))
            table.write(pa.RecordBatch.from_arrays([pa.array([goal] * ROWS), ids], schema=schema))
        table.commit(CommitRequest(f"{run_id}-{goal}", before.generation, {"at": goal}, "2026-01-01T00:00:00Z"))
    writer.close()


def problems(lake: Lake, name: str, write: str, goal: int, *, clean: bool) -> list[str]:
    """Compare the table with what it must be: ``clean`` also asks that no other file is left."""
    found: list[str] = []
    manifest = lake.manifest(name)
    generation = manifest.state("dativo.state.j/s").generation
    if clean and generation != goal:
        found.append(f"generation {generation}, not {goal}")
    table = lake.read(name).to_table() if manifest.schema is not None else pa.table({"id": []})
    loads = [generation] if write == "overwrite" else range(1, generation + 1)
    whole = {(load, BATCHES * ROWS, BATCHES * ROWS, 0, BATCHES * ROWS - 1) for load in loads if load}
    if whole != (per_load(table) if table.num_rows else set()):
        found.append(f"loads {per_load(table)}, not {whole}")
    rejected = sum(file.rows for file in manifest.quarantine)
    if rejected != generation:
        found.append(f"{rejected} rejected rows, not {generation}")
    for top, live in ((name, manifest.files), (f"{name}__quarantine", manifest.quarantine)):
        files = lake.data_files(top)
        found += [f"missing {path}" for path in {file.path for file in live} - files]
        extra = files - {file.path for file in live}
        found += [f"left over {path}" for path in extra if clean or not is_of_a_run(path)]
    if clean:
        found += [f"left over {path}" for path in lake.marks() if path.startswith((f"{name}/", f"{name}__"))]
    return found


def is_of_a_run(path: str) -> bool:
    """Say whether a run's name is in the file's: of the one that died, or of one whose files an overwrite replaced."""
    return Path(path).name.lstrip(".").startswith(("first-", "dying-", "warm-", "killed-", "next-"))


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
    """Leave at the given number of calls to the operating system, without any clean-up."""
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os._exit(9)

    def watch(event: str, _arguments: tuple[object, ...]) -> None:
        if event in STEPS:
            count()

    def watch_bucket(frame: FrameType, event: str, _argument: object) -> None:
        where = frame.f_code
        if event in {"call", "return"} and where.co_filename == s3_store.__file__ and where.co_name in BUCKET_STEPS:
            count()

    if IN_BUCKET:
        sys.setprofile(watch_bucket)
    else:
        sys.addaudithook(watch)


def checked(lake: Lake, name: str, write: str, goal: int, *, clean: bool) -> list[str]:
    """Look for problems in a child, as reading starts threads."""
    reader, sender = os.pipe()

    def look() -> None:
        os.write(sender, json.dumps(problems(lake, name, write, goal, clean=clean)).encode()[:4000])

    done = in_child(look)
    os.close(sender)
    with os.fdopen(reader) as stream:
        text = stream.read()
    return json.loads(text) if done else ["the table could not be read"]


def every_step(lake: Lake, write: str) -> tuple[int, list[str]]:
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
        # A run that finds its goal reached opens nothing; the one after it does, and sweeps.
        if not in_child(lambda: run(lake, name, "last", write, 3)):  # noqa: B023
            found.append(f"step {step}: the last run failed")
        found += [f"step {step}, after: {each}" for each in checked(lake, name, write, 3, clean=True)]
        if through:
            return step, found
        step += STRIDE if IN_BUCKET else 1


def kills(lake: Lake, count: int, seed: int) -> tuple[int, list[str]]:
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


def lake_of(text: str) -> Lake:
    prefix, _, endpoint = text.partition("@")
    return BucketLake(S3(endpoint, ""), prefix) if endpoint else FolderLake(Path(text))


IN_BUCKET = "@" in sys.argv[2]

if __name__ == "__main__":
    import pyarrow.dataset

    pa.array([1])  # what is imported here, or by Arrow for this, is imported once and not in every child
    how, where, what = sys.argv[1:4]
    place = lake_of(where)
    steps, wrong = every_step(place, what) if how == "every-step" else kills(place, int(what), 7)
    print(json.dumps({"steps": steps, "wrong": wrong}))  # noqa: T201
