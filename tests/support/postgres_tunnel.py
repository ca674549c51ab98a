"""A way to a Postgres server that breaks, once, at the moment a COMMIT passes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Cut = Literal["question", "answer", "stuck"]

_COMMIT = b"COMMIT\0"


class _Tunnel:
    def __init__(self, server_port: int, cut: Cut, *, for_good: bool, after: bytes) -> None:
        self._server_port = server_port
        self._cut = cut
        self._for_good = for_good
        self._after = after
        self._broken = False
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._broken and self._for_good:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._server_port))
            self._ends += [client, server]
            muted = threading.Event()
            threading.Thread(target=self._ask, args=(client, server, muted), daemon=True).start()
            threading.Thread(target=self._answer, args=(server, client, muted), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._ends:
            _close(end)

    def _ask(self, client: socket.socket, server: socket.socket, muted: threading.Event) -> None:
        armed = not self._after
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                armed = armed or self._after in data
                if armed and _COMMIT in data and not self._broken:
                    self._broken = True
                    muted.set()
                    if self._cut == "answer":
                        server.sendall(data)
                        return  # the other thread waits for the answer, and keeps it
                    if self._cut == "question":
                        _close(server)
                    _close(client)
                    return
                server.sendall(data)
        _close(server)

    @staticmethod
    def _answer(server: socket.socket, client: socket.socket, muted: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if muted.is_set():
                    break
                client.sendall(data)
        _close(client)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def tunnel(server_port: int, *, cut: Cut, for_good: bool = False, after: bytes = b"") -> Iterator[int]:
    """Give a port of loopback that leads to the server.

    Args:
        server_port: Where the server listens.
        cut: At the first COMMIT, what is lost: the question, the answer, or the question while the server's end of the
            connection stays open (stuck).
        for_good: Whether nobody gets through afterwards.
        after: What has to pass before a COMMIT counts.
    """
    made = _Tunnel(server_port, cut, for_good=for_good, after=after)
    threading.Thread(target=made.serve, daemon=True).start()
    try:
        yield made.port
    finally:
        made.close()
