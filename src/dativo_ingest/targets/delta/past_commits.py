"""What the log of a Delta table tells of a stream's commits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dativo_plugin_sdk import CommittedState, PastCommit

if TYPE_CHECKING:
    from deltalake import DeltaTable

STREAM = "dativo.stream"
"""The key of a commit's metadata that names the stream, by its state's key."""
ROWS = "dativo.rows"
"""The key under which a commit that does not merge says how many rows it adds."""


def past_commits(table: DeltaTable, state_key: str) -> list[PastCommit]:
    """List a stream's commits from the loaded version back to the oldest whose log is kept.

    Versions of other streams and of other engines are passed over.
    """
    found = (_commit(each, state_key) for each in table.history())
    return [commit for commit in found if commit is not None]


def _commit(version: Mapping[str, Any], state_key: str) -> PastCommit | None:
    if "dativo.commit-id" not in version or (version.get(STREAM) != state_key and state_key not in version):
        return None
    state = CommittedState.from_json(version.get(state_key))
    committed_at = datetime.fromtimestamp(version["timestamp"] / 1000, UTC).isoformat(timespec="milliseconds")
    return PastCommit(
        generation=int(version["dativo.generation"]),
        state=state.state,
        commit_id=version["dativo.commit-id"],
        run_id=version["dativo.run-id"],
        committed_at=state.committed_at or committed_at,
        quarantine=state.quarantine,
        rows=_rows(version),
    )


def _rows(version: Mapping[str, Any]) -> int | None:
    if ROWS in version:
        return int(version[ROWS])
    metrics = version.get("operationMetrics")
    if version.get("operation") != "MERGE" or not isinstance(metrics, Mapping):
        return None
    return int(metrics["num_target_rows_inserted"]) + int(metrics["num_target_rows_updated"])
