"""A container engine of which only the answers to questions are there: what it is, and which images it has."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

INFO = {
    "Runtimes": {"runc": {}},
    "DefaultRuntime": "runc",
    "SecurityOptions": ["name=seccomp,profile=default"],
    **dict.fromkeys(("MemoryLimit", "PidsLimit", "CpuCfsQuota", "SwapLimit"), True),
}
VERSION = {"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Components": [{"Name": "Engine"}]}


@contextmanager
def answering(socket: Path, images: Mapping[str, Any], asked: list[str]) -> Iterator[None]:
    """Answer on a socket.

    Args:
        socket: Where.
        images: What there is, by the names that are asked for.
        asked: Gets every request that comes, as ``GET /version``.
    """

    class Answers(BaseHTTPRequestHandler):
        def address_string(self) -> str:
            return "a client"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            path = self.path.split("/", 2)[-1] if self.path.startswith("/v1.") else self.path.lstrip("/")
            asked.append(f"GET /{path}")
            name = path.removeprefix("images/").removesuffix("/json")
            found = {"version": VERSION, "info": INFO}.get(path) or images.get(name)
            self._answer(200 if found else 404, found or {"message": f"No such image: {name}"})

        def do_POST(self) -> None:
            asked.append(f"POST {self.path}")
            self._answer(500, {"message": "nothing is made here"})

        def _answer(self, status: int, document: Mapping[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with socketserver.ThreadingUnixStreamServer(str(socket), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
