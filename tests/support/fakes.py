"""A reader and a table that keep the engine's contract, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from dativo_plugin_sdk import (
    CommitRequest,
    CommittedState,
    DiscoveryResult,
    FencedError,
    KeyComparison,
    Message,
    Partition,
    Receipt,
    SourceConfig,
    State,
    StreamReader,
    StreamSpec,
    TableWriter,
)
from dativo_plugin_sdk.results import Check


class ScriptedReader(StreamReader):
    """Yields what it is given; an exception in the script is raised when its turn comes."""

    def __init__(self, script: Sequence[Message | BaseException]) -> None:
        super().__init__(SourceConfig(type="script"))
        self.script = script
        self.acknowledged: list[State] = []

    def check(self, streams: Sequence[StreamSpec]) -> Sequence[Check]:
        return []

    def discover(self, pattern: str | None = None) -> DiscoveryResult:
        return DiscoveryResult([])

    def schema(self, stream: StreamSpec) -> pa.Schema:
        raise AssertionError("the tests give the schema")

    def read(self, stream: StreamSpec, partition: Partition, state: State | None) -> Iterator[Message]:
        for item in self.script:
            if isinstance(item, BaseException):
                raise item
            yield item

    def acknowledge(self, stream: StreamSpec, state: State) -> None:
        self.acknowledged.append(state)


class MemoryTable(TableWriter):
    """A table with a fence; what is written shows in ``rows`` only after the commit."""

    def __init__(self, committed: CommittedState | None = None) -> None:
        self.committed = committed or CommittedState()
        self.rows: list[dict[str, object]] = []
        self.deleted: list[dict[str, object]] = []
        self.rejected: list[dict[str, object]] = []
        self.aborted = 0
        self.commits = 0
        self.absent: list[dict[str, object]] = []
        self.marks: dict[str, Any] = {}
        self._rows: list[dict[str, object]] = []
        self._gone: list[dict[str, object]] = []
        self._rejected: list[dict[str, object]] = []

    def load_state(self) -> CommittedState:
        return self.committed

    def open(self, schema: pa.Schema) -> Sequence[str]:
        self.schema = schema
        return ()

    def write(self, batch: pa.RecordBatch) -> None:
        assert batch.schema == self.schema
        self._rows += batch.to_pylist()

    def delete(self, keys: pa.RecordBatch) -> None:
        self.deleted += keys.to_pylist()
        for key in keys.to_pylist():
            self._rows = [row for row in self._rows if key.items() - row.items()]

    def compare_keys(
        self, schema: pa.Schema, keys: Iterator[pa.RecordBatch], *, marked: str | None = None
    ) -> KeyComparison:
        there = [row for row in self.rows if marked is None or not row.get(marked)]
        if not there:
            return KeyComparison()
        found = [row for batch in keys for row in batch.to_pylist()]
        self.absent = [row for row in there if {name: row[name] for name in schema.names} not in found]
        return KeyComparison(len(found), len(there), len(self.absent), None)

    def delete_absent(self, marks: Mapping[str, Any] | None = None) -> None:
        self.marks = dict(marks or {})
        self._gone += self.absent

    def quarantine(self, batch: pa.RecordBatch) -> None:
        self._rejected += batch.to_pylist()

    def commit(self, request: CommitRequest) -> Receipt:
        if request.expected_generation != self.committed.generation:
            raise FencedError("another run was faster")
        self.committed = request.next_state("run")
        self.rows = [row for row in self.rows if row not in self._gone] + self._rows
        self.rejected += self._rejected
        self.commits += 1
        return Receipt(request.commit_id, self.committed.generation, inserted=len(self._rows))

    def abort(self) -> None:
        self.aborted += 1
        self._rows.clear()
        self._rejected.clear()
