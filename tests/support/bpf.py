"""What a filter of system calls says, worked out here: also for machines that this one is not."""

from __future__ import annotations

import struct
from collections.abc import Sequence

ALLOW = 0x7FFF0000
TRAP = 0x00030000
KILL_PROCESS = 0x80000000
_WORD = 0xFFFFFFFF
_DATA = struct.Struct("<iIQ6Q")  # struct seccomp_data: number, architecture, address, arguments
_INSTRUCTION = struct.Struct("<HBBI")


def refused(number: int) -> int:
    """Give the verdict that answers a call with an error number."""
    return 0x00050000 | number


def verdict(program: bytes, architecture: int, call: int, arguments: Sequence[int] = ()) -> int:
    """Run a program of seccomp(2) over one call; it may only use what such filters are made of."""
    data = _DATA.pack(call if call < 2**31 else call - 2**32, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    instructions = list(_INSTRUCTION.iter_unpack(program))
    at = accumulator = 0
    while True:
        code, if_true, if_false, constant = instructions[at]
        at += 1
        match code:
            case 0x20:  # load a word
                (accumulator,) = struct.unpack_from("<I", data, constant)
            case 0x54:  # and
                accumulator &= constant
            case 0x05:  # jump
                at += constant
            case 0x15:
                at += if_true if accumulator == constant else if_false
            case 0x25:
                at += if_true if accumulator > constant else if_false
            case 0x35:
                at += if_true if accumulator >= constant else if_false
            case 0x45:
                at += if_true if accumulator & constant else if_false
            case 0x06:
                return constant & _WORD
            case _:
                raise AssertionError(f"an instruction that was not expected: {code:#x}")
