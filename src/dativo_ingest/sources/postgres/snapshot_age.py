"""Ends what keeps an image of the database for too long: old row versions cannot be removed while it is open."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from dativo_ingest.postgres.sessions import Session


class SnapshotAge:
    """Watches one image, from when it is taken.

    Args:
        max_s: How old it may get; 0 is for ever.
        end: Ends the sessions that keep it, from another thread.

    Attributes:
        is_over: Whether it got too old.
    """

    def __init__(self, max_s: float, end: Callable[[], None]) -> None:
        self.max_s = max_s
        self.is_over = False
        self._end = end

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch while the block runs."""
        if not self.max_s:
            yield
            return
        timer = threading.Timer(self.max_s, self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _expire(self) -> None:
        self.is_over = True
        self._end()


def sever(session: Session) -> None:
    """Cut a session's connection, whatever another thread does with it: the server ends its transaction."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(session.pgconn.socket)) as connection:
        connection.shutdown(socket.SHUT_RDWR)


class Stopwatch:
    """Adds up how long something took."""

    def __init__(self) -> None:
        self.total_s = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the time that the block takes."""
        started_s = time.monotonic()
        try:
            yield
        finally:
            self.total_s += time.monotonic() - started_s
