"""What crosses between the engine and a plugin's process, as JSON and strictly back.

Each pair ``x_to_json`` and ``x_from_json`` is the form of one thing: keys are the fields' names, a schema is
``{"arrow_schema": BASE64}`` of Arrow's IPC schema message, a batch ``{"arrow_batch": BASE64}`` of the bytes that the
data socket would carry. What is read may be hostile: a missing key or another type is a breach, a key that is not known
here is a newer peer's and left out.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Literal, get_args, overload

import pyarrow as pa

from dativo_plugin_sdk.config import SourceConfig, TargetConfig, parse
from dativo_plugin_sdk.errors import PluginExecutionError
from dativo_plugin_sdk.protocol.arrow_schema import read_schema
from dativo_plugin_sdk.protocol.arrow_stream import ArrowReceiver, ArrowSender, Flags, Limits, Received
from dativo_plugin_sdk.protocol.breach import breach
from dativo_plugin_sdk.protocol.json_values import (
    Shape,
    WrongValueError,
    any_json,
    as_json,
    choice,
    count,
    flag,
    items,
    json_object,
    maybe,
    names,
    said,
    seconds,
    strict_json,
    text,
    texts,
    whole,
)
from dativo_plugin_sdk.protocol.plain_types import plain_type
from dativo_plugin_sdk.reader import BaseReader
from dativo_plugin_sdk.rejects import REJECTED_SCHEMA
from dativo_plugin_sdk.results import ConnectionTestResult, DiscoveryResult
from dativo_plugin_sdk.streams import (
    Message,
    Partition,
    ReadMode,
    Rejected,
    Rows,
    Skipped,
    State,
    StateChanged,
    StreamSpec,
    Warned,
    Watermark,
)
from dativo_plugin_sdk.tables import (
    CommitRequest,
    CommittedState,
    Delivery,
    KeyComparison,
    PastCommit,
    Receipt,
    TableSpec,
    WriteMode,
)
from dativo_plugin_sdk.versioned import own_version
from dativo_plugin_sdk.writer import BaseWriter

_MOST_ITEMS = 2**20
_EXAMPLES = Limits(body_bytes=2**20, metadata_bytes=2**20, rows=2**12)
"""What a batch within a control frame may be."""
_LINES = "lines"
_EVENT_ROWS = "batch"


def schema_to_json(schema: pa.Schema) -> dict[str, Any]:
    """Write a schema, in types that pass between processes."""
    plain = pa.schema([field.with_type(plain_type(field.type)) for field in schema]).with_metadata(schema.metadata)
    return {"arrow_schema": base64.b64encode(plain.serialize()).decode()}


def schema_from_json(value: object) -> pa.Schema:
    """Read a schema."""
    return read_schema(_bytes_of(value, "arrow_schema", "a schema"))


def batch_to_json(batch: pa.RecordBatch) -> dict[str, Any]:
    """Write a small batch."""
    sink = io.BytesIO()
    sender = ArrowSender(sink)
    sender.send(batch)
    sender.end()
    return {"arrow_batch": base64.b64encode(sink.getvalue()).decode()}


def batch_from_json(value: object) -> pa.RecordBatch:
    """Read a small batch."""
    source = io.BytesIO(_bytes_of(value, "arrow_batch", "a batch"))

    def fill(view: memoryview) -> None:
        if source.readinto(view) != len(view):
            raise breach("a batch: it ends too early")

    return ArrowReceiver(fill, _EXAMPLES).batch().batch


def _bytes_of(value: object, key: str, what: str) -> bytes:
    encoded = value.get(key) if isinstance(value, dict) else None
    if not isinstance(encoded, str):
        raise breach(f"{what}: {key} is expected, a text")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise breach(f"{what}: {key} is no base64") from error


# -- what a plugin is


@dataclass(frozen=True)
class PluginSpec:
    """What a plugin's class says of itself."""

    kind: Literal["reader", "writer"]
    level: Literal["simple", "stream"]
    class_name: str
    version: str | None
    """None where the class does not say: it has its distribution's or its manifest's then."""
    requires_sdk: str | None = None
    capabilities: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    """The methods with a default that the class has of its own."""
    state_version: int = 1
    config_version: int = 1
    delivery: Delivery = "exactly_once"
    write_modes: frozenset[str] = frozenset()
    deletes_rows: bool = False
    compares_keys: bool = False
    keeps_history: bool = False

    @classmethod
    def of(cls, plugin: type[Any], kind: Literal["reader", "writer"]) -> PluginSpec:
        """Ask a class for what readers and writers of both levels have."""
        required = getattr(plugin, "requires_sdk", None)
        return cls(
            kind,
            "simple" if issubclass(plugin, BaseReader | BaseWriter) else "stream",
            plugin.__name__,
            version=own_version(plugin),
            requires_sdk=None if required is None else str(required),
            capabilities=frozenset(map(str, getattr(plugin, "capabilities", ()))),
            state_version=getattr(plugin, "state_version", 1),
            config_version=plugin.config_version,
        )


_SPEC = Shape(
    "what a plugin is",
    {"kind": choice("reader", "writer"), "level": choice("simple", "stream"), "class": text},
    {
        "version": maybe(text),
        "requires_sdk": maybe(text),
        "capabilities": names,
        "methods": names,
        "state_version": count,
        "config_version": count,
        "delivery": choice(*get_args(Delivery)),
        "write_modes": names,
        "deletes_rows": flag,
        "compares_keys": flag,
        "keeps_history": flag,
    },
)


def spec_to_json(spec: PluginSpec) -> dict[str, Any]:
    """Write what a plugin is."""
    document = {key: sorted(value) if isinstance(value, frozenset) else value for key, value in asdict(spec).items()}
    return {"class": document.pop("class_name"), **document}


def spec_from_json(value: object) -> PluginSpec:
    """Read what a plugin is."""
    taken = {"version": None, **_SPEC.of(value)}
    return PluginSpec(class_name=taken.pop("class"), **taken)


# -- streams


_WATERMARK = Shape(
    "a watermark",
    {},
    {"lag_s": seconds, "lookback_s": maybe(seconds), "lookback_by": maybe(whole), "max_lag_s": maybe(seconds)},
)
_STREAM = Shape(
    "a stream",
    {"name": text},
    {
        "mode": choice(*get_args(ReadMode)),
        "cursor": maybe(text),
        "primary_key": texts,
        "schema": maybe(any_json),
        "options": json_object,
        "batch_bytes": count,
        "parallelism": count,
        "cursor_from": maybe(text),
        "cursor_to": maybe(text),
        "columns": maybe(texts),
        "watermark": any_json,
    },
)
_PARTITION = Shape(
    "a partition", {"id": text}, {"detail": json_object, "size_bytes": maybe(count), "rows": maybe(count)}
)


def stream_to_json(stream: StreamSpec) -> dict[str, Any]:
    """Write a stream."""
    return {
        "name": stream.name,
        "mode": stream.mode,
        "cursor": stream.cursor,
        "primary_key": list(stream.primary_key),
        "schema": None if stream.schema is None else schema_to_json(stream.schema),
        "options": as_json(stream.options),
        "batch_bytes": stream.batch_bytes,
        "parallelism": stream.parallelism,
        "cursor_from": stream.cursor_from,
        "cursor_to": stream.cursor_to,
        "columns": None if stream.columns is None else list(stream.columns),
        "watermark": _watermark_to_json(stream.watermark),
    }


def stream_from_json(value: object) -> StreamSpec:
    """Read a stream."""
    taken = _STREAM.of(value)
    if taken.get("schema") is not None:
        taken["schema"] = schema_from_json(taken["schema"])
    if "watermark" in taken:
        taken["watermark"] = _watermark_from_json(taken["watermark"])
    return StreamSpec(**taken)


def _watermark_to_json(watermark: Watermark) -> dict[str, Any]:
    lookback = watermark.lookback
    document: dict[str, Any] = {"lag_s": watermark.lag.total_seconds()}
    if isinstance(lookback, timedelta):
        document["lookback_s"] = lookback.total_seconds()
    elif lookback is not None:
        document["lookback_by"] = lookback
    if watermark.max_lag is not None:
        document["max_lag_s"] = watermark.max_lag.total_seconds()
    return document


def _watermark_from_json(value: object) -> Watermark:
    taken = _WATERMARK.of(value)
    span, max_lag = taken.get("lookback_s"), taken.get("max_lag_s")
    return Watermark(
        lag=timedelta(seconds=taken.get("lag_s", 0.0)),
        lookback=taken.get("lookback_by") if span is None else timedelta(seconds=span),
        max_lag=None if max_lag is None else timedelta(seconds=max_lag),
    )


def partition_to_json(partition: Partition) -> dict[str, Any]:
    """Write a partition.

    Raises:
        PluginExecutionError: Its detail is no JSON.
    """
    try:
        detail = strict_json(partition.detail)
    except WrongValueError as error:
        raise PluginExecutionError(f"the detail of a partition: {error}") from error
    return {"id": partition.id, "detail": detail, "size_bytes": partition.size_bytes, "rows": partition.rows}


def partition_from_json(value: object) -> Partition:
    """Read a partition."""
    return Partition(**_PARTITION.of(value))


def state_to_json(state: State | None) -> dict[str, Any] | None:
    """Write a state.

    Raises:
        PluginExecutionError: It is no JSON object.
    """
    try:
        return None if state is None else json_object(strict_json(state))
    except WrongValueError as error:
        raise PluginExecutionError(f"a state: {error}", hint="a state is JSON values: write times as text") from error


def state_from_json(value: object) -> State | None:
    """Read a state."""
    return _taken(maybe(json_object), value, "a state")  # type: ignore[no-any-return]  # the kind gives it


# -- what reading gives


_EVENTS = {
    "batch": Shape(
        "a batch",
        {"rows": count},
        {
            "kind": choice("rows", "rejected"),
            "source": maybe(text),
            "first_line": maybe(whole),
            "source_bytes": count,
            _LINES: flag,
        },
    ),
    "state": Shape("a state", {"state": json_object}, {}),
    "skipped": Shape("skipped rows", {"rows": count, "reason": text}, {}),
    "warned": Shape("a warning", {"message": text}, {}),
}


@overload
def event_of(message: Rows | Rejected) -> tuple[dict[str, Any], pa.RecordBatch, Flags]: ...
@overload
def event_of(message: Message) -> tuple[dict[str, Any], pa.RecordBatch | None, Flags]: ...
def event_of(message: Message) -> tuple[dict[str, Any], pa.RecordBatch | None, Flags]:
    """Give the event that announces a message, and the batch that follows it on the data socket.

    Raises:
        PluginExecutionError: A state is no JSON, or the message none of those there are.
    """
    match message:
        case Rows():
            event = {"event": _EVENT_ROWS, "kind": "rows", "rows": message.batch.num_rows}
            known = {
                "source": None if message.source is None else said(message.source),
                "first_line": message.first_line,
            }
            event |= {key: value for key, value in known.items() if value is not None}
            if message.source_bytes:
                event["source_bytes"] = message.source_bytes
            if message.lines is None:
                return event, message.batch, Flags.ROWS
            return event, message.batch.append_column(_LINES, message.lines.cast(pa.int64())), Flags.LINES
        case Rejected():
            event = {"event": _EVENT_ROWS, "kind": "rejected", "rows": message.batch.num_rows}
            return event, message.batch, Flags.REJECTED
        case Skipped():
            return {"event": "skipped", "rows": message.rows, "reason": said(message.reason)}, None, Flags.ROWS
        case StateChanged():
            return {"event": "state", "state": state_to_json(message.state) or {}}, None, Flags.ROWS
        case Warned():
            return {"event": "warned", "message": said(message.message)}, None, Flags.ROWS
    raise PluginExecutionError(f"a reader yielded {type(message).__name__}, expected Rows or another message")


def message_of(event: Mapping[str, Any], receive: Callable[[], Received]) -> Message:
    """Read an event of `event_of` back.

    Args:
        event: What came on the control socket.
        receive: Reads the next batch from the data socket; called for a batch alone.

    Raises:
        PluginExecutionError: The event is none of reading, or the batch is not the one it announces: a breach.
    """
    name = event.get("event")
    shape = _EVENTS.get(name) if isinstance(name, str) else None
    if shape is None:
        raise breach("an event that is none of reading")
    taken = shape.of(event)
    match name:
        case "state":
            return StateChanged(**taken)
        case "skipped":
            return Skipped(**taken)
        case "warned":
            return Warned(**taken)
    return _batch_of(taken, receive())


def _batch_of(taken: Mapping[str, Any], received: Received) -> Rows | Rejected:
    batch, flags = received.batch, received.flags
    if batch.num_rows != taken["rows"]:
        raise breach("a batch has not the rows that its event announced")
    if (taken.get("kind") == "rejected") != bool(flags & Flags.REJECTED):
        raise breach("a batch is not of the kind that its event announced")
    if flags & Flags.REJECTED:
        if not batch.schema.equals(REJECTED_SCHEMA):
            raise breach("rejected rows have not the columns that they must have")
        return Rejected(batch)
    lines = None
    if flags & Flags.LINES:
        if not batch.num_columns or batch.schema.field(batch.num_columns - 1).type != pa.int64():
            raise breach("a batch with lines has no column of lines")
        lines = batch.column(batch.num_columns - 1)
        batch = batch.select(list(range(batch.num_columns - 1)))
    return Rows(batch, taken.get("source"), taken.get("first_line"), taken.get("source_bytes", 0), lines)


# -- results


_CONNECTION_TEST = Shape(
    "the result of a check",
    {"success": flag, "message": text},
    {"error_code": maybe(text), "details": maybe(json_object)},
)
_DISCOVERY = Shape(
    "what was discovered",
    {"objects": items(json_object, most=_MOST_ITEMS)},
    {"metadata": maybe(json_object), "warnings": items(text, most=_MOST_ITEMS)},
)
_OBJECT = Shape("an object discovered", {"name": text}, {"type": text})


def connection_test_to_json(result: ConnectionTestResult) -> dict[str, Any]:
    """Write what a step of a check found."""
    return {
        "success": result.success,
        "message": said(result.message),
        "error_code": None if result.error_code is None else said(result.error_code),
        "details": as_json(result.details),
    }


def connection_test_from_json(value: object) -> ConnectionTestResult:
    """Read what a step of a check found."""
    return ConnectionTestResult(**_CONNECTION_TEST.of(value))


def discovery_to_json(result: DiscoveryResult) -> dict[str, Any]:
    """Write what was discovered."""
    return {
        "objects": as_json(result.objects),
        "metadata": as_json(result.metadata),
        "warnings": [said(warning) for warning in result.warnings],
    }


def discovery_from_json(value: object) -> DiscoveryResult:
    """Read what was discovered."""
    taken = _DISCOVERY.of(value)
    for item in taken["objects"]:
        _OBJECT.of(item)
    return DiscoveryResult(**taken)


def texts_from_json(value: object, what: str) -> tuple[str, ...]:
    """Read a list of texts."""
    return _taken(texts, value, what)  # type: ignore[no-any-return]  # the kind gives it


def optional_text_from_json(value: object, what: str) -> str | None:
    """Read a text or null."""
    return _taken(maybe(text), value, what)  # type: ignore[no-any-return]  # the kind gives it


def partitions_from_json(value: object) -> list[Partition]:
    """Read what `StreamReader.partitions` gave."""
    return [partition_from_json(item) for item in _taken(items(json_object, most=_MOST_ITEMS), value, "partitions")]


def streams_from_json(value: object) -> dict[str, dict[str, Any]]:
    """Read what `StreamReader.streams` gave."""
    found = _taken(json_object, value, "streams")
    return {_taken(text, name, "streams"): _taken(json_object, options, "streams") for name, options in found.items()}


# -- tables


_TABLE = Shape(
    "a table",
    {"name": text, "namespace": maybe(text), "job": text, "stream": text, "run_id": text},
    {
        "write": choice(*get_args(WriteMode)),
        "primary_key": texts,
        "options": json_object,
        "buffer_bytes": count,
    },
)
_COMMITTED: dict[str, Any] = {
    "generation": count,
    "state": maybe(json_object),
    "commit_id": maybe(text),
    "run_id": maybe(text),
    "committed_at": maybe(text),
    "quarantine": maybe(json_object),
    "source_fingerprint": maybe(text),
    "schema_fingerprint": maybe(text),
    "schema_version": count,
    "keys_compared_at": maybe(text),
}
_COMMITTED_STATE = Shape("a committed state", {"generation": count}, _COMMITTED)
_PAST_COMMIT = Shape("a past commit", {"generation": count}, {**_COMMITTED, "rows": maybe(count)})
_COMMIT_REQUEST = Shape(
    "a commit",
    {"commit_id": text, "expected_generation": count, "state": maybe(json_object), "committed_at": text},
    {
        "source_fingerprint": maybe(text),
        "schema_fingerprint": maybe(text),
        "schema_version": count,
        "keys_compared_at": maybe(text),
    },
)
_RECEIPT = Shape(
    "a receipt",
    {"commit_id": text, "generation": count},
    {
        "snapshot_id": maybe(text),
        "inserted": maybe(count),
        "updated": maybe(count),
        "deleted": maybe(count),
        "bytes_written": count,
        "files": count,
    },
)
_KEY_COMPARISON = Shape(
    "a comparison of keys", {"source_keys": count, "table_rows": count, "absent": count}, {"examples": maybe(any_json)}
)


def table_to_json(table: TableSpec) -> dict[str, Any]:
    """Write a table."""
    return {**asdict(replace(table, options={})), "primary_key": list(table.primary_key)} | {
        "options": as_json(table.options)
    }


def table_from_json(value: object) -> TableSpec:
    """Read a table."""
    return TableSpec(**_TABLE.of(value))


def committed_state_to_json(state: CommittedState) -> dict[str, Any]:
    """Write what a target remembers of a stream; a `PastCommit` keeps its rows."""
    return _strict(asdict(state), "a committed state")


def committed_state_from_json(value: object) -> CommittedState:
    """Read what a target remembers of a stream."""
    return CommittedState(**_COMMITTED_STATE.of(value))


def history_to_json(history: Sequence[CommittedState]) -> list[dict[str, Any]]:
    """Write what `TableWriter.history` gave."""
    return [committed_state_to_json(state) for state in history]


def history_from_json(value: object) -> list[CommittedState]:
    """Read what `TableWriter.history` gave: a commit that tells its rows is a `PastCommit`."""
    found = _taken(items(json_object, most=_MOST_ITEMS), value, "a history")
    return [
        PastCommit(**_PAST_COMMIT.of(item)) if "rows" in item else CommittedState(**_COMMITTED_STATE.of(item))
        for item in found
    ]


def commit_request_to_json(request: CommitRequest) -> dict[str, Any]:
    """Write what a commit must carry."""
    return _strict(asdict(request), "a commit")


def commit_request_from_json(value: object) -> CommitRequest:
    """Read what a commit must carry."""
    return CommitRequest(**_COMMIT_REQUEST.of(value))


def receipt_to_json(receipt: Receipt) -> dict[str, Any]:
    """Write what landed."""
    return _strict(asdict(receipt), "a receipt")


def receipt_from_json(value: object) -> Receipt:
    """Read what landed."""
    return Receipt(**_RECEIPT.of(value))


def key_comparison_to_json(found: KeyComparison) -> dict[str, Any]:
    """Write what became of comparing keys."""
    return {
        "source_keys": found.source_keys,
        "table_rows": found.table_rows,
        "absent": found.absent,
        "examples": None if found.examples is None else batch_to_json(found.examples),
    }


def key_comparison_from_json(value: object) -> KeyComparison:
    """Read what became of comparing keys."""
    taken = _KEY_COMPARISON.of(value)
    if taken.get("examples") is not None:
        taken["examples"] = batch_from_json(taken["examples"])
    return KeyComparison(**taken)


def marks_to_json(marks: Mapping[str, pa.Scalar[Any]] | None) -> dict[str, Any] | None:
    """Write the values that deleted rows get, as a batch of one row."""
    if marks is None:
        return None
    columns = [pa.array([mark.as_py()], mark.type) for mark in marks.values()]
    return batch_to_json(pa.RecordBatch.from_arrays(columns, names=list(marks)))


def marks_from_json(value: object) -> dict[str, pa.Scalar[Any]] | None:
    """Read the values that deleted rows get."""
    if value is None:
        return None
    batch = batch_from_json(value)
    if batch.num_rows != 1:
        raise breach("the marks of deleted rows: one row is expected")
    return {name: batch.column(number)[0] for number, name in enumerate(batch.schema.names)}


# -- configuration


def config_to_json(config: SourceConfig | TargetConfig) -> dict[str, Any]:
    """Write a configuration, its credentials in plain: this goes to the plugin's process alone."""
    return config.model_dump(mode="json")


def source_config_from_json(value: object) -> SourceConfig:
    """Read a source's configuration."""
    return parse(SourceConfig, value, where="source")


def target_config_from_json(value: object) -> TargetConfig:
    """Read a target's configuration."""
    return parse(TargetConfig, value, where="target")


def _strict(document: dict[str, Any], what: str) -> dict[str, Any]:
    try:
        return json_object(strict_json(document))
    except WrongValueError as error:
        raise PluginExecutionError(f"{what}: {error}") from error


def _taken(kind: Callable[[object], Any], value: object, what: str) -> Any:
    try:
        return kind(value)
    except WrongValueError as error:
        raise breach(f"{what}: {error}") from error
