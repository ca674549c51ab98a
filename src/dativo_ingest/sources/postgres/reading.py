"""Reads a selection: in one session, or in ranges by several sessions that share one image of the database."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import psycopg
import pyarrow as pa

from dativo_ingest.databases.reading import rows_of_image
from dativo_ingest.databases.side_by_side import SideBySide, StoppedError
from dativo_ingest.postgres.sessions import Session, let_go
from dativo_ingest.sources.postgres.copy_rows import ReadColumn, RowParser
from dativo_ingest.sources.postgres.copy_stream import BLOCK_BYTES, copied
from dativo_ingest.sources.postgres.failures import FAILURES
from dativo_ingest.sources.postgres.options import PostgresSourceOptions
from dativo_ingest.sources.postgres.ranges import Ranges, ranges_of
from dativo_ingest.sources.postgres.selection import Selection
from dativo_ingest.sources.postgres.snapshot_age import sever
from dativo_ingest.sources.postgres.snapshots import begin_reading, export, join, open_session
from dativo_plugin_sdk import (
    DataFormatError,
    DativoError,
    NetworkError,
    Rows,
    ServiceUnavailableError,
    TimeoutError,
)

_TRIES = 3  # of a range whose connection drops, and of a session that the server has no room for
_GRACE_S = 2.0
_LOOK_EVERY_S = 0.25
_LEAST_BLOCK_BYTES = 2**18
_LINE_FEED = ord("\n")


@dataclass
class Reading:
    """One stream on its way; rows come in no order.

    Args:
        parameters: What libpq is told.
        selection: What is read.
        columns: Its columns, in order.
        options: Time-outs, and how ranges are made.
        parallelism: The most sessions that read at once.
        batch_bytes: About how large a batch may be.
        connect: Opens a session.

    Attributes:
        warnings: What the report must say, known after the last row.
    """

    parameters: Mapping[str, str]
    selection: Selection
    columns: Sequence[ReadColumn]
    options: PostgresSourceOptions
    parallelism: int
    batch_bytes: int
    connect: Callable[[Mapping[str, str]], Session] = open_session
    warnings: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _sessions: set[Session] = field(default_factory=set)
    _held: threading.Lock = field(default_factory=threading.Lock)
    """Held while a session is closed or cut off."""
    _idle: list[Session] = field(default_factory=list)

    def rows(self) -> Generator[Rows, None, None]:
        """Give the rows.

        Raises:
            DativoError: The server or the connection failed, or the image got too old.
            StoppedError: `cancel` was called.
        """
        self.warnings += yield from rows_of_image(
            self._batches(), self.selection.title, self.options, stop=self._stop, sever=self._sever
        )

    def cancel(self) -> None:
        """End what the sessions do; may be called from another thread."""
        self._stop.set()
        for session in list(self._sessions):
            with contextlib.suppress(psycopg.Error, OSError):
                session.cancel_safe(timeout=_GRACE_S)

    def _batches(self) -> Generator[pa.RecordBatch, None, None]:
        with self._session() as session:
            with FAILURES.translated(self.selection.title):
                begin_reading(session, self.options, self.selection.relation)
                ranges = ranges_of(session, self.selection, self.options, self.parallelism)
                snapshot = export(session) if len(ranges.conditions) > 1 else ""
            if snapshot:
                yield from self._side_by_side(snapshot, ranges)
            else:
                yield from self._read(session, ranges.conditions[0])

    def _side_by_side(self, snapshot: str, ranges: Ranges) -> Iterator[pa.RecordBatch]:
        readers = min(self.parallelism, len(ranges.conditions))
        work = SideBySide(
            [partial(self._read_range, snapshot, each, in_order=ranges.in_order) for each in ranges.conditions],
            threads=readers,
            stop=self._stop,
            waiting=readers + 1,
        )
        try:
            yield from work.all_items(self.cancel)
        finally:
            for session in self._idle:
                self._let_go(session)

    def _read_range(self, snapshot: str, condition: str, *, in_order: bool) -> Iterator[pa.RecordBatch]:
        """Read a range; where the connection drops, go on from there in another that reads the same image.

        Rows in order of their places come in that order again, so those that were given are the first ones. Others can
        be read again only as long as none was given.
        """
        done = 0
        failure: DativoError | None = None
        for _ in range(_TRIES):
            try:
                session = self._joined(snapshot)
            except DativoError as error:
                raise failure or error from error
            try:
                for batch in self._read(session, condition, skip=done):
                    done += batch.num_rows
                    yield batch
            except (NetworkError, ServiceUnavailableError, TimeoutError) as error:
                self._let_go(session)
                if not _is_drop(error) or (done and not in_order):
                    raise
                failure = error
            except BaseException:
                self._let_go(session)
                raise
            else:
                self._idle.append(session)
                return
        assert failure is not None  # noqa: S101  nothing else ends the loop
        raise failure

    def _joined(self, snapshot: str) -> Session:
        """Give a session that reads the image: a new one, or one of ours where the server has room for no more."""
        tries = 0
        while True:
            with contextlib.suppress(IndexError):
                return self._idle.pop()
            try:
                return self._join(snapshot)
            except ServiceUnavailableError as error:
                tries += 1
                others = len(self._sessions) - 1  # without the one that holds the image
                if tries >= _TRIES and others < 1:
                    raise
                self._note(f"{error}; {self.selection.title} was read by fewer sessions than limits.parallelism")
            if self._stop.wait(_LOOK_EVERY_S):
                raise StoppedError

    def _join(self, snapshot: str) -> Session:
        session = self.connect(self.parameters)
        self._sessions.add(session)
        try:
            with FAILURES.translated(self.selection.title):
                join(session, self.options, snapshot)
        except BaseException:
            self._let_go(session)
            raise
        return session

    def _read(self, session: Session, condition: str, *, skip: int = 0) -> Iterator[pa.RecordBatch]:
        title = self.selection.title
        parser = RowParser(self.columns)
        select = self.selection.select(self.columns, condition)
        block_bytes = max(_LEAST_BLOCK_BYTES, min(BLOCK_BYTES, self.batch_bytes))
        with (
            FAILURES.translated(title),
            closing(copied(session, select, self._stop, block_bytes=block_bytes)) as blocks,
        ):
            for received in blocks:
                block, skip = _without_rows(received, skip)
                if not block:
                    continue
                try:
                    yield from parser.parse(block)
                except pa.ArrowInvalid as error:
                    raise DataFormatError(
                        f"{title}: what the server sends is not what the catalog says: {error}",
                        retryable=True,
                        hint="a column may have got another type meanwhile; run again",
                    ) from error

    @contextmanager
    def _session(self) -> Iterator[Session]:
        session = self.connect(self.parameters)
        self._sessions.add(session)
        try:
            yield session
        finally:
            self._let_go(session)

    def _let_go(self, session: Session) -> None:
        self._sessions.discard(session)
        with self._held:
            let_go(session)

    def _sever(self) -> None:
        with self._held:
            for session in list(self._sessions):
                sever(session)

    def _note(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def _is_drop(error: DativoError) -> bool:
    """Say whether the connection is what failed: a time-out that the server tells of is a limit that holds again."""
    return not isinstance(error, TimeoutError) or "sqlstate" not in error.details


def _without_rows(block: memoryview, count: int) -> tuple[memoryview, int]:
    """Cut the first rows off a block, and say how many are still to be cut off the next ones."""
    if not count:
        return block, 0
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == _LINE_FEED)
    if len(ends) <= count:
        return block[:0], count - len(ends)
    return block[int(ends[count - 1]) + 1 :], 0
