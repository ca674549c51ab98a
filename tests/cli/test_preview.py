import json
from pathlib import Path

from command_line import Invoke, WriteJob


def test_the_first_rows_are_shown_and_nothing_is_written(tmp_path: Path, write_job: WriteJob, invoke: Invoke) -> None:
    done = invoke("preview", "--config", write_job(), "--limit", "2")

    assert done.exit_code == 0
    assert done.stdout == "orders: 2 rows\nid  note\n0   row 0\n1   row 1\n\n"
    assert not (tmp_path / "out").exists()


def test_json_has_rows_and_rejected_rows(tmp_path: Path, invoke: Invoke) -> None:
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

    done = invoke("preview", "--config", tmp_path / "job.yaml", "--json")

    document = json.loads(done.stdout)
    assert done.exit_code == 0
    [stream] = document["streams"]
    assert stream["rows"] == [{"id": 1, "note": "a"}]
    assert [row["column"] for row in stream["rejected"]] == ["id"]
    assert not (tmp_path / "lake").exists()


def test_a_failure_is_one_document_too(write_job: WriteJob, invoke: Invoke) -> None:
    done = invoke("preview", "--config", write_job(options={"raises": {"class": "DataNotFoundError"}}), "--json")

    assert done.exit_code == 66
    assert json.loads(done.stdout)["error"]["error_code"] == "DATA_NOT_FOUND"
