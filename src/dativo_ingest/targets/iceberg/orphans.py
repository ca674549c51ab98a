"""Orphans: files in a table's folders that nothing refers to, such as those of a run that was killed.

A file goes only where every doubt speaks for it. What lies there and what the table refers to must agree first: each
file of the current snapshot is found in the listing, and nothing that would go has the name of a file that is needed.
Then it must be old: not it alone, but all files of its run, and older than any run of this table has ever taken.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dativo_ingest.targets.file_runs import FileRuns, run_of
from dativo_ingest.targets.iceberg.compaction import CARE
from dativo_ingest.targets.iceberg.failures import translated
from dativo_ingest.targets.iceberg.file_systems import Folder, Found, delete_files
from dativo_ingest.targets.iceberg.live_files import read_live_files
from dativo_ingest.targets.iceberg.reachable import everything
from dativo_plugin_sdk import ResourceError, Sweep, Swept

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyiceberg.io import FileIO
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata

FOLDERS = ("data", "metadata")
"""Below a table's location; whatever else lies there is somebody else's."""
_KINDS = re.compile(r"\.(parquet|orc|avro|puffin|stats|metadata\.json(\.gz)?|gz\.metadata\.json)$")
_METADATA = re.compile(r"\.metadata\.json(\.gz)?$")
_UUID = re.compile(rb'"table-uuid"\s*:\s*"([^"]+)"')
_HEAD_BYTES = 2**18
_FILES_AT_ONCE = 8


def waiting_files(metadata: TableMetadata) -> set[str]:
    """Give the locations of rejected rows that a table's states point to: no table may know them yet."""
    found: set[str] = set()
    for key, text in metadata.properties.items():
        if key.startswith("dativo.state."):
            pointer = json.loads(text).get("quarantine") or {}
            found |= {file["path"] for file in pointer.get("files", ())}
    return found


@dataclass(frozen=True)
class Sweeper:
    """Sweeps one table's folders.

    Attributes:
        load: Gives the table as it is now.
        name: Its name for people.
        waiting: Gives the locations of files that nothing refers to yet, and that are needed.
    """

    load: Callable[[], Table]
    name: str
    waiting: Callable[[], Collection[str]]

    def sweep(self, asked: Sweep, *, dry_run: bool) -> Swept:
        """Delete the orphans, or list them.

        Raises:
            ResourceError: What lies there does not agree with what the table refers to, so nothing was deleted.
        """
        # Loaded before the listing and after it: a file that came or went meanwhile is referred to by one of them.
        before, waiting = self.load(), set(self.waiting())
        folders = [Folder(before.io, f"{before.metadata.location.rstrip('/')}/{each}") for each in FOLDERS]
        listed = {found.path: (folder, found) for folder in folders for found in folder.files()}
        after = self.load()
        waiting |= set(self.waiting())
        needed = {folders[0].path_of(each) for each in everything([before, after]) | waiting}
        self._require_all_listed(before, needed, folders, listed)
        loose = {path: each for path, each in listed.items() if path not in needed}
        self._require_other_names(loose, needed)
        self._require_own_metadata(before, loose)

        runs = _runs([found for _, found in listed.values()], after.metadata)
        older_than = runs.grace(asked.older_than)
        written_before = datetime.now(UTC) - older_than
        old = {
            path: each
            for path, each in loose.items()
            if _KINDS.search(path) and runs.is_over(path, each[1].written_at, written_before, asked.running)
        }
        locations = sorted(folder.location_of(path) for path, (folder, _) in old.items())
        return Swept(
            files=locations,
            bytes=sum(found.size_bytes for _, found in old.values()),
            young=sum(bool(_KINDS.search(path)) for path in loose) - len(old),
            older_than=older_than,
            failed=0 if dry_run else delete_files(after.io, locations),
        )

    def _require_all_listed(
        self, table: Table, needed: Collection[str], folders: Sequence[Folder], listed: Mapping[str, object]
    ) -> None:
        """See that the listing is whole, and speaks of files as the table does."""
        live = read_live_files(table)
        snapshot = table.current_snapshot()
        locations = [*live.files, *live.deletes, *(each.manifest_path for each in live.manifests)]
        locations += [table.metadata_location, *([snapshot.manifest_list] if snapshot is not None else [])]
        inside = tuple(f"{folder.path}/" for folder in folders)
        for location in locations:
            path = folders[0].path_of(location)
            if path.startswith(inside) and path in needed and path not in listed:
                raise ResourceError(
                    f"{self.name}: {location} is a part of the table and is not among the files of its folders; "
                    "nothing was deleted",
                    hint="the listing is not to be trusted, or the file is lost: look for it",
                )

    def _require_other_names(self, loose: Collection[str], needed: Collection[str]) -> None:
        """See that no file is known to the table by another path: names hold a UUID, so equal names are one file."""
        names = {path.rpartition("/")[2] for path in needed}
        for path in loose:
            if path.rpartition("/")[2] in names:
                raise ResourceError(
                    f"{self.name}: {path} has the name of a file of the table that is said to lie elsewhere; nothing "
                    "was deleted",
                    hint="a link, or two ways to write one place: let the table's location and its files agree",
                )

    def _require_own_metadata(self, table: Table, loose: Mapping[str, tuple[Folder, Found]]) -> None:
        """See that no other table lives here, such as one that was renamed: its files look like orphans."""
        locations = [folder.location_of(path) for path, (folder, _) in loose.items() if _METADATA.search(path)]
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            found = list(pool.map(lambda location: _table_uuids(table.io, location), locations))
        own = {str(table.metadata.table_uuid)}
        for location, uuids in zip(locations, found, strict=True):
            if not uuids <= own:
                raise ResourceError(
                    f"{self.name}: {location} is of another table ({', '.join(uuids)}), whose files lie in the same "
                    "folders; nothing was deleted",
                    hint="where that table was dropped for good, delete its metadata files, then sweep again",
                )


def _runs(files: Sequence[Found], metadata: TableMetadata) -> FileRuns:
    runs = FileRuns()
    for found in files:
        runs.note(run_of(found.path), found.written_at)
    for snapshot in metadata.snapshots:
        summary = snapshot.summary.additional_properties if snapshot.summary is not None else {}
        # Rejected rows are published under the name of their run, by the next one where it was killed.
        if "dativo.generation" in summary or CARE in summary:
            runs.note(summary.get("dativo.run-id"), datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC))
    return runs


def _table_uuids(io: FileIO, location: str) -> set[str]:
    """Read from the beginning of a metadata file which table it is of; none where the file is gone by now."""
    with translated(f"reading {location}"):
        try:
            with io.new_input(location).open() as stream:
                head = stream.read(_HEAD_BYTES)
        except FileNotFoundError:
            return set()
    if ".gz" in location.rpartition("/")[2]:
        try:
            head = zlib.decompressobj(wbits=31).decompress(head)
        except zlib.error:
            return {"unreadable"}
    found = _UUID.search(head)
    return {found[1].decode() if found else "unreadable"}
