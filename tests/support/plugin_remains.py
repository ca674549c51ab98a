"""What a plugin could leave behind: processes, zombies, folders with sockets, threads and open files of the engine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_SOON_S = 5.0


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


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
    files: int = field(default_factory=_open_files)

    def processes(self) -> list[int]:
        """Find the processes of the plugin, and children of this process that nobody has waited for."""
        return [int(path.name) for path in Path("/proc").glob("[0-9]*") if self._is_ours(path)]

    def look(self) -> None:
        """Fail where something is left, now or within a moment."""
        assert not eventually(self.processes)
        assert not list(self.folder.iterdir())
        assert not eventually(lambda: set(threading.enumerate()) - self.threads)
        assert not eventually(lambda: _open_files() > self.files)

    def _is_ours(self, path: Path) -> bool:
        try:
            command = (path / "cmdline").read_bytes()
            state, parent, *_ = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        return self.mark.encode() in command or (state == "Z" and int(parent) == os.getpid())


def eventually(found: Callable[[], object]) -> object:
    """Ask until nothing is found, and give what still is after a few seconds."""
    until_s = time.monotonic() + _SOON_S
    while (still := found()) and time.monotonic() < until_s:
        time.sleep(0.01)
    return still
