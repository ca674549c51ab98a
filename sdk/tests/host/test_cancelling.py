"""A cancellation stops the plugin wherever it is, and leaves the conversation whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from small_engine import Engine, made, reading

from dativo_plugin_sdk.errors import DativoError
from dativo_plugin_sdk.protocol import messages
from dativo_plugin_sdk.streams import Rows, StreamSpec, Warned

Converse = Callable[..., Any]
WritePlugin = Callable[[str], Path]

BUSY = """
    import logging
    import os
    import socket
    import threading
    import time
    import pyarrow as pa
    from dativo_plugin_sdk import *

    class Busy(StreamReader):
        check = discover = None
        closed = []

        def schema(self, stream):
            logging.warning("busy")
            getattr(self, stream.name)()
            return pa.schema([])

        def source_schema(self, stream):
            return pa.schema([pa.field(name, pa.null()) for name in self.closed])

        def sleep(self):
            time.sleep(60)

        def loop(self):
            while True:
                pass

        def socket(self):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.recv(1)

        def lock(self):
            threading.Event().wait(60)

        def file(self):
            reading, writing = os.pipe()
            try:
                os.read(reading, 1)
            finally:
                os.close(reading)
                os.close(writing)

        def translates(self):
            try:
                time.sleep(60)
            except BaseException as error:
                raise RuntimeError("interrupted") from error

        def swallows(self):
            try:
                time.sleep(60)
            except:
                time.sleep(60)

        def logs(self):
            while True:
                logging.info("x" * 1000)

        def read(self, stream, partition, state):
            try:
                yield Warned("begun")
                if stream.name == "sleep":
                    time.sleep(60)
                batch = pa.record_batch({"x": list(range(10_000))})
                while True:
                    yield Rows(batch)
            finally:
                logging.info("closing")
                self.closed.append(stream.name)
"""


@pytest.mark.parametrize("how", ["sleep", "loop", "socket", "lock", "file", "translates", "swallows", "logs"])
def test_a_busy_plugin_is_stopped(converse: Converse, plugin: WritePlugin, how: str) -> None:
    path = plugin(BUSY)

    def talk(engine: Engine) -> DativoError:
        made(engine, path, "Busy")
        engine.start("schema", stream={"name": how})
        engine.on_event = lambda event: engine.cancel() if event.get("message") == "busy" else None
        with pytest.raises(DativoError) as caught:
            engine.answer()
        engine.ask("source_schema", stream={"name": how})
        return caught.value

    error = converse(talk)

    assert error.error_code == "CANCELLED"


@pytest.mark.parametrize("how", ["sleep", "rows"])
def test_a_reader_that_is_stopped_is_closed_and_its_batches_are_whole(
    converse: Converse, plugin: WritePlugin, how: str
) -> None:
    path = plugin(BUSY)

    def talk(engine: Engine) -> tuple[list[Any], DativoError, list[str]]:
        made(engine, path, "Busy")
        found: list[Any] = []

        def take(event: dict[str, Any]) -> None:
            if event["event"] == "log":
                return
            found.append(messages.message_of(event, engine.data.batch))
            if len(found) == (1 if how == "sleep" else 50):
                engine.cancel()

        engine.on_event = take
        with pytest.raises(DativoError) as caught:
            engine.ask("read", **reading(StreamSpec(how)))
        closed = messages.schema_from_json(engine.ask("source_schema", stream={"name": how})).names
        return found, caught.value, closed

    found, error, closed = converse(talk)

    assert error.error_code == "CANCELLED"
    assert closed == [how]
    assert found[0] == Warned("begun")
    batch = pa.record_batch({"x": list(range(10_000))})
    assert all(message == Rows(batch) for message in found[1:])


def test_a_cancellation_that_comes_too_late_stops_nothing(converse: Converse, plugin: WritePlugin) -> None:
    path = plugin(BUSY)

    def talk(engine: Engine) -> Any:
        made(engine, path, "Busy")
        engine.cancel()
        engine.ask("source_schema", stream={"name": "a"})
        engine.cancel()
        engine.cancel()
        return engine.ask("source_schema", stream={"name": "a"})

    assert messages.schema_from_json(converse(talk)) == pa.schema([])


def test_a_cancellation_that_comes_with_its_request_stops_it(converse: Converse, plugin: WritePlugin) -> None:
    path = plugin(BUSY)

    def talk(engine: Engine) -> None:
        made(engine, path, "Busy")
        engine.start("schema", stream={"name": "sleep"})
        engine.cancel()
        engine.answer()

    with pytest.raises(DativoError) as caught:
        converse(talk)

    assert caught.value.error_code == "CANCELLED"
