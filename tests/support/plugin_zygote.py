"""Runs with plugins that are killed: forks of one process that has imported the engine, one run at a time.

``python plugin_zygote.py MODULE...`` reads a line of JSON for each run, as `plugin_runs.Scene` makes it: an order of
`crash_zygote` with a ``victim``. For each it writes a line with how it ended, and what was left of it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path
from typing import Any

from crash_zygote import LONGEST_S, start
from zygote import answer

_ALL_GONE_S = 10.0  # for what follows a killed engine
_WARDEN = b"warden.py"


def be(order: dict[str, Any]) -> dict[str, Any]:
    """Start a run, strike its victim after a time, and wait until it has ended and everything of it is gone."""
    began_s = time.monotonic()
    pid = start(order)
    run = os.pidfd_open(pid)
    after_s = order["kill_after_s"]
    has_ended = _wait(run, LONGEST_S if after_s is None else after_s)
    struck = [] if has_ended or after_s is None else strike(pid, order["victim"], order["tmp"])
    hung = not has_ended and not _wait(run, LONGEST_S)
    if hung:
        signal.pidfd_send_signal(run, signal.SIGKILL)
    os.close(run)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {
        "code": code,
        "hung": hung,
        "struck": struck,
        "seconds": time.monotonic() - began_s,
        "left": left_of(order["tmp"], code == -signal.SIGKILL),
    }


def strike(engine: int, victim: str, folder: str) -> list[str]:
    """Kill the engine, or a plugin: its own process, what holds that, or all of it; tell what was killed."""
    if victim == "engine":
        os.kill(engine, signal.SIGKILL)
        return [victim]
    ours = processes_of(folder)
    wardens = sorted(pid for pid, command in ours.items() if _WARDEN in command)
    if not wardens:
        return []
    below = _below(wardens[0] if "first" in victim else wardens[-1])
    if not below:
        return []
    struck = below if "tree" in victim else [below[0] if "holder" in victim else below[-1]]
    for pid in struck:
        _kill(pid)
    return [victim]


def left_of(folder: str, was_killed: bool) -> list[str]:
    """Tell what a run has left: processes, and what lies in its folder for temporary files."""
    until_s = time.monotonic() + (_ALL_GONE_S if was_killed else 0)
    while (
        left := [*map(str, processes_of(folder).values()), *map(str, Path(folder).iterdir())]
    ) and time.monotonic() < until_s:
        time.sleep(0.01)
    return left


def processes_of(folder: str) -> dict[int, bytes]:
    """Find the processes that know a folder from their birth, with their commands; also those of a sandbox."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            if folder.encode() in command or folder.encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = command
        except OSError:  # it ended meanwhile
            continue
    return found


def _below(pid: int) -> list[int]:
    """Find what a process has started, and what that has; the last is a plugin's own process."""
    try:
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [each for child in children for each in (child, *_below(child))]


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _wait(process: int, seconds: float) -> bool:
    return bool(select.select([process], [], [], seconds)[0])


if __name__ == "__main__":
    answer(be)
