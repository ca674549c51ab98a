"""Attempts to take more than there is to take. Those that may end the plugin's process are marked by their names."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from attempts import Places, attempt, call, folder_of_sockets
from on_kernel import NUMBER

MIB = 2**20
HOLD_S = 1.0


@attempt("limits: 150 processes, a fork bomb")
def _(places: Places) -> object:
    children: list[int] = []
    try:
        while len(children) < 150:
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)
    return True


@attempt("limits: 150 threads")
def _(places: Places) -> object:
    until = threading.Event()
    threading.stack_size(2**16)
    threads: list[threading.Thread] = []
    try:
        for _ in range(150):
            thread = threading.Thread(target=until.wait)
            thread.start()
            threads.append(thread)
    finally:
        until.set()
        for thread in threads:
            thread.join()
    return True


@attempt("limits: memory, by one process")
def _(places: Places) -> object:
    taken = b"x" * (places["much_mib"] * MIB)
    time.sleep(HOLD_S)
    return len(taken)


@attempt("limits: memory, by eight processes")
def _(places: Places) -> object:
    share = places["much_mib"] * MIB // 8
    reading, writing = os.pipe()
    children = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            taken = b"x" * share
            os.write(writing, b"x")
            signal.pause()
            os._exit(len(taken) % 2)
        children.append(pid)
    os.close(writing)
    held = 0
    while held < 8 and os.read(reading, 1):
        held += 1
    time.sleep(HOLD_S)
    alive = [pid for pid in children if os.waitpid(pid, os.WNOHANG)[0] == 0]
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue
    return len(alive) == 8


@attempt("limits: memory, that no process has mapped")
def _(places: Places) -> object:
    hidden = call(NUMBER["memfd_create"], ctypes.c_char_p(b"hidden"), 0)
    for _ in range(places["much_mib"]):
        os.write(hidden, b"x" * MIB)
    time.sleep(HOLD_S)
    return True


@attempt("limits: memory, in the buffers of sockets")
def _(places: Places) -> object:
    share = places["much_mib"] * MIB // 8
    reading, writing = os.pipe()
    children = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            kept = _full_sockets(share)
            os.write(writing, b"x")
            signal.pause()
            os._exit(len(kept) % 2)
        children.append(pid)
    os.close(writing)
    held = 0
    while held < 8 and select.select([reading], [], [], HOLD_S * 8)[0] and os.read(reading, 1):
        held += 1
    time.sleep(HOLD_S)
    alive = [pid for pid in children if os.waitpid(pid, os.WNOHANG)[0] == 0]
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    return held == len(alive) == 8


def _full_sockets(wanted: int) -> list[socket.socket]:
    """Send to sockets that nobody reads, until they hold as much."""
    piece = bytes(MIB // 8)
    kept: list[socket.socket] = []
    while wanted > 0:
        pair = socket.socketpair()
        kept += pair
        for each in pair:
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)
            with contextlib.suppress(BlockingIOError):
                while True:
                    wanted -= each.send(piece)
    return kept


@attempt("limits: disk, wherever it may write")
def _(places: Places) -> object:
    most = 0
    folders = {os.environ["HOME"], os.environ["TMPDIR"], str(folder_of_sockets()), *places["else_writable"]}
    for folder in sorted(folders):
        path = Path(folder, "much")
        written = 0
        try:
            with path.open("wb", buffering=0) as file:
                while written < places["much_disk_mib"]:
                    file.write(b"x" * MIB)
                    written += 1
        except OSError:
            continue
        finally:
            most = max(most, written)
            with contextlib.suppress(OSError):
                path.unlink()
    if most < places["much_disk_mib"]:
        raise OSError(28, f"full at {most} MiB")
    return True


@attempt("limits: 5000 open files")
def _(places: Places) -> object:
    for _ in range(5000):
        os.open("/dev/null", os.O_RDONLY)
    return True


@attempt("limits: raise the own limits")
def _(places: Places) -> object:
    for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK):
        soft, hard = resource.getrlimit(number)
        if hard != resource.RLIM_INFINITY:
            resource.setrlimit(number, (soft, hard + 1))
            return True
    return resource.getrlimit(resource.RLIMIT_CORE)[1] == resource.RLIM_INFINITY


@attempt("limits: leave a core file")
def _(places: Places) -> object:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    return hard != 0


@attempt("limits: choose its processors")
def _(places: Places) -> object:
    every = ctypes.create_string_buffer(b"\xff" * 128, 128)
    return call(NUMBER["sched_setaffinity"], 0, 128, every) >= 0


@attempt("limits: go before others, nice")
def _(places: Places) -> object:
    return os.nice(-1) < 0


@attempt("limits: go before everybody, real time")
def _(places: Places) -> object:
    return call(NUMBER["sched_setscheduler"], 0, 1, ctypes.byref(ctypes.c_int(1))) == 0


@attempt("limits: print without end", forked=False)
def _(places: Places) -> object:
    for _ in range(64):
        sys.stderr.buffer.write(b"x" * 1023 + b"\n" + (b"y" * 1023 + b"\n") * 1023)
        sys.stderr.flush()
    return True


@attempt("programs: start one", forked=False)
def _(places: Places) -> object:
    return os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "exit 0"], {}), 0)[1] == 0


@attempt("programs: start one that it has written", forked=False)
def _(places: Places) -> object:
    path = Path(os.environ["HOME"], "program")
    path.write_text(f"#!{os.path.realpath('/proc/self/exe')}\n")
    path.chmod(0o755)
    return os.waitpid(os.posix_spawn(path, ["program"], {}), 0)[1] == 0


@attempt("programs: start the interpreter again", forked=False)
def _(places: Places) -> object:
    return os.waitpid(os.posix_spawn("/proc/self/exe", [sys.executable, "-I", "-S", "-c", ""], {}), 0)[1] == 0


@attempt("programs: fork", forked=False)
def _(places: Places) -> object:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


@attempt("programs: fork by hand, clone", forked=False)
def _(places: Places) -> object:
    pid = call(NUMBER["clone"], 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0
