"""A plugin's process that is none: all that it ever says is there from the start, whatever it is."""

from __future__ import annotations

import io
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa

from dativo_ingest.plugin_process import conversation
from dativo_ingest.plugin_process.found import FoundPlugin
from dativo_ingest.plugin_process.remote_reader import RemoteReader
from dativo_ingest.plugin_process.starting import Hosted, Starter
from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.exits import Exit, Usage
from dativo_ingest.sandbox.output import Output
from dativo_ingest.sandbox.run_spec import RunSpec
from dativo_plugin_sdk.config import SourceConfig
from dativo_plugin_sdk.errors import PluginError
from dativo_plugin_sdk.protocol import messages
from dativo_plugin_sdk.protocol.arrow_stream import ArrowSender, Flags
from dativo_plugin_sdk.protocol.frames import encode
from dativo_plugin_sdk.protocol.sockets import widen
from dativo_plugin_sdk.rejects import rejected
from dativo_plugin_sdk.streams import Partition, StreamSpec

TOKEN = "0123456789abcdef0123456789abcdef"
_PIECE_BYTES = 2**15
BATCH = pa.record_batch({"id": pa.array([1, None, 3], pa.int64()), "name": ["a", None, "ü"], "list": [[1], [], None]})
STREAM = StreamSpec("orders")
SHOP = FoundPlugin("reader", "shop", None, None, None, ("none",), Path(sys.executable), None, "1.0", None, 1, 1, "0")
HOSTED = Hosted.alone("source", SHOP)


@dataclass
class Script:
    """What a plugin says: messages on the control socket, and bytes on the data socket."""

    said: list[dict[str, Any]] = field(default_factory=list)
    data: bytes = b""


def whole_script() -> Script:
    """Give what a reader says that does all that `read_all` asks for, in one process."""
    sink = io.BytesIO()
    sender = ArrowSender(sink)
    for batch, flags in (
        (BATCH, Flags.ROWS),
        (BATCH.append_column("lines", pa.array([1, 2, 4])), Flags.LINES),
        (rejected([{"rule": "malformed", "reason": "r", "row": "[]"}]), Flags.REJECTED),
    ):
        sender.send(batch, flags)
    sender.end()
    schema = messages.schema_to_json(BATCH.schema)
    hello = {"type": "hello", "token": TOKEN, "protocol": [1], "sdk": "0.1.0", "language": "c", "pid": 7}
    answers: list[tuple[Any, list[dict[str, Any]]]] = [
        (_SPEC, []),
        ({}, [{"event": "log", "level": "info", "logger": "shop", "message": "configured"}]),
        ({"steps": ["reach", "sample"]}, []),
        ({"success": True, "message": "reached", "error_code": None, "details": {"at": [1, 2.5, None]}}, []),
        (
            {"objects": [{"name": "orders", "type": "table", "columns": []}], "metadata": {"n": 1}, "warnings": ["w"]},
            [],
        ),
        ({"orders": {"path": "x"}, "customers": {}}, []),
        ({}, []),
        (schema, []),
        (schema, []),
        ([{"id": "orders", "detail": {"from": 1}, "size_bytes": 12, "rows": 3}], []),
        (["slow"], []),
        ("fingerprint", []),
        (
            {},
            [
                {"event": "batch", "kind": "rows", "rows": 3, "source": "f", "first_line": 1, "source_bytes": 9},
                {"event": "state", "state": {"version": 1, "after": 3}},
                {"event": "batch", "kind": "rows", "rows": 3},
                {"event": "metric", "name": "pages", "value": 1, "labels": {"a": "b"}},
                {"event": "batch", "kind": "rejected", "rows": 1},
                {"event": "skipped", "rows": 2, "reason": "empty"},
                {"event": "warned", "message": "odd"},
                {"event": "state", "state": {"version": 1, "after": 7, "deep": [[{}]]}},
            ],
        ),
        ({}, []),
        ({}, []),
    ]
    said: list[dict[str, Any]] = [hello]
    for number, (value, events) in enumerate(answers, 1):
        said += [{"type": "event", "id": number, **event} for event in events]
        said.append({"type": "result", "id": number, "ok": True, "value": value})
    return Script(said, encode({"type": "hello", "token": TOKEN}) + sink.getvalue())


_SPEC = {
    "kind": "reader",
    "level": "stream",
    "class": "Shop",
    "version": "1.0",
    "requires_sdk": ">=0.1",
    "capabilities": ["incremental"],
    "methods": ["streams", "prepare", "source_schema", "partitions", "warnings", "fingerprint", "acknowledge"],
    "state_version": 1,
    "config_version": 1,
}


class ScriptedSession:
    """What a `Session` is to a conversation, with a script where the process would be."""

    def __init__(self, spec: RunSpec, control: Sequence[bytes], data: bytes) -> None:
        self.spec = spec
        self.token = TOKEN
        self.output = Output(spec.grant.log_bytes, tell=lambda _: None)
        self.started_s = time.monotonic()
        self.is_confined = False
        self.egress = None
        self.failure: PluginError | None = None
        # One frame at a time, as of a plugin that waits for the engine.
        self.control, self._control_peer = _told(control, socket.SOCK_SEQPACKET)
        self.data, self._data_peer = _told([data], socket.SOCK_STREAM)

    def connect(self, _while_waiting: object) -> bool:
        return True

    def kill(self, why: PluginError | None = None) -> None:
        self.failure = self.failure or why

    def flood(self) -> PluginError:
        return PluginError("a flood", error_code="RESOURCE_OUTPUT")

    def exit(self, _timeout_s: float = 0.0) -> Exit | None:
        return Exit(0, None)

    def usage(self) -> Usage:
        return Usage()

    def close(self) -> None:
        for each in (self.control, self._control_peer, self.data, self._data_peer):
            each.close()


def _told(said: Sequence[bytes], kind: socket.SocketKind) -> tuple[socket.socket, socket.socket]:
    """Give a socket on which all of it waits, and then the end; and the other end of it."""
    here, there = socket.socketpair(socket.AF_UNIX, kind)
    for each in (here, there):
        widen(each)
    there.setblocking(False)
    for piece in said:
        for at in range(0, len(piece), _PIECE_BYTES):
            there.sendall(piece[at : at + _PIECE_BYTES])
    there.shutdown(socket.SHUT_WR)
    return here, there


@contextmanager
def reader_of(control: Sequence[bytes], data: bytes) -> Iterator[tuple[RemoteReader, list[ScriptedSession]]]:
    """Give a reader whose every process says this, and nothing more; and these processes, as there come to be some."""
    sessions: list[ScriptedSession] = []

    def start(spec: RunSpec, _: Confinement) -> ScriptedSession:
        sessions.append(ScriptedSession(spec, control, data))
        return sessions[-1]

    with patch.object(conversation, "Session", start):
        reader = RemoteReader(SourceConfig(type="shop"), Starter(SHOP, SourceConfig(type="shop"), HOSTED))
        try:
            yield reader, sessions
        finally:
            reader.close()


def read_all(reader: RemoteReader) -> list[Any]:
    """Ask for all that a reader can be asked for, and give what came."""
    found: list[Any] = [check.run() for check in reader.check([STREAM])[:1]]
    found += [reader.discover(), reader.streams()]
    reader.prepare([STREAM])
    found += [reader.schema(STREAM), reader.source_schema(STREAM), reader.partitions(STREAM, None)]
    found += [reader.warnings(STREAM), reader.fingerprint(STREAM)]
    found += reader.read(STREAM, Partition("orders"), None)
    reader.acknowledge(STREAM, {"after": 7})
    return found
