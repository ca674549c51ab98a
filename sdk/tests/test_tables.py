from __future__ import annotations

import pyarrow as pa
import pytest

from dativo_plugin_sdk import CommitRequest, CommittedState, PluginExecutionError, Receipt, StreamWriter, TableWriter


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
