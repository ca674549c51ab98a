from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from dativo_ingest.cli.program import dativo as program

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: orders
name: orders
version: 1.0.0
status: active
schema:
  - name: orders
    properties:
      - {name: id, logicalType: integer, physicalType: bigint, required: true}
      - {name: amount, logicalType: number, physicalType: 'decimal(12,2)'}
      - {name: at, logicalType: timestamp, physicalType: timestamptz}
      - {name: about, logicalType: object, physicalType: json}
"""
FIRST = 'id,amount,at,about\n1,1.50,2026-01-01T00:00:00Z,"{""a"": 1}"\n2,,,\nx,1,,\n'
SECOND = "id,amount,at,about\n2,7.25,,\n3,0.10,,\n"


@pytest.fixture
def dativo(tmp_path, postgres, namespace):
    """Run a command on a job that loads ``in/*.csv``; give its exit code and what it wrote."""
    (tmp_path / "orders.odcs.yaml").write_text(CONTRACT, encoding="utf-8")
    (tmp_path / "in").mkdir()
    job = {
        "version": 1,
        "name": "orders",
        "source": {"connector": "csv", "connection": {"path": "in/*.csv"}},
        "target": {
            "connector": "postgres",
            "connection": postgres.connection,
            "credentials": {"password": "${env:PG_PASSWORD}"},
            "namespace": namespace,
        },
        "streams": {
            "orders": {
                "mode": "incremental",
                "contract": "orders.odcs.yaml",
                "primary_key": ["id"],
                "path": "in/*.csv",
            }
        },
    }
    config = tmp_path / "job.json"
    config.write_text(json.dumps(job), encoding="utf-8")

    def run(*arguments: str):
        command = [*arguments, "--config", str(config)]
        return CliRunner().invoke(program, command, env={"PG_PASSWORD": postgres.password})

    return run


def test_a_job_is_checked_run_twice_and_its_commits_are_told(dativo, tmp_path, ask, postgres):
    (tmp_path / "in" / "1.csv").write_text(FIRST, encoding="utf-8")

    checked = dativo("check", "--json")
    first = dativo("run", "--progress", "none", "--report", "-")
    (tmp_path / "in" / "2.csv").write_text(SECOND, encoding="utf-8")
    second = dativo("run", "--progress", "none", "--report", "-")
    nothing = dativo("run", "--progress", "none", "--report", "-")
    told = dativo("state", "history")

    assert [done.exit_code for done in (checked, first, second, nothing, told)] == [0] * 5, first.output
    assert json.loads(checked.stdout)["status"] == "succeeded"
    counts = [json.loads(done.stdout)["streams"][0]["rows"] for done in (first, second)]
    assert [(each["inserted"], each["updated"], each["quarantined"]) for each in counts] == [(2, 0, 1), (1, 1, 0)]
    assert json.loads(nothing.stdout)["status"] == "no_data"
    assert '"generation": 2' in told.stdout
    assert ask("SELECT id, amount::text, at::text, about ->> 'a' FROM orders ORDER BY id") == [
        (1, "1.50", "2026-01-01 00:00:00+00", "1"),
        (2, "7.25", None, None),
        (3, "0.10", None, None),
    ]
    assert ask("SELECT count(*) FROM orders__quarantine") == [(1,)]
    assert all(postgres.password not in done.output for done in (checked, first, second, told))
