"""Expiry: old snapshots are forgotten, and then the files go that only they needed.

The metadata changes first. A crash after that leaves files that nothing refers to, and never a snapshot without files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.update import AssertRefSnapshotId, RemoveSnapshotsUpdate

from dativo_ingest.targets.iceberg.failures import translated
from dativo_ingest.targets.iceberg.file_systems import delete_files
from dativo_ingest.targets.iceberg.producers import stage
from dativo_ingest.targets.iceberg.reachable import Lists, lists_of
from dativo_plugin_sdk import ConcurrencyError, Expired, Expiry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

_ATTEMPTS = 8


def expired_snapshots(metadata: TableMetadata, asked: Expiry, now_ms: int) -> list[Snapshot]:
    """Choose the snapshots that nothing asks to keep (Iceberg spec, "Snapshot Retention Policy").

    Kept are what tags name, of each branch the last snapshots and those that are young, and of the others the young.
    A branch that asks for more than ``asked`` does is given it.
    """
    oldest_ms = now_ms - int(asked.older_than.total_seconds() * 1000)
    kept: set[int] = set() if metadata.current_snapshot_id is None else {metadata.current_snapshot_id}
    on_branches: set[int] = set()
    for ref in metadata.refs.values():
        if ref.snapshot_ref_type == SnapshotRefType.TAG:
            kept.add(ref.snapshot_id)
            continue
        count = max(asked.retain_last, ref.min_snapshots_to_keep or 0, 1)
        youngest_ms = min(oldest_ms, now_ms - (ref.max_snapshot_age_ms or 0))
        for number, snapshot in enumerate(_ancestors(metadata, ref.snapshot_id)):
            on_branches.add(snapshot.snapshot_id)
            if number < count or snapshot.timestamp_ms >= youngest_ms:
                kept.add(snapshot.snapshot_id)
    return [
        each
        for each in metadata.snapshots
        if each.snapshot_id not in kept and (each.snapshot_id in on_branches or each.timestamp_ms < oldest_ms)
    ]


def _ancestors(metadata: TableMetadata, snapshot_id: int | None) -> Iterator[Snapshot]:
    while snapshot_id is not None and (snapshot := metadata.snapshot_by_id(snapshot_id)) is not None:
        yield snapshot
        snapshot_id = snapshot.parent_snapshot_id


@dataclass(frozen=True)
class _Unneeded:
    """Files that only expired snapshots need."""

    data: dict[str, int]
    metadata: set[str]


def expire(load: Callable[[], Table], name: str, asked: Expiry, *, dry_run: bool) -> Expired:
    """Forget a table's old snapshots and delete what only they needed, or say what that would do.

    Raises:
        ConcurrencyError: Others change the table all the time; nothing was changed.
    """
    for _ in range(_ATTEMPTS):
        table = load()
        gone = expired_snapshots(table.metadata, asked, int(datetime.now(UTC).timestamp() * 1000))
        kept = len(table.metadata.snapshots) - len(gone)
        if len(gone) < max(1, asked.min_snapshots):
            return Expired(snapshots_kept=len(table.metadata.snapshots))
        with translated(f"expiring snapshots of {name}"):
            before = lists_of(table.metadata, table.io, gone)
        if dry_run:
            return _told(_unneeded(before, table, {each.snapshot_id for each in gone}), len(gone), kept, failed=0)
        if not _forget(table, gone, name):
            continue
        after = load()
        unneeded = _unneeded(before, after, set())
        failed = delete_files(after.io, unneeded.data) + delete_files(after.io, unneeded.metadata)
        return _told(unneeded, len(gone), kept, failed=failed)
    raise ConcurrencyError(f"{name} is being changed by others all the time", hint="expire its snapshots again")


def _forget(table: Table, snapshots: Sequence[Snapshot], name: str) -> bool:
    """Take snapshots out of the metadata; False says that somebody moved a branch or a tag meanwhile."""
    transaction = table.transaction()
    # Somebody may go back to an old snapshot: it must not be taken from under a branch.
    required = tuple(
        AssertRefSnapshotId(ref=ref, snapshot_id=each.snapshot_id) for ref, each in table.metadata.refs.items()
    )
    update = RemoveSnapshotsUpdate(snapshot_ids=[each.snapshot_id for each in snapshots])
    with translated(f"expiring snapshots of {name}"):
        stage(transaction, ((update,), required))
        try:
            transaction.commit_transaction()
        except CommitFailedException:
            return False
    return True


def _unneeded(before: Lists, table: Table, without: set[int]) -> _Unneeded:
    """Find out which files of expired snapshots no other one refers to."""
    left = [each for each in table.metadata.snapshots if each.snapshot_id not in without]
    with translated(f"listing the files of {'.'.join(table.name())}"):
        needed = lists_of(table.metadata, table.io, left)
        paths = {each.manifest_path for each in needed.manifests}
        only = Lists((), [each for each in before.manifests if each.manifest_path not in paths], ())
        data = {file.file_path: file.file_size_in_bytes for file in only.data_files(table.io)}
        if data:
            for file in needed.data_files(table.io):
                data.pop(file.file_path, None)
    metadata = {each.manifest_path for each in only.manifests} | set(before.lists) | set(before.statistics)
    return _Unneeded(data, metadata - set(needed.lists) - set(needed.statistics))


def _told(unneeded: _Unneeded, removed: int, kept: int, *, failed: int) -> Expired:
    return Expired(
        snapshots_removed=removed,
        snapshots_kept=kept,
        files_removed=len(unneeded.data),
        metadata_files_removed=len(unneeded.metadata),
        bytes_removed=sum(unneeded.data.values()),
        failed=failed,
    )
