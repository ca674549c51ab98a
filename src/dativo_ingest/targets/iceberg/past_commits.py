"""What the snapshots of a table tell of a stream's commits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dativo_plugin_sdk.tables import CommittedState, PastCommit

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

STREAM = "dativo.stream"
"""The summary's property that names the stream, by its state's key."""
ROWS = "dativo.rows"
"""The summary's property that says how many rows came: ``added-records`` counts those that a merge wrote anew, too."""


def past_commits(metadata: TableMetadata, state_key: str) -> list[PastCommit]:
    """List a stream's commits from the current snapshot back to the oldest that is kept.

    Snapshots of other streams, of other engines and of before this stream's first commit are passed over.
    """
    found = []
    snapshot = metadata.current_snapshot()
    while snapshot is not None:
        commit = _commit(snapshot, state_key)
        if commit is not None:
            found.append(commit)
        parent = snapshot.parent_snapshot_id
        snapshot = metadata.snapshot_by_id(parent) if parent is not None else None
    return found


def _commit(snapshot: Snapshot, state_key: str) -> PastCommit | None:
    summary = snapshot.summary.additional_properties if snapshot.summary is not None else {}
    if "dativo.commit-id" not in summary or (summary.get(STREAM) != state_key and state_key not in summary):
        return None
    state = CommittedState.from_json(summary.get(state_key))
    committed_at = datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return PastCommit(
        generation=int(summary["dativo.generation"]),
        state=state.state,
        commit_id=summary["dativo.commit-id"],
        run_id=summary["dativo.run-id"],
        committed_at=state.committed_at or committed_at,
        quarantine=state.quarantine,
        rows=int(summary.get(ROWS, summary.get("added-records", 0))),
    )
