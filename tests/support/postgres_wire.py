"""A way to a Postgres server that can be watched, cut, or made silent while rows pass."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST


@dataclass
class Wire:
    """What is between a client and the server.

    Attributes:
        cut_after_bytes: After how many bytes of answers a connection breaks; None for never.
        cuts_left: How many connections are still to break.
        resets: Whether what is on its way is lost then.
        is_silent: Whether nothing passes any more, and nobody is told.
        connections: How many there have been.
    """

    server_port: int
    cut_after_bytes: int | None = None
    cuts_left: int = 0
    resets: bool = True
    is_silent: bool = False
    connections: int = 0
    port: int = 0
    _ends: list[socket.socket] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self.server_port))
            self._ends += [client, server]
            for source, target, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pour, args=(source, target, answers), daemon=True).start()

    def close(self) -> None:
        for end in self._ends:
            _shut(end)

    def _pour(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        passed_bytes = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if self.is_silent:
                    return
                passed_bytes += len(data)
                if answers and self._is_to_cut(passed_bytes):
                    if self.resets:
                        target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    break
                target.sendall(data)
        _shut(source)
        _shut(target)

    def _is_to_cut(self, passed_bytes: int) -> bool:
        if self.cuts_left and self.cut_after_bytes is not None and passed_bytes > self.cut_after_bytes:
            self.cuts_left -= 1
            return True
        return False


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def wire(server_port: int, *, cut_after_bytes: int | None = None, cuts: int = 0, resets: bool = True) -> Iterator[Wire]:
    """Give a way to the server on loopback; it is gone afterwards, with all that goes through it."""
    made = Wire(server_port, cut_after_bytes, cuts, resets)
    listener = socket.create_server(("127.0.0.1", 0))
    made.port = int(listener.getsockname()[1])
    thread = threading.Thread(target=made.serve, args=(listener,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
        made.close()
