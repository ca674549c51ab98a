"""State of every target: changes of it alone are fenced, histories tell what the target keeps."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from command_line import PLUGINS

from dativo_ingest.job.load import LoadedJob
from dativo_ingest.run.ends import open_target
from dativo_ingest.run.engine import run_job
from dativo_ingest.run.lease_store import Owner, SqliteLeaseStore
from dativo_ingest.run.open_job import open_job
from dativo_ingest.run.plan import RunOptions
from dativo_ingest.run.run_ids import uuid7
from dativo_ingest.run.states import get_history, get_states, import_states, reset_states, set_state
from dativo_plugin_sdk import (
    CommitRequest,
    ConcurrencyError,
    DataFormatError,
    FencedError,
    InvalidConfigError,
    TableSpec,
)

TARGETS: dict[str, dict[str, Any]] = {
    "iceberg": {"connector": "iceberg", "connection": {"warehouse": "lake"}, "namespace": "raw"},
    "parquet": {"connector": "parquet", "connection": {"path": "lake"}},
    "delta": {"connector": "delta", "connection": {"path": "lake"}},
    "duckdb": {"connector": "duckdb", "connection": {"path": "lake.duckdb"}},
    "plugin": {"connector": f"{PLUGINS}:Writer", "connection": {"path": "lake"}},
}


@pytest.fixture(params=list(TARGETS))
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def job(folder: Path, target: str, name: str = "app", **stream: str) -> LoadedJob:
    (folder / "orders.csv").write_text("id\n1\n2\n")
    (folder / "customers.csv").write_text("id\n3\n")
    path = folder / f"{name}.json"
    document = {
        "version": 1,
        "name": name,
        "source": {"connector": "csv"},
        "target": TARGETS[target],
        "defaults": {"mode": "incremental"},
        "streams": {
            "orders": {"path": "orders*.csv", **stream},
            "customers": {"path": "customers.csv", **stream},
        },
        "lease": {"wait_s": 0},
    }
    path.write_text(json.dumps(document))
    return open_job(path, {})


def ran(loaded: LoadedJob) -> dict[str, Any]:
    report = run_job(loaded, RunOptions(), lambda _event: None, threading.Event())
    assert report["exit_code"] == 0, report["errors"]
    return report


def commit_state(loaded: LoadedJob, generation: int, at: int) -> None:
    spec = TableSpec("orders", loaded.job.target.namespace, loaded.job.name, "orders", uuid7())
    with open_target(loaded) as target:
        target.writer.table(spec).commit(CommitRequest(uuid7(), generation, {"at": at}, "2026-01-01T00:00:00+00:00"))


def test_progress_of_state_alone_is_fenced(target: str, tmp_path: Path) -> None:
    loaded = job(tmp_path, target)
    ran(loaded)
    commit_state(loaded, 1, 1)

    with pytest.raises(FencedError):
        commit_state(loaded, 1, 2)

    orders = get_states(loaded, ("orders",))["orders"]
    assert (orders["generation"], orders["state"]) == (2, {"at": 1})


def test_of_two_changes_begun_together_one_lands(target: str, tmp_path: Path) -> None:
    loaded = job(tmp_path, target)
    ran(loaded)
    spec = TableSpec("orders", loaded.job.target.namespace, "app", "orders", uuid7())
    with open_target(loaded) as end:
        early, late = end.writer.table(spec), end.writer.table(spec)
        assert early.load_state().generation == late.load_state().generation == 1
        early.commit(CommitRequest(uuid7(), 1, {"at": 1}, "2026-01-01T00:00:00+00:00"))

        with pytest.raises(FencedError):
            late.commit(CommitRequest(uuid7(), 1, {"at": 2}, "2026-01-01T00:00:00+00:00"))


def test_the_history_tells_what_the_target_keeps(target: str, tmp_path: Path) -> None:
    loaded = job(tmp_path, target)
    reports = [ran(loaded)]
    (tmp_path / "orders_2.csv").write_text("id\n7\n8\n9\n")
    reports.append(ran(loaded))
    reset_states(loaded, ("orders",))

    found = get_history(loaded)

    commits = found["orders"]["commits"]
    kept = {"iceberg": [3, 2, 1], "parquet": [3, 2, 1], "delta": [3, 2, 1], "duckdb": [3, 2, 1], "plugin": [3]}[target]
    assert [commit["generation"] for commit in commits] == kept
    assert found["orders"]["keeps_history"] is (len(kept) > 1)
    assert len({commit["commit_id"] for commit in commits}) == len(kept)
    assert all(commit["committed_at"] for commit in commits)
    if len(kept) > 1:
        assert [commit["rows"] for commit in commits] == [0, 3, 2]
        assert [commit["run_id"] for commit in commits[1:]] == [report["run_id"] for report in reversed(reports)]
    assert [commit["generation"] for commit in found["customers"]["commits"]] == [1]


def test_what_never_ran_has_no_history(target: str, tmp_path: Path) -> None:
    found = get_history(job(tmp_path, target))

    assert [entry["commits"] for entry in found.values()] == [[], []]


def test_an_import_brings_exported_states_back_and_leaves_other_streams(target: str, tmp_path: Path) -> None:
    loaded = job(tmp_path, target)
    ran(loaded)
    before = get_states(loaded)
    document = {"schema": "dativo.state/1", "job": "app", "streams": before}
    set_state(loaded, "orders", {"version": 1, "files": {}})
    set_state(loaded, "customers", {"version": 1, "files": {}})

    import_states(loaded, document, ("orders",))
    import_states(loaded, document, ("orders",))

    after = get_states(loaded)
    assert after["orders"]["state"] == before["orders"]["state"]
    assert after["orders"]["source_fingerprint"] == before["orders"]["source_fingerprint"] is not None
    assert after["customers"]["state"] == {"version": 1, "files": {}}
    assert (after["orders"]["generation"], after["customers"]["generation"]) == (3, 2)


def test_resetting_one_stream_leaves_the_other(target: str, tmp_path: Path) -> None:
    loaded = job(tmp_path, target)
    ran(loaded)
    before = get_states(loaded)["customers"]

    reset_states(loaded, ("orders",))

    after = get_states(loaded)
    assert after["orders"]["state"] is None
    assert after["customers"] == before


def test_streams_of_one_table_keep_their_states_apart(target: str, tmp_path: Path) -> None:
    loaded = job(tmp_path, target, table="everything", write="append")
    ran(loaded)
    before = get_states(loaded)
    document = {"schema": "dativo.state/1", "job": "app", "streams": before}

    set_state(loaded, "orders", {"version": 1, "files": {}})
    reset_states(loaded, ("orders",))
    import_states(loaded, document, ("orders",))

    after = get_states(loaded)
    assert after["customers"] == before["customers"]
    assert after["orders"]["state"] == before["orders"]["state"]
    assert after["orders"]["generation"] == before["orders"]["generation"] + 3
    assert {each["generation"] for each in get_history(loaded, ("customers",))["customers"]["commits"]} == {1}


def test_another_jobs_states_are_taken_over_only_by_force(tmp_path: Path) -> None:
    old, new = job(tmp_path, "parquet", "old"), job(tmp_path, "parquet", "new")
    ran(old)
    document = {"schema": "dativo.state/1", "job": "old", "streams": get_states(old)}

    with pytest.raises(InvalidConfigError, match="of job old, not of new"):
        import_states(new, document)
    taken = import_states(new, document, force=True)

    assert taken["orders"]["state"] == document["streams"]["orders"]["state"]  # type: ignore[index]


@pytest.mark.parametrize(
    "document",
    [
        pytest.param([], id="no object"),
        pytest.param({"schema": "dativo.report/1", "job": "app", "streams": {}}, id="another document"),
        pytest.param({"schema": "dativo.state/1", "job": "app", "streams": []}, id="no streams"),
        pytest.param({"schema": "dativo.state/1", "job": "app", "streams": {"orders": {}}}, id="no state"),
        pytest.param({"schema": "dativo.state/1", "job": "app", "streams": {"orders": {"state": 7}}}, id="a number"),
    ],
)
def test_what_is_no_document_of_states_is_refused(document: object, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError):
        import_states(job(tmp_path, "parquet"), document)


def test_states_do_not_move_while_a_run_is_at_work(tmp_path: Path) -> None:
    loaded = job(tmp_path, "parquet")
    ran(loaded)
    store = SqliteLeaseStore(tmp_path / ".dativo" / "state.db")
    store.take(["app/orders"], Owner("theirs", "elsewhere", 7, "", ""), ttl_s=60, steal=False)

    with pytest.raises(ConcurrencyError, match="run theirs"):
        reset_states(loaded)
    moved = reset_states(loaded, ("customers",))

    assert moved["customers"]["state"] is None
    assert get_states(loaded)["orders"]["state"] is not None
