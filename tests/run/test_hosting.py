import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import validate

from dativo_ingest.job.load import LoadedJob
from dativo_ingest.plugin_process.found import FoundPlugin
from dativo_ingest.plugin_process.records import ProcessUsage
from dativo_ingest.run import documents_schema
from dativo_ingest.run.hosting import Hosting
from dativo_ingest.run.open_job import open_job
from dativo_ingest.sandbox.levels import Mode
from dativo_ingest.sandbox.manifest import load_manifest
from dativo_ingest.sandbox.policy import load_policy
from dativo_ingest.sandbox.process_policy import PROCESS
from dativo_plugin_sdk.config import SourceConfig
from dativo_plugin_sdk.errors import (
    DataError,
    InsufficientPermissionsError,
    InvalidConfigError,
    PluginExecutionError,
    SandboxError,
)

CANARY = "canary-9f3b"
USAGE = ProcessUsage(cpu_s=1.5, peak_memory_bytes=100, processes=2, bytes_in=10, bytes_out=20, duration_s=3.0)


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    yield
    PROCESS.policy, PROCESS.command, PROCESS.mode = None, "run", "self_hosted"


def job(folder: Path, least: str | None = None, **source: Any) -> LoadedJob:
    (folder / "secrets").mkdir()
    (folder / "secrets" / "shop").write_text(f'{{"key": "{CANARY}"}}')
    path = folder / "job.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "version": 1,
                "name": "orders",
                "tenant": "acme",
                "secrets": {"file": {"directory": "secrets"}},
                "source": {"connector": "shop.py:Shop", **source},
                "target": {"connector": "parquet", "connection": {"path": "out"}},
                "streams": {"orders": {}},
                "sandbox": {"min": least},
            }
        )
    )
    return open_job(path, {"CANARY": CANARY})


def found(folder: Path, manifest: str | None = None) -> FoundPlugin:
    path = folder / "dativo-plugin.yaml"
    if manifest is not None:
        path.write_text(f"api: 1\nname: shop\nversion: 1.0.0\n{manifest}\n")
    return FoundPlugin(
        kind="reader",
        name=str(folder / "shop.py:Shop"),
        file=folder / "shop.py",
        class_name="Shop",
        entry_point=None,
        command=None,
        python=Path("/usr/bin/python3"),
        manifest=load_manifest(path) if manifest is not None else None,
        version="1.0.0",
        requires_sdk=None,
        state_version=1,
        config_version=1,
        sha256="ab" * 32,
    )


def config(loaded: LoadedJob) -> SourceConfig:
    source = loaded.job.source
    return SourceConfig(type=source.connector, connection=source.connection, credentials=source.credentials)


def audit(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def obey(folder: Path, text: str) -> None:
    path = folder / "policy.yaml"
    path.write_text(f"version: 1\n{text}\n")
    PROCESS.policy = load_policy(path)


def test_what_was_granted_is_written_before_and_what_became_of_it_after(tmp_path: Path) -> None:
    loaded, log = job(tmp_path, credentials={"api_key": "${CANARY}"}), tmp_path / ".dativo" / "audit.jsonl"
    hosting = Hosting("run-1")

    with hosting.admitted(loaded, "source", found(tmp_path, "capabilities: {secrets: api_key}"), config(loaded)) as (
        record,
        _,
    ):
        before = audit(log)
        record.started()
        record.ended(USAGE)

    granted, ended = audit(log)
    assert before == [granted]
    assert granted["event"] == "granted"
    assert granted["grant"]["secrets"] == ["api_key"]
    assert (granted["isolation"], granted["controls"]) == (record.isolation, dict(record.controls))
    assert (ended["event"], ended["outcome"], ended["usage"]["cpu_s"]) == ("ended", "ok", 1.5)
    for line in (granted, ended):
        assert (
            line
            | {
                "tenant": "acme",
                "job": "orders",
                "command": "run",
                "run_id": "run-1",
                "end": "source",
                "plugin": "shop",
                "version": "1.0.0",
                "sha256": "ab" * 32,
                "grant_sha256": record.grant.sha256,
            }
            == line
        )
    assert CANARY not in log.read_text()


def test_the_report_says_what_a_plugin_was_granted_and_used(tmp_path: Path) -> None:
    loaded, hosting = job(tmp_path), Hosting("run-1")
    with hosting.admitted(loaded, "source", found(tmp_path, ""), config(loaded)) as (record, _):
        record.started()
        record.greeted(sdk="0.1.0", protocol=1, language="python 3.11.2")
        record.ended(USAGE)
        record.started()
        record.ended(ProcessUsage(0.5, 300, 1, 1, 2, 1.0, signal="SIGKILL", killed="PLUGIN_TIMEOUT"))

    document = hosting.records[0].document()

    validate(document, documents_schema.REPORT["properties"]["plugins"]["items"])
    assert document["usage"] == {
        "cpu_s": 2.0,
        "peak_memory_bytes": 300,
        "bytes_in": 11,
        "bytes_out": 22,
        "processes": 3,
        "starts": 2,
        "throttled_s": 0.0,
        "refused_processes": 0,
    }
    assert (document["outcome"], document["language"]) == ("killed", "python 3.11.2")
    assert (document["isolation"], document["controls"]) == (record.isolation, dict(record.controls))
    assert hosting.isolation == document["isolation"]
    assert hosting.held() == [{key: document[key] for key in hosting.held()[0]}]
    assert document["grant_sha256"] == record.grant.sha256


def test_the_first_error_of_a_plugin_is_the_one_that_is_told(tmp_path: Path) -> None:
    loaded, hosting = job(tmp_path), Hosting()

    with hosting.admitted(loaded, "source", found(tmp_path), config(loaded)) as (record, _):
        record.failed(DataError("first"))
        record.failed(PluginExecutionError("second"))

    ended = audit(tmp_path / ".dativo" / "audit.jsonl")[-1]
    assert (ended["outcome"], ended["error_code"]) == ("failed", "DATA_ERROR")
    assert ended["plugin"] == "shop.py:Shop"


def test_a_refusal_is_in_the_audit_log_too(tmp_path: Path) -> None:
    obey(tmp_path, "tenants: {acme: {network: ['api.x.com:443']}}")
    loaded = job(tmp_path)
    plugin = found(tmp_path, "capabilities: {network: ['api.y.com:443']}")

    with pytest.raises(InsufficientPermissionsError), Hosting().admitted(loaded, "source", plugin, config(loaded)):
        pytest.fail("it was let in")

    (line,) = audit(tmp_path / ".dativo" / "audit.jsonl")
    assert (line["event"], line["error_code"]) == ("refused", "INSUFFICIENT_PERMISSIONS")
    assert line["refused"][0]["asked"] == "api.y.com:443"


def test_the_tenant_of_the_job_decides_whose_terms_count(tmp_path: Path) -> None:
    obey(tmp_path, "defaults: {plugins: {deny: ['*']}}\ntenants: {acme: {plugins: {deny: []}}}")
    loaded = job(tmp_path)

    with Hosting().admitted(loaded, "source", found(tmp_path), config(loaded)) as (record, _):
        pass

    assert record.outcome == "ok"


def test_the_operator_says_where_the_audit_log_goes(tmp_path: Path) -> None:
    obey(tmp_path, "defaults: {audit: logs/audit.jsonl}")
    PROCESS.command = "check"
    loaded = job(tmp_path)

    with Hosting().admitted(loaded, "source", found(tmp_path), config(loaded)):
        pass

    assert [line["command"] for line in audit(tmp_path / "logs" / "audit.jsonl")] == ["check", "check"]
    assert not (tmp_path / ".dativo").exists()


def test_an_audit_log_that_the_operator_asks_for_and_that_cannot_be_written_stops_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    obey(tmp_path, "defaults: {audit: file/audit.jsonl}")
    loaded = job(tmp_path)

    with (
        pytest.raises(InsufficientPermissionsError, match="audit log"),
        Hosting().admitted(loaded, "source", found(tmp_path), config(loaded)),
    ):
        pytest.fail("it was let in")


def test_one_that_nobody_asks_for_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".dativo").write_text("")
    loaded = job(tmp_path)

    with Hosting().admitted(loaded, "source", found(tmp_path), config(loaded)):
        pass

    assert "audit log" in caplog.text


def test_a_check_leaves_nothing_beside_the_job(tmp_path: Path) -> None:
    PROCESS.command = "check"
    loaded = job(tmp_path)

    with Hosting().admitted(loaded, "source", found(tmp_path), config(loaded)):
        pass

    assert not (tmp_path / ".dativo").exists()


def test_the_grant_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dativo.plugins")
    loaded = job(tmp_path)

    with Hosting().admitted(loaded, "source", found(tmp_path), config(loaded)) as (record, _):
        pass

    assert record.grant.sha256 in caplog.text


@pytest.mark.parametrize(
    ("connection", "place"),
    [
        pytest.param({"url": "${secret:shop#key}"}, "source.connection.url", id="a reference to a secret"),
        pytest.param({"api": {"api_key": CANARY}}, "source.connection.api.api_key", id="a key that says so"),
        pytest.param({"urls": [f"https://u:{CANARY}@x.com"]}, "source.connection.urls[0]", id="a password in a URL"),
    ],
)
def test_with_a_manifest_a_secret_beside_the_credentials_is_told(
    connection: dict[str, Any], place: str, tmp_path: Path
) -> None:
    loaded = job(tmp_path, connection=connection)

    with (
        pytest.raises(InvalidConfigError) as failure,
        Hosting().admitted(loaded, "source", found(tmp_path, ""), config(loaded)),
    ):
        pytest.fail("it was let in")

    assert place in str(failure.value)
    assert CANARY not in str(failure.value) + (tmp_path / ".dativo" / "audit.jsonl").read_text()


@pytest.mark.parametrize(
    ("terms", "mode", "least", "says"),
    [
        pytest.param(
            "defaults: {sandbox: {backend: none}}",
            "self_hosted",
            None,
            "policy.yaml:2:22 defaults.sandbox.backend), and its code",
            id="code that nobody trusts",
        ),
        pytest.param(
            "tenants: {acme: {sandbox: {backend: none}}}",
            "cloud",
            None,
            "isolation container (mode cloud), and gets none",
            id="the cloud",
        ),
        pytest.param(
            "defaults: {sandbox: {backend: process}}",
            "self_hosted",
            "container",
            "sandbox.min), and gets process",
            id="a job that asks for more",
        ),
    ],
)
def test_a_plugin_that_cannot_be_held_as_it_must_be_is_refused_before_it_runs(
    terms: str, mode: Mode, least: str | None, says: str, tmp_path: Path
) -> None:
    obey(tmp_path, terms)
    PROCESS.mode = mode
    (tmp_path / "shop.py").write_text("raise RuntimeError('it ran')")
    loaded, hosting = job(tmp_path, least=least), Hosting("run-1")

    with pytest.raises(SandboxError, match=re.escape(says)) as failure:
        hosting.admitted(loaded, "source", found(tmp_path), config(loaded)).__enter__()

    (line,) = audit(tmp_path / ".dativo" / "audit.jsonl")
    assert (line["event"], line["error_code"]) == ("refused", "SANDBOX_UNAVAILABLE")
    assert failure.value.error_code == "SANDBOX_UNAVAILABLE"
    assert not hosting.records


def test_what_is_said_of_a_run_without_plugins_is_that_it_had_none() -> None:
    assert Hosting("run-1").isolation == "built_in"
