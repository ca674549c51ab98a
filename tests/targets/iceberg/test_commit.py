"""One commit lands rows and state together, or nothing; the fence decides between two."""

import json
from typing import Any

import pyarrow as pa
import pytest
from iceberg_lake import NUMBERS, REJECTED, Lake, before_a_commit, numbers
from pyiceberg.table.snapshots import Operation

from dativo_ingest.targets.iceberg.embedded import EmbeddedCatalog
from dativo_plugin_sdk import ConcurrencyError, FencedError, ResourceNotFoundError
from dativo_plugin_sdk.tables import CommitRequest


def test_the_first_commit_creates_table_and_namespace_with_rows_and_state(lake: Lake) -> None:
    with lake.run(NUMBERS) as run:
        run.table.write(numbers(1, 2))
        before = lake.exists()
        receipt = run.commit({"at": 2})

    assert not before
    assert run.changes == ["created table raw.t"]
    assert lake.values() == [1, 2]
    assert (receipt.inserted, receipt.deleted, receipt.files, receipt.generation) == (2, 0, 1, 1)
    with lake.table() as table:
        assert receipt.snapshot_id == str(table.current_snapshot().snapshot_id)
        assert len(table.snapshots()) == 1


def test_the_next_run_is_given_the_state_that_was_committed(lake: Lake) -> None:
    receipt = lake.load(numbers(1), state={"at": 1}, run_id="run-1")

    with lake.run(None) as run:
        found = run.before

    assert (found.generation, found.state, found.run_id) == (1, {"at": 1}, "run-1")
    assert found.commit_id == receipt.commit_id


def test_a_table_that_does_not_exist_remembers_nothing_and_nothing_is_created_by_asking(lake: Lake) -> None:
    with lake.run(None) as run:
        found = run.before

    assert (found.generation, found.state) == (0, None)
    assert not lake.folder.exists()


def test_rows_are_appended(lake: Lake) -> None:
    lake.load(numbers(1))

    lake.load(numbers(2), numbers(3))

    assert lake.values() == [1, 2, 3]


def test_the_snapshot_tells_which_run_and_commit_it_is_of(lake: Lake) -> None:
    receipt = lake.load(numbers(1), state={"at": 1}, run_id="run-1")

    with lake.table() as table:
        summary = table.current_snapshot().summary.additional_properties
    assert summary["dativo.commit-id"] == receipt.commit_id
    assert summary["dativo.run-id"] == "run-1"
    assert json.loads(summary["dativo.state.job/t"])["state"] == {"at": 1}


def test_a_large_state_stays_out_of_the_summaries(lake: Lake) -> None:
    lake.load(numbers(1), state={"files": "x" * 10_000})

    with lake.table() as table:
        assert "dativo.state.job/t" not in table.current_snapshot().summary.additional_properties
        assert "x" * 10_000 in table.properties["dativo.state.job/t"]


def test_nothing_is_visible_before_the_commit(lake: Lake) -> None:
    lake.load(numbers(1))

    with lake.run(NUMBERS, buffer_bytes=1) as run:
        run.table.write(numbers(2, 3))
        during = lake.values()
        run.table.abort()

    assert during == [1]
    assert lake.values() == [1]


def test_an_abort_deletes_the_files_of_its_run_alone(lake: Lake) -> None:
    lake.load(numbers(1))
    kept = lake.data_files()

    with lake.run(NUMBERS, buffer_bytes=1) as run:
        run.table.write(numbers(2))
        run.table.quarantine(REJECTED)
        written = len(lake.data_files())
        run.table.abort()
        run.table.abort()

    assert written == 2
    assert lake.data_files() == kept
    assert lake.data_files("t__quarantine") == []


def test_an_abort_after_the_commit_deletes_nothing(lake: Lake) -> None:
    with lake.run(NUMBERS) as run:
        run.table.write(numbers(1))
        run.commit()
        run.table.abort()

    assert lake.values() == [1]


def test_a_run_whose_generation_is_stale_lands_nothing(lake: Lake) -> None:
    lake.load(numbers(1))
    lake.load(numbers(2))

    with lake.run(NUMBERS) as run:
        run.table.write(numbers(3))
        with pytest.raises(FencedError, match=r"raw\.t is at generation 2") as error:
            run.commit(generation=1)
        run.table.abort()

    assert error.value.details["found_generation"] == 2
    assert lake.values() == [1, 2]
    assert len(lake.data_files()) == 2


@pytest.mark.parametrize("write", ["append", "overwrite"])
def test_of_two_runs_with_one_generation_one_lands_and_the_other_is_fenced(lake: Lake, write: Any) -> None:
    lake.load(numbers(1))

    with lake.run(NUMBERS, write=write) as first, lake.run(NUMBERS, write=write) as second:
        first.table.write(numbers(2))
        second.table.write(numbers(3))
        first.commit()
        with pytest.raises(FencedError):
            second.commit()
        second.table.abort()

    assert lake.values() == ([1, 2] if write == "append" else [2])


def test_of_two_runs_that_create_the_table_one_lands_and_the_other_is_fenced(lake: Lake) -> None:
    with lake.run(NUMBERS) as first, lake.run(NUMBERS) as second:
        first.table.write(numbers(2))
        second.table.write(numbers(3))
        first.commit()
        with pytest.raises(FencedError):
            second.commit()

    assert lake.values() == [2]


@pytest.mark.parametrize("write", ["append", "overwrite"])
def test_a_run_that_lands_at_the_last_moment_fences_the_other_inside_its_retry(
    lake: Lake, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.load(numbers(1))

    with lake.run(NUMBERS) as winner, lake.run(NUMBERS, write=write) as loser:
        winner.table.write(numbers(2))
        loser.table.write(numbers(3))
        before_a_commit(monkeypatch, EmbeddedCatalog, winner.commit)
        with pytest.raises(FencedError):
            loser.commit()
        loser.table.abort()

    assert lake.values() == [1, 2]
    assert len(lake.data_files()) == 2


def test_a_table_created_at_the_last_moment_by_another_run_fences_this_one(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lake.run(NUMBERS) as winner, lake.run(NUMBERS) as loser:
        winner.table.write(numbers(2))
        loser.table.write(numbers(3))
        before_a_commit(monkeypatch, EmbeddedCatalog, winner.commit)
        with pytest.raises(FencedError):
            loser.commit()

    assert lake.values() == [2]


def test_a_table_created_by_a_stranger_meanwhile_asks_for_another_run(lake: Lake) -> None:
    with lake.run(NUMBERS) as run:
        run.table.write(numbers(1))
        with lake.catalog() as catalog:
            catalog.create_table("raw.t", NUMBERS)
        with pytest.raises(ConcurrencyError, match="somebody else created it") as error:
            run.commit()
        run.table.abort()

    assert error.value.retryable
    lake.load(numbers(1))
    assert lake.values() == [1]


def test_a_foreign_append_at_the_last_moment_is_kept(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.load(numbers(1))

    def append() -> None:
        with lake.table() as table:
            table.append(pa.Table.from_batches([numbers(50)]))

    with lake.run(NUMBERS) as run:
        run.table.write(numbers(2))
        before_a_commit(monkeypatch, EmbeddedCatalog, append)
        receipt = run.commit()

    assert lake.values() == [1, 2, 50]
    with lake.table() as table:
        assert receipt.snapshot_id == str(table.current_snapshot().snapshot_id)


def test_an_overwrite_replaces_all_rows_in_one_snapshot(lake: Lake) -> None:
    lake.load(numbers(1), numbers(2))
    lake.load(numbers(3))

    receipt = lake.load(numbers(4, 5), write="overwrite")

    assert lake.values() == [4, 5]
    assert (receipt.inserted, receipt.deleted) == (2, 3)
    with lake.table() as table:
        summary = table.current_snapshot().summary
        assert len(table.snapshots()) == 3
        assert summary.operation == Operation.OVERWRITE
        assert (summary["total-records"], summary["total-data-files"], summary["deleted-records"]) == ("2", "1", "3")


def test_an_overwrite_without_rows_empties_the_table(lake: Lake) -> None:
    lake.load(numbers(1))

    receipt = lake.load(schema=NUMBERS, write="overwrite")

    assert lake.values() == []
    assert receipt.deleted == 1


def test_an_overwrite_takes_rows_that_came_at_the_last_moment_too(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.load(numbers(1))

    def append() -> None:
        with lake.table() as table:
            table.append(pa.Table.from_batches([numbers(50)]))

    with lake.run(NUMBERS, write="overwrite") as run:
        run.table.write(numbers(2))
        before_a_commit(monkeypatch, EmbeddedCatalog, append)
        receipt = run.commit()

    assert lake.values() == [2]
    assert receipt.deleted == 2


def test_an_overwrite_of_a_table_with_position_deletes_drops_them(lake: Lake) -> None:
    lake.load(numbers(1, 2, 3))
    with lake.table() as table:
        add_position_delete(table, position=0)
    assert lake.values() == [2, 3]

    receipt = lake.load(numbers(4), write="overwrite")

    assert lake.values() == [4]
    assert receipt.deleted is None
    with lake.table() as table:
        assert table.current_snapshot().summary["total-delete-files"] == "0"


def add_position_delete(table: Any, position: int) -> None:
    """Delete one row of the table's first file as Iceberg's format has it; pyiceberg has no call for this."""
    import pyarrow.parquet as pq
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat, ManifestContent, ManifestWriterV2
    from pyiceberg.table.update.snapshot import _FastAppendFiles

    class Deletes(ManifestWriterV2):
        def content(self) -> ManifestContent:
            return ManifestContent.DELETES

        @property
        def _meta(self) -> dict[str, str]:
            return {**super()._meta, "content": "deletes"}

    class Append(_FastAppendFiles):
        def new_manifest_writer(self, spec: Any) -> Any:
            return Deletes(spec, self.schema(), self.new_manifest_output(), self._snapshot_id, self._compression)

    target = next(iter(table.scan().plan_files())).file
    schema = pa.schema(
        [
            pa.field("file_path", pa.string(), nullable=False, metadata={"PARQUET:field_id": "2147483546"}),
            pa.field("pos", pa.int64(), nullable=False, metadata={"PARQUET:field_id": "2147483545"}),
        ]
    )
    path = f"{table.location()}/data/deletes.parquet"
    local = path.removeprefix("file://")
    pq.write_table(pa.table([[target.file_path], [position]], schema=schema), local)
    file = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=target.partition,
        record_count=1,
        file_size_in_bytes=1,
        spec_id=0,
    )
    with table.transaction() as transaction:
        producer = Append(operation=Operation.OVERWRITE, transaction=transaction, io=table.io)
        producer.append_data_file(file)
        producer.commit()


def test_a_state_alone_is_committed_and_fenced(lake: Lake) -> None:
    lake.load(numbers(1), state={"at": 1})

    with lake.run(None) as first, lake.run(None) as second:
        receipt = first.commit({"at": 2})
        with pytest.raises(FencedError):
            second.commit({"at": 3})

    with lake.run(None) as run:
        assert run.before.state == {"at": 2}
    assert (receipt.inserted, receipt.files) == (0, 0)
    assert lake.values() == [1]


def test_a_state_alone_that_loses_at_the_last_moment_is_fenced(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.load(numbers(1))

    with lake.run(None) as winner, lake.run(None) as loser:
        before_a_commit(monkeypatch, EmbeddedCatalog, lambda: winner.commit({"at": "winner"}))
        with pytest.raises(FencedError):
            loser.commit({"at": "loser"})

    with lake.run(None) as run:
        assert run.before.state == {"at": "winner"}


def test_a_state_alone_in_mode_overwrite_keeps_the_rows(lake: Lake) -> None:
    lake.load(numbers(1))

    with lake.run(None, write="overwrite") as run:
        run.commit({"at": 2})

    assert lake.values() == [1]


def test_a_state_cannot_be_kept_without_a_table(lake: Lake) -> None:
    with lake.run(None) as run, pytest.raises(ResourceNotFoundError, match="does not exist"):
        run.commit({"at": 1})


def test_streams_that_share_a_table_keep_their_states_apart(lake: Lake) -> None:
    lake.load(numbers(1), stream="a", state={"at": "a"})
    lake.load(numbers(2), stream="b", state={"at": "b"})

    with lake.run(None, stream="a") as a, lake.run(None, stream="b") as b:
        assert (a.before.state, a.before.generation) == ({"at": "a"}, 1)
        assert (b.before.state, b.before.generation) == ({"at": "b"}, 1)
    assert lake.values() == [1, 2]


def test_an_empty_run_of_a_new_table_creates_it(lake: Lake) -> None:
    lake.load(numbers(), state={"at": 0})

    assert lake.rows().num_rows == 0
    assert lake.rows().column_names == ["id", "text"]


def test_a_table_that_was_dropped_and_made_anew_is_not_committed_to(lake: Lake) -> None:
    lake.load(numbers(1))
    with lake.run(NUMBERS) as run:
        run.table.write(numbers(2))
        with lake.catalog() as catalog:
            properties = catalog.load_table("raw.t").properties
            catalog.drop_table("raw.t")
            catalog.create_table("raw.t", NUMBERS, properties=properties)

        with pytest.raises(ConcurrencyError, match="created anew"):
            run.commit()


def test_a_partitioning_that_was_changed_meanwhile_is_not_committed_to(lake: Lake) -> None:
    lake.load(numbers(1))
    with lake.run(NUMBERS) as run:
        run.table.write(numbers(2))
        with lake.table() as table, table.update_spec() as update:
            update.add_identity("text")

        with pytest.raises(ConcurrencyError, match="partitioning was changed"):
            run.commit()


def test_a_column_added_meanwhile_by_a_stranger_does_not_disturb(lake: Lake) -> None:
    from pyiceberg.types import LongType

    lake.load(numbers(1))

    def add_column() -> None:
        with lake.table() as table, table.update_schema() as update:
            update.add_column("other", LongType())

    with lake.run(NUMBERS) as run:
        run.table.write(numbers(2))
        add_column()
        run.commit()

    assert lake.values() == [1, 2]
    assert lake.rows().column_names == ["id", "text", "other"]


def test_a_commit_request_is_bound_to_the_generation_it_names(lake: Lake) -> None:
    with lake.run(NUMBERS) as run:
        run.table.write(numbers(1))
        request = CommitRequest("c1", 5, None, "2026-11-22T00:00:00.000+00:00")

        with pytest.raises(FencedError, match="generation 0"):
            run.table.commit(request)
