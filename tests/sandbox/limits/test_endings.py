"""What ended a plugin, told from how its process ended and what was counted."""

from __future__ import annotations

import json
import signal

import pytest

from dativo_ingest.sandbox import endings
from dativo_ingest.sandbox.exits import Exit, Status, Usage, read_status
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.run_spec import RunSpec
from dativo_plugin_sdk.errors import DativoError, MemoryLimitError, PluginExecutionError, PluginLoadError, SandboxError

SPEC = RunSpec("shop", ("shop",), Grant(memory_bytes=1000, pids=8, tmp_bytes=500), manifest="dativo-plugin.yaml")
TRAP = "dativo-sandbox: the system call bpf (321) is not allowed"


@pytest.mark.parametrize(
    ("found", "usage", "lines", "error", "code", "knob"),
    [
        pytest.param(
            Exit(None, signal.SIGKILL),
            Usage(oom_kills=1),
            (),
            MemoryLimitError,
            "RESOURCE_MEMORY",
            "memory",
            id="kernel",
        ),
        pytest.param(
            Exit(1, None), Usage(is_over_memory=True), (), MemoryLimitError, "RESOURCE_MEMORY", "memory", id="warden"
        ),
        pytest.param(
            Exit(None, signal.SIGABRT),
            Usage(refused_processes=3),
            (),
            PluginExecutionError,
            "RESOURCE_PIDS",
            "pids",
            id="a library that cannot start a thread",
        ),
        pytest.param(
            Exit(None, signal.SIGXFSZ), Usage(), (), PluginExecutionError, "RESOURCE_DISK", "tmp", id="a file too large"
        ),
        pytest.param(
            Exit(None, signal.SIGSYS),
            Usage(),
            (TRAP,),
            SandboxError,
            "SANDBOX_VIOLATION",
            "another one",
            id="system call",
        ),
        pytest.param(
            Exit(None, signal.SIGKILL), Usage(), (), PluginExecutionError, "PLUGIN_CRASHED", "", id="somebody else"
        ),
        pytest.param(Exit(3, None), Usage(), ("bye",), PluginExecutionError, "PLUGIN_CRASHED", "log", id="by itself"),
    ],
)
def test_each_end_has_its_code(
    *, found: Exit, usage: Usage, lines: tuple[str, ...], error: type[DativoError], code: str, knob: str
) -> None:
    ended = endings.of_process(SPEC, found, usage, during="read", lines=lines)

    assert (type(ended), ended.error_code, ended.retryable) == (error, code, False)
    assert knob in (ended.hint or "")


def test_the_system_call_is_named_where_the_sandbox_has_said_which() -> None:
    told = endings.of_process(SPEC, Exit(None, signal.SIGSYS), Usage(), during="read", lines=("x", TRAP))
    untold = endings.of_process(SPEC, Exit(None, signal.SIGSYS), Usage(), during="read", lines=("x",))

    assert told.details == {"syscall": "bpf", "number": 321}
    assert untold.details == {"syscall": None, "number": None}


def test_a_sandbox_that_does_not_hold_is_none_and_not_the_plugins_fault() -> None:
    said = ("dativo-sandbox: no Landlock",)

    refused = endings.of_start(SPEC, Exit(125, None), Usage(), lines=said)
    own = endings.of_start(SPEC, Exit(125, None), Usage(), lines=("x",))

    assert refused.error_code == "SANDBOX_UNAVAILABLE"
    assert "no Landlock" in str(refused)
    assert isinstance(own, PluginLoadError)


@pytest.mark.parametrize(
    ("details", "code", "hint"),
    [
        ({}, "RESOURCE_PIDS", "resources.pids in dativo-plugin.yaml"),
        ({"errno": "EROFS", "path": "/srv/out"}, "PLUGIN_EXECUTION_ERROR", "capabilities.filesystem.write: [/srv/out]"),
        ({"errno": "EACCES", "path": "/srv/out"}, "PLUGIN_EXECUTION_ERROR", "capabilities.filesystem.write"),
        ({"errno": "ENOENT", "path": "/srv/in.csv"}, "PLUGIN_EXECUTION_ERROR", "capabilities.filesystem in"),
        ({"errno": "ENOENT", "path": "/tmp/in.csv"}, "PLUGIN_EXECUTION_ERROR", None),
        ({"errno": "EPERM", "wanted": "a process"}, "PLUGIN_EXECUTION_ERROR", "capabilities.subprocess: true"),
        ({"errno": "EMFILE"}, "PLUGIN_EXECUTION_ERROR", None),
        ({"errno": "EROFS", "path": "/srv/out"}, "NO_SUCH_SHOP", None),
    ],
)
def test_what_a_plugin_was_refused_has_the_line_that_would_give_it(
    details: dict[str, str], code: str, hint: str | None
) -> None:
    raised = endings.of_raised(SPEC, PluginExecutionError("no", code, details))

    assert raised.hint is None if hint is None else hint in str(raised.hint)


def test_a_hint_of_the_plugins_own_stays() -> None:
    raised = endings.of_raised(SPEC, PluginExecutionError("no", "RESOURCE_DISK", hint="buy a disk"))

    assert raised.hint == "buy a disk"


def test_a_report_of_what_a_group_counted_goes_before_what_single_processes_had() -> None:
    group = {"cpu_s": 2.0, "peak_memory_bytes": 900, "oom_kills": 1, "refused_processes": 4, "throttled_s": 0.5}
    line = {"exit_code": 137, "signal": None, "cpu_s": 1.0, "peak_memory_bytes": 100, "processes": 3, "group": group}

    status = read_status(json.dumps(line).encode())

    assert status.usage == Usage(2.0, 900, 3, oom_kills=1, refused_processes=4, throttled_s=0.5)
    assert status.exit.seen_through() == Exit(None, signal.SIGKILL)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"null", b'{"exit_code": 1}'])
def test_of_a_warden_that_was_killed_nothing_is_known(line: bytes) -> None:
    assert read_status(line) == Status()


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        (Exit(139, None), Exit(None, signal.SIGSEGV)),
        (Exit(128, None), Exit(128, None)),
        (Exit(3, None), Exit(3, None)),
        (Exit(None, signal.SIGKILL), Exit(None, signal.SIGKILL)),
        (Exit(255, None), Exit(255, None)),
    ],
)
def test_a_signal_is_seen_through_the_exit_code_of_what_stands_between(found: Exit, seen: Exit) -> None:
    assert found.seen_through() == seen
