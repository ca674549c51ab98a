"""Reads a selection: in one session, or in ranges of its key by several sessions that see one image of the database."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa
import pymysql

from dativo_ingest.databases.reading import rows_of_image
from dativo_ingest.databases.side_by_side import SideBySide
from dativo_ingest.mysql.connection import Parameters
from dativo_ingest.mysql.names import quoted
from dativo_ingest.mysql.sessions import Session, connect, let_go, run, set_variables
from dativo_ingest.sources.mysql.failures import FAILURES
from dativo_ingest.sources.mysql.images import Image, ImageGoneError, begin_image
from dativo_ingest.sources.mysql.key_ranges import WHOLE, key_ranges, reads_all
from dativo_ingest.sources.mysql.options import MysqlSourceOptions
from dativo_ingest.sources.mysql.result_stream import BLOCK_BYTES, streamed
from dativo_ingest.sources.mysql.rows import ReadColumn, RowBlock, RowParser
from dativo_ingest.sources.mysql.selection import Selection
from dativo_plugin_sdk import (
    DataFormatError,
    DativoError,
    NetworkError,
    Rows,
    ServiceUnavailableError,
)

_TRIES = 3  # of a range whose connection drops
_SPARE = 1  # sessions that see the image beside those that read, for when one drops
_GRACE_S = 2.0
_FOR_EVER_S = 31_536_000  # the most that the server takes
_LEAST_BLOCK_BYTES = 2**18


def open_session(parameters: Parameters) -> Session:
    """Open a session of the source."""
    return connect(parameters, FAILURES)


@dataclass
class Reading:
    """One stream on its way; rows come in no order.

    Args:
        parameters: How to get in.
        selection: What is read.
        columns: Its columns, in order.
        options: Time-outs.
        parallelism: The most sessions that read at once.
        batch_bytes: About how large a batch may be.
        connect: Opens a session.

    Attributes:
        warnings: What the report must say, known after the last row.
    """

    parameters: Parameters
    selection: Selection
    columns: Sequence[ReadColumn]
    options: MysqlSourceOptions
    parallelism: int
    batch_bytes: int
    connect: Callable[[Parameters], Session] = open_session
    warnings: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _sessions: set[Session] = field(default_factory=set)

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
        sessions = list(self._sessions)
        if not sessions:
            return
        with contextlib.suppress(DativoError, pymysql.MySQLError, OSError):
            # A server that sorts or searches does not notice that nobody waits for it any more.
            killer = self.connect(replace(self.parameters, connect_timeout_s=round(_GRACE_S)))
            with closing(killer):
                for session in sessions:
                    with contextlib.suppress(pymysql.MySQLError):
                        run(killer, f"KILL {session.number}")
        self._sever()

    def _batches(self) -> Generator[pa.RecordBatch, None, None]:
        with self._session() as session:
            ranges = self._ranges(session)
            if len(ranges) > 1:
                yield from self._side_by_side(session, ranges)
            else:
                yield from self._whole(session)

    def _ranges(self, session: Session) -> list[str]:
        relation = self.selection.relation
        if self.parallelism < 2 or relation is None or not relation.has_images:  # noqa: PLR2004
            return [WHOLE]
        with FAILURES.translated(self.selection.title):
            if self.selection.conditions and not reads_all(session, self.selection.rest()):
                return [WHOLE]
            return key_ranges(session, relation, self.parallelism)

    def _whole(self, session: Session) -> Iterator[pa.RecordBatch]:
        relation = self.selection.relation
        if relation is not None and not relation.has_images:
            self.warnings.append(
                f"{self.selection.title} is kept by an engine without transactions: what is written while it is read"
                " may be there in part"
            )
        with FAILURES.translated(self.selection.title):
            begin_image([session], self._table)
        yield from self._read(session, WHOLE)

    def _side_by_side(self, session: Session, ranges: Sequence[str]) -> Iterator[pa.RecordBatch]:
        readers = min(self.parallelism, len(ranges))
        with contextlib.ExitStack() as stack:
            sessions = [session, *self._others(stack, readers - 1 + _SPARE)]
            with FAILURES.translated(self.selection.title):
                why = begin_image(sessions, self._table)
            if why is not None:
                stack.close()
                self.warnings.append(f"{self.selection.title} was read in one session: {why}")
                yield from self._whole(session)
                return
            image = Image(sessions, self._stop)
            readers = min(readers, len(sessions))
            work = SideBySide(
                [partial(self._read_range, image, each) for each in ranges],
                threads=readers,
                stop=self._stop,
                waiting=readers + 1,
            )
            yield from work.all_items(self.cancel)

    def _others(self, stack: contextlib.ExitStack, count: int) -> Iterator[Session]:
        """Open more sessions, as many as the server has room for."""
        for _ in range(count):
            try:
                yield stack.enter_context(self._session())
            except ServiceUnavailableError as error:
                self.warnings.append(
                    f"{error}; {self.selection.title} was read by fewer sessions than limits.parallelism"
                )
                return

    def _read_range(self, image: Image, condition: str) -> Iterator[pa.RecordBatch]:
        """Read a range; where the connection drops, go on from there in another that sees the same image.

        The rows of a range come in the order of the key, so those that were given are the first ones.
        """
        done = 0
        failure: DativoError | None = None
        for _ in range(_TRIES):
            try:
                session = image.lend()
            except ImageGoneError:
                break
            try:
                for batch in self._read(session, condition, skip=done, in_order=True):
                    done += batch.num_rows
                    yield batch
            except (NetworkError, ServiceUnavailableError) as error:
                failure = error
                image.lose(session)
            except BaseException:
                image.lose(session)
                raise
            else:
                image.take_back(session)
                return
        raise failure or NetworkError(
            f"{self.selection.title}: no session is left that sees the image of the database which is read",
            hint="run again; a server cannot show an image to a new session",
        )

    def _read(
        self, session: Session, condition: str, *, skip: int = 0, in_order: bool = False
    ) -> Iterator[pa.RecordBatch]:
        title = self.selection.title
        parser = RowParser(self.columns)
        select = self.selection.select(self.columns, *([condition] if condition != WHOLE else []), in_order=in_order)
        block_bytes = max(_LEAST_BLOCK_BYTES, min(BLOCK_BYTES, self.batch_bytes))
        with (
            FAILURES.translated(title),
            closing(streamed(session, select, self._stop, block_bytes=block_bytes)) as blocks,
        ):
            for received in blocks:
                block, skip = _without_rows(received, skip)
                if not len(block.starts):
                    continue
                try:
                    yield from parser.parse(block)
                except pa.ArrowInvalid as error:
                    raise DataFormatError(
                        f"{title}: what the server sends is not what the catalog says: {error}",
                        retryable=True,
                        hint="a column may have got another type meanwhile; run again",
                    ) from error

    def _sever(self) -> None:
        for session in list(self._sessions):
            session.sever()

    @property
    def _table(self) -> str | None:
        relation = self.selection.relation
        return None if relation is None else quoted(relation.schema, relation.name)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        session = self.connect(self.parameters)
        self._sessions.add(session)
        try:
            with FAILURES.translated(self.selection.title):
                set_variables(session, limits(self.options))
            yield session
        finally:
            self._sessions.discard(session)
            let_go(session)


def limits(options: MysqlSourceOptions) -> dict[str, str | float]:
    """Give the variables of a session that hold what it waits for to the stream's options."""
    lock_s = max(1, round(options.lock_timeout_s)) if options.lock_timeout_s else _FOR_EVER_S
    found: dict[str, str | float] = {"lock_wait_timeout": lock_s, "innodb_lock_wait_timeout": min(lock_s, 2**30)}
    if options.statement_timeout_s is not None:
        found["max_statement_time"] = options.statement_timeout_s  # MariaDB, in seconds
        found["max_execution_time"] = round(options.statement_timeout_s * 1000)  # MySQL, in milliseconds
    return found


def _without_rows(block: RowBlock, count: int) -> tuple[RowBlock, int]:
    """Leave out the first rows of a block, and say how many are still to be left out of the next ones."""
    return block.from_row(count), max(0, count - len(block.starts))
