"""A `BaseReader` plugin as the engine reads it: one stream per object, one partition per stream."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from dativo_plugin_sdk.batches import infer_schema, to_batches
from dativo_plugin_sdk.column_types import arrow_type
from dativo_plugin_sdk.config import SourceConfig
from dativo_plugin_sdk.errors import DataNotFoundError, PluginExecutionError
from dativo_plugin_sdk.fingerprints import fingerprint
from dativo_plugin_sdk.plugin_calls import broke, call_plugin, is_list_of_dicts
from dativo_plugin_sdk.reader import BaseReader
from dativo_plugin_sdk.results import Check, ConnectionTestResult, DiscoveryResult
from dativo_plugin_sdk.state import IncrementalStateManager
from dativo_plugin_sdk.streams import Message, Partition, State, StateChanged, StreamReader, StreamSpec


class SimpleReader(StreamReader):
    """The engine's interface, spoken by a simple plugin.

    Each stream gets an instance of its own, whose configuration has the stream as its only object and the stream's
    options among its options. Whatever the plugin raises that is no Dativo error becomes `PluginExecutionError`.

    Args:
        plugin: The plugin's class.
        config: The source, as the job has it.
    """

    def __init__(self, plugin: type[BaseReader], config: SourceConfig) -> None:
        super().__init__(config)
        self.capabilities = plugin.capabilities  # type: ignore[misc]  # what a simple reader can do is its plugin's
        self._plugin = plugin
        self._discovered: DiscoveryResult | None = None
        self._begun: dict[str, _Extraction] = {}

    def check(self, streams: Sequence[StreamSpec]) -> Sequence[Check]:
        """List the plugin's own check, and whether it offers the streams where it says what it offers.

        A check that the plugin does not have gives the details `dativo_plugin_sdk.reader.NOT_IMPLEMENTED`.
        """
        checks = [Check("connection", self._check_connection)]
        if streams and self._can_discover:
            checks.append(Check("streams", lambda: self._check_streams([stream.name for stream in streams])))
        return checks

    def discover(self, pattern: str | None = None) -> DiscoveryResult:
        """Pass on what the plugin offers.

        Raises:
            PluginExecutionError: It is not a `DiscoveryResult` whose objects each have a name and a type.
        """
        where = f"{self._plugin.__name__}.discover"
        result = call_plugin(where, self._instance(self.config).discover)
        if not isinstance(result, DiscoveryResult):
            raise broke(where, result, "a DiscoveryResult")
        _check_objects(where, result.objects)
        self._discovered = result
        if pattern is None:
            return result
        return replace(result, objects=[o for o in result.objects if fnmatch.fnmatchcase(o["name"], pattern)])

    def schema(self, stream: StreamSpec) -> pa.Schema:
        """Give the discovered columns' schema, else the one of the first batch, which `read` then begins with.

        A stream without columns and without rows has a schema without fields.
        """
        if self._can_discover:
            discovered = self._discovered or self.discover()
            columns = next((o.get("columns") for o in discovered.objects if _is_called(o, stream.name)), None)
            if columns and (schema := _schema_of(columns)) is not None:
                return schema
        return self._extraction(stream).schema()

    def partitions(self, stream: StreamSpec, state: State | None) -> Sequence[Partition]:
        """Give the one partition, with the rows that the plugin expects."""
        return [Partition(id=stream.name, rows=self._extraction(stream, state or {}).estimate())]

    def read(self, stream: StreamSpec, partition: Partition, state: State | None) -> Iterator[Message]:  # noqa: ARG002
        """Read what the plugin yields.

        State that the plugin sets covers the batches yielded before: it is told before the batch that comes next.
        """
        extraction = self._extraction(stream, state or {})
        del self._begun[stream.name]
        try:
            for value in extraction.values():
                if extraction.manager.changed:
                    yield StateChanged(extraction.manager.take_changes())
                yield from to_batches(value, stream.schema)
            if extraction.manager.changed:
                yield StateChanged(extraction.manager.take_changes())
        finally:
            extraction.close()

    def fingerprint(self, stream: StreamSpec) -> str | None:  # noqa: ARG002
        """Know the source by the plugin's name and its connection."""
        return fingerprint(self._plugin.__name__, dict(self.config.connection))

    def close(self) -> None:
        """Stop extractions that were begun for their schema and never read."""
        while self._begun:
            self._begun.popitem()[1].close()

    @property
    def _can_discover(self) -> bool:
        return self._plugin.discover is not BaseReader.discover

    def _instance(self, config: SourceConfig) -> BaseReader:
        return call_plugin(f"{self._plugin.__name__}.__init__", self._plugin, config)

    def _extraction(self, stream: StreamSpec, state: State | None = None) -> _Extraction:
        """Give the extraction that waits for this stream, or a new one; ``state`` is None where nobody knows it yet."""
        waiting = self._begun.get(stream.name)
        if waiting is not None and waiting.suits(stream, state):
            return waiting
        if waiting is not None:
            waiting.close()
        extraction = _Extraction(self._instance(_config_of(stream, self.config)), stream, state or {})
        self._begun[stream.name] = extraction
        return extraction

    def _check_connection(self) -> ConnectionTestResult:
        where = f"{self._plugin.__name__}.check_connection"
        result = call_plugin(where, self._instance(self.config).check_connection)
        if not isinstance(result, ConnectionTestResult):
            raise broke(where, result, "a ConnectionTestResult")
        return result

    def _check_streams(self, names: Sequence[str]) -> ConnectionTestResult:
        discovered = self.discover()
        missing = [name for name in names if not any(_is_called(item, name) for item in discovered.objects)]
        if missing:
            there_is = ", ".join(sorted(item["name"] for item in discovered.objects)) or "none"
            raise DataNotFoundError(
                f"the source has no {', '.join(missing)}; there is: {there_is}", details={"missing": missing}
            )
        return ConnectionTestResult(success=True, message=f"found {len(names)} stream(s)")


class _Extraction:
    """One instance at work on one stream: what was looked at for the schema is read again by `values`."""

    def __init__(self, reader: BaseReader, stream: StreamSpec, state: State) -> None:
        self._reader = reader
        self._stream = replace(stream, schema=None)
        self._state = state
        self._where = f"{type(reader).__name__}.extract"
        self._iterator: Iterator[Any] | None = None
        self._seen: list[Any] = []
        self._estimate: list[int | None] = []
        self.manager = IncrementalStateManager(state)

    def suits(self, stream: StreamSpec, state: State | None) -> bool:
        """Say whether reading this stream from ``state`` (None: from wherever) can go on here."""
        return self._stream == replace(stream, schema=None) and (state is None or self._state == state)

    def estimate(self) -> int | None:
        """Ask once how many rows there are."""
        if not self._estimate:
            where = f"{type(self._reader).__name__}.get_total_records_estimate"
            rows = call_plugin(where, self._reader.get_total_records_estimate)
            if rows is not None and not isinstance(rows, int):
                raise broke(where, rows, "an int or None")
            self._estimate = [rows]
        return self._estimate[0]

    def schema(self) -> pa.Schema:
        """Infer the schema from the first batch that says anything."""
        for value in self._seen:
            if not _is_empty(value):
                return infer_schema(value)
        while (value := self._next()) is not _END:
            self._seen.append(value)
            if not _is_empty(value):
                return infer_schema(value)
        return pa.schema([])

    def values(self) -> Iterator[Any]:
        """Yield every batch, those already looked at first; may be called once."""
        while self._seen:
            yield self._seen.pop(0)
        while (value := self._next()) is not _END:
            yield value

    def close(self) -> None:
        """Let the plugin's generator run its ``finally``."""
        if isinstance(self._iterator, Generator):
            call_plugin(self._where, self._iterator.close)

    def _next(self) -> Any:
        if self._iterator is None:
            self._iterator = self._started()
        return call_plugin(self._where, next, self._iterator, _END)

    def _started(self) -> Iterator[Any]:
        batches = call_plugin(self._where, _extract, self._reader, self.manager)
        if isinstance(batches, str | bytes | Mapping) or not isinstance(batches, Iterable):
            raise broke(
                self._where, batches, "an iterator of batches", hint="yield the rows, a page at a time, as lists"
            )
        return iter(batches)


_END = object()


def _extract(reader: BaseReader, manager: IncrementalStateManager) -> Any:
    """Call ``extract`` in the form that the class has: earlier releases had none that took state."""
    parameters = inspect.signature(reader.extract).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    if "state_manager" in parameters or inspect.Parameter.VAR_KEYWORD in kinds:
        return reader.extract(state_manager=manager)
    return reader.extract(manager) if parameters else reader.extract()


def _config_of(stream: StreamSpec, config: SourceConfig) -> SourceConfig:
    options = {**config.options, **stream.options}
    options.pop("extra_columns", None)  # the engine's, not the plugin's: a plugin may refuse keys it does not know
    incremental = dict(config.incremental)
    if stream.mode == "incremental" and stream.cursor is not None:
        incremental.setdefault("cursor_field", stream.cursor)
    bounds = {"cursor_from": stream.cursor_from, "cursor_to": stream.cursor_to}
    incremental |= {key: bound for key, bound in bounds.items() if bound is not None}
    engine = {**config.engine, "options": {**config.engine.get("options", {}), **options}}
    return config.model_copy(
        update={"objects": [stream.name], "options": options, "engine": engine, "incremental": incremental}
    )


def _check_objects(where: str, objects: Any) -> None:
    if not is_list_of_dicts(objects):
        raise broke(f"{where}: objects", objects, "a list of dicts")
    for item in objects:
        for key in ("name", "type"):
            if not isinstance(item.get(key), str):
                raise PluginExecutionError(f"{where}: an object has no {key}: {sorted(item)}")
        columns = item.get("columns")
        if columns is not None and not (is_list_of_dicts(columns) and all("name" in column for column in columns)):
            raise PluginExecutionError(f"{where}: the columns of {item['name']} are no list of dicts with a name")


def _is_called(item: Mapping[str, Any], name: str) -> bool:
    return name in {item["name"], f"{item.get('namespace')}.{item['name']}"}


def _schema_of(columns: Sequence[Mapping[str, Any]]) -> pa.Schema | None:
    """Give the schema where every column's type is usable."""
    fields = []
    for column in columns:
        data_type = arrow_type(column)
        if data_type is None:
            return None
        fields.append(pa.field(str(column["name"]), data_type, nullable=column.get("nullable") is not False))
    return pa.schema(fields)


def _is_empty(value: Any) -> bool:
    """Say whether a batch has no row with a column, and no schema; an Arrow value always has one."""
    return isinstance(value, list | tuple) and all(isinstance(row, dict) and not row for row in value)
