"""Runs a command as an ordinary user: ``python ordinary_user.py FOLDER... -- COMMAND...``.

The tests run as root, whose Python and temporary folders nobody else may look into. So the command gets a mount
namespace of its own, in which what bars the way to these folders is open; nothing changes outside of it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

UID = 12345
ROOT = Path(__file__).parents[2]

_OPEN_TREE, _MOVE_MOUNT = 428, 429
_CLONE_RECURSIVE = 0x8001 | os.O_CLOEXEC
_FROM_DESCRIPTOR = 4
_AT_FDCWD = -100
_CLONE_NEWNS = 0x00020000
_PRIVATE = 0x44000
_OTHERS_MAY_PASS = 0o001

_library = ctypes.CDLL(None, use_errno=True)


def as_ordinary_user(command: Sequence[str], *folders: Path) -> list[str]:
    """Give the command that runs another one as an ordinary user, who can reach these folders."""
    return [sys.executable, "-I", "-S", __file__, *map(str, folders), "--", *command]


def main(arguments: list[str]) -> None:
    at = arguments.index("--")
    needed = [Path(os.path.realpath(each)) for each in (sys.base_prefix, ROOT, *arguments[:at])]
    checked(_library.unshare(_CLONE_NEWNS))
    checked(_library.mount(None, b"/", None, ctypes.c_ulong(_PRIVATE), None))
    barred = {bar: [path for path in needed if path.is_relative_to(bar)] for bar in filter(None, map(bar_to, needed))}
    for bar, paths in barred.items():
        trees = [
            checked(_library.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), _CLONE_RECURSIVE)) for path in paths
        ]
        checked(_library.mount(b"tmpfs", os.fsencode(bar), b"tmpfs", ctypes.c_ulong(0), b"mode=0755"))
        for tree, path in zip(trees, paths, strict=True):
            path.mkdir(parents=True, exist_ok=True)
            place = os.fsencode(path)
            checked(_library.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, place, _FROM_DESCRIPTOR))
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    command = arguments[at + 1 :]
    os.execvp(command[0], command)  # noqa: S606  what the test runs


def bar_to(path: Path) -> Path | None:
    """Give the first folder on the way to a path that others may not pass through."""
    return next((each for each in reversed(path.parents) if not each.stat().st_mode & _OTHERS_MAY_PASS), None)


def checked(done: int) -> int:
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


if __name__ == "__main__":
    main(sys.argv[1:])
