"""Every row lies in a file of its partition, for every transform, whatever order the rows came in."""

import datetime as dt
import decimal
import random
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from iceberg_lake import Lake, numbers
from pyiceberg.conversions import to_bytes
from pyiceberg.expressions import EqualTo, IsNull
from pyiceberg.table import Table

from dativo_ingest.targets.iceberg import data_files
from dativo_plugin_sdk import InvalidConfigError, SchemaValidationError

ROWS = 400
UTC = dt.UTC


def moments(zone: dt.tzinfo | None) -> list[Any]:
    start = dt.datetime(1969, 12, 30, 22, tzinfo=zone)
    return [start + dt.timedelta(minutes=37 * number, microseconds=number) for number in range(ROWS)]


COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "i32": (pa.int32(), [number - 200 for number in range(ROWS)]),
    "i64": (pa.int64(), [(number - 200) * 10**12 for number in range(ROWS)]),
    "u32": (pa.uint32(), [number * 10**7 for number in range(ROWS)]),
    "text": (pa.string(), [f"{'žluť漢字' * (number % 3)}{number % 7}" for number in range(ROWS)]),
    "large": (pa.large_string(), [f"x/={number % 5} ?" for number in range(ROWS)]),
    "bytes": (pa.binary(), [bytes([number % 256, 1, 2]) for number in range(ROWS)]),
    "fixed": (pa.binary(2), [bytes([number % 3, 1]) for number in range(ROWS)]),
    "date": (pa.date32(), [dt.date(1969, 11, 1) + dt.timedelta(days=number % 90) for number in range(ROWS)]),
    "time": (pa.time64("us"), [dt.time(number % 24, 0, 0, 1) for number in range(ROWS)]),
    "ts": (pa.timestamp("us"), moments(None)),
    "tz": (pa.timestamp("ms", tz="Europe/Berlin"), [each.replace(microsecond=0) for each in moments(UTC)]),
    "money": (pa.decimal128(9, 2), [decimal.Decimal(number - 200) / 100 for number in range(ROWS)]),
    "flag": (pa.bool_(), [number % 2 == 0 for number in range(ROWS)]),
}

CASES = [
    "i32", "text", "large", "bytes", "fixed", "date", "time", "money", "flag",
    "identity(i32)",
    "year(date)", "month(date)", "day(date)",
    "year(ts)", "month(ts)", "day(ts)", "hour(ts)",
    "year(tz)", "month(tz)", "day(tz)", "hour(tz)",
    *(f"bucket(4, {name})" for name in ("i32", "i64", "u32", "text", "large", "bytes", "fixed", "date", "time", "ts")),
    "bucket(3, tz)", "bucket(3, money)",
    "truncate(10, i32)", "truncate(1000000000, i64)", "truncate(2, text)", "truncate(3, large)",
    "truncate(1, bytes)", "truncate(50, money)",
]  # fmt: skip


def batches(names: list[str], parts: int = 3) -> list[pa.RecordBatch]:
    """Shuffled rows with nulls, in several batches."""
    order = list(range(ROWS))
    random.Random(7).shuffle(order)
    rows = {"n": pa.array(order, pa.int64())}
    for name in names:
        type_, values = COLUMNS[name]
        rows[name] = pa.array([None if number % 11 == 0 else values[number] for number in order], type_)
    batch = pa.record_batch(rows)
    size = -(-ROWS // parts)
    return [batch.slice(start, size) for start in range(0, ROWS, size)]


def stored(value: Any) -> Any:
    """Give a value as Iceberg's transforms take it."""
    if isinstance(value, dt.datetime):
        epoch = dt.datetime(1970, 1, 1, tzinfo=value.tzinfo)
        return (value - epoch) // dt.timedelta(microseconds=1)
    if isinstance(value, dt.date):
        return (value - dt.date(1970, 1, 1)).days
    if isinstance(value, dt.time):
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 10**6 + value.microsecond
    return value


def assert_each_file_holds_its_partition(table: Table) -> int:
    """Apply pyiceberg's own transforms, value by value, to what the files hold."""
    files = [task.file for task in table.scan().plan_files()]
    for file in files:
        rows = pq.read_table(file.file_path.removeprefix("file://"))
        for position, field in enumerate(table.spec().fields):
            source = table.schema().find_field(field.source_id)
            transform = field.transform.transform(source.field_type)
            found = {transform(stored(value)) for value in rows[source.name].to_pylist()}
            assert found == {file.partition[position]}, (file.file_path, source.name)
    return len(files)


@pytest.mark.parametrize("text", CASES)
def test_rows_are_in_their_partitions(lake: Lake, text: str) -> None:
    name = text.rpartition("(")[2].rpartition(" ")[2].rstrip(")")
    rows = batches([name])

    receipt = lake.load(*rows, options={"partition_by": [text]})

    expected = pa.Table.from_batches(rows).sort_by("n")
    found = lake.rows().sort_by("n")
    assert found["n"].to_pylist() == list(range(ROWS))
    assert found[name].to_pylist() == expected[name].to_pylist()
    with lake.table() as table:
        assert assert_each_file_holds_its_partition(table) == receipt.files > 1
        value = next(each for each in found[name].to_pylist() if each is not None)
        source = table.schema().find_field(name).field_type
        if not isinstance(value, bytes | dt.time | dt.datetime):
            to_bytes(source, stored(value))
            matching = table.scan(row_filter=EqualTo(name, value.isoformat() if name == "date" else value)).to_arrow()
            assert matching.num_rows == found[name].to_pylist().count(value)
        assert table.scan(row_filter=IsNull(name)).to_arrow().num_rows == found[name].null_count


def test_a_uuid_is_a_partition(lake: Lake) -> None:
    values = [uuid.UUID(int=number % 3) for number in range(30)]
    storage = pa.array([value.bytes for value in values], pa.binary(16))
    array = pa.ExtensionArray.from_storage(pa.uuid(), storage)

    lake.load(pa.record_batch({"id": array}), name="a", options={"partition_by": ["bucket(8, id)"]})
    lake.load(pa.record_batch({"id": array}), name="b", options={"partition_by": ["id"]})

    for name in ("a", "b"):
        assert sorted(lake.rows(name)["id"].to_pylist()) == sorted(values)
        with lake.table(name) as table:
            assert assert_each_file_holds_its_partition(table) > 1


def test_several_fields_divide_together_also_two_of_one_column(lake: Lake) -> None:
    rows = batches(["ts", "text", "i32"])

    lake.load(*rows, options={"partition_by": ["month(ts)", "day(ts)", "text", "bucket(2, i32)"]})

    assert lake.values("n") == list(range(ROWS))
    with lake.table() as table:
        assert_each_file_holds_its_partition(table)
        assert [field.name for field in table.spec().fields] == ["ts_month", "ts_day", "text", "i32_bucket_2"]


def test_a_partition_field_never_has_the_name_of_a_column(lake: Lake) -> None:
    batch = pa.record_batch({"d": pa.array([1], pa.date32()), "d_day": [7]})

    lake.load(batch, options={"partition_by": ["day(d)"]})

    assert lake.rows()["d_day"].to_pylist() == [7]
    with lake.table() as table:
        assert [field.name for field in table.spec().fields] == ["d_day_"]


def test_a_field_of_a_struct_is_a_partition(lake: Lake) -> None:
    array = pa.array([{"a": {"b": 1}}, {"a": {"b": 2}}, {"a": None}, None, {"a": {"b": 1}}])

    lake.load(pa.record_batch({"s": array}), options={"partition_by": ["s.a.b"]})

    assert lake.rows().num_rows == 5
    with lake.table() as table:
        found = {task.file.partition[0]: task.file.record_count for task in table.scan().plan_files()}
    assert found == {1: 2, 2: 1, None: 2}


def test_a_partition_column_that_the_stream_lacks_is_null(lake: Lake) -> None:
    lake.load(numbers(1), options={"partition_by": ["text"]})

    lake.load(pa.record_batch({"id": [2]}))

    assert lake.values() == [1, 2]
    with lake.table() as table:
        assert assert_null_partition(table)


def assert_null_partition(table: Table) -> bool:
    return any(task.file.partition[0] is None for task in table.scan().plan_files())


def test_rows_of_more_partitions_than_open_files_all_land(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "MAX_OPEN_FILES", 3)
    rows = batches(["i32"], parts=20)

    lake.load(*rows, options={"partition_by": ["truncate(20, i32)"]}, buffer_bytes=4_000)

    assert lake.values("n") == list(range(ROWS))
    with lake.table() as table:
        assert_each_file_holds_its_partition(table)


def small_batches(of_day: Callable[[int], int]) -> list[pa.RecordBatch]:
    """Forty batches of 2,000 rows, about a megabyte each; ``of_day`` gives the day of a row by its number."""
    numbers = [range(start, start + 2_000) for start in range(0, 80_000, 2_000)]
    return [
        pa.record_batch(
            {
                "id": pa.array(each, pa.int64()),
                "day": pa.array([of_day(number) for number in each], pa.int32()).cast(pa.date32()),
                "text": pa.array([f"{number:x<500}" for number in each]),
            }
        )
        for each in numbers
    ]


def test_many_mixed_partitions_become_one_file_each_and_leave_nothing_else(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    receipt = lake.load(
        *small_batches(lambda number: number % 100), options={"partition_by": ["day(day)"]}, buffer_bytes=8 * 2**20
    )

    assert receipt.files == 100
    assert [path for path in tmp_path.iterdir() if path != lake.folder] == []
    assert lake.values() == list(range(80_000))
    with lake.table() as table:
        assert assert_each_file_holds_its_partition(table) == 100


def test_what_waits_on_disk_is_written_when_it_gets_too_much(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "SPILL_BYTES", 12 * 2**20)

    receipt = lake.load(
        *small_batches(lambda number: number % 20), options={"partition_by": ["day(day)"]}, buffer_bytes=8 * 2**20
    )

    assert receipt.files is not None
    assert 20 < receipt.files <= 100
    assert lake.values() == list(range(80_000))
    with lake.table() as table:
        assert_each_file_holds_its_partition(table)


def test_rows_in_the_order_of_their_partitions_never_wait_on_disk(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "there is no such folder"))

    receipt = lake.load(
        *small_batches(lambda number: number // 1_000), options={"partition_by": ["day(day)"]}, buffer_bytes=8 * 2**20
    )

    assert receipt.files == 80
    assert lake.values() == list(range(80_000))


def test_the_last_row_of_a_key_wins_also_where_rows_waited_on_disk(lake: Lake) -> None:
    first, second = small_batches(lambda number: number % 100), small_batches(lambda number: number % 100)
    later = [batch.set_column(2, "text", pa.repeat(pa.scalar("later"), batch.num_rows)) for batch in second[:3]]

    receipt = lake.load(
        *first,
        *later,
        write="merge",
        primary_key=("id",),
        options={"partition_by": ["day(day)"]},
        buffer_bytes=8 * 2**20,
    )

    assert (receipt.inserted, receipt.updated) == (80_000, 0)
    found = lake.rows()
    assert sorted(found["id"].to_pylist()) == list(range(80_000))
    assert sorted(found.filter(pc.equal(found["text"], "later"))["id"].to_pylist()) == list(range(6_000))


def test_an_overwrite_of_a_partitioned_table_replaces_all_partitions(lake: Lake) -> None:
    lake.load(numbers(1, 2, 3), options={"partition_by": ["id"]})

    lake.load(numbers(9), write="overwrite")

    assert lake.values() == [9]


def test_a_table_keeps_its_partitioning_where_the_job_says_nothing(lake: Lake) -> None:
    lake.load(numbers(1, 2), options={"partition_by": ["bucket(2, id)"]})

    lake.load(numbers(3, 4))
    lake.load(numbers(5), options={"partition_by": ["bucket(2, id)"]})

    assert lake.values() == [1, 2, 3, 4, 5]
    with lake.table() as table:
        assert_each_file_holds_its_partition(table)


@pytest.mark.parametrize("texts", [["bucket(4, id)"], ["id"], ["bucket(2, id)", "text"]])
def test_another_partitioning_than_the_tables_is_refused(lake: Lake, texts: list[str]) -> None:
    lake.load(numbers(1), options={"partition_by": ["bucket(2, id)"]})

    with pytest.raises(SchemaValidationError, match=r"exists with partition_by: \[bucket\(2, id\)\]"):
        lake.load(numbers(2), options={"partition_by": texts})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("day(id)", "cannot be partitioned by day"),
        ("week(id)", "no partition transform"),
        ("bucket(id)", "no partition transform"),
        ("bucket(0, id)", "no partition transform"),
        ("truncate(3000000000, id)", "no partition transform"),
        ("day(other)", "no column 'other'; there are: id, text"),
        ("other", "no column 'other'"),
    ],
)
def test_a_partitioning_that_cannot_be_is_refused(lake: Lake, text: str, said: str) -> None:
    with pytest.raises((InvalidConfigError, SchemaValidationError), match=said):
        lake.load(numbers(1), options={"partition_by": [text]})

    assert not lake.exists()


def test_a_transform_named_twice_is_refused(lake: Lake) -> None:
    with pytest.raises(InvalidConfigError, match="twice"):
        lake.load(numbers(1), options={"partition_by": ["id", "identity(id)"]})
