"""How much memory the processes below the warden have, where no control group counts it."""

from __future__ import annotations

import contextlib
import os

_PAGE = os.sysconf("SC_PAGE_SIZE")
_KIB = 1024


def is_above(limit_bytes: int) -> bool:
    """Say whether the processes below this one have more than that: what they share counts once, as far as is told."""
    pids = list(_below(os.getpid()))
    # What is resident is quickly told, and never less: only where that is too much is it looked into.
    return sum(map(_resident, pids)) > limit_bytes and sum(map(_proportional, pids)) > limit_bytes


def _below(pid: int) -> set[int]:
    found: set[int] = set()
    left = [pid]
    while left:
        for child in _children(left.pop()):
            if child not in found:
                found.add(child)
                left.append(child)
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  pathlib takes long to import
            with (
                contextlib.suppress(OSError),
                open(f"/proc/{pid}/task/{task}/children", "rb") as file,  # noqa: PTH123  likewise
            ):
                children += map(int, file.read().split())
    return children


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123  likewise
        return int(file.read().split()[1]) * _PAGE
    return 0


def _proportional(pid: int) -> int:
    """Give its share of memory that it shares with others; all that is resident where the system does not tell."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123  likewise
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * _KIB
    return _resident(pid)
