import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Invoke


@pytest.fixture
def job(tmp_path: Path, invoke: Invoke) -> Path:
    """Give an incremental job that has run once."""
    (tmp_path / "orders.csv").write_text("id\n1\n2\n")
    path = tmp_path / "job.yaml"
    path.write_text(
        "version: 1\nname: app\nsource: {connector: csv, connection: {path: orders.csv}}\n"
        "target: {connector: parquet, connection: {path: lake}}\nstreams: {orders: {mode: incremental}}\n"
    )
    assert invoke("run", "-c", path).exit_code == 0
    return path


def states(stdout: str) -> dict[str, Any]:
    document = json.loads(stdout)
    assert (document["schema"], document["job"]) == ("dativo.state/1", "app")
    found: dict[str, Any] = document["streams"]
    return found


def test_get_shows_what_the_target_remembers(job: Path, invoke: Invoke) -> None:
    done = invoke("state", "get", "-c", job)

    orders = states(done.stdout)["orders"]
    assert (done.exit_code, orders["generation"]) == (0, 1)
    assert orders["state"]


def test_set_takes_an_argument_and_a_run_goes_on_from_it(job: Path, invoke: Invoke) -> None:
    before = states(invoke("state", "get", "-c", job).stdout)["orders"]["state"]
    invoke("state", "reset", "-c", job, "--yes")

    done = invoke("state", "set", "-c", job, "--stream", "orders", json.dumps(before))
    ran = invoke("run", "-c", job, "--report", "-")

    assert states(done.stdout)["orders"]["state"] == before
    assert json.loads(ran.stdout)["status"] == "no_data"


def test_set_reads_stdin(job: Path, invoke: Invoke) -> None:
    done = invoke("state", "set", "-c", job, "--stream", "orders", "-", stdin='{"version": 1, "files": {}}')

    assert states(done.stdout)["orders"]["state"] == {"version": 1, "files": {}}


def test_reset_makes_the_next_run_read_everything(job: Path, invoke: Invoke) -> None:
    done = invoke("state", "reset", "-c", job, "--stream", "orders", "--yes")
    ran = invoke("run", "-c", job, "--report", "-")

    assert states(done.stdout)["orders"]["state"] is None
    assert json.loads(ran.stdout)["streams"][0]["rows"]["read"] == 2


def test_reset_needs_a_yes_where_nobody_can_be_asked(job: Path, invoke: Invoke) -> None:
    done = invoke("state", "reset", "-c", job)

    assert done.exit_code == 2
    assert states(invoke("state", "get", "-c", job).stdout)["orders"]["state"]


def test_a_stream_that_is_not_in_the_job_is_a_configuration_error(job: Path, invoke: Invoke) -> None:
    done = invoke("state", "set", "-c", job, "--stream", "order", "{}")

    assert done.exit_code == 78
    assert "orders" in done.stderr


def test_what_export_prints_import_takes(job: Path, tmp_path: Path, invoke: Invoke) -> None:
    exported = invoke("state", "export", "-c", job, "--stream", "orders")
    (tmp_path / "states.json").write_text(exported.stdout)
    invoke("state", "reset", "-c", job, "--yes")

    done = invoke("state", "import", "-c", job, tmp_path / "states.json")
    again = invoke("state", "import", "-c", job, "-", stdin=exported.stdout)
    ran = invoke("run", "-c", job, "--report", "-")

    assert states(done.stdout)["orders"]["state"] == states(exported.stdout)["orders"]["state"]
    assert states(again.stdout)["orders"]["generation"] == states(done.stdout)["orders"]["generation"] == 3
    assert json.loads(ran.stdout)["status"] == "no_data"


def test_import_refuses_another_jobs_states_without_force(job: Path, invoke: Invoke) -> None:
    document = json.loads(invoke("state", "export", "-c", job).stdout) | {"job": "other"}

    refused = invoke("state", "import", "-c", job, "-", stdin=json.dumps(document))
    forced = invoke("state", "import", "-c", job, "--force", "-", stdin=json.dumps(document))

    assert (refused.exit_code, forced.exit_code) == (78, 0)
    assert "--force" in refused.stderr


def test_import_wants_json(job: Path, invoke: Invoke) -> None:
    assert invoke("state", "import", "-c", job, "-", stdin="nothing").exit_code == 2


def test_history_lists_commits(job: Path, invoke: Invoke) -> None:
    invoke("state", "reset", "-c", job, "--yes")

    done = invoke("state", "history", "-c", job)

    document = json.loads(done.stdout)
    assert document["schema"] == "dativo.state_history/1"
    assert [commit["rows"] for commit in document["streams"]["orders"]["commits"]] == [0, 2]


def test_a_state_made_with_another_source_is_warned_of(job: Path, invoke: Invoke) -> None:
    (job.parent / "orders.csv").rename(job.parent / "moved.csv")
    job.write_text(job.read_text().replace("orders.csv", "moved.csv"))

    ran = json.loads(invoke("run", "-c", job, "--report", "-").stdout)
    again = json.loads(invoke("run", "-c", job, "--report", "-").stdout)

    assert "dativo state reset --stream orders" in ran["warnings"][0]
    assert again["warnings"] == []
