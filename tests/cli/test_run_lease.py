import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Invoke, WriteJob

from dativo_ingest.run.lease_store import Owner, SqliteLeaseStore

pytestmark = pytest.mark.usefixtures("plugins_in_process")

KEY = "app/orders"
THEIRS = Owner("theirs", "elsewhere", 7, "another boot", "12345")


def quick(write_job: WriteJob, **more: Any) -> Path:
    """Write a job without a plugin, whose process would take a part of the time that a lease has."""
    job = write_job(
        source={"connector": "csv", "connection": {"path": "orders.csv"}},
        target={"connector": "parquet", "connection": {"path": "lake"}},
        **more,
    )
    (job.parent / "orders.csv").write_text("id\n1\n")
    return job


@pytest.fixture
def job(write_job: WriteJob) -> Path:
    return quick(write_job)


@pytest.fixture
def store(job: Path) -> SqliteLeaseStore:
    return SqliteLeaseStore(job.parent / ".dativo" / "state.db")


def test_without_waiting_a_stream_that_another_run_holds_ends_with_75(
    job: Path, store: SqliteLeaseStore, invoke: Invoke
) -> None:
    store.take([KEY], THEIRS, ttl_s=60, steal=False)

    done = invoke("run", "-c", job, "--wait", "0", "--report", "-")

    report = json.loads(done.stdout)
    assert (done.exit_code, report["exit_code"], report["retryable"], report["streams"]) == (75, 75, True, [])
    assert report["errors"][0]["error_code"] == "CONCURRENCY_ERROR"
    assert report["errors"][0]["details"]["run_id"] == "theirs"


def test_steal_takes_it_over_and_gives_it_back(job: Path, store: SqliteLeaseStore, invoke: Invoke) -> None:
    store.take([KEY], THEIRS, ttl_s=60, steal=False)

    stolen = invoke("run", "-c", job, "--steal")
    after = invoke("run", "-c", job)

    assert (stolen.exit_code, after.exit_code) == (0, 0)


@pytest.mark.parametrize("wait", [[], ["--wait"], ["--wait", "600"]])
def test_a_run_waits_until_the_other_is_done(
    wait: list[str], job: Path, store: SqliteLeaseStore, invoke: Invoke
) -> None:
    store.take([KEY], THEIRS, ttl_s=3, steal=False)

    done = invoke("run", "-c", job, "--progress", "none", *wait)

    assert done.exit_code == 0
    (line,) = done.stderr.splitlines()
    assert re.match(r"waiting for run theirs on elsewhere, process 7, begun \d s ago", line)


def test_the_job_says_how_long_to_wait(write_job: WriteJob, invoke: Invoke) -> None:
    job = quick(write_job, lease={"wait_s": 0})
    store = SqliteLeaseStore(job.parent / ".dativo" / "state.db")
    store.take([KEY], THEIRS, ttl_s=3, steal=False)

    refused = invoke("run", "-c", job)
    waited = invoke("run", "-c", job, "--wait", "600")

    assert (refused.exit_code, waited.exit_code) == (75, 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_waits_can_be_stopped(number: int, code: int, job: Path, store: SqliteLeaseStore) -> None:
    store.take([KEY], THEIRS, ttl_s=3600, steal=False)
    command = [sys.executable, "-m", "dativo_ingest", "run", "-c", str(job), "--progress", "json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        told = next(json.loads(line) for line in waiting.stderr if "waiting" in line)
        waiting.send_signal(number)
        waiting.stderr.read()

    assert waiting.returncode == code
    assert told["event"] == "waiting"
    assert "run theirs on elsewhere" in told["message"]


def test_wait_gives_up_after_its_seconds(job: Path, store: SqliteLeaseStore, invoke: Invoke) -> None:
    store.take([KEY], THEIRS, ttl_s=60, steal=False)

    assert invoke("run", "-c", job, "--wait", "0.1").exit_code == 75


def test_wait_wants_seconds(job: Path, invoke: Invoke) -> None:
    assert invoke("run", "-c", job, "--wait=-1").exit_code == 2
    assert invoke("run", "-c", job, "--wait=soon").exit_code == 2


def test_a_dry_run_neither_needs_nor_takes_a_lease(job: Path, store: SqliteLeaseStore, invoke: Invoke) -> None:
    store.take([KEY], THEIRS, ttl_s=60, steal=False)

    assert invoke("run", "-c", job, "--dry-run").exit_code == 0


def test_other_streams_of_the_job_run_beside(write_job: WriteJob, invoke: Invoke) -> None:
    job = write_job(streams={"orders": {}, "customers": {}})
    SqliteLeaseStore(job.parent / ".dativo" / "state.db").take([KEY], THEIRS, ttl_s=60, steal=False)

    assert invoke("run", "-c", job, "--stream", "customers").exit_code == 0
    assert invoke("run", "-c", job, "--wait", "0").exit_code == 75


def test_where_the_folder_cannot_be_written_the_run_warns_and_goes_on(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "orders.csv").write_text("id\n1\n")
    (tmp_path / ".dativo").write_text("a file in the way of the folder")
    job = tmp_path / "job.yaml"
    job.write_text(
        "version: 1\nname: app\nsource: {connector: csv, connection: {path: orders.csv}}\n"
        "target: {connector: parquet, connection: {path: lake}}\nstreams: {orders: {}}\n"
    )

    done = invoke("run", "-c", job, "--report", "-")

    assert done.exit_code == 0
    assert any("no lease was taken" in text for text in json.loads(done.stdout)["warnings"])


def test_a_robbed_run_ends_with_79_and_lands_nothing(write_job: WriteJob, invoke: Invoke, tmp_path: Path) -> None:
    job = write_job(options={"rows": 2000, "pause_s": 0.02}, lease={"ttl_s": 1})
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "dativo_ingest", "run", "-c", str(job), "--progress", "json"]
    with subprocess.Popen(
        [*command, "--report", str(report)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as robbed:
        assert robbed.stderr is not None
        next(line for line in robbed.stderr if "stream_started" in line)
        write_job(options={"rows": 2})
        robber = invoke("run", "-c", job, "--steal")
        robbed.stderr.read()

    assert (robber.exit_code, robbed.returncode) == (0, 79)
    assert json.loads(report.read_text())["streams"][0]["rows"]["written"] == 0
