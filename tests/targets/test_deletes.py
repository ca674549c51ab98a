"""Rows and deleted keys in any order: every table that can be merged holds what a dict would, whatever the target."""

import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st
from workshop import READERS

from dativo_ingest.registry.connectors import find, make_writer
from dativo_plugin_sdk import CommitRequest, DataValidationError, Receipt, StreamWriter, TableSpec, TargetConfig

TARGETS = ["iceberg", "duckdb", "delta"]
SCHEMA = pa.schema(
    [
        pa.field("tenant", pa.string(), nullable=False),
        pa.field("id", pa.int64(), nullable=False),
        pa.field("value", pa.int64(), nullable=False),
    ]
)
Change = tuple[str, int, int | None]
"""A key, and its value or None where it is deleted."""

keys = st.tuples(st.sampled_from(["a", "b"]), st.integers(-4, 4))
written = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(-4, 4), st.integers(0, 9)), max_size=8)
deleted = st.lists(keys, max_size=6, unique=True).map(lambda found: [(*key, None) for key in found])
runs = st.lists(st.lists(st.one_of(written, deleted), max_size=5), min_size=1, max_size=4)


def place_of(target: str, folder: Path) -> Path:
    return folder / ("lake.duckdb" if target == "duckdb" else "lake")


def writer_of(target: str, folder: Path) -> StreamWriter:
    key = "warehouse" if target == "iceberg" else "path"
    config = TargetConfig(type=target, connection={key: str(place_of(target, folder))})
    return make_writer(find("writer", target), config, states=None, output_base=str(folder))  # type: ignore[arg-type]  # built-in targets keep no state beside the table


def run(target: str, folder: Path, calls: list[list[Change]], key: tuple[str, ...] = ("tenant", "id")) -> Receipt:
    """Carry one run: each call is rows to write, or keys to delete."""
    writer = writer_of(target, folder)
    try:
        spec = TableSpec(
            name="t",
            namespace="raw",
            job="j",
            stream="t",
            run_id=f"run-{id(calls)}",
            write="merge",
            primary_key=key,
            buffer_bytes=2_000,
        )
        table = writer.table(spec)
        before = table.load_state()
        table.open(SCHEMA)
        for call in calls:
            if any(value is None for *_, value in call):
                found = pa.RecordBatch.from_pylist([{"tenant": each[0], "id": each[1]} for each in call], SCHEMA)
                table.delete(found.select(list(key)))
            else:
                table.write(
                    pa.RecordBatch.from_pylist([dict(zip(SCHEMA.names, each, strict=True)) for each in call], SCHEMA)
                )
        at = before.generation
        return table.commit(CommitRequest(f"{id(calls)}-{at}", at, {"at": at + 1}, "2026-01-01T00:00:00Z"))
    finally:
        writer.close()


def rows(target: str, folder: Path) -> list[tuple[Any, ...]]:
    found = READERS[target](place_of(target, folder), "t")
    return sorted(tuple(row[name] for name in SCHEMA.names) for row in found.to_pylist())


def after(model: Mapping[tuple[str, int], int], calls: list[list[Change]]) -> dict[tuple[str, int], int]:
    left = dict(model)
    for tenant, number, value in itertools.chain(*calls):
        if value is None:
            left.pop((tenant, number), None)
        else:
            left[tenant, number] = value
    return left


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=10, deadline=None)
@given(runs=runs)
def test_rows_and_deletes_in_any_order_leave_what_a_dict_would_hold(target: str, runs: list[Any]) -> None:
    model: dict[tuple[str, int], int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for calls in runs:
            before, model = model, after(model, calls)
            touched = {(tenant, number) for tenant, number, _ in itertools.chain(*calls)}

            receipt = run(target, Path(folder), calls)

            assert rows(target, Path(folder)) == sorted((*key, value) for key, value in model.items())
            stays, there = touched & model.keys(), touched & before.keys()
            assert (receipt.inserted, receipt.updated, receipt.deleted) == (
                len(stays - there),
                len(stays & there),
                len(there - stays),
            )


@pytest.mark.parametrize("target", TARGETS)
def test_a_run_of_nothing_but_deletes_is_one_commit_with_its_state(target: str, tmp_path: Path) -> None:
    run(target, tmp_path, [[("a", 1, 1), ("a", 2, 2), ("b", 1, 3)]])

    receipt = run(target, tmp_path, [[("a", 1, None), ("a", 9, None)]])

    assert (receipt.inserted, receipt.updated, receipt.deleted) == (0, 0, 1)
    assert rows(target, tmp_path) == [("a", 2, 2), ("b", 1, 3)]
    writer = writer_of(target, tmp_path)
    spec = TableSpec(name="t", namespace="raw", job="j", stream="t", run_id="later", write="merge")
    assert writer.table(TableSpec(**{**vars(spec), "primary_key": ("id",)})).load_state().state == {"at": 2}
    writer.close()


@pytest.mark.parametrize("target", TARGETS)
def test_deletes_that_find_nothing_move_the_state_too(target: str, tmp_path: Path) -> None:
    first = run(target, tmp_path, [[("a", 1, None)]])

    second = run(target, tmp_path, [[("a", 1, None)]])

    assert (first.generation, second.generation, second.deleted) == (1, 2, 0)
    assert rows(target, tmp_path) == []


@pytest.mark.parametrize("target", TARGETS)
def test_a_table_may_lose_all_of_its_rows(target: str, tmp_path: Path) -> None:
    run(target, tmp_path, [[("a", 1, 1), ("a", 2, 2)]])

    receipt = run(target, tmp_path, [[("a", 1, None), ("a", 2, None)]])

    assert receipt.deleted == 2
    assert rows(target, tmp_path) == []


@pytest.mark.parametrize("target", TARGETS)
def test_a_deleted_key_needs_a_value(target: str, tmp_path: Path) -> None:
    with pytest.raises(DataValidationError, match=r"primary_key id is null in 1 of 1 rows"):
        run(target, tmp_path, [[("a", None, None)]], key=("id",))  # type: ignore[list-item]  # on purpose
