"""Reads a selection: in one session, or in ranges of pages by several sessions that share one image of the database."""

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

from dativo_ingest.databases.side_by_side import SideBySide
from dativo_ingest.postgres.sessions import Session, let_go
from dativo_ingest.sources.postgres.copy_rows import ReadColumn, RowParser
from dativo_ingest.sources.postgres.copy_stream import BLOCK_BYTES, copied
from dativo_ingest.sources.postgres.failures import FAILURES
from dativo_ingest.sources.postgres.options import PostgresSourceOptions
from dativo_ingest.sources.postgres.page_ranges import page_ranges
from dativo_ingest.sources.postgres.selection import Selection
from dativo_ingest.sources.postgres.snapshots import begin_reading, export, join, open_session
from dativo_plugin_sdk import DataFormatError, DativoError, NetworkError, Rows, ServiceUnavailableError

_TRIES = 3  # of a range whose connection drops
_GRACE_S = 2.0
_LEAST_BLOCK_BYTES = 2**18
_LINE_FEED = ord("\n")


@dataclass
class Reading:
    """One stream on its way; rows come in no order.

    Args:
        parameters: What libpq is told.
        selection: What is read.
        columns: Its columns, in order.
        options: Time-outs.
        parallelism: The most sessions that read at once.
        batch_bytes: About how large a batch may be.
        connect: Opens a session.
    """

    parameters: Mapping[str, str]
    selection: Selection
    columns: Sequence[ReadColumn]
    options: PostgresSourceOptions
    parallelism: int
    batch_bytes: int
    connect: Callable[[Mapping[str, str]], Session] = open_session
    _stop: threading.Event = field(default_factory=threading.Event)
    _sessions: set[Session] = field(default_factory=set)
    _idle: list[Session] = field(default_factory=list)

    def rows(self) -> Generator[Rows, None, None]:
        """Give the rows.

        Raises:
            DativoError: The server or the connection failed.
            StoppedError: `cancel` was called.
        """
        with self._session() as session:
            with FAILURES.translated(self.selection.title):
                begin_reading(session, self.options, self.selection.relation)
                ranges = page_ranges(session, self.selection.relation, self.parallelism)
                snapshot = export(session) if len(ranges) > 1 else ""
            if len(ranges) == 1:
                yield from self._read(session, ranges[0])
            else:
                yield from self._side_by_side(snapshot, ranges)

    def cancel(self) -> None:
        """End what the sessions do; may be called from another thread."""
        self._stop.set()
        for session in list(self._sessions):
            with contextlib.suppress(psycopg.Error, OSError):
                session.cancel_safe(timeout=_GRACE_S)

    def _side_by_side(self, snapshot: str, ranges: Sequence[str]) -> Iterator[Rows]:
        readers = min(self.parallelism, len(ranges))
        work = SideBySide(
            [partial(self._read_range, snapshot, each) for each in ranges],
            threads=readers,
            stop=self._stop,
            waiting=readers + 1,
        )
        try:
            yield from work.items()
        finally:
            if not work.join(_GRACE_S):
                self.cancel()
                work.join(_GRACE_S)
            for session in self._idle:
                self._let_go(session)

    def _read_range(self, snapshot: str, condition: str) -> Iterator[Rows]:
        """Read a range; where the connection drops, go on from there in another that reads the same image.

        The rows of a range come in the order of their places, so those that were given are the first ones.
        """
        done = 0
        failure: DativoError | None = None
        for _ in range(_TRIES):
            try:
                session = self._joined(snapshot)
            except DativoError as error:
                raise failure or error from error
            try:
                for rows in self._read(session, condition, skip=done):
                    done += rows.batch.num_rows
                    yield rows
            except (NetworkError, ServiceUnavailableError) as error:
                failure = error
                self._let_go(session)
            except BaseException:
                self._let_go(session)
                raise
            else:
                self._idle.append(session)
                return
        assert failure is not None  # noqa: S101  nothing else ends the loop
        raise failure

    def _joined(self, snapshot: str) -> Session:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        session = self.connect(self.parameters)
        self._sessions.add(session)
        try:
            with FAILURES.translated(self.selection.title):
                join(session, self.options, snapshot)
        except BaseException:
            self._let_go(session)
            raise
        return session

    def _read(self, session: Session, condition: str, *, skip: int = 0) -> Iterator[Rows]:
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
                    for batch in parser.parse(block):
                        yield Rows(batch, source=title, source_bytes=0)
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
        let_go(session)


def _without_rows(block: memoryview, count: int) -> tuple[memoryview, int]:
    """Cut the first rows off a block, and say how many are still to be cut off the next ones."""
    if not count:
        return block, 0
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == _LINE_FEED)
    if len(ends) <= count:
        return block[:0], count - len(ends)
    return block[int(ends[count - 1]) + 1 :], 0
