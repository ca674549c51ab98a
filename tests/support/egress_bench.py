"""A proxy of the egress kind, asked directly: no sandbox, a resolver of the test's own, servers on loopback."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from dativo_ingest.sandbox.egress.proxy import Proxy
from dativo_ingest.sandbox.egress.reach import Reach
from dativo_ingest.sandbox.egress.record import Record
from dativo_ingest.sandbox.hosts import read_host

READING_S = 20.0

Serve = Callable[[socket.socket], None]


def echo(peer: socket.socket) -> None:
    """Send back what comes, until its end."""
    while data := peer.recv(2**16):
        peer.sendall(data)


@contextmanager
def server(serve: Serve = echo) -> Iterator[int]:
    """Give the port of a server on loopback, where each connection has a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    peers: list[socket.socket] = []

    def one(peer: socket.socket) -> None:
        with peer, suppress(OSError):
            serve(peer)

    def accept() -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                peers.append(peer)
                threading.Thread(target=one, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
        for peer in peers:
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)


def reach(*hosts: str, **terms: object) -> Reach:
    """Make what a grant of these hosts comes to; each may have any address, as a job's own hosts may."""
    granted = tuple(map(read_host, hosts))
    return Reach(**{"hosts": granted, "anywhere": granted, **terms})  # type: ignore[arg-type]  # tests name what there is


@dataclass
class Bench:
    """A proxy and the way to it."""

    proxy: Proxy
    path: str
    asked: list[str] = field(default_factory=list)
    """The names that were resolved."""

    def connected(self) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(READING_S)
        peer.connect(self.path)
        return peer

    def says(self, request: bytes) -> bytes:
        """Send bytes and give the first line of the answer; nothing where there is none."""
        with self.connected() as peer:
            with suppress(BrokenPipeError):  # it has said enough
                peer.sendall(request)
            return read_head(peer).split(b"\r\n")[0]

    def asks(self, target: str) -> bytes:
        """Ask for a host as every client does."""
        return self.says(connect(target))

    def tunnel(self, target: str) -> socket.socket:
        """Be joined to a host."""
        peer = self.connected()
        peer.sendall(connect(target))
        assert read_head(peer).startswith(b"HTTP/1.1 200 ")
        return peer

    @property
    def denied(self) -> list[str]:
        return [f"{each.place}: {each.why}" for each in self.proxy.record.since()]


def connect(target: str) -> bytes:
    """Write a request."""
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()


def read_head(peer: socket.socket) -> bytes:
    """Read an answer's head, and not a byte more."""
    head = b""
    with suppress(ConnectionResetError):
        while not head.endswith(b"\r\n\r\n") and (byte := peer.recv(1)):
            head += byte
    return head


def read_all(peer: socket.socket) -> bytes:
    """Read to the end."""
    data = b""
    while piece := peer.recv(2**16):
        data += piece
    return data


@contextmanager
def bench(
    folder: Path,
    granted: Reach,
    addresses: Mapping[str, Sequence[str]] | Callable[[str], Sequence[str]] | None = None,
    *,
    head_s: float = 10.0,
) -> Iterator[Bench]:
    """Start a proxy.

    Args:
        folder: Where its socket is.
        granted: Whom it lets through.
        addresses: What names resolve to; 127.0.0.1 where nothing is said.
        head_s: How long a request may take to come.
    """
    asked: list[str] = []
    known = addresses if addresses is not None else {}

    def resolve(name: str, _port: int) -> Sequence[str]:
        asked.append(name)
        return known(name) if callable(known) else known.get(name, ["127.0.0.1"])

    path = str(folder / "egress.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(128)
    proxy = Proxy(listener, granted, Record(), plugin="crm-reader", uids={os.geteuid()}, resolve=resolve, head_s=head_s)
    try:
        yield Bench(proxy, path, asked)
    finally:
        proxy.close()
        Path(path).unlink()
