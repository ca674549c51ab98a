from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from workshop import DATIVO

from dativo_ingest.targets.parquet import read_dataset

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def folder(examples: Path, tmp_path: Path) -> Path:
    """A copy of the examples."""
    ignored = shutil.ignore_patterns("__pycache__", "warehouse", ".dativo")
    return Path(shutil.copytree(examples, tmp_path / "examples", ignore=ignored))


@pytest.fixture
def run(folder: Path) -> Run:
    """Runs an example's job and gives its report."""

    def ran(job: str, **environ: str) -> dict[str, Any]:
        command = [*DATIVO, "run", "--config", str(folder / "jobs" / job), "--report", "-", "--progress", "none"]
        done = subprocess.run(
            command, env={**os.environ, **environ}, capture_output=True, text=True, check=False, timeout=120
        )
        report = json.loads(done.stdout)
        assert report["exit_code"] == done.returncode, done.stderr
        return report

    return ran


def counts(report: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    return {
        stream["name"]: (stream["rows"]["read"], stream["rows"]["written"], stream["rows"]["quarantined"])
        for stream in report["streams"]
    }


def iceberg_table(warehouse: Path, name: str) -> pa.Table:
    catalog = SqlCatalog("default", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=warehouse.as_uri())
    try:
        return catalog.load_table(name).scan().to_arrow()
    finally:
        catalog.close()


def test_the_demos_job_loads_its_orders_once_and_keeps_the_bad_ones(run: Run, folder: Path) -> None:
    first, second = run("orders_to_iceberg.yaml"), run("orders_to_iceberg.yaml")

    assert (counts(first), first["delivery"]) == ({"orders": (60, 56, 4)}, "exactly_once")
    assert second["status"] == "no_data"
    assert iceberg_table(folder / "warehouse", "shop.orders").num_rows == 56
    rejected = iceberg_table(folder / "warehouse", "shop.orders__quarantine").to_pylist()
    assert sorted((row["rule"], row["column"] or "") for row in rejected) == [
        ("malformed", ""),
        ("required", "customer_id"),
        ("type", "amount"),
        ("type", "ordered_at"),
    ]


def test_orders_replace_a_parquet_table(run: Run, folder: Path) -> None:
    reports = [run("orders_to_parquet.yaml"), run("orders_to_parquet.yaml")]

    assert [counts(report) for report in reports] == [{"orders": (60, 56, 4)}] * 2
    assert read_dataset(folder / "warehouse" / "parquet" / "orders").count_rows() == 56


def test_orders_and_customers_share_a_duckdb_file(run: Run, folder: Path) -> None:
    assert counts(run("orders_to_duckdb.yaml")) == {"orders": (60, 56, 4)}
    assert counts(run("customers_to_duckdb.yaml")) == {"customers": (12, 12, 0)}

    with duckdb.connect(str(folder / "warehouse" / "lake.duckdb"), read_only=True) as database:
        joined = database.execute("SELECT count(*) FROM shop.orders JOIN shop.customers USING (customer_id)").fetchone()
    assert joined == (56,)


def test_the_api_plugin_feeds_the_file_plugin_exactly_once(run: Run, folder: Path, api: Any) -> None:
    first, second = run("api_to_jsonl.yaml", SHOP_API_URL=api.url), run("api_to_jsonl.yaml", SHOP_API_URL=api.url)
    api.rows["customers"].append({"id": 4, "name": "Lena", "updated_at": "2026-06-01T00:00:00Z"})
    third = run("api_to_jsonl.yaml", SHOP_API_URL=api.url)

    assert (counts(first), first["delivery"]) == ({"orders": (250, 250, 0), "customers": (3, 3, 0)}, "exactly_once")
    assert second["status"] == "no_data"
    assert counts(third) == {"orders": (0, 0, 0), "customers": (1, 1, 0)}
    lines = [
        json.loads(line)
        for path in (folder / "warehouse" / "jsonl").glob("*/run-*/*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert len(lines) == 254


def test_the_api_plugin_feeds_iceberg_with_discovered_streams_and_types(run: Run, folder: Path, api: Any) -> None:
    report = run("api_to_iceberg.yaml", SHOP_API_URL=api.url)

    assert counts(report) == {"orders": (250, 250, 0), "customers": (3, 3, 0)}
    orders = iceberg_table(folder / "warehouse", "shop_api.orders")
    assert str(orders.schema.field("updated_at").type) == "timestamp[us, tz=UTC]"


def test_an_api_that_is_down_is_worth_another_try_and_a_wrong_key_is_not(run: Run, api: Any) -> None:
    down = run("api_to_jsonl.yaml", SHOP_API_URL="http://127.0.0.1:9/v1")
    refused = run("api_to_jsonl.yaml", SHOP_API_URL=api.url, SHOP_API_TOKEN="wrong-key-1234")

    assert (down["exit_code"], down["retryable"]) == (75, True)
    assert (refused["exit_code"], refused["retryable"]) == (77, False)
    assert "wrong-key-1234" not in json.dumps(refused)


def test_exports_come_as_batches_and_each_file_once(run: Run, folder: Path) -> None:
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder / "data" / "exports"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        first, second = run("exports_to_parquet.yaml", EXPORTS_URL=url), run("exports_to_parquet.yaml", EXPORTS_URL=url)
        server.shutdown()

    assert (counts(first), second["status"]) == ({"orders": (5, 5, 0)}, "no_data")
    assert first["plugins"][0]["grant"]["network"] == [url.removeprefix("http://")]
    orders = read_dataset(folder / "warehouse" / "exports" / "orders")
    assert str(orders.schema.field("ordered_at").type).startswith("timestamp")


def test_meters_are_told_what_is_committed_and_bad_readings_are_kept(run: Run, folder: Path) -> None:
    first, second = run("meters_to_duckdb.yaml"), run("meters_to_duckdb.yaml")

    assert (counts(first), second["status"]) == ({"readings": (6, 5, 1)}, "no_data")
    assert json.loads((folder / "data" / "meters" / "taken.json").read_text()) == {
        "file": "2026-03-02.jsonl",
        "line": None,
    }
    with duckdb.connect(str(folder / "warehouse" / "meters.duckdb"), read_only=True) as database:
        rejected = database.execute("SELECT source, line FROM power.readings__quarantine").fetchall()
    assert rejected == [("2026-03-02.jsonl", 2)]


def test_every_example_job_is_run_by_a_test(examples: Path) -> None:
    text = Path(__file__).read_text(encoding="utf-8")

    missing = [path.name for path in (examples / "jobs").glob("*.yaml") if f'run("{path.name}"' not in text]

    assert missing == []


def test_changes_are_merged_and_logged(run: Run, folder: Path) -> None:
    assert counts(run("customer_changes_to_duckdb.yaml")) == {"customers": (8, 7, 1), "customers_log": (8, 7, 1)}

    with duckdb.connect(str(folder / "warehouse" / "changes.duckdb"), read_only=True) as database:
        merged = database.execute("SELECT customer_id FROM shop.customers ORDER BY 1").fetchall()
        ops = database.execute("SELECT _dativo_op FROM shop.customers_log ORDER BY _dativo_seq").fetchall()
    assert merged == [(1,), (3,)]
    assert [op for (op,) in ops] == ["r", "r", "c", "u", "d", "c", "d"]
