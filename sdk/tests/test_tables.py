from __future__ import annotations

import json

import pyarrow as pa
import pytest

from dativo_plugin_sdk import (
    CommitRequest,
    CommittedState,
    DataFormatError,
    PluginExecutionError,
    Receipt,
    StreamWriter,
    TableWriter,
)


class PlainTable(TableWriter):
    """A table as it was before deletes were heard of."""

    def load_state(self) -> CommittedState:
        return CommittedState()

    def open(self, schema: pa.Schema) -> list[str]:
        return []

    def write(self, batch: pa.RecordBatch) -> None: ...

    def quarantine(self, batch: pa.RecordBatch) -> None: ...

    def commit(self, request: CommitRequest) -> Receipt:
        return Receipt(request.commit_id, 1)

    def abort(self) -> None: ...


def test_a_table_that_says_nothing_of_deletes_refuses_them() -> None:
    with pytest.raises(PluginExecutionError, match="PlainTable cannot delete rows, 2 were to be deleted") as caught:
        PlainTable().delete(pa.record_batch({"id": [1, 2]}))

    assert caught.value.hint is not None
    assert not StreamWriter.deletes_rows


def test_a_committed_state_is_read_as_it_was_written() -> None:
    state = CommittedState(
        3, {"at": 1}, "c", "r", "2026-01-01T00:00:00Z", {"n": 1}, source_fingerprint="s", schema_version=2
    )

    assert CommittedState.from_json(state.to_json()) == state


def test_a_state_of_an_earlier_release_has_no_fingerprints() -> None:
    state = CommittedState.from_json(json.dumps({"version": 1, "generation": 2, "state": {"at": 1}}))

    assert (state.generation, state.source_fingerprint, state.schema_version) == (2, None, 0)


def test_a_state_of_a_later_release_is_refused() -> None:
    with pytest.raises(DataFormatError, match="version 2, this release reads 1"):
        CommittedState.from_json(json.dumps({"version": 2, "generation": 2}))
