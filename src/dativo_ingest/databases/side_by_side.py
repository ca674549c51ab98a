"""Runs iterators in threads of their own and gives what they yield as it comes, with a bound on what waits."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
_LOOK_EVERY_S = 0.25
_GRACE_S = 2.0


class StoppedError(Exception):
    """Nobody wants the rows any more."""


class SideBySide(Generic[Item]):
    """Threads that each take an iterator off the list, run it to its end, and take the next.

    Args:
        makers: Each makes an iterator in the thread that will run it.
        threads: How many threads.
        stop: Set by `items` when it ends early, or by others; iterators look at it, too.
        waiting: How many items may wait to be taken.
    """

    def __init__(
        self, makers: Sequence[Callable[[], Iterator[Item]]], *, threads: int, stop: threading.Event, waiting: int
    ) -> None:
        self._makers = deque(makers)
        self._stop = stop
        self._done: queue.Queue[Item | None] = queue.Queue(waiting)
        self._failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"reading {number}", daemon=True) for number in range(threads)
        ]

    def items(self) -> Iterator[Item]:
        """Give what the iterators yield, the items of one in order.

        Raises:
            BaseException: The first that an iterator raised; the others are told to stop.
        """
        for thread in self._threads:
            thread.start()
        running = len(self._threads)
        try:
            while running and self._failure is None:
                try:
                    item = self._done.get(timeout=_LOOK_EVERY_S)
                except queue.Empty:
                    if self._stop.is_set():
                        break
                    continue
                if item is None:
                    running -= 1
                else:
                    yield item
            if self._failure is not None:
                raise self._failure
        finally:
            if running:
                self._stop.set()

    def all_items(self, cancel: Callable[[], None]) -> Iterator[Item]:
        """Give what `items` gives; at the end the threads have ended, or were told by ``cancel`` to.

        Raises:
            BaseException: The first that an iterator raised.
            StoppedError: Others have set ``stop``.
        """
        try:
            yield from self.items()
            if self._stop.is_set():
                raise StoppedError
        finally:
            if not self.join(_GRACE_S):
                cancel()
                self.join(_GRACE_S)

    def join(self, timeout_s: float) -> bool:
        """Wait for the threads to end, and say whether they have."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    make = self._makers.popleft()
                except IndexError:
                    break
                for item in make():
                    if not self._put(item):
                        return
            self._put(None)
        except BaseException as error:  # noqa: BLE001  it is raised in the thread that takes the items
            self._failure = self._failure or error

    def _put(self, item: Item | None) -> bool:
        while not self._stop.is_set():
            try:
                self._done.put(item, timeout=_LOOK_EVERY_S)
            except queue.Full:
                continue
            return True
        return False
