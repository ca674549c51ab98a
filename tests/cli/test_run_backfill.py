"""``dativo run --from X --to Y``: a range of the cursor lands and the incremental state stays."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Invoke, WriteJob, validate

from dativo_ingest.run.documents_schema import REPORT

pytestmark = pytest.mark.usefixtures("plugins_in_process")

TARGETS: dict[str, dict[str, Any]] = {
    "iceberg": {"connector": "iceberg", "connection": {"warehouse": "lake"}, "namespace": "raw"},
    "parquet": {"connector": "parquet", "connection": {"path": "lake"}},
    "duckdb": {"connector": "duckdb", "connection": {"path": "lake.duckdb"}},
}


def prepare(folder: Path, target: str = "parquet", **stream: Any) -> Path:
    (folder / "orders.csv").write_text("id,day,v\n1,2026-01-01,a\n2,2026-01-02,a\n3,2026-01-03,a\n4,,a\n")
    job = {
        "version": 1,
        "name": "app",
        "source": {"connector": "csv", "connection": {"path": "orders.csv"}},
        "target": TARGETS[target],
        "streams": {"orders": {"mode": "incremental", "cursor": "day", **stream}},
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    return path


def state(job: Path, invoke: Invoke) -> dict[str, Any]:
    return json.loads(invoke("state", "get", "-c", job).stdout)["streams"]["orders"]


@pytest.mark.parametrize("target", list(TARGETS))
def test_a_range_lands_and_the_state_stays(target: str, tmp_path: Path, invoke: Invoke) -> None:
    job = prepare(tmp_path, target)
    assert invoke("run", "-c", job).exit_code == 0
    before = state(job, invoke)

    done = invoke("run", "-c", job, "--from", "2026-01-01", "--to", "2026-01-03", "--report", "-")

    report, after = json.loads(done.stdout), state(job, invoke)
    validate(report, REPORT)
    (stream,) = report["streams"]
    assert done.exit_code == 0
    assert stream["range"] == {"cursor": "day", "from": "2026-01-01", "to": "2026-01-03"}
    assert (stream["rows"]["read"], stream["rows"]["written"], stream["rows"]["skipped"]) == (4, 2, 2)
    assert stream["rows"]["quarantined"] == 0
    assert stream["state"]["after"] == stream["state"]["before"] == before["state"] == after["state"]
    assert after["generation"] == before["generation"] + 1
    assert json.loads(invoke("run", "-c", job, "--report", "-").stdout)["status"] == "no_data"


def test_a_range_is_merged_where_the_stream_merges(tmp_path: Path, invoke: Invoke) -> None:
    import duckdb

    job = prepare(tmp_path, "duckdb", primary_key="id")
    invoke("run", "-c", job)
    (tmp_path / "orders.csv").write_text("id,day,v\n1,2026-01-01,b\n2,2026-01-02,b\n3,2026-01-03,b\n")

    done = invoke("run", "-c", job, "--to", "2026-01-02")

    assert done.exit_code == 0
    assert "only rows with a cursor below 2026-01-02: no state moved" in done.stdout
    with duckdb.connect(str(tmp_path / "lake.duckdb"), read_only=True) as database:
        rows = database.execute("SELECT id, v FROM orders ORDER BY id").fetchall()
    assert rows == [(1, "b"), (2, "a"), (3, "a")]


def test_a_range_before_the_first_run_leaves_it_everything_to_read(tmp_path: Path, invoke: Invoke) -> None:
    job = prepare(tmp_path)

    invoke("run", "-c", job, "--from", "2026-01-03")
    ran = invoke("run", "-c", job, "--report", "-")

    assert json.loads(ran.stdout)["streams"][0]["rows"]["written"] == 3


def test_a_range_without_rows_commits_nothing(tmp_path: Path, invoke: Invoke) -> None:
    job = prepare(tmp_path)

    done = invoke("run", "-c", job, "--from", "2027-01-01", "--report", "-")

    assert json.loads(done.stdout)["status"] == "no_data"
    assert state(job, invoke)["generation"] == 0


@pytest.mark.parametrize(
    ("stream", "flags", "message"),
    [
        pytest.param({"cursor": None}, [], "streams.orders.cursor: --from and --to are values", id="no cursor"),
        pytest.param({"mode": "full_refresh"}, [], "streams.orders.mode", id="a full refresh would replace the rest"),
        pytest.param({}, ["--full-refresh"], "ask for one of them", id="everything and a part of it"),
        pytest.param({}, ["--to", "2025-01-01"], "no day is from 2026-01-01 and below 2025-01-01", id="turned around"),
    ],
)
def test_a_range_that_cannot_be_is_a_configuration_error(
    stream: dict[str, Any], flags: list[str], message: str, tmp_path: Path, invoke: Invoke
) -> None:
    done = invoke("run", "-c", prepare(tmp_path, **stream), "--from", "2026-01-01", *flags, "--report", "-")

    assert done.exit_code == 78
    assert message in json.loads(done.stdout)["errors"][0]["message"]


def test_a_source_that_cannot_read_a_range_is_refused(write_job: WriteJob, invoke: Invoke) -> None:
    job = write_job(streams={"orders": {"mode": "incremental", "cursor": "id"}})

    done = invoke("run", "-c", job, "--from", "1", "--report", "-")

    assert done.exit_code == 78
    assert "cannot read a range" in json.loads(done.stdout)["errors"][0]["message"]


def test_a_range_comes_from_the_environment_too(tmp_path: Path, invoke: Invoke) -> None:
    job = prepare(tmp_path)

    done = invoke("run", "-c", job, "--report", "-", env={"DATIVO_FROM": "2026-01-02", "DATIVO_TO": "2026-01-03"})

    assert json.loads(done.stdout)["streams"][0]["rows"]["written"] == 1
