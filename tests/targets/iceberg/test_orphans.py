"""Orphans are files that nothing refers to and that are older than anything that could still need them."""

import shutil
from pathlib import Path

import pytest
from iceberg_cares import aged, content, everything, files_of, sweep, uuid7_at
from iceberg_lake import REJECTED, Lake, numbers
from iceberg_merges import merge, rows

from dativo_ingest.targets.iceberg import quarantine
from dativo_plugin_sdk import ResourceError


def loaded(lake: Lake) -> None:
    """A table with several snapshots, deletes and rejected rows; all of its files are of long ago."""
    merge(lake, rows(*range(30), text="old"), options={"partition_by": ["region"]})
    merge(lake, rows(1, 2, 100), rejected=REJECTED)
    for name in ("t", "t__quarantine"):
        for path in files_of(lake, name):
            aged(path, 30)


def orphan(lake: Lake, name: str, *, days: float = 30) -> Path:
    path = lake.folder / lake.namespace / "t" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"nobody knows me")
    return aged(path, days)


def left_over(lake: Lake, *, days: float = 30, run_id: str | None = None) -> list[Path]:
    """What a run leaves that is killed before its commit."""
    before = files_of(lake)
    with lake.run(numbers(1).schema, name="t", run_id=run_id or uuid7_at(days)) as run:
        run.table.write(numbers(1, 2, 3))
        run.table._files.finish()  # type: ignore[attr-defined]
    return [aged(path, days) for path in files_of(lake) - before]


def test_what_killed_runs_left_goes_and_nothing_else(lake: Lake) -> None:
    loaded(lake)
    before, rows_before = files_of(lake), everything(lake)
    orphans = {
        orphan(lake, f"data/{uuid7_at(30)}-00000-x.parquet"),
        orphan(lake, "data/region=eu/deep/0-x-deletes.parquet"),
        orphan(lake, "metadata/0-x-m0.avro"),
        orphan(lake, "metadata/snap-1-0-x.avro"),
    }

    swept = sweep(lake, days=3)

    assert {Path(each.removeprefix("file://")) for each in swept.files} == orphans
    assert swept.bytes == sum(len(b"nobody knows me") for _ in orphans)
    assert (swept.young, swept.failed) == (0, 0)
    assert files_of(lake) == before
    assert everything(lake) == rows_before
    assert merge(lake, rows(1, 2)).updated == 2


def test_a_dry_run_lists_them_and_changes_no_byte(lake: Lake) -> None:
    loaded(lake)
    orphan(lake, "data/x.parquet")
    before = content(lake.folder)

    would = sweep(lake, days=3, dry_run=True)

    assert content(lake.folder) == before
    assert sweep(lake, days=3) == would
    assert len(would.files) == 1


def test_young_files_stay_and_are_counted(lake: Lake) -> None:
    loaded(lake)
    young = orphan(lake, "data/x.parquet", days=2)

    swept = sweep(lake, days=3)

    assert (swept.files, swept.young) == ([], 1)
    assert young.exists()


def test_files_of_a_run_stay_while_any_of_them_is_young(lake: Lake) -> None:
    loaded(lake)
    run_id = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"
    first = orphan(lake, f"data/{run_id}-00000-a.parquet", days=9)
    last = orphan(lake, f"data/{run_id}-00001-b.parquet", days=1)

    swept = sweep(lake, days=3)

    assert (swept.files, swept.young) == ([], 2)
    assert first.exists()
    assert last.exists()


def test_files_of_a_run_that_is_known_to_be_at_work_stay(lake: Lake) -> None:
    loaded(lake)
    run_id = uuid7_at(9)
    mine = orphan(lake, f"data/{run_id}-00000-a.parquet", days=9)

    assert sweep(lake, days=3, running=run_id).files == []
    assert mine.exists()
    assert len(sweep(lake, days=3).files) == 1


def test_where_runs_take_long_files_must_be_older_than_twice_the_longest(lake: Lake) -> None:
    loaded(lake)
    lake.load(rows(500), run_id=uuid7_at(4))  # it took four days
    six = orphan(lake, "data/x.parquet", days=6)
    nine = orphan(lake, "data/y.parquet", days=9)

    swept = sweep(lake, days=3)

    assert swept.older_than.days == 8
    assert six.exists()
    assert not nine.exists()


def test_what_is_of_no_kind_that_iceberg_writes_and_what_lies_elsewhere_stays(lake: Lake) -> None:
    loaded(lake)
    kept = [
        orphan(lake, "data/_SUCCESS"),
        orphan(lake, "metadata/version-hint.text"),
        orphan(lake, "data/notes.txt"),
        orphan(lake, "x.parquet"),
        orphan(lake, "data2/x.parquet"),
    ]

    assert sweep(lake).files == []
    assert all(path.exists() for path in kept)


def test_rejected_rows_that_wait_for_their_table_stay(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.load(numbers(1), rejected=REJECTED)
    with monkeypatch.context() as killed:
        killed.setattr(quarantine.Quarantine, "publish", lambda *_, **__: None)
        lake.load(numbers(2), rejected=REJECTED)
    for path in files_of(lake, "t__quarantine"):
        aged(path, 30)

    swept = sweep(lake, "t__quarantine")

    assert swept.files == []
    with lake.run(None):  # the next run publishes them
        assert lake.rows("t__quarantine").num_rows == 2
    assert sweep(lake, "t__quarantine").files == []


def test_data_of_a_run_that_never_committed_goes_after_its_time(lake: Lake) -> None:
    lake.load(numbers(1, 2))
    files = left_over(lake, days=30)
    assert len(files) == 1

    swept = sweep(lake, days=3)

    assert len(swept.files) == 1
    assert lake.values() == [1, 2]
    assert not files[0].exists()


def test_old_metadata_files_go_once_the_metadata_log_has_forgotten_them(lake: Lake) -> None:
    properties = {"write.metadata.previous-versions-max": "2"}
    for number in range(6):
        lake.load(numbers(number), options={"properties": properties})

    swept = sweep(lake)

    assert len(swept.files) == 3
    assert all(each.endswith(".metadata.json") for each in swept.files)
    lake.load(numbers(6))
    assert lake.values() == [*range(7)]


def test_a_listing_that_lacks_a_file_of_the_table_deletes_nothing(lake: Lake) -> None:
    loaded(lake)
    kept = orphan(lake, "data/x.parquet")
    (some, *_) = lake.data_files()
    some.rename(some.with_suffix(".away"))

    with pytest.raises(ResourceError, match="is not among the files of its folders"):
        sweep(lake)

    assert kept.exists()


def test_a_table_that_is_reached_by_two_ways_deletes_nothing(lake: Lake, tmp_path: Path) -> None:
    loaded(lake)
    shutil.move(lake.folder / "raw" / "t", tmp_path / "elsewhere")
    (lake.folder / "raw" / "t").symlink_to(tmp_path / "elsewhere")
    with lake.table() as table, table.transaction() as transaction:
        transaction.set_properties({"x": "y"})
        transaction._stage((_location(f"file://{tmp_path / 'elsewhere'}"),))
    before = files_of(lake)

    with pytest.raises(ResourceError, match="said to lie elsewhere"):
        sweep(lake)

    assert files_of(lake) == before
    assert len(everything(lake)) == 31


def _location(location: str) -> object:
    from pyiceberg.table.update import SetLocationUpdate

    return SetLocationUpdate(location=location)


def test_the_files_of_another_table_in_the_same_folders_are_not_touched(lake: Lake) -> None:
    loaded(lake)
    with lake.catalog() as catalog:
        catalog.rename_table("raw.t", "raw.renamed")  # its files stay where they are
    lake.load(numbers(1), name="t")

    with pytest.raises(ResourceError, match="is of another table"):
        sweep(lake)

    assert len(everything(lake, "renamed")) == 31


@pytest.mark.parametrize("prefix", ["file://", ""])
def test_a_warehouse_by_path_and_by_uri_is_one(lake: Lake, prefix: str) -> None:
    lake.connection = {"warehouse": f"{prefix}{lake.folder}"}
    loaded(lake)
    orphan(lake, "data/x.parquet")

    assert len(sweep(lake).files) == 1
    assert len(everything(lake)) == 31
