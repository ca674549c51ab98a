"""HTTP on the loopback interface for tests: a server whose answers a function gives, and a front that says 429."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit, urlunsplit

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"})
_EARLY_S = 0.02  # clocks and sleeps are no better than that
TOO_MANY_REQUESTS = 429


@dataclass(frozen=True)
class Request:
    """What a client asked: ``headers`` have names in lower case, ``query`` the last value of each key."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def path(self) -> str:
        """Give the target without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """Give the query's values."""
        return {key: values[-1] for key, values in parse_qs(urlsplit(self.target).query).items()}


@dataclass(frozen=True)
class Answer:
    """What a client gets; a body that is no bytes is sent as JSON."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """Give the body as bytes."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Handler: TypeAlias = Callable[[Request], Answer]


@dataclass
class HttpServer:
    """A server that listens: where it is, and what it was asked."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)


@contextmanager
def serving(handler: Handler) -> Iterator[HttpServer]:
    """Serve on a free port of 127.0.0.1 while the context lasts.

    Args:
        handler: Called in a thread of each connection; what it raises is answered with 500.
    """
    made = HttpServer()

    class _Connection(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def answer(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, self.rfile.read(size))
            made.requests.append(request)
            try:
                given = handler(request)
            except Exception as error:  # noqa: BLE001  a test's handler: its failure is an answer
                given = Answer({"error": f"{type(error).__name__}: {error}"}, 500)
            content = given.content
            self.send_response(given.status)
            kind = "application/octet-stream" if isinstance(given.body, bytes) else "application/json"
            for name, value in {"Content-Type": kind, **given.headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer  # noqa: N815  names of the standard library

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True  # the client has gone

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Connection)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class RetryAfter:
    """Answers in place of an API that has had enough of requests: 429, and when to come again.

    Args:
        upstream: The API's address; only its scheme, host and port matter.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self._lock = Lock()
        self._wait_s: float | None = None
        self._open_at_s = 0.0
        self.refused = 0
        """How many requests were told to come again."""
        self.early = 0
        """How many of those had been told to wait, and did not."""

    def arm(self, wait_s: float) -> None:
        """Refuse the next request, and others until it may come again."""
        with self._lock:
            self._wait_s = wait_s

    def answer(self, request: Request) -> Answer:
        """Refuse a request, or hand it on."""
        with self._lock:
            now_s = time.monotonic()
            if self._wait_s is not None:
                self._open_at_s, self._wait_s = now_s + self._wait_s, None
            elif now_s < self._open_at_s - _EARLY_S:
                self.early += 1
            left_s = self._open_at_s - now_s
            if left_s > _EARLY_S:
                self.refused += 1
                seconds = max(1, round(left_s))
                return Answer({"error": "too many requests"}, TOO_MANY_REQUESTS, {"Retry-After": str(seconds)})
        return self._handed_on(request)

    def _handed_on(self, request: Request) -> Answer:
        secure = self._upstream.scheme == "https"
        make = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = make(self._upstream.hostname or "", self._upstream.port, timeout=30)
        try:
            headers = {name: value for name, value in request.headers.items() if name not in _HOP_BY_HOP}
            connection.request(request.method, request.target, request.body or None, headers)
            response = connection.getresponse()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP}
            return Answer(response.read(), response.status, kept)
        finally:
            connection.close()


@contextmanager
def retry_after_front(upstream: str) -> Iterator[tuple[RetryAfter, str]]:
    """Put a front before an API: give what answers, and the front's address with the path of the API's."""
    front = RetryAfter(upstream)
    with serving(front.answer) as server:
        here, there = urlsplit(server.url), urlsplit(upstream)
        yield front, urlunsplit((here.scheme, here.netloc, there.path, there.query, ""))
