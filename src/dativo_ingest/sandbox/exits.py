"""How a plugin's process ended, and what it used, as its warden reports them."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import Any, Final

MOST_STATUS_BYTES: Final = 2**16
_SHELLS_SIGNAL = 128
"""What a program between the warden and the plugin adds to the number of the signal that ended it."""


@dataclass(frozen=True)
class Exit:
    """How the process ended; both are None where nobody could tell."""

    exit_code: int | None
    signal: int | None

    @property
    def how(self) -> str:
        """Say it: ``was killed by SIGSEGV``."""
        if self.signal is not None:
            name = signal_name(self.signal)
            return f"was killed by {'signal ' if name.isdigit() else ''}{name}"
        return f"ended with exit code {self.exit_code}" if self.exit_code is not None else "was killed"

    def seen_through(self) -> Exit:
        """Give the signal that ended a process within a sandbox, of which only an exit code comes out."""
        number = (self.exit_code or 0) - _SHELLS_SIGNAL
        return Exit(None, number) if number in {*signal.Signals} else self


@dataclass(frozen=True)
class Usage:
    """What the process and all that it started have used, once they are gone.

    Attributes:
        cpu_s: Seconds of processors.
        peak_memory_bytes: The most memory of all of them together, where a control group counts it; else that of the
            largest.
        processes: How many there were; those within a sandbox are one.
        oom_kills: How many were killed because all together had as much memory as they may.
        refused_processes: How often no process or thread was started because there were as many as there may be.
        throttled: How often they had to wait because they had used their part of the processors.
        throttled_s: For how long.
        is_over_memory: Whether the warden ended them for their memory.
    """

    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    processes: int = 0
    oom_kills: int = 0
    refused_processes: int = 0
    throttled: int = 0
    throttled_s: float = 0.0
    is_over_memory: bool = False


@dataclass(frozen=True)
class Status:
    """The one line that a warden writes.

    Attributes:
        exit: How the plugin ended.
        usage: What it used.
        unheld: Why it was never started: what could not be done to hold it.
    """

    exit: Exit = Exit(None, None)
    usage: Usage = Usage()
    unheld: str | None = None


def read_status(line: bytes) -> Status:
    """Read what the warden reports; nothing is known where it did not come to that."""
    try:
        said = json.loads(line)
        return Status(Exit(said["exit_code"], said["signal"]), _usage_of(said), said.get("unheld"))
    except (ValueError, TypeError, KeyError, AttributeError):
        return Status()


def _usage_of(said: dict[str, Any]) -> Usage:
    group = said.get("group") or {}
    return Usage(
        cpu_s=float(group.get("cpu_s") or said["cpu_s"]),
        peak_memory_bytes=int(group.get("peak_memory_bytes") or said["peak_memory_bytes"]),
        processes=int(said["processes"]),
        oom_kills=int(group.get("oom_kills", 0)),
        refused_processes=int(group.get("refused_processes", 0)),
        throttled=int(group.get("throttled", 0)),
        throttled_s=round(float(group.get("throttled_s", 0.0)), 6),
        is_over_memory=bool(said.get("is_over_memory", False)),
    )


def signal_name(number: int) -> str:
    """Give a signal's name, or its number where it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
