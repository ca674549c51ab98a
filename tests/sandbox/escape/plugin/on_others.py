"""Attempts on other processes: their environment, memory and open files, and signals to them."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from pathlib import Path

from attempts import Places, See, attempt, call, libc

NUMBERS = {
    "x86_64": {"ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "syslog": 103, "kcmp": 312},
    "aarch64": {"ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "syslog": 116, "kcmp": 272},
}[os.uname().machine]
PROCESS_VM_READV = NUMBERS["process_vm_readv"]
PIDFD_OPEN, PIDFD_GETFD = 434, 438
PTRACE_ATTACH, PTRACE_DETACH, PTRACE_TRACEME = 16, 17, 0


class Part(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _processes() -> list[Path]:
    return [path for path in Path("/proc").iterdir() if path.name.isdigit()]


def _containing(name: str, wanted: bytes) -> str:
    """Give all that processes tell of themselves with something in it."""
    found = []
    for path in _processes():
        try:
            content = (path / name).read_bytes()
        except OSError:
            continue
        if wanted in content:
            found.append(content.decode(errors="replace"))
    if not found:
        raise FileNotFoundError(f"none of {len(_processes())} processes")
    return " ".join(found)


@attempt("environment: a secret of the engine's in the own environment")
def _(places: Places) -> object:
    return " ".join(os.environ.values())


@attempt("environment: the parent's, /proc/PPID/environ")
def _(places: Places) -> object:
    return Path(f"/proc/{places['engine_pid']}/environ").read_text()


@attempt("environment: anybody's, /proc/*/environ")
def _(places: Places) -> object:
    return _containing("environ", b"DATIVO_ESCAPE_SECRET=")


@attempt("environment: the host's name")
def _(places: Places) -> object:
    return socket.gethostname() == places["host_name"]


@attempt("processes: see the host's, /proc/*/cmdline")
def _(places: Places) -> object:
    return bool(_containing("cmdline", places["victim_mark"].encode()))


@attempt("processes: read another's memory, /proc/PID/mem")
def _(places: Places) -> object:
    with Path(f"/proc/{places['victim_pid']}/mem").open("rb", buffering=0) as memory:
        memory.seek(places["victim_address"])
        return memory.read(places["victim_length"]).decode()


@attempt("processes: read another's memory, process_vm_readv")
def _(places: Places) -> object:
    length = places["victim_length"]
    buffer = ctypes.create_string_buffer(length)
    here, there = Part(ctypes.addressof(buffer), length), Part(places["victim_address"], length)
    call(NUMBERS["process_vm_readv"], places["victim_pid"], ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    return buffer.raw.decode()


@attempt("processes: write into another's memory, process_vm_writev")
def _(places: Places) -> object:
    buffer = ctypes.create_string_buffer(b"x", 1)
    here, there = Part(ctypes.addressof(buffer), 1), Part(places["victim_spare"], 1)
    return call(NUMBERS["process_vm_writev"], places["victim_pid"], ctypes.byref(here), 1, ctypes.byref(there), 1, 0)


@attempt("processes: trace another, ptrace")
def _(places: Places) -> object:
    call(NUMBERS["ptrace"], PTRACE_ATTACH, places["victim_pid"], 0, 0)
    os.waitpid(places["victim_pid"], 0x40000000)
    call(NUMBERS["ptrace"], PTRACE_DETACH, places["victim_pid"], 0, 0)
    return True


@attempt("processes: trace the own parent, ptrace")
def _(places: Places) -> object:
    parent = os.getppid()
    call(NUMBERS["ptrace"], PTRACE_ATTACH, parent, 0, 0)
    os.waitpid(parent, 0x40000000)
    call(NUMBERS["ptrace"], PTRACE_DETACH, parent, 0, 0)
    return True


@attempt("processes: be traced, ptrace")
def _(places: Places) -> object:
    return call(NUMBERS["ptrace"], PTRACE_TRACEME, 0, 0, 0) == 0


@attempt("processes: take an open file from another, pidfd_getfd")
def _(places: Places) -> object:
    other = call(PIDFD_OPEN, places["victim_pid"], 0)
    taken = call(PIDFD_GETFD, other, places["victim_descriptor"], 0)
    return os.pread(taken, 1000, 0).decode()


@attempt("processes: compare two of the kernel's objects, kcmp")
def _(places: Places) -> object:
    return call(NUMBERS["kcmp"], places["victim_pid"], os.getpid(), 1, 0, 0) >= 0


@attempt("processes: change another's limits, prlimit")
def _(places: Places) -> object:
    import resource

    limits = resource.prlimit(places["victim_pid"], resource.RLIMIT_NICE)
    resource.prlimit(places["victim_pid"], resource.RLIMIT_NICE, limits)
    return _is_victim(places)


@attempt("processes: read the kernel's log, syslog")
def _(places: Places) -> object:
    buffer = ctypes.create_string_buffer(4096)
    return call(NUMBERS["syslog"], 3, buffer, 4096) >= 0


@attempt("signals: kill a process of the host's")
def _(places: Places) -> object:
    os.kill(places["victim_pid"], signal.SIGUSR1)
    return See("victim: SIGUSR1")


@attempt("signals: the same by a pidfd")
def _(places: Places) -> object:
    signal.pidfd_send_signal(os.pidfd_open(places["victim_pid"]), signal.SIGUSR2)
    return See("victim: SIGUSR2")


@attempt("signals: the engine")
def _(places: Places) -> object:
    os.kill(places["engine_pid"], signal.SIGUSR1)
    return See("engine: SIGUSR1")


@attempt("signals: whoever owns an open file, F_SETOWN")
def _(places: Places) -> object:
    import fcntl

    one, other = socket.socketpair()
    fcntl.fcntl(one, fcntl.F_SETOWN, places["victim_pid"])
    fcntl.fcntl(one, 10, signal.SIGWINCH)  # F_SETSIG
    fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    other.send(b"x")
    return See("victim: SIGWINCH")


def _is_victim(places: Places) -> bool:
    """Say whether the process of that number is the host's, and not one of the own namespace."""
    return places["victim_mark"].encode() in Path(f"/proc/{places['victim_pid']}/cmdline").read_bytes()


@attempt("descriptors: read a secret file that the engine has open")
def _(places: Places) -> object:
    found = []
    for number in range(3, 256):
        try:
            found.append(os.pread(number, 1000, 0).decode(errors="replace"))
        except OSError:
            continue
    return " ".join(found)


@attempt("descriptors: have an open file that is nobody's business")
def _(places: Places) -> object:
    """Have something open that the plugin's host has not opened: a pipe to the warden, say."""
    own = {os.readlink(f"/proc/self/fd/{number}") for number in range(3)}
    strange = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith("pipe:") and target not in own and not _is_own_pipe(int(name)):
            strange.append(f"{name} {target}")
    return any(strange)


def _is_own_pipe(number: int) -> bool:
    """Say whether a pipe's other end is in this very process, or is that of this attempt."""
    target = os.readlink(f"/proc/self/fd/{number}")
    ends = [each for each in os.listdir("/proc/self/fd") if _target(each) == target]
    parents = [each for each in os.listdir(f"/proc/{os.getppid()}/fd") if _target(each, os.getppid()) == target]
    return len(ends) > 1 or bool(parents)


def _target(name: str, pid: int | str = "self") -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{name}")
    except OSError:
        return ""


@attempt("descriptors: reopen what the engine reads, /proc/PID/fd")
def _(places: Places) -> object:
    folder = Path(f"/proc/{places['engine_pid']}/fd")
    return any(os.access(path, os.R_OK) for path in folder.iterdir()) and _is_engine(places)


def _is_engine(places: Places) -> bool:
    return places["engine_mark"].encode() in Path(f"/proc/{places['engine_pid']}/cmdline").read_bytes()


@attempt("shared memory: attach another's segment, shmat")
def _(places: Places) -> object:
    libc.shmat.restype = ctypes.c_void_p
    number = libc.shmget(places["segment"], 0, 0)
    if number < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    address = libc.shmat(number, None, 0o10000)
    if address in {None, ctypes.c_void_p(-1).value}:
        raise OSError(ctypes.get_errno(), "shmat")
    return ctypes.string_at(address).decode()
