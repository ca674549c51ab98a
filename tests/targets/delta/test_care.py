"""Delta's own optimize and vacuum, asked for by Dativo: rows, state and generation stay."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from s3_service import S3

from dativo_ingest.targets.delta import DeltaWriter, care as delta_care, quarantine
from dativo_plugin_sdk import (
    Compacted,
    Compaction,
    ConcurrencyError,
    Expiry,
    FencedError,
    ResourceError,
    Sweep,
    TableCare,
    TableSpec,
    TargetConfig,
)

Load = Callable[..., Any]
RUN = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"


def batch(*ids: int) -> pa.RecordBatch:
    return pa.record_batch({"id": pa.array(ids, pa.int64()), "p": ["eu" if each % 2 else "us" for each in ids]})


@pytest.fixture
def care(lake: Path) -> Callable[..., TableCare]:
    """Give the care for the table, or for its quarantine table."""

    def of(number: int = 0, **connection: Any) -> TableCare:
        writer = DeltaWriter(TargetConfig(type="delta", connection={"path": str(lake), **connection}))
        return writer.care(TableSpec(name="orders", namespace="raw", job="job", stream="orders", run_id=RUN))[number]

    return of


def worn(load: Load) -> None:
    for number in range(6):
        load(batch(number, 11 + number), target={"partition_by": ["p"]})


def ids(lake: Path, version: int | None = None) -> list[int]:
    found = DeltaTable(lake / "raw" / "orders", version=version).to_pyarrow_table()["id"].to_pylist()
    return sorted(found)


def files(lake: Path, name: str = "orders") -> set[Path]:
    return {path for path in (lake / "raw" / name).rglob("*") if path.is_file()}


def states(lake: Path) -> set[Path]:
    return {path for path in files(lake) if "_dativo" in path.parts}


def aged(path: Path, days: float) -> Path:
    at = time.time() - days * 86_400
    os.utime(path, (at, at))
    return path


def orphan(lake: Path, name: str, *, days: float = 30, table: str = "orders") -> Path:
    path = lake / "raw" / table / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"nobody knows me")
    return aged(path, days)


def sweep(care: TableCare, *, days: float = 3, dry_run: bool = False, running: str = "") -> Any:
    return care.orphans(Sweep(timedelta(days=days), frozenset(running.split())), dry_run=dry_run)


def test_health_counts_what_the_log_says(load: Load, care: Callable[..., TableCare]) -> None:
    worn(load)

    found = care().health()

    assert (found.files, found.small_files, found.rows, found.snapshots) == (12, 12, 12, 6)
    assert found.bytes > 1_000
    assert found.oldest_snapshot_at is not None


def test_small_files_of_a_partition_become_one_and_rows_and_state_stay(
    load: Load, table: Callable[..., Any], care: Callable[..., TableCare], lake: Path
) -> None:
    worn(load)
    before, state, kept = ids(lake), table().load_state(), states(lake)

    would = care().compact(Compaction(), dry_run=True)
    assert len(DeltaTable(lake / "raw/orders").file_uris()) == 12
    done = care().compact(Compaction(), dry_run=False)

    assert (would.files_removed, would.files_added) == (done.files_removed, done.files_added) == (12, 2)
    assert done.bytes_added < done.bytes_removed
    assert ids(lake) == before
    assert table().load_state() == state
    assert states(lake) == kept
    assert care().compact(Compaction(), dry_run=False) == Compacted()
    assert load(batch(99)).generation == state.generation + 1


def test_few_small_files_are_left(load: Load, care: Callable[..., TableCare]) -> None:
    load(batch(1))
    load(batch(3))

    assert care().compact(Compaction(), dry_run=False) == Compacted()
    assert care().compact(Compaction(min_input_files=2), dry_run=False).files_removed == 2


def test_a_run_that_was_writing_meanwhile_lands_and_one_that_is_late_is_fenced(
    load: Load,
    table: Callable[..., Any],
    request_of: Callable[..., Any],
    care: Callable[..., TableCare],
    lake: Path,
) -> None:
    worn(load)
    writers = [table(run_id=f"run-{number}", write="merge", primary_key=("id",)) for number in range(2)]
    for writer in writers:
        assert writer.load_state().generation == 6
        writer.open(batch(1).schema)
        writer.write(batch(3, 50))

    care().compact(Compaction(), dry_run=False)
    care().expire(Expiry(timedelta()), dry_run=False)
    receipt = writers[0].commit(request_of(6))

    assert (receipt.generation, receipt.inserted, receipt.updated) == (7, 1, 1)
    with pytest.raises(FencedError):
        writers[1].commit(replace(request_of(6), commit_id="late"))
    assert ids(lake) == sorted([*range(6), *range(11, 17), 50])


def test_a_compaction_that_meets_a_merge_is_tried_again(
    load: Load, care: Callable[..., TableCare], lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worn(load)
    optimize = delta_care.DeltaCare._optimize
    waiting = [lambda: load(batch(3, 50), write="merge", primary_key=("id",))]

    def late(self: Any, found: DeltaTable, target_bytes: int) -> Compacted:
        if waiting:
            waiting.pop()()
        return optimize(self, found, target_bytes)

    monkeypatch.setattr(delta_care.DeltaCare, "_optimize", late)

    done = care().compact(Compaction(), dry_run=False)

    assert done.files_removed > 0
    assert ids(lake) == sorted([*range(6), *range(11, 17), 50])


def test_a_compaction_that_always_loses_says_so(
    load: Load, care: Callable[..., TableCare], monkeypatch: pytest.MonkeyPatch
) -> None:
    from deltalake.exceptions import CommitFailedError

    worn(load)

    def lost(*_: Any) -> Compacted:
        raise CommitFailedError("a concurrent transaction deleted data")

    monkeypatch.setattr(delta_care.DeltaCare, "_optimize", lost)

    with pytest.raises(ConcurrencyError):
        care().compact(Compaction(), dry_run=False)


def test_expiry_deletes_the_files_of_old_versions_and_nothing_else(
    load: Load, table: Callable[..., Any], care: Callable[..., TableCare], lake: Path
) -> None:
    worn(load)
    care().compact(Compaction(), dry_run=False)
    before, state, kept = ids(lake), table().load_state(), states(lake)
    log = {path for path in files(lake) if "_delta_log" in path.parts}

    would = care().expire(Expiry(timedelta()), dry_run=True)
    assert len([path for path in files(lake) if path.suffix == ".parquet"]) == 14
    young = care().expire(Expiry(timedelta(hours=1)), dry_run=False)
    retained = care().expire(Expiry(timedelta(), retain_last=2), dry_run=False)
    done = care().expire(Expiry(timedelta()), dry_run=False)

    assert (would.files_removed, done.files_removed, done.failed) == (12, 12, 0)
    assert done.bytes_removed == would.bytes_removed > 0
    assert (young.files_removed, retained.files_removed) == (0, 0)
    assert len([path for path in files(lake) if path.suffix == ".parquet"]) == 2
    assert ids(lake) == before
    assert table().load_state() == state
    assert states(lake) == kept
    assert log <= files(lake)
    version = DeltaTable(lake / "raw/orders").version()
    assert care().expire(Expiry(timedelta()), dry_run=False).files_removed == 0
    assert DeltaTable(lake / "raw/orders").version() == version


def test_orphans_go_and_files_of_versions_and_states_stay(
    load: Load, table: Callable[..., Any], care: Callable[..., TableCare], lake: Path
) -> None:
    worn(load)
    care().compact(Compaction(), dry_run=False)
    for path in files(lake):
        aged(path, 30)
    before = files(lake)
    orphans = {orphan(lake, f"{RUN}-abc-00000.parquet"), orphan(lake, "p=eu/part-1.parquet")}
    kept = {orphan(lake, "notes.txt"), orphan(lake, "_dativo/x.parquet"), orphan(lake, "young.parquet", days=1)}

    would = sweep(care(), dry_run=True)
    assert orphans < files(lake)
    done = sweep(care())

    assert {Path(path) for path in done.files} == orphans
    assert done == would
    assert (done.young, done.failed) == (1, 0)
    assert files(lake) == before | kept
    assert table().load_state().generation == 6


def test_files_of_a_run_that_is_at_work_stay(load: Load, care: Callable[..., TableCare], lake: Path) -> None:
    load(batch(1))
    mine = orphan(lake, f"{RUN}-abc-00000.parquet")
    orphan(lake, f"{RUN}-abc-00001.parquet", days=1)

    assert sweep(care()).files == []
    assert sweep(care(), days=0.5, running=RUN).files == []
    assert mine.exists()
    assert len(sweep(care(), days=0.5).files) == 2


def test_rejected_rows_that_wait_for_their_table_stay(
    table: Callable[..., Any],
    request_of: Callable[..., Any],
    care: Callable[..., TableCare],
    lake: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(2):
        writer = table()
        writer.open(batch(1).schema)
        writer.write(batch(1))
        writer.quarantine(pa.record_batch({"reason": ["bad"]}))
        if number:
            monkeypatch.setattr(quarantine.Quarantine, "publish", lambda *_: None)
        writer.commit(request_of(number))
    monkeypatch.undo()
    for path in files(lake, "orders__quarantine"):
        aged(path, 30)
    lost = orphan(lake, "killed.parquet", table="orders__quarantine")

    swept = sweep(care(1))

    assert swept.files == [str(lost)]
    table().commit(request_of(2))
    assert DeltaTable(lake / "raw/orders__quarantine").to_pyarrow_table().num_rows == 2


def test_a_listing_that_lacks_a_file_of_the_table_deletes_nothing(
    load: Load, care: Callable[..., TableCare], lake: Path
) -> None:
    load(batch(1))
    kept = orphan(lake, "killed.parquet")
    (live,) = (Path(uri) for uri in DeltaTable(lake / "raw/orders").file_uris())
    live.unlink()

    with pytest.raises(ResourceError, match="is not among its files"):
        sweep(care())

    assert kept.exists()


def test_a_file_with_the_name_of_one_of_the_table_deletes_nothing(
    load: Load, care: Callable[..., TableCare], lake: Path
) -> None:
    load(batch(1))
    (live,) = (Path(uri) for uri in DeltaTable(lake / "raw/orders").file_uris())
    kept = orphan(lake, f"copy/{live.name}")

    with pytest.raises(ResourceError, match="said to lie elsewhere"):
        sweep(care())

    assert kept.exists()


def test_a_table_of_another_writer_with_odd_partitions_is_swept_safely(
    care: Callable[..., TableCare], lake: Path
) -> None:
    rows = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "p": ["a b", "ö/ü", "x=y%z"]})
    write_deltalake(lake / "raw/orders", rows, partition_by=["p"])
    lost = orphan(lake, "killed.parquet")
    for path in files(lake):
        aged(path, 30)

    swept = sweep(care())

    assert swept.files == [str(lost)]
    assert ids(lake) == [1, 2, 3]


def test_a_table_on_s3_is_cared_for(table: Callable[..., Any], request_of: Callable[..., Any], s3: S3) -> None:
    connection = {"path": f"s3://{s3.bucket}/care-{os.urandom(4).hex()}", "endpoint": s3.endpoint}
    for number in range(5):
        writer = table(connection=connection, credentials=s3.credentials)
        writer.open(batch(1).schema)
        writer.write(batch(number))
        writer.commit(request_of(number))
    target = DeltaWriter(TargetConfig(type="delta", connection=connection, credentials=s3.credentials))
    (care,) = target.care(TableSpec(name="orders", namespace="raw", job="job", stream="orders", run_id=RUN))
    folder = f"{connection['path'].removeprefix('s3://')}/raw/orders"
    with s3.filesystem().open_output_stream(f"{folder}/killed.parquet") as stream:
        stream.write(b"nobody knows me")

    compacted = care.compact(Compaction(), dry_run=False)
    expired = care.expire(Expiry(timedelta()), dry_run=False)
    young = sweep(care)
    swept = sweep(care, days=0)

    assert (compacted.files_removed, compacted.files_added) == (5, 1)
    assert (expired.files_removed, expired.failed) == (5, 0)
    assert (young.files, young.young) == ([], 1)
    assert swept.files == [f"s3://{folder}/killed.parquet"]
    state = table(connection=connection, credentials=s3.credentials).load_state()
    assert (state.generation, state.state) == (5, {"version": 1, "at": 4})
