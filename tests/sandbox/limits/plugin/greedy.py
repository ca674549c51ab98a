"""A reader plugin that takes more than there is to take: every step of its check is one way to do so."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from dativo_plugin_sdk import DiscoveryResult, Message, Partition, State, StreamReader, StreamSpec
from dativo_plugin_sdk.results import Check, ConnectionTestResult

MIB = 2**20
MUCH_MIB = 384
CHILDREN = 8
MANY = 150
NO_SUCH_SIZE = 2**46
FOREVER_S = 3600
SPIN_S = 1.5
PTRACE = {"x86_64": 101, "aarch64": 117}


def memory() -> str:
    """Take much, page by page."""
    taken = bytearray()
    for _ in range(MUCH_MIB):
        taken += b"x" * MIB
    return f"{len(taken)} bytes"


def memory_of_children() -> str:
    """Have children that each take a part."""
    ready, tell = os.pipe()
    pids = []
    for _ in range(CHILDREN):
        pid = os.fork()
        if pid == 0:
            taken = b"x" * (MUCH_MIB * MIB // CHILDREN)
            os.write(tell, b"x")
            time.sleep(FOREVER_S)
            os._exit(len(taken) % 2)
        pids.append(pid)
    os.close(tell)
    held = sum(len(os.read(ready, 1)) for _ in pids)
    time.sleep(1)
    alive = [pid for pid in pids if os.waitpid(pid, os.WNOHANG)[0] == 0]
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return f"{held} children, {len(alive)} alive"


def no_such_memory() -> str:
    """Ask for more than any machine has."""
    return str(len(bytearray(NO_SUCH_SIZE)))


def no_such_arrow_memory() -> str:
    """Ask Arrow for it."""
    return str(pa.allocate_buffer(2**10 * NO_SUCH_SIZE).size)


def processes() -> str:
    """Start children without end."""
    pids: list[int] = []
    try:
        while len(pids) < MANY:
            pid = os.fork()
            if pid == 0:
                signal.pause()
            pids.append(pid)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return f"{len(pids)} children"


def threads() -> str:
    """Start threads without end."""
    until = threading.Event()
    threading.stack_size(2**16)
    started: list[threading.Thread] = []
    try:
        for _ in range(MANY):
            thread = threading.Thread(target=until.wait)
            thread.start()
            started.append(thread)
    finally:
        until.set()
        for thread in started:
            thread.join()
    return f"{len(started)} threads"


def spin() -> str:
    """Use all processors there are for a while, and tell how many that may be."""
    until_s = time.monotonic() + SPIN_S
    for _ in range(3):
        if os.fork() == 0:
            while time.monotonic() < until_s:
                pass
            os._exit(0)
    for _ in range(3):
        os.wait()
    return str(len(os.sched_getaffinity(0)))


def disk() -> str:
    """Fill what it may write, in files of which none is large."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(64):
            Path(folder, str(number)).write_bytes(b"x" * MIB)
    return "64 MiB"


def one_file() -> str:
    """Write one file that is larger than all files may be."""
    with tempfile.TemporaryFile() as file:
        for _ in range(64):
            file.write(b"x" * MIB)
    return "64 MiB"


def files() -> str:
    """Open files without end."""
    opened: list[int] = []
    try:
        while len(opened) < 5000:
            opened.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        for each in opened:
            os.close(each)
    return f"{len(opened)} files"


def print_out() -> str:
    """Print a gigabyte."""
    line = b"x" * 65535 + b"\n"
    for _ in range(2**14):
        os.write(1, line)
    return "1 GiB"


def log() -> str:
    """Log a million lines."""
    for number in range(10**6):
        logging.getLogger("greedy").warning("line %d", number)
    return "1,000,000 lines"


def hide() -> str:
    """Be deaf to every signal, with a child in a session of its own, for ever."""
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(FOREVER_S)
    time.sleep(FOREVER_S)
    return "hidden"


def trace() -> str:
    """Make a system call that no plugin may."""
    number = PTRACE[os.uname().machine]
    return str(ctypes.CDLL(None).syscall(number, 0, 0, 0, 0))


def crash() -> str:
    """Look where nothing is."""
    return str(ctypes.string_at(0))


def write_elsewhere() -> str:
    """Write where nothing was granted."""
    Path("/etc/greedy").write_text("x")
    return "written"


ACTS: dict[str, Callable[[], str]] = {
    each.__name__: each
    for each in (
        memory,
        memory_of_children,
        no_such_memory,
        no_such_arrow_memory,
        processes,
        threads,
        spin,
        disk,
        one_file,
        files,
        print_out,
        log,
        hide,
        trace,
        crash,
        write_elsewhere,
    )
}


class Greedy(StreamReader):
    """Does what ``connection.acts`` names, in this order."""

    def check(self, streams: Sequence[StreamSpec]) -> Sequence[Check]:
        """Do one in each step."""
        return [Check(name, lambda name=name: self._do(name)) for name in self.config.connection["acts"]]

    def _do(self, name: str) -> ConnectionTestResult:
        return ConnectionTestResult(success=True, message=ACTS[name]())

    def discover(self, pattern: str | None = None) -> DiscoveryResult:
        """Offer nothing."""
        return DiscoveryResult([])

    def schema(self, stream: StreamSpec) -> pa.Schema:
        """Have no columns."""
        return pa.schema([])

    def partitions(self, stream: StreamSpec, state: State | None) -> Sequence[Partition]:
        """Have no rows."""
        return []

    def read(self, stream: StreamSpec, partition: Partition, state: State | None) -> Iterator[Message]:
        """Have no rows."""
        return iter(())
