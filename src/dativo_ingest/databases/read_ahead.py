"""Reads ahead of a slow target, and ends a read that takes too long: what a source holds open meanwhile costs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass

import pyarrow as pa

from dativo_ingest.databases.waiting_batches import NobodyTakesError, WaitingBatches
from dativo_plugin_sdk import DativoError

_IN_MEMORY = 2
_GRACE_S = 10.0


@dataclass(frozen=True)
class Limit:
    """How long a read may take."""

    max_s: float
    cut_off: Callable[[], None]
    """Ends what the source is being asked, from another thread; ``stop`` is set by then."""
    error: Callable[[], DativoError]
    """What is raised then."""


class ReadAhead:
    """Gives what a generator of batches gives; after a while, a thread goes on with it, and batches wait on disk.

    Until then nothing waits: the generator runs when a batch is asked for, in the thread that asks.

    Args:
        batches: The generator; it is closed at the end, and when it takes too long, whoever is at work meanwhile.
        stop: Set where the batches are not all taken; the generator looks at it.
        after_s: How long to let whoever takes the batches set the pace; None is for ever.
        disk_bytes: How many bytes may wait on disk; the generator waits again beyond that.
        limit: How long the generator may take to its end; None is for ever.

    Attributes:
        warnings: What the report must say.
        stored_bytes: How much had to wait on disk, known at the end.
    """

    def __init__(
        self,
        batches: Generator[pa.RecordBatch, None, None],
        *,
        stop: threading.Event,
        after_s: float | None,
        disk_bytes: int,
        limit: Limit | None,
    ) -> None:
        self.warnings: list[str] = []
        self.stored_bytes = 0
        self._batches = batches
        self._stop = stop
        self._limit = limit
        self._turn = threading.Lock()  # of the one who runs the generator
        self._is_due = self._is_read = self._is_cut = False
        self._waiting = WaitingBatches(in_memory=_IN_MEMORY, disk_bytes=disk_bytes)
        self._thread: threading.Thread | None = None
        self._timers = [
            *([] if after_s is None else [threading.Timer(after_s, self._hand_over)]),
            *([] if limit is None else [threading.Timer(limit.max_s, self._cut_off)]),
        ]

    def items(self) -> Generator[pa.RecordBatch, None, None]:
        """Give the batches, in order.

        Raises:
            DativoError: It took too long.
        """
        for timer in self._timers:
            timer.daemon = True
            timer.start()
        try:
            yield from iter(self._next, None)
            if self._thread is not None:
                yield from self._waiting.items()
            self._raise_if_cut()
        except GeneratorExit:
            raise
        except BaseException as error:
            self._raise_if_cut(error)
            raise
        finally:
            self._end()

    def _next(self) -> pa.RecordBatch | None:
        """Give the next batch; None where there is none, or the thread goes on from here."""
        with self._turn:
            if self._is_due and self._thread is None:
                self._start()
            if self._thread is not None:
                return None
            batch = next(self._batches, None)
            self._is_read = batch is None
            return batch

    def _hand_over(self) -> None:
        self._is_due = True
        with self._turn:  # whoever takes the batches does not look here before it has taken one
            if self._thread is None and not self._is_read:
                self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="reading ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for batch in self._batches:
                self._waiting.put(batch)
            self._is_read = True
            self._waiting.finish()
        except NobodyTakesError:
            self._batches.close()
        except BaseException as error:  # noqa: BLE001  it is raised in the thread that takes the batches
            self._waiting.finish(error)

    def _cut_off(self) -> None:
        assert self._limit is not None  # noqa: S101  only a limit has a timer
        if self._is_read:
            return
        self._is_cut = True
        self._stop.set()
        self._limit.cut_off()
        with self._turn:
            if self._thread is None:
                self._batches.close()  # lets go of the source, even where nobody ever asks for a batch again
            else:
                self._waiting.close()

    def _raise_if_cut(self, error: BaseException | None = None) -> None:
        if self._is_cut and self._limit is not None:
            raise self._limit.error() from error

    def _end(self) -> None:
        for timer in self._timers:
            timer.cancel()
        if not self._is_read:
            self._stop.set()
        with self._turn:
            self._is_read = True
        self._waiting.close()
        if self._thread is None:
            self._batches.close()
        else:
            self._thread.join(_GRACE_S)
        self.stored_bytes = self._waiting.stored_bytes
        self.warnings += self._waiting.warnings
