"""The files of a simple writer plugin: what the engine asks of one, wherever it runs, and one that runs right here."""

from __future__ import annotations

from os import PathLike
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

from dativo_plugin_sdk.asset import AssetDefinition
from dativo_plugin_sdk.capabilities import Capability
from dativo_plugin_sdk.config import TargetConfig
from dativo_plugin_sdk.errors import PluginExecutionError
from dativo_plugin_sdk.plugin_calls import broke, call_plugin, is_list_of_dicts
from dativo_plugin_sdk.results import ConnectionTestResult
from dativo_plugin_sdk.tables import TableSpec, WriteMode
from dativo_plugin_sdk.writer import BaseWriter

FileMetadata: TypeAlias = dict[str, Any]


class PluginFiles(Protocol):
    """One instance of a plugin at work on one table."""

    def check_connection(self) -> ConnectionTestResult:
        """Ask the plugin whether its target can be reached and written."""

    def write(self, batch: pa.RecordBatch) -> list[FileMetadata]:
        """Hand rows to the plugin and give what it says it wrote; each item has a ``path``.

        Raises:
            DativoError: As the plugin raised it, or `PluginExecutionError`.
        """

    def commit(self, metadata: list[FileMetadata]) -> str | None:
        """Let the plugin make files visible, which another instance may have written; give its snapshot's id.

        Raises:
            PluginExecutionError: It says that it could not, or something that is no answer.
            CommitStateUnknownError: Nobody can say whether it did.
        """

    def close(self) -> None:
        """Let go of the instance; may be called twice."""


class FilesPlugin(Protocol):
    """A simple writer plugin, wherever it runs."""

    @property
    def name(self) -> str:
        """Its class's name."""

    @property
    def is_atomic(self) -> bool:
        """Whether it declares ``Capability.ATOMIC_COMMIT``."""

    @property
    def write_modes(self) -> frozenset[WriteMode]:
        """The modes that it declares."""

    def files(self, spec: TableSpec, schema: pa.Schema) -> PluginFiles:
        """Make an instance for a table whose rows have this schema."""

    def close(self) -> None:
        """Let go of everything; may be called twice."""


class LocalPlugin:
    """A plugin in this process.

    Args:
        plugin: Its class.
        config: The target, as the job has it.
        output_base: The folder or URI that its files go under.
    """

    def __init__(self, plugin: type[BaseWriter], config: TargetConfig, output_base: str) -> None:
        self._plugin = plugin
        self._config = config
        self._output_base = output_base
        self.name = plugin.__name__
        self.is_atomic = Capability.ATOMIC_COMMIT in plugin.capabilities
        self.write_modes = plugin.write_modes

    def files(self, spec: TableSpec, schema: pa.Schema) -> LocalFiles:
        """Make an instance for a table whose rows have this schema."""
        return LocalFiles.of(
            self._plugin, AssetDefinition.of(spec, schema), self._config, self._output_base, spec.buffer_bytes
        )

    def close(self) -> None:
        """There is nothing to let go of."""


class LocalFiles:
    """An instance in this process.

    Args:
        writer: The instance.
        buffer_bytes: How many bytes of rows it is given at once.
    """

    _LIST_OVERHEAD = 8  # a row as a dict takes about this many times its Arrow bytes

    def __init__(self, writer: BaseWriter, buffer_bytes: int) -> None:
        self._writer = writer
        self._takes_arrow = Capability.ARROW_BATCHES in type(writer).capabilities
        self._list_bytes = max(1, buffer_bytes // self._LIST_OVERHEAD)
        self._calls = 0

    @classmethod
    def of(
        cls,
        plugin: type[BaseWriter],
        asset: AssetDefinition,
        config: TargetConfig,
        output_base: str,
        buffer_bytes: int,
    ) -> LocalFiles:
        """Make the instance, too."""
        return cls(call_plugin(f"{plugin.__name__}.__init__", plugin, asset, config, output_base), buffer_bytes)

    def check_connection(self) -> ConnectionTestResult:
        """Ask the plugin; without a check of its own it gives ``dativo_plugin_sdk.reader.NOT_IMPLEMENTED`` as details.

        Raises:
            PluginExecutionError: It answers something else than a `ConnectionTestResult`.
        """
        where = self._where("check_connection")
        result: Any = call_plugin(where, self._writer.check_connection)
        if not isinstance(result, ConnectionTestResult):
            raise broke(where, result, "a ConnectionTestResult")
        return result

    def write(self, batch: pa.RecordBatch) -> list[FileMetadata]:
        """Hand rows to the plugin; as lists of dicts in parts that fit the table's share of memory."""
        if self._takes_arrow:
            return self._write(batch)
        written: list[FileMetadata] = []
        part_rows = max(1, batch.num_rows * self._list_bytes // max(1, batch.nbytes))
        for start in range(0, batch.num_rows, part_rows):
            written += self._write(batch.slice(start, part_rows).to_pylist())
        return written

    def commit(self, metadata: list[FileMetadata]) -> str | None:
        """Let the plugin make files visible.

        Raises:
            PluginExecutionError: It says that it could not, or something that is no answer.
        """
        where = self._where("commit_files")
        result: Any = call_plugin(where, self._writer.commit_files, list(metadata))
        if result is None:
            return None  # as plugins of earlier releases may
        if not isinstance(result, dict):
            raise broke(where, result, "a dict with a status")
        if str(result.get("status", "success")).lower() in {"error", "failed", "failure"}:
            raise PluginExecutionError(f"{where} says {result['status']}", details={"result": repr(result)})
        snapshot_id = result.get("snapshot_id")
        return None if snapshot_id is None else str(snapshot_id)

    def close(self) -> None:
        """A simple plugin has nothing to be told."""

    def _write(self, records: Any) -> list[FileMetadata]:
        where = self._where("write_batch")
        written = call_plugin(where, self._writer.write_batch, records, self._calls)
        if not is_list_of_dicts(written) or not all(isinstance(item.get("path"), str | PathLike) for item in written):
            raise broke(where, written, "a list of dicts that each have a path")
        self._calls += 1
        return [{**item, "path": str(item["path"])} for item in written]

    def _where(self, method: str) -> str:
        return f"{type(self._writer).__name__}.{method}"
