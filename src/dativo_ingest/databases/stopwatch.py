"""How long something took, all in all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


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
