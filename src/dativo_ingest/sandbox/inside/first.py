"""The first process of a container, which all that loses its parent falls to; the plugin is its child.

To the first process of a namespace the kernel delivers no signal that it does not handle, so that a plugin in its place
would not end as elsewhere; and nobody else waits for processes that have ended.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

OF_MEMORY: Final = "dativo-sandbox: a process was ended for its memory\n"
"""What is said on stderr before the end, where the container's memory was not enough; the warden listens for it."""

_COUNTERS = ("/sys/fs/cgroup/memory/memory.oom_control", "/sys/fs/cgroup/memory.events")


def be_first() -> None:
    """Go on in a child, where this is the first process; that ends as the child does."""
    if os.getpid() != 1:
        return
    child = os.fork()
    if child == 0:
        os.setsid()
        return
    status: int | None = None
    while status is None:
        pid, ended = os.wait()
        if pid == child:
            status = ended
    code = os.waitstatus_to_exitcode(status)
    if _has_lacked_memory():
        with contextlib.suppress(OSError):
            os.write(2, OF_MEMORY.encode())
    os._exit(code if code >= 0 else 128 - code)


def _has_lacked_memory() -> bool:
    """Say whether the kernel ended a process of this container for its memory."""
    for path in _COUNTERS:
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:  # noqa: PTH123  pathlib takes long to import
            counts = dict(line.split() for line in file.read().splitlines())
            return int(counts["oom_kill"]) > 0
    return False
