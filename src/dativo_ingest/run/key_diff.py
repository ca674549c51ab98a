"""Rows that are gone from the source, found by comparing its keys with those of the table.

What the table has was in the source when it was read, in an earlier run. So a key that the table has as of its last
commit, and that the source does not have at a later moment, was deleted there, or never comes back as what it was. The
keys are read before the rows of this run: a row that is read afterwards counts, also where its key was gone for a
moment. Where all rows are read anyway (``mode: full_refresh``), their keys are the source's at one moment, too.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa

from dativo_ingest.run.plan import StreamPlan
from dativo_ingest.steps.arrow import pc
from dativo_ingest.steps.conform import conform
from dativo_ingest.targets.spill import Spill
from dativo_plugin_sdk.errors import DataValidationError
from dativo_plugin_sdk.streams import Rows
from dativo_plugin_sdk.tables import CommittedState, KeyComparison, TableWriter


@dataclass(frozen=True)
class ComparedKeys:
    """What the report says of a comparison."""

    found: KeyComparison
    compared_at: str
    duration_s: float
    is_certain: bool
    """Whether the absent rows were taken for deleted; not so where a key of the source could not be read."""


def is_due(plan: StreamPlan, before: CommittedState, now: datetime, *, limit: int | None) -> bool:
    """Say whether a run has to compare keys.

    A run that reads a part of the rows deletes none, and one that replaces the table leaves none behind.
    """
    asked = plan.key_diff
    if asked is None or limit is not None or plan.is_backfill or plan.write != "merge":
        return False
    if before.keys_compared_at is None:
        return True
    last = datetime.fromisoformat(before.keys_compared_at)
    return not last <= now < last + asked.every  # a clock that was set back is no reason to wait


class KeyDiff:
    """One comparison of one stream's keys.

    Args:
        plan: The stream.
        schema: The columns of its key, as its rows land.
        table: Whose keys are compared.
        marked: The column that is true for rows that are deleted already, in tables that keep them.
    """

    def __init__(self, plan: StreamPlan, schema: pa.Schema, table: TableWriter, *, marked: str | None) -> None:
        self._plan = plan
        self._table = table
        self._marked = marked
        self._kept: Spill[None] | None = None
        self.schema = schema
        self.uses_rows = plan.mode == "full_refresh"
        """Whether the keys are those of the rows that the run reads; else they are read by themselves, before."""
        self.unknown = 0
        """How many keys of the source could not be read."""
        self.result: ComparedKeys | None = None

    def see(self, rows: Rows) -> None:
        """Take note of the keys of rows that were read, whether or not the rest of them is any good."""
        keys = self._conformed(rows)
        if keys.num_rows:
            if self._kept is None:
                self._kept = Spill(self.schema)
            self._kept.add(None, [keys])

    def seen(self) -> Generator[Rows, None, None]:
        """Give the keys that were noted."""
        if self._kept is not None:
            self._kept.finish()
            yield from map(Rows, self._kept.read(None))

    def compare(self, found: Iterator[Rows]) -> None:
        """Compare the source's keys with the table's.

        Raises:
            DataValidationError: More rows would go than the job allows.
        """
        started_s, started_at = time.monotonic(), datetime.now(UTC)
        keys = (batch for batch in map(self._conformed, found) if batch.num_rows)
        result = self._table.compare_keys(self.schema, keys, marked=self._marked)
        self.result = ComparedKeys(
            result,
            started_at.isoformat(timespec="microseconds"),
            time.monotonic() - started_s,
            is_certain=not self.unknown,
        )
        if self.result.is_certain:
            self._judge(result)

    def close(self) -> None:
        """Let go of what was noted; may be called twice."""
        if self._kept is not None:
            self._kept.close()

    def _conformed(self, rows: Rows) -> pa.RecordBatch:
        """Give the keys as rows land them; a row without one is in no table."""
        there = [name for name in self.schema.names if name in rows.batch.schema.names]
        conformed = conform(replace(rows, batch=rows.batch.select(there)), self.schema)
        if conformed.rejected is not None:
            self.unknown += pc.sum(pc.not_equal(conformed.rejected.column("rule"), "required")).as_py()
        return conformed.batch

    def _judge(self, found: KeyComparison) -> None:
        asked = self._plan.key_diff
        assert asked is not None  # noqa: S101  else nothing is compared
        if not found.absent or asked.max_deleted_share >= 1:
            return
        details = {"absent": found.absent, "table_rows": found.table_rows, "source_keys": found.source_keys}
        hint = (
            "nothing was committed; where that is meant, allow it with delete_detection: {mode: key_diff, "
            "max_deleted_share: 1} for a run, else see what the source and its filter give"
        )
        if not found.source_keys:
            raise DataValidationError(
                f"{self._plan.name}: the source has no keys, so that all {found.table_rows} rows of {self._plan.title} "
                "would be deleted",
                details=details,
                hint=hint,
            )
        if found.absent > asked.max_deleted_share * found.table_rows:
            raise DataValidationError(
                f"{self._plan.name}: the source has no keys for {found.absent} of the {found.table_rows} rows of "
                f"{self._plan.title}, max_deleted_share lets {asked.max_deleted_share:.2%} of them be deleted",
                details=details,
                hint=hint,
            )
