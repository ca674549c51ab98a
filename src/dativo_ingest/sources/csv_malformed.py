"""Records of a block that are no rows, kept as Arrow: a file of another encoding may consist of them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dativo_plugin_sdk import REJECTED_SCHEMA, Rejected, row_json

_FLUSH_ROWS = 4096


class MalformedRecords:
    """Collects the malformed records of one block; their lines are from 0 at the block's beginning."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, line: int, reason: str, row: object, column: str | None = None) -> None:
        """Take a record: its text, or its cells where it has as many as there are columns."""
        self._rows.append({"column": column, "rule": "malformed", "reason": reason, "row": row_json(row), "line": line})
        if len(self._rows) == _FLUSH_ROWS:
            self._flush()

    def rejected(self, source: str, line: int) -> Rejected | None:
        """Give the records in order of their lines, the block beginning on ``line`` of ``source``; None without any."""
        self._flush()
        if not self._batches:
            return None
        table = pa.Table.from_batches(self._batches).sort_by("line")
        table = table.set_column(5, REJECTED_SCHEMA.field("line"), pc.add(table["line"], line))
        sources = pa.repeat(pa.scalar(source, pa.string()), table.num_rows)
        table = table.set_column(4, REJECTED_SCHEMA.field("source"), sources)
        return Rejected(table.combine_chunks().to_batches()[0])

    def _flush(self) -> None:
        if self._rows:
            self._batches.append(pa.RecordBatch.from_pylist(self._rows, schema=REJECTED_SCHEMA))
            self._rows = []
