from __future__ import annotations

import threading
from pathlib import PurePosixPath

import pyarrow as pa
import pytest
from parquet_lakes import everywhere

from dativo_ingest.targets import parquet_manifest
from dativo_plugin_sdk import CommittedState, DataFormatError, DataNotFoundError, FencedError, InvalidConfigError

pytestmark = everywhere

ROWS = pa.record_batch({"id": [1, 2, 3], "name": ["a", None, "ü 💡"]})


def load(table, request_of, batch=ROWS, *, generation=0, **spec):
    writer = table(**spec)
    writer.open(batch.schema)
    writer.write(batch)
    return writer.commit(request_of(generation))


def test_nothing_is_there_before_the_first_commit(table, place):
    writer = table()

    state = writer.load_state()

    assert state == CommittedState()
    assert place.all_files() == {}


def test_rows_and_state_land_together(table, request_of, place):
    receipt = load(table, request_of)

    assert (receipt.inserted, receipt.files, receipt.generation, receipt.snapshot_id) == (3, 1, 1, "1")
    assert receipt.bytes_written == place.all_files()["raw/orders/run-1-0.parquet"]
    state = table().load_state()
    assert (state.generation, state.state, state.commit_id) == (1, {"version": 1, "at": 0}, "commit-0")
    assert place.read().to_table().equals(pa.table(ROWS))


def test_append_adds_and_overwrite_replaces(table, request_of, place):
    load(table, request_of)
    load(table, request_of, generation=1, run_id="run-2")

    receipt = load(table, request_of, ROWS.slice(0, 1), generation=2, run_id="run-3", write="overwrite")

    assert (receipt.inserted, receipt.deleted) == (1, 6)
    assert place.read().count_rows() == 1
    assert place.data_files() == {"run-3-0.parquet"}


def test_an_overwrite_without_rows_empties_the_table(table, request_of, place):
    load(table, request_of)
    writer = table(run_id="run-2", write="overwrite")
    writer.open(ROWS.schema)

    writer.commit(request_of(1))

    assert place.read().to_table().equals(ROWS.schema.empty_table())
    assert place.data_files() == set()


def test_of_two_writers_on_one_generation_the_second_is_fenced(table, request_of, place):
    first, second = table(run_id="run-1"), table(run_id="run-2")
    for writer in (first, second):
        writer.open(ROWS.schema)
        writer.write(ROWS)
    first.commit(request_of(0, "first"))

    with pytest.raises(FencedError, match="run-1 committed generation 1"):
        second.commit(request_of(0, "second"))

    second.abort()
    assert place.data_files() == {"run-1-0.parquet"}
    assert table().load_state().commit_id == "first"


def test_a_commit_of_state_alone_is_fenced_too(table, request_of, place):
    first, second = table(run_id="run-1"), table(run_id="run-2")
    receipt = first.commit(request_of(0, "first"))

    with pytest.raises(FencedError):
        second.commit(request_of(0, "second"))

    assert (receipt.inserted, receipt.files) == (0, 0)
    assert table().load_state().commit_id == "first"
    with pytest.raises(DataNotFoundError, match="no table"):
        place.read()


def test_committing_the_same_commit_again_lands_nothing_more(table, request_of, place):
    writer = table()
    writer.open(ROWS.schema)
    writer.write(ROWS)
    writer.commit(request_of(0))

    again = writer.commit(request_of(0))

    assert again.generation == 1
    assert place.read().count_rows() == 3


def test_many_streams_write_one_table_and_each_keeps_its_state(table, request_of, place):
    writers = [table(stream=f"shard_{number}") for number in range(6)]
    for writer in writers:
        writer.open(ROWS.schema)
        writer.write(ROWS)
    threads = [threading.Thread(target=writer.commit, args=(request_of(0),)) for writer in writers]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert place.read().count_rows() == 18
    assert [table(stream=f"shard_{number}").load_state().generation for number in range(6)] == [1] * 6
    assert place.data_files() == place.live_files()


def test_streams_of_one_run_that_follow_each_other_never_take_each_others_file_names(table, request_of, place):
    load(table, request_of, stream="a")

    load(table, request_of, stream="b")

    assert place.data_files() == {"run-1-0.parquet", "run-1.2-0.parquet"}
    assert place.read().count_rows() == 6


def test_many_writers_of_one_generation_have_one_winner(table, request_of, place):
    outcomes: list[str] = []
    barrier = threading.Barrier(6)

    def commit(number: int) -> None:
        writer = table(run_id=f"run-{number}")
        writer.open(ROWS.schema)
        writer.write(ROWS)
        barrier.wait()
        try:
            writer.commit(request_of(0, f"commit-{number}"))
        except FencedError:
            writer.abort()
            outcomes.append("fenced")
        else:
            outcomes.append("landed")

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["fenced"] * 5 + ["landed"]
    assert place.read().count_rows() == 3
    assert place.data_files() == place.live_files()


def test_a_writer_that_is_closed_without_commit_or_abort_leaves_no_file(table, request_of, place):
    load(table, request_of)
    writer = table(run_id="run-2")
    writer.open(ROWS.schema)
    writer.write(ROWS)
    writer.abort()
    writer.abort()

    assert place.data_files() == {"run-1-0.parquet"}
    assert place.marks() == set()


def test_old_manifests_keep_their_number_and_history_only(table, request_of, place):
    for generation in range(4):
        load(table, request_of, generation=generation, run_id=f"run-{generation}")

    documents = place.manifests()
    assert [document["number"] for document in documents] == [1, 2, 3, 4]
    assert ["files" in document for document in documents] == [False, False, True, True]
    assert documents[0]["commit"]["commit_id"] == "commit-0"


def test_a_reader_overtaken_by_commits_reads_the_newest_version(table, request_of, place, monkeypatch):
    load(table, request_of)
    storage = place.storage()
    newest = storage.newest

    def overtaken():
        monkeypatch.setattr(storage, "newest", newest)
        seen = newest()
        for generation in (1, 2, 3):  # the version just seen is history by now
            load(table, request_of, generation=generation)
        return seen

    monkeypatch.setattr(storage, "newest", overtaken)
    manifest = parquet_manifest.latest(storage)

    assert manifest.number == 4


def test_a_broken_manifest_is_a_format_error_and_never_an_empty_table(table, request_of, place):
    load(table, request_of)
    place.write(f"raw/orders/_manifests/{1:020d}.json", b"{")

    with pytest.raises(DataFormatError, match="not a manifest"):
        table().load_state()


def test_a_folder_of_foreign_parquet_files_is_refused(table, place):
    place.write("raw/orders/other.parquet", b"")

    with pytest.raises(InvalidConfigError, match=r"other\.parquet"):
        table().open(ROWS.schema)


def test_rejected_rows_land_beside_the_table_in_the_same_commit(table, request_of, place):
    writer = table()
    writer.open(ROWS.schema)
    writer.write(ROWS)
    writer.quarantine(pa.record_batch({"rule": ["type"], "line": [7]}))
    writer.commit(request_of(0))
    later = table(run_id="run-2")
    later.open(ROWS.schema)
    later.quarantine(pa.record_batch({"rule": [5], "source": ["x.csv"]}))
    later.commit(request_of(1))

    rejects = place.read("raw/orders__quarantine").to_table()

    assert rejects.to_pylist() == [
        {"rule": "type", "line": 7, "source": None},
        {"rule": "5", "line": None, "source": "x.csv"},
    ]
    assert table().load_state().quarantine == {
        "table": "orders__quarantine",
        "namespace": "raw",
        "rows": 1,
        "files": ["run-2-0.parquet"],
    }


def test_a_fenced_run_leaves_no_rejected_rows(table, request_of, place):
    writer, other = table(run_id="run-1"), table(run_id="run-2")
    writer.open(ROWS.schema)
    writer.quarantine(pa.record_batch({"rule": ["type"]}))
    other.commit(request_of(0, "other"))

    with pytest.raises(FencedError):
        writer.commit(request_of(0, "mine"))
    writer.abort()

    assert place.data_files("raw") == set()


def test_after_success_there_is_nothing_but_data_and_manifests(table, request_of, place):
    for generation in range(3):
        writer = table(run_id=f"run-{generation}", options={"partition_by": "name"})
        writer.open(ROWS.schema)
        writer.write(ROWS)
        writer.quarantine(pa.record_batch({"rule": ["type"]}))
        writer.commit(request_of(generation))

    assert set(place.all_files()) == {
        *(f"raw/orders/{path}" for path in place.live_files()),
        *(f"raw/orders__quarantine/{file.path}" for file in place.manifest().quarantine),
        *(f"raw/orders/_manifests/{number:020d}.json" for number in (1, 2, 3)),
    }


def test_after_a_failure_only_files_named_by_the_failed_run_remain(table, request_of, place):
    load(table, request_of, run_id="good")
    before = set(place.all_files())
    failed = table(run_id="failed", buffer_bytes=1, target={"target_file_mb": 0.0001})
    failed.open(ROWS.schema)
    failed.write(ROWS)
    failed.quarantine(pa.record_batch({"rule": ["type"]}))  # and then it is killed

    remaining = set(place.all_files()) - before

    assert len(remaining) > 1
    assert all(PurePosixPath(path).name.lstrip(".").startswith("failed") for path in remaining)
