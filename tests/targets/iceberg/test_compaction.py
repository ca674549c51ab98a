"""A compaction changes the files of a table and none of its rows, and no run ever loses against one."""

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from iceberg_cares import compact, content, everything, expire, live, summary, sweep
from iceberg_lake import Lake, before_a_commit, numbers
from iceberg_merges import merge, rows
from pyiceberg.exceptions import CommitStateUnknownException
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table.snapshots import Operation
from pyiceberg.transforms import BucketTransform
from pyiceberg.typedef import Record

from dativo_ingest.targets.iceberg import compaction
from dativo_ingest.targets.iceberg.embedded import EmbeddedCatalog
from dativo_ingest.targets.iceberg.producers import Delta, stage_delta
from dativo_plugin_sdk import CommitStateUnknownError, Compacted, ConcurrencyError, ResourceError, ResourceNotFoundError

LAYOUTS = [[], ["bucket(4, id)"], ["region"], ["day(at)"], ["truncate(1, region)", "bucket(2, id)"]]
NOTHING = Compacted()
BUFFER_BYTES = 4 * 2**20


def worn(lake: Lake, layout: list[str], **options: Any) -> None:
    """A table that some merges have been through."""
    options = {"partition_by": layout, **options}
    merge(lake, rows(*range(60), text="old"), rows(*range(60, 120), text="old", region="us", day=2), options=options)
    for number in range(4):
        merge(lake, rows(number, 60 + number, 200 + number, text=f"merge {number}"), options=options)
    merge(lake, rows(3, 100, region="us", day=3, text="moved"), options=options, state={"at": 5})


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_rows_stay_and_what_was_deleted_goes_out_of_the_files(lake: Lake, layout: list[str]) -> None:
    worn(lake, layout)
    before = everything(lake)
    deletes = sum(each for _, each in live(lake))

    done = compact(lake, min_input_files=2)

    assert everything(lake) == before
    assert deletes == done.deleted_rows_removed > 0
    assert all(deleted == 0 for _, deleted in live(lake))
    with lake.table() as table:
        assert table.inspect.delete_files().num_rows == 0
        assert done.snapshot_id == str(table.current_snapshot().snapshot_id)
    found = summary(lake)
    assert found.operation == Operation.REPLACE
    assert [found["total-records"], found["total-delete-files"], found["total-position-deletes"]] == [
        str(len(before)),
        "0",
        "0",
    ]
    assert found["total-data-files"] == str(len(live(lake)))
    assert compact(lake, min_input_files=2) == NOTHING


def test_state_and_generation_are_what_they_were_and_the_next_run_goes_on(lake: Lake) -> None:
    worn(lake, [])
    with lake.run(None) as run:
        before = run.before

    compact(lake)

    with lake.run(None) as run:
        assert run.before == before
    receipt = merge(lake, rows(1, 500), state={"at": 6})
    assert (receipt.generation, receipt.inserted, receipt.updated) == (before.generation + 1, 1, 1)


def test_a_dry_run_says_what_would_be_done_and_changes_no_byte(lake: Lake) -> None:
    worn(lake, ["region"])
    before = content(lake.folder)

    would = compact(lake, dry_run=True)

    assert content(lake.folder) == before
    did = compact(lake)
    assert would.files_removed == did.files_removed > 0
    assert would.files_added == did.files_added
    assert would.delete_files_removed == did.delete_files_removed > 0
    assert would.deleted_rows_removed == did.deleted_rows_removed


def test_small_files_are_put_together_where_there_are_enough_of_them(lake: Lake) -> None:
    for number in range(4):
        lake.load(numbers(number))

    few = compact(lake)
    lake.load(numbers(4))
    enough = compact(lake)

    assert few == NOTHING
    assert (enough.files_removed, enough.files_added) == (5, 1)
    assert live(lake) == [(5, 0)]
    assert lake.values() == [0, 1, 2, 3, 4]


def test_files_that_are_large_enough_and_whole_are_left_alone(lake: Lake) -> None:
    lake.load(numbers(*range(5_000)))
    for number in range(5):
        lake.load(numbers(10_000 + number))
    large = max(lake.data_files(), key=lambda path: path.stat().st_size)

    done = compact(lake, target_file_bytes=large.stat().st_size)

    assert done.files_removed == 5
    assert live(lake) == [(5, 0), (5_000, 0)]
    assert large in lake.data_files()


def test_files_of_about_the_target_size_come_out_with_rows_that_came_together(lake: Lake) -> None:
    for number in range(12):
        lake.load(numbers(*range(number * 1_000, number * 1_000 + 1_000)))
    size_bytes = lake.data_files()[0].stat().st_size

    done = compact(lake, target_file_bytes=int(4.5 * size_bytes), min_input_files=2)

    assert (done.files_removed, done.files_added) == (12, 3)
    with lake.table() as table:
        files = [task.file.file_path.removeprefix("file://") for task in table.scan().plan_files()]
    spans = sorted((min(ids), max(ids)) for ids in (pq.read_table(path)["id"].to_pylist() for path in files))
    assert spans == [(0, 3_999), (4_000, 7_999), (8_000, 11_999)]


def test_only_files_that_lost_enough_rows_are_written_anew_where_that_is_asked(lake: Lake) -> None:
    options = {"partition_by": ["region"]}
    merge(lake, rows(*range(40), text="old"), rows(*range(40, 80), text="old", region="us"), options=options)
    merge(lake, rows(1, 2, 3, 4, 5, 6), options=options)
    merge(lake, rows(41, region="us"), options=options)

    done = compact(lake, min_delete_files=3, min_deleted_ratio=0.1)

    assert (done.files_removed, done.delete_files_removed, done.deleted_rows_removed) == (2, 1, 6)
    assert live(lake) == [(1, 0), (40, 0), (40, 1)]


def test_rows_of_a_row_group_keep_the_tables_sort_order(lake: Lake) -> None:
    worn(lake, [], sort_by=["id desc"])

    compact(lake, options={"sort_by": ["id desc"]})

    (file,) = [path for path in lake.data_files() if path.stat().st_mtime == max(map(_time, lake.data_files()))]
    ids = pq.read_table(file)["id"].to_pylist()
    assert ids == sorted(ids, reverse=True)
    with lake.table() as table:
        (task,) = table.scan().plan_files()
        assert task.file.sort_order_id == table.metadata.default_sort_order_id


def _time(path: Path) -> float:
    return path.stat().st_mtime


def test_files_that_are_older_than_the_schema_get_its_columns_and_types(lake: Lake) -> None:
    narrow = pa.record_batch({"id": pa.array([1, 2, 3], pa.int32()), "gone": ["a", "b", "c"]})
    lake.load(narrow)
    lake.load(pa.record_batch({"id": pa.array([2**40]), "gone": ["d"], "new": pa.array([1.5])}))
    with lake.table() as table, table.update_schema() as update:
        update.rename_column("new", "newer")
        update.delete_column("gone")
    before = everything(lake)

    done = compact(lake, min_input_files=2)

    assert everything(lake) == before
    assert done.files_removed == 2
    (file,) = (task.file.file_path for task in _tasks(lake))
    assert pq.read_schema(file.removeprefix("file://")).names == ["id", "newer"]


def test_files_of_an_older_partitioning_come_into_the_current_one(lake: Lake) -> None:
    options = {"partition_by": ["region"]}
    merge(lake, rows(*range(20), text="old"), rows(*range(20, 40), text="old", region="us"), options=options)
    merge(lake, rows(3, 30, text="new"), options=options)
    with lake.table() as table, table.update_spec() as update:
        update.remove_field("region")
        update.add_field("id", BucketTransform(2), "b")
    merge(lake, rows(4, 50, text="newer"))
    before = everything(lake)

    compact(lake)

    assert everything(lake) == before
    with lake.table() as table:
        tasks = list(table.scan().plan_files())
        assert {task.file.spec_id for task in tasks} == {table.metadata.default_spec_id}
        assert all(not task.delete_files for task in tasks)
        (one,) = table.scan(row_filter="id = 30").to_arrow().to_pylist()
    assert one["text"] == "new 30"


PARTITIONED: list[tuple[pa.DataType, list[Any]]] = [
    (pa.string(), ["a/b", "ö", "", None]),
    (pa.date32(), [0, 20_000, -1, None]),
    (pa.timestamp("us"), [0, 10**15, -1, None]),
    (pa.decimal128(12, 2), [None, "1.25", "-0.50", "0.00"]),
    (pa.binary(), [b"\x00", b"\xff", b"a", None]),
    (pa.uuid(), [b"\x00" * 16, b"\xff" * 16, b"a" * 16, None]),
    (pa.bool_(), [True, False, None, True]),
]


@pytest.mark.parametrize(("type_", "values"), [pytest.param(*each, id=str(each[0])) for each in PARTITIONED])
def test_partitions_of_every_type_keep_their_rows(lake: Lake, type_: pa.DataType, values: list[Any]) -> None:
    storage = type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_
    column: Any = pa.array(values, pa.string()).cast(type_) if pa.types.is_decimal(type_) else pa.array(values, storage)
    if isinstance(type_, pa.BaseExtensionType):
        column = pa.ExtensionArray.from_storage(type_, column)
    for number in range(2):
        batch = pa.record_batch({"p": column, "id": pa.array([number] * 4)})
        lake.load(batch, options={"partition_by": ["p"]})
    before = everything(lake)
    with lake.table() as table:
        partitions = sorted(repr(task.file.partition) for task in table.scan().plan_files())

    done = compact(lake, min_input_files=2)

    assert everything(lake) == before
    assert done.files_added == len(set(partitions)) == done.files_removed / 2
    assert sorted(repr(task.file.partition) for task in _tasks(lake)) == sorted(set(partitions))


@pytest.mark.parametrize("layout", [[], ["bucket(4, id)"]], ids=str)
def test_a_merge_that_lands_at_the_last_moment_wins_and_the_files_are_written_once_more(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, layout: list[str]
) -> None:
    worn(lake, layout, properties={"commit.retry.min-wait-ms": "1"})
    before_a_commit(monkeypatch, EmbeddedCatalog, lambda: merge(lake, rows(1, 7, 900, text="late")))

    done = compact(lake)

    found = {each["id"]: each["text"] for each in everything(lake)}
    assert {each: found[each] for each in (1, 7, 900)} == {each: f"late {each}" for each in (1, 7, 900)}
    assert len(found) == 125 == lake.rows().num_rows
    assert done.left == 0
    assert all(deleted == 0 for _, deleted in live(lake))
    with lake.run(None) as run:
        assert run.before.generation == 7


def test_a_merge_finds_its_rows_in_files_that_a_compaction_made_at_the_last_moment(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    worn(lake, ["bucket(4, id)"], properties={"commit.retry.min-wait-ms": "1"})
    before_a_commit(monkeypatch, EmbeddedCatalog, lambda: compact(lake))

    receipt = merge(lake, rows(1, 7, 900, text="late"))

    assert (receipt.inserted, receipt.updated) == (1, 2)
    found = {each["id"]: each["text"] for each in everything(lake)}
    assert {each: found[each] for each in (1, 7, 900)} == {each: f"late {each}" for each in (1, 7, 900)}
    assert len(found) == 125 == lake.rows().num_rows


@pytest.mark.parametrize("write", ["append", "overwrite"])
def test_a_load_that_lands_at_the_last_moment_is_kept(lake: Lake, monkeypatch: pytest.MonkeyPatch, write: Any) -> None:
    for number in range(6):
        lake.load(numbers(number), options={"properties": {"commit.retry.min-wait-ms": "1"}})
    before_a_commit(monkeypatch, EmbeddedCatalog, lambda: lake.load(numbers(100), write=write))

    compact(lake)

    assert lake.values() == ([*range(6), 100] if write == "append" else [100])


@pytest.mark.parametrize("write", ["append", "overwrite"])
def test_a_load_is_not_disturbed_by_a_compaction_at_the_last_moment(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, write: Any
) -> None:
    for number in range(6):
        lake.load(numbers(number), options={"properties": {"commit.retry.min-wait-ms": "1"}})
    before_a_commit(monkeypatch, EmbeddedCatalog, lambda: compact(lake))

    lake.load(numbers(100), write=write)

    assert lake.values() == ([*range(6), 100] if write == "append" else [100])


def test_a_table_that_changes_before_every_try_is_given_up_and_nothing_is_left_behind(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    worn(lake, ["region"], properties={"commit.retry.num-retries": "0"})
    keys = iter(range(1_000, 2_000))
    commit_table = EmbeddedCatalog.commit_table

    def late(catalog: EmbeddedCatalog, *arguments: Any) -> Any:
        monkeypatch.setattr(EmbeddedCatalog, "commit_table", commit_table)
        merge(lake, rows(10, next(keys), text="late"))
        monkeypatch.setattr(EmbeddedCatalog, "commit_table", late)
        return commit_table(catalog, *arguments)

    monkeypatch.setattr(EmbeddedCatalog, "commit_table", late)

    with pytest.raises(ConcurrencyError, match="changed by others all the time"):
        compact(lake, run_id="compactor")

    assert [path for path in lake.data_files() if path.name.startswith("compactor")] == []


def test_where_others_change_the_same_files_each_time_they_are_left_to_them(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    worn(lake, ["region"])
    write = compaction.Compactor._write
    late = iter(range(1_000, 2_000))

    def disturbed(compactor: Any, table: Any, source: Any, target_bytes: int) -> Any:
        done = write(compactor, table, source, target_bytes)
        if "us" in repr(source.files[0].file.partition):
            merge(lake, rows(61 + next(late) % 30, region="us", text="late"))
        return done

    monkeypatch.setattr(compaction.Compactor, "_write", disturbed)

    done = compact(lake, min_input_files=2, run_id="compactor")

    assert done.left > 0
    assert done.snapshot_id is not None
    assert done.files_removed > 0
    assert len(everything(lake)) == 124
    referenced = {task.file.file_path.rpartition("/")[2] for task in _tasks(lake)}
    assert {path.name for path in lake.data_files() if path.name.startswith("compactor")} <= referenced


def test_where_all_files_are_changed_each_time_nothing_is_left_behind(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(lake, rows(*range(40), text="old"))
    merge(lake, rows(1))
    write = compaction.Compactor._write
    late = iter(range(2, 40))

    def disturbed(*arguments: Any) -> Any:
        done = write(*arguments)
        merge(lake, rows(next(late), text="late"))
        return done

    monkeypatch.setattr(compaction.Compactor, "_write", disturbed)

    with pytest.raises(ConcurrencyError, match="others changed all of the"):
        compact(lake, run_id="compactor")

    assert [path for path in lake.data_files() if path.name.startswith("compactor")] == []
    assert len(everything(lake)) == 40


def test_files_of_deletes_about_several_data_files_stay_until_none_of_them_needs_them(lake: Lake) -> None:
    lake.load(numbers(*range(10)))
    lake.load(numbers(*range(10, 5_000)))
    paths = sorted((task.file.record_count, task.file.file_path) for task in _tasks(lake))
    _delete(lake, {path: [1] for _, path in paths})
    size_bytes = max(task.file.file_size_in_bytes for task in _tasks(lake))
    before = lake.values()

    some = compact(lake, target_file_bytes=size_bytes, min_delete_files=2, min_deleted_ratio=0.05)
    then = compact(lake, target_file_bytes=size_bytes)

    assert (some.files_removed, some.delete_files_removed) == (1, 0)
    assert then.delete_files_removed == 1
    assert lake.values() == before == sorted({*range(5_000)} - {1, 11})
    assert live(lake) == [(9, 0), (4_989, 0)]


def test_files_of_deletes_that_nothing_needs_any_more_go_by_themselves(lake: Lake) -> None:
    lake.load(numbers(*range(10)))
    _delete(lake, {"file:///gone.parquet": [1]})

    done = compact(lake)

    assert (done.files_removed, done.files_added, done.delete_files_removed) == (0, 0, 1)
    assert summary(lake)["total-delete-files"] == "0"
    assert lake.values() == [*range(10)]


def test_rows_deleted_by_value_are_refused(lake: Lake) -> None:
    lake.load(numbers(1, 2, 3))
    _delete(lake, {}, DataFileContent.EQUALITY_DELETES)

    with pytest.raises(ResourceNotFoundError, match="1 files of equality deletes"):
        compact(lake)


def test_many_manifests_become_few(lake: Lake) -> None:
    for number in range(8):
        lake.load(numbers(number))
    before = content(lake.folder)

    done = compact(lake, min_manifests=4, min_input_files=100)

    assert (done.files_removed, done.manifests_removed) == (0, 7)
    with lake.table() as table:
        assert len(table.current_snapshot().manifests(table.io)) == 1
    assert lake.values() == [*range(8)]
    made = [path for path in content(lake.folder) if path not in before and path.endswith(".avro")]
    assert len(made) == 2  # a manifest and a list of manifests
    assert merge(lake, numbers(3, 9)).updated == 1
    assert lake.values() == [*range(8), 9]


def test_a_file_with_other_rows_than_the_table_knows_of_is_an_error_and_leaves_nothing_behind(lake: Lake) -> None:
    for number in range(6):
        lake.load(numbers(number))
    pq.write_table(pa.Table.from_batches([numbers(1, 2, 3)]), lake.data_files()[-1])

    with pytest.raises(ResourceError):
        compact(lake, run_id="compactor")

    assert [path for path in lake.data_files() if path.name.startswith("compactor")] == []


def test_a_commit_without_an_answer_is_not_cleaned_up(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        lake.load(numbers(number))
    monkeypatch.setattr(compaction, "_LOOK_AGAIN_S", 0.0)

    def lost() -> None:
        raise CommitStateUnknownException("no answer")

    before_a_commit(monkeypatch, EmbeddedCatalog, lost)

    with pytest.raises(CommitStateUnknownError, match="may still arrive"):
        compact(lake, run_id="compactor")

    assert len([path for path in lake.data_files() if path.name.startswith("compactor")]) == 1


def test_a_commit_whose_answer_was_lost_is_recognised(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        lake.load(numbers(number))
    commit_table = EmbeddedCatalog.commit_table

    def landed_but(catalog: EmbeddedCatalog, *arguments: Any) -> Any:
        commit_table(catalog, *arguments)
        raise CommitStateUnknownException("no answer")

    monkeypatch.setattr(EmbeddedCatalog, "commit_table", landed_but)

    done = compact(lake)

    assert done.files_removed == 6
    assert live(lake) == [(6, 0)]


def test_runs_and_care_go_on_side_by_side_and_each_row_is_there_once(lake: Lake) -> None:
    layout = {"partition_by": ["bucket(2, id)"], "properties": {"commit.retry.min-wait-ms": "1"}}
    merge(lake, rows(*range(100), text="old"), options=layout)
    over, landed = threading.Event(), threading.Semaphore(0)
    failures: list[BaseException] = []

    def load() -> None:
        try:
            for number in range(12):
                merge(lake, rows(number, 50 + number, 200 + number, text=f"load {number}"), options=layout)
                if number % 4 == 3:  # runs always win: let a compaction have its turn
                    assert landed.acquire(timeout=60)
        except BaseException as error:  # it is raised in the test's own thread
            failures.append(error)
            raise
        finally:
            over.set()

    thread = threading.Thread(target=load)
    thread.start()
    while not over.is_set():
        with contextlib.suppress(ConcurrencyError):
            if compact(lake, min_input_files=2).snapshot_id is not None:
                landed.release()
        expire(lake, retain_last=15)
    thread.join()
    compact(lake, min_input_files=2)
    sweep(lake, days=1)

    text = {each: f"old {each}" for each in range(100)}
    for number in range(12):
        text |= {each: f"load {number} {each}" for each in (number, 50 + number, 200 + number)}
    assert failures == []
    found = everything(lake)
    assert {each["id"]: each["text"] for each in found} == text
    assert len(found) == len(text)
    with lake.run(None) as run:
        assert run.before.generation == 13


def test_the_rows_of_a_compaction_are_never_all_in_memory(lake: Lake) -> None:
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    passed = 0
    for number in range(6):
        with lake.run(schema, buffer_bytes=BUFFER_BYTES) as run:
            for _ in range(4):
                texts = pa.array([os.urandom(40).hex() for _ in range(20_000)])
                batch = pa.record_batch([pa.array(range(20_000), pa.int64()), texts], schema)
                passed += batch.nbytes
                run.table.write(batch)
            run.commit({"at": number})
    pool = pa.default_memory_pool()
    watched = pa.proxy_memory_pool(pool)
    pa.set_memory_pool(watched)

    try:
        compact(lake, buffer_bytes=BUFFER_BYTES)
    finally:
        pa.set_memory_pool(pool)

    assert live(lake) == [(6 * 80_000, 0)]
    assert passed > 10 * BUFFER_BYTES
    assert 0 < watched.max_memory() < 4 * BUFFER_BYTES  # the buffer, and the row group that is read


def _tasks(lake: Lake) -> list[Any]:
    with lake.table() as table:
        return list(table.scan().plan_files())


def _delete(
    lake: Lake, positions: dict[str, list[int]], kind: DataFileContent = DataFileContent.POSITION_DELETES
) -> None:
    """Delete rows as another engine may: with one file for several data files."""
    path = lake.folder / lake.namespace / "t" / "data" / "foreign-deletes.parquet"
    pairs = sorted((name, each) for name, places in positions.items() for each in places)
    bounds = {2147483546: next(iter(positions)).encode()} if len(positions) == 1 else None
    columns = [pa.array([name for name, _ in pairs], pa.string()), pa.array([each for _, each in pairs], pa.int64())]
    pq.write_table(pa.table(columns, names=["file_path", "pos"]), path)
    file = DataFile.from_args(
        content=kind,
        file_path=f"file://{path}",
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=len(pairs),
        file_size_in_bytes=path.stat().st_size,
        lower_bounds=bounds,
        upper_bounds=bounds,
        equality_ids=[1] if kind == DataFileContent.EQUALITY_DELETES else None,
    )
    file.spec_id = 0
    delta = Delta([], [file], frozenset(), lambda _: None, 0, 0)
    with lake.table() as table:
        transaction = table.transaction()
        stage_delta(transaction, delta, fence=lambda _: None, summary={})
        transaction.commit_transaction()
