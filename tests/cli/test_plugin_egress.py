"""What a denied host becomes: an error where the plugin fails for it, a warning where it goes on without it."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Invoke, WriteJob
from egress_bench import server

PLUGIN = """\
import socket

from dativo_plugin_sdk import BaseReader, ConnectionTestResult


class Crm(BaseReader):
    __version__ = "1.0.0"

    def check_connection(self):
        try:
            self.reach()
        except OSError as error:
            return ConnectionTestResult(False, f"cannot connect: {error}")
        return ConnectionTestResult(True, "connected")

    def extract(self, state_manager=None):
        try:
            said = self.reach()
        except OSError:
            if not self.source_config.options.get("goes_on"):
                raise
            said = "nothing"
        yield [{"said": said}]

    def reach(self):
        host, port = self.source_config.connection["host"].split(":")
        with socket.create_connection((host, int(port)), timeout=20) as peer:
            peer.sendall(b"hello")
            return peer.recv(5).decode()
"""


@pytest.fixture
def crm(tmp_path: Path) -> Path:
    folder = tmp_path / "crm"
    folder.mkdir(mode=0o755)
    (folder / "crm.py").write_text(PLUGIN)
    (folder / "dativo-plugin.yaml").write_text(
        "api: 1\nname: crm-reader\nversion: 1.0.0\ncapabilities: {network: ['localhost:1', 'db.example.com:5432']}\n"
    )
    (tmp_path / "policy.yaml").write_text(
        "version: 1\ndefaults:\n  audit: audit.jsonl\n  network: any\n  sandbox: {backend: process}\n"
    )
    return folder


def job(crm: Path, write_job: WriteJob, host: str, *, goes_on: bool = False) -> Path:
    source = {"connector": f"{crm}/crm.py:Crm", "connection": {"host": host}, "options": {"goes_on": goes_on}}
    target = {"connector": "parquet", "connection": {"path": str(crm.parent / "lake")}, "credentials": {}}
    return write_job(source={**source, "credentials": {}}, target=target)


def audit(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
    return [{key: line.get(key) for key in ("host", "denied", "why")} for line in lines if line["event"] == "egress"]


def test_a_run_that_fails_for_a_denied_host_says_which_and_what_would_allow_it(
    crm: Path, write_job: WriteJob, invoke: Invoke, tmp_path: Path
) -> None:
    path = job(crm, write_job, "api.example.com:443")

    done = invoke(
        "run",
        "-c",
        path,
        "--policy",
        tmp_path / "policy.yaml",
        "--mode",
        "self_hosted",
        "--report",
        tmp_path / "r.json",
    )

    assert done.exit_code == 70, done.output
    report = json.loads((tmp_path / "r.json").read_text())
    (error,) = report["errors"]
    assert (error["error_code"], error["retryable"]) == ("EGRESS_DENIED", False)
    assert error["message"].startswith("the plugin crm-reader was denied api.example.com: it is not granted; it failed")
    assert error["details"]["host"] == "api.example.com"
    assert error["hint"] == (
        f'capabilities.network: ["api.example.com:PORT"]  in {crm}/dativo-plugin.yaml, as far as the operator\'s '
        "policy allows it"
    )
    (plugin,) = report["plugins"]
    assert (plugin["isolation"], plugin["error_code"]) == ("process", "EGRESS_DENIED")
    assert {"host": "api.example.com", "denied": True, "why": "it is not granted"} in [
        {**line, "denied": bool(line["denied"])} for line in audit(tmp_path)
    ]


def test_a_check_that_fails_for_a_denied_address_names_the_key_of_the_policy(
    crm: Path, write_job: WriteJob, invoke: Invoke, tmp_path: Path
) -> None:
    path = job(crm, write_job, "localhost:1")

    done = invoke("check", "-c", path, "--policy", tmp_path / "policy.yaml", "--only", "source", "--json")

    (failed,) = (step for step in json.loads(done.stdout)["checks"] if step["status"] == "fail")
    assert failed["error"]["error_code"] == "EGRESS_DENIED"
    assert "localhost:1: it resolves to " in failed["message"]
    assert "cannot connect" in failed["message"]
    assert failed["error"]["hint"].startswith('private: ["')
    assert "in the operator's policy" in failed["error"]["hint"]


def test_a_denial_that_the_plugin_lives_with_is_a_warning_and_a_line_of_the_audit_log(
    crm: Path, write_job: WriteJob, invoke: Invoke, tmp_path: Path
) -> None:
    path = job(crm, write_job, "telemetry.example.com:443", goes_on=True)

    done = invoke("run", "-c", path, "--policy", tmp_path / "policy.yaml", "--report", tmp_path / "r.json")

    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "r.json").read_text())
    assert "the plugin crm-reader was denied telemetry.example.com: it is not granted" in report["warnings"]
    (plugin,) = report["plugins"]
    assert [each["host"] for each in plugin["egress"]["denied"]] == ["telemetry.example.com"]
    assert [line["host"] for line in audit(tmp_path)] == ["telemetry.example.com"]


def test_a_job_without_a_policy_lets_a_plugin_reach_the_jobs_own_host(
    crm: Path, write_job: WriteJob, invoke: Invoke, tmp_path: Path
) -> None:
    (crm / "dativo-plugin.yaml").write_text(
        "api: 1\nname: crm-reader\nversion: 1.0.0\ncapabilities: {network: ['config:connection.host']}\n"
    )
    with server() as port:
        path = job(crm, write_job, f"localhost:{port}")

        done = invoke("run", "-c", path, "--report", tmp_path / "r.json")

    assert done.exit_code == 0, done.output
    (plugin,) = json.loads((tmp_path / "r.json").read_text())["plugins"]
    assert plugin["grant"]["private"] == [f"localhost:{port}"]
