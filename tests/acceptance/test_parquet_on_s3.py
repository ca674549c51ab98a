from __future__ import annotations

import json
import uuid

import pyarrow.dataset as ds
import pytest
from parquet_lakes import BucketLake
from s3_service import S3
from workshop import Workshop

ROWS = 50_000


@pytest.fixture
def lake(s3: S3) -> BucketLake:
    return BucketLake(s3, f"acceptance/{uuid.uuid4()}")


@pytest.fixture
def loaded(workshop: Workshop, lake: BucketLake) -> Workshop:
    """A job of rows in a file, its target a bucket, its keys those of the environment."""
    lines = "".join(f"{number},name {number}\n" for number in range(ROWS))
    (workshop.folder / "rows.csv").write_text(f"id,name\n{lines}", encoding="utf-8")
    target = {
        "connector": "parquet",
        "namespace": "raw",
        "connection": dict(lake.connection),
        "credentials": {"access_key_id": "${env:LAKE_KEY}", "secret_access_key": "${env:LAKE_SECRET}"},
    }
    return workshop.job(
        {"connector": "csv", "connection": {"path": "rows.csv"}}, {"rows": {"mode": "incremental"}}, target=target
    )


@pytest.fixture(autouse=True)
def keys(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_KEY", s3.access_key_id)
    monkeypatch.setenv("LAKE_SECRET", s3.secret_access_key)


def rows_of(lake: BucketLake) -> ds.Dataset:
    return lake.read("raw/rows")


def test_a_job_is_checked_run_and_told_of_and_its_keys_show_nowhere(loaded: Workshop, lake: BucketLake, s3: S3) -> None:
    checked = loaded.tell("check")
    ran = loaded.run()
    again = loaded.run()
    history = loaded.tell("state", "history")

    assert checked.code == 0, checked.said
    assert lake.marks() == set()
    assert (ran.code, ran.rows["written"]) == (0, ROWS), ran.stderr
    assert again.report["status"] == "no_data"
    (stream,) = json.loads(history.stdout)["streams"].values()
    assert [(commit["generation"], commit["rows"]) for commit in stream["commits"]] == [(1, ROWS)]
    assert rows_of(lake).count_rows() == ROWS
    assert not any(s3.secret_access_key in each.said for each in (checked, ran, again, history))


def test_of_two_runners_without_leases_the_rows_land_once(loaded: Workshop, lake: BucketLake) -> None:
    (loaded.folder / ".dativo").write_text("in the way of the folder: no lease can be kept")

    processes = [loaded.start() for _ in range(2)]
    codes = sorted(process.wait(timeout=200) for process in processes)

    assert codes in ([0, 79], [0, 0])
    assert rows_of(lake).count_rows() == ROWS
    assert lake.data_files("raw/rows") == lake.live_files("raw/rows")
