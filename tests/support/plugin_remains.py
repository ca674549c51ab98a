"""What a plugin could leave behind: processes, zombies, folders with sockets, threads and open files of the engine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_SOON_S = 5.0


@dataclass
class Remains:
    """Compares what there is with what there was.

    Args:
        mark: A text in the command line of every process of the plugin.
        folder: Where temporary folders are made.
    """

    mark: str
    folder: Path
    threads: set[threading.Thread] = field(default_factory=lambda: set(threading.enumerate()))
    files: int = field(default_factory=lambda: len(os.listdir("/proc/self/fd")))

    def processes(self) -> list[int]:
        """Find the processes of the plugin, and children of this process that nobody has waited for."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_ours(pid)]

    def look(self) -> None:
        """Fail where something is left, now or within a moment."""
        assert not eventually(self.processes)
        assert not list(self.folder.iterdir())
        assert not eventually(lambda: set(threading.enumerate()) - self.threads)
        assert not eventually(lambda: len(os.listdir("/proc/self/fd")) > self.files)

    def _is_ours(self, pid: int) -> bool:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        return self.mark.encode() in command or (state == "Z" and int(parent) == os.getpid())


def eventually(found: Callable[[], object]) -> object:
    """Ask until nothing is found, and give what still is after a few seconds."""
    until_s = time.monotonic() + _SOON_S
    while (still := found()) and time.monotonic() < until_s:
        time.sleep(0.01)
    return still
