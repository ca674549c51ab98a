"""Runs a program within a filter of system calls: ``python filtered.py FILTER PROGRAM ARGUMENT...``."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_FILTER = 2
_INSTRUCTION_BYTES = 8


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(instructions: bytes) -> None:
    """Have the kernel hold this process, and what comes of it, to a filter."""
    libc = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(instructions) // _INSTRUCTION_BYTES, instructions)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    install(Path(sys.argv[1]).read_bytes())
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  the test's
