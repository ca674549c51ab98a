"""Stop a plugin's code wherever it is: in a loop, asleep, or waiting for a socket.

A signal to the main thread raises `CancelledCallError` there, but only within `Cancelling.call`, and not while a frame
is on its way: half a frame would be the end of the conversation.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

Result = TypeVar("Result")

_SIGNAL = signal.SIGRTMAX - 3  # hardly anybody's


class CancelledCallError(BaseException):
    """Raised within the plugin's code; no ``Exception``, so that few handlers take it for a failure."""


class Cancelling:
    """Which request is under way, and whether it is to stop. Make it in the main thread, which serves requests."""

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._current: int | None = None
        self._wanted: int | None = None
        self._due = False
        self._open = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signal while this lasts."""
        before = signal.signal(_SIGNAL, self._interrupt)
        try:
            yield
        finally:
            signal.signal(_SIGNAL, before)

    def begin(self, number: int) -> None:
        """Note the request that is served now."""
        self._open = False
        self._current = number
        self._due = self.is_wanted

    def end(self) -> None:
        """Note that it is answered: nothing is raised any more."""
        self._open = self._due = False
        self._current = None

    @property
    def is_wanted(self) -> bool:
        """Whether the request under way is to stop."""
        return self._wanted is not None and self._wanted == self._current

    def want(self, number: int) -> None:
        """Stop a request, from another thread; one that is answered already is left alone."""
        self._wanted = number
        self.remind()

    def remind(self) -> None:
        """Raise once more, from another thread: a handler for everything may have swallowed it the first time."""
        if self.is_wanted:
            self._due = True
            signal.pthread_kill(self._main, _SIGNAL)

    def call(self, function: Callable[[], Result]) -> Result:
        """Call the plugin's code.

        Raises:
            CancelledCallError: The request is to stop.
        """
        try:
            self._open = True
            self._raise_if_due()
            return function()
        finally:
            self._open = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Put off what `call` would raise, while something is done whole; other threads are not affected."""
        if threading.get_ident() != self._main or not self._open:
            yield
            return
        self._open = False
        try:
            yield
        finally:
            self._open = True
            self._raise_if_due()

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._open:
            self._raise_if_due()

    def _raise_if_due(self) -> None:
        if self._due:
            self._due = False
            if self.is_wanted:  # a reminder may have met the next request
                raise CancelledCallError
