"""What ended a plugin, or what it failed for, as the error that says so: its code, and the knob that gives more.

Nothing here looks at a process: all that is known of it comes as values.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from typing import Final

from dativo_ingest.sandbox.controls import unavailable
from dativo_ingest.sandbox.exits import Exit, Usage
from dativo_ingest.sandbox.inside_plan import REFUSED, REFUSED_PREFIX
from dativo_ingest.sandbox.run_spec import RunSpec
from dativo_plugin_sdk.errors import (
    DativoError,
    MemoryLimitError,
    NetworkError,
    PluginExecutionError,
    PluginLoadError,
    SandboxError,
)

RESOURCE_MEMORY: Final = "RESOURCE_MEMORY"
RESOURCE_PIDS: Final = "RESOURCE_PIDS"
RESOURCE_TIME: Final = "RESOURCE_TIME"
RESOURCE_DISK: Final = "RESOURCE_DISK"
RESOURCE_OUTPUT: Final = "RESOURCE_OUTPUT"
SANDBOX_VIOLATION: Final = "SANDBOX_VIOLATION"
PLUGIN_CRASHED: Final = "PLUGIN_CRASHED"

KNOBS: Final = {
    RESOURCE_MEMORY: "resources.memory",
    RESOURCE_PIDS: "resources.pids",
    RESOURCE_TIME: "resources.wall",
    RESOURCE_DISK: "resources.tmp",
    RESOURCE_OUTPUT: "resources.log",
}
"""What a manifest asks for more with, by the code of a limit."""

UNANSWERED: Final = (PluginExecutionError, MemoryLimitError, SandboxError)
"""What an answer that did not come, or that nobody foresaw, may be."""

_BUBBLEWRAP = "bwrap: "  # how it begins to say what it cannot do, after which it runs nothing
_OWN_PLACES = ("/tmp/", "/job/", "/dev/", "/proc/")  # noqa: S108  a sandbox's own
_SYSTEM_CALL = re.compile(re.escape(REFUSED_PREFIX) + r"the system call (\w+) \((\d+)\)")


def overtime(spec: RunSpec) -> PluginExecutionError:
    """Make the error for a plugin that ran for as long as it may."""
    return PluginExecutionError(
        f"the plugin {spec.plugin} ran for {spec.grant.wall_s:g} s, as long as it may, and was ended",
        error_code=RESOURCE_TIME,
        details={"limit": "wall", "seconds": spec.grant.wall_s},
        hint=spec.way_out("resources.wall"),
    )


def flood(spec: RunSpec) -> PluginExecutionError:
    """Make the error for a plugin that prints and logs too much."""
    return PluginExecutionError(
        f"the plugin {spec.plugin} printed and logged more than {spec.grant.log_bytes:,} bytes",
        error_code=RESOURCE_OUTPUT,
        details={"limit": "log", "bytes": spec.grant.log_bytes},
        hint=f"let it log less; {spec.way_out('resources.log')}",
    )


def unheld(spec: RunSpec, why: str) -> SandboxError:
    """Make the error for a sandbox that does not hold; nothing of the plugin has run."""
    return unavailable(
        f"the sandbox of the plugin {spec.plugin} cannot be had: {why}",
        hint="dativo doctor tells what this machine can enforce, and what to install or set",
    )


def of_process(spec: RunSpec, found: Exit, usage: Usage, *, during: str, lines: Sequence[str]) -> DativoError:
    """Make the error for a process that ended while something was asked of it.

    Args:
        spec: What was started.
        found: How it ended.
        usage: What it had used.
        during: What was asked.
        lines: The last that it printed.
    """
    limit = _of_limit(spec, found, usage, f"during {during}", lines)
    return limit or PluginExecutionError(
        f"the process of the plugin {spec.plugin} {found.how} during {during}",
        error_code=PLUGIN_CRASHED,
        details={"exit_code": found.exit_code, "signal": found.signal},
        hint="the lines above are the last that it printed and logged: details.log" if lines else None,
    )


def of_start(spec: RunSpec, found: Exit, usage: Usage, *, lines: Sequence[str]) -> DativoError:
    """Make the error for a process that ended before it connected."""
    said = [line.removeprefix(REFUSED_PREFIX) for line in lines if line.startswith((REFUSED_PREFIX, _BUBBLEWRAP))]
    if said and (found.exit_code == REFUSED or said[-1].startswith(_BUBBLEWRAP)):
        return unheld(spec, said[-1])
    limit = _of_limit(spec, found, usage, "before it connected", lines)
    last = f": {lines[-1]}" if lines else ""
    return limit or PluginLoadError(
        f"the process of the plugin {spec.plugin} {found.how} before it connected{last}",
        details={"exit_code": found.exit_code, "signal": found.signal, "command": list(spec.command)},
        hint="a plugin with a Python of its own needs dativo-plugin-sdk installed there",
    )


def _of_limit(spec: RunSpec, found: Exit, usage: Usage, when: str, lines: Sequence[str]) -> DativoError | None:
    details = {"exit_code": found.exit_code, "signal": found.signal}
    if usage.oom_kills or usage.is_over_memory:
        return MemoryLimitError(
            f"the plugin {spec.plugin} had more memory than the {spec.grant.memory_bytes:,} bytes that it may, and was "
            f"ended {when}",
            details={"limit": "memory", "bytes": spec.grant.memory_bytes, "peak_bytes": usage.peak_memory_bytes},
            hint=spec.way_out("resources.memory"),
        )
    if found.signal == signal.SIGSYS:
        return _violation(spec, when, lines)
    if found.signal == signal.SIGXFSZ:
        return PluginExecutionError(
            f"the plugin {spec.plugin} wrote a file that is larger than it may be, and was ended {when}",
            error_code=RESOURCE_DISK,
            details={"limit": "tmp", "bytes": spec.grant.tmp_bytes, **details},
            hint=spec.way_out("resources.tmp"),
        )
    if usage.refused_processes:
        return PluginExecutionError(
            f"the plugin {spec.plugin} wanted more processes and threads than the {spec.grant.pids} that it may have, "
            f"and {found.how} {when}",
            error_code=RESOURCE_PIDS,
            details={"limit": "pids", "pids": spec.grant.pids, **details},
            hint=spec.way_out("resources.pids"),
        )
    return None


def _violation(spec: RunSpec, when: str, lines: Sequence[str]) -> SandboxError:
    found = [match for match in map(_SYSTEM_CALL.match, lines) if match]
    name = found[-1][1] if found else None
    said = f"made the system call {name}, which no plugin may" if name else "made a system call that no plugin may"
    return SandboxError(
        f"the plugin {spec.plugin} {said}, and was ended {when}",
        details={"syscall": name, "number": int(found[-1][2]) if found else None},
        hint="the sandbox never allows this call; if it is a library of the plugin's that makes it, use another one",
    )


def of_raised(spec: RunSpec, error: DativoError) -> DativoError:
    """Complete an error that a plugin raised within a sandbox: the knob that gives more."""
    knob = KNOBS.get(error.error_code)
    if knob is not None:
        error.details["limit"] = knob.rpartition(".")[2]
        error.hint = error.hint or spec.way_out(knob)
        if error.error_code == RESOURCE_DISK and spec.grant.write:
            error.hint = f"{error.hint}; where it may write, free space: {', '.join(spec.grant.write)}"
    elif error.hint is None and (isinstance(error, NetworkError) or error.details.get("wanted") == "a host"):
        error.hint = _of_unreached(spec)
    elif error.hint is None and error.error_code == PluginExecutionError.default_error_code:
        error.hint = _of_refused(spec, error)
    return error


def _of_unreached(spec: RunSpec) -> str | None:
    """Say what a manifest asks for where a plugin was granted no host at all; the egress record knows of the others."""
    if spec.grant.network:
        return None
    return f"a plugin reaches no hosts but those that it asks for: capabilities.network in {spec.manifest}"


def _of_refused(spec: RunSpec, error: DativoError) -> str | None:
    """Say what a manifest asks for where the system has refused a plugin something, or shows it none."""
    number, path = error.details.get("errno"), error.details.get("path")
    if number in {"EPERM", "EACCES"} and error.details.get("wanted") == "a process":
        return f"a plugin starts no others, unless it asks for it: capabilities.subprocess: true in {spec.manifest}"
    if not isinstance(path, str) or path.startswith(_OWN_PLACES):
        return None
    path = os.path.abspath(path)  # noqa: PTH100  it works in the engine's folder
    if number in {"EROFS", "EACCES", "EPERM"}:
        return f"a plugin may write what it asks for: capabilities.filesystem.write: [{path}] in {spec.manifest}"
    if number == "ENOENT":
        return f"a plugin sees no files but those that it asks for: capabilities.filesystem in {spec.manifest}"
    return None


def limit_of(error: BaseException) -> str | None:
    """Give the limit that an error speaks of, as a manifest names it; None of an error that is of something else."""
    if not isinstance(error, DativoError):
        return None
    if error.error_code == SANDBOX_VIOLATION:
        return "system_calls"
    knob = KNOBS.get(error.error_code)
    # Without a sandbox, it is the machine that has no more, and no limit of ours.
    return None if knob is None or "limit" not in error.details else knob.rpartition(".")[2]
