"""The process between the engine and a plugin: nothing that the plugin starts outlives it.

Run as ``python -I -S warden.py LIFELINE STATUS FOLDER`` by `dativo_ingest.sandbox.launch`, with the standard
library alone, because it must be there within a moment. Two pipes join it to the engine, by their numbers. Of LIFELINE
it reads the plan, a line of JSON, when all is ready for the plugin, and later ``k``, when the plugin is to end; the
pipe's end, which comes also when the engine is killed, ends the plugin too. Into STATUS it writes one line of JSON when
no process is left. The last that it does is to remove FOLDER, which the engine makes once there is somebody to remove
it.

The plan may have a control group, which is made before the plugin starts and removed when nothing is left in it; or a
limit of memory that is looked after from here, where no group does (`warden_cgroup`, `warden_memory`).

It is the "child subreaper" of everything below it (``prctl(2)``): a process whose parent ends, however it went into a
session of its own, becomes its child, is killed, and is waited for.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

if not __package__:  # run by its path: what it needs of ours lies beside it, after all that Python brings
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120  pathlib takes long to import
    __package__ = "sandbox"

if TYPE_CHECKING:
    from dativo_ingest.sandbox.warden_cgroup import Group

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_KILLING_S = 5.0  # what does not end by then is another user's by now, and not ours to kill
_PAUSE_S = 0.002
_NOT_STARTED = 127
_NOT_HELD = 125
_LOOK_EVERY_MS = 100
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_KIB = 1024
_PIECE_BYTES = 2**16


class _Usage:
    """What the plugin's processes used, of those that ended."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.peak_memory_bytes = 0
        self.processes = 0
        self.status: int | None = None
        self.is_over_memory = False

    def reap(self, main: int) -> bool:
        """Take note of every process that has ended; say whether there are others."""
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.processes += 1
            self.cpu_s += used.ru_utime + used.ru_stime
            self.peak_memory_bytes = max(self.peak_memory_bytes, used.ru_maxrss * _KIB)
            if pid == main:
                self.status = status

    def document(self) -> dict[str, Any]:
        """Describe how it ended; both are None for a plugin that would not end."""
        code = None if self.status is None else os.waitstatus_to_exitcode(self.status)
        return {
            "exit_code": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
            "cpu_s": round(self.cpu_s, 6),
            "peak_memory_bytes": self.peak_memory_bytes,
            "processes": self.processes,
            "is_over_memory": self.is_over_memory,
        }


def main(arguments: list[str]) -> int:
    """Start the plugin, wait for it or for the engine's word, and leave nothing of it."""
    lifeline, report_to, folder = arguments
    alive, status = int(lifeline), int(report_to)
    for number in (alive, status):
        os.set_inheritable(number, False)  # noqa: FBT003  the signature of the library
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        return _NOT_STARTED
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    plan, is_over = read_plan(alive)
    if plan is not None and not is_over:
        said = _keep(plan, prctl, alive, woken)
        with contextlib.suppress(OSError):  # nobody reads it any more
            os.write(status, json.dumps(said).encode() + b"\n")
    remove(folder)
    return 0


def _keep(plan: dict[str, Any], prctl: Callable[..., int], alive: int, woken: int) -> dict[str, Any]:
    """Have the plugin live and end as the plan says; give the report of it."""
    usage = _Usage()
    group: Group | None = None
    if "cgroup" in plan:
        from .warden_cgroup import Group  # noqa: PLC0415  only where something is to be held

        group = Group(plan["cgroup"])
        try:
            group.make()
        except OSError as error:
            return {**usage.document(), "unheld": f"no control group can be made: {error.filename}: {error.strerror}"}
    started = _start(plan, prctl, group)
    _wait(alive, woken, usage, started, _looks(plan, usage, group))
    _kill_all(usage, started, group)
    counted = None if group is None else group.counted()
    if group is not None:
        group.remove(_KILLING_S)
    return {**usage.document(), "group": counted}


def _looks(plan: dict[str, Any], usage: _Usage, group: Group | None) -> Callable[[], bool] | None:
    """Give what says, ten times a second, whether the plugin is to end for its memory."""
    if "watch" in plan:
        from .warden_memory import is_above  # noqa: PLC0415  only where something is to be held

        def is_over() -> bool:
            usage.is_over_memory = is_above(plan["watch"]["memory_bytes"])
            return usage.is_over_memory

        return is_over
    return None if group is None else group.is_out_of_memory


def read_plan(alive: int) -> tuple[dict[str, Any] | None, bool]:
    """Read what to do, a line, and say whether the engine has thought better of it; None where it ends before."""
    line = b""
    while b"\n" not in line:
        piece = os.read(alive, _PIECE_BYTES)
        if not piece or line + piece == b"k":
            return None, True
        line += piece
    line, _, after = line.partition(b"\n")
    plan: dict[str, Any] = json.loads(line)
    return plan, bool(after)


def _start(plan: dict[str, Any], prctl: Callable[..., int], group: Group | None) -> int:
    warden = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(plan, prctl, warden, group)
    return pid


def _become(plan: dict[str, Any], prctl: Callable[..., int], warden: int, group: Group | None) -> NoReturn:
    command = plan.get("command", ["the sandbox"])
    try:
        if group is not None:
            _join(group)
        os.setsid()
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != warden:
            os._exit(_NOT_STARTED)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        if "home" in plan:
            os.mkdir(plan["home"], 0o700)  # noqa: PTH102  pathlib takes long to import
        if "held" in plan:
            from .held import hold  # noqa: PLC0415  only where something is to be held

            command = hold(plan["held"])
        os.execvpe(command[0], command, os.environ)  # noqa: S606  the plugin that the job names
    except OSError as error:
        os.write(2, f"{error.filename or command[0]}: {error.strerror}\n".encode(errors="replace"))
    finally:
        os._exit(_NOT_STARTED)


def _join(group: Group) -> None:
    try:
        group.join()
    except OSError as error:
        os.write(2, f"dativo-sandbox: the control group cannot be joined: {error.strerror}\n".encode())
        os._exit(_NOT_HELD)


def _wait(alive: int, woken: int, usage: _Usage, started: int, is_over: Callable[[], bool] | None) -> None:
    """Wait for the plugin's end, or until it is to end, or the engine has something to say, or has ended."""
    poll = select.poll()
    poll.register(alive, select.POLLIN)
    poll.register(woken, select.POLLIN)
    while usage.status is None:
        ready = {number for number, _ in poll.poll(None if is_over is None else _LOOK_EVERY_MS)}
        if alive in ready or (is_over is not None and is_over()):
            return
        if woken in ready:
            os.read(woken, _KIB)
            usage.reap(started)


def _kill_all(usage: _Usage, started: int, group: Group | None) -> None:
    """Kill every process below this one, until there is none.

    Those whose parent is killed are this process's own children at once. So each round has all that are left, also of
    a plugin that goes on starting others; without a pause between rounds, which it would use.
    """
    until_s = time.monotonic() + _KILLING_S
    killed: set[int] = set()
    while usage.reap(started) and time.monotonic() < until_s:
        found: set[int] = set()
        if group is not None:
            group.kill()
        for pid in _children():  # each as it is found: it may be another one in a moment
            found.add(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if found <= killed:  # they are on their way out
            time.sleep(_PAUSE_S)
        killed = found


def _children() -> Iterator[int]:
    """List this process's children, from ``proc(5)``."""
    own = os.getpid()
    try:
        with open(f"/proc/{own}/task/{own}/children", "rb") as file:  # noqa: PTH123  pathlib takes long to import
            yield from map(int, file.read().split())
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208  likewise
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:  # noqa: PTH123  likewise
                if int(stat.read().rpartition(b")")[2].split()[1]) == own:  # a name may have brackets
                    yield int(name)


def remove(folder: str) -> None:
    """Remove a folder with all that is in it, however deep it is nested and whoever may look into it.

    One folder is open at a time, and none is named by a path, which would grow beyond what the system takes.
    """
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o700)  # noqa: PTH101  pathlib takes long to import
        at = os.open(folder, _FOLDER)
        try:
            way: list[str] = []
            left = [_emptied(at)]
            while way or left[-1]:
                if left[-1]:
                    way.append(left[-1].pop())
                    os.chmod(way[-1], 0o700, dir_fd=at)
                    at = _moved(at, way[-1])
                    left.append(_emptied(at))
                else:
                    left.pop()
                    at = _moved(at, "..")
                    os.rmdir(way.pop(), dir_fd=at)
        finally:
            os.close(at)
        os.rmdir(folder)  # noqa: PTH106  pathlib takes long to import


def _moved(at: int, name: str) -> int:
    """Open a folder beside or below an open one, and close that."""
    there = os.open(name, _FOLDER, dir_fd=at)
    os.close(at)
    return there


def _emptied(at: int) -> list[str]:
    """Remove the files of an open folder, and give the names of its folders."""
    folders = []
    with os.scandir(at) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=at)
    return folders


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
