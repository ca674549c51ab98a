"""What an attempt to get out of a sandbox is, and how one is made: in a child, as the kernel may end it for it.

An attempt is a function that is given where things are. It is through where it returns something true; where what it
returns is a text, that is what it found, and whoever started the plugin says whether this is the secret. An error is
what stopped it. Of some, only the host can tell whether they had an effect: these give `See` with what there is to see.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

Places: TypeAlias = Mapping[str, Any]
Attempt: TypeAlias = Callable[[Places], object]

LONGEST_S = 30
ATTEMPTS: dict[str, Attempt] = {}
IN_THIS_PROCESS: set[str] = set()

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attempt(name: str, *, forked: bool = True) -> Callable[[Attempt], Attempt]:
    """Add an attempt; one that is not forked is made in the plugin's own process."""

    def add(function: Attempt) -> Attempt:
        assert name not in ATTEMPTS
        ATTEMPTS[name] = function
        if not forked:
            IN_THIS_PROCESS.add(name)
        return function

    return add


def call(number: int, *arguments: object) -> int:
    """Ask the kernel; every number as a whole word."""
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    answer: int = libc.syscall(ctypes.c_long(number), *words)
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def folder_of_sockets() -> Path:
    """Give the folder by which the engine and this plugin talk."""
    inside = Path("/run/io")
    return inside if inside.is_dir() else Path(os.environ["HOME"]).parent


def reaches(number: int, *arguments: object, error: int) -> bool:
    """Say whether a call that is wrong is refused for what is wrong with it, and not before."""
    try:
        call(number, *arguments)
    except OSError as found:
        if found.errno == error:
            return True
        raise
    return True


@dataclass(frozen=True)
class See:
    """What the host sees where an attempt is through."""

    sign: str


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt: whether it is through, or what tells, or what stopped it."""

    through: bool = False
    why: str = ""
    found: str = ""
    sign: str = ""


def made(name: str, places: Places) -> Outcome:
    """Make an attempt."""
    if name in IN_THIS_PROCESS:
        return _made_here(name, places)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _be_child(name, places, writing)
    os.close(writing)
    said = b""
    while select.select([reading], [], [], LONGEST_S)[0]:
        piece = os.read(reading, 65536)
        if not piece:
            break
        said += piece
    os.close(reading)
    if not said.endswith(b"\n"):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if said.endswith(b"\n"):
        return Outcome(**json.loads(said))
    return Outcome(why=signal.Signals(-code).name if code < 0 else f"exit {code}")


def _be_child(name: str, places: Places, writing: int) -> None:
    own = os.getpid()
    try:
        os.setsid()
        outcome = _made_here(name, places)
        if os.getpid() == own:  # and not a child of the attempt's
            os.write(writing, json.dumps(outcome.__dict__).encode() + b"\n")
    finally:
        os._exit(0)


def _made_here(name: str, places: Places) -> Outcome:
    try:
        found = ATTEMPTS[name](places)
    except (OSError, MemoryError, RuntimeError, ImportError, ValueError) as error:
        return Outcome(why=f"{type(error).__name__}: {error}"[:300])
    except Exception:  # noqa: BLE001  a mistake in the attempt is told, and is nothing that stopped it
        return Outcome(why="MISTAKE " + traceback.format_exc())
    if isinstance(found, See):
        return Outcome(sign=found.sign)
    return Outcome(through=bool(found), found=found if isinstance(found, str) else "")
