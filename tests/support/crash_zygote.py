"""Runs that die where they are told to: forks of one process that has imported everything and started nothing.

``python crash_zygote.py MODULE...`` imports the modules, then reads a line of JSON for each scene: the runs to start
together, as `crash_runs.Run` describes them. For each it writes a line with how they ended. A run is a real one: a job
file through the engine, in a process of its own, that kills itself when it comes to a point of its protocol.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zygote import answer

LONGEST_S = 60.0  # then a run counts as hung
_MEET_S = 3.0  # how long a run waits for the others that are to begin with it
_SMALL = 2048  # bytes: a few hundred rows are several batches and several row groups


class Stopped(BaseException):
    """A run ends here, as an interruption would have it."""


class Points:
    """The points of the protocol that a run passes, and what is to happen at one of them."""

    def __init__(self, at: tuple[str, int] | None, act: Callable[[], None]) -> None:
        self.passed: list[str] = []
        self._at = at
        self._act = act
        self._busy = False

    def pass_(self, name: str) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            self.passed.append(name)
            if self._at is not None and self._at == (name, self.passed.count(name)):
                self._act()
        finally:
            self._busy = False

    def watch(self, seam: str) -> None:
        """Pass a point before and after each call of ``module:Class.name`` or ``module:name``.

        ``module:name|argument`` passes calls with such an argument only.
        """
        module, _, path = seam.partition(":")
        path, _, only = path.partition("|")
        *owners, name = path.split(".")
        owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))
        original = inspect.getattr_static(owner, name)

        @functools.wraps(original)
        def watched(*arguments: Any, **named: Any) -> Any:
            if only and only not in arguments:
                return original(*arguments, **named)
            self.pass_(f"before {path}")
            answer = original(*arguments, **named)
            self.pass_(f"after {path}")
            return answer

        setattr(owner, name, watched)

    def listen(self, events: list[str]) -> None:
        """Pass a point at each thing that is asked of the operating system in the main thread."""
        main = threading.main_thread()

        def heard(event: str, arguments: tuple[Any, ...]) -> None:
            if event in events and threading.current_thread() is main and _changes(event, arguments):
                self.pass_(event)

        sys.addaudithook(heard)


def _changes(event: str, arguments: tuple[Any, ...]) -> bool:
    return event != "open" or bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def meet(folder: Path, others: int, seam: str, *, first: bool) -> None:
    """Let the first call of a seam wait until that many runs have come so far, or long enough."""
    module, _, path = seam.partition(":")
    *owners, name = path.split(".")
    owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))
    original = inspect.getattr_static(owner, name)
    waiting = [True]

    def wait() -> None:
        if waiting.pop():
            (folder / str(os.getpid())).touch()
            until_s = time.monotonic() + _MEET_S
            while len(list(folder.iterdir())) < others and time.monotonic() < until_s:
                time.sleep(0.002)
        waiting.append(False)

    @functools.wraps(original)
    def met(*arguments: Any, **named: Any) -> Any:
        if first:
            wait()
        answer = original(*arguments, **named)
        if not first:
            wait()
        return answer

    setattr(owner, name, met)


def make_small() -> None:
    """Let little data be a lot, several batches and several row groups, and little time be long."""
    from dativo_ingest.run import pipeline
    from dativo_ingest.run.plan import Budget

    table: Any = sys.modules.get("dativo_ingest.targets.iceberg.table")
    if table is not None:
        table._LOOK_AGAIN_S = 0.05
    small = Budget(batch_bytes=_SMALL, channel_bytes=4 * _SMALL, buffer_bytes=4 * _SMALL)
    Budget.of = classmethod(lambda *_: small)  # type: ignore[assignment, method-assign]
    pipeline._SMALL_BYTES = _SMALL


def run(order: dict[str, Any]) -> int:
    """Be one run; give its exit code."""
    from dativo_ingest.run.engine import run_job
    from dativo_ingest.run.events import RunStarted
    from dativo_ingest.run.open_job import open_job
    from dativo_ingest.run.plan import RunOptions

    log = Path(order["log"])
    tempfile.tempdir = os.environ["TMPDIR"] = order["tmp"]
    os.environ["HOME"] = order["tmp"]
    os.environ["LC_RUN"] = order["tmp"]  # a name that plugins are given, by which their processes are known

    def act() -> None:
        if order["how"] == "raise":
            raise Stopped
        os.kill(os.getpid(), signal.SIGKILL)

    points = Points(tuple(order["at"]) if order["at"] else None, act)
    if order["small"]:
        make_small()
    for seam in order["seams"]:
        points.watch(seam)
    if order["together"] > 1:
        meet(Path(order["meeting"]), order["together"], order["meet_at"], first=order["meet_before"])
    points.listen(order["events"])

    def listen(event: Any) -> None:
        if isinstance(event, RunStarted):
            log.with_suffix(".run").write_text(event.run_id)

    try:
        report = run_job(open_job(order["config"], {}), RunOptions(), listen, threading.Event())
    except Stopped:
        return 130
    draft = log.with_suffix(".draft")
    draft.write_text(json.dumps({"report": report, "points": points.passed}))
    draft.rename(log)
    return int(report["exit_code"])


def start(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        silent = os.open(os.devnull, os.O_RDWR)
        os.dup2(silent, 0)
        os.dup2(os.open(order["log"] + ".err", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        os.dup2(silent, 1)
        code = run(order)
    except BaseException:  # noqa: BLE001  it must not run on in the parent's place
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def scene(orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Start runs together, kill those that are to be killed after a time, and wait for all."""
    began_s = time.monotonic()
    alive: dict[int, tuple[int, int, float]] = {}
    ended: list[dict[str, Any]] = [{} for _ in orders]
    for index, order in enumerate(orders):
        pid = start(order)
        after_s = order["kill_after_s"]
        until_s = time.monotonic() + (LONGEST_S if after_s is None else after_s)
        alive[os.pidfd_open(pid)] = (index, pid, until_s)
    while alive:
        soonest_s = min(until_s for _, _, until_s in alive.values())
        ready, _, _ = select.select(list(alive), [], [], max(0.0, soonest_s - time.monotonic()))
        for descriptor in [each for each in alive if each in ready or alive[each][2] <= time.monotonic()]:
            index, pid, _ = alive.pop(descriptor)
            if descriptor not in ready:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            late = descriptor not in ready and orders[index]["kill_after_s"] is None
            ended[index] = {"code": code, "hung": late, "seconds": time.monotonic() - began_s}
    return ended


if __name__ == "__main__":
    answer(scene)
