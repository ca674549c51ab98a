"""A `BaseWriter` plugin as the engine writes it, with the state kept beside the target by the engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

from dativo_plugin_sdk.capabilities import Capability
from dativo_plugin_sdk.column_types import type_name
from dativo_plugin_sdk.config import TargetConfig
from dativo_plugin_sdk.errors import (
    CommitStateUnknownError,
    DativoError,
    FencedError,
    InvalidConfigError,
    PluginExecutionError,
)
from dativo_plugin_sdk.plugin_calls import broke, call_plugin, is_list_of_dicts
from dativo_plugin_sdk.results import Check, ConnectionTestResult
from dativo_plugin_sdk.tables import (
    CommitRequest,
    CommittedState,
    Receipt,
    StreamWriter,
    TableSpec,
    TableWriter,
    WriteMode,
)
from dativo_plugin_sdk.writer import BaseWriter

FileMetadata: TypeAlias = dict[str, Any]


class StateStore(Protocol):
    """Keeps one text per key and its generation, for targets that cannot keep state themselves."""

    def load(self, key: str) -> str | None:
        """Give the text saved last; None where nothing ever was."""

    def save(self, key: str, expected_generation: int, text: str) -> bool:
        """Replace the text, in one step, if ``expected_generation`` saves happened so far; say whether it was done."""


@dataclass(frozen=True)
class AssetDefinition:
    """The table as a writer plugin sees it.

    ``schema`` lists ``{"name", "type", "required"}`` of each column of ``arrow_schema``; ``run_id`` is unique per run
    and sorts by time, so it may be part of a file's name.
    """

    name: str
    schema: list[dict[str, Any]]
    arrow_schema: pa.Schema
    namespace: str | None = None
    write: WriteMode = "append"
    primary_key: tuple[str, ...] = ()
    run_id: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: TableSpec, arrow_schema: pa.Schema) -> AssetDefinition:
        """Describe the table of ``spec`` with this schema."""
        return cls(
            name=spec.name,
            schema=[
                {"name": each.name, "type": type_name(each.type), "required": not each.nullable}
                for each in arrow_schema
            ],
            arrow_schema=arrow_schema,
            namespace=spec.namespace,
            write=spec.write,
            primary_key=spec.primary_key,
            run_id=spec.run_id,
            options=dict(spec.options),
        )


class SimpleWriter(StreamWriter):
    """The engine's interface, spoken by a simple plugin.

    Args:
        plugin: The plugin's class.
        config: The target, as the job has it.
        states: Where the state of each stream is kept.
        output_base: The folder or URI that the plugin's files go under.
    """

    def __init__(self, plugin: type[BaseWriter], config: TargetConfig, *, states: StateStore, output_base: str) -> None:
        super().__init__(config)
        atomic = Capability.ATOMIC_COMMIT in plugin.capabilities
        self.delivery = "exactly_once" if atomic else "at_least_once"  # type: ignore[misc]  # its plugin's promise
        self.write_modes = plugin.write_modes  # type: ignore[misc]  # what a simple writer can do is its plugin's
        self._plugin = plugin
        self._states = states
        self._output_base = output_base

    def check(self, tables: Sequence[TableSpec]) -> Sequence[Check]:
        """List the plugin's own check; without one it gives ``dativo_plugin_sdk.reader.NOT_IMPLEMENTED`` as details."""
        spec = tables[0] if tables else TableSpec(name="check", namespace=None, job="", stream="", run_id="")

        def check_connection() -> ConnectionTestResult:
            return call_plugin(
                f"{self._plugin.__name__}.check_connection", self._instance(spec, pa.schema([])).check_connection
            )

        return [Check("connection", check_connection)]

    def table(self, spec: TableSpec) -> TableWriter:
        """Give the writer of one table.

        Raises:
            InvalidConfigError: The plugin does not declare the table's write mode.
        """
        if spec.write not in self.write_modes:
            raise InvalidConfigError(
                f"{self._plugin.__name__} cannot {spec.write}; it can {', '.join(sorted(self.write_modes))}"
            )
        return _SimpleTable(self, spec, self._states)

    def _instance(self, spec: TableSpec, schema: pa.Schema) -> BaseWriter:
        asset = AssetDefinition.of(spec, schema)
        return call_plugin(f"{self._plugin.__name__}.__init__", self._plugin, asset, self.config, self._output_base)


class _SimpleTable(TableWriter):
    """One table of a simple plugin.

    With an atomic plugin the state is saved first, together with the files that are about to become visible, and once
    more without them when they are. Whoever finds them named shows them before anything else: a run that was killed in
    between is finished, never repeated. Without it the files come first, and a kill in between repeats them.
    """

    def __init__(self, writer: SimpleWriter, spec: TableSpec, states: StateStore) -> None:
        self._writer = writer
        self._spec = spec
        self._states = states
        self._rows: _Files | None = None
        self._rejected: _Files | None = None

    def load_state(self) -> CommittedState:
        return self._finish_pending(self._load()).committed

    def open(self, schema: pa.Schema) -> Sequence[str]:
        self._rows = self._files(self._spec, schema)
        return ()

    def write(self, batch: pa.RecordBatch) -> None:
        if self._rows is None:
            raise PluginExecutionError("write before open")
        self._rows.write(batch)

    def quarantine(self, batch: pa.RecordBatch) -> None:
        if self._rejected is None:
            # Rejected rows only ever pile up, whatever happens to the table beside them.
            beside = replace(self._spec, name=self._spec.quarantine_name, write="append", primary_key=())
            self._rejected = self._files(beside, batch.schema)
        self._rejected.write(batch)

    def commit(self, request: CommitRequest) -> Receipt:
        before = self._finish_pending(self._load())
        if before.committed.generation != request.expected_generation:
            raise self._fenced(before.committed, request)
        after = request.next_state(self._spec.run_id)
        if self._writer.delivery == "exactly_once":
            self._commit_atomically(before, after, request)
        else:
            self._show()
            if not self._save(before, _Document(after)):
                raise self._fenced(self._load().committed, request)
        rows = self._rows
        return Receipt(
            commit_id=request.commit_id,
            generation=after.generation,
            snapshot_id=rows.snapshot_id if rows else None,
            inserted=rows.rows if rows and self._spec.write == "append" else None,
            bytes_written=sum(each.size_bytes for each in (self._rows, self._rejected) if each),
            files=sum(len(each.metadata) for each in (self._rows, self._rejected) if each),
        )

    def abort(self) -> None:
        self._rows = self._rejected = None

    def _commit_atomically(self, before: _Document, after: CommittedState, request: CommitRequest) -> None:
        promised = _Document(
            after,
            rows=self._rows.metadata if self._rows else None,
            rejected=self._rejected.metadata if self._rejected else None,
            saves=before.saves + 1,
        )
        if not self._save(before, promised):
            raise self._fenced(self._load().committed, request)
        try:
            if self._rows is not None:
                self._rows.commit()
        except CommitStateUnknownError:
            raise  # the promise stays: the next run looks again
        except DativoError:
            # Nothing is visible, so the state goes back to where it was, as a generation of its own.
            taken_back = replace(before.committed, generation=after.generation + 1)
            self._save(promised, _Document(taken_back))
            raise
        if self._rejected is not None:
            self._rejected.commit()  # the rows are visible: where this fails, the promise stays and is finished later
        if promised.is_pending:
            self._save(promised, _Document(after))  # false: another run has finished the promise already

    def _show(self) -> None:
        for files in (self._rejected, self._rows):  # in this order a failure in between repeats no row of the table
            if files is not None:
                files.commit()

    def _finish_pending(self, found: _Document) -> _Document:
        """Make visible what a killed run had promised."""
        if not found.is_pending:
            return found
        beside = replace(self._spec, name=self._spec.quarantine_name, write="append", primary_key=())
        for spec, metadata in ((beside, found.rejected), (self._spec, found.rows)):
            if metadata is not None:
                files = self._files(spec, pa.schema([]))
                files.metadata = metadata
                files.commit()
        self._save(found, _Document(found.committed))
        return self._load()

    def _files(self, spec: TableSpec, schema: pa.Schema) -> _Files:
        return _Files(self._writer._instance(spec, schema), spec.buffer_bytes)  # noqa: SLF001  of this module

    @property
    def _key(self) -> str:
        """The stream and its table: a stream that goes into another table now has loaded nothing there."""
        return f"{self._spec.state_key} in {self._spec.namespace or ''}.{self._spec.name}"

    def _load(self) -> _Document:
        return _Document.from_json(self._states.load(self._key))

    def _save(self, before: _Document, after: _Document) -> bool:
        text = replace(after, saves=before.saves + 1).to_json()
        return self._states.save(self._key, before.saves, text)

    def _fenced(self, found: CommittedState, request: CommitRequest) -> FencedError:
        return FencedError(
            f"{self._spec.name} is at generation {found.generation}, this run began at {request.expected_generation}: "
            f"another run has committed in between",
            details={"generation": found.generation, "expected": request.expected_generation, "run_id": found.run_id},
        )


class _Files:
    """One instance of the plugin and what it has written."""

    _LIST_OVERHEAD = 8  # a row as a dict takes about this many times its Arrow bytes

    def __init__(self, writer: BaseWriter, buffer_bytes: int) -> None:
        self._writer = writer
        self._takes_arrow = Capability.ARROW_BATCHES in type(writer).capabilities
        self._list_bytes = max(1, buffer_bytes // self._LIST_OVERHEAD)
        self._calls = 0
        self.metadata: list[FileMetadata] = []
        self.rows = 0
        self.snapshot_id: str | None = None

    @property
    def size_bytes(self) -> int:
        sizes = (item.get("size_bytes") for item in self.metadata)
        return sum(size for size in sizes if isinstance(size, int))

    def write(self, batch: pa.RecordBatch) -> None:
        """Hand rows to the plugin; as lists of dicts in parts that fit the table's share of memory."""
        if self._takes_arrow:
            self._write(batch, batch.num_rows)
            return
        part_rows = max(1, batch.num_rows * self._list_bytes // max(1, batch.nbytes))
        for start in range(0, batch.num_rows, part_rows):
            part = batch.slice(start, part_rows)
            self._write(part.to_pylist(), part.num_rows)

    def _write(self, records: Any, rows: int) -> None:
        where = f"{type(self._writer).__name__}.write_batch"
        written = call_plugin(where, self._writer.write_batch, records, self._calls)
        if not is_list_of_dicts(written) or not all(isinstance(item.get("path"), str | PathLike) for item in written):
            raise broke(where, written, "a list of dicts that each have a path")
        self._calls += 1
        self.rows += rows
        self.metadata.extend({**item, "path": str(item["path"])} for item in written)

    def commit(self) -> None:
        """Let the plugin make its files visible.

        Raises:
            PluginExecutionError: It says that it could not, or something that is no answer.
        """
        where = f"{type(self._writer).__name__}.commit_files"
        result: Any = call_plugin(where, self._writer.commit_files, list(self.metadata))
        if result is None:
            return  # as plugins of earlier releases may
        if not isinstance(result, dict):
            raise broke(where, result, "a dict with a status")
        if str(result.get("status", "success")).lower() in {"error", "failed", "failure"}:
            raise PluginExecutionError(f"{where} says {result['status']}", details={"result": repr(result)})
        snapshot_id = result.get("snapshot_id")
        self.snapshot_id = None if snapshot_id is None else str(snapshot_id)


@dataclass(frozen=True)
class _Document:
    """What the state store keeps: the committed state, and the files promised and perhaps not visible yet."""

    committed: CommittedState = field(default_factory=CommittedState)
    rows: list[FileMetadata] | None = None
    rejected: list[FileMetadata] | None = None
    saves: int = 0

    @property
    def is_pending(self) -> bool:
        return self.rows is not None or self.rejected is not None

    def to_json(self) -> str:
        return json.dumps(
            {
                "version": 1,
                "committed": json.loads(self.committed.to_json()),
                "rows": self.rows,
                "rejected": self.rejected,
                "saves": self.saves,
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str | None) -> _Document:
        if text is None:
            return cls()
        document = json.loads(text)
        return cls(
            committed=CommittedState.from_json(json.dumps(document["committed"])),
            rows=document["rows"],
            rejected=document["rejected"],
            saves=document["saves"],
        )
