"""The rows of a query in blocks, with the least work between the socket and the parser.

PyMySQL connects, lets itself in, asks, and reads what the columns are; from then on until the last row its socket is
read directly, a block at a time: it hands out rows one by one, as Python objects, which costs many times what parsing
costs. `tests/sources/mysql/test_reading.py` watches the parts of PyMySQL that are not public.
"""

from __future__ import annotations

import builtins
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import numpy as np
import pymysql
from pymysql.constants import CR

from dativo_ingest.databases.side_by_side import StoppedError
from dativo_ingest.mysql.sessions import Session
from dativo_ingest.sources.mysql.packets import (
    HEADER_BYTES,
    LONGEST,
    joined_end,
    packet_length,
    packet_starts,
    without_inner_headers,
)
from dativo_ingest.sources.mysql.rows import RowBlock

Blocks: TypeAlias = Generator[RowBlock, None, None]

BLOCK_BYTES = 2**20  # what a processor keeps near while it is parsed
_LOOK_EVERY_S = 0.5
_LAST_BYTES = 9  # of the packet after the last row
_LAST = b"\x05\x00\x00"
_LAST_MARK, _FAILURE_MARK = 0xFE, 0xFF
_LONG_LAST_BYTES = 9  # a row that begins with the mark of the last packet is longer


def streamed(session: Session, statement: str, stop: threading.Event, *, block_bytes: int = BLOCK_BYTES) -> Blocks:
    """Give a query's rows.

    A block has whole rows, and about ``block_bytes`` unless one row is larger; its memory is used again for the next.
    A session whose rows were not all taken is in the midst of a command: it can only be closed.

    Args:
        session: Idle, or in a transaction.
        statement: The query, without a semicolon.
        stop: Set from another thread to end the reading.
        block_bytes: The size of blocks.

    Raises:
        pymysql.Error: The server says that something failed, or is gone.
        StoppedError: ``stop`` was set.
    """
    with _wire(session, stop) as wire:
        wire.ask(statement)
        buffer = bytearray(block_bytes)
        filled = 0
        while True:
            filled = wire.fill(buffer, filled)
            start = 0
            missing = HEADER_BYTES
            while filled - start >= HEADER_BYTES:
                starts, end = packet_starts(buffer, start, filled)
                octets = np.frombuffer(buffer, np.uint8)
                marks = octets.take(starts + HEADER_BYTES, mode="clip")
                others = np.flatnonzero(marks >= _LAST_MARK)
                count = next((int(each) for each in others if _is_other(buffer, int(starts[each]))), len(starts))
                if count:
                    yield RowBlock(octets, starts[:count], int(starts[count]) if count < len(starts) else end)
                if count < len(starts):
                    _raise_failure(buffer, int(starts[count]))
                    return
                start = end
                if filled - start < HEADER_BYTES:
                    break
                length = packet_length(buffer, start)
                if length < LONGEST:
                    missing = HEADER_BYTES + length
                    break
                joined = joined_end(buffer, start, filled)
                if joined > filled:
                    missing = joined - start
                    break
                row = without_inner_headers(buffer, start, joined)
                yield RowBlock(np.frombuffer(row, np.uint8), np.zeros(1, np.int64), len(row))
                start = joined
            rest = bytes(memoryview(buffer)[start:filled])
            if missing > len(buffer) or (len(buffer) > block_bytes >= missing):
                buffer = bytearray(max(missing, block_bytes))
            filled = len(rest)
            buffer[:filled] = rest


def _is_other(buffer: bytearray, start: int) -> bool:
    """Say whether a packet is no row: the last one of a result, or an error."""
    return buffer[start + HEADER_BYTES] == _FAILURE_MARK or packet_length(buffer, start) < _LONG_LAST_BYTES


def _raise_failure(buffer: bytearray, start: int) -> None:
    """Raise what the server says, if it is that something failed ("ERR_Packet")."""
    length = packet_length(buffer, start)
    said = bytes(buffer[start + HEADER_BYTES : start + HEADER_BYTES + length])
    if said[0] == _FAILURE_MARK:
        pymysql.err.raise_mysql_exception(said)


@contextmanager
def _wire(session: Session, stop: threading.Event) -> Generator[_Wire, None, None]:
    wire = _Wire(session, stop)
    try:
        yield wire
    except GeneratorExit:
        wire.leave(at_end=False)
        raise
    except BaseException as error:
        # After an error of the server's own the session can go on.
        wire.leave(at_end=isinstance(error, pymysql.Error) and not isinstance(error, _BrokenError))
        raise
    else:
        wire.leave(at_end=True)


class _BrokenError(pymysql.err.OperationalError):
    """The connection ended without a word."""


class _Wire:
    """The socket of a session, while PyMySQL does not use it."""

    def __init__(self, session: Session, stop: threading.Event) -> None:
        self._session: Any = session
        self._stop = stop
        self._socket: Any = None
        self._early = b""

    def ask(self, statement: str) -> None:
        """Send a query, and read as far as its columns."""
        self._session.query(statement, unbuffered=True)
        result = self._session._result  # noqa: SLF001  there is no other way to its socket
        # The result's own reader, also the one that runs when it is forgotten, must leave the rows alone.
        is_rows = result.unbuffered_active
        result.unbuffered_active = False
        result.connection = None
        if not is_rows:
            raise pymysql.err.ProgrammingError(0, "the statement gives no rows")
        self._socket = self._session._sock  # noqa: SLF001
        reader = self._session._rfile  # noqa: SLF001
        self._socket.settimeout(0)
        with suppress(ssl.SSLWantReadError):
            self._early = reader.read1()  # what it has already; it finds no more, for it must not wait
        self._socket.settimeout(_LOOK_EVERY_S)

    def fill(self, buffer: bytearray, filled: int) -> int:
        """Receive until the buffer is full, the rows are over, or the server takes a pause."""
        if self._early:
            part = self._early[: len(buffer) - filled]
            buffer[filled : filled + len(part)] = part
            self._early = self._early[len(part) :]
            filled += len(part)
            if self._early or _looks_over(buffer, filled):
                return filled
        view = memoryview(buffer)
        while filled < len(buffer):
            try:
                received = self._socket.recv_into(view[filled:])
            except builtins.TimeoutError:
                self._look()
                if filled:
                    break
                continue
            except OSError as error:
                raise _lost(str(error)) from error
            if not received:
                raise _lost("the server closed it in the midst of the rows")
            filled += received
            if _looks_over(buffer, filled):
                break
        return filled

    def leave(self, *, at_end: bool) -> None:
        """Give the socket back; where not all was read, close it."""
        if not at_end:
            self._session._force_close()  # noqa: SLF001  to close politely is to send a command in the midst of another
        elif self._socket is not None and self._session.open:
            self._session._current_timeout = _LOOK_EVERY_S  # noqa: SLF001  it sets its own again where they differ

    def _look(self) -> None:
        if self._stop.is_set():
            raise StoppedError


def _looks_over(buffer: bytearray, filled: int) -> bool:
    start = filled - _LAST_BYTES
    return start >= 0 and buffer[start : start + 3] == _LAST and buffer[start + HEADER_BYTES] == _LAST_MARK


def _lost(why: str) -> _BrokenError:
    return _BrokenError(CR.CR_SERVER_LOST, f"the connection broke while rows came: {why}")
