"""What was seen of a target is remembered beside the job: a target that has less than that is warned of, and counts."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from dativo_ingest.job.load import LoadedJob
from dativo_ingest.run.engine import run_job
from dativo_ingest.run.events import Event, Warning_
from dativo_ingest.run.open_job import open_job
from dativo_ingest.run.plan import RunOptions
from dativo_ingest.run.seen_states import Seen, SeenKey, SeenStates
from dativo_ingest.run.states import get_states, reset_states
from dativo_plugin_sdk import CommittedState, TargetConfig

KEY = SeenKey("app", "orders", "here", "raw.orders")
THREE = CommittedState(3, {"at": 3}, "c3", "r3", "2026-01-03T00:00:00.000+00:00")
SEVEN = CommittedState(7, {"at": 7}, "c7", "r7", "2026-01-07T00:00:00.000+00:00")


@pytest.fixture
def store(tmp_path: Path) -> SeenStates:
    return SeenStates(tmp_path / ".dativo" / "state.db")


@pytest.fixture(params=["iceberg", "parquet", "delta", "duckdb"])
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def job(folder: Path, target: str = "parquet", place: str = "lake") -> LoadedJob:
    key = "warehouse" if target == "iceberg" else "path"
    document = {
        "version": 1,
        "name": "app",
        "source": {"connector": "csv", "connection": {"path": "orders*.csv"}},
        "target": {"connector": target, "connection": {key: place}, "namespace": "raw"},
        "streams": {"orders": {"mode": "incremental"}},
    }
    (folder / "job.json").write_text(json.dumps(document))
    return open_job(folder / "job.json", {})


def ran(loaded: LoadedJob, **options: Any) -> dict[str, Any]:
    told: list[Event] = []
    report = run_job(loaded, RunOptions(**options), told.append, threading.Event())
    assert report["exit_code"] == 0, report["errors"]
    assert [event.message for event in told if isinstance(event, Warning_)] == [
        text.removeprefix("orders: ") for text in report["warnings"]
    ]
    return report


def loaded_twice(folder: Path, target: str = "parquet") -> LoadedJob:
    """Run twice, with a copy of the target as it was after the first run beside it."""
    loaded = job(folder, target)
    (folder / "orders_1.csv").write_text("id\n1\n")
    ran(loaded)
    copy(folder / "lake", folder / "backup")
    (folder / "orders_2.csv").write_text("id\n2\n")
    assert ran(loaded)["warnings"] == []
    return loaded


def copy(place: Path, to: Path) -> None:
    if place.is_dir():
        shutil.copytree(place, to)
    else:
        shutil.copy(place, to)


def remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()


def test_a_target_restored_from_a_copy_is_gone_on_from_with_a_warning(target: str, tmp_path: Path) -> None:
    loaded = loaded_twice(tmp_path, target)
    remove(tmp_path / "lake")
    copy(tmp_path / "backup", tmp_path / "lake")

    report = ran(loaded)
    again = ran(loaded)

    (warning,) = report["warnings"]
    assert warning.startswith("orders: raw.orders has generation 1 (commit ")
    assert "generation 2 (commit " in warning
    assert "dropped or restored from an older copy" in warning
    assert "--full-refresh" in warning
    assert report["streams"][0]["rows"]["written"] == 1
    assert report["streams"][0]["commit"]["generation"] == 2
    assert again["warnings"] == []


def test_a_dropped_table_is_warned_of(target: str, tmp_path: Path) -> None:
    loaded = loaded_twice(tmp_path, target)
    remove(tmp_path / "lake")

    report = ran(loaded)

    assert "raw.orders has no commit of stream orders, but generation 2" in report["warnings"][0]
    assert report["streams"][0]["rows"]["written"] == 2


def test_a_table_made_anew_and_loaded_as_often_is_told_apart(tmp_path: Path) -> None:
    loaded = loaded_twice(tmp_path)
    seen = (tmp_path / ".dativo" / "state.db").read_bytes()
    remove(tmp_path / "lake")
    ran(loaded)
    reset_states(loaded)
    (tmp_path / ".dativo" / "state.db").write_bytes(seen)

    report = ran(loaded)

    assert "the table was made anew or restored, and loaded since" in report["warnings"][0]


def test_another_target_is_warned_of_once(tmp_path: Path) -> None:
    loaded_twice(tmp_path)

    there = ran(job(tmp_path, place="elsewhere"))
    there_again = ran(job(tmp_path, place="elsewhere"))
    back = ran(job(tmp_path))

    assert "was seen before with another table name or connection" in there["warnings"][0]
    assert there_again["warnings"] == back["warnings"] == []


def test_a_target_that_is_ahead_is_gone_on_from_silently(tmp_path: Path) -> None:
    loaded = job(tmp_path)
    (tmp_path / "orders_1.csv").write_text("id\n1\n")
    ran(loaded)
    behind = (tmp_path / ".dativo" / "state.db").read_bytes()
    reset_states(loaded)
    reset_states(loaded)
    (tmp_path / ".dativo" / "state.db").write_bytes(behind)

    report = ran(loaded)

    assert report["warnings"] == []
    assert report["streams"][0]["commit"]["generation"] == 3


def test_what_a_dry_run_sees_is_not_remembered(tmp_path: Path) -> None:
    loaded = loaded_twice(tmp_path)
    remove(tmp_path / "lake")

    dry = ran(loaded, dry_run=True)
    wet = ran(loaded)

    assert dry["warnings"] == wet["warnings"]
    assert len(wet["warnings"]) == 1


def test_without_the_file_nothing_is_missed(tmp_path: Path) -> None:
    loaded = loaded_twice(tmp_path)
    shutil.rmtree(tmp_path / ".dativo")

    report = ran(loaded)

    assert (report["status"], report["warnings"]) == ("no_data", [])


def test_a_file_that_is_none_of_ours_costs_the_cache_alone(tmp_path: Path) -> None:
    loaded = loaded_twice(tmp_path)
    shutil.rmtree(tmp_path / ".dativo")
    (tmp_path / ".dativo").mkdir()
    (tmp_path / ".dativo" / "state.db").write_bytes(b"not a database" * 100)

    report = ran(loaded)

    assert report["status"] == "no_data"
    assert len(report["warnings"]) == 1
    assert "is no state file of ours" in report["warnings"][0]


def test_a_folder_that_cannot_be_written_costs_the_cache_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = SeenStates(tmp_path / "file" / "state.db")

    seen = store.load(KEY)
    store.save(KEY, THREE)

    assert seen == Seen()
    assert store.warning is not None
    assert "cannot be remembered" in store.warning


def test_a_damaged_entry_was_never_seen_and_is_repaired(store: SeenStates, tmp_path: Path) -> None:
    store.save(KEY, SEVEN)
    with sqlite3.connect(tmp_path / ".dativo" / "state.db") as connection:
        connection.execute("UPDATE seen_states SET text = '[1]'")
    connection.close()

    damaged = store.load(KEY)
    store.save(KEY, THREE)

    assert damaged == Seen()
    assert store.load(KEY) == Seen(here=THREE)
    assert store.warning is None


def test_of_other_places_the_one_with_most_commits_is_known(store: SeenStates) -> None:
    for place, state in (("a", THREE), ("b", SEVEN)):
        store.save(SeenKey("app", "orders", place, "raw.orders"), state)
    store.save(SeenKey("app", "customers", "c", "raw.customers"), CommittedState(9, None, "c9"))

    assert store.load(KEY) == Seen(elsewhere=SEVEN)


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        pytest.param(Seen(), THREE, id="never seen"),
        pytest.param(Seen(here=THREE), THREE, id="as it was"),
        pytest.param(Seen(here=THREE), SEVEN, id="ahead"),
        pytest.param(Seen(here=THREE, elsewhere=SEVEN), THREE, id="another place has more"),
        pytest.param(Seen(elsewhere=THREE), SEVEN, id="moved with its table"),
    ],
)
def test_what_has_all_that_was_seen_is_in_no_doubt(seen: Seen, found: CommittedState) -> None:
    assert seen.doubt(KEY, found) is None


def test_no_connection_can_be_read_from_the_file(store: SeenStates, tmp_path: Path) -> None:
    config = TargetConfig(type="iceberg", connection={"uri": "postgres://me:hunter2@db/lake"})
    store.save(SeenKey.of(config, "orders", job="app", stream="orders"), SEVEN)

    files = (tmp_path / ".dativo").iterdir()

    assert not any(b"hunter2" in file.read_bytes() or b"postgres" in file.read_bytes() for file in files)


def test_states_moved_by_hand_are_seen(tmp_path: Path) -> None:
    loaded = loaded_twice(tmp_path)
    reset_states(loaded)
    remove(tmp_path / "lake")

    report = ran(loaded)

    assert "but generation 3" in report["warnings"][0]
    assert get_states(loaded)["orders"]["generation"] == 1


def test_a_state_moved_by_hand_leaves_the_warning_to_the_next_run(tmp_path: Path) -> None:
    loaded = loaded_twice(tmp_path)
    remove(tmp_path / "lake")
    copy(tmp_path / "backup", tmp_path / "lake")
    reset_states(loaded)

    report = ran(loaded)

    assert "the table was made anew or restored, and loaded since" in report["warnings"][0]
