"""Names the system call for which the kernel ends a plugin.

The kernel sends SIGSYS in the very place where a trapped call is made, so the handler may do what it likes: nothing has
been interrupted. It says which call that was and makes one more that is trapped, which ends the process, as no handler
runs within itself. A plugin that has a handler of its own instead is not allowed the call either.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Mapping

EXIT_CODE = 128 + signal.SIGSYS
"""For the case that there is no such signal to die of."""

_SA_SIGINFO = 4
_MASK_BYTES = 128  # of glibc's sigset_t; musl's is as large
_STDERR = 2
_SYS_SECCOMP = 1


class _Information(ctypes.Structure):
    """``siginfo_t`` for SIGSYS, sigaction(2)."""

    _fields_ = (
        ("si_signo", ctypes.c_int),
        ("si_errno", ctypes.c_int),
        ("si_code", ctypes.c_int),
        ("si_call_addr", ctypes.c_void_p),
        ("si_syscall", ctypes.c_int),
    )


_names: dict[int, str] = {}


_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.POINTER(_Information), ctypes.c_void_p)


class _Action(ctypes.Structure):
    """``struct sigaction`` of the C library on 64-bit Linux."""

    _fields_ = (
        ("sa_sigaction", _Handler),
        ("sa_mask", ctypes.c_byte * _MASK_BYTES),
        ("sa_flags", ctypes.c_int),
        ("sa_restorer", ctypes.c_void_p),
    )


def install(names: Mapping[int, str]) -> None:
    """Have this process, and those that it forks, say which call they are ended for.

    Args:
        names: The trapped calls of this machine by number, out of `call_names.CALLS`; ``ptrace`` is one of them.

    Raises:
        OSError: There can be no handler.
    """
    _names.update(names)
    libc = ctypes.CDLL(None, use_errno=True)
    action = _Action(_handler, (ctypes.c_byte * _MASK_BYTES)(), _SA_SIGINFO, None)
    if libc.sigaction(int(signal.SIGSYS), ctypes.byref(action), None):
        raise OSError(ctypes.get_errno(), "sigaction")
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_handler))  # the kernel goes on calling it, whoever forgets this module


def _handle(number: int, information: ctypes._Pointer[_Information], context: int) -> None:  # noqa: ARG001  the kernel's
    if information.contents.si_code == _SYS_SECCOMP:  # and not sent by somebody
        call = information.contents.si_syscall
        name = _names.get(call, "unknown")
        os.write(_STDERR, f"dativo-sandbox: the system call {name} ({call}) is not allowed\n".encode())
    ctypes.CDLL(None).syscall(next(number for number, name in _names.items() if name == "ptrace"), 0, 0, 0, 0)
    os._exit(EXIT_CODE)


_handler = _Handler(_handle)
