"""A range of the cursor, from every file source and into every target: its rows land, the state stays."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from pyarrow import ipc
from workshop import Workshop

from dativo_ingest.job.load import LoadedJob
from dativo_ingest.run.open_job import open_job
from dativo_ingest.run.states import get_history, get_states

RANGE = ("--from", "2026-01-02", "--to", "2026-01-04")


def orders(value: str) -> pa.Table:
    days = [dt.date(2026, 1, day) for day in range(1, 6)]
    return pa.table({"id": range(5), "day": days, "v": [value] * 5})


def write_csv(table: pa.Table, path: Path) -> None:
    pyarrow.csv.write_csv(table, path)


def write_json(table: pa.Table, path: Path) -> None:
    path.write_text(json.dumps(table.to_pylist(), default=str))


def write_lines(table: pa.Table, path: Path) -> None:
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in table.to_pylist()))


def write_arrow(table: pa.Table, path: Path) -> None:
    with ipc.new_file(path, table.schema) as file:
        file.write_table(table)


WRITE: Mapping[str, Callable[[pa.Table, Path], None]] = {
    "csv": write_csv,
    "json": write_json,
    "jsonl": write_lines,
    "parquet": pq.write_table,
    "arrow": write_arrow,
}


def prepare(folder: Path, source: str = "csv", target: str = "parquet", **stream: Any) -> tuple[Workshop, LoadedJob]:
    """Load five days of orders, and give them other values."""
    path = folder / f"orders.{source}"
    workshop = Workshop(folder, target, in_process=True)
    workshop.job(
        {"connector": source, "connection": {"path": path.name}},
        {"orders": {"mode": "incremental", "cursor": "day", **stream}},
    )
    WRITE[source](orders("old"), path)
    assert workshop.run().code == 0
    WRITE[source](orders("new"), path)
    return workshop, open_job(workshop.config, {})


def rows(workshop: Workshop) -> list[tuple[int, str]]:
    table = workshop.table("orders")
    return sorted(zip(table["id"].to_pylist(), table["v"].to_pylist(), strict=True))


OLD = [(number, "old") for number in range(5)]
NEW = [(1, "new"), (2, "new")]


@pytest.mark.parametrize("source", list(WRITE))
def test_every_file_source_reads_a_range(source: str, tmp_path: Path) -> None:
    workshop, loaded = prepare(tmp_path, source)
    before = get_states(loaded)["orders"]

    done = workshop.run(*RANGE)

    after = get_states(loaded)["orders"]
    assert done.code == 0, done.said
    assert rows(workshop) == sorted(OLD + NEW)
    assert after["state"] == before["state"]
    assert after["generation"] == before["generation"] + 1


@pytest.mark.parametrize(
    ("target", "write"),
    [
        *((target, "append") for target in ("iceberg", "parquet", "delta", "duckdb")),
        *((target, "merge") for target in ("iceberg", "delta", "duckdb")),
    ],
)
def test_every_target_takes_a_range(target: str, write: str, tmp_path: Path) -> None:
    workshop, loaded = prepare(tmp_path, target=target, write=write, primary_key="id")
    before = get_states(loaded)["orders"]

    done = workshop.run(*RANGE)

    after = get_states(loaded)["orders"]
    assert done.code == 0, done.said
    assert rows(workshop) == (sorted(OLD + NEW) if write == "append" else [OLD[0], *NEW, *OLD[3:]])
    assert after["state"] == before["state"]
    assert after["source_fingerprint"] == before["source_fingerprint"]
    assert after["generation"] == before["generation"] + 1
    assert get_history(loaded)["orders"]["commits"][0]["rows"] == 2
