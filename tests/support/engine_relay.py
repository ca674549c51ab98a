"""A socket in front of a container engine's, which can be cut and joined again."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Relay:
    """Passes on what is said on a socket; from `cut` to `join`, nobody is there.

    Args:
        path: Where to listen.
        engine: The engine's socket.
    """

    def __init__(self, path: Path, engine: Path) -> None:
        self.path = path
        self._engine = str(engine)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.join()

    @property
    def url(self) -> str:
        """Give the address as a policy has it."""
        return f"unix://{self.path}"

    def join(self) -> None:
        """Be there."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen(16)
        self._listener = listener
        self._run(self._accept, listener)

    def cut(self) -> None:
        """Be gone: every connection ends, and there are no new ones."""
        self.path.unlink()
        assert self._listener is not None
        self._end(self._listener)
        with self._lock:
            ended, self._open = self._open, set()
        for each in ended:
            self._end(each)
        for thread in self._threads:
            thread.join(5)

    def _end(self, each: socket.socket) -> None:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)

    def _run(self, work: object, *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with listener, contextlib.suppress(OSError):
            while True:
                near = listener.accept()[0]
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._engine)
                with self._lock:
                    self._open |= {near, far}
                self._run(self._pass_on, near, far)

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        with near, far, contextlib.suppress(OSError):
            left = [near, far]
            while left:
                for each in select.select(left, [], [])[0]:
                    piece = each.recv(65536)
                    if piece:
                        other[each].sendall(piece)
                    else:
                        left.remove(each)
                        other[each].shutdown(socket.SHUT_WR)
        with self._lock:
            self._open -= {near, far}


@contextmanager
def relayed(path: Path, engine: Path) -> Iterator[Relay]:
    """Stand in front of an engine."""
    relay = Relay(path, engine)
    try:
        yield relay
    finally:
        if path.exists():
            relay.cut()
