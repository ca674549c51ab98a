import json
import tempfile
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import Invoke
from jsonschema import validate

from dativo_ingest.cli.doctor_text import doctor_text
from dativo_ingest.run import documents_schema
from dativo_ingest.sandbox import choice
from dativo_ingest.sandbox.controls import CONTROLS, Finding
from dativo_ingest.sandbox.levels import Isolation
from dativo_ingest.sandbox.unconfined import Unconfined


def outcomes(document: dict[str, Any]) -> dict[str, str]:
    (backend,) = document["backends"]
    return {tried["attempt"]: tried["outcome"] for each in backend["controls"] for tried in each["tried"]}


def test_every_control_of_the_process_sandbox_is_tried_and_none_is_got_past(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    done = invoke("doctor", "--backend", "process", "--json")

    document = json.loads(done.stdout)
    validate(document, documents_schema.DOCTOR)
    (backend,) = document["backends"]
    assert done.exit_code == document["exit_code"] == 0, done.output
    assert (backend["works"], backend["default"], backend["isolation"]) == (True, True, "process")
    assert [each["control"] for each in backend["controls"]] == list(CONTROLS)
    assert all(each["tried"] for each in backend["controls"])
    assert "through" not in outcomes(document).values()
    assert outcomes(document)["read a file of another's"] == "blocked"
    assert outcomes(document)["call ptrace"] == "blocked"
    assert outcomes(document)["leave a process that goes on"] == "blocked"
    assert document["machine"]["bubblewrap"]["version"]
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class Boasting(Unconfined):
    """No sandbox that says it is one."""

    isolation: Isolation = "process"
    findings: tuple[Finding, ...] = tuple(Finding(each, "enforced", "trust me") for each in CONTROLS)


@pytest.fixture
def boasting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(choice.BACKENDS, "process", lambda _: Boasting())


@pytest.mark.usefixtures("boasting")
def test_a_sandbox_that_only_says_so_is_found_out(invoke: Invoke) -> None:
    done = invoke("doctor", "--backend", "process", "--json")

    document = json.loads(done.stdout)
    (backend,) = document["backends"]
    states = {each["control"]: each["state"] for each in backend["controls"]}
    assert done.exit_code == 69
    assert not backend["works"]
    # What the engine and the warden hold needs no sandbox; how much of a processor there is depends on the machine.
    proved = dict.fromkeys(CONTROLS, "absent") | dict.fromkeys(("wall", "output"), "enforced")
    assert {**states, "cpu": ""} == {**proved, "cpu": ""}
    assert outcomes(document)["take 640 MiB where it may have 384"] == "through"


def test_where_bubblewrap_is_missing_the_doctor_says_what_to_install_and_tries_nothing(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    done = invoke("doctor", "--backend", "process")

    assert done.exit_code == 69
    assert "✗ process (the default): does not hold all that it must" in done.stdout
    assert "✗ files         absent: there is no bwrap on the PATH" in done.stdout
    assert "→ files, processes, network, privileges: install bubblewrap 0.8 or newer" in done.stdout
    assert "attempt" not in done.stdout


def test_where_there_is_no_container_engine_the_doctor_says_so(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    (tmp_path / "policy.yaml").write_text(
        f"version: 1\ntenants: {{acme: {{sandbox: {{image: 'sha256:{'ab' * 32}'}}}}}}\n"
    )

    done = invoke(
        *("doctor", "--backend", "container", "--mode", "cloud"),
        *("--policy", tmp_path / "policy.yaml", "--tenant", "acme", "--json"),
    )

    document = json.loads(done.stdout)
    validate(document, documents_schema.DOCTOR)
    assert done.exit_code == 69
    assert document["backends"][0]["error"]["error_code"] == "SANDBOX_UNAVAILABLE"
    assert f"{tmp_path}/none.sock" in document["backends"][0]["error"]["message"]


CONTROL = {"control": "files", "state": "enforced", "enough": True, "how": "bubblewrap", "remedy": None}
DOCUMENT: dict[str, Any] = {
    "schema": "dativo.doctor/1",
    "status": "succeeded",
    "mode": "self_hosted",
    "tenant": "default",
    "default": "process",
    "machine": {
        "dativo": "1.0",
        "sdk": "1.0",
        "python": "3.11.7",
        "kernel": "6.1.0",
        "architecture": "x86_64",
        "user": 1000,
        "bubblewrap": {"path": "/usr/bin/bwrap", "version": "0.8.0"},
        "user_namespaces": 100,
        "landlock": None,
        "seccomp": "plugin-v1",
        "cgroup": None,
        "docker_library": None,
        "engine": {
            "kind": "Podman",
            "version": "4.3.1",
            "api": "1.41",
            "socket": "/run/podman.sock",
            "runtimes": ["crun", "runsc"],
            "default_runtime": "crun",
            "rootless": True,
        },
    },
    "backends": [
        {
            "name": "process",
            "default": True,
            "isolation": "process",
            "works": True,
            "error": None,
            "controls": [
                {
                    **CONTROL,
                    "tried": [
                        {"attempt": "read a file", "outcome": "blocked", "why": "no such file"},
                        {"attempt": "write a file", "outcome": "unproven", "why": None},
                    ],
                },
                {
                    **CONTROL,
                    "control": "memory",
                    "state": "weaker",
                    "how": "it is watched",
                    "remedy": "delegate a group",
                    "tried": [],
                },
            ],
        },
    ],
    "exit_code": 0,
}


def test_people_are_shown_the_machine_the_controls_and_what_would_mend_them() -> None:
    validate(DOCUMENT, documents_schema.DOCTOR)

    assert doctor_text(DOCUMENT).splitlines() == [
        "Dativo 1.0, Python 3.11.7, Linux 6.1.0 x86_64, as user 1000",
        "  bubblewrap        0.8.0, /usr/bin/bwrap",
        "  user namespaces   up to 100",
        "  seccomp           plugin-v1",
        "  Landlock          none",
        "  control groups    none that can be written",
        "  container engine  Podman 4.3.1 at /run/podman.sock, rootless; runtimes crun, runsc",
        "",
        "✓ process (the default): holds all that it must, isolation process",
        "  ✓ files   bubblewrap  (1 attempt blocked, 1 attempt unproven)",
        "  ⚠ memory  weaker: it is watched",
        "  → memory: delegate a group",
    ]


def test_who_asks_for_more_is_shown_every_attempt_and_what_stopped_it() -> None:
    lines = doctor_text(DOCUMENT, verbose=True).splitlines()

    at = lines.index("  ✓ files   bubblewrap")
    assert lines[at + 1 : at + 3] == ["      ✓ read a file: blocked: no such file", "      ⚠ write a file: unproven"]


def test_a_default_of_none_is_warned_of() -> None:
    document = {**deepcopy(DOCUMENT), "default": "none", "backends": []}

    assert doctor_text(document).endswith("plugins whose code is trusted run without a sandbox")
