"""A reader plugin that tries what a sandbox should keep it from: each step of its check is an attempt.

It is run by `dativo doctor` in a real sandbox and, to see that an attempt works at all, once without one. What it
reaches for is all of the doctor's own making: a file, a process, two servers. It runs with the SDK and the standard
library, in whichever Python a sandbox has.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import pyarrow as pa

from dativo_plugin_sdk import DiscoveryResult, Message, Partition, State, StreamReader, StreamSpec
from dativo_plugin_sdk.results import Check, ConnectionTestResult

Places: TypeAlias = Mapping[str, Any]

MIB: Final = 2**20
_PTRACE_TRACEME: Final = 0
_NEW_USER: Final = 0x10000000
_PR_SET_NAME, _PR_SET_NO_NEW_PRIVS = 15, 38
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_LAYERS = 32  # the kernel takes 16
_SPIN_S = 0.5
_LIBC = ctypes.CDLL(None, use_errno=True)


def read_file(places: Places) -> bool:
    """Read a file of another's."""
    return bool(Path(places["canary"]).read_bytes())


def write_file(places: Places) -> bool:
    """Write beside it."""
    return Path(places["folder"], f"written-{os.getpid()}").write_text("x") == 1


def see_process(places: Places) -> bool:
    """Find another's process."""
    mark = places["mark"].encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes():
                return True
    raise ProcessLookupError("it is not in /proc")


def signal_process(places: Places) -> bool:
    """Send a signal to it: none that does anything."""
    os.kill(places["pid"], 0)
    return places["mark"].encode() in Path(f"/proc/{places['pid']}/cmdline").read_bytes()


def outlive(places: Places) -> bool:
    """Leave a process that goes on; the doctor looks for it afterwards."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            _LIBC.prctl(_PR_SET_NAME, places["left"].encode(), 0, 0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        os._exit(0)
    return False


def start_program(_: Places) -> bool:
    """Start another program, which it is not granted."""
    return os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", "-c", ""], {}) > 0


def fork(_: Places) -> bool:
    """Start another process."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


def connect(places: Places) -> bool:
    """Connect to a server of the machine's."""
    with socket.create_connection(("127.0.0.1", places["port"]), timeout=5):
        return True


def connect_abstract(places: Places) -> bool:
    """Connect to a server that has a name of the kernel's."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(f"\0{places['mark']}")
    return True


def have_interface(_: Places) -> bool:
    """Have a way out of the machine."""
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    if not names:
        raise ConnectionError("there is the loopback interface alone")
    return True


def trace(_: Places) -> bool:
    """Call ptrace, by which one process reads another's memory."""
    return _survives(lambda: _called(_LIBC.ptrace(_PTRACE_TRACEME, 0, 0, 0)))


def new_namespace(_: Places) -> bool:
    """Become root in a namespace, where the kernel has more to attack."""
    return _survives(lambda: _called(_LIBC.unshare(_NEW_USER)))


def gain_rights(_: Places) -> bool:
    """Have a capability, or be able to get one from a program."""
    facts = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if ":" in line
    )
    held = [name for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb") if int(facts[name], 16)]
    if held or int(facts["NoNewPrivs"]) == 0:
        return True
    raise PermissionError("there are no capabilities, and no new privileges")


def restrict_further(places: Places) -> int:
    """Count how many layers of Landlock the kernel takes: one less for each that holds already."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, bytes([_layers()]))
        os._exit(0)
    os.close(writing)
    count = os.read(reading, 1)[0]
    os.close(reading)
    os.waitpid(pid, 0)
    most = places.get("layers")
    if most is not None and count < most:
        raise PermissionError(f"{most - count} layer(s) of Landlock hold already")
    return count


def _layers() -> int:
    rules = ctypes.create_string_buffer((1 << 6).to_bytes(8, sys.byteorder))  # making devices, which nobody does here
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    number = _LIBC.syscall(_LANDLOCK_CREATE, rules, ctypes.c_size_t(8), 0)
    if number < 0:
        return 0
    return next((count for count in range(_LAYERS) if _LIBC.syscall(_LANDLOCK_RESTRICT, number, 0) != 0), _LAYERS)


def take_memory(places: Places) -> bool:
    """Take more memory than it may have."""
    taken = b"x" * (places["much_mib"] * MIB)
    time.sleep(0.5)
    return bool(taken)


def start_many(places: Places) -> bool:
    """Have more processes than it may."""
    children: list[int] = []
    try:
        while len(children) < places["many"]:
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return True


def spin(places: Places) -> bool:
    """Use more of the processors than it may."""
    began = os.times()
    children = [os.fork() for _ in range(2)]
    if 0 in children:
        until = time.monotonic() + _SPIN_S
        while time.monotonic() < until:
            pass
        os._exit(0)
    for pid in children:
        os.waitpid(pid, 0)
    ended = os.times()
    used_s = ended.children_user + ended.children_system - began.children_user - began.children_system
    share = used_s / (ended.elapsed - began.elapsed)
    if share <= places["cpu"] * 1.5:
        raise TimeoutError(f"it had {share:.2f} of a processor")
    return True


def fill(_: Places, *, much_mib: int, where: str) -> bool:
    """Keep more in files than it may."""
    with tempfile.TemporaryDirectory(dir=where) as folder:
        for number in range(much_mib):
            Path(folder, f"{number}").write_bytes(b"x" * MIB)
    return True


def fill_temporary(places: Places) -> bool:
    """Keep more in its temporary folder than it may."""
    return fill(places, much_mib=places["much_disk_mib"], where=tempfile.gettempdir())


def fill_home(places: Places) -> bool:
    """Keep more in its home than it may."""
    return fill(places, much_mib=places["much_disk_mib"], where=os.environ["HOME"])


def stay(_: Places) -> bool:
    """Stay longer than it may."""
    time.sleep(60)
    return True


def print_much(places: Places) -> bool:
    """Print more than it may."""
    line = "x" * 1023
    for _ in range(places["much_text_kib"]):
        print(line)  # noqa: T201  that is what is tried
    sys.stdout.flush()
    time.sleep(2)
    return True


ATTEMPTS: dict[str, Callable[[Places], int]] = {
    function.__name__: function
    for function in (
        *(read_file, write_file, see_process, signal_process, outlive, start_program, fork),
        *(
            connect,
            connect_abstract,
            have_interface,
            trace,
            new_namespace,
            gain_rights,
            restrict_further,
            take_memory,
            start_many,
            spin,
        ),
        *(fill_temporary, fill_home, stay, print_much),
    )
}


def _survives(act: Callable[[], None]) -> bool:
    """Act in a process of its own, as the kernel may end it for that; say whether it could."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            act()
            os._exit(0)
        os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        raise PermissionError(f"the kernel ended it: {signal.Signals(-code).name}")
    if code:
        raise PermissionError("the kernel refused it")
    return True


def _called(answer: int) -> None:
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Trial(StreamReader):
    """Makes the attempts that ``connection.attempts`` names."""

    def check(self, streams: Sequence[StreamSpec]) -> Sequence[Check]:  # noqa: ARG002  it has none
        """Make an attempt in each step."""
        return [Check(name, partial(self._make, name)) for name in self.config.connection["attempts"]]

    def _make(self, name: str) -> ConnectionTestResult:
        try:
            found = ATTEMPTS[name](self.config.connection)
        except OSError as error:
            return ConnectionTestResult(success=True, message="", details={"through": False, "why": str(error)})
        return ConnectionTestResult(success=True, message="", details={"through": found > 0, "count": int(found)})

    def discover(self, pattern: str | None = None) -> DiscoveryResult:  # noqa: ARG002  it has nothing
        """Offer nothing."""
        return DiscoveryResult([])

    def schema(self, stream: StreamSpec) -> pa.Schema:  # noqa: ARG002
        """Have no columns."""
        return pa.schema([])

    def partitions(self, stream: StreamSpec, state: State | None) -> Sequence[Partition]:  # noqa: ARG002
        """Have no rows."""
        return []

    def read(self, stream: StreamSpec, partition: Partition, state: State | None) -> Iterator[Message]:  # noqa: ARG002
        """Have no rows."""
        return iter(())
