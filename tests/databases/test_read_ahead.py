"""Reading ahead of a slow target, and batches that wait on disk."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Generator
from typing import Any

import pyarrow as pa
import pytest

from dativo_ingest.databases import waiting_batches
from dativo_ingest.databases.read_ahead import Limit, ReadAhead
from dativo_ingest.databases.waiting_batches import NobodyTakesError, WaitingBatches
from dativo_plugin_sdk import TimeoutError


def batch(number: int) -> pa.RecordBatch:
    # Their columns differ, as those of rows do that do not fit their types.
    return pa.record_batch({"n": [number] * 100} if number % 2 else {"n": [str(number)] * 100, "more": [None] * 100})


def numbers(found) -> list[int]:
    return [int(each["n"][0].as_py()) for each in found]


class Source:
    """A generator that knows how far it came, and whether it was closed."""

    def __init__(self, count: int, *, fails: bool = False, pause_s: float = 0.0) -> None:
        self.given = 0
        self.is_closed = False
        self._count, self._fails, self._pause_s = count, fails, pause_s

    def batches(self) -> Generator[pa.RecordBatch, None, None]:
        try:
            for number in range(self._count):
                time.sleep(self._pause_s)
                self.given += 1
                yield batch(number)
            if self._fails:
                raise ValueError("broken")
        finally:
            self.is_closed = True


def read_ahead(source: Source, **changes: Any) -> ReadAhead:
    options: dict[str, Any] = {
        "stop": threading.Event(),
        "after_s": None,
        "disk_bytes": 2**20,
        "limit": None,
        **changes,
    }
    return ReadAhead(source.batches(), **options)


def wait_for(condition) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


@pytest.fixture
def small_files(monkeypatch) -> None:
    monkeypatch.setattr(waiting_batches, "_SEGMENT_BYTES", 3000)


@pytest.mark.usefixtures("small_files")
def test_what_waits_on_disk_comes_in_order_and_the_disk_is_given_back() -> None:
    waiting = WaitingBatches(in_memory=1, disk_bytes=2**20)
    for number in range(50):
        waiting.put(batch(number))
    waiting.finish()

    found = numbers(waiting.items())

    assert found == list(range(50))
    assert waiting.stored_bytes > 3000
    assert (waiting._used_bytes, len(waiting._segments)) == (0, 1)
    waiting.close()


def test_no_more_waits_on_disk_than_is_allowed() -> None:
    waiting = WaitingBatches(in_memory=1, disk_bytes=3000)
    thread = threading.Thread(target=lambda: [waiting.put(batch(number)) for number in range(20)] and waiting.finish())
    thread.start()
    wait_for(lambda: waiting._used_bytes > 1500)

    found = []
    for each in waiting.items():
        assert waiting._used_bytes <= 3000
        found.append(each)

    thread.join()
    waiting.close()
    assert numbers(found) == list(range(20))


def test_a_full_disk_makes_the_source_wait_and_is_told(monkeypatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    source = Source(10)
    ahead = read_ahead(source, after_s=0.0)

    found = numbers(ahead.items())

    assert found == list(range(10))
    assert ahead.stored_bytes == 0
    assert all("No space left" in text for text in ahead.warnings)


def test_who_puts_is_woken_when_nobody_takes_any_more() -> None:
    waiting = WaitingBatches(in_memory=1, disk_bytes=0)
    waiting.put(batch(0))
    threading.Timer(0.1, waiting.close).start()

    with pytest.raises(NobodyTakesError):
        waiting.put(batch(1))


def test_until_it_is_due_the_source_runs_no_faster_than_it_is_asked() -> None:
    source = Source(10)
    items = read_ahead(source, after_s=60.0).items()

    next(items)

    assert source.given == 1
    items.close()
    assert source.is_closed


def test_when_it_is_due_the_source_is_read_to_its_end_though_nobody_takes_anything() -> None:
    source = Source(30)
    ahead = read_ahead(source, after_s=0.05)
    items = ahead.items()
    found = [next(items)]

    wait_for(lambda: source.is_closed)
    found += items

    assert numbers(found) == list(range(30))
    assert ahead.stored_bytes > 0


def test_an_error_comes_after_the_batches_before_it() -> None:
    found = []
    items = read_ahead(Source(10, fails=True), after_s=0.0).items()

    def take() -> None:
        for each in items:
            found.append(each)  # noqa: PERF402  those before the error are wanted

    with pytest.raises(ValueError, match="broken"):
        take()

    assert numbers(found) == list(range(10))


@pytest.mark.parametrize("after_s", [None, 0.0], ids=["when asked", "ahead"])
def test_a_read_that_takes_too_long_is_ended_though_nobody_asks(after_s) -> None:
    source = Source(1000)
    cut = threading.Event()
    limit = Limit(0.1, cut.set, lambda: TimeoutError("too old"))
    items = read_ahead(source, after_s=after_s, disk_bytes=0, limit=limit).items()
    next(items)

    wait_for(lambda: source.is_closed)

    assert cut.is_set()
    with pytest.raises(TimeoutError, match="too old"):
        list(items)


def test_what_was_read_in_time_may_be_taken_late() -> None:
    source = Source(20)
    limit = Limit(0.3, lambda: None, lambda: TimeoutError("too old"))
    items = read_ahead(source, after_s=0.0, limit=limit).items()
    found = [next(items)]
    time.sleep(0.5)

    found += items

    assert numbers(found) == list(range(20))


def test_leaving_early_ends_the_source() -> None:
    source = Source(1000, pause_s=0.001)
    items = read_ahead(source, after_s=0.0, disk_bytes=0).items()
    next(items)

    items.close()

    wait_for(lambda: source.is_closed)
    assert source.given < 1000
