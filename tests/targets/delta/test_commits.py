from __future__ import annotations

import os
import random
from dataclasses import replace

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from dativo_plugin_sdk import (
    CommitStateUnknownError,
    DataValidationError,
    FencedError,
    InvalidConfigError,
    PastCommit,
    ResourceNotFoundError,
)

ONE = pa.record_batch({"id": [1, 2], "v": ["a", "b"]})


def rows(lake, name="orders") -> list[dict]:
    return sorted(DeltaTable(lake / "raw" / name).to_pyarrow_table().to_pylist(), key=str)


def parquet_files(lake) -> set[str]:
    return {path.relative_to(lake).as_posix() for path in lake.rglob("*.parquet") if "_delta_log" not in path.parts}


def live_files(lake, name="orders") -> set[str]:
    return {uri.partition(f"{lake}/")[2] for uri in DeltaTable(lake / "raw" / name).file_uris()}


def test_rows_rejected_rows_and_state_land(table, request_of, lake):
    writer = table()
    writer.open(ONE.schema)
    writer.write(ONE)
    writer.quarantine(pa.record_batch({"reason": ["bad"]}))

    receipt = writer.commit(request_of(0))

    assert (receipt.generation, receipt.inserted, receipt.files) == (1, 2, 1)
    assert rows(lake) == ONE.to_pylist()
    assert rows(lake, "orders__quarantine") == [{"reason": "bad"}]
    state = table().load_state()
    assert (state.generation, state.state, state.commit_id) == (1, {"version": 1, "at": 0}, "commit-0")
    assert DeltaTable(lake / "raw/orders").version() == 0


def test_appends_add_and_an_overwrite_replaces(load, lake):
    load(ONE)
    load(ONE)

    receipt = load(pa.record_batch({"id": [9], "v": ["z"]}), write="overwrite")

    assert (receipt.inserted, receipt.deleted) == (1, 4)
    assert rows(lake) == [{"id": 9, "v": "z"}]


def test_state_alone_moves_without_rows(load, table, request_of, lake):
    load(ONE)

    table().commit(request_of(1))

    assert table().load_state().generation == 2
    assert len(rows(lake)) == 2


def test_state_of_no_table_cannot_be_kept(table, request_of):
    with pytest.raises(ResourceNotFoundError, match="does not exist"):
        table().commit(request_of(0))


def test_a_stale_generation_is_fenced_and_leaves_nothing(load, table, request_of, lake):
    load(ONE)
    load(ONE)
    late = table(run_id="late")
    late.open(ONE.schema)
    late.write(ONE)

    with pytest.raises(FencedError, match="generation 2"):
        late.commit(request_of(1, "of-late"))
    late.abort()

    assert parquet_files(lake) == live_files(lake)
    assert len(list((lake / "raw/orders/_dativo").rglob("*.json"))) == 2


@pytest.mark.parametrize("write", ["append", "overwrite", "merge"])
def test_of_two_writers_on_one_generation_one_lands(  # noqa: PLR0917  fixtures
    load, table, request_of, lake, monkeypatch, write
):
    load(ONE)
    slow, fast = (table(run_id=name, write=write, primary_key=("id",)) for name in ("slow", "fast"))
    for writer, value in ((slow, "slow"), (fast, "fast")):
        writer.open(ONE.schema)
        writer.write(pa.record_batch({"id": [2], "v": [value]}))
    land = slow._land

    def overtaken(*arguments):
        fast.commit(request_of(1, "of-fast"))
        return land(*arguments)

    monkeypatch.setattr(slow, "_land", overtaken)

    with pytest.raises(FencedError, match="fast"):
        slow.commit(request_of(1, "of-slow"))

    assert "slow" not in {row["v"] for row in rows(lake)}
    assert table().load_state().commit_id == "of-fast"


def test_of_two_creators_one_lands(table, request_of, lake, monkeypatch):
    slow, fast = table(run_id="slow"), table(run_id="fast")
    for writer in (slow, fast):
        writer.open(ONE.schema)
        writer.write(ONE)
    create = slow._create

    def overtaken(*arguments):
        fast.commit(request_of(0, "of-fast"))
        return create(*arguments)

    monkeypatch.setattr(slow, "_create", overtaken)

    with pytest.raises(FencedError):
        slow.commit(request_of(0, "of-slow"))
    slow.abort()

    assert rows(lake) == ONE.to_pylist()
    assert parquet_files(lake) == live_files(lake)


@pytest.mark.parametrize("write", ["append", "overwrite", "merge"])
def test_a_foreign_commit_in_between_is_rebased_over(  # noqa: PLR0917  fixtures
    load, table, request_of, lake, write, monkeypatch
):
    load(ONE)
    writer = table(write=write, primary_key=("id",))
    writer.open(ONE.schema)
    writer.write(pa.record_batch({"id": [7], "v": ["mine"]}))
    land = writer._land
    foreign = pa.table({"id": [7], "v": ["foreign"]})
    done = []

    def overtaken(*arguments):
        if not done:
            done.append(1)
            write_deltalake(lake / "raw/orders", foreign, mode="append")
        return land(*arguments)

    monkeypatch.setattr(writer, "_land", overtaken)

    writer.commit(request_of(1))

    found = [row for row in rows(lake) if row["id"] == 7]
    assert {"id": 7, "v": "mine"} in found
    assert len(found) == {"append": 2, "overwrite": 1, "merge": 1}[write]


def test_a_foreign_compaction_in_between_is_rebased_over(load, table, request_of, lake, monkeypatch):
    load(ONE)
    load(ONE)
    writer = table()
    writer.open(ONE.schema)
    writer.write(ONE)
    land = writer._land

    def overtaken(*arguments):
        DeltaTable(lake / "raw/orders").optimize.compact()
        return land(*arguments)

    monkeypatch.setattr(writer, "_land", overtaken)

    writer.commit(request_of(2))

    assert len(rows(lake)) == 6


def test_a_commit_whose_answer_is_lost_is_found(table, request_of, lake, load, monkeypatch):
    load(ONE)
    writer = table()
    writer.open(ONE.schema)
    writer.write(ONE)
    land = writer._land

    def deaf(*arguments):
        land(*arguments)
        raise OSError("HTTP error: operation timed out")

    monkeypatch.setattr(writer, "_land", deaf)

    receipt = writer.commit(request_of(1))

    assert receipt.generation == 2
    assert len(rows(lake)) == 4


def test_a_commit_that_may_have_landed_and_cannot_be_seen_is_unknown(table, request_of, lake, load, monkeypatch):
    load(ONE)
    writer = table()
    writer.open(ONE.schema)
    writer.write(ONE)
    land = writer._land

    def gone(*arguments):
        land(*arguments)
        (lake / "raw/orders/_delta_log").rename(lake / "hidden")
        (lake / "raw/orders/_delta_log").write_text("")
        raise OSError("HTTP error: operation timed out")

    monkeypatch.setattr(writer, "_land", gone)

    with pytest.raises(CommitStateUnknownError):
        writer.commit(request_of(1))
    writer.abort()

    (lake / "raw/orders/_delta_log").unlink()
    (lake / "hidden").rename(lake / "raw/orders/_delta_log")
    assert len(rows(lake)) == 4


def test_the_same_commit_twice_lands_once(load, table, request_of, lake):
    load(ONE)
    again = table()
    again.open(ONE.schema)

    receipt = again.commit(request_of(0))

    assert receipt.generation == 1
    assert len(rows(lake)) == 2


def test_state_outlives_checkpoints_log_expiry_and_foreign_commits(load, table, lake):
    load(ONE, target={"properties": {"delta.logRetentionDuration": "interval 0 seconds"}})
    for _ in range(12):
        write_deltalake(lake / "raw/orders", pa.table({"id": [5], "v": ["f"]}), mode="append")
    foreign = DeltaTable(lake / "raw/orders")
    foreign.optimize.compact()
    foreign.create_checkpoint()
    for log in sorted((lake / "raw/orders/_delta_log").glob("*.json"))[:10]:
        os.utime(log, (0, 0))
    foreign.cleanup_metadata()
    foreign.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)

    state = table().load_state()

    assert not (lake / "raw/orders/_delta_log/00000000000000000000.json").exists()
    assert (state.generation, state.state) == (1, {"version": 1, "at": 0})


def test_old_states_do_not_pile_up(load, lake):
    for _ in range(5):
        load(ONE)

    assert len(list((lake / "raw/orders/_dativo").rglob("*.json"))) == 2


def test_rejected_rows_whose_publishing_was_cut_off_are_published_by_the_next_run(table, request_of, lake, monkeypatch):
    cut = table()
    cut.open(ONE.schema)
    cut.quarantine(pa.record_batch({"reason": ["bad"]}))
    monkeypatch.setattr(cut._quarantine, "publish", lambda *_: None)
    cut.commit(request_of(0))
    cut.abort()
    following = table()
    following.open(ONE.schema)

    following.commit(request_of(1))
    table().commit(request_of(2))

    assert rows(lake, "orders__quarantine") == [{"reason": "bad"}]


def test_two_streams_share_a_table(load, table, lake):
    load(ONE, stream="a")
    load(ONE, stream="b")

    assert len(rows(lake)) == 4
    assert table(stream="a").load_state().generation == table(stream="b").load_state().generation == 1


def test_merging_keeps_the_last_of_each_key(load, lake):
    load(ONE, write="merge", primary_key=("id",))

    receipt = load(pa.record_batch({"id": [2, 3, 2], "v": ["x", "c", "y"]}), write="merge", primary_key=("id",))

    assert (receipt.inserted, receipt.updated) == (1, 1)
    assert rows(lake) == [{"id": 1, "v": "a"}, {"id": 2, "v": "y"}, {"id": 3, "v": "c"}]


@pytest.mark.parametrize("partition_by", [(), ("region",)])
def test_merges_agree_with_a_dict(table, request_of, lake, partition_by):
    chance = random.Random(3)
    model: dict[tuple[int, str], float] = {}
    schema = pa.schema({"id": pa.int32(), "region": pa.string(), "v": pa.float64()})
    for generation in range(6):
        writer = table(
            write="merge", primary_key=("id", "region"), options={"partition_by": list(partition_by)}, buffer_bytes=4096
        )
        writer.open(schema)
        for _ in range(5):
            keys = [(chance.randrange(300), chance.choice("ab ")) for _ in range(chance.randrange(200))]
            values = [chance.random() for _ in keys]
            columns = [pa.array([k for k, _ in keys], pa.int32()), pa.array([r for _, r in keys], pa.string())]
            writer.write(pa.RecordBatch.from_arrays([*columns, pa.array(values)], schema=schema))
            model |= dict(zip(keys, values, strict=True))
        writer.commit(request_of(generation))

    found = DeltaTable(lake / "raw/orders").to_pyarrow_table().to_pylist()

    assert len(found) == len(model)
    assert {(row["id"], row["region"]): row["v"] for row in found} == model


def test_an_empty_merge_moves_the_state(load, table):
    load(ONE, write="merge", primary_key=("id",))

    load(ONE.slice(0, 0), write="merge", primary_key=("id",))

    assert table().load_state().generation == 2


def test_a_row_without_a_key_cannot_be_merged(table):
    writer = table(write="merge", primary_key=("id",))
    writer.open(ONE.schema)

    with pytest.raises(DataValidationError, match="primary_key id is null in 1 of 1"):
        writer.write(pa.record_batch({"id": pa.array([None], pa.int64()), "v": ["x"]}))


@pytest.mark.parametrize("keys", [(), ("nope",)])
def test_a_merge_needs_a_key(table, keys):
    with pytest.raises(InvalidConfigError, match="primary_key"):
        table(write="merge", primary_key=keys).open(ONE.schema)


def test_an_aborted_run_leaves_no_file(table, lake):
    writer = table(buffer_bytes=1)
    writer.open(ONE.schema)
    writer.write(ONE)
    writer.quarantine(pa.record_batch({"reason": ["x"]}))

    writer.abort()

    assert [path for path in lake.rglob("*") if path.is_file()] == []


def test_the_history_tells_of_this_stream_as_far_as_the_log_is_kept(load, table, lake):
    load(ONE)
    load(pa.record_batch({"id": [8], "v": ["x"]}), stream="others")
    load(ONE, write="merge", primary_key=("id",))
    load(pa.record_batch({"id": [2, 3], "v": ["b", "c"]}), run_id="run-2", write="overwrite")
    delta = DeltaTable(lake / "raw/orders")
    delta.optimize.compact()
    delta.create_checkpoint()
    kept = table().history()
    (lake / "raw/orders/_delta_log/00000000000000000000.json").unlink()

    shorter = table().history()

    assert [(each.generation, each.rows, each.run_id) for each in kept] == [
        (3, 2, "run-2"),
        (2, 2, "run-1"),
        (1, 2, "run-1"),
    ]
    assert kept[0] == PastCommit(**vars(table().load_state()), rows=2)
    assert shorter == kept[:2]


def test_what_is_too_large_for_the_log_is_told_of_the_newest_commit_alone(table, request_of):
    large = {"text": "x" * 10_000}
    for generation in (0, 1):
        writer = table()
        writer.open(ONE.schema)
        writer.commit(replace(request_of(generation), state=large))

    newest, oldest = table().history()

    assert (newest.state, oldest.state) == (large, None)
    assert oldest.committed_at is not None


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_row_that_somebody_adds_while_its_key_is_looked_for_to_be_deleted_goes_too(  # noqa: PLR0917  fixtures
    load, table, request_of, lake, monkeypatch, moment
):
    load(ONE)
    writer = table(write="merge", primary_key=("id",))
    writer.open(ONE.schema)
    writer.delete(pa.record_batch({"id": [7]}))
    merge = writer._merge
    waiting = [pa.table({"id": [7], "v": ["foreign"]})]

    def overtaken(*arguments):
        found = merge(*arguments) if moment == "after" else None
        if waiting:
            write_deltalake(lake / "raw/orders", waiting.pop(), mode="append")
        return found or merge(*arguments)

    monkeypatch.setattr(writer, "_merge", overtaken)

    receipt = writer.commit(request_of(1))

    assert (receipt.deleted, receipt.generation) == (1, 2)
    assert rows(lake) == ONE.to_pylist()
