"""The first rows of a stream as they would land, and the ones that would not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from dativo_ingest.job.load import LoadedJob
from dativo_ingest.run.ends import contract_of, open_source, plan_streams, stream_spec
from dativo_ingest.run.hosting import Hosting
from dativo_ingest.run.pipeline import StreamOutcome, StreamRun
from dativo_ingest.run.plan import Budget, RunOptions
from dativo_ingest.run.run_ids import uuid7
from dativo_plugin_sdk.tables import CommitRequest, CommittedState, Receipt, TableWriter


@dataclass(frozen=True)
class Preview:
    """What a stream's first rows become."""

    stream: str
    rows: pa.Table
    deleted: pa.Table
    """The keys of rows that would be deleted."""
    rejected: pa.Table
    warnings: list[str]


class _Collector(TableWriter):
    """A table that lives as long as the preview."""

    def __init__(self) -> None:
        self.rows: list[pa.RecordBatch] = []
        self.deleted: list[pa.RecordBatch] = []
        self.rejected: list[pa.RecordBatch] = []
        self.schema = pa.schema([])

    def load_state(self) -> CommittedState:
        return CommittedState()

    def open(self, schema: pa.Schema) -> list[str]:
        self.schema = schema
        return []

    def write(self, batch: pa.RecordBatch) -> None:
        self.rows.append(batch)

    def delete(self, keys: pa.RecordBatch) -> None:
        self.deleted.append(keys)

    def quarantine(self, batch: pa.RecordBatch) -> None:
        self.rejected.append(batch)

    def commit(self, request: CommitRequest) -> Receipt:
        return Receipt(request.commit_id, request.expected_generation)

    def abort(self) -> None:
        self.rows.clear()
        self.deleted.clear()
        self.rejected.clear()


def preview_job(loaded: LoadedJob, streams: tuple[str, ...] | None = None, limit: int = 10) -> Iterator[Preview]:
    """Read up to ``limit`` rows of each stream through its contract; nothing is written and no state moves.

    Raises:
        DativoError: A stream cannot be read.
    """
    limits = loaded.job.limits
    budget = Budget.of(limits.memory_mb, limits.batch_mb)
    hosting = Hosting()
    with open_source(loaded, hosting) as source:
        for plan in plan_streams(loaded, source, None, RunOptions(streams=streams)):
            contract = contract_of(plan)
            spec = stream_spec(plan, budget, parallelism=1)
            schema = contract.schema if contract else source.reader.schema(spec)
            table = _Collector()
            outcome = StreamOutcome()
            run = StreamRun(
                plan=plan,
                spec=stream_spec(plan, budget, parallelism=1, schema=schema),
                reader=source.reader,
                table=table,
                budget=budget,
                run_id=uuid7(),
                limit=limit,
                emit=lambda _event: None,
                stop=threading.Event(),
                outcome=outcome,
                left=hosting.left,
            )
            partitions = source.reader.partitions(spec, None)
            for text in source.reader.warnings(spec):
                outcome.warn(text)
            run.run(partitions)
            yield Preview(
                plan.name,
                pa.Table.from_batches(table.rows, table.schema),
                pa.Table.from_batches(table.deleted) if table.deleted else pa.table({}),
                pa.Table.from_batches(table.rejected) if table.rejected else pa.table({}),
                outcome.warnings,
            )
