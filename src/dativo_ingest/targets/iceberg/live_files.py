"""What a snapshot consists of: its data files, each with the files that delete rows from it, and its manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyiceberg.manifest import DataFileContent
from pyiceberg.table.delete_file_index import DeleteFileIndex

from dativo_ingest.targets.iceberg.failures import translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile, ManifestEntry, ManifestFile
    from pyiceberg.table import Table

_MANIFESTS_AT_ONCE = 8


@dataclass(frozen=True)
class LiveFile:
    """A data file that readers of a snapshot read."""

    file: DataFile
    sequence_number: int
    deletes: Sequence[DataFile]

    @property
    def deleted_rows(self) -> int:
        """How many of its rows are gone; too many where a file of deletes is about other data files as well."""
        return min(self.file.record_count, sum(each.record_count for each in self.deletes))

    @property
    def live_bytes(self) -> int:
        """About what its rows that are left take."""
        rows = max(1, self.file.record_count)
        return self.file.file_size_in_bytes * (rows - self.deleted_rows) // rows


@dataclass(frozen=True)
class LiveFiles:
    """Everything that a snapshot consists of.

    Attributes:
        files: The data files, by their paths.
        deletes: The files of position deletes, by their paths, also those that no data file needs any more.
        by_values: How many files there are that delete rows by values, which pyiceberg cannot read.
        manifests: The manifests that name any of them.
    """

    files: Mapping[str, LiveFile]
    deletes: Mapping[str, DataFile]
    by_values: int
    manifests: Sequence[ManifestFile]


def read_live_files(table: Table) -> LiveFiles:
    """Read what a table's current snapshot consists of; its data and delete files are not opened."""
    snapshot = table.current_snapshot()
    with translated(f"listing the files of {'.'.join(table.name())}"):
        every = snapshot.manifests(table.io) if snapshot is not None else []
        manifests = [each for each in every if each.has_added_files() or each.has_existing_files()]
        entries = list(entries_of(manifests, table.io))
    index = DeleteFileIndex()
    deletes: dict[str, DataFile] = {}
    data: list[ManifestEntry] = []
    by_values = 0
    for entry in entries:
        match entry.data_file.content:
            case DataFileContent.DATA:
                data.append(entry)
            case DataFileContent.POSITION_DELETES:
                index.add_delete_file(entry, partition_key=entry.data_file.partition)
                deletes[entry.data_file.file_path] = entry.data_file
            case _:
                by_values += 1
    files = {entry.data_file.file_path: _live(entry, index) for entry in data}
    return LiveFiles(files, deletes, by_values, manifests)


def entries_of(manifests: Iterable[ManifestFile], io: FileIO) -> Iterator[ManifestEntry]:
    """Read the entries of manifests that stand for files that are there, in the order of the manifests."""
    with ThreadPoolExecutor(_MANIFESTS_AT_ONCE) as pool:
        for found in pool.map(lambda manifest: manifest.fetch_manifest_entry(io, discard_deleted=True), manifests):
            yield from found


def _live(entry: ManifestEntry, index: DeleteFileIndex) -> LiveFile:
    file, number = entry.data_file, entry.sequence_number or 0
    found = index.for_data_file(number, file, partition_key=file.partition)
    return LiveFile(file, number, sorted(found, key=lambda each: each.file_path))
