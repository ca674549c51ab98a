"""What the engine adds to a target's care: advice, and the runs that are at work."""

from pathlib import Path

import pytest

from dativo_ingest.run.lease_store import Owner, SqliteLeaseStore
from dativo_ingest.run.table_care import advice
from dativo_plugin_sdk import TableHealth


def health(**facts: int) -> TableHealth:
    known = {"files": 20, "small_files": 0, "bytes": 1, "rows": 100, "delete_files": 0, "deleted_rows": 0}
    more = {"most_deletes": 0, "snapshots": 1, "manifests": 1, "target_file_bytes": 1}
    return TableHealth(oldest_snapshot_at=None, **{**known, **more, **facts})


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param({}, [], id="healthy"),
        pytest.param(
            {"delete_files": 240, "files": 16, "most_deletes": 15, "deleted_rows": 2},
            ["compact: 240 delete files over 16 data files, 2.0% of the stored rows are deleted"],
            id="many delete files",
        ),
        pytest.param(
            {"delete_files": 1, "most_deletes": 1, "deleted_rows": 25},
            ["compact: 1 delete files over 20 data files, 20.0% of the stored rows are deleted"],
            id="many deleted rows",
        ),
        pytest.param({"small_files": 12}, ["compact: 12 of 20 data files are small"], id="small files"),
        pytest.param({"manifests": 50}, ["compact: 50 manifests"], id="manifests"),
        pytest.param({"snapshots": 100}, ["expire: 100 snapshots"], id="snapshots"),
    ],
)
def test_advice_names_what_would_do_good_and_why(facts: dict[str, int], expected: list[str]) -> None:
    assert advice(health(**facts)) == expected


def test_runs_at_work_are_those_whose_lease_lives(tmp_path: Path) -> None:
    store = SqliteLeaseStore(tmp_path / ".dativo" / "state.db")
    nobody = store.at_work()
    made = (tmp_path / ".dativo").exists()
    store.take(["job/a"], Owner.here("at-work"), ttl_s=60, steal=False)
    store.take(["job/b"], Owner.here("expired"), ttl_s=0, steal=False)

    assert (nobody, made) == (frozenset(), False)
    assert store.at_work() == {"at-work"}
