"""A small shop API on the loopback interface, so that the example reader has something to read.

``python loopback_api.py --port 8765`` serves it until Ctrl-C. It pages, wants a bearer token, knows ``updated_since``,
and can be told to misbehave, as real APIs do.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "demo-token"  # noqa: S105  it protects nothing
_FIRST = datetime(2026, 1, 1, 8, tzinfo=UTC)

COLUMNS: dict[str, list[dict[str, Any]]] = {
    "orders": [
        {"name": "id", "type": "integer", "nullable": False},
        {"name": "customer", "type": "string"},
        {"name": "total", "type": "number"},
        {"name": "paid", "type": "boolean"},
        {"name": "updated_at", "type": "timestamp"},
    ],
    "customers": [
        {"name": "id", "type": "integer", "nullable": False},
        {"name": "name", "type": "string"},
        {"name": "updated_at", "type": "timestamp"},
    ],
}


def sample_rows() -> dict[str, list[dict[str, Any]]]:
    """Make what the API serves: 250 orders and 3 customers, oldest change first."""
    names = ["Åsa Lindqvist", "Bo Chen", "María José Núñez"]
    return {
        "orders": [
            {
                "id": number,
                "customer": names[number % 3],
                "total": round(9.99 + number * 1.5, 2),
                "paid": number % 4 != 0,
                "updated_at": _time(number // 2),
            }
            for number in range(1, 251)
        ],
        "customers": [{"id": n, "name": name, "updated_at": _time(n)} for n, name in enumerate(names, start=1)],
    }


def _time(minutes: int) -> str:
    return (_FIRST + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class Fault:
    """One answer that goes wrong; it is given instead of the next page of rows."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    delay_s: float = 0.0
    cut: bool = False
    """End the connection in the middle of the body."""


class ShopApi:
    """The API's data and behaviour; change ``rows`` or add ``faults`` while it serves."""

    def __init__(self, token: str = TOKEN, faults: Sequence[Fault] = ()) -> None:
        self.token = token
        self.rows = sample_rows()
        self.faults = deque(faults)
        self.requests: list[str] = []
        self.url = ""

    def answer(self, target: str, authorization: str | None) -> tuple[int, Any]:
        """Give status and document of one request."""
        self.requests.append(target)
        if authorization != f"Bearer {self.token}":
            return 401, {"error": "invalid API key"}
        parts = urlsplit(target)
        name = parts.path.removeprefix("/v1/")
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        if name == "account":
            return 200, {"api_version": "v1", "account_id": "acct_123"}
        if name == "objects":
            return 200, {"objects": [self._describe(each) for each in self.rows]}
        if name not in self.rows:
            return 404, {"error": f"no endpoint {name}"}
        since = query.get("updated_since", "")
        rows = sorted(
            (row for row in self.rows[name] if row["updated_at"] >= since), key=lambda r: (r["updated_at"], r["id"])
        )
        page, size = int(query.get("page", 1)), int(query.get("page_size", 100))
        start = (page - 1) * size
        more = start + size < len(rows)
        return 200, {"data": rows[start : start + size], "next_page": page + 1 if more else None}

    def _describe(self, name: str) -> dict[str, Any]:
        return {"name": name, "rows": len(self.rows[name]), "columns": COLUMNS[name]}


@contextmanager
def serve(api: ShopApi | None = None, port: int = 0) -> Iterator[ShopApi]:
    """Serve the API on 127.0.0.1 while the context lasts; port 0 picks a free one, ``api.url`` tells it."""
    shop = api or ShopApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_rows = not self.path.endswith(("/account", "/objects"))
            if is_rows and shop.faults:
                self._fail(shop.faults.popleft())
                return
            status, document = shop.answer(self.path, self.headers.get("Authorization"))
            self._send(status, json.dumps(document).encode())

        def _fail(self, fault: Fault) -> None:
            if fault.delay_s:
                time.sleep(fault.delay_s)
            self._send(fault.status, fault.body, fault.headers, missing_bytes=10 if fault.cut else 0)

        def _send(
            self, status: int, body: bytes, headers: dict[str, str] | None = None, missing_bytes: int = 0
        ) -> None:
            self.send_response(status)
            for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body) + missing_bytes))
            self.end_headers()
            self.wfile.write(body)

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                self.close_connection = True  # the client gave up waiting

        def log_message(self, *_: object) -> None:
            """Keep the terminal for the reader."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    shop.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield shop
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A small shop API on the loopback interface.")
    parser.add_argument("--port", type=int, default=8765)
    with serve(port=parser.parse_args().port) as api:
        print(f"serving {api.url} (token {TOKEN}); Ctrl-C ends it", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            print("bye")


if __name__ == "__main__":
    main()
