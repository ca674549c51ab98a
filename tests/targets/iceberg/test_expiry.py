"""Expiry forgets old snapshots and deletes what only they needed; everything that is kept can be read."""

from collections.abc import Iterator
from typing import Any

import pytest
from iceberg_cares import compact, content, everything, expire, files_of, sweep
from iceberg_lake import Lake, before_a_commit, numbers
from iceberg_merges import merge, rows

from dativo_ingest.targets.iceberg import expiry
from dativo_ingest.targets.iceberg.embedded import EmbeddedCatalog
from dativo_plugin_sdk import ConcurrencyError, Expired


def at_each_snapshot(lake: Lake) -> dict[int, list[dict[str, Any]]]:
    """What a reader of each snapshot that is kept sees."""
    with lake.table() as table:
        return {
            each.snapshot_id: sorted(table.scan(snapshot_id=each.snapshot_id).to_arrow().to_pylist(), key=repr)
            for each in table.snapshots()
        }


def worn(lake: Lake) -> None:
    merge(lake, rows(*range(40), text="old"), options={"partition_by": ["bucket(2, id)"]})
    for number in range(3):
        merge(lake, rows(number, 100 + number, text=f"merge {number}"))
    compact(lake, min_input_files=2)
    merge(lake, rows(7, text="last"), state={"at": 9})


def test_what_only_old_snapshots_need_goes_and_what_is_kept_can_be_read(lake: Lake) -> None:
    worn(lake)
    before, kept_rows = files_of(lake), at_each_snapshot(lake)

    done = expire(lake, retain_last=2)

    after = at_each_snapshot(lake)
    assert (done.snapshots_removed, done.snapshots_kept, len(after)) == (4, 2, 2)
    assert after == {key: value for key, value in kept_rows.items() if key in after}
    gone = before - files_of(lake)
    assert len([path for path in gone if path.suffix == ".parquet"]) == done.files_removed > 5
    assert len([path for path in gone if path.suffix == ".avro"]) == done.metadata_files_removed > 5
    assert done.failed == 0
    with lake.run(None) as run:
        assert (run.before.generation, run.before.state) == (5, {"at": 9})
    assert merge(lake, rows(1, 2)).updated == 2
    assert [path for path in files_of(lake) if str(path) in sweep(lake, dry_run=True).files] == []


def test_a_dry_run_says_what_would_go_and_changes_no_byte(lake: Lake) -> None:
    worn(lake)
    before = content(lake.folder)

    would = expire(lake, dry_run=True)

    assert content(lake.folder) == before
    assert expire(lake) == would
    assert would.snapshots_removed == 5
    assert would.bytes_removed > 0


def test_young_snapshots_stay_however_many_there_are(lake: Lake) -> None:
    worn(lake)

    assert expire(lake, days=1) == Expired(snapshots_kept=6)


def test_the_last_ones_stay_however_old_they_are(lake: Lake) -> None:
    worn(lake)

    assert expire(lake, retain_last=10) == Expired(snapshots_kept=6)


def test_what_branches_and_tags_need_stays(lake: Lake) -> None:
    lake.load(numbers(1))
    with lake.table() as table:
        table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id, "first").commit()
    lake.load(numbers(2))
    with lake.table() as table:
        second = table.current_snapshot().snapshot_id
        table.manage_snapshots().create_branch(second, "audit", min_snapshots_to_keep=1).commit()
    for number in range(3, 6):
        lake.load(numbers(number), write="overwrite")

    done = expire(lake)

    assert done.snapshots_removed == 2
    with lake.table() as table:
        assert table.scan().to_arrow()["id"].to_pylist() == [5]
        assert sorted(table.refs()) == ["audit", "first", "main"]
        for name, ids in (("first", [1]), ("audit", [1, 2])):
            assert sorted(table.scan().use_ref(name).to_arrow()["id"].to_pylist()) == ids


def test_a_branch_that_asks_for_more_is_given_it(lake: Lake) -> None:
    for number in range(4):
        lake.load(numbers(number))
    with lake.table() as table:
        last = table.current_snapshot().snapshot_id
        table.manage_snapshots().create_branch(last, "long", min_snapshots_to_keep=3).commit()

    assert expire(lake).snapshots_kept == 3


def test_snapshots_that_no_branch_leads_to_any_more_go(lake: Lake) -> None:
    lake.load(numbers(1))
    with lake.table() as table:
        first = table.current_snapshot().snapshot_id
    lake.load(numbers(2))
    with lake.table() as table:
        table.manage_snapshots().set_current_snapshot(first).commit()

    done = expire(lake)

    assert (done.snapshots_removed, done.files_removed) == (1, 1)
    assert lake.values() == [1]


def test_a_run_that_commits_at_the_last_moment_keeps_its_rows(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    worn(lake)
    before_a_commit(monkeypatch, EmbeddedCatalog, lambda: merge(lake, rows(5, 500, text="late")))

    done = expire(lake)

    assert done.snapshots_kept == 1
    found = {each["id"]: each["text"] for each in everything(lake)}
    assert (found[5], found[500], len(found)) == ("late 5", "late 500", 44)


def test_going_back_to_a_snapshot_at_the_last_moment_saves_it(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        lake.load(numbers(number))
    with lake.table() as table:
        first = table.snapshots()[0].snapshot_id

    def go_back() -> None:
        with lake.table() as table:
            table.manage_snapshots().set_current_snapshot(first).commit()

    before_a_commit(monkeypatch, EmbeddedCatalog, go_back)

    expire(lake)

    assert lake.values() == [0]


def test_a_table_that_changes_all_the_time_is_left_as_it_is(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        lake.load(numbers(number))
    later: Iterator[int] = iter(range(10, 1_000))
    forget = expiry._forget

    def late(*arguments: Any) -> bool:
        lake.load(numbers(next(later)))
        return forget(*arguments)

    monkeypatch.setattr(expiry, "_forget", late)
    before = len(at_each_snapshot(lake))

    with pytest.raises(ConcurrencyError, match="all the time"):
        expire(lake)

    assert len(at_each_snapshot(lake)) > before


def test_a_crash_before_the_files_go_leaves_orphans_and_a_whole_table(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    worn(lake)
    before, rows_before = files_of(lake), everything(lake)

    def die(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(expiry, "delete_files", die)
    with pytest.raises(KeyboardInterrupt):
        expire(lake)
    monkeypatch.undo()

    assert before <= files_of(lake)
    assert everything(lake) == rows_before
    assert len(at_each_snapshot(lake)) == 1
    swept = sweep(lake)
    assert len(swept.files) > 10
    assert everything(lake) == rows_before


def test_a_file_that_cannot_be_deleted_is_counted(lake: Lake) -> None:
    lake.load(numbers(1))
    lake.load(numbers(2), write="overwrite")
    (old, _) = sorted(lake.data_files(), key=lambda path: path.stat().st_mtime)
    old.unlink()
    old.mkdir()

    done = expire(lake)

    assert (done.files_removed, done.failed) == (1, 1)
    assert lake.values() == [2]
