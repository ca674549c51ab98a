"""What deleting rows by their keys does to the files of an Iceberg table, and what others do meanwhile."""

import datetime as dt
import decimal
import uuid
from typing import Any

import pyarrow as pa
import pytest
from iceberg_lake import Gone, Lake, before_a_commit
from iceberg_merges import SCHEMA, gone, merge, rows
from pyiceberg.table.snapshots import Operation

from dativo_ingest.targets.iceberg.embedded import EmbeddedCatalog


def texts(lake: Lake) -> dict[int, str]:
    found = lake.rows()
    return dict(zip(found["id"].to_pylist(), found["text"].to_pylist(), strict=True))


def live(lake: Lake) -> list[tuple[int, int]]:
    """The rows of each live data file, and how many of them delete files take away."""
    with lake.table() as table:
        return sorted(
            (task.file.record_count, sum(each.record_count for each in task.delete_files))
            for task in table.scan().plan_files()
        )


def test_deletes_alone_are_one_snapshot_of_position_deletes_without_a_data_file(lake: Lake) -> None:
    merge(lake, rows(*range(20), text="old"))
    files = len(lake.data_files())

    receipt = merge(lake, gone(1, 2, 99), state={"at": 2})

    assert (receipt.inserted, receipt.updated, receipt.deleted, receipt.files) == (0, 0, 2, 1)
    assert live(lake) == [(20, 2)]
    assert len(lake.data_files()) == files + 1
    with lake.table() as table:
        assert [each.summary.operation for each in table.snapshots()] == [Operation.APPEND, Operation.DELETE]
        assert table.current_snapshot().summary["total-position-deletes"] == "2"
    with lake.run(None) as run:
        assert run.before.state == {"at": 2}


def test_many_deletes_have_the_file_written_anew_and_a_file_without_rows_is_gone(lake: Lake) -> None:
    merge(lake, rows(*range(20), text="old"))
    merge(lake, gone(0))

    many = merge(lake, gone(*range(10)))
    after_many = live(lake)
    every = merge(lake, gone(*range(20)))

    assert (many.deleted, every.deleted) == (9, 10)
    assert after_many == [(10, 0)]
    assert live(lake) == []
    with lake.table() as table:
        summary = table.current_snapshot().summary
    names = ("total-data-files", "total-delete-files", "total-position-deletes", "total-records")
    assert [summary[name] for name in names] == ["0", "0", "0", "0"]


def test_rows_of_the_run_itself_that_are_deleted_leave_no_trace(lake: Lake) -> None:
    receipt = merge(lake, rows(1, 2, text="old"), gone(1, 2), gone(3))

    assert (receipt.inserted, receipt.updated, receipt.deleted) == (0, 0, 0)
    assert live(lake) == []
    assert lake.data_files() == []


def test_a_key_that_is_written_after_its_delete_is_there_and_was_updated(lake: Lake) -> None:
    merge(lake, rows(1, 2, text="old"))

    receipt = merge(lake, gone(1, 2), rows(1), gone(2))

    assert (receipt.inserted, receipt.updated, receipt.deleted) == (0, 1, 1)
    assert texts(lake) == {1: "new 1"}


def test_all_rows_of_a_key_that_somebody_else_doubled_go_and_are_counted(lake: Lake) -> None:
    merge(lake, rows(1, 2, text="old"))
    with lake.table() as table:
        table.append(pa.Table.from_batches([rows(1, text="foreign")]))

    receipt = merge(lake, gone(1))

    assert receipt.deleted == 2
    assert texts(lake) == {2: "old 2"}


KEYS: list[tuple[pa.DataType, list[Any]]] = [
    (pa.uint64(), [1, 2, 2**64 - 1]),
    (pa.large_string(), ["a", "ö" * 40, ""]),
    (pa.binary(3), [b"aaa", b"bbb", bytes(3)]),
    (pa.date32(), [dt.date(2026, 1, day) for day in range(1, 4)]),
    (pa.timestamp("ms", tz="Europe/Berlin"), [dt.datetime(2026, 1, day, tzinfo=dt.UTC) for day in range(1, 4)]),
    (pa.decimal128(12, 2), [decimal.Decimal(each) / 4 for each in (-5, 0, 5)]),
    (pa.uuid(), [uuid.UUID(int=each).bytes for each in (1, 2, 2**127)]),
    (pa.dictionary(pa.int8(), pa.string()), ["a", "b", "c"]),
]


@pytest.mark.parametrize("layout", [[], ["bucket(3, key)"]], ids=["plain", "bucket"])
@pytest.mark.parametrize(("type_", "values"), [pytest.param(*each, id=str(each[0])) for each in KEYS])
def test_deleted_keys_of_every_type_are_found(
    lake: Lake, type_: pa.DataType, values: list[Any], layout: list[str]
) -> None:
    batch = pa.record_batch([pa.array(values, type_), ["old"] * 3], names=["key", "text"])
    options = {"partition_by": layout}
    merge(lake, batch, key=("key",), options=options)

    keys = Gone(pa.record_batch([pa.array(values[1:], type_)], names=["key"]))
    receipt = merge(lake, batch.slice(0, 0), keys, key=("key",), options=options)

    assert receipt.deleted == 2
    assert lake.rows().num_rows == 1


def foreign_append(lake: Lake) -> None:
    with lake.table() as table:
        table.append(pa.Table.from_batches([rows(1, 50, text="foreign")]))


def foreign_rewrite(lake: Lake) -> None:
    with lake.table() as table:
        table.overwrite(table.scan().to_arrow())


def foreign_delete(lake: Lake) -> None:
    with lake.table() as table:
        table.delete("id = 1")


@pytest.mark.parametrize(
    ("act", "deleted", "left"),
    [(foreign_append, 3, {50}), (foreign_rewrite, 2, set()), (foreign_delete, 1, set())],
    ids=["append", "rewrite", "delete"],
)
def test_what_others_do_at_the_last_moment_neither_saves_a_deleted_row_nor_takes_another(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, act: Any, deleted: int, left: set[int]
) -> None:
    merge(lake, rows(*range(30), text="old"), options={"properties": {"commit.retry.min-wait-ms": "1"}})
    before_a_commit(monkeypatch, EmbeddedCatalog, lambda: act(lake))

    receipt = merge(lake, gone(1, 2))

    assert receipt.deleted == deleted
    assert set(texts(lake)) == set(range(30)) - {1, 2} | left


def test_deletes_that_lose_a_race_are_fenced_and_take_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    from dativo_plugin_sdk import FencedError

    merge(lake, rows(*range(10), text="old"))
    before_a_commit(monkeypatch, EmbeddedCatalog, lambda: merge(lake, rows(1, text="other")))

    with lake.run(SCHEMA, write="merge", primary_key=("id",)) as run:
        run.table.delete(gone(1, 2).keys)
        with pytest.raises(FencedError):
            run.commit()
        run.table.abort()

    assert texts(lake) == {each: f"old {each}" for each in range(10)} | {1: "other 1"}
