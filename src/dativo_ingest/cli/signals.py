"""SIGINT and SIGTERM end a run before its next commit; a second SIGINT ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dativo_ingest.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from dativo_ingest.cli.logs import Talk

_SHOW_CURSOR = "\x1b[?25h"


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

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.event.is_set() and number == signal.SIGINT:
            if sys.stderr.isatty():
                os.write(2, _SHOW_CURSOR.encode())  # a progress bar hides it
            os._exit(exit_codes.INTERRUPTED)
        stop.signal_number = stop.signal_number or number
        stop.event.set()
        name = signal.Signals(number).name
        talk.say(f"{name}: stopping before the next commit; interrupt again to end at once", "warning")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
