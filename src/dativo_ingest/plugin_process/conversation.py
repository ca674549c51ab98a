"""What the engine and a plugin's process say to each other: hello, one request at a time, its events and its answer.

Whatever the process does wrong ends it, and becomes an error that names the plugin and repeats its last lines:

* ``PLUGIN_TIMEOUT``: an answer did not come in time;
* ``PLUGIN_PROTOCOL_ERROR``: it said what the protocol does not allow;
* `dativo_ingest.sandbox.endings` has the others: it crashed, met a limit, or did what no plugin may.

An error that the plugin raises crosses as it is, and leaves the process alive.
"""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeAlias

import pyarrow as pa

import dativo_plugin_sdk
from dativo_ingest.plugin_process.wire import GoneError, LeftError, OverdueError, Wire
from dativo_ingest.sandbox import endings
from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.exits import Exit
from dativo_ingest.sandbox.launch import Session
from dativo_ingest.sandbox.output import printable
from dativo_ingest.sandbox.run_spec import RunSpec
from dativo_ingest.secrets.redaction import redact, redact_document
from dativo_plugin_sdk.errors import (
    DativoError,
    MemoryLimitError,
    PluginError,
    PluginExecutionError,
    PluginVersionError,
    SandboxError,
)
from dativo_plugin_sdk.protocol.arrow_stream import ArrowReceiver, ArrowSender, Limits, Received
from dativo_plugin_sdk.protocol.breach import breach
from dativo_plugin_sdk.protocol.error_messages import error_from_json, error_to_json
from dativo_plugin_sdk.protocol.json_values import Shape, any_json, choice, count, flag, items, json_object, maybe, text
from dativo_plugin_sdk.versions import PROTOCOLS, negotiate

if TYPE_CHECKING:
    from dativo_ingest.sandbox.egress.record import Denial

PLUGIN_TIMEOUT: Final = "PLUGIN_TIMEOUT"

Patience: TypeAlias = Literal["none", "a while", "to the end"]
"""How long an answer is waited for once somebody wants to stop: not at all, a few seconds, for as long as it takes."""
Within: TypeAlias = Literal["start", "check", "discover", "idle"]
"""The deadline of a request, as a manifest names it."""
Event: TypeAlias = dict[str, Any]

_LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error", "critical")}
_HELLO = Shape(
    "a hello",
    {"token": text, "protocol": items(count, most=64)},
    {"sdk": maybe(text), "language": maybe(text), "pid": maybe(count), "plugin": maybe(json_object)},
)
_LOG = Shape("a log message", {"level": choice(*_LEVELS), "message": text}, {"logger": maybe(text)})
_METRIC = Shape("a metric", {"name": text, "value": any_json}, {"labels": maybe(json_object)})
_RESULT = Shape("a result", {"id": count, "ok": flag}, {"value": any_json, "error": maybe(json_object)})
_EVENT = Shape("an event", {"id": count, "event": text}, {})
_ASIDE_BYTES = 64  # what a message for the side counts, beyond its text
_NAME_CHARACTERS = 100
_ENDED_FOR_MEMORY_S = 0.5  # the warden looks ten times a second
_GONE_S = 5.0  # for a process whose socket is closed to have ended
_LOG_LOGGER = logging.getLogger("dativo_ingest.plugin")


@dataclass(frozen=True)
class Hello:
    """What a process says of itself; nothing of it is proven but the token."""

    protocol: int
    """The version that is spoken."""
    sdk: str | None
    language: str | None


class Conversation:
    """Talks with one process, from its start to its end; used by one thread at a time, but for `close`.

    Args:
        spec: What to start. It starts at once; `greet` waits for it.
        confinement: How it is held.
        run_id: The run, told to the plugin.
        while_waiting: Called twice a second while nothing comes; what it raises ends the process.
        on_end: Called once, when nothing of the process is left.
        on_error: Given each error of the plugin's, or for what became of its process.
    """

    def __init__(  # noqa: PLR0913  what there is to say of a process
        self,
        spec: RunSpec,
        confinement: Confinement,
        *,
        run_id: str = "",
        while_waiting: Callable[[], None] = lambda: None,
        on_end: Callable[[Conversation], None] = lambda _: None,
        on_error: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self.session = Session(spec, confinement)
        self.hello: Hello | None = None
        self.killed: str | None = None
        """Why the engine ended the process, in a word; None where it ended by itself, or when asked to."""
        self._spec = spec
        self._run_id = run_id
        self._while_waiting = while_waiting
        self._on_end: Callable[[Conversation], None] | None = on_end
        self._on_error = on_error
        self._closing = threading.Lock()
        self._wire: Wire | None = None
        self._receiver: ArrowReceiver | None = None
        self._sender: ArrowSender | None = None
        self._last_id = 0
        self._mark = 0
        self._is_busy = False
        self._is_over = False
        self._error: DativoError | None = None

    @property
    def bytes_in(self) -> int:
        """How many bytes the plugin has sent."""
        return self._wire.bytes_in if self._wire is not None else 0

    @property
    def bytes_out(self) -> int:
        """How many bytes the plugin was sent."""
        return self._wire.bytes_out if self._wire is not None else 0

    def greet(self) -> Hello:
        """Wait for the process to connect and to say who it is, once.

        Raises:
            PluginLoadError: It ended before it connected.
            PluginVersionError: It speaks no version of the protocol that the engine does.
            PluginExecutionError: It broke the protocol or did not come in time.
        """
        with self._watched("start", "the start"):
            if not self.session.connect(self._while_waiting):
                self._raise_not_connected()
            wire = self._wire = Wire(self.session.control, self.session.data, self._look_up, self._take_aside)
            wire.expect(max(0.0, self.session.started_s + self._seconds("start") - time.monotonic()))
            said = wire.message()
            if said.get("type") != "hello":
                raise breach("it did not begin with a hello")
            hello = _HELLO.of(said)
            self._prove(hello["token"])
            self.hello = self._agreed(hello)
            began = wire.first_frame_of_data()
            if began.get("type") != "hello" or not isinstance(began.get("token"), str):
                raise breach("the data socket did not begin with a hello")
            self._prove(began["token"])
            wire.say({"type": "welcome", "protocol": self.hello.protocol, "run_id": self._run_id, "limits": _limits()})
        self._receiver = ArrowReceiver(wire.fill)
        self._sender = ArrowSender(wire)
        return self.hello

    @property
    def is_over(self) -> bool:
        """Whether the process is gone, or going."""
        return self._is_over

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way."""
        return self._is_busy

    def ask(  # noqa: PLR0913  what there is to say of a request
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        within: Within = "idle",
        batch: pa.RecordBatch | None = None,
        on_event: Callable[[Event], None] | None = None,
        patience: Patience = "none",
    ) -> Any:
        """Ask for something, and give the answer's value.

        Args:
            method: What is asked for.
            params: What it needs to know.
            within: The deadline.
            batch: What the plugin takes from the data socket before it answers.
            on_event: Given each event; without it, an event is a breach.
            patience: How long the answer is waited for once ``while_waiting`` raises.

        Raises:
            DativoError: As the plugin raised it, or for what became of its process.
        """
        self._patience, self._leaves_s = patience, None
        answers = self.converse(method, params, within=within, batch=batch)
        try:
            while True:
                event = next(answers)
                if on_event is None:
                    self.refuse(breach(f"an event where {method} has none"))
                on_event(event)
        except StopIteration as done:
            return done.value
        finally:
            answers.close()
            self._patience = "none"

    def converse(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        within: Within = "idle",
        batch: pa.RecordBatch | None = None,
        is_left: Callable[[], bool] = lambda: False,
    ) -> Generator[Event, None, Any]:
        """Ask for something, give its events as they come, and return the answer's value.

        Whoever closes this before the end has the plugin leave off what it does, which ends its process if it does not
        within a few seconds. So does whoever lets ``is_left`` say so, which is asked while nothing comes.

        Raises:
            DativoError: As the plugin raised it, or for what became of its process.
            LeftError: ``is_left`` said so.
        """
        number = self._begin(method, params)
        try:
            if batch is not None:
                self.send(batch, method)
            while True:
                with self._watched(within, method):
                    self._expect(within)
                    message = self._next_of(number, is_left)
                if message["type"] == "result":
                    break
                yield message
        except (GeneratorExit, LeftError):
            self._cancel(number, method)
            raise
        finally:
            self._is_busy = False
        return self._value_of(message, method)

    def receive(self, method: str = "read") -> Received:
        """Read the next batch from the data socket, as an event has announced it."""
        assert self._receiver is not None  # noqa: S101  events come after `greet`
        with self._watched("idle", method):
            self._expect("idle")
            return self._receiver.batch()

    def send(self, batch: pa.RecordBatch, method: str = "write") -> None:
        """Send a batch over the data socket, which the request under way takes."""
        assert self._sender is not None  # noqa: S101  requests come after `greet`
        with self._watched("idle", method):
            self._expect("idle")
            self._sender.send(batch)

    def say(
        self, message: Mapping[str, Any], batch: pa.RecordBatch | None = None, *, method: str = "an answer"
    ) -> None:
        """Send a message that belongs to the request under way, whose id is added, and the batch that it announces."""
        with self._watched("idle", method):
            self._expect("idle")
            self._wired.say({**message, "id": self._last_id})
        if batch is not None:
            self.send(batch, method)

    def refuse(self, error: DativoError) -> NoReturn:
        """End the process for something that it said, and raise the error for it."""
        self._fail(error)

    def kill(self) -> None:
        """End the process at once, for nothing it did."""
        if not self._is_over:
            self.killed = self.killed or "ended"
        self.close()

    def stop(self) -> None:
        """Ask the plugin to close what is open, and see its process end; one that does not within seconds is killed.

        Nothing is raised: what is said here can change nothing any more.
        """
        if not self._is_over and not self._is_busy and self.hello is not None:
            try:
                self._patience = "to the end"  # which comes soon
                self._begin_within("shutdown", self._spec.stop_s)
                if self.session.exit(self._spec.stop_s) is None:
                    self._warn(f"the plugin {self._spec.plugin} did not end when it was asked to, and was ended")
                    self.killed = self.killed or "stop"
            except DativoError as error:
                self._warn(str(error))
            except Exception:  # noqa: BLE001  of `while_waiting`: the process is ended already, and what is done is done
                self.close()
        self.close()

    def close(self) -> None:
        """End the process if it is there, and wait until nothing of it is left; may be called twice, by any thread."""
        self._is_over = True
        with self._closing:
            self.session.close()
            on_end, self._on_end = self._on_end, None
            if on_end is not None:
                on_end(self)

    # -- one request

    @property
    def _wired(self) -> Wire:
        assert self._wire is not None  # noqa: S101  whoever calls this has called `greet`
        return self._wire

    def _begin(self, method: str, params: Mapping[str, Any] | None) -> int:
        if self._error is not None:
            raise self._error
        if self._is_over or self._is_busy:
            state = "has ended" if self._is_over else "is at work on something else"
            raise PluginExecutionError(f"the process of the plugin {self._spec.plugin} {state}, {method} is not asked")
        self._last_id += 1
        self._mark = self.session.egress.mark if self.session.egress is not None else 0
        self._is_busy = True
        try:
            with self._watched("idle", method):
                self._expect("idle")
                self._wired.say(
                    {"type": "request", "id": self._last_id, "method": method, "params": dict(params or {})}
                )
        except BaseException:
            self._is_busy = False
            raise
        return self._last_id

    def _begin_within(self, method: str, seconds: float) -> None:
        """Ask for something within a time of its own, and drop what is answered."""
        number = self._begin(method, None)
        try:
            with self._watched("idle", method):
                self._wired.expect(seconds)
                while self._next_of(number)["type"] != "result":
                    raise breach(f"an event where {method} has none")
        finally:
            self._is_busy = False

    _patience: Patience = "none"
    _leaves_s: float | None = None
    """When the patience ends, once somebody wants to stop."""

    def _look_up(self) -> None:
        """Ask whether to go on waiting."""
        if self._patience == "to the end":
            return
        try:
            self._while_waiting()
        except BaseException:
            now_s = time.monotonic()
            if self._leaves_s is None and self._patience != "none":
                self._leaves_s = now_s + self._spec.cancel_s
            if self._leaves_s is None or now_s >= self._leaves_s:
                raise

    def _expect(self, within: Within) -> None:
        """Set the deadline: only one for being idle is moved by what is heard."""
        if within == "idle":
            self._wired.expect(self._seconds(within), renewed=True)
        elif self._until_of != (self._last_id, within):
            self._until_of = (self._last_id, within)
            self._wired.expect(self._seconds(within))

    _until_of: tuple[int, str] = (0, "")

    def _next_of(self, number: int, is_left: Callable[[], bool] = lambda: False) -> Event:
        """Wait for the next event or the result of a request."""
        message = self._wired.message(is_left)
        match message.get("type"):
            case "event":
                shape = _EVENT
            case "result":
                shape = _RESULT
            case _:
                raise breach("a message of a type that is not known here")
        if shape.of(message)["id"] != number:
            raise breach(f"it speaks of another request than the one under way, {number}")
        return message

    def _value_of(self, message: Event, method: str) -> Any:
        failure = self.session.failure
        if failure is not None:
            self._fail(failure)
        if message["ok"]:
            return message.get("value")
        with self._watched("idle", method):
            error, told = error_from_json(message.get("error"))
            self._raise_if_out_of_memory(method)
        crossed = self._explained(self._crossed(error, told))
        self._on_error(crossed)
        raise crossed

    def _raise_if_out_of_memory(self, method: str) -> None:
        """Find out whether an error came of a child that was killed for memory: then the whole process is ended."""
        if not (self.session.is_confined and self._spec.grant.subprocess):
            return
        found, usage = self.session.exit(_ENDED_FOR_MEMORY_S), self.session.usage()
        if found is not None and (usage.oom_kills or usage.is_over_memory):
            raise endings.of_process(self._spec, found, usage, during=method, lines=self.session.output.last_lines)

    def _crossed(self, error: DativoError, told: str | None) -> DativoError:
        """Give an error of the plugin's as the engine may show it."""
        error.message = redact(error.message)
        error.hint = None if error.hint is None else redact(error.hint)
        error.details = {"plugin": self._spec.plugin, **redact_document(error.details)}
        error.args = (error.message,)
        if self.session.is_confined:
            endings.of_raised(self._spec, error)
        if told:
            error.add_note(f"in the plugin's process:\n{redact(told)}")
        return error

    def denied(self, said: str) -> SandboxError | None:
        """Make the error for the request that was answered last, if the plugin was denied a host during it.

        Args:
            said: What it said of its failure.
        """
        denials = self._denials()
        if not denials:
            return None
        from dativo_ingest.sandbox.egress import denied  # noqa: PLC0415  most plugins reach for no other host

        error = denied.denied_error(self._spec, denials, redact(said))
        self._on_error(error)
        return error

    def _explained(self, error: DativoError) -> DativoError:
        """Give the error that tells what an error came of, where the plugin was denied a host during the request."""
        denials = self._denials()
        if not denials:
            return error
        from dativo_ingest.sandbox.egress import denied  # noqa: PLC0415  most plugins reach for no other host

        return denied.explained(self._spec, error, denials)

    def _denials(self) -> tuple[Denial, ...]:
        return self.session.egress.since(self._mark) if self.session.egress is not None else ()

    def _cancel(self, number: int, method: str) -> None:
        """Have the plugin leave off, and drop what it had under way; a plugin that does not is ended."""
        if self._is_over:
            return
        try:
            with self._watched("idle", f"the cancel of {method}"):
                self._wired.expect(self._spec.cancel_s)
                self._wired.say({"type": "cancel", "id": number})
                while (message := self._next_of(number))["type"] != "result":
                    if message["event"] == "batch" and self._receiver is not None:
                        self._receiver.batch()
        except DativoError as error:
            self._warn(str(error))
        except Exception:  # noqa: BLE001  what `while_waiting` raised has ended the process, and is known to who raised it
            self.close()

    # -- what may come at any time

    def _take_aside(self, message: Event) -> bool:
        kind = message.get("event") if message.get("type") == "event" else None
        if kind not in ("log", "metric"):  # no set: it may be unhashable
            return False
        if self.hello is None:
            raise breach("it spoke before it was welcomed")
        said = (_LOG if kind == "log" else _METRIC).of(message)
        shown = said["message"] if kind == "log" else said["name"]
        if not self.session.output.count(_ASIDE_BYTES + len(shown)):
            raise self.session.flood()
        if kind == "log":
            self._log(said["level"], shown, said.get("logger"))
        return True

    def _log(self, level: str, message: str, logger: str | None) -> None:
        shown = self.session.output.keep(message)
        number = _LEVELS[level]
        if _LOG_LOGGER.isEnabledFor(number):
            # A record of its own: names that a plugin makes up would stay with `logging` for ever.
            name = redact(printable(logger or "root"))[:_NAME_CHARACTERS]
            record = logging.LogRecord(name, number, "", 0, shown, None, None)
            _LOG_LOGGER.handle(record)

    def _warn(self, said: str) -> None:
        _LOG_LOGGER.warning("%s", said)

    # -- what goes wrong

    @contextmanager
    def _watched(self, within: Within, what: str) -> Generator[None, None, None]:
        """Turn whatever ends the conversation into its error, and end the process.

        Args:
            within: The deadline that is meant where one passes.
            what: What the plugin was asked for.
        """
        try:
            yield
        except LeftError:
            raise
        except GoneError:
            self._fail(self._ended_error(what, self.session.exit(_GONE_S)))
        except OverdueError:
            self._fail(self._overdue_error(within, what))
        except (PluginError, MemoryLimitError) as error:
            self._fail(error)
        except BaseException:
            self.kill()
            raise

    def _fail(self, error: DativoError) -> NoReturn:
        """End the process, and raise the error that says why, with the last that it said."""
        is_ours = isinstance(error, MemoryLimitError) or self.session.exit() is None
        ended_by_us = self.session.failure or (error if is_ours else None)
        self.killed = self.killed or (ended_by_us.error_code if ended_by_us is not None else None)
        self.session.kill(error)
        self.close()
        first = self.session.failure or error
        if first is not error:
            first.__cause__ = error
        first.details = {"plugin": self._spec.plugin, **first.details, "log": self.session.output.last_lines}
        if self._error is None:
            self._on_error(first)
        self._error = first
        raise first

    def _ended_error(self, what: str, found: Exit | None) -> DativoError:
        failure = self.session.failure
        if failure is not None:
            return failure
        if found is None:
            return breach(f"it closed a connection during {what} and did not end")
        if self.hello is None:
            return self._not_started(found)
        session = self.session
        lines = session.output.last_lines
        return self._explained(endings.of_process(self._spec, found, session.usage(), during=what, lines=lines))

    def _not_started(self, found: Exit) -> DativoError:
        self.session.close()  # for the last that it printed
        lines = self.session.output.last_lines
        return self._explained(endings.of_start(self._spec, found, self.session.usage(), lines=lines))

    def _raise_not_connected(self) -> NoReturn:
        failure = self.session.failure
        if failure is not None:
            raise failure
        found = self.session.exit()
        if found is None:
            raise OverdueError
        raise self._not_started(found)

    def _overdue_error(self, within: Within, what: str) -> PluginError:
        if what.startswith("the cancel of"):
            seconds, knob = self._spec.cancel_s, None
        elif what == "shutdown":
            seconds, knob = self._spec.stop_s, None
        else:
            seconds, knob = self._seconds(within), self._spec.way_out(f"deadlines.{within}")
        said = "said nothing" if within == "idle" and knob else "did not answer"
        return PluginExecutionError(
            f"the plugin {self._spec.plugin} {said} for {seconds:g} s during {what}, and was ended",
            error_code=PLUGIN_TIMEOUT,
            details={"deadline": within if knob else "stop", "seconds": seconds},
            hint=knob,
        )

    def _seconds(self, within: Within) -> float:
        return float(getattr(self._spec.grant.deadlines, f"{within}_s"))

    # -- hello

    def _prove(self, token: str) -> None:
        if not hmac.compare_digest(token.encode(), self.session.token.encode()):
            raise breach("it sent a token that is not this run's")

    def _agreed(self, said: Mapping[str, Any]) -> Hello:
        """Choose the newest version of the protocol that both speak; a plugin that speaks none is told, and refused."""
        sdk, language = (None if said.get(key) is None else self._short(said[key]) for key in ("sdk", "language"))
        try:
            engine = dativo_plugin_sdk.__version__
            protocol = negotiate(said["protocol"], PROTOCOLS, where=self._spec.plugin, sdk=sdk, engine=engine)
        except PluginVersionError as error:
            self._wired.say({"type": "reject", "error": error_to_json(error)})
            raise
        return Hello(protocol, sdk, language)

    @staticmethod
    def _short(value: str) -> str:
        return redact(printable(value))[:_NAME_CHARACTERS]


def _limits() -> dict[str, int]:
    limits = Limits()
    return {"batch_bytes": limits.body_bytes, "body_bytes": limits.body_bytes, "rows": limits.rows}
