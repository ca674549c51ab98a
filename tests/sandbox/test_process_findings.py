from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from within import within

from dativo_ingest.sandbox.bubblewrap import Process
from dativo_ingest.sandbox.controls import CONTROLS
from dativo_ingest.sandbox.process_findings import bubblewrap
from dativo_plugin_sdk.errors import SandboxError


@pytest.fixture
def put_on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Give what makes a program of our own the only ``bwrap`` there is, where every user finds it."""
    with TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)

        def put(script: str) -> None:
            program = Path(folder, "bwrap")
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
            monkeypatch.setenv("PATH", folder)

        yield put


def states() -> dict[str, str]:
    return {each.control: each.state for each in Process().findings}


def test_every_control_is_told_of_and_enforced_here() -> None:
    found = states()

    assert set(found) == set(CONTROLS)
    assert set(found.values()) <= {"enforced", "weaker"}
    assert {control for control, state in found.items() if state == "weaker"} <= {"memory", "pids", "cpu"}


def test_without_bubblewrap_it_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SandboxError, match="there is no bwrap on the PATH") as caught:
        bubblewrap()

    assert caught.value.error_code == "SANDBOX_UNAVAILABLE"
    assert "apt-get install bubblewrap" in str(caught.value.hint)
    assert states()["files"] == states()["network"] == "absent"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        pytest.param('echo "bubblewrap 0.7.0"', "is bubblewrap 0.7, which is too old", id="too old"),
        pytest.param('echo "something else"', "does not tell its version", id="another program"),
        pytest.param("exit 1", "does not tell its version", id="broken"),
    ],
)
def test_a_bubblewrap_that_will_not_do_is_refused(put_on_path, script: str, why: str) -> None:
    put_on_path(script)

    with pytest.raises(SandboxError, match=why):
        bubblewrap()


def test_a_machine_that_refuses_namespaces_is_told_of_with_what_bubblewrap_says(put_on_path) -> None:
    put_on_path('[ "$1" = --version ] && echo "bubblewrap 0.8.0" && exit\necho "bwrap: No permissions" >&2\nexit 1')

    found = {each.control: each for each in Process().findings}

    for control in ("files", "processes", "network", "privileges"):
        assert (found[control].state, found[control].how) == ("absent", "bwrap: No permissions")
        assert "user.max_user_namespaces" in str(found[control].remedy)


def test_a_bubblewrap_that_fails_runs_nothing_of_the_plugin(put_on_path, tmp_path: Path) -> None:
    put_on_path('[ "$1" = --version ] && echo "bubblewrap 0.8.0" && exit\necho "bwrap: No permissions" >&2\nexit 1')
    canary = tmp_path / "canary"

    with pytest.raises(SandboxError, match="bwrap: No permissions") as caught:
        within(tmp_path, f"return open({str(canary)!r}, 'w').close()")

    assert caught.value.error_code == "SANDBOX_UNAVAILABLE"
    assert not canary.exists()
