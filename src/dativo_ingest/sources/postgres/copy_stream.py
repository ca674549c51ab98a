"""What COPY TO STDOUT sends, in blocks of whole rows, with the least work between the socket and the parser.

A connection that is neither encrypted nor wrapped carries the protocol's bytes as they are. While libpq waits for
nothing, its socket is read directly, a block at a time: libpq hands out rows one by one. Elsewhere libpq reads, and is
asked for each row without psycopg's machinery around it, which costs more than parsing. Both give the same bytes.
"""

from __future__ import annotations

import builtins
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Generator
from contextlib import closing
from typing import NoReturn, TypeAlias

import numpy as np
import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from dativo_ingest.databases.side_by_side import StoppedError
from dativo_ingest.postgres.sessions import Session, value
from dativo_ingest.sources.postgres.copy_frames import HEADER_BYTES, LEAD, blank_headers, message_length, row_starts

Blocks: TypeAlias = Generator[memoryview, None, None]

BLOCK_BYTES = 2 * 2**20
_PIECE_BYTES = 2**16
_LOOK_EVERY_S = 0.5
_LITTLE_BYTES = 2**16
_PAUSE_S = 0.001
_READY_BYTES = 6
_READY = b"Z\x00\x00\x00\x05"
_QUIET = frozenset(
    b"HNSAcC"
)  # the answer to COPY, notices, settings, notifications, the end of rows and of the command
_TLS_OR_GSS = "SELECT coalesce((SELECT encrypted FROM pg_catalog.pg_stat_gssapi WHERE pid = pg_backend_pid()), false)"


def copied(
    session: Session, select: str, stop: threading.Event, *, block_bytes: int = BLOCK_BYTES, direct: bool | None = None
) -> Blocks:
    """Give a query's rows in the text format of COPY, each with `LEAD` before it.

    A block has whole rows, and about ``block_bytes`` unless one row is larger; its memory is used again for the next.
    A session whose rows were not all taken is in the midst of a command: it can only be closed.

    Args:
        session: Idle, or in a transaction.
        select: The query, without a semicolon.
        stop: Set from another thread to end the reading.
        block_bytes: The size of blocks.
        direct: Whether to read the socket directly; by default, where that can be done.

    Raises:
        psycopg.Error: The server says that something failed, or is gone.
        StoppedError: ``stop`` was set.
    """
    statement = f"COPY (\n{select}\n) TO STDOUT"
    if session.info.parameter_status("server_encoding") == "SQL_ASCII":
        statement += " (ENCODING 'SQL_ASCII')"  # as it is: such a database has bytes of any encoding, or of none
    if direct is None:
        direct = carries_plain_bytes(session)
    return (
        _of_socket(session, statement, stop, block_bytes)
        if direct
        else _of_libpq(session, statement, stop, block_bytes)
    )


def carries_plain_bytes(session: Session) -> bool:
    """Say whether the protocol's bytes are on the session's socket as they are."""
    if session.pgconn.ssl_in_use or session.pgconn.used_gssapi:
        return False
    if session.info.server_version < 120000:  # noqa: PLR2004  12, which brought encryption by GSS, and a view of it
        return True
    return not value(session, _TLS_OR_GSS)


def _of_libpq(session: Session, statement: str, stop: threading.Event, block_bytes: int) -> Blocks:
    pieces: list[bytes] = []
    size_bytes = 0
    libpq = _Libpq(session, stop)
    libpq.ask(statement)
    while piece := libpq.rows():
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes >= block_bytes:
            yield memoryview(b"".join(pieces))
            pieces.clear()
            size_bytes = 0
    if pieces:
        yield memoryview(b"".join(pieces))


def _of_socket(session: Session, statement: str, stop: threading.Event, block_bytes: int) -> Blocks:
    with closing(_Wire(session, stop)) as wire:
        wire.ask(statement)
        buffer = bytearray(block_bytes)
        filled = 0
        while True:
            filled = wire.fill(buffer, filled)
            octets = np.frombuffer(buffer, np.uint8)
            start = 0
            while filled - start >= HEADER_BYTES:
                starts, end = row_starts(octets[:filled], start, filled)
                if end > start:
                    blank_headers(octets, starts)
                    yield memoryview(buffer)[start:end].toreadonly()
                start = end
                length = message_length(buffer, start) if filled - start >= HEADER_BYTES else HEADER_BYTES
                if start + length > filled:
                    break
                if chr(buffer[start]) == "Z":
                    return
                _take(buffer, start, length)
                start += length
            del octets
            missing = message_length(buffer, start) if filled - start >= HEADER_BYTES else 0
            rest = bytes(memoryview(buffer)[start:filled])
            if missing > len(buffer) or (len(buffer) > block_bytes >= missing):
                buffer = bytearray(max(missing, block_bytes))
            filled = len(rest)
            buffer[:filled] = rest


def _take(buffer: bytearray, start: int, length: int) -> None:
    """Look at a message that is no row."""
    kind = buffer[start]
    if kind == ord("E"):
        _raise(bytes(buffer[start + HEADER_BYTES : start + length]))
    if kind not in _QUIET:
        raise psycopg.OperationalError(f"the server sent a message {chr(kind)!r} where rows were expected")


def _raise(fields: bytes) -> NoReturn:
    """Raise what an ErrorResponse says ("Error and Notice Message Fields")."""
    said = {part[:1]: part[1:].decode(errors="replace") for part in fields.split(b"\0") if part}
    state = said.get(b"C", "")
    try:
        kind = psycopg.errors.lookup(state)
    except KeyError:
        kind = psycopg.OperationalError
    text = said.get(b"M", "the server said that something failed")
    more = [
        f"{name}:  {said[key]}" for key, name in ((b"D", "DETAIL"), (b"H", "HINT"), (b"W", "CONTEXT")) if key in said
    ]
    raise kind("\n".join([text, *more]))


class _Libpq:
    """A session that libpq reads, without psycopg's work for each row."""

    def __init__(self, session: Session, stop: threading.Event) -> None:
        self._stop = stop
        self._is_over = False
        self._encoding = session.info.encoding
        self._connection = session.pgconn
        self._poll = select.poll()
        self._poll.register(self._connection.socket, select.POLLIN)

    def ask(self, statement: str) -> None:
        """Send a query, and wait for its rows to begin."""
        self._connection.send_query(statement.encode())
        while self._connection.flush():
            self._wait()
        result = self._result()
        if result is None or result.status != ExecStatus.COPY_OUT:
            self._finish(result)

    def rows(self) -> bytes:
        """Give the next rows, not many, each with `LEAD` before it; none once the command is over."""
        if self._is_over:
            return b""
        take = self._connection.get_copy_data
        rows: list[bytes] = []
        size_bytes = 0
        while size_bytes < _PIECE_BYTES:  # rows that are let go of soon leave their memory to the next ones
            length, row = take(1)
            if length > 0:
                rows.append(bytes(row))
                size_bytes += length + HEADER_BYTES
            elif length == 0:
                self._wait()
            else:
                self._finish(self._result())
                break
        return LEAD + LEAD.join(rows) if rows else b""

    def _finish(self, result: PGresult | None) -> None:
        """Take what is said at the end, so that the session can go on; raise what went wrong."""
        self._is_over = True
        failure: psycopg.Error | None = None
        while result is not None:
            if result.status != ExecStatus.COMMAND_OK:
                failure = failure or psycopg.errors.error_from_result(result, self._encoding)
            result = self._result()
        if failure is not None:
            raise failure

    def _result(self) -> PGresult | None:
        while self._connection.is_busy():
            self._wait()
        return self._connection.get_result()

    def _wait(self) -> None:
        ready = self._poll.poll(_LOOK_EVERY_S * 1000)
        if self._stop.is_set():
            raise StoppedError
        if ready:
            self._connection.consume_input()


class _Wire:
    """The socket of an idle session, while libpq does not use it."""

    def __init__(self, session: Session, stop: threading.Event) -> None:
        self._stop = stop
        # libpq's socket never blocks; a time-out keeps it so, and is shared by the copy of its number.
        self._socket = socket.socket(fileno=os.dup(session.pgconn.socket))
        self._socket.settimeout(_LOOK_EVERY_S)
        self._is_closed = False

    def close(self) -> None:
        self._socket.close()

    def ask(self, statement: str) -> None:
        """Send a simple query."""
        text = statement.encode() + b"\0"
        waiting = memoryview(b"Q" + struct.pack("!i", len(text) + 4) + text)
        while waiting:
            try:
                waiting = waiting[self._socket.send(waiting) :]
            except builtins.TimeoutError:
                self._look()
            except OSError as error:
                raise psycopg.OperationalError(f"the connection broke: {error}") from error

    def fill(self, buffer: bytearray, filled: int) -> int:
        """Receive until the buffer is full, the command is over, or the server takes a pause."""
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
                raise psycopg.OperationalError(f"the connection broke: {error}") from error
            if not received:
                if filled and not self._is_closed:
                    self._is_closed = True
                    break  # the last words, perhaps
                raise psycopg.OperationalError("the server closed the connection in the midst of the rows")
            filled += received
            if view[max(0, filled - _READY_BYTES) : filled - 1] == _READY:
                break
            if received < _LITTLE_BYTES:
                # The server sends 8 kB at a time: to be woken for each of them costs both sides more than the rows.
                time.sleep(_PAUSE_S)
        return filled

    def _look(self) -> None:
        if self._stop.is_set():
            raise StoppedError
