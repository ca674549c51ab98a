"""Filters of system calls that a process puts on itself, beside those that it was started with."""

from __future__ import annotations

import ctypes
import os
import struct

_PR_SET_SECCOMP, _FILTER = 22, 2
_INSTRUCTION_BYTES = 8


def hold_to(instructions: bytes, what: str) -> None:
    """Have the kernel hold this process, and what comes of it, to a program of ``seccomp(2)``.

    Raises:
        OSError: The kernel does not take it.
    """
    held = ctypes.create_string_buffer(instructions, len(instructions))
    described = struct.pack("@HP", len(instructions) // _INSTRUCTION_BYTES, ctypes.addressof(held))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_SECCOMP, _FILTER, described, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
