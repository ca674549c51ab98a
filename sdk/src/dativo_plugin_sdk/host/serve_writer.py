"""A writer plugin, as its own process serves it to the engine: each of its methods by its name in the protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar

import pyarrow as pa

from dativo_plugin_sdk.capabilities import Capability
from dativo_plugin_sdk.config import TargetConfig
from dativo_plugin_sdk.errors import PluginExecutionError
from dativo_plugin_sdk.migrations import config_for
from dativo_plugin_sdk.plugin_calls import broke
from dativo_plugin_sdk.plugin_files import FileMetadata, LocalFiles
from dativo_plugin_sdk.protocol import messages, writer_messages
from dativo_plugin_sdk.protocol.breach import breach
from dativo_plugin_sdk.protocol.json_values import (
    Shape,
    WrongValueError,
    any_json,
    as_json,
    count,
    maybe,
    strict_json,
    text,
)
from dativo_plugin_sdk.results import Check
from dativo_plugin_sdk.tables import StreamWriter, TableWriter
from dativo_plugin_sdk.writer import BaseWriter

Params: TypeAlias = Mapping[str, Any]
Answer: TypeAlias = Callable[[dict[str, Any]], Any]
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_ONE_TABLE = Shape("a request", {"table": count}, {})
_STEP = Shape("a request", {"step": count}, {})
_OPEN = Shape("a request", {"table": count, "schema": any_json}, {})
_COMPARE = Shape("a request", {"table": count, "schema": any_json}, {"marked": maybe(text)})
_ONE_INSTANCE = Shape("a request", {"instance": count}, {})
_INSTANCE = Shape("a request", {"asset": any_json, "output_base": text, "buffer_bytes": count}, {})


class Exchange(Protocol):
    """What a method may do while it is under way: the `Session`."""

    def call(
        self, where: str, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """Call the plugin's code."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Tell something."""

    def receive_batch(self) -> pa.RecordBatch:
        """Wait for the next batch on the data socket."""

    def next_message(self) -> dict[str, Any]:
        """Wait for what the engine says within the request."""


class WriterService:
    """A writer of either level.

    Args:
        plugin: Its class.
        exchange: What its methods may do.
    """

    def __init__(self, plugin: type[BaseWriter | StreamWriter], exchange: Exchange) -> None:
        self._plugin = plugin
        self._exchange = exchange
        self._served: _Files | _Tables | None = None
        self.methods: dict[str, Answer] = {}

    def spec(self) -> dict[str, Any]:
        """Say what the class is and can do; an instance may promise less."""
        return writer_messages.powers_to_json(self._plugin)

    def configure(self, params: Params) -> dict[str, Any]:
        """Make the plugin, and say what it can do with this configuration."""
        written = messages.target_config_from_json(params.get("config"))
        written_for = params.get("config_version", 1)
        config = self._exchange.call(
            f"{self._plugin.__name__}.migrate_config", config_for, self._plugin, written, written_for
        )
        if issubclass(self._plugin, StreamWriter):
            writer = self._exchange.call(f"{self._plugin.__name__}.__init__", self._plugin, config)
            self._served = _Tables(writer, self._exchange)
            self.methods = self._served.methods
            return writer_messages.powers_to_json(writer)
        self._served = _Files(self._plugin, config, self._exchange)
        self.methods = self._served.methods
        return self.spec()

    def close(self) -> None:
        """Let go of it."""
        if isinstance(self._served, _Tables):
            self._served.close()


class _Tables:
    """A `StreamWriter` and its tables."""

    def __init__(self, writer: StreamWriter, exchange: Exchange) -> None:
        self._name = type(writer).__name__
        self._writer = writer
        self._exchange = exchange
        self._checks: Sequence[Check] = ()
        self._tables: list[TableWriter] = []
        self.methods: dict[str, Answer] = {
            "check": self._check,
            "check_step": self._check_step,
            "table": self._table,
            "load_state": self._load_state,
            "history": self._history,
            "open": self._open,
            "write": self._write,
            "delete": self._delete,
            "quarantine": self._quarantine,
            "compare_keys": self._compare_keys,
            "delete_absent": self._delete_absent,
            "commit": self._commit,
            "abort": self._abort,
        }

    def close(self) -> None:
        """Let the plugin let go of its connections."""
        self._exchange.call(f"{self._name}.close", self._writer.close)

    def _check(self, params: Params) -> dict[str, Any]:
        tables = [messages.table_from_json(table) for table in params.get("tables", ())]
        self._checks = self._exchange.call(f"{self._name}.check", self._writer.check, tables)
        return {"steps": [check.step for check in self._checks]}

    def _check_step(self, params: Params) -> dict[str, Any]:
        step = _STEP.of(params)["step"]
        if step >= len(self._checks):
            raise breach(f"there is no step {step}")
        check = self._checks[step]
        return messages.connection_test_to_json(self._exchange.call(f"{self._name}.check: {check.step}", check.run))

    def _table(self, params: Params) -> dict[str, Any]:
        spec = messages.table_from_json(params.get("spec"))
        table = self._exchange.call(f"{self._name}.table", self._writer.table, spec)
        if not isinstance(table, TableWriter):
            raise broke(f"{self._name}.table", table, "a TableWriter")
        self._tables.append(table)
        return {"table": len(self._tables) - 1, "keeps_history": bool(table.keeps_history)}

    def _load_state(self, params: Params) -> dict[str, Any]:
        table = self._known(params)
        return messages.committed_state_to_json(self._exchange.call(_where(table, "load_state"), table.load_state))

    def _history(self, params: Params) -> list[dict[str, Any]]:
        table = self._known(params)
        return messages.history_to_json(self._exchange.call(_where(table, "history"), table.history))

    def _open(self, params: Params) -> list[str]:
        table = self._known(params)
        schema = messages.schema_from_json(_OPEN.of(params)["schema"])
        changes = self._exchange.call(_where(table, "open"), table.open, schema)
        return [str(change) for change in changes or ()]

    def _write(self, params: Params) -> dict[str, Any]:
        batch = self._exchange.receive_batch()  # whatever else is wrong with the request: the batch has been sent
        table = self._known(params)
        self._exchange.call(_where(table, "write"), table.write, batch)
        return {}

    def _delete(self, params: Params) -> dict[str, Any]:
        keys = self._exchange.receive_batch()
        table = self._known(params)
        self._exchange.call(_where(table, "delete"), table.delete, keys)
        return {}

    def _quarantine(self, params: Params) -> dict[str, Any]:
        batch = self._exchange.receive_batch()
        table = self._known(params)
        self._exchange.call(_where(table, "quarantine"), table.quarantine, batch)
        return {}

    def _compare_keys(self, params: Params) -> dict[str, Any]:
        table = self._known(params)
        asked = _COMPARE.of(params)
        schema = messages.schema_from_json(asked["schema"])
        found = self._exchange.call(
            _where(table, "compare_keys"), table.compare_keys, schema, self._keys(), marked=asked.get("marked")
        )
        return messages.key_comparison_to_json(found)

    def _keys(self) -> Iterator[pa.RecordBatch]:
        """Ask for one batch after the other, when the plugin asks for it."""
        while True:
            self._exchange.event({"event": "next"})
            message = self._exchange.next_message()
            if message.get("type") != "batch":
                raise breach("an answer that is no batch of keys")
            if not message.get("more"):
                return
            yield self._exchange.receive_batch()

    def _delete_absent(self, params: Params) -> dict[str, Any]:
        table = self._known(params)
        self._exchange.call(
            _where(table, "delete_absent"), table.delete_absent, messages.marks_from_json(params.get("marks"))
        )
        return {}

    def _commit(self, params: Params) -> dict[str, Any]:
        table = self._known(params)
        request = messages.commit_request_from_json(params.get("request"))
        return messages.receipt_to_json(self._exchange.call(_where(table, "commit"), table.commit, request))

    def _abort(self, params: Params) -> dict[str, Any]:
        table = self._known(params)
        self._exchange.call(_where(table, "abort"), table.abort)
        return {}

    def _known(self, params: Params) -> TableWriter:
        number: int = _ONE_TABLE.of(params)["table"]
        if number >= len(self._tables):
            raise breach(f"there is no table {number}")
        return self._tables[number]


class _Files:
    """A `BaseWriter` and its instances; the engine keeps their state."""

    def __init__(self, plugin: type[BaseWriter], config: TargetConfig, exchange: Exchange) -> None:
        self._plugin = plugin
        self._config = config
        self._exchange = exchange
        self._instances: list[_Instance] = []
        self.methods: dict[str, Answer] = {
            "instance": self._instance,
            "check_connection": self._check_connection,
            "write_batch": self._write_batch,
            "commit_files": self._commit_files,
        }

    def _instance(self, params: Params) -> dict[str, Any]:
        asked = _INSTANCE.of(params)
        files = self._exchange.call(
            f"{self._plugin.__name__}.__init__",
            LocalFiles.of,
            self._plugin,
            writer_messages.asset_from_json(asked["asset"]),
            self._config,
            asked["output_base"],
            asked["buffer_bytes"],
        )
        self._instances.append(_Instance(files, must_survive=Capability.ATOMIC_COMMIT in self._plugin.capabilities))
        return {"instance": len(self._instances) - 1}

    def _check_connection(self, params: Params) -> dict[str, Any]:
        files = self._known(params).files
        return messages.connection_test_to_json(self._exchange.call("check_connection", files.check_connection))

    def _write_batch(self, params: Params) -> list[FileMetadata]:
        batch = self._exchange.receive_batch()  # whatever else is wrong with the request: the batch has been sent
        return self._exchange.call("write_batch", self._known(params).write, batch)

    def _commit_files(self, params: Params) -> dict[str, Any]:
        metadata = writer_messages.files_from_json(params.get("metadata"))
        return {"snapshot_id": self._exchange.call("commit_files", self._known(params).commit, metadata)}

    def _known(self, params: Params) -> _Instance:
        number: int = _ONE_INSTANCE.of(params)["instance"]
        if number >= len(self._instances):
            raise breach(f"there is no instance {number}")
        return self._instances[number]


class _Instance:
    """One instance, and what it said it wrote: in its own words and as the engine was told.

    A plugin of earlier releases may put anything into its metadata. Where it commits what it wrote itself it gets that
    back as it was; only another process gets what is left of it as JSON.
    """

    def __init__(self, files: LocalFiles, *, must_survive: bool) -> None:
        self.files = files
        self._must_survive = must_survive
        self._own: list[FileMetadata] = []
        self._told: list[FileMetadata] = []

    def write(self, batch: pa.RecordBatch) -> list[FileMetadata]:
        written = self.files.write(batch)
        told = [self._as_json(item) for item in written]
        self._own += written
        self._told += told
        return told

    def commit(self, metadata: list[FileMetadata]) -> str | None:
        return self.files.commit(self._own if metadata == self._told else metadata)

    def _as_json(self, item: FileMetadata) -> FileMetadata:
        try:
            told: FileMetadata = strict_json(item) if self._must_survive else as_json(item)
        except WrongValueError as error:
            raise PluginExecutionError(
                f"the metadata of a file: {error}",
                hint="a later run may have to finish the commit, so that an atomic writer's metadata must be JSON",
            ) from error
        return told


def _where(table: TableWriter, method: str) -> str:
    return f"{type(table).__name__}.{method}"
