"""Compaction: the rows of small files, and of files with deleted rows, in few files that hold nothing else.

The rows do not change, so neither do state and generation. What is written lands only where the files that it was made
of are still there, and nobody has deleted more of their rows; `_Unchanged` says so again before each new try of the
commit. A run that commits first so always wins: the files that it touched are planned anew, a few times.
"""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.manifest import ManifestContent

from dativo_ingest.targets.iceberg.compaction_plan import Bin, plan_bins, useless_deletes
from dativo_ingest.targets.iceberg.failures import as_dativo_error, foreign_errors, outcome_is_unknown, translated
from dativo_ingest.targets.iceberg.file_rows import file_rows
from dativo_ingest.targets.iceberg.live_files import LiveFiles, read_live_files
from dativo_ingest.targets.iceberg.position_deletes import read_deletes, without
from dativo_ingest.targets.iceberg.producers import (
    Delta,
    FenceBrokenError,
    discard_manifests,
    manifest_target_bytes,
    require_spec,
    stage_compaction,
)
from dativo_ingest.targets.iceberg.table_files import open_files, target_file_bytes
from dativo_plugin_sdk import (
    CommitStateUnknownError,
    Compacted,
    Compaction,
    ConcurrencyError,
    DativoError,
    ResourceError,
    ResourceNotFoundError,
    SchemaValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata

    from dativo_ingest.targets.iceberg.config import IcebergOptions
    from dativo_ingest.targets.iceberg.data_files import DataFiles
    from dativo_ingest.targets.iceberg.live_files import LiveFile
    from dativo_ingest.targets.iceberg.producers import FencedCompaction

CARE = "dativo.care"
"""The summary's property of a snapshot that no stream made."""
_ROUNDS = 3
"""How often files that others changed meanwhile are written anew once more."""
_ATTEMPTS = 5
_LOOKS = 3
_LOOK_AGAIN_S = 1.0
_BIN_MAY_GROW = 1.5
"""How much larger than planned a bin's file may get before it is cut in two."""
_FORMAT_VERSION = 2


class CompactionConflictError(ValidationException):
    """Files that were written anew are not what they were when they were read."""


@dataclass(frozen=True)
class _Written:
    """A bin, and the files that hold its rows now."""

    source: Bin
    files: Sequence[DataFile]
    rows: DataFiles | None

    def fits(self, live: LiveFiles) -> bool:
        """Say whether the bin's files are still there, with the same rows deleted."""
        return all(_unchanged(file, live) for file in self.source.files)

    def discard(self) -> None:
        if self.rows is not None:
            self.rows.discard()


@dataclass(frozen=True)
class Compactor:
    """Writes one table's files anew.

    Attributes:
        load: Gives the table as it is now.
        name: Its name for people.
        options: What the job says of its files.
        run_id: Begins the names of the files.
        buffer_bytes: How much Arrow data may wait to be written.
    """

    load: Callable[[], Table]
    name: str
    options: IcebergOptions
    run_id: str
    buffer_bytes: int

    def compact(self, asked: Compaction, *, dry_run: bool) -> Compacted:
        """Compact the table, or say what that would do.

        Raises:
            ConcurrencyError: Others changed every one of the files, again and again.
        """
        done = Compacted()
        left: list[LiveFile] = []
        for _ in range(_ROUNDS):
            left = []  # what the round before left is planned anew, if it is still there
            table = self.load()
            if _is_too_small(table, asked):
                break
            live = read_live_files(table)
            self._require_readable(table, live)
            bins = plan_bins(live, table.metadata.default_spec_id, asked, self.target_bytes(table, asked))
            if dry_run:
                return _estimate(bins, live, table, asked)
            if not bins and not _has_ballast(live, table, asked):
                break
            landed, left = self._round(table, bins, asked)
            done = _sum(done, landed)
            if not left:
                break
        if left and done.snapshot_id is None:
            raise ConcurrencyError(
                f"{self.name}: others changed all of the {len(left)} files that were written anew, {_ROUNDS} times; "
                "nothing was changed here",
                hint="compact when fewer runs change the table",
            )
        return replace(done, left=len(left))

    def target_bytes(self, table: Table, asked: Compaction) -> int:
        """Say how large a file of the table should be."""
        return asked.target_file_bytes or target_file_bytes(table.metadata.properties, self.options)

    def _require_readable(self, table: Table, live: LiveFiles) -> None:
        if table.format_version > _FORMAT_VERSION:
            raise SchemaValidationError(
                f"{self.name} has Iceberg's format version {table.format_version}; {_FORMAT_VERSION} can be written"
            )
        if live.by_values:
            raise ResourceNotFoundError(
                f"{self.name} has {live.by_values} files of equality deletes, which pyiceberg cannot read",
                hint="compact it with the engine that wrote them",
            )

    def _round(self, table: Table, bins: Sequence[Bin], asked: Compaction) -> tuple[Compacted, list[LiveFile]]:
        """Write bins anew and land those whose files are still what they were; with it, the files of the others."""
        written: list[_Written] = []
        try:
            for each in bins:
                done = self._write(table, each, self.target_bytes(table, asked))
                written.append(done)
            return self._land(table.metadata, written, asked)
        except CommitStateUnknownError:
            raise  # it may have landed: what was written stays
        except BaseException:
            for done in written:
                done.discard()
            raise

    def _write(self, table: Table, source: Bin, target_bytes: int) -> _Written:
        metadata, io = table.metadata, table.io
        rows: DataFiles | None = None
        incoming: pa.Schema | None = None
        try:
            for file in source.files:
                for batch in _rows_left(io, file, metadata):
                    if rows is None or incoming is None:
                        incoming = batch.schema
                        rows = self._open(table, source, incoming, target_bytes)
                    # Files may differ in what Iceberg does not tell apart, such as the width of a text's offsets.
                    rows.write(batch if batch.schema.equals(incoming) else batch.cast(incoming))
            return _Written(source, list(rows.finish()) if rows is not None else [], rows)
        except BaseException:
            if rows is not None:
                rows.discard()
            raise

    def _open(self, table: Table, source: Bin, incoming: pa.Schema, target_bytes: int) -> DataFiles:
        partition = source.files[0].file.partition
        return open_files(
            table.metadata,
            table.io,
            incoming,
            self.options,
            run_id=self.run_id,
            buffer_bytes=self.buffer_bytes,
            partition=tuple(partition[number] for number in range(len(partition))) if source.same_partition else None,
            target_bytes=int(target_bytes * _BIN_MAY_GROW) if source.same_partition else target_bytes,
        )

    def _land(
        self, planned: TableMetadata, written: list[_Written], asked: Compaction
    ) -> tuple[Compacted, list[LiveFile]]:
        left: list[LiveFile] = []
        for _ in range(_ATTEMPTS):
            table = self.load()
            if table.metadata.table_uuid != planned.table_uuid:
                raise ConcurrencyError(f"{self.name} was dropped and created anew meanwhile", hint="compact it again")
            live = read_live_files(table)
            same_spec = table.metadata.default_spec_id == planned.default_spec_id
            for each in [each for each in written if not (same_spec and each.fits(live))]:
                each.discard()
                written.remove(each)
                left += each.source.files
            if not written and not _has_ballast(live, table, asked):
                return Compacted(), left
            trying = list(written)
            written.clear()  # from here on they may be the table's, and are nobody's to delete
            landed = self._commit(table, live, trying, asked)
            if landed is not None:
                return landed, left
            written += trying
        raise ConcurrencyError(f"{self.name} is being changed by others all the time", hint="compact it again")

    def _commit(
        self, table: Table, live: LiveFiles, written: Sequence[_Written], asked: Compaction
    ) -> Compacted | None:
        """Commit once, with pyiceberg's own tries to rebase; None says that it did not land."""
        inputs = [file for each in written for file in each.source.files]
        rewritten = frozenset(file.file.file_path for file in inputs)
        useless = useless_deletes(live, rewritten)
        delta = Delta(
            files=[file for each in written for file in each.files],
            deletes=(),
            removed=rewritten | useless,
            still_fits=_Unchanged(inputs, rewritten, useless),
            inserted=0,
            updated=0,
        )
        spec_id = table.metadata.default_spec_id

        def fence(metadata: TableMetadata) -> None:
            if metadata.default_spec_id != spec_id:
                raise FenceBrokenError("the partitioning was changed")

        with translated(f"compacting {self.name}"):
            transaction = table.transaction()
            require_spec(transaction)
            producer = stage_compaction(
                transaction,
                delta,
                fence=fence,
                min_manifests=asked.min_manifests,
                summary={"dativo.run-id": self.run_id, CARE: "compact"},
            )
        try:
            transaction.commit_transaction()
        except (CommitFailedException, ValidationException):
            if not self._shows(producer):
                discard_manifests(producer)
                return None
        except foreign_errors() as error:
            if not self._shows_after_all(producer, error):
                discard_manifests(producer)
                for each in written:
                    each.discard()
                raise as_dativo_error(error, f"compacting {self.name}") from error
        return _landed(delta, inputs, live, producer)

    def _shows(self, producer: FencedCompaction) -> bool:
        return self.load().metadata.snapshot_by_id(producer.snapshot_id) is not None

    def _shows_after_all(self, producer: FencedCompaction, error: BaseException) -> bool:
        """Look, and look again, whether a commit that failed in an unclear way is there.

        Raises:
            CommitStateUnknownError: It is not there, and may still come.
        """
        unknown = outcome_is_unknown(error)
        for look in range(_LOOKS if unknown else 1):
            if look:
                time.sleep(_LOOK_AGAIN_S)
            with contextlib.suppress(DativoError):
                if self._shows(producer):
                    return True
                if not unknown:
                    return False
        raise CommitStateUnknownError(
            f"compacting {self.name}: {error}; the table does not show the commit, which may still arrive",
            details={"snapshot_id": str(producer.snapshot_id), "table": self.name},
            hint="no row is in danger: compact again, and let dativo table orphans remove what is left over",
        ) from error


@dataclass(frozen=True)
class _Unchanged:
    """Whether a table still has the files that a compaction was made of."""

    inputs: Sequence[LiveFile]
    rewritten: frozenset[str]
    useless: frozenset[str]

    def __call__(self, table: Table) -> None:
        """Look at the table again.

        Raises:
            CompactionConflictError: The compaction would not be right any more.
        """
        live = read_live_files(table)
        for file in self.inputs:
            if not _unchanged(file, live):
                raise CompactionConflictError(f"{file.file.file_path} was changed by somebody else")
        if not self.useless <= useless_deletes(live, self.rewritten):
            raise CompactionConflictError("files of deletes are needed again")


def _unchanged(file: LiveFile, live: LiveFiles) -> bool:
    now = live.files.get(file.file.file_path)
    return now is not None and _paths(now.deletes) == _paths(file.deletes)


def _paths(files: Sequence[DataFile]) -> list[str]:
    return [file.file_path for file in files]


def _rows_left(io: FileIO, file: LiveFile, metadata: TableMetadata) -> Iterator[pa.RecordBatch]:
    """Read the rows of a data file that are not deleted."""
    deleted = read_deletes(io, file.deletes, file.file).sort()
    position = 0
    for batch in file_rows(io, file.file, metadata):
        # Only those of this batch: a set of them is made for each.
        here = bisect_left(deleted, position + batch.num_rows, key=lambda each: each.as_py())
        left = without(batch, position, deleted.slice(0, here))
        deleted = deleted.slice(here)
        position += batch.num_rows
        if left.num_rows:
            yield left
    if position != file.file.record_count:
        raise ResourceError(
            f"{file.file.file_path} holds {position} rows, the table knows of {file.file.record_count}",
            hint="the file was changed after it was written: restore it",
        )


def _is_too_small(table: Table, asked: Compaction) -> bool:
    """Say whether a table has so few files, by the totals of its snapshot, that there cannot be anything to do."""
    snapshot = table.current_snapshot()
    if snapshot is None:
        return True
    totals = snapshot.summary.additional_properties if snapshot.summary is not None else {}
    try:
        files, deletes = int(totals["total-data-files"]), int(totals["total-delete-files"])
    except (KeyError, ValueError):
        return False
    return deletes == 0 and 0 <= files < max(2, min(asked.min_input_files, asked.min_manifests))


def _has_ballast(live: LiveFiles, table: Table, asked: Compaction) -> bool:
    """Say whether there is something to do that takes no data file: deletes of no use, or too many manifests."""
    return bool(useless_deletes(live, frozenset())) or _too_many_manifests(live, table, asked)


def _too_many_manifests(live: LiveFiles, table: Table, asked: Compaction) -> bool:
    """Say whether there are many manifests, and half of them or fewer would do."""
    data = [each for each in live.manifests if each.content == ManifestContent.DATA]
    enough = sum(each.manifest_length for each in data) / manifest_target_bytes(table.metadata.properties) + 1
    return len(data) >= asked.min_manifests and len(data) > 2 * enough


def _estimate(bins: Sequence[Bin], live: LiveFiles, table: Table, asked: Compaction) -> Compacted:
    inputs = [file for each in bins for file in each.files]
    useless = useless_deletes(live, frozenset(file.file.file_path for file in inputs))
    many = _too_many_manifests(live, table, asked)
    return Compacted(
        files_removed=len(inputs),
        files_added=len(bins),
        bytes_removed=sum(file.file.file_size_in_bytes for file in inputs),
        bytes_added=sum(file.live_bytes for file in inputs),
        delete_files_removed=len(useless),
        deleted_rows_removed=sum(file.deleted_rows for file in inputs),
        manifests_removed=len(live.manifests) - 1 if many else 0,
    )


def _landed(delta: Delta, inputs: Sequence[LiveFile], live: LiveFiles, producer: FencedCompaction) -> Compacted:
    return Compacted(
        files_removed=len(inputs),
        files_added=len(delta.files),
        bytes_removed=sum(file.file.file_size_in_bytes for file in inputs),
        bytes_added=sum(file.file_size_in_bytes for file in delta.files),
        delete_files_removed=len(delta.removed) - len(inputs),
        deleted_rows_removed=sum(file.file.record_count for file in inputs)
        - sum(file.record_count for file in delta.files),
        manifests_removed=max(0, len(live.manifests) - len(producer.manifests)),
        snapshot_id=str(producer.snapshot_id),
    )


def _sum(one: Compacted, other: Compacted) -> Compacted:
    return Compacted(
        files_removed=one.files_removed + other.files_removed,
        files_added=one.files_added + other.files_added,
        bytes_removed=one.bytes_removed + other.bytes_removed,
        bytes_added=one.bytes_added + other.bytes_added,
        delete_files_removed=one.delete_files_removed + other.delete_files_removed,
        deleted_rows_removed=one.deleted_rows_removed + other.deleted_rows_removed,
        manifests_removed=one.manifests_removed + other.manifests_removed,
        snapshot_id=other.snapshot_id or one.snapshot_id,
    )
