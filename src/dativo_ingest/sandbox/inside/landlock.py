"""Landlock, of which the kernel's ``landlock(7)`` tells: a process gives up files, TCP, signals and abstract sockets.

What is not mounted cannot be opened at all; this holds where a mount is wider than what was meant, and for what no
mount limits: which files may be executed, devices, and sockets without a name in the file system.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from typing import Final

from .verify import WrongError

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # the same numbers on every architecture
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 9, 1 << 10, 1 << 12
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _READ_FILE | _READ_DIR
_WRITE = (
    _READ
    | _WRITE_FILE
    | _REMOVE_DIR
    | _REMOVE_FILE
    | _MAKE_DIR
    | _MAKE_REG
    | _MAKE_SOCK
    | _MAKE_FIFO
    | _MAKE_SYM
    | _REFER
    | _TRUNCATE
)
_FILES_BY_VERSION: Final = (0, 2**13 - 1, 2**14 - 1, 2**15 - 1, 2**15 - 1, 2**16 - 1)
_TCP_FROM, _SCOPES_FROM = 4, 6
_TCP = 0b11  # to bind, to connect
_SCOPES = 0b11  # abstract sockets and signals of processes outside

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def version() -> int:
    """Give the version of Landlock that the kernel has; 0 where it has none, or it is switched off."""
    return max(0, int(_syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)))


def restrict(
    *, read: Iterable[str], write: Iterable[str], execute: Iterable[str], is_needed: bool, denies_tcp: bool
) -> None:
    """Give up everything that is not named, for this process and all that it starts.

    Args:
        read: Folders and files that may be read.
        write: Those that may be read and written.
        execute: Those that may be executed.
        is_needed: Whether it is an error that the kernel has no Landlock.
        denies_tcp: Whether TCP is given up.

    Raises:
        WrongError: The kernel has none.
        OSError: The kernel refuses, or a path is not there.
    """
    found = version()
    if found == 0:
        if is_needed:
            raise WrongError("this kernel has no Landlock")
        return
    files = _FILES_BY_VERSION[min(found, len(_FILES_BY_VERSION) - 1)]
    tcp = _TCP if denies_tcp and found >= _TCP_FROM else 0
    scopes = _SCOPES if found >= _SCOPES_FROM else 0
    size = 8 if found < _TCP_FROM else 16 if found < _SCOPES_FROM else 24
    rules = _call(_CREATE, struct.pack("=QQQ", files, tcp, scopes)[:size], ctypes.c_size_t(size), 0)
    try:
        for paths, rights in ((read, _READ), (write, _WRITE), (execute, _EXECUTE | _READ)):
            for path in paths:
                _allow(rules, path, rights & files)
        if _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "no-new-privileges is refused")
        _call(_RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_FILES
        _call(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _call(*arguments: object) -> int:
    done: int = _syscall(*arguments)
    if done < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return done
