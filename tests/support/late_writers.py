"""Writers whose transactions commit late, out of order, or not at all, and a reader who trusts the highest value."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

LOAD_S = float(os.environ.get("DATIVO_TEST_LOAD_S", "15"))
_BETWEEN_RUNS_S = 1.0
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
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def at_work(self, writers: int = 8) -> Iterator[None]:
        """Write; at the end all transactions are over."""
        with ThreadPoolExecutor(writers) as threads:
            working = [threads.submit(self._work, number) for number in range(writers)]
            try:
                yield
            finally:
                self._stop.set()
        for each in working:
            each.result()

    def _work(self, number: int) -> None:
        chance = random.Random(number)

        def linger() -> None:
            # Most are fast, some slow, as in life.
            self._stop.wait(chance.choice((0.0, 0.01, 0.05, chance.uniform(0, _LONGEST_S))))

        session = self.connect()
        try:
            while not self._stop.is_set():
                self.write(session, number, chance, linger)
                linger()
                keeps = chance.random() > _ROLLED_BACK
                if keeps:
                    session.commit()
                else:
                    session.rollback()
                with self._lock:
                    self.committed += keeps
                    self.rolled_back += not keeps
        finally:
            session.close()


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

        def work() -> None:
            while not stop.wait(every_s):
                self.read()

        with ThreadPoolExecutor(1) as thread:
            working = thread.submit(work)
            try:
                yield
            finally:
                stop.set()
        working.result()


def carry_on(run: Callable[[], None], writers: LateWriters, beside: Sequence[NaiveReader]) -> int:
    """Run again and again while writers are at work, and naive readers beside; say how often."""
    runs = 0
    with ExitStack() as working:
        for reader in beside:
            working.enter_context(reader.at_work(_BETWEEN_RUNS_S / 2))
        working.enter_context(writers.at_work())
        began = time.monotonic()
        while time.monotonic() - began < LOAD_S:
            run()
            runs += 1
            time.sleep(_BETWEEN_RUNS_S)
    for reader in beside:
        reader.read()
    return runs
