"""The conversation with the engine, from the plugin's side: requests one at a time, each with its result.

The main thread answers requests and runs the plugin's code. One other thread reads the control socket, so that a
cancellation reaches a plugin that is busy, and the end of the engine ends this process.
"""

from __future__ import annotations

import importlib
import logging
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

import pyarrow as pa

import dativo_plugin_sdk
from dativo_plugin_sdk.errors import DativoError, PluginExecutionError
from dativo_plugin_sdk.host.cancelling import CancelledCallError, Cancelling
from dativo_plugin_sdk.host.logs import LogFrames
from dativo_plugin_sdk.loading import class_from_entry_point, class_from_path
from dativo_plugin_sdk.plugin_calls import call_plugin, failed
from dativo_plugin_sdk.protocol.arrow_stream import ArrowReceiver, ArrowSender, Flags, Limits
from dativo_plugin_sdk.protocol.breach import PROTOCOL_ERROR
from dativo_plugin_sdk.protocol.error_messages import error_to_json
from dativo_plugin_sdk.protocol.messages import PluginSpec, spec_to_json
from dativo_plugin_sdk.protocol.sockets import Control, SocketSink, fill, widen
from dativo_plugin_sdk.reader import BaseReader
from dativo_plugin_sdk.streams import StreamReader
from dativo_plugin_sdk.tables import StreamWriter
from dativo_plugin_sdk.versions import PROTOCOLS, check_plugin
from dativo_plugin_sdk.writer import BaseWriter

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

CANCELLED = "CANCELLED"
"""The code of the error that answers a cancelled request."""

_BASES: dict[str, tuple[type, ...]] = {"reader": (BaseReader, StreamReader), "writer": (BaseWriter, StreamWriter)}
_SERVICES = {
    "reader": "dativo_plugin_sdk.host.serve_reader:ReaderService",
    "writer": "dativo_plugin_sdk.host.serve_writer:WriterService",
}
_LIMITS = ("body_bytes", "metadata_bytes", "rows")
_FROM_THE_ENGINE = Limits(2**40, 2**31, 2**40, 2**40)  # a single row may be larger than a batch
_REMIND_S = 2.0


class Service(Protocol):
    """What answers the requests for one kind of plugin; made from its class and the `Session`."""

    @property
    def methods(self) -> Mapping[str, Callable[[dict[str, Any]], Any]]:
        """What is answered, by the request's method: each takes its params and gives the result's value, as JSON."""

    def spec(self) -> dict[str, Any]:
        """Say what the class is and can do, beyond what every plugin says."""

    def configure(self, params: dict[str, Any]) -> dict[str, Any]:
        """Make the plugin, and say what it can do with this configuration."""

    def close(self) -> None:
        """Let go of it."""


class EngineGoneError(Exception):
    """Nobody listens any more."""


class Session:
    """One engine, one plugin.

    Args:
        control: Connected, with the hello sent.
        data: The same.
        gone: Called once the engine is gone, from any thread; a process ends here and now.
        at_end: Called when the plugin is closed, before the engine is told.
    """

    def __init__(
        self,
        control: socket.socket,
        data: socket.socket,
        *,
        gone: Callable[[], None],
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        for sock in (control, data):
            widen(sock)
        self.limits = Limits()
        self._data_socket = data
        self._control = Control(control)
        self._sender = ArrowSender(SocketSink(data))
        self._receiver = ArrowReceiver(partial(fill, data), _FROM_THE_ENGINE)
        self._gone, self._at_end = gone, at_end
        self._is_ending = False
        self._cancelling = Cancelling()
        self._inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._current = 0
        self._service: Service | None = None

    # -- what a service uses

    def call(
        self, where: str, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """Call the plugin's code, which a cancellation stops.

        Args:
            where: Class and method, for messages: ``ShopReader.read``.
            function: What to call.
            args: Its arguments.
            kwargs: Its named arguments.

        Raises:
            DativoError: As the plugin raised it; a `PluginExecutionError` for whatever else it raised.
            CancelledCallError: The engine cancelled the request; nothing but `serve` may catch it.
        """
        try:
            return self._cancelling.call(partial(call_plugin, where, function, *args, **kwargs))
        except (CancelledCallError, DativoError):
            raise
        except BaseException as error:  # foreign code: KeyboardInterrupt, StopIteration, and classes of its own
            text = f"{where} failed: {type(error).__name__}: {error}"
            raise failed(error, PluginExecutionError, text) from error

    def event(self, event: Mapping[str, Any]) -> None:
        """Tell something of the request under way.

        Raises:
            ValueError: It is larger than a frame.
        """
        self._send({"type": "event", "id": self._current, **event})

    def send_batch(self, batch: pa.RecordBatch, flags: Flags = Flags.ROWS) -> None:
        """Send a batch on the data socket; the event that announces it is sent before."""
        try:
            with self._cancelling.held():
                self._sender.send(batch, flags)
        except (OSError, EOFError) as error:
            self._lost()
            raise EngineGoneError from error

    def receive_batch(self) -> pa.RecordBatch:
        """Wait for the next batch on the data socket."""
        try:
            with self._cancelling.held():
                return self._receiver.batch().batch
        except (OSError, EOFError) as error:
            self._lost()
            raise EngineGoneError from error

    def next_message(self) -> dict[str, Any]:
        """Wait for what the engine says within the request under way."""
        with self._cancelling.held():
            message = self._inbox.get()
        if message is None:
            raise EngineGoneError
        return message

    # -- serving

    def serve(self) -> None:
        """Answer requests until ``shutdown``, or until the engine is gone."""
        try:
            welcome = self._control.receive()
        except (OSError, EOFError):
            self._lost()
            return
        if welcome.get("type") != "welcome" or welcome.get("protocol") not in PROTOCOLS:  # the engine tells its user
            self._lost()
            return
        known = {key: value for key, value in welcome.get("limits", {}).items() if key in _LIMITS}
        self.limits = Limits(**known)
        root, handler = logging.getLogger(), LogFrames(self._log)
        root.addHandler(handler)
        root.setLevel(str(welcome.get("log_level", "info")).upper())
        threading.Thread(target=self._listen, name="dativo control", daemon=True).start()
        try:
            with self._cancelling.listening():
                while (request := self._inbox.get()) is not None and self._answer(request):
                    pass
        except EngineGoneError:
            pass
        finally:
            root.removeHandler(handler)

    def forget(self) -> None:
        """Close this process's copies of the sockets, after a fork: the conversation is the parent's."""
        self._control.forget()
        self._data_socket.close()
        root = logging.getLogger()
        for handler in list(root.handlers):
            if isinstance(handler, LogFrames):
                root.removeHandler(handler)

    def _answer(self, request: dict[str, Any]) -> bool:
        """Send a request's result; say whether another request may follow."""
        number, method = request.get("id"), request.get("method")
        params = request.get("params") or {}
        if not isinstance(number, int) or not isinstance(method, str) or not isinstance(params, dict):
            raise _not_asked("a request has no number, no method, or parameters that are no object")
        self._current = number
        self._cancelling.begin(number)
        try:
            result = {"ok": True, "value": self._value(method, params)}
        except EngineGoneError:
            raise
        except BaseException as error:  # noqa: BLE001  foreign code: every failure is an answer
            result = {"ok": False, "error": self._told(error)}
        finally:
            self._cancelling.end()
        is_end = method == "shutdown"
        if is_end:
            self._at_end()
            self._is_ending = True
        try:
            self._send({"type": "result", "id": number, **result})
        except ValueError as error:
            self._send(
                {"type": "result", "id": number, "ok": False, "error": error_to_json(_unsendable(method, error))}
            )
        return not is_end

    def _value(self, method: str, params: dict[str, Any]) -> Any:
        if method == "spec":
            return self._spec(params)
        if method == "shutdown":
            if self._service is not None:
                self._service.close()
            return {}
        if self._service is None:
            raise _not_asked(f"{method} is asked before spec")
        if method == "configure":
            return self._service.configure(params)
        answer = self._service.methods.get(method)
        if answer is None:
            raise _not_asked(f"there is no method {method}")
        return answer(params)

    def _spec(self, params: dict[str, Any]) -> dict[str, Any]:
        kind, plugin = params.get("kind"), params.get("plugin")
        if kind not in _BASES or not isinstance(plugin, dict):
            raise _not_asked("spec needs a kind, reader or writer, and a plugin")
        if "entry_point" in plugin:
            found = self.call("import", class_from_entry_point, plugin["entry_point"], *_BASES[kind])
        else:
            named = f"{plugin.get('file')}:{plugin.get('class')}"
            found = self.call("import", class_from_path, named, *_BASES[kind], keeps_folder=True)
        check_plugin(found, where=found.__name__, sdk=dativo_plugin_sdk.__version__, whose="its environment")
        if self._service is not None:
            self._service.close()
        module, _, name = _SERVICES[kind].partition(":")
        service: Service = getattr(importlib.import_module(module), name)(found, self)
        self._service = service
        return {**spec_to_json(PluginSpec.of(found, kind)), **service.spec()}

    def _told(self, error: BaseException) -> dict[str, Any]:
        if not self._cancelling.is_wanted:
            return error_to_json(error)
        stopped = PluginExecutionError("the engine cancelled the request", error_code=CANCELLED)
        stopped.__cause__ = None if isinstance(error, CancelledCallError) else error
        return error_to_json(stopped)

    def _listen(self) -> None:
        """Read what the engine sends, in a thread of its own."""
        try:
            while True:
                message = self._control.receive()
                if message.get("type") == "cancel":
                    self._cancelling.want(message["id"])
                    timer = threading.Timer(_REMIND_S, self._cancelling.remind)
                    timer.daemon = True
                    timer.start()
                else:
                    self._inbox.put(message)
        except (OSError, EOFError, DativoError):  # the last is a breach: this is no engine
            self._lost()

    def _lost(self) -> None:
        if not self._is_ending:
            self._inbox.put(None)
            self._gone()

    def _log(self, event: dict[str, Any]) -> None:
        with self._cancelling.held():
            self._control.send({"type": "event", **event})

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            with self._cancelling.held():
                self._control.send(message)
        except (OSError, EOFError) as error:
            self._lost()
            raise EngineGoneError from error


def _not_asked(what: str) -> PluginExecutionError:
    return PluginExecutionError(
        f"the plugin's process does not understand the engine: {what}",
        error_code=PROTOCOL_ERROR,
        details={"sdk": dativo_plugin_sdk.__version__},
        hint="the engine and the plugin's dativo-plugin-sdk are of releases that do not fit",
    )


def _unsendable(method: str, error: Exception) -> PluginExecutionError:
    return PluginExecutionError(f"what {method} gave cannot be sent: {error}")
