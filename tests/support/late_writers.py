"""Writers whose transactions commit late, out of order, or not at all; and a reader who believes in the highest value."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

_LONGEST_S = 1.5
_ROLLED_BACK = 0.15


@dataclass
class LateWriters:
    """Eight threads that write until they are told to stop.

    Args:
        write: Runs the statements of a transaction in a session: told the writer's number, a random generator and a
            function that sleeps for a random while.
        connect: Opens a session that commits nothing by itself.
    """

    write: Callable[[Any, int, random.Random, Callable[[], None]], None]
    connect: Callable[[], Any]
    committed: int = 0
    rolled_back: int = 0
    failures: list[BaseException] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def at_work(self, writers: int = 8) -> Iterator[None]:
        """Write; at the end all transactions are over."""
        threads = [threading.Thread(target=self._work, args=(number,)) for number in range(writers)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        if self.failures:
            raise self.failures[0]

    def _work(self, number: int) -> None:
        chance = random.Random(number)  # noqa: S311  no secret

        def linger() -> None:
            # Most are fast, some slow, as in life.
            self._stop.wait(chance.choice((0.0, 0.01, 0.05, chance.uniform(0, _LONGEST_S))))

        try:
            session = self.connect()
            try:
                while not self._stop.is_set():
                    self.write(session, number, chance, linger)
                    linger()
                    keeps = chance.random() > _ROLLED_BACK
                    session.commit() if keeps else session.rollback()
                    with self._lock:
                        self.committed += keeps
                        self.rolled_back += not keeps
            finally:
                session.close()
        except BaseException as error:  # it is raised in the test's thread
            self.failures.append(error)


@dataclass
class NaiveReader:
    """Reads what is beyond the highest value it has seen, as often as it can.

    Args:
        ask: Gives rows of a value and an id that are beyond a value, or all where it is None.
    """

    ask: Callable[[Any], Sequence[tuple[Any, Any]]]
    seen: set[Any] = field(default_factory=set)
    _highest: Any = None

    def read(self) -> None:
        """Read once."""
        rows = self.ask(self._highest)
        self.seen.update(id_ for _, id_ in rows)
        self._highest = max((value for value, _ in rows), default=self._highest)

    @contextmanager
    def at_work(self, every_s: float) -> Iterator[None]:
        """Read again and again."""
        stop = threading.Event()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                while not stop.wait(every_s):
                    self.read()
            except BaseException as error:  # it is raised in the test's thread
                failures.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        if failures:
            raise failures[0]


def until(seconds: float) -> Iterator[float]:
    """Count the seconds until so many have passed."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        yield passed
