"""No other programs and no other processes, for a plugin that did not ask for them; threads go on.

A filter of system calls beside the sandbox's own one: the program that is running now was started with ``execve``, and
nothing after it is.
"""

from __future__ import annotations

import os
import struct

from .filters import hold_to

_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # places in struct seccomp_data
_LOAD, _IF_EQUAL, _IF_ALL_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_CLONE_THREAD = 0x00010000
_CLONE3 = 435

_CALLS = {  # AUDIT_ARCH of linux/audit.h, execve and execveat, those that only fork, clone
    "x86_64": (0xC000003E, (59, 322), (57, 58), 56),
    "aarch64": (0xC00000B7, (221, 281), (), 220),
}


def deny_programs(*, also_exec: bool) -> None:
    """Have the kernel refuse new processes with EPERM, and new programs where these are denied too.

    Raises:
        OSError: The kernel, or the machine's architecture, does not take the filter.
    """
    program = _filter(os.uname().machine, also_exec=also_exec)
    instructions = b"".join(struct.pack("=HBBI", *each) for each in program)
    hold_to(instructions, "the filter against other programs")


def _filter(machine: str, *, also_exec: bool) -> list[tuple[int, int, int, int]]:
    """Write the filter in the terms of ``seccomp(2)``: code, jumps if true and if false, value."""
    if machine not in _CALLS:
        raise OSError(_ENOSYS, f"there is no filter against other programs for {machine}")
    architecture, execs, forks, clone = _CALLS[machine]
    denied = (*execs, *forks) if also_exec else forks
    rules = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for number in denied:
        rules += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERROR | _EPERM)]
    rules += [(_IF_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERROR | _ENOSYS)]  # its flags lie in memory, so not in sight
    rules += [
        (_IF_EQUAL, 0, 3, clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_IF_ALL_SET, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _ERROR | _EPERM),
    ]
    return [*rules, (_RETURN, 0, 0, _ALLOW)]
