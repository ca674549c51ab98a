"""Sort order, file sizes, compression and properties are what the job says, else what the table says."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from iceberg_lake import Lake, numbers

from dativo_plugin_sdk import InvalidConfigError, SchemaValidationError

MIXED = pa.record_batch(
    {
        "id": pa.array([3, None, 1, 2, 2], pa.int64()),
        "x": pa.array([1.0, 2.0, math.nan, None, 5.0], pa.float64()),
        "n": pa.array([0, 1, 2, 3, 4], pa.int64()),
    }
)


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["id"], [1, 2, 3, 4, 0]),
        (["id desc"], [0, 3, 4, 2, 1]),
        (["id asc nulls last"], [2, 3, 4, 0, 1]),
        (["id DESC NULLS FIRST"], [1, 0, 3, 4, 2]),
        (["x"], [3, 0, 1, 4, 2]),
        (["x desc"], [2, 4, 1, 0, 3]),
        (["id nulls last", "x desc nulls first"], [2, 3, 4, 0, 1]),
        (["id nulls last", "n desc"], [2, 4, 3, 0, 1]),
    ],
    ids=str,
)
def test_rows_of_a_file_are_sorted(lake: Lake, texts: list[str], order: list[int]) -> None:
    lake.load(MIXED, options={"sort_by": texts})

    (file,) = lake.data_files()
    assert pq.read_table(file)["n"].to_pylist() == order
    with lake.table() as table:
        assert len(table.sort_order().fields) == len(texts)
        assert [task.file.sort_order_id for task in table.scan().plan_files()] == [table.sort_order().order_id]


def test_a_file_of_several_row_groups_is_not_called_sorted(lake: Lake) -> None:
    lake.load(MIXED, MIXED, options={"sort_by": ["id"]}, buffer_bytes=1)

    (file,) = lake.data_files()
    assert pq.read_metadata(file).num_row_groups == 2
    with lake.table() as table:
        assert [task.file.sort_order_id for task in table.scan().plan_files()] == [None]


def test_another_sort_order_than_the_tables_is_refused(lake: Lake) -> None:
    lake.load(numbers(1), options={"sort_by": ["id"]})
    lake.load(numbers(2), options={"sort_by": ["id asc"]})

    with pytest.raises(SchemaValidationError, match=r"exists with sort_by: \[id asc nulls first\]"):
        lake.load(numbers(3), options={"sort_by": ["id desc"]})


def test_sorting_by_what_is_not_there_or_has_no_order_is_refused(lake: Lake) -> None:
    with pytest.raises(SchemaValidationError, match="no column 'nope'"):
        lake.load(numbers(1), options={"sort_by": "nope desc"})
    with pytest.raises(SchemaValidationError, match="has no order"):
        lake.load(pa.record_batch({"l": [[1]]}), options={"sort_by": "l"})


def test_a_file_is_closed_when_it_is_large_enough(lake: Lake) -> None:
    rows = 200_000
    generator = pa.array([(number * 2654435761) % 2**63 for number in range(rows)], pa.int64())
    batch = pa.record_batch({"id": generator})

    receipt = lake.load(
        *[batch.slice(start, 10_000) for start in range(0, rows, 10_000)],
        options={"target_file_mb": 1, "compression": "none"},
        buffer_bytes=400_000,
    )

    sizes = [file.stat().st_size for file in lake.data_files()]
    assert receipt.files == len(sizes) == 2
    assert receipt.bytes_written == sum(sizes)
    assert max(sizes) < 1.2 * 2**20
    assert lake.rows().num_rows == rows


@pytest.mark.parametrize(
    ("asked", "found"), [(None, "ZSTD"), ("snappy", "SNAPPY"), ("gzip", "GZIP"), ("none", "UNCOMPRESSED")]
)
def test_pages_are_packed_as_the_job_says_and_the_table_remembers(lake: Lake, asked: str | None, found: str) -> None:
    batch = pa.record_batch({"id": pa.array([1] * 1000, pa.int64())})

    lake.load(batch, options={"compression": asked} if asked else {})
    lake.load(batch)

    for file in lake.data_files():
        assert pq.read_metadata(file).row_group(0).column(0).compression == found


def test_properties_are_set_at_creation_and_later(lake: Lake) -> None:
    lake.load(numbers(1), options={"properties": {"owner": "me", "write.metadata.previous-versions-max": 5}})

    lake.load(numbers(2), options={"properties": {"owner": "you", "format-version": 2}})

    with lake.table() as table:
        assert table.properties["owner"] == "you"
        assert table.properties["write.metadata.previous-versions-max"] == "5"
        assert table.properties["write.parquet.compression-codec"] == "zstd"


@pytest.mark.parametrize("properties", [{"format-version": "3"}, {"dativo.state.x": "{}"}])
def test_properties_that_are_not_the_jobs_to_set_are_refused(lake: Lake, properties: dict[str, str]) -> None:
    with pytest.raises(InvalidConfigError):
        lake.load(numbers(1), options={"properties": properties})


def test_manifests_are_put_together_where_the_table_asks_for_it(lake: Lake) -> None:
    merge = {"commit.manifest-merge.enabled": "true", "commit.manifest.min-count-to-merge": "2"}

    for number in range(4):
        lake.load(numbers(number), name="merged", options={"properties": merge})
        lake.load(numbers(number), name="plain")

    assert lake.values(name="merged") == lake.values(name="plain") == [0, 1, 2, 3]
    with lake.table("merged") as merged, lake.table("plain") as plain:
        assert len(merged.inspect.manifests()) < len(plain.inspect.manifests()) == 4


def test_files_carry_the_runs_id_and_lie_under_the_tables_data_folder(lake: Lake) -> None:
    lake.load(numbers(1), run_id="run-7")

    (file,) = lake.data_files()
    assert file.name.startswith("run-7-00000-")


def test_object_storage_layout_is_honoured(lake: Lake) -> None:
    properties = {"write.object-storage.enabled": "true"}

    lake.load(numbers(1), options={"partition_by": ["id"], "properties": properties})

    (file,) = lake.data_files()
    assert "id=1" in file.parts
    assert file.parent.parent.name != "data"
    assert lake.values() == [1]


def test_a_table_of_a_dotted_namespace_is_found_where_it_is_expected(lake: Lake) -> None:
    lake.namespace = "raw.app.eu"

    lake.load(numbers(1))
    lake.load(numbers(2))

    assert lake.values() == [1, 2]
    with lake.catalog() as catalog:
        assert catalog.namespace_exists("raw.app")
        assert catalog.list_tables("raw.app.eu") == [("raw", "app", "eu", "t")]


@pytest.mark.parametrize(
    ("namespace", "name"), [("raw", ".."), ("raw", "."), ("raw", "a/b"), ("raw/eu", "t"), ("raw", "\0")]
)
def test_a_name_that_would_lead_out_of_its_folder_is_refused(lake: Lake, namespace: str, name: str) -> None:
    lake.namespace = namespace

    with pytest.raises(InvalidConfigError, match="cannot be a folder of the warehouse"):
        lake.load(numbers(1), name=name)

    assert isinstance([*lake.walk(name=name).values()][-1], InvalidConfigError)


def test_statistics_let_readers_skip_files(lake: Lake) -> None:
    lake.load(numbers(1, 2, 3))
    lake.load(numbers(100, 200))

    with lake.table() as table:
        assert len(list(table.scan(row_filter="id > 50").plan_files())) == 1
        assert len(list(table.scan(row_filter="id > 500").plan_files())) == 0
        assert table.inspect.files()["record_count"].to_pylist() == [2, 3]
