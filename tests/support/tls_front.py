"""TLS before a Postgres server that speaks none, as a pooler does it: a handshake, then everything goes through."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SSL_REQUEST = (8).to_bytes(4, "big") + (80_877_103).to_bytes(4, "big")


@contextmanager
def tls_front(server_port: int, certificate: bytes, key: bytes, folder: Path) -> Iterator[int]:
    """Give the port of a front that shows a certificate; it is gone afterwards, with all that went through it."""
    file = folder / "front.pem"
    file.write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    listener = socket.create_server(("127.0.0.1", 0))
    ends: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_carry, args=(client, server_port, context, ends), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
        for end in ends:
            _shut(end)


def _carry(client: socket.socket, server_port: int, context: ssl.SSLContext, ends: list[socket.socket]) -> None:
    with client:
        if client.recv(8) != _SSL_REQUEST:
            return
        client.sendall(b"S")
        try:
            secured = context.wrap_socket(client, server_side=True)
        except OSError:
            return  # the client does not trust the certificate
        with secured, socket.create_connection(("127.0.0.1", server_port)) as server:
            ends += [secured, server]
            back = threading.Thread(target=_pour, args=(server, secured), daemon=True)
            back.start()
            _pour(secured, server)
            back.join()


def _pour(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    _shut(target)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
