"""The state of a job's streams, read from and written to where the truth is: the target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from dativo_ingest.job.load import LoadedJob
from dativo_ingest.run.ends import open_source, open_target, plan_streams, table_spec
from dativo_ingest.run.lease import Leases, lease_key
from dativo_ingest.run.lease_store import Owner, SqliteLeaseStore
from dativo_ingest.run.plan import Budget, RunOptions, select
from dativo_ingest.run.run_ids import uuid7
from dativo_ingest.run.seen_states import SeenKey, SeenStates
from dativo_ingest.run.state_file import state_file
from dativo_plugin_sdk.errors import DataFormatError, InvalidConfigError
from dativo_plugin_sdk.streams import State
from dativo_plugin_sdk.tables import CommitRequest, PastCommit, TableWriter

STATES = "dativo.state/1"
HISTORY = "dativo.state_history/1"

_WAIT_S = 5.0  # for a run to end: whoever moves a state by hand is looking on


@dataclass(frozen=True)
class _Table:
    """A stream's table, and what was seen of it before."""

    writer: TableWriter
    key: SeenKey
    seen: SeenStates

    def move(self, state: State | None, source_fingerprint: str | None = None) -> dict[str, Any]:
        """Commit a state; one that is there already stays as it is."""
        seen = self.seen.load(self.key)
        before = self.writer.load_state()
        if before.state == state:
            return asdict(before)
        self.writer.commit(
            CommitRequest(
                commit_id=uuid7(),
                expected_generation=before.generation,
                state=state,
                committed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                source_fingerprint=source_fingerprint,
                schema_fingerprint=before.schema_fingerprint,
                schema_version=before.schema_version,
            )
        )
        after = self.writer.load_state()
        if seen.doubt(self.key, before) is None:  # else the next run has something to warn of
            self.seen.save(self.key, after)
        return asdict(after)


def get_states(loaded: LoadedJob, streams: tuple[str, ...] | None = None) -> dict[str, dict[str, Any]]:
    """Read what the target remembers of each stream."""
    with _tables(loaded, streams) as tables:
        return {name: asdict(table.writer.load_state()) for name, table in tables.items()}


def get_history(loaded: LoadedJob, streams: tuple[str, ...] | None = None) -> dict[str, dict[str, Any]]:
    """List each stream's commits, the newest first, as far as its table knows them."""
    with _tables(loaded, streams) as tables:
        return {
            name: {
                "keeps_history": table.writer.keeps_history,
                "commits": [
                    {
                        "generation": commit.generation,
                        "commit_id": commit.commit_id,
                        "run_id": commit.run_id,
                        "committed_at": commit.committed_at,
                        "rows": commit.rows if isinstance(commit, PastCommit) else None,
                    }
                    for commit in table.writer.history()
                ],
            }
            for name, table in tables.items()
        }


def set_state(loaded: LoadedJob, stream: str, state: State | None) -> dict[str, Any]:
    """Replace one stream's state by a commit that moves nothing else; None forgets it.

    Raises:
        ConcurrencyError: A run is at work on the stream.
        FencedError: A run committed in between.
    """
    with _tables(loaded, (stream,), moving=True) as tables:
        if list(tables) != [stream]:
            raise InvalidConfigError(f"{stream!r} is a pattern; name one stream")
        return tables[stream].move(state)


def reset_states(loaded: LoadedJob, streams: tuple[str, ...] | None = None) -> dict[str, dict[str, Any]]:
    """Forget the state of each stream, so that its next incremental run reads from the beginning.

    Raises:
        ConcurrencyError: A run is at work on one of the streams; nothing was changed.
        FencedError: A run committed in between.
    """
    with _tables(loaded, streams, moving=True) as tables:
        return {name: table.move(None) for name, table in tables.items()}


def import_states(
    loaded: LoadedJob, document: object, streams: tuple[str, ...] | None = None, *, force: bool = False
) -> dict[str, dict[str, Any]]:
    """Make the states of an exported document those of the target: a commit of its own for each that differs.

    Args:
        loaded: The job.
        document: As `get_states` gave them, in a document `STATES`.
        streams: Names or globs of those to take over; None for all that the document has.
        force: Take over another job's.

    Raises:
        DataFormatError: The document is none of states.
        InvalidConfigError: It is another job's, or has a stream that the job has not.
        ConcurrencyError: A run is at work on one of the streams; nothing was changed.
        FencedError: A run committed in between; the streams before it are done.
    """
    job, found = _states_of(document)
    if job != loaded.job.name and not force:
        raise InvalidConfigError(
            f"these are the states of job {job}, not of {loaded.job.name}",
            hint="--force takes them over all the same, for a job that was renamed",
        )
    wanted = select(found, streams)
    with _tables(loaded, tuple(wanted), moving=True) as tables:
        return {name: tables[name].move(*found[name]) for name in wanted}


def _states_of(document: object) -> tuple[str, dict[str, tuple[State | None, str | None]]]:
    """Take a document apart before anything is changed: the job, each stream's state and its source's fingerprint."""
    if not isinstance(document, Mapping) or document.get("schema") != STATES:
        raise DataFormatError(f"not a document of states: its schema is not {STATES}", hint="dativo state export")
    streams, job = document.get("streams"), document.get("job")
    if not isinstance(streams, Mapping) or not isinstance(job, str):
        raise DataFormatError("not a document of states: it has no job and streams", hint="dativo state export")
    found: dict[str, tuple[State | None, str | None]] = {}
    for name, entry in streams.items():
        if not isinstance(entry, Mapping) or "state" not in entry or not isinstance(entry["state"], dict | None):
            raise DataFormatError(f"streams.{name}: not a state: an object with the key state was expected")
        source = entry.get("source_fingerprint")
        found[name] = (entry["state"], source if isinstance(source, str) else None)
    return job, found


@contextmanager
def _tables(loaded: LoadedJob, streams: tuple[str, ...] | None, *, moving: bool = False) -> Iterator[dict[str, _Table]]:
    """Open the tables of streams; to move their states, beside no run that is at work on them."""
    job, run_id = loaded.job, uuid7()
    budget = Budget.of(job.limits.memory_mb, job.limits.batch_mb)
    leases = Leases(SqliteLeaseStore(state_file(loaded.folder)), Owner.here(run_id), ttl_s=job.lease.ttl_s)
    with open_source(loaded) as source, open_target(loaded) as target, leases:
        plans = plan_streams(loaded, source, target, RunOptions(streams=streams))
        if moving:
            leases.take([lease_key(job.name, plan.name) for plan in plans], wait_s=min(_WAIT_S, job.lease.wait_s))
        seen = SeenStates(state_file(loaded.folder))
        yield {
            plan.name: _Table(
                target.writer.table(table_spec(plan, job.name, run_id, budget)),
                SeenKey.of(target.writer.config, plan.title, job=job.name, stream=plan.name),
                seen,
            )
            for plan in plans
        }
