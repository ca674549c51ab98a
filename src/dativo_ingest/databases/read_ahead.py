"""Reads ahead of a slow target, so that what a source holds open for the reader ends when the source is done."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pyarrow as pa

from dativo_ingest.databases.waiting_batches import NobodyTakesError, WaitingBatches

_IN_MEMORY = 2
_GRACE_S = 10.0


class ReadAhead:
    """Gives what a generator of batches gives; after a while, a thread goes on with it, and batches wait on disk.

    Until then nothing waits: the generator runs when a batch is asked for, in the thread that asks.

    Args:
        batches: The generator; it is closed at the end.
        after_s: How long to let whoever takes the batches set the pace; None is for ever.
        disk_bytes: How many bytes may wait on disk; the generator waits again beyond that.
        stop: Set where the batches are not all taken; the generator looks at it.

    Attributes:
        warnings: What the report must say.
        stored_bytes: How much had to wait on disk, known at the end.
    """

    def __init__(
        self,
        batches: Generator[pa.RecordBatch, None, None],
        *,
        after_s: float | None,
        disk_bytes: int,
        stop: threading.Event,
    ) -> None:
        self.warnings: list[str] = []
        self.stored_bytes = 0
        self._batches = batches
        self._stop = stop
        self._turn = threading.Lock()  # of the one who runs the generator
        self._is_due = self._is_over = False
        self._waiting = WaitingBatches(in_memory=_IN_MEMORY, disk_bytes=disk_bytes)
        self._thread: threading.Thread | None = None
        self._timer = None if after_s is None else threading.Timer(after_s, self._hand_over)

    def items(self) -> Generator[pa.RecordBatch, None, None]:
        """Give the batches, in order."""
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        try:
            yield from iter(self._next, None)
            if not self._is_over:
                yield from self._waiting.items()
                self._is_over = True
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
            self._is_over = batch is None
            return batch

    def _hand_over(self) -> None:
        self._is_due = True
        with self._turn:  # whoever takes the batches does not look here before it has taken one
            if self._thread is None and not self._is_over:
                self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="reading ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for batch in self._batches:
                self._waiting.put(batch)
            self._waiting.finish()
        except NobodyTakesError:
            self._batches.close()
        except BaseException as error:  # noqa: BLE001  it is raised in the thread that takes the batches
            self._waiting.finish(error)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_over:
            self._stop.set()
        with self._turn:
            self._is_over = True
        self._waiting.close()
        if self._thread is None:
            self._batches.close()
        else:
            self._thread.join(_GRACE_S)
        self.stored_bytes = self._waiting.stored_bytes
        self.warnings += self._waiting.warnings
