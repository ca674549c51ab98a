"""A writer plugin and the engine's side of it in one process; nothing crosses but JSON and Arrow bytes."""

from __future__ import annotations

import io
import json
import queue
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from dativo_ingest.sandbox.endings import PLUGIN_CRASHED
from dativo_plugin_sdk import DativoError, PluginExecutionError
from dativo_plugin_sdk.host.serve_writer import WriterService
from dativo_plugin_sdk.plugin_calls import call_plugin
from dativo_plugin_sdk.protocol.arrow_stream import ArrowReceiver, ArrowSender
from dativo_plugin_sdk.protocol.error_messages import error_from_json, error_to_json
from dativo_plugin_sdk.protocol.messages import config_to_json


class Joined:
    """A conversation without a process between its two ends; what is no ``Exception`` out of the plugin ends it."""

    def __init__(self, plugin: type, config: Any) -> None:
        self._batches: queue.SimpleQueue[pa.RecordBatch] = queue.SimpleQueue()
        self._said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._on_event: Callable[[Mapping[str, Any]], None] | None = None
        self._service = WriterService(plugin, self)  # type: ignore[arg-type]
        self._error: DativoError | None = None
        self.is_over = False
        self.asked: list[str] = []
        self.powers = self._crossing(lambda: self._service.configure({"config": _json(config_to_json(config))}))

    # The engine's side

    def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        within: str = "idle",
        batch: pa.RecordBatch | None = None,
        on_event: Callable[[Mapping[str, Any]], None] | None = None,
        patience: str = "none",
    ) -> Any:
        if self._error is not None:
            raise self._error
        assert not self.is_over
        self.asked.append(method)
        if batch is not None:
            self._batches.put(_crossed(batch))
        self._on_event = on_event
        return self._crossing(lambda: self._service.methods[method](_json(dict(params or {}))))

    def say(self, message: Mapping[str, Any], batch: pa.RecordBatch | None = None) -> None:
        self._said.put(_json(dict(message)))
        if batch is not None:
            self._batches.put(_crossed(batch))

    def refuse(self, error: DativoError) -> Any:
        self._end(error)

    def stop(self) -> None:
        if not self.is_over:
            self._service.close()
        self.is_over = True

    kill = close = stop

    # The plugin's side

    def call(self, where: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return call_plugin(where, function, *args, **kwargs)

    def event(self, event: Mapping[str, Any]) -> None:
        assert self._on_event is not None
        self._on_event(_json(dict(event)))

    def receive_batch(self) -> pa.RecordBatch:
        return self._batches.get_nowait()

    def next_message(self) -> dict[str, Any]:
        return self._said.get_nowait()

    def _crossing(self, answer: Callable[[], Any]) -> Any:
        try:
            return _json(answer())
        except DativoError as error:
            crossed, _ = error_from_json(_json(error_to_json(error)))
            raise crossed from None
        except BaseException as died:
            if isinstance(died, Exception):
                raise
            self._end(PluginExecutionError("the process of the plugin was killed", error_code=PLUGIN_CRASHED))

    def _end(self, error: DativoError) -> None:
        self.is_over = True
        self._error = error
        raise error


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


def _crossed(batch: pa.RecordBatch) -> pa.RecordBatch:
    sink = io.BytesIO()
    sender = ArrowSender(sink)
    sender.send(batch)
    sender.end()
    sink.seek(0)

    def fill(view: memoryview) -> None:
        assert sink.readinto(view) == len(view)

    return ArrowReceiver(fill).batch().batch
