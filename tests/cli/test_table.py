"""``dativo table`` and ``maintenance:``, on tables that a job has filled."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from command_line import Invoke, validate
from pyiceberg.catalog.sql import SqlCatalog

from dativo_ingest.run.documents_schema import REPORT, TABLE

HEAD = """\
version: 1
name: shop
source: {connector: csv, connection: {path: orders.csv}}
target: {connector: iceberg, connection: {warehouse: lake}, namespace: raw}
"""


@pytest.fixture
def job(tmp_path: Path, invoke: Invoke) -> Path:
    """A job that has appended six small files."""
    (tmp_path / "orders.csv").write_text("id,v\n1,a\n2,b\n")
    path = tmp_path / "job.yaml"
    path.write_text(f"{HEAD}streams: {{orders: {{write: append}}}}\n")
    for _ in range(6):
        assert invoke("run", "-c", path, "--progress", "none").exit_code == 0
    return path


def result(stdout: str, table: str = "raw.orders") -> dict[str, Any]:
    document = json.loads(stdout)
    validate(document, TABLE)
    (found,) = [each for each in document["tables"] if each["table"] == table]
    answer: dict[str, Any] = found["result"]
    return answer


def rows(folder: Path) -> int:
    catalog = SqlCatalog("default", uri=f"sqlite:///{folder}/lake/catalog.db", warehouse=f"file://{folder}/lake")
    try:
        return int(catalog.load_table("raw.orders").scan().to_arrow().num_rows)
    finally:
        catalog.close()


def test_health_counts_and_advises(job: Path, invoke: Invoke) -> None:
    shown = invoke("table", "health", "-c", job)
    asked = invoke("table", "health", "-c", job, "--json")

    found = result(asked.stdout)
    assert (shown.exit_code, found["files"], found["small_files"], found["rows"]) == (0, 6, 6, 12)
    assert (found["snapshots"], found["delete_files"]) == (6, 0)
    assert "raw.orders" in shown.stdout
    for _ in range(4):
        invoke("run", "-c", job, "--progress", "none")
    assert "→ raw.orders: compact: 10 of 10 data files are small" in invoke("table", "health", "-c", job).stdout


def test_compact_expire_and_orphans_leave_the_rows(job: Path, invoke: Invoke, tmp_path: Path) -> None:
    orphan = tmp_path / "lake" / "raw" / "orders" / "data" / "killed.parquet"
    orphan.write_bytes(b"nobody knows me")
    os.utime(orphan, (0, 0))

    compacted = result(invoke("table", "compact", "-c", job, "--json").stdout)
    expired = result(invoke("table", "expire", "-c", job, "--older-than", "0s", "--retain-last", "1", "--json").stdout)
    swept = result(invoke("table", "orphans", "-c", job, "--json").stdout)

    assert (compacted["files_removed"], compacted["files_added"]) == (6, 1)
    assert (expired["snapshots_removed"], expired["files_removed"]) == (6, 6)
    assert swept["files"] == [f"file://{orphan}"]
    assert not orphan.exists()
    assert rows(tmp_path) == 12


def test_a_dry_run_says_so(job: Path, invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("table", "compact", "-c", job, "--dry-run")

    assert "6 files" in done.stdout
    assert "would become 1" in done.stdout
    assert "dry run: nothing was changed" in done.stdout
    assert len(list((tmp_path / "lake").rglob("*.parquet"))) == 6


def test_text_says_what_was_done(job: Path, invoke: Invoke) -> None:
    compacted = invoke("table", "compact", "-c", job)
    again = invoke("table", "compact", "-c", job)
    expired = invoke("table", "expire", "-c", job, "--older-than", "0s", "--retain-last", "1")
    kept = invoke("table", "expire", "-c", job)
    swept = invoke("table", "orphans", "-c", job)

    assert "✓ raw.orders: 6 files (" in compacted.stdout
    assert "nothing to compact" in again.stdout
    assert "6 snapshots gone, 1 kept; 6 data files (" in expired.stdout
    assert "nothing to expire, 1 snapshot kept" in kept.stdout
    assert "raw.orders: no orphans" in swept.stdout


def test_orphans_younger_than_a_day_need_a_word(job: Path, invoke: Invoke) -> None:
    refused = invoke("table", "orphans", "-c", job, "--older-than", "1h")
    looked = invoke("table", "orphans", "-c", job, "--older-than", "1h", "--dry-run")

    assert refused.exit_code == 78
    assert "--allow-recent" in refused.stderr
    assert looked.exit_code == 0


def test_a_length_of_time_that_is_none_is_a_bad_command_line(job: Path, invoke: Invoke) -> None:
    done = invoke("table", "expire", "-c", job, "--older-than", "a week")

    assert done.exit_code == 2
    assert "90s, 30m, 24h, 7d or 2w" in done.stderr


def test_a_table_that_does_not_exist_yet_is_told(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "orders.csv").write_text("id\n1\n")
    path = tmp_path / "job.yaml"
    path.write_text(f"{HEAD}streams: {{orders: {{write: append}}}}\n")

    done = invoke("table", "health", "-c", path)

    assert (done.exit_code, done.stdout) == (0, "- orders: no table yet\n")
    assert not (tmp_path / "lake").exists()


def test_a_target_without_care_says_so(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "orders.csv").write_text("id\n1\n")
    path = tmp_path / "job.yaml"
    path.write_text(
        "version: 1\nname: app\nsource: {connector: csv, connection: {path: orders.csv}}\n"
        "target: {connector: parquet, connection: {path: lake}}\nstreams: {orders: {}}\n"
    )

    done = invoke("table", "compact", "-c", path)

    assert done.exit_code == 69
    assert "parquet has no care for tables to give" in done.stderr


def test_a_table_that_two_streams_fill_is_cared_for_once(tmp_path: Path, invoke: Invoke) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("id\n1\n")
    path = tmp_path / "job.yaml"
    path.write_text(
        f"{HEAD.replace('orders.csv', '.')}streams:\n"
        "  a: {path: a.csv, table: orders, write: append}\n  b: {path: b.csv, table: orders, write: append}\n"
    )
    assert invoke("run", "-c", path, "--progress", "none").exit_code == 0

    document = json.loads(invoke("table", "health", "-c", path, "--json").stdout)

    assert [each["table"] for each in document["tables"]] == ["raw.orders"]


def test_the_quarantine_table_is_cared_for_with_its_table(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "orders.csv").write_text("id,v\n1,a\n2,b,c\n")
    path = tmp_path / "job.yaml"
    path.write_text(f"{HEAD}streams: {{orders: {{write: append}}}}\n")
    for _ in range(5):
        assert invoke("run", "-c", path, "--progress", "none").exit_code == 0

    compacted = result(invoke("table", "compact", "-c", path, "--json").stdout, "raw.orders__quarantine")

    assert (compacted["files_removed"], compacted["files_added"]) == (5, 1)


def test_the_failure_of_one_table_is_its_own(job: Path, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "others.csv").write_text("id\n1\n")
    job.write_text(f"{HEAD}streams:\n  orders: {{write: append}}\n  others: {{path: others.csv, write: append}}\n")
    assert invoke("run", "-c", job, "--progress", "none").exit_code == 0
    next((tmp_path / "lake" / "raw" / "others" / "data").rglob("*.parquet")).unlink()

    done = invoke("table", "orphans", "-c", job, "--json")

    document = json.loads(done.stdout)
    validate(document, TABLE)
    assert (done.exit_code, document["exit_code"]) == (3, 3)
    assert [each["error"] is None for each in document["tables"]] == [True, False]
    assert "is not among the files of its folders" in done.stderr


def test_a_run_takes_care_of_its_table_where_the_job_asks_for_that(job: Path, invoke: Invoke, tmp_path: Path) -> None:
    job.write_text(
        f"{HEAD}defaults: {{maintenance: {{small_files: 5, expire_older_than: 0s, retain_last: 1}}}}\n"
        "streams: {orders: {write: append}}\n"
    )

    first = invoke("run", "-c", job, "--report", "-")
    then = [invoke("run", "-c", job, "--report", "-") for _ in range(3)]

    report = json.loads(first.stdout)
    validate(report, REPORT)
    (stream,) = report["streams"]
    assert [(each["table"], each["action"]) for each in stream["maintenance"]] == [("raw.orders", "compact")]
    assert stream["maintenance"][0]["result"]["files_removed"] == 7
    assert "raw.orders: compact: 7 files (" in first.stderr
    later = [each["action"] for done in then for each in json.loads(done.stdout)["streams"][0]["maintenance"]]
    assert later == ["expire"]
    assert rows(tmp_path) == 20


def test_a_stream_may_do_without_the_maintenance_of_the_others(job: Path, invoke: Invoke) -> None:
    job.write_text(
        f"{HEAD}defaults: {{maintenance: {{small_files: 2}}}}\n"
        "streams: {orders: {write: append, maintenance: {compact: never}}}\n"
    )

    report = json.loads(invoke("run", "-c", job, "--report", "-").stdout)

    assert report["streams"][0]["maintenance"] == []


def test_maintenance_that_fails_is_a_warning_and_the_rows_have_landed(
    job: Path, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dativo_ingest.targets.iceberg.care import IcebergCare

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no care today")

    monkeypatch.setattr(IcebergCare, "compact", fail)
    job.write_text(f"{HEAD}defaults: {{maintenance: }}\nstreams: {{orders: {{write: append}}}}\n")

    done = invoke("run", "-c", job, "--report", "-")

    report = json.loads(done.stdout)
    assert (done.exit_code, report["status"], report["streams"][0]["status"]) == (0, "succeeded", "succeeded")
    assert "taking care of the table failed: no care today" in report["warnings"][0]
    assert rows(tmp_path) == 14
