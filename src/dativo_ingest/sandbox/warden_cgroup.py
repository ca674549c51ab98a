"""A control group around one plugin, as the warden keeps it; the standard library alone, and little of it.

What it is made of comes with the warden's plan, from `dativo_ingest.sandbox.cgroups.Place.plan`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Any

_PAUSE_S = 0.005


class Group:
    """One group, in as many hierarchies as it takes.

    Args:
        plan: The entry ``cgroup`` of a plan.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self._folders: list[str] = plan["folders"]
        self._settings: list[list[Any]] = plan["settings"]
        self._counters: dict[str, list[Any]] = plan["counters"]
        self._kill: str | None = plan["kill"]
        self._no_more: str | None = plan["no_more"]
        self._made: list[str] = []

    def make(self) -> None:
        """Make it, with its limits.

        Raises:
            OSError: It cannot be made; nothing of it is left.
        """
        try:
            for folder in self._folders:
                os.mkdir(folder)  # noqa: PTH102  pathlib takes long to import
                self._made.append(folder)
            for file, value, as_good in self._settings:
                try:
                    _write(file, value)
                except OSError as error:
                    if error.errno not in as_good:
                        raise
        except OSError:
            self.remove(0.0)
            raise

    def join(self) -> None:
        """Move this very process into it.

        Raises:
            OSError: It may not.
        """
        for folder in self._folders:
            _write(f"{folder}/cgroup.procs", "0")

    def counted(self) -> dict[str, float]:
        """Read what has happened in it; what this kernel does not count is left out."""
        found = {}
        for key, (file, word, factor) in self._counters.items():
            number = _number(file, word)
            if number is not None:
                found[key] = number * factor
        return found

    def is_out_of_memory(self) -> bool:
        """Say whether a process in it was killed for memory."""
        where = self._counters.get("oom_kills")
        return where is not None and bool(_number(where[0], where[1]))

    def kill(self) -> bool:
        """Kill whatever is in it, once; say whether there was anything."""
        if self._no_more is not None:
            with contextlib.suppress(OSError):
                _write(self._no_more, "0")
        if self._kill is not None:
            with contextlib.suppress(OSError):
                _write(self._kill, "1")
        found = False
        for folder in self._made[:1]:
            for pid in _pids(folder):
                found = True
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        return found

    def remove(self, within_s: float) -> bool:
        """Kill what is left, and remove it; say whether it is gone."""
        until_s = time.monotonic() + within_s
        while self._made:
            self.kill()
            for folder in list(self._made):
                with contextlib.suppress(OSError):  # it has processes that are on their way out
                    os.rmdir(folder)  # noqa: PTH106  pathlib takes long to import
                    self._made.remove(folder)
            if self._made and time.monotonic() >= until_s:
                return False
            if self._made:
                time.sleep(_PAUSE_S)
        return True


def _pids(folder: str) -> list[int]:
    with contextlib.suppress(OSError), open(f"{folder}/cgroup.procs", "rb") as file:  # noqa: PTH123  likewise
        # 0 stands for one of another namespace; to kill(2) it is everybody in the own process group.
        return [pid for pid in map(int, file.read().split()) if pid > 0]
    return []


def _number(file: str, word: str | None) -> int | None:
    """Read a number from a file: its only one, or the one behind a word."""
    with contextlib.suppress(OSError, ValueError), open(file, "rb") as found:  # noqa: PTH123  likewise
        for line in found.read().splitlines():
            parts = line.split()
            if word is None and parts:
                return int(parts[0])
            if len(parts) == 2 and parts[0].decode() == word:  # noqa: PLR2004  a word and its number
                return int(parts[1])
    return None


def _write(file: str, value: str) -> None:
    at = os.open(file, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(at, value.encode())
    finally:
        os.close(at)
