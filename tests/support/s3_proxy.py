"""A way to an S3 service on which answers and requests get lost, come late, or are made up."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Fault = Callable[["Exchange"], None]


@dataclass
class Exchange:
    """One request on its way; a fault calls `forward`, `answer`, both or neither: without an answer it is cut off."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    _service: tuple[str, int]
    _handler: BaseHTTPRequestHandler
    answered: bool = False

    def forward(self) -> tuple[int, dict[str, str], bytes]:
        """Ask the service, also long after the one who asked is gone."""
        connection = http.client.HTTPConnection(*self._service, timeout=30)
        connection.request(self.method, self.path, body=self.body, headers=self.headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, dict(response.getheaders()), body

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.answered = True
        self._handler.send_response_only(status)
        for name, value in (headers or {}).items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self._handler.send_header(name, value)
        length = (headers or {}).get("Content-Length", str(len(body))) if self.method == "HEAD" else str(len(body))
        self._handler.send_header("Content-Length", length)
        self._handler.end_headers()
        self._handler.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        """Answer as S3 does."""
        self.answer(status, {"Content-Type": "application/xml"}, f"<Error><Code>{code}</Code></Error>".encode())

    @property
    def is_commit(self) -> bool:
        """Whether it creates a manifest."""
        return self.method == "PUT" and "/_manifests/" in self.path and "if-none-match" in map(str.lower, self.headers)


@dataclass
class S3Proxy:
    endpoint: str
    faults: list[tuple[Callable[[Exchange], bool], Fault]] = field(default_factory=list)
    """Which exchanges go wrong and how; each is used once, in order."""
    always: Fault | None = None
    """What becomes of every exchange that no fault is for; it is passed on by default."""
    seen: list[str] = field(default_factory=list)

    def on_commit(self, fault: Fault, *, times: int = 1) -> None:
        self.faults += [(lambda exchange: exchange.is_commit, fault)] * times


@contextmanager
def between(endpoint: str) -> Iterator[S3Proxy]:
    """Listen on a port of loopback and pass on to the service what comes."""
    parts = urlsplit(endpoint)
    service = (parts.hostname or "", parts.port or 80)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            exchange = Exchange(self.command, self.path, dict(self.headers), body, service, self)
            with lock:
                proxy.seen.append(f"{self.command} {self.path}")
                found = next((each for each in proxy.faults if each[0](exchange)), None)
                if found is not None:
                    proxy.faults.remove(found)
            fault = found[1] if found is not None else proxy.always or pass_on
            fault(exchange)
            self.close_connection = self.close_connection or not exchange.answered

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815  http.server's names

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  http.server's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = S3Proxy(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def pass_on(exchange: Exchange) -> None:
    exchange.answer(*exchange.forward())


def lose_answer(exchange: Exchange) -> None:
    exchange.forward()


def lose_request(exchange: Exchange) -> None:
    pass
