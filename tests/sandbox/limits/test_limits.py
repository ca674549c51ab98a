"""What becomes of a plugin that takes too much, in each kind of sandbox; without one, nothing but its output is held.

Each kind has a process of its own (`host`), which does all acts (`greedy`) once; the tests look at what it says.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bubblewrap
import container_engines
import pytest

HERE = Path(__file__).parent
USER = 12345
KINDS: dict[str, dict[str, Any]] = {
    "none": {"backend": "none"},
    "process, as root": {"backend": "process"},
    "process, as a user": {"backend": "process", "user": USER},
    "process, as a user with groups": {"backend": "process", "user": USER, "delegated": True},
    "Docker": {"backend": "container", "engine": "docker"},
}
HELD = [kind for kind in KINDS if kind != "none"]
GROUPED = ["process, as root", "process, as a user with groups"]
LONGEST_S = 120
Acts = Callable[[str], dict[str, Any]]
MIB = 2**20


@pytest.fixture(scope="session")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Acts:
    """Give what became of each act in a kind of sandbox; all workers of a test run share it."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder

    @functools.cache
    def of_kind(kind: str) -> dict[str, Any]:
        with Path(folder, f"limits-{list(KINDS).index(kind)}.json").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            if not file.read(1):
                json.dump(done(kind), file)
                file.flush()
            file.seek(0)
            found: dict[str, Any] = json.load(file)
        return found

    return of_kind


def done(kind: str) -> dict[str, Any]:
    """Have all acts done."""
    with contextlib.ExitStack() as using:
        folder = using.enter_context(tempfile.TemporaryDirectory(dir="/tmp", prefix="dativo-limits-"))
        Path(folder).chmod(0o755)
        order = {"user": None, "delegated": False, "runtime": None, **KINDS[kind], "folder": folder}
        if "engine" in order:
            engine = using.enter_context(container_engines.running(order["engine"]))
            order |= {"engine": engine.url, "image": engine.image}
        environment = {"PATH": f"{bubblewrap.programs()}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [
            *("unshare", "--mount", "--propagation", "private"),
            *(sys.executable, HERE / "host.py", json.dumps(order)),
        ]
        host = subprocess.run(command, env=environment, capture_output=True, timeout=LONGEST_S, check=False)
    assert host.returncode == 0, host.stderr.decode(errors="replace")[-5000:]
    said: dict[str, Any] = json.loads(host.stdout)
    for group in said["groups"]:
        Path(group).rmdir()
    found: dict[str, Any] = said["acts"]
    return found


@pytest.mark.parametrize("kind", HELD)
@pytest.mark.parametrize(
    ("act", "code", "error", "knob"),
    [
        ("memory", "RESOURCE_MEMORY", "MemoryLimitError", "resources.memory"),
        ("memory_of_children", "RESOURCE_MEMORY", "MemoryLimitError", "resources.memory"),
        ("no_such_memory", "RESOURCE_MEMORY", "MemoryLimitError", "resources.memory"),
        ("no_such_arrow_memory", "RESOURCE_MEMORY", "MemoryLimitError", "resources.memory"),
        ("processes", "RESOURCE_PIDS", "PluginExecutionError", "resources.pids"),
        ("threads", "RESOURCE_PIDS", "PluginExecutionError", "resources.pids"),
        ("disk", "RESOURCE_DISK", "PluginExecutionError", "resources.tmp"),
        ("one_file", "RESOURCE_DISK", "PluginExecutionError", "resources.tmp"),
        ("print_out", "RESOURCE_OUTPUT", "PluginExecutionError", "resources.log"),
        ("log", "RESOURCE_OUTPUT", "PluginExecutionError", "resources.log"),
        ("hide", "RESOURCE_TIME", "PluginExecutionError", "resources.wall"),
        ("trace", "SANDBOX_VIOLATION", "SandboxError", "never allows this call"),
        ("crash", "PLUGIN_CRASHED", "PluginExecutionError", ""),
    ],
)
def test_what_was_too_much_has_its_code_and_the_knob_that_gives_more(
    *, kind: str, act: str, code: str, error: str, knob: str, acts: Acts
) -> None:
    found = acts(kind)[act]

    assert (found["code"], found["type"], found["retryable"]) == (code, error, False), found
    assert knob in (found["hint"] or "")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_of_any_process(kind: str, acts: Acts) -> None:
    left = {act: found["left"] for act, found in acts(kind).items() if found.get("left")}

    assert not left


@pytest.mark.parametrize("kind", HELD)
def test_memory_that_a_plugin_takes_is_not_the_engines(kind: str, acts: Acts) -> None:
    found = acts(kind)

    assert all(found[act]["grown"] < 32 * MIB for act in ("memory", "memory_of_children", "print_out", "log"))


@pytest.mark.parametrize("kind", GROUPED)
def test_a_group_counts_what_its_plugin_takes_and_never_lets_it_have_more(kind: str, acts: Acts) -> None:
    found = acts(kind)

    for act in ("memory", "memory_of_children"):
        usage = found[act]["usage"]
        assert usage["oom_kills"] >= 1
        assert usage["peak_memory_bytes"] <= 192 * MIB
        assert found[act]["details"]["bytes"] == 192 * MIB


@pytest.mark.parametrize("kind", GROUPED)
def test_a_plugin_gets_its_part_of_the_processors_and_no_more(kind: str, acts: Acts) -> None:
    found = acts(kind)["spin"]

    usage = found["usage"]
    assert found["code"] is None
    assert usage["throttled"] > 0
    assert usage["cpu_s"] <= 1.3 * 0.25 * found["seconds"]


def test_without_a_group_a_plugin_has_as_many_processors_as_it_may_use(acts: Acts) -> None:
    assert acts("process, as a user")["spin"]["said"] == "1"


@pytest.mark.parametrize("kind", HELD)
def test_the_system_call_that_no_plugin_may_make_is_named(kind: str, acts: Acts) -> None:
    found = acts(kind)["trace"]

    assert found["details"]["syscall"] == "ptrace"
    assert "made the system call ptrace" in found["said"]


@pytest.mark.parametrize("kind", HELD)
def test_a_plugin_lives_on_after_what_it_was_only_refused(kind: str, acts: Acts) -> None:
    found = acts(kind)

    assert found["files"]["details"]["errno"] == "EMFILE"
    assert found["write_elsewhere"]["code"] == "PLUGIN_EXECUTION_ERROR"
    assert "filesystem.write" in found["write_elsewhere"]["hint"]


def test_without_a_sandbox_a_plugin_may_take_it_all(acts: Acts) -> None:
    found = acts("none")

    through = {act: found[act]["said"] for act in found if found[act]["code"] is None}
    assert through.keys() >= {
        "memory",
        "memory_of_children",
        "processes",
        "threads",
        "files",
        "disk",
        "one_file",
        "spin",
    }
    assert through["memory_of_children"] == "8 children, 8 alive"
    assert found["trace"]["code"] is None
