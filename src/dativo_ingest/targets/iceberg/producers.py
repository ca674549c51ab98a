"""Snapshots that land only while the state they build on is the table's state: appends, and replacing all rows.

pyiceberg rebases a commit that met another one and tries again by itself. Two runs of one job would so both land. The
hook it calls before each new try, ``_validate_concurrency``, is where the fence stands; the first try is fenced by the
requirement that the branch has not moved since the state was read. All private names of pyiceberg that Dativo uses to
commit are used in this module, and ``tests/targets/iceberg/test_private_api.py`` holds them to their signatures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from pyiceberg.exceptions import ValidationException
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
)
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update import AssertDefaultSpecId
from pyiceberg.table.update.snapshot import _FastAppendFiles, _MergeAppendFiles, _SnapshotProducer
from pyiceberg.utils.properties import property_as_bool

if TYPE_CHECKING:
    from pyiceberg.table import Transaction
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import UpdatesAndRequirements

Fence: TypeAlias = "Callable[[TableMetadata], None]"
"""Raises `FenceBrokenError` where a table has moved on so that a commit must not land on it."""


MERGE_MANIFESTS = "commit.manifest-merge.enabled"


class FenceBrokenError(ValidationException):
    """The table is not what the commit builds on; a `ValidationException` lets pyiceberg delete its manifests."""


class _HasTransaction(Protocol):
    _transaction: Transaction


class _Fenced:
    """Asks the fence before each new try."""

    fence: Fence

    def _validate_concurrency(self: _HasTransaction) -> None:
        self.fence(self._transaction._table.metadata)  # type: ignore[attr-defined]  # noqa: SLF001  the mixin's own


class FencedAppend(_Fenced, _FastAppendFiles):
    """Adds files, or none: an empty snapshot moves the branch and so fences a change of state alone."""


class FencedMergeAppend(_Fenced, _MergeAppendFiles):
    """The same, for tables whose properties ask to put small manifests together."""


class FencedReplace(_Fenced, _SnapshotProducer["FencedReplace"]):
    """Removes every file that is there when the commit lands, and adds others, in one snapshot.

    Only manifests are read, never data. Delete files go with the rows they belong to.
    """

    def _existing_manifests(self) -> list[ManifestFile]:
        return []

    def _build_delete_files_partition_predicate(self) -> None:
        """Nothing is pruned: every file goes."""

    def _deleted_entries(self) -> list[ManifestEntry]:
        self._deleted_data_files.clear()
        if self._parent_snapshot_id is None:
            return []
        snapshot = self._transaction.table_metadata.snapshot_by_id(self._parent_snapshot_id)
        if snapshot is None:
            return []
        removed = []
        for manifest in snapshot.manifests(self._io):
            for entry in manifest.fetch_manifest_entry(self._io, discard_deleted=True):
                self._deleted_data_files.add(entry.data_file)  # delete files too: the summary's totals count them
                if manifest.content == ManifestContent.DATA:
                    removed.append(self._as_deleted(entry))
        return removed

    def _as_deleted(self, entry: ManifestEntry) -> ManifestEntry:
        return ManifestEntry.from_args(
            status=ManifestEntryStatus.DELETED,
            snapshot_id=self._snapshot_id,
            sequence_number=entry.sequence_number,
            file_sequence_number=entry.file_sequence_number,
            data_file=entry.data_file,
        )

    @property
    def removed_rows(self) -> int | None:
        """How many rows went; None where delete files make that unknowable without reading data."""
        if any(file.content != DataFileContent.DATA for file in self._deleted_data_files):
            return None
        return sum(file.record_count for file in self._deleted_data_files)


Producer: TypeAlias = FencedAppend | FencedMergeAppend | FencedReplace


def stage_snapshot(
    transaction: Transaction,
    files: Sequence[DataFile],
    *,
    replace: bool,
    fence: Fence,
    summary: Mapping[str, str],
) -> Producer:
    """Put a fenced snapshot into a transaction.

    Args:
        transaction: The transaction, which already holds the changes of schema and properties.
        files: What the snapshot adds; none is fine.
        replace: Whether everything that is there goes.
        fence: Asked before each new try.
        summary: Properties of the snapshot.
    """
    kind: Any = FencedReplace if replace else FencedAppend
    if not replace and property_as_bool(transaction.table_metadata.properties, MERGE_MANIFESTS, default=False):
        kind = FencedMergeAppend
    producer: Producer = kind(
        operation=Operation.OVERWRITE if replace else Operation.APPEND,
        transaction=transaction,
        io=transaction._table.io,  # noqa: SLF001
        snapshot_properties=dict(summary),
    )
    producer.fence = fence
    for file in files:
        producer.append_data_file(file)
    producer.commit()
    return producer


def require_spec(transaction: Transaction) -> None:
    """Let the commit fail where the table's partitioning has changed: files belong to the spec they have."""
    transaction._stage((), (AssertDefaultSpecId(default_spec_id=transaction.table_metadata.default_spec_id),))  # noqa: SLF001


def stage(transaction: Transaction, changes: UpdatesAndRequirements) -> None:
    """Put updates that were prepared before into a transaction, with what they require of the table."""
    transaction._stage(*changes)  # noqa: SLF001


def discard_manifests(producer: Producer) -> None:
    """Delete the manifests of a snapshot that was refused; pyiceberg does so itself only for some refusals."""
    producer._clean_all_uncommitted()  # noqa: SLF001
