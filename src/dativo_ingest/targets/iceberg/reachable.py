"""The files that a table's metadata refers to, whichever snapshot needs them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dativo_ingest.targets.iceberg.failures import translated
from dativo_ingest.targets.iceberg.live_files import entries_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile, ManifestFile
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot


@dataclass(frozen=True)
class Lists:
    """The metadata files of snapshots.

    Attributes:
        lists: The locations of the lists of manifests.
        manifests: The manifests, each once.
        statistics: The locations of files of statistics.
    """

    lists: Collection[str]
    manifests: Sequence[ManifestFile]
    statistics: Collection[str]

    def data_files(self, io: FileIO) -> Iterator[DataFile]:
        """Read the data and delete files that the manifests name; one may come several times."""
        for entry in entries_of(self.manifests, io):
            yield entry.data_file


def lists_of(metadata: TableMetadata, io: FileIO, snapshots: Iterable[Snapshot]) -> Lists:
    """Read the lists of manifests of snapshots, without those of them that are gone from the metadata's statistics."""
    chosen = list(snapshots)
    ids = {each.snapshot_id for each in chosen}
    manifests: dict[str, ManifestFile] = {}
    for snapshot in chosen:
        with translated(f"reading {snapshot.manifest_list}"):
            manifests |= {each.manifest_path: each for each in snapshot.manifests(io)}
    statistics = {each.statistics_path for each in metadata.statistics if each.snapshot_id in ids}
    statistics |= {each.statistics_path for each in metadata.partition_statistics if each.snapshot_id in ids}
    return Lists({each.manifest_list for each in chosen}, list(manifests.values()), statistics)


def metadata_files(table: Table) -> set[str]:
    """Give the locations of the current metadata file and of those before it that the metadata remembers."""
    return {table.metadata_location, *(each.metadata_file for each in table.metadata.metadata_log)}


def everything(tables: Sequence[Table]) -> set[str]:
    """Give the locations of all files that any of several states of one table refers to."""
    found: set[str] = set()
    manifests: dict[str, ManifestFile] = {}
    for table in tables:
        lists = lists_of(table.metadata, table.io, table.metadata.snapshots)
        manifests |= {each.manifest_path: each for each in lists.manifests}
        found |= metadata_files(table) | set(lists.lists) | set(lists.statistics)
    found |= set(manifests)
    with translated(f"listing the files of {'.'.join(tables[0].name())}"):
        found |= {entry.data_file.file_path for entry in entries_of(manifests.values(), tables[0].io)}
    return found
