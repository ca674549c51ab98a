"""A merge replaces the rows of the run's keys and no others, in one snapshot, whatever the table's layout."""

import datetime as dt
import decimal
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from iceberg_lake import REJECTED, Lake, before_a_commit
from iceberg_merges import SCHEMA, merge, rows
from pyiceberg.manifest import DataFileContent
from pyiceberg.table.snapshots import Operation

from dativo_ingest.targets.iceberg.embedded import EmbeddedCatalog
from dativo_ingest.targets.iceberg.merge_keys import KeySet
from dativo_plugin_sdk import (
    ConcurrencyError,
    DataValidationError,
    FencedError,
    InvalidConfigError,
    SchemaValidationError,
)
from dativo_plugin_sdk.tables import Receipt

LAYOUTS = [
    [],
    ["bucket(4, id)"],
    ["region"],
    ["day(at)"],
    ["truncate(1, region)"],
    ["bucket(4, id)", "region"],
]


def texts(lake: Lake) -> dict[int, str]:
    found = lake.rows()
    pairs = list(zip(found["id"].to_pylist(), found["text"].to_pylist(), strict=True))
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def live(lake: Lake) -> list[tuple[int, int]]:
    """The rows of each live data file, and how many of them delete files take away."""
    with lake.table() as table:
        return sorted(
            (task.file.record_count, sum(each.record_count for each in task.delete_files))
            for task in table.scan().plan_files()
        )


def test_the_first_load_is_a_plain_append(lake: Lake) -> None:
    receipt = merge(lake, rows(1, 2))

    assert (receipt.inserted, receipt.updated, receipt.deleted, receipt.files) == (2, 0, 0, 1)
    assert texts(lake) == {1: "new 1", 2: "new 2"}
    with lake.table() as table:
        assert [each.summary.operation for each in table.snapshots()] == [Operation.APPEND]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_rows_of_known_keys_are_replaced_and_the_others_added(lake: Lake, layout: list[str]) -> None:
    options = {"partition_by": layout}
    merge(lake, rows(*range(50), text="old"), options=options)

    receipt = merge(lake, rows(7, 8, 60), options=options, state={"at": 2})

    assert (receipt.inserted, receipt.updated) == (1, 2)
    expected = {each: f"old {each}" for each in range(50)} | {7: "new 7", 8: "new 8", 60: "new 60"}
    assert texts(lake) == expected
    with lake.table() as table:
        assert len(table.snapshots()) == 2
        assert table.current_snapshot().summary.operation == Operation.OVERWRITE
    with lake.run(None) as run:
        assert run.before.state == {"at": 2}


@pytest.mark.parametrize(
    "layout", [["region"], ["day(at)"], ["truncate(1, region)"], ["bucket(4, id)", "region"]], ids=str
)
def test_a_row_that_moves_to_another_partition_is_deleted_from_its_old_one(lake: Lake, layout: list[str]) -> None:
    options = {"partition_by": layout}
    merge(lake, rows(*range(20), text="old"), options=options)

    receipt = merge(lake, rows(3, region="us", day=2), options=options)

    assert (receipt.inserted, receipt.updated) == (0, 1)
    assert texts(lake) == {each: f"old {each}" for each in range(20)} | {3: "new 3"}


def test_the_last_row_of_a_key_within_a_run_wins_whatever_file_and_order_it_went_to(lake: Lake) -> None:
    options = {"partition_by": ["region"], "sort_by": ["text desc"]}

    receipt = merge(
        lake,
        rows(1, 2, 3, text="first"),
        rows(1, text="second", region="us"),
        rows(2, 2, text="third"),
        rows(1, text="last", region="asia"),
        options=options,
    )

    assert (receipt.inserted, receipt.updated) == (3, 0)
    assert texts(lake) == {1: "last 1", 2: "third 2", 3: "first 3"}


def test_duplicates_within_a_run_are_deleted_by_position_where_they_are_few(lake: Lake) -> None:
    merge(lake, rows(*range(20), text="first"), rows(4))

    assert texts(lake)[4] == "new 4"
    assert live(lake) == [(21, 1)]


def test_a_file_of_mostly_replaced_rows_is_written_anew_within_the_run(lake: Lake) -> None:
    merge(lake, rows(*range(20), text="first"), rows(*range(20)))

    assert texts(lake) == {each: f"new {each}" for each in range(20)}
    assert live(lake) == [(20, 0)]
    assert len(lake.data_files()) == 1


def test_few_rows_of_a_file_are_deleted_by_position_and_many_have_it_written_anew(lake: Lake) -> None:
    merge(lake, rows(*range(20), text="old"))
    few = merge(lake, rows(1))
    after_few = live(lake)

    many = merge(lake, rows(*range(5, 15)))

    assert after_few == [(1, 0), (20, 1)]
    assert live(lake) == [(1, 0), (9, 0), (10, 0)]
    assert (few.updated, many.updated, many.inserted) == (1, 10, 0)
    assert texts(lake) == {each: f"{'new' if each == 1 or 5 <= each < 15 else 'old'} {each}" for each in range(20)}


def test_the_summary_counts_rows_and_deletes_and_forgets_those_of_a_file_that_is_written_anew(lake: Lake) -> None:
    merge(lake, rows(*range(20), text="old"))
    merge(lake, rows(1))
    with lake.table() as table:
        before = table.current_snapshot().summary

    merge(lake, rows(*range(5, 15)))

    with lake.table() as table:
        after = table.current_snapshot().summary
        left = table.inspect.delete_files().num_rows
    names = ("total-data-files", "total-delete-files", "total-position-deletes", "total-records")
    assert [before[name] for name in names] == ["2", "1", "1", "21"]
    assert [after[name] for name in names] == ["3", "0", "0", "20"]
    assert left == 0


def test_positions_that_are_deleted_already_are_not_deleted_again(lake: Lake) -> None:
    merge(lake, rows(*range(20), text="old"))

    for number in range(3):
        merge(lake, rows(1, text=f"load {number}"))

    assert texts(lake)[1] == "load 2 1"
    assert live(lake) == [(1, 0), (20, 1)]


def test_a_file_whose_rows_are_all_replaced_is_gone(lake: Lake) -> None:
    merge(lake, rows(1, 2, text="old"))

    merge(lake, rows(1, 2, 3))

    assert live(lake) == [(3, 0)]
    assert texts(lake) == {1: "new 1", 2: "new 2", 3: "new 3"}


def test_delete_files_are_about_one_data_file_and_say_so_in_their_bounds(lake: Lake) -> None:
    merge(lake, rows(*range(20), text="old"))
    merge(lake, rows(2, 5))

    with lake.table() as table:
        task = next(each for each in table.scan().plan_files() if each.delete_files)
        (deletes,) = task.delete_files
        found = pq.read_table(deletes.file_path.removeprefix("file://"))
    assert deletes.content == DataFileContent.POSITION_DELETES
    assert found["file_path"].to_pylist() == [task.file.file_path] * 2
    assert found["pos"].to_pylist() == [2, 5]
    assert [field.metadata[b"PARQUET:field_id"] for field in found.schema] == [b"2147483546", b"2147483545"]
    assert deletes.lower_bounds[2147483546] == deletes.upper_bounds[2147483546] == task.file.file_path.encode()


KEYS: list[tuple[pa.DataType, list[Any]]] = [
    (pa.int32(), [1, 2, 3, 4]),
    (pa.uint64(), [1, 2, 3, 2**64 - 1]),
    (pa.string(), ["a", "b", "ö" * 40, ""]),
    (pa.large_string(), ["a", "b", "c", "d"]),
    (pa.binary(), [b"a", b"b", b"\xff" * 40, b""]),
    (pa.binary(3), [b"aaa", b"bbb", b"\xff\xff\xff", b"\x00\x00\x00"]),
    (pa.date32(), [dt.date(2026, 1, day) for day in range(1, 5)]),
    (pa.time64("us"), [dt.time(hour) for hour in range(1, 5)]),
    (pa.timestamp("us"), [dt.datetime(1969, 1, day, tzinfo=dt.UTC) for day in range(1, 5)]),
    (pa.timestamp("ms", tz="Europe/Berlin"), [dt.datetime(2026, 1, day, tzinfo=dt.UTC) for day in range(1, 5)]),
    (pa.decimal128(12, 2), [decimal.Decimal(each) / 4 for each in (-5, 0, 5, 10)]),
    (pa.uuid(), [uuid.UUID(int=each).bytes for each in (1, 2, 3, 2**127)]),
    (pa.dictionary(pa.int8(), pa.string()), ["a", "b", "c", "d"]),
    (pa.bool_(), [True, False]),
]


@pytest.mark.parametrize("layout", [[], ["key"], ["bucket(3, key)"]], ids=["plain", "identity", "bucket"])
@pytest.mark.parametrize(("type_", "values"), [pytest.param(*each, id=str(each[0])) for each in KEYS])
def test_keys_of_every_type_that_tells_rows_apart_are_found(
    lake: Lake, type_: pa.DataType, values: list[Any], layout: list[str]
) -> None:
    if type_ == pa.bool_() and layout == ["bucket(3, key)"]:
        layout = []  # Iceberg has no buckets of truth values
    schema = pa.schema([("key", type_), ("text", pa.string())])

    def load(keys: list[Any], text: str) -> Receipt:
        batch = pa.record_batch([pa.array(keys, type_), [text] * len(keys)], schema=schema)
        return merge(lake, batch, key=("key",), options={"partition_by": layout})

    load(values, "old")

    receipt = load(values[1:], "new")

    assert (receipt.inserted, receipt.updated) == (0, len(values) - 1)
    assert sorted(lake.rows()["text"].to_pylist()) == ["new"] * (len(values) - 1) + ["old"]


def test_a_key_of_several_columns_is_compared_as_a_whole(lake: Lake) -> None:
    merge(lake, rows(1, 2, 3, text="old"), rows(1, 2, 3, text="old", region="us"), key=("id", "region"))

    receipt = merge(lake, rows(1, 9), rows(2, region="us"), rows(2, region="asia"), key=("region", "id"))

    found = lake.rows().to_pylist()
    assert (receipt.inserted, receipt.updated) == (2, 2)
    assert {(each["id"], each["region"]): each["text"] for each in found} == {
        (1, "eu"): "new 1",
        (2, "eu"): "old 2",
        (3, "eu"): "old 3",
        (9, "eu"): "new 9",
        (1, "us"): "old 1",
        (2, "us"): "new 2",
        (3, "us"): "old 3",
        (2, "asia"): "new 2",
    }
    assert len(found) == 8


def test_rows_without_a_key_are_refused_with_the_column_and_their_number(lake: Lake) -> None:
    batch = pa.record_batch({"id": pa.array([1, None, None], pa.int64()), "text": ["a", "b", "c"]})

    with lake.run(batch.schema, write="merge", primary_key=("id",)) as run:
        with pytest.raises(DataValidationError, match=r"primary_key id is null in 2 of 3 rows"):
            run.table.write(batch)
        run.table.abort()


def test_a_merge_that_cannot_be_is_refused_at_once(lake: Lake) -> None:
    floats = pa.schema([("id", pa.float64())])
    lake.load(rows(1), name="wide")

    with pytest.raises(InvalidConfigError, match="needs primary_key"), lake.run(SCHEMA, write="merge"):
        pass
    with pytest.raises(SchemaValidationError, match="no column key"):
        merge(lake, rows(1), key=("key",))
    with pytest.raises(SchemaValidationError, match="of type double"):
        merge(lake, schema=floats)
    with pytest.raises(SchemaValidationError, match=r"columns that the stream lacks \(region, at\)"):
        merge(lake, schema=pa.schema([("id", pa.int64()), ("text", pa.string())]), name="wide")


def test_a_run_without_rows_moves_the_state_alone(lake: Lake) -> None:
    merge(lake, rows(1), state={"at": 1})

    receipt = merge(lake, schema=SCHEMA, state={"at": 2})

    assert (receipt.inserted, receipt.updated, receipt.files) == (0, 0, 0)
    assert texts(lake) == {1: "new 1"}
    with lake.run(None) as run:
        assert run.before.state == {"at": 2}


def test_rejected_rows_land_beside_a_merge(lake: Lake) -> None:
    merge(lake, rows(1))
    merge(lake, rows(1, 2), rejected=REJECTED)

    assert lake.rows("t__quarantine").num_rows == 1
    assert texts(lake) == {1: "new 1", 2: "new 2"}


def test_a_key_that_has_become_wider_finds_the_rows_of_old_files(lake: Lake) -> None:
    narrow = pa.record_batch({"id": pa.array([1, 2, 3, 4, 5], pa.int32()), "text": ["old"] * 5})
    merge(lake, narrow)

    receipt = merge(lake, pa.record_batch({"id": pa.array([1, 2**40], pa.int64()), "text": ["new"] * 2}))

    assert (receipt.inserted, receipt.updated) == (1, 1)
    assert texts(lake) == {1: "new", 2: "old", 3: "old", 4: "old", 5: "old", 2**40: "new"}


def test_rows_that_somebody_else_wrote_are_found(lake: Lake) -> None:
    merge(lake, rows(1, text="old"))
    with lake.table() as table:
        table.append(pa.Table.from_batches([rows(*range(2, 20), text="foreign")]))
        table.delete("id = 3")

    receipt = merge(lake, rows(2, 3))

    assert (receipt.inserted, receipt.updated) == (1, 1)
    assert texts(lake) == {1: "old 1", 2: "new 2", 3: "new 3"} | {each: f"foreign {each}" for each in range(4, 20)}


def foreign_append(lake: Lake, *ids: int) -> None:
    with lake.table() as table:
        table.append(pa.Table.from_batches([rows(*ids, text="foreign")]))


def foreign_rewrite(lake: Lake) -> None:
    with lake.table() as table:
        table.overwrite(table.scan().to_arrow())


@pytest.mark.parametrize("layout", [[], ["bucket(4, id)"]], ids=str)
def test_a_table_that_is_rewritten_at_the_last_moment_has_the_deletes_made_again(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, layout: list[str]
) -> None:
    options = {"partition_by": layout, "properties": {"commit.retry.min-wait-ms": "1"}}
    merge(lake, rows(*range(30), text="old"), options=options)
    before_a_commit(monkeypatch, EmbeddedCatalog, lambda: foreign_rewrite(lake))

    receipt = merge(lake, rows(1, 2, 40), options=options)

    assert (receipt.inserted, receipt.updated) == (1, 2)
    assert texts(lake) == {each: f"old {each}" for each in range(30)} | {1: "new 1", 2: "new 2", 40: "new 40"}
    with lake.table() as table:
        kept = {each["file_path"] for each in table.inspect.all_files().to_pylist()}
    assert {f"file://{each}" for each in lake.data_files()} == kept


def test_rows_of_our_keys_that_somebody_adds_at_the_last_moment_are_replaced_too(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(lake, rows(*range(30), text="old"))
    before_a_commit(monkeypatch, EmbeddedCatalog, lambda: foreign_append(lake, 50, 51, 52, 53))

    receipt = merge(lake, rows(1, 50))

    assert (receipt.inserted, receipt.updated) == (0, 2)
    assert texts(lake)[50] == "new 50"
    assert texts(lake)[51] == "foreign 51"


def test_a_foreign_commit_that_has_nothing_to_do_with_our_keys_is_rebased_over(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dativo_ingest.targets.iceberg.merge import Merge

    merge(lake, rows(*range(30), text="old"))
    plans = []
    plan = Merge.plan
    monkeypatch.setattr(Merge, "plan", lambda *arguments: plans.append(1) or plan(*arguments))
    before_a_commit(monkeypatch, EmbeddedCatalog, lambda: foreign_append(lake, 50, 51))

    merge(lake, rows(1, 40))

    assert len(plans) == 1
    assert texts(lake) == {each: f"old {each}" for each in range(30)} | {
        1: "new 1",
        40: "new 40",
        50: "foreign 50",
        51: "foreign 51",
    }


def test_a_table_that_others_rewrite_all_the_time_is_given_up_and_left_as_it_is(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(lake, rows(*range(30), text="old"), options={"properties": {"commit.retry.min-wait-ms": "1"}})
    commit_table = EmbeddedCatalog.commit_table

    def interrupted(catalog: EmbeddedCatalog, *arguments: Any) -> Any:
        foreign_rewrite(lake)
        return commit_table(catalog, *arguments)

    monkeypatch.setattr(EmbeddedCatalog, "commit_table", interrupted)

    with lake.run(SCHEMA, write="merge", primary_key=("id",)) as run:
        run.table.write(rows(1))
        with pytest.raises(ConcurrencyError, match="replaced by somebody else"):
            run.commit()
        run.table.abort()

    assert texts(lake) == {each: f"old {each}" for each in range(30)}
    assert not [path for path in lake.data_files() if "-deletes" in path.name]


def test_of_two_merges_with_one_generation_one_lands_and_the_other_is_fenced(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(lake, rows(*range(10), text="old"))
    before_a_commit(monkeypatch, EmbeddedCatalog, lambda: merge(lake, rows(1, text="other")))

    with lake.run(SCHEMA, write="merge", primary_key=("id",)) as run:
        run.table.write(rows(1, 2))
        with pytest.raises(FencedError):
            run.commit()
        run.table.abort()

    assert texts(lake) == {each: f"old {each}" for each in range(10)} | {1: "other 1"}


def test_an_abort_deletes_what_a_merge_has_written(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    merge(lake, rows(*range(10), text="old"))
    kept = lake.data_files()

    def refuse(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(EmbeddedCatalog, "commit_table", refuse)
    with lake.run(SCHEMA, write="merge", primary_key=("id",)) as run:
        run.table.write(rows(1, 2, 2))
        with pytest.raises(Exception, match="no room"):
            run.commit()
        run.table.abort()

    assert lake.data_files() == kept


@pytest.mark.parametrize(
    ("type_", "values", "transform"),
    [
        (pa.timestamp("us"), [dt.datetime(2026, 1, day, day, tzinfo=dt.UTC) for day in range(1, 9)], "day(key)"),
        (pa.timestamp("us"), [dt.datetime(1960, day, 1, tzinfo=dt.UTC) for day in range(1, 9)], "month(key)"),
        (
            pa.timestamp("us", tz="UTC"),
            [dt.datetime(2026, 1, 1, day, tzinfo=dt.UTC) for day in range(1, 9)],
            "hour(key)",
        ),
        (pa.date32(), [dt.date(1966 + day, 1, 1) for day in range(1, 9)], "year(key)"),
        (pa.string(), [f"{'ab'[day % 2]}{day}" for day in range(1, 9)], "truncate(1, key)"),
        (pa.int64(), [-7, -3, 0, 2, 5, 11, 12, 13], "truncate(5, key)"),
    ],
    ids=str,
)
def test_only_partitions_that_may_hold_the_keys_are_read(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, type_: pa.DataType, values: list[Any], transform: str
) -> None:
    def load(keys: list[Any], text: str) -> Receipt:
        batch = pa.record_batch({"key": pa.array(keys, type_), "text": [text] * len(keys)})
        # Files without statistics: what is left to go by are the partitions.
        options = {"partition_by": [transform], "properties": {"write.metadata.metrics.default": "none"}}
        return merge(lake, batch, key=("key",), options=options)

    read = []
    match = KeySet.match
    monkeypatch.setattr(KeySet, "match", lambda *arguments: read.append(1) or match(*arguments))
    load(values, "old")

    receipt = load(values[:1], "new")

    assert (receipt.inserted, receipt.updated) == (0, 1)
    assert len(read) == 1
    assert sorted(lake.rows()["text"].to_pylist()) == ["new", *["old"] * 7]


def test_files_whose_bounds_rule_the_keys_out_are_not_read(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for start in (0, 100, 200):
        merge(lake, rows(*range(start, start + 10), text="old"))
    read = []
    match = KeySet.match
    monkeypatch.setattr(KeySet, "match", lambda *arguments: read.append(1) or match(*arguments))

    receipt = merge(lake, rows(50, 105, 1000))

    assert (receipt.inserted, receipt.updated) == (2, 1)
    assert len(read) == 1
