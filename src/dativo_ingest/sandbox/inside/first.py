"""The first process of a container, which all that loses its parent falls to; the plugin is its child.

To the first process of a namespace the kernel delivers no signal that it does not handle, so that a plugin in its place
would not end as elsewhere; and nobody else waits for processes that have ended. The last that it does is to tell what
the kernel counted for the container, which nobody can look up when that is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from typing import Final

COUNTED: Final = "dativo-sandbox: counted "
"""How the line on stderr begins that has the counts, as JSON; the container's warden takes it out."""

_LOOK_EVERY_S = 0.1
_FIRST, _SECOND = "/sys/fs/cgroup/{}/{}", "/sys/fs/cgroup/{1}"
_NS, _US = 10**9, 10**6
# Of each count: the controller and the file of version 1, key and unit there, then those of version 2.
_COUNTS: Final = {
    "oom_kills": (("memory", "memory.oom_control", "oom_kill", 1), ("", "memory.events", "oom_kill", 1)),
    "peak_memory_bytes": (("memory", "memory.max_usage_in_bytes", "", 1), ("", "memory.peak", "", 1)),
    "refused_processes": (("pids", "pids.events", "max", 1), ("", "pids.events", "max", 1)),
    "cpu_s": (("cpuacct", "cpuacct.usage", "", _NS), ("", "cpu.stat", "usage_usec", _US)),
    "throttled": (("cpu", "cpu.stat", "nr_throttled", 1), ("", "cpu.stat", "nr_throttled", 1)),
    "throttled_s": (("cpu", "cpu.stat", "throttled_time", _NS), ("", "cpu.stat", "throttled_usec", _US)),
}


def be_first() -> None:
    """Go on in a child, where this is the first process; that ends as the child does."""
    if os.getpid() != 1:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # waited for below
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.setsid()
        return
    status: int | None = None
    while status is None:
        signal.sigtimedwait({signal.SIGCHLD}, _LOOK_EVERY_S)
        if _count("oom_kills"):  # the kernel ends one process for it, and all are one plugin's
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        status = _ended(child)
    code = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(OSError):
        os.write(2, f"{COUNTED}{json.dumps(dict(_counts()))}\n".encode())
    os._exit(code if code >= 0 else 128 - code)


def _ended(child: int) -> int | None:
    """Wait for whatever has ended; give the child's status, where it has."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            status = ended[1] if ended[0] == child else status
    return status


def _counts() -> Iterator[tuple[str, float]]:
    for name in _COUNTS:
        value = _count(name)
        if value is not None:
            yield name, value


def _count(name: str) -> float | None:
    """Read one of the counts, of the version that has it."""
    for pattern, (controller, file, key, unit) in zip((_FIRST, _SECOND), _COUNTS[name], strict=True):
        value = _read(pattern.format(controller, file), key)
        if value is not None:
            return value if unit == 1 else round(value / unit, 6)
    return None


def _read(path: str, key: str) -> int | None:
    """Read a number: the file's only one, or that of a key."""
    with contextlib.suppress(OSError, ValueError, KeyError), open(path, encoding="ascii") as file:  # noqa: PTH123  pathlib takes long to import
        text = file.read()
        return int(dict(line.split() for line in text.splitlines())[key] if key else text)
    return None
