"""Answers for a reader, simple or not."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from dativo_plugin_sdk.errors import DataError, PluginExecutionError
from dativo_plugin_sdk.host.batch_sizes import fitting
from dativo_plugin_sdk.host.session import Session
from dativo_plugin_sdk.migrating_reader import MigratingReader
from dativo_plugin_sdk.migrations import config_for
from dativo_plugin_sdk.plugin_calls import broke, call_plugin
from dativo_plugin_sdk.protocol import messages
from dativo_plugin_sdk.protocol.json_values import as_json, said
from dativo_plugin_sdk.protocol.plain_types import plain_batch
from dativo_plugin_sdk.reader import BaseReader
from dativo_plugin_sdk.rejects import REJECTED_SCHEMA
from dativo_plugin_sdk.results import Check, ConnectionTestResult, DiscoveryResult
from dativo_plugin_sdk.simple_reader import SimpleReader
from dativo_plugin_sdk.streams import Message, Partition, Rejected, Rows, StreamReader, StreamSpec

OPTIONAL_METHODS = (
    "streams",
    "prepare",
    "source_schema",
    "partitions",
    "warnings",
    "fingerprint",
    "acknowledge",
)
"""Those of `StreamReader` that have a default, which the engine has, too."""
_END = object()


class ReaderService:
    """One reader class and, once configured, its instance.

    Args:
        plugin: The class.
        session: The conversation.
    """

    def __init__(self, plugin: type[Any], session: Session) -> None:
        self._plugin = plugin
        self._name = plugin.__name__
        self._session = session
        self._reader: StreamReader | None = None
        self._checks: Sequence[Check] = ()

    @property
    def methods(self) -> Mapping[str, Callable[[dict[str, Any]], Any]]:
        """What is answered."""
        return {
            "check": self._check,
            "check_step": self._check_step,
            "discover": self._discover,
            "streams": self._streams,
            "prepare": self._prepare,
            "schema": self._schema,
            "source_schema": self._source_schema,
            "partitions": self._partitions,
            "warnings": self._warnings,
            "fingerprint": self._fingerprint,
            "read": self._read,
            "acknowledge": self._acknowledge,
        }

    def spec(self) -> dict[str, Any]:
        """Say which optional methods the class has."""
        face: type[StreamReader] = SimpleReader if self._is_simple else self._plugin
        own = [name for name in OPTIONAL_METHODS if getattr(face, name) is not getattr(StreamReader, name)]
        return {"methods": own}

    def configure(self, params: dict[str, Any]) -> dict[str, Any]:
        """Make the reader, its configuration and its states of this release's versions."""
        self.close()
        written = messages.source_config_from_json(params.get("config"))
        config = self._call("migrate_config", config_for, self._plugin, written, params.get("config_version", 1))
        reader: StreamReader = (
            SimpleReader(self._plugin, config) if self._is_simple else self._call("__init__", self._plugin, config)
        )
        self._reader = MigratingReader(reader, self._plugin)
        return {}

    def close(self) -> None:
        """Let go of what the reader holds."""
        reader, self._reader = self._reader, None
        if reader is not None:
            self._call("close", reader.close)

    @property
    def _is_simple(self) -> bool:
        return issubclass(self._plugin, BaseReader)

    @property
    def _made(self) -> StreamReader:
        if self._reader is None:
            raise PluginExecutionError(f"{self._name} is asked before it is configured")
        return self._reader

    def _call(self, method: str, function: Callable[..., Any], *args: Any) -> Any:
        return self._session.call(f"{self._name}.{method}", function, *args)

    def _check(self, params: dict[str, Any]) -> Any:
        self._checks = self._call("check", lambda: list(self._made.check(_streams_of(params))))
        for check in self._checks:
            if not isinstance(check, Check):
                raise broke(f"{self._name}.check", check, "Check objects")
        return {"steps": [said(check.step) for check in self._checks]}

    def _check_step(self, params: dict[str, Any]) -> Any:
        number = params.get("step")
        if not isinstance(number, int) or not 0 <= number < len(self._checks):
            raise PluginExecutionError(
                f"{self._name} has {len(self._checks)} steps of a check, none is number {number}"
            )
        result = self._call("check", self._checks[number].run)
        if not isinstance(result, ConnectionTestResult):
            raise broke(f"{self._name}.check, step {self._checks[number].step}", result, "a ConnectionTestResult")
        return messages.connection_test_to_json(result)

    def _discover(self, params: dict[str, Any]) -> Any:
        result = self._call("discover", self._made.discover, params.get("pattern"))
        if not isinstance(result, DiscoveryResult):
            raise broke(f"{self._name}.discover", result, "a DiscoveryResult")
        return messages.discovery_to_json(result)

    def _streams(self, _params: dict[str, Any]) -> Any:
        found = self._call(
            "streams", lambda: {str(name): dict(options) for name, options in self._made.streams().items()}
        )
        return {name: as_json(options) for name, options in found.items()}

    def _prepare(self, params: dict[str, Any]) -> Any:
        self._call("prepare", self._made.prepare, _streams_of(params))

    def _schema(self, params: dict[str, Any]) -> Any:
        schema = self._call("schema", self._made.schema, _stream_of(params))
        if not isinstance(schema, pa.Schema):
            raise broke(f"{self._name}.schema", schema, "a pyarrow.Schema")
        return messages.schema_to_json(schema)

    def _source_schema(self, params: dict[str, Any]) -> Any:
        schema = self._call("source_schema", self._made.source_schema, _stream_of(params))
        if schema is not None and not isinstance(schema, pa.Schema):
            raise broke(f"{self._name}.source_schema", schema, "a pyarrow.Schema or None")
        return None if schema is None else messages.schema_to_json(schema)

    def _partitions(self, params: dict[str, Any]) -> Any:
        stream, state = _stream_of(params), messages.state_from_json(params.get("state"))
        partitions = self._call("partitions", lambda: list(self._made.partitions(stream, state)))
        for partition in partitions:
            if not isinstance(partition, Partition):
                raise broke(f"{self._name}.partitions", partition, "Partition objects")
        return [messages.partition_to_json(partition) for partition in partitions]

    def _warnings(self, params: dict[str, Any]) -> Any:
        stream = _stream_of(params)
        return [said(warning) for warning in self._call("warnings", lambda: list(self._made.warnings(stream)))]

    def _fingerprint(self, params: dict[str, Any]) -> Any:
        found = self._call("fingerprint", self._made.fingerprint, _stream_of(params))
        if found is not None and not isinstance(found, str):
            raise broke(f"{self._name}.fingerprint", found, "a text or None")
        return found

    def _acknowledge(self, params: dict[str, Any]) -> Any:
        state = messages.state_from_json(params.get("state"))
        self._call("acknowledge", self._made.acknowledge, _stream_of(params), state or {})

    def _read(self, params: dict[str, Any]) -> Any:
        stream, state = _stream_of(params), messages.state_from_json(params.get("state"))
        partition = messages.partition_from_json(params.get("partition"))
        iterator: Iterator[Message] = self._call("read", lambda: iter(self._made.read(stream, partition, state)))
        try:
            while (message := self._call("read", next, iterator, _END)) is not _END:
                self._tell(message, stream.batch_bytes)
        finally:
            if isinstance(iterator, Generator):
                call_plugin(f"{self._name}.read", iterator.close)
        return {}

    def _tell(self, message: Message, batch_bytes: int) -> None:
        where = f"{self._name}.read"
        match message:
            case Rows() | Rejected():
                for part in call_plugin(where, lambda: list(self._parts(message, batch_bytes))):
                    event, batch, flags = messages.event_of(part)
                    self._session.event(event)
                    self._session.send_batch(batch, flags)
            case _:
                event, _batch, _flags = call_plugin(where, messages.event_of, message)
                self._event(event)

    def _event(self, event: Mapping[str, Any]) -> None:
        try:
            self._session.event(event)
        except ValueError as error:
            raise DataError(
                f"a {event['event']} of {self._name} is too large: {error}",
                hint="a state is rewritten with every commit: keep a place to read on from, not all that was read",
            ) from error

    def _parts(self, message: Rows | Rejected, batch_bytes: int) -> Iterator[Rows | Rejected]:
        """Give a message whose batch fits, or several of them."""
        batch, limits = message.batch, self._session.limits
        if not isinstance(batch, pa.RecordBatch):
            raise broke(f"{self._name}.read", batch, "messages with a pyarrow.RecordBatch")
        if isinstance(message, Rejected):
            if not batch.schema.equals(REJECTED_SCHEMA):
                batch = batch.cast(REJECTED_SCHEMA)
            yield from (Rejected(part) for _, part in fitting(batch, limits, batch_bytes=batch_bytes))
            return
        for start, part in fitting(plain_batch(batch), limits, batch_bytes=batch_bytes):
            yield replace(
                message,
                batch=part,
                first_line=None if message.first_line is None else message.first_line + start,
                source_bytes=0 if start else message.source_bytes,
                lines=None if message.lines is None else message.lines.slice(start, part.num_rows),
            )


def _stream_of(params: dict[str, Any]) -> StreamSpec:
    return messages.stream_from_json(params.get("stream"))


def _streams_of(params: dict[str, Any]) -> list[StreamSpec]:
    return [messages.stream_from_json(stream) for stream in params.get("streams") or ()]
