from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

CRASHING_RUNS = Path(__file__).with_name("crashing_runs.py")
SUPPORT = Path(__file__).parents[2] / "support"


def crash(*arguments: object) -> dict:
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    done = subprocess.run(
        [sys.executable, CRASHING_RUNS, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def prefix(bucket):
    return f"{bucket.prefix}@{bucket.s3.endpoint}"


@pytest.mark.parametrize("write", ["append", "overwrite"])
def test_a_run_that_dies_at_any_step_lands_whole_or_not_at_all_and_the_next_cleans_up(tmp_path, write):
    outcome = crash("every-step", tmp_path, write)

    assert outcome["wrong"] == []
    assert outcome["steps"] > 20


@pytest.mark.parametrize("write", ["append", "overwrite"])
def test_in_a_bucket_a_run_that_dies_at_any_step_lands_whole_or_not_at_all_and_the_next_cleans_up(prefix, write):
    outcome = crash("every-step", prefix, write)

    assert outcome["wrong"] == []
    assert outcome["steps"] > 20


def test_runs_killed_at_random_moments_double_no_row_and_lose_none(tmp_path):
    outcome = crash("kill", tmp_path, 10)

    assert outcome["wrong"] == []


def test_in_a_bucket_runs_killed_at_random_moments_double_no_row_and_lose_none(prefix):
    outcome = crash("kill", prefix, 4)

    assert outcome["wrong"] == []


def test_a_live_runs_files_are_left_alone_by_another_run(table, request_of, lake):
    batch = pa.record_batch({"id": [1]})
    live = table(run_id="live", buffer_bytes=1, stream="a")
    live.open(batch.schema)
    live.write(batch)
    other = table(run_id="other", stream="b")
    other.open(batch.schema)
    other.write(batch)
    other.commit(request_of(0))

    receipt = live.commit(request_of(0))

    assert receipt.inserted == 1
    assert {path.name for path in lake.rglob("*.parquet")} == {"live-0.parquet", "other-0.parquet"}
