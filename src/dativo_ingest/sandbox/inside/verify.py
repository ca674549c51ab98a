"""The sandbox as it is found from within, against what it should be."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Any

_CAPABILITIES = ("CapPrm", "CapEff", "CapBnd")
_MORE_CAPABILITIES = ("CapInh", "CapAmb")  # gVisor's status does not have the latter
_FILTERED = "2"
_PR_GET_NO_NEW_PRIVS = 39
_SIOCGIFFLAGS, _IFF_UP = 0x8913, 1  # netdevice(7)
_UNTIL_NAMES = 2  # lines of /proc/net/dev


class WrongError(Exception):
    """The sandbox is not what it should be."""


def verify(plan: dict[str, Any]) -> None:
    """Make sure of everything that can be seen from here.

    Raises:
        WrongError: Something is not as it should be; the message says what.
        OSError: It cannot be told.
    """
    for wrong in (
        *_wrong_with_kernel(plan),
        *_wrong_with_process(plan),
        *_wrong_with_network(),
        *_wrong_with_files(plan),
    ):
        raise WrongError(wrong)


def _wrong_with_kernel(plan: dict[str, Any]) -> list[str]:
    own = os.uname()
    return ["its kernel is the host's"] if plan["not_kernel"] == f"{own.release} {own.version}" else []


def _wrong_with_process(plan: dict[str, Any]) -> list[str]:
    status = dict(line.split(":\t", 1) for line in _read("/proc/self/status").splitlines() if ":\t" in line)
    users = {*status["Uid"].split(), *status["Gid"].split()}
    found = []
    if users != {str(plan["uid"])}:
        found.append(f"its user and group are {', '.join(sorted(users))} and not {plan['uid']}")
    if ctypes.CDLL(None).prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1:  # gVisor's status does not have it
        found.append("it may gain privileges")
    if status["Seccomp"].strip() != _FILTERED:
        found.append("its system calls are not filtered")
    more = [name for name in _MORE_CAPABILITIES if name in status]
    held = [name for name in (*_CAPABILITIES, *more) if int(status[name], 16)]
    if held:
        found.append(f"it has capabilities ({', '.join(held)})")
    return found


def _wrong_with_network() -> list[str]:
    lines = _read("/proc/self/net/dev").splitlines()[_UNTIL_NAMES:]
    names = {line.partition(":")[0].strip() for line in lines}
    others = sorted(name for name in names - {"lo"} if _is_up(name))
    return [f"it has the network {', '.join(others)}"] if others else []


def _is_up(name: str) -> bool:
    """Say whether an interface is in use; some kernels put others that are not into every network."""
    import fcntl  # noqa: PLC0415  seldom needed, and they cost time
    import socket  # noqa: PLC0415

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16s24x", name.encode()))
    return bool(struct.unpack_from("H", answer, 16)[0] & _IFF_UP)


def _wrong_with_files(plan: dict[str, Any]) -> list[str]:
    found = []
    if not (os.statvfs("/").f_flag & os.ST_RDONLY or _is_mounted_read_only("/")):
        found.append("its root can be written")
    for path, (device, number) in plan["files"].items():
        there = os.stat(path)  # noqa: PTH116  pathlib takes long to import
        if (there.st_dev, there.st_ino) != (device, number):
            found.append(f"{path} is another file than the one that was granted")
    return found


def _is_mounted_read_only(path: str) -> bool:
    """Look where gVisor says it, too."""
    mounts = [line.split() for line in _read("/proc/self/mounts").splitlines()]
    options = [options for _, place, _, options, *_ in mounts if place == path]
    return bool(options) and "ro" in options[-1].split(",")


def _read(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123  likewise
        return file.read()
