"""An engine as small as can be, for tests of a plugin's process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dativo_plugin_sdk.config import SourceConfig
from dativo_plugin_sdk.protocol import messages
from dativo_plugin_sdk.protocol.arrow_stream import ArrowReceiver
from dativo_plugin_sdk.protocol.error_messages import error_from_json
from dativo_plugin_sdk.protocol.sockets import Control, fill, read_frame
from dativo_plugin_sdk.streams import Message, Partition, StreamSpec

CONFIG = SourceConfig(type="csv", connection={"host": "h"}, credentials={"key": "k"}, objects=["a"])


@dataclass
class Engine:
    """Asks one plugin's process, as the engine does."""

    control: Control
    control_socket: socket.socket
    data_socket: socket.socket
    events: list[dict[str, Any]] = field(default_factory=list)
    on_event: Callable[[dict[str, Any]], None] = lambda _: None
    number: int = 0
    traceback: str | None = None

    def __post_init__(self) -> None:
        self.data = ArrowReceiver(partial(fill, self.data_socket))

    def welcome(self, **limits: int) -> None:
        self.control.send({"type": "welcome", "protocol": 1, "run_id": "r", "limits": limits})

    def ask(self, method: str, **params: Any) -> Any:
        """Give a result's value, or raise its error."""
        self.start(method, **params)
        return self.answer()

    def start(self, method: str, **params: Any) -> None:
        self.number += 1
        self.control.send({"type": "request", "id": self.number, "method": method, "params": params})

    def cancel(self) -> None:
        self.control.send({"type": "cancel", "id": self.number})

    def answer(self) -> Any:
        while (message := self.control.receive())["type"] == "event":
            self.events.append(message)
            self.on_event(message)
        assert (message["type"], message["id"]) == ("result", self.number)
        if message["ok"]:
            return message["value"]
        error, self.traceback = error_from_json(message["error"])
        raise error

    def read(self, stream: StreamSpec, state: dict[str, Any] | None = None) -> list[Message]:
        """Read a stream whole."""
        found: list[Message] = []

        def take(event: dict[str, Any]) -> None:
            if event["event"] != "log":
                found.append(messages.message_of(event, self.data.batch))

        self.on_event = take
        value = self.ask("read", **reading(stream, state))
        assert value == {}
        return found

    def logs(self) -> list[tuple[str, str, str]]:
        return [(each["level"], each["logger"], each["message"]) for each in self.events if each["event"] == "log"]


def reading(stream: StreamSpec, state: dict[str, Any] | None = None) -> dict[str, Any]:
    partition = messages.partition_to_json(Partition(stream.name))
    return {"stream": messages.stream_to_json(stream), "partition": partition, "state": state}


def reader(path: Path, name: str) -> dict[str, Any]:
    return {"kind": "reader", "plugin": {"file": str(path), "class": name}}


def made(engine: Engine, path: Path, name: str, config: SourceConfig = CONFIG) -> dict[str, Any]:
    """Have a reader imported and made, and give its spec."""
    spec: dict[str, Any] = engine.ask("spec", **reader(path, name))
    engine.ask("configure", config=messages.config_to_json(config), config_version=1)
    return spec


@dataclass
class Process:
    """A real process with its engine."""

    engine: Engine
    popen: subprocess.Popen[bytes]
    hello: dict[str, Any]

    def ended(self) -> tuple[int, bytes, bytes]:
        """Wait for its end; give code, stdout and stderr."""
        stdout, stderr = self.popen.communicate(timeout=30)
        return self.popen.returncode, stdout, stderr


@contextmanager
def running(folder: Path, **limits: int) -> Iterator[Process]:
    """Start a real process and welcome it."""
    folder.mkdir(exist_ok=True)
    listeners = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for listener, name in zip(listeners, ("control.sock", "data.sock"), strict=True):
        listener.bind(str(folder / name))
        listener.listen(1)
    environment = {"PATH": os.environ["PATH"], "DATIVO_PLUGIN_IO": str(folder), "DATIVO_PLUGIN_TOKEN": "f" * 32}
    popen = subprocess.Popen(
        [sys.executable, "-P", "-m", "dativo_plugin_sdk.host"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    control, data = (listener.accept()[0] for listener in listeners)
    for listener in listeners:
        listener.close()
    with control, data:
        assert read_frame(data) == {"type": "hello", "token": "f" * 32}
        engine = Engine(Control(control), control, data)
        hello = engine.control.receive()
        engine.welcome(**limits)
        try:
            yield Process(engine, popen, hello)
        finally:
            popen.kill()
            popen.communicate()
