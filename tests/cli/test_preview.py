import json
from pathlib import Path

import pytest
from command_line import Invoke, WriteJob


def test_the_first_rows_are_shown_and_nothing_is_written(tmp_path: Path, write_job: WriteJob, invoke: Invoke) -> None:
    done = invoke("preview", "--config", write_job(), "--limit", "2")

    assert done.exit_code == 0
    assert done.stdout == "orders: 2 rows\nid  note\n0   row 0\n1   row 1\n\n"
    assert not (tmp_path / "out").exists()


@pytest.fixture
def csv_job(tmp_path: Path) -> Path:
    """Give a job of two rows, one of which breaks its contract."""
    (tmp_path / "orders.csv").write_text("id,note\n1,a\nx,b\n")
    (tmp_path / "orders.odcs.yaml").write_text(
        "apiVersion: v3.1.0\nkind: DataContract\nid: orders\nversion: 1.0.0\nstatus: active\n"
        "schema:\n- name: orders\n  properties:\n"
        "  - {name: id, logicalType: integer, required: true}\n  - {name: note, logicalType: string}\n"
    )
    (tmp_path / "job.yaml").write_text(
        "version: 1\nname: app\nsource: {connector: csv, connection: {path: orders.csv}}\n"
        "target: {connector: parquet, connection: {path: lake}}\nstreams: {orders: {contract: orders.odcs.yaml}}\n"
    )
    return tmp_path / "job.yaml"


def test_json_has_rows_and_rejected_rows(tmp_path: Path, csv_job: Path, invoke: Invoke) -> None:
    done = invoke("preview", "--config", csv_job, "--json")

    document = json.loads(done.stdout)
    assert done.exit_code == 0
    [stream] = document["streams"]
    assert stream["rows"] == [{"id": 1, "note": "a"}]
    assert [(row["column"], row["rule"], row["line"]) for row in stream["rejected"]] == [("id", "type", 3)]
    assert not (tmp_path / "lake").exists()


def test_rejected_rows_are_shown_with_their_reason(csv_job: Path, invoke: Invoke) -> None:
    done = invoke("preview", "--config", csv_job)

    assert "orders: 1 row\nid  note\n1   a\n\n⚠ orders: 1 row rejected\ncolumn  rule  reason" in done.stdout


def test_a_failure_is_one_document_too(write_job: WriteJob, invoke: Invoke) -> None:
    done = invoke("preview", "--config", write_job(options={"raises": {"class": "DataNotFoundError"}}), "--json")

    assert done.exit_code == 66
    assert json.loads(done.stdout)["error"]["error_code"] == "DATA_NOT_FOUND"
