"""A `BaseWriter` plugin as the engine writes it, with the state kept beside the target by the engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Protocol

import pyarrow as pa

from dativo_plugin_sdk.config import TargetConfig
from dativo_plugin_sdk.errors import (
    CommitStateUnknownError,
    DativoError,
    FencedError,
    InvalidConfigError,
    PluginExecutionError,
)
from dativo_plugin_sdk.plugin_files import FileMetadata, FilesPlugin, LocalPlugin, PluginFiles
from dativo_plugin_sdk.results import Check, ConnectionTestResult
from dativo_plugin_sdk.tables import (
    CommitRequest,
    CommittedState,
    Receipt,
    StreamWriter,
    TableSpec,
    TableWriter,
)
from dativo_plugin_sdk.writer import BaseWriter


class StateStore(Protocol):
    """Keeps one text per key and its generation, for targets that cannot keep state themselves."""

    def load(self, key: str) -> str | None:
        """Give the text saved last; None where nothing ever was."""

    def save(self, key: str, expected_generation: int, text: str) -> bool:
        """Replace the text, in one step, if ``expected_generation`` saves happened so far; say whether it was done."""


class FilesWriter(StreamWriter):
    """The engine's interface, spoken by a simple plugin that runs anywhere.

    Args:
        plugin: The plugin.
        config: The target, as the job has it.
        states: Where the state of each stream is kept.
    """

    def __init__(self, plugin: FilesPlugin, config: TargetConfig, *, states: StateStore) -> None:
        super().__init__(config)
        self.delivery = "exactly_once" if plugin.is_atomic else "at_least_once"  # type: ignore[misc]  # its plugin's promise
        self.write_modes = plugin.write_modes  # type: ignore[misc]  # what a simple writer can do is its plugin's
        self._plugin = plugin
        self._states = states

    def check(self, tables: Sequence[TableSpec]) -> Sequence[Check]:
        """List the plugin's own check; without one it gives ``dativo_plugin_sdk.reader.NOT_IMPLEMENTED`` as details."""
        spec = tables[0] if tables else TableSpec(name="check", namespace=None, job="", stream="", run_id="")

        def check_connection() -> ConnectionTestResult:
            with closing(self._plugin.files(spec, pa.schema([]))) as files:
                return files.check_connection()

        return [Check("connection", check_connection)]

    def table(self, spec: TableSpec) -> TableWriter:
        """Give the writer of one table.

        Raises:
            InvalidConfigError: The plugin does not declare the table's write mode.
        """
        if spec.write not in self.write_modes:
            raise InvalidConfigError(
                f"{self._plugin.name} cannot {spec.write}; it can {', '.join(sorted(self.write_modes))}"
            )
        return _SimpleTable(self._plugin, spec, self._states)

    def close(self) -> None:
        """Let go of the plugin."""
        self._plugin.close()


class SimpleWriter(FilesWriter):
    """The engine's interface, spoken by a simple plugin in this process.

    Args:
        plugin: The plugin's class.
        config: The target, as the job has it.
        states: Where the state of each stream is kept.
        output_base: The folder or URI that the plugin's files go under.
    """

    def __init__(self, plugin: type[BaseWriter], config: TargetConfig, *, states: StateStore, output_base: str) -> None:
        super().__init__(LocalPlugin(plugin, config, output_base), config, states=states)


class _SimpleTable(TableWriter):
    """One table of a simple plugin.

    With an atomic plugin the state is saved first, together with the files that are about to become visible, and once
    more without them when they are. Whoever finds them named shows them before anything else: a run that was killed in
    between is finished, never repeated. Without it the files come first, and a kill in between repeats them.
    """

    def __init__(self, plugin: FilesPlugin, spec: TableSpec, states: StateStore) -> None:
        self._plugin = plugin
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
        if self._plugin.is_atomic:
            self._commit_atomically(before, after, request)
        else:
            self._show()
            if not self._save(before, _Document(after)):
                raise self._fenced(self._load().committed, request)
        rows = self._rows
        self._close()
        return Receipt(
            commit_id=request.commit_id,
            generation=after.generation,
            snapshot_id=rows.snapshot_id if rows else None,
            inserted=rows.rows if rows and self._spec.write == "append" else None,
            bytes_written=sum(each.size_bytes for each in (self._rows, self._rejected) if each),
            files=sum(len(each.metadata) for each in (self._rows, self._rejected) if each),
        )

    def abort(self) -> None:
        self._close()
        self._rows = self._rejected = None

    def _close(self) -> None:
        for files in (self._rows, self._rejected):
            if files is not None:
                files.close()

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
                with closing(self._files(spec, pa.schema([]))) as files:
                    files.metadata = metadata
                    files.commit()
        self._save(found, _Document(found.committed))
        return self._load()

    def _files(self, spec: TableSpec, schema: pa.Schema) -> _Files:
        return _Files(self._plugin.files(spec, schema))

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

    def __init__(self, files: PluginFiles) -> None:
        self._files = files
        self.metadata: list[FileMetadata] = []
        self.rows = 0
        self.snapshot_id: str | None = None

    @property
    def size_bytes(self) -> int:
        sizes = (item.get("size_bytes") for item in self.metadata)
        return sum(size for size in sizes if isinstance(size, int))

    def write(self, batch: pa.RecordBatch) -> None:
        self.metadata += self._files.write(batch)
        self.rows += batch.num_rows

    def commit(self) -> None:
        self.snapshot_id = self._files.commit(self.metadata)

    def close(self) -> None:
        self._files.close()


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
