"""Frames and buffers over the two sockets, blocking, for either side.

Every function raises ``EOFError`` where the peer is gone, a builtin ``TimeoutError`` where the socket has a time-out
that passed, and `PluginExecutionError` for a breach.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dativo_plugin_sdk.protocol.frames import LENGTH_BYTES, FrameDecoder, body_bytes_of, parsed
from dativo_plugin_sdk.protocol.parts import Parts, to_frames

BUFFER_BYTES = 4 * 2**20
"""What the kernel is asked to hold of each socket; it may grant less."""
_PIECE_BYTES = 2**16
_MOST_BUFFERS = 512  # of one call; Linux takes 1,024


def widen(sock: socket.socket) -> None:
    """Ask the kernel for large buffers."""
    for force, plain in ((_SO_SNDBUFFORCE, socket.SO_SNDBUF), (_SO_RCVBUFFORCE, socket.SO_RCVBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, BUFFER_BYTES)  # beyond the system's own limit, for root alone
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, plain, BUFFER_BYTES)


_SO_SNDBUFFORCE = 32  # asm-generic/socket.h; Python has no names for them
_SO_RCVBUFFORCE = 33


def fill(sock: socket.socket, view: memoryview) -> None:
    """Fill a view with the bytes that come next, all of it."""
    view = view.cast("B")
    while len(view):
        try:
            taken = sock.recv_into(view, 0, socket.MSG_WAITALL)
        except ConnectionResetError:
            taken = 0
        if taken == 0:
            raise EOFError("the peer closed the connection")
        view = view[taken:]


def read_frame(sock: socket.socket) -> dict[str, Any]:
    """Read one control frame and not a byte more: the hello of a data socket."""
    length = bytearray(LENGTH_BYTES)
    fill(sock, memoryview(length))
    body = bytearray(body_bytes_of(length))
    fill(sock, memoryview(body))
    return parsed(bytes(body))


def send_buffers(sock: socket.socket, buffers: Iterable[Any]) -> int:
    """Send buffers one after the other, without putting them together first, and give how many bytes it was."""
    waiting = [view for buffer in buffers if len(view := memoryview(buffer).cast("B"))]
    sent_bytes = 0
    at = 0
    try:
        while at < len(waiting):
            sent = sock.sendmsg(waiting[at : at + _MOST_BUFFERS])
            sent_bytes += sent
            while sent:
                size = len(waiting[at])
                if sent < size:
                    waiting[at] = waiting[at][sent:]
                    break
                sent -= size
                at += 1
    except (BrokenPipeError, ConnectionResetError) as error:
        raise EOFError("the peer closed the connection") from error
    return sent_bytes


class SocketSink:
    """A socket as `dativo_plugin_sdk.protocol.arrow_stream.ArrowSender` writes to it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.sent_bytes = 0

    def writelines(self, lines: Iterable[Any], /) -> None:
        """Send the buffers."""
        self.sent_bytes += send_buffers(self._sock, lines)


class Control:
    """The control socket: messages of any size out, from any thread; messages in, by one thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder = FrameDecoder()
        self._parts = Parts()
        self._lock = threading.Lock()
        self._waiting: Iterator[dict[str, Any]] = iter(())
        self.sent_bytes = self.received_bytes = 0

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message, in parts where it is a request or a result that is larger than a frame.

        Raises:
            ValueError: It is no JSON, or too large.
        """
        frames = list(to_frames(message))
        with self._lock:
            self.sent_bytes += send_buffers(self._sock, frames)

    def receive(self) -> dict[str, Any]:
        """Wait for the next message; the parts of one are put together."""
        while True:
            for frame in self._waiting:
                message = self._parts.take(frame)
                if message is not None:
                    return message
            self._waiting = self._decoder.feed(self._received())

    def forget(self) -> None:
        """Close this process's copy of the socket, after a fork: the connection is the parent's."""
        self._sock.close()
        self._lock = threading.Lock()  # a thread that the fork left behind may hold the other

    def _received(self) -> bytes:
        try:
            data = self._sock.recv(_PIECE_BYTES)
        except ConnectionResetError:
            data = b""
        if not data:
            self._decoder.end()
            raise EOFError("the peer closed the connection")
        self.received_bytes += len(data)
        return data
