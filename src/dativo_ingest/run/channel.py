"""A queue between two threads, bounded by the bytes in it: the slower side sets the pace, memory stays flat."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
_LOOK_EVERY_S = 0.5


class ChannelClosedError(Exception):
    """The other side has gone; what is put now would be read by nobody."""


class Channel(Generic[Item]):
    """Hands items from one producing thread to one consuming thread, in order.

    Args:
        max_bytes: How many bytes may wait. A single item larger than that passes when nothing else waits.
        size_of: How many bytes an item counts.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[Item], int]) -> None:
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._items: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._finished = False
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: Item) -> None:
        """Hand over an item, waiting while there is no room.

        Raises:
            ChannelClosedError: The consumer has closed the channel.
        """
        size_bytes = self._size_of(item)
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or not self._items or self._bytes + size_bytes <= self._max_bytes
            )
            if self._closed:
                raise ChannelClosedError
            self._items.append((item, size_bytes))
            self._bytes += size_bytes
            self._changed.notify_all()

    def finish(self, error: BaseException | None = None) -> None:
        """Say that nothing more comes; an ``error`` is raised on the consumer's side after the items before it."""
        with self._changed:
            self._finished = True
            self._error = error
            self._changed.notify_all()

    def close(self) -> None:
        """Drop what waits and wake the producer, whose next ``put`` fails."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._bytes = 0
            self._changed.notify_all()

    def items(self, while_waiting: Callable[[], None] = lambda: None) -> Iterator[Item]:
        """Yield what is put, until the producer has finished or the channel is closed.

        Args:
            while_waiting: Called twice a second while nothing comes; what it raises ends the waiting.
        """
        while True:
            with self._changed:
                while not self._changed.wait_for(self._has_something_to_say, timeout=_LOOK_EVERY_S):
                    while_waiting()
                if self._closed:
                    return
                if not self._items:
                    if self._error is not None:
                        raise self._error
                    return
                item, size_bytes = self._items.popleft()
                self._bytes -= size_bytes
                self._changed.notify_all()
            yield item

    def _has_something_to_say(self) -> bool:
        return bool(self._items) or self._finished or self._closed
