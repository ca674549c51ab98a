"""SIGINT and SIGTERM end a run before its next commit; a second SIGINT ends the process at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dativo_ingest.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from dativo_ingest.cli.logs import Talk

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STDERR = 2
_SHOW_CURSOR = b"\x1b[?25h"  # a progress bar hides it


@dataclass
class Stop:
    """Whether to stop, and what asked for it."""

    event: threading.Event = field(default_factory=threading.Event)
    signal_number: int | None = None

    @property
    def exit_code(self) -> int:
        """The code of a process that was stopped this way."""
        return exit_codes.TERMINATED if self.signal_number == signal.SIGTERM else exit_codes.INTERRUPTED


@contextmanager
def stoppable(talk: Talk) -> Iterator[Stop]:
    """Turn the first signal into a set event; the handlers of before are back afterwards.

    A commit is one step in the target, so even the hard end of a second SIGINT leaves the last commit consistent.
    """
    stop = Stop()
    lines: dict[int, bytes] = {number: _line(number, talk) for number in _SIGNALS}

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.event.is_set() and number == signal.SIGINT:
            if os.isatty(_STDERR):
                os.write(_STDERR, _SHOW_CURSOR)
            os._exit(exit_codes.INTERRUPTED)
        stop.signal_number = stop.signal_number or number
        stop.event.set()
        with contextlib.suppress(OSError):  # nobody reads stderr: the run stops all the same
            os.write(_STDERR, lines[number])

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _line(number: int, talk: Talk) -> bytes:
    """Make what a handler says beforehand: it may run in the middle of another line, whose locks are then held."""
    name = signal.Signals(number).name
    text = f"{name}: stopping before the next commit; interrupt again to end at once"
    return (talk.line(text, "warning") + "\n").encode()
