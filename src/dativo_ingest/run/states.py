"""The state of a job's streams, read from and written to where the truth is: the target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from dativo_ingest.job.load import LoadedJob
from dativo_ingest.run.ends import open_source, open_target, plan_streams, table_spec
from dativo_ingest.run.plan import Budget, RunOptions
from dativo_ingest.run.run_ids import uuid7
from dativo_plugin_sdk.errors import InvalidConfigError
from dativo_plugin_sdk.streams import State
from dativo_plugin_sdk.tables import CommitRequest, TableWriter


def get_states(loaded: LoadedJob, streams: tuple[str, ...] | None = None) -> dict[str, dict[str, Any]]:
    """Read what the target remembers of each stream."""
    with _tables(loaded, streams) as tables:
        return {name: asdict(table.load_state()) for name, table in tables.items()}


def set_state(loaded: LoadedJob, stream: str, state: State | None) -> dict[str, Any]:
    """Replace one stream's state by a commit that moves nothing else; None forgets it.

    Raises:
        FencedError: A run committed in between.
    """
    with _tables(loaded, (stream,)) as tables:
        if list(tables) != [stream]:
            raise InvalidConfigError(f"{stream!r} is a pattern; name one stream")
        return _move(tables[stream], state)


def reset_states(loaded: LoadedJob, streams: tuple[str, ...] | None = None) -> dict[str, dict[str, Any]]:
    """Forget the state of each stream, so that its next incremental run reads from the beginning."""
    with _tables(loaded, streams) as tables:
        return {name: _move(table, None) for name, table in tables.items()}


def _move(table: TableWriter, state: State | None) -> dict[str, Any]:
    before = table.load_state()
    if before.generation == 0 and state is None:
        return asdict(before)
    table.commit(
        CommitRequest(
            commit_id=uuid7(),
            expected_generation=before.generation,
            state=state,
            committed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            schema_fingerprint=before.schema_fingerprint,
            schema_version=before.schema_version,
        )
    )
    return asdict(table.load_state())


@contextmanager
def _tables(loaded: LoadedJob, streams: tuple[str, ...] | None) -> Iterator[dict[str, TableWriter]]:
    limits = loaded.job.limits
    budget = Budget.of(limits.memory_mb, limits.batch_mb)
    with open_source(loaded) as source, open_target(loaded) as target:
        plans = plan_streams(loaded, source, target, RunOptions(streams=streams))
        yield {plan.name: target.writer.table(table_spec(plan, loaded.job.name, uuid7(), budget)) for plan in plans}
