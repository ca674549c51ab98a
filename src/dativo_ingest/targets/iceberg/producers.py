"""Snapshots that land only while the state they build on is the table's state: appends, replacing all rows, and merges.

pyiceberg rebases a commit that met another one and tries again by itself. Two runs of one job would so both land. The
hook it calls before each new try, ``_validate_concurrency``, is where the fence stands; the first try is fenced by the
requirement that the branch has not moved since the state was read. All private names of pyiceberg that Dativo uses to
commit are used in this module, and ``tests/targets/iceberg/test_private_api.py`` holds them to their signatures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from pyiceberg.exceptions import ValidationException
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
)
from pyiceberg.table.snapshots import Operation, SnapshotSummaryCollector, Summary, update_snapshot_summaries
from pyiceberg.table.update import AssertDefaultSpecId
from pyiceberg.table.update.snapshot import (
    _FastAppendFiles,
    _ManifestMergeManager,
    _MergeAppendFiles,
    _SnapshotProducer,
)
from pyiceberg.utils.properties import property_as_bool

if TYPE_CHECKING:
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import UpdatesAndRequirements

Fence: TypeAlias = "Callable[[TableMetadata], None]"
"""Raises `FenceBrokenError` where a table has moved on so that a commit must not land on it."""


@dataclass(frozen=True)
class Delta:
    """What a merge does to a table.

    Attributes:
        files: Data files that come.
        deletes: Files of position deletes that come.
        removed: Paths of data and delete files that go.
        still_fits: Raises a `ValidationException` where a table has moved on so that this is not right any more.
        inserted: How many keys are new.
        updated: How many were there.
        deleted: How many rows go that no other replaces.
    """

    files: Sequence[DataFile]
    deletes: Sequence[DataFile]
    removed: frozenset[str]
    still_fits: Callable[[Table], None]
    inserted: int
    updated: int
    deleted: int = 0


MERGE_MANIFESTS = "commit.manifest-merge.enabled"
MANIFEST_BYTES = "commit.manifest.target-size-bytes"
MANIFEST_BYTES_DEFAULT = 8 * 2**20


class FenceBrokenError(ValidationException):
    """The table is not what the commit builds on; a `ValidationException` lets pyiceberg delete its manifests."""


RUN_ID = "dativo.run-id"
"""The property of a snapshot that says whose it is."""


class _HasTransaction(Protocol):
    _transaction: Transaction


class _Fenced:
    """Asks the fence before each new try, and gives manifests names that begin with the run's id."""

    fence: Fence
    snapshot_properties: dict[str, str]

    @property
    def commit_uuid(self) -> Any:
        """What the names of manifests and their list are made of; pyiceberg sets a new one for each try."""
        return "-".join(filter(None, (self.snapshot_properties.get(RUN_ID), self._try)))

    @commit_uuid.setter
    def commit_uuid(self, value: Any) -> None:
        self._try = str(value)

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
                    removed.append(_with_status(entry, ManifestEntryStatus.DELETED, self._snapshot_id))
        return removed

    @property
    def removed_rows(self) -> int | None:
        """How many rows went; None where delete files make that unknowable without reading data."""
        if any(file.content != DataFileContent.DATA for file in self._deleted_data_files):
            return None
        return sum(file.record_count for file in self._deleted_data_files)


class _DeletesWriter(ManifestWriterV2):
    """Writes a manifest of delete files, which pyiceberg has no writer for."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


class FencedRowDelta(_Fenced, _SnapshotProducer["FencedRowDelta"]):
    """Adds data files and files of position deletes, and removes files that were written anew, in one snapshot."""

    delta: Delta

    def _validate_concurrency(self) -> None:
        super()._validate_concurrency()
        self.delta.still_fits(self._transaction._table)  # noqa: SLF001

    def _build_delete_files_partition_predicate(self) -> None:
        """Nothing is pruned: files are found by their paths."""

    def _parents(self) -> list[ManifestFile]:
        if self._parent_snapshot_id is None:
            return []
        snapshot = self._transaction.table_metadata.snapshot_by_id(self._parent_snapshot_id)
        return snapshot.manifests(self._io) if snapshot is not None else []

    def _live(self, manifest: ManifestFile) -> list[ManifestEntry]:
        return manifest.fetch_manifest_entry(self._io, discard_deleted=True)

    def _removed(self, entry: ManifestEntry) -> bool:
        return entry.data_file.file_path in self.delta.removed

    def _deleted_entries(self) -> list[ManifestEntry]:
        self._deleted_data_files.clear()
        gone = []
        for manifest in self._parents() if self.delta.removed else []:
            for entry in filter(self._removed, self._live(manifest)):
                self._deleted_data_files.add(entry.data_file)
                if manifest.content == ManifestContent.DATA:
                    gone.append(_with_status(entry, ManifestEntryStatus.DELETED, self._snapshot_id))
        return gone

    def _existing_manifests(self) -> list[ManifestFile]:
        kept = []
        gone: dict[int, list[ManifestEntry]] = {}
        for manifest in self._parents():
            if not (manifest.has_added_files() or manifest.has_existing_files()):
                continue
            entries = self._live(manifest) if self.delta.removed else []
            if not any(map(self._removed, entries)):
                kept.append(manifest)
                continue
            left = [
                _with_status(entry, ManifestEntryStatus.EXISTING, entry.snapshot_id)
                for entry in entries
                if not self._removed(entry)
            ]
            if left:
                kept.append(self._write(manifest.content, manifest.partition_spec_id, left))
            if manifest.content == ManifestContent.DELETES:  # data files: `_deleted_entries`
                gone.setdefault(manifest.partition_spec_id, []).extend(
                    _with_status(entry, ManifestEntryStatus.DELETED, self._snapshot_id)
                    for entry in filter(self._removed, entries)
                )
        return kept + [self._write(ManifestContent.DELETES, spec_id, entries) for spec_id, entries in gone.items()]

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        """Put the manifests of the new delete files before the others."""
        by_spec: dict[int, list[ManifestEntry]] = {}
        for file in self.delta.deletes:
            entry = ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED,
                snapshot_id=self._snapshot_id,
                sequence_number=None,
                file_sequence_number=None,
                data_file=file,
            )
            by_spec.setdefault(file.spec_id, []).append(entry)
        added = [self._write(ManifestContent.DELETES, spec_id, entries) for spec_id, entries in by_spec.items()]
        return [*added, *manifests]

    def _write(self, content: ManifestContent, spec_id: int, entries: Sequence[ManifestEntry]) -> ManifestFile:
        spec = self.spec(spec_id)
        if content == ManifestContent.DATA:
            writer: Any = self.new_manifest_writer(spec)
        else:
            output = self.new_manifest_output()
            writer = _DeletesWriter(spec, self.schema(), output, self._snapshot_id, self._compression)
        with writer:
            for entry in entries:
                writer.add_entry(entry)
        manifest: ManifestFile = writer.to_manifest_file()
        return manifest

    def _summary(self, snapshot_properties: dict[str, str] | None = None) -> Summary:
        """Count delete files too, each in the partition of its own spec."""
        metadata = self._transaction.table_metadata
        specs, schema = metadata.specs(), metadata.schema()
        collector = SnapshotSummaryCollector()
        for file in (*self._added_data_files, *self.delta.deletes):
            collector.add_file(file, schema, specs[file.spec_id])
        for file in self._deleted_data_files:
            collector.remove_file(file, schema, specs[file.spec_id])
        before = metadata.snapshot_by_id(self._parent_snapshot_id) if self._parent_snapshot_id is not None else None
        # pyiceberg's totals know no compaction, which adds up as an overwrite does.
        operation = Operation.OVERWRITE if self._operation == Operation.REPLACE else self._operation
        summary = update_snapshot_summaries(
            Summary(operation=operation, **collector.build(), **(snapshot_properties or {})),
            before.summary if before is not None else None,
        )
        return Summary(operation=self._operation, **summary.additional_properties)


class FencedCompaction(FencedRowDelta):
    """Puts files in the place of others that hold the same rows, and few manifests in the place of many."""

    min_manifests: int
    manifests: Sequence[ManifestFile] = ()
    """Those of the last try, without those that only say what is gone."""

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        manifests = self._merged(super()._process_manifests(manifests))
        self.manifests = [each for each in manifests if each.has_added_files() or each.has_existing_files()]
        return manifests

    def _merged(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        data = [each for each in manifests if each.content == ManifestContent.DATA]
        if len(data) < self.min_manifests:
            return manifests
        size_bytes = manifest_target_bytes(self._transaction.table_metadata.properties)
        merged = _ManifestMergeManager(size_bytes, 1, merge_enabled=True, snapshot_producer=self).merge_manifests(data)
        # What this try wrote and then put together with others goes when the commit has landed.
        of_no_use = {each.manifest_path for each in data} - {each.manifest_path for each in merged}
        self._uncommitted_manifests += [path for path in self._written_manifests if path in of_no_use]
        self._written_manifests = [path for path in self._written_manifests if path not in of_no_use]
        return [*merged, *(each for each in manifests if each.content == ManifestContent.DELETES)]


def manifest_target_bytes(properties: Mapping[str, str]) -> int:
    """Say how large a manifest of a table should get."""
    return int(properties.get(MANIFEST_BYTES, MANIFEST_BYTES_DEFAULT))


def _with_status(entry: ManifestEntry, status: ManifestEntryStatus, snapshot_id: int | None) -> ManifestEntry:
    return ManifestEntry.from_args(
        status=status,
        snapshot_id=snapshot_id,
        sequence_number=entry.sequence_number,
        file_sequence_number=entry.file_sequence_number,
        data_file=entry.data_file,
    )


def stage_compaction(
    transaction: Transaction, delta: Delta, *, fence: Fence, min_manifests: int, summary: Mapping[str, str]
) -> FencedCompaction:
    """Put a fenced snapshot into a transaction that changes the files of a table and none of its rows.

    Args:
        transaction: The transaction.
        delta: What goes and what comes.
        fence: Asked before each new try.
        min_manifests: So many manifests are put together.
        summary: Properties of the snapshot.
    """
    producer = FencedCompaction(
        operation=Operation.REPLACE,
        transaction=transaction,
        io=transaction._table.io,  # noqa: SLF001
        snapshot_properties=dict(summary),
    )
    producer.fence = fence
    producer.delta = delta
    producer.min_manifests = min_manifests
    for file in delta.files:
        producer.append_data_file(file)
    producer.commit()
    return producer


Producer: TypeAlias = FencedAppend | FencedMergeAppend | FencedReplace | FencedRowDelta


def stage_delta(transaction: Transaction, delta: Delta, *, fence: Fence, summary: Mapping[str, str]) -> FencedRowDelta:
    """Put a fenced snapshot into a transaction that adds and deletes rows.

    Args:
        transaction: The transaction, which already holds the changes of schema and properties.
        delta: What goes and what comes.
        fence: Asked before each new try.
        summary: Properties of the snapshot.
    """
    operation = Operation.APPEND
    if delta.deletes or delta.removed:
        operation = Operation.OVERWRITE if delta.files else Operation.DELETE
    producer = FencedRowDelta(
        operation=operation,
        transaction=transaction,
        io=transaction._table.io,  # noqa: SLF001
        snapshot_properties=dict(summary),
    )
    producer.fence = fence
    producer.delta = delta
    for file in delta.files:
        producer.append_data_file(file)
    producer.commit()
    return producer


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
