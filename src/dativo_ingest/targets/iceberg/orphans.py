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
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

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
_RUN = re.compile(r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})-")
_UUID = re.compile(rb'"table-uuid"\s*:\s*"([^"]+)"')
_HEAD_BYTES = 2**18
_TIMES_LONGEST = 2
"""A file must be so many times as old as the longest run took."""
_FILES_AT_ONCE = 8


def waiting_files(metadata: TableMetadata) -> set[str]:
    """Give the locations of rejected rows that a table's states point to: no table may know them yet."""
    found: set[str] = set()
    for key, text in metadata.properties.items():
        if key.startswith("dativo.state."):
            pointer = json.loads(text).get("quarantine") or {}
            found |= {file["path"] for file in pointer.get("files", ())}
    return found


def run_of(path: str) -> str | None:
    """Give the run that a file's name begins with."""
    found = _RUN.match(path.rpartition("/")[2])
    return found[1] if found else None


def begun_at(run_id: str) -> datetime | None:
    """Say when a run began, where its id tells (RFC 9562, UUID version 7)."""
    digits = run_id.replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{12}7[0-9a-f]{19}", digits):
        return None
    return datetime.fromtimestamp(int(digits[:12], 16) / 1000, UTC)


@dataclass
class _Runs:
    """What files and snapshots tell of the runs that made them."""

    last_seen: dict[str, datetime] = field(default_factory=dict)

    def note(self, run_id: str | None, at: datetime) -> None:
        if run_id is not None:
            self.last_seen[run_id] = max(at, self.last_seen.get(run_id, at))

    @property
    def longest(self) -> timedelta:
        """How long the longest of them took, at least."""
        lengths = (at - begun for run_id, at in self.last_seen.items() if (begun := begun_at(run_id)) is not None)
        return max(lengths, default=timedelta())


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
        older_than = max(asked.older_than, _TIMES_LONGEST * runs.longest)
        written_before = datetime.now(UTC) - older_than
        old = {
            path: each
            for path, each in loose.items()
            if _KINDS.search(path) and _is_over(each[1], runs, written_before, asked.running)
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


def _runs(files: Sequence[Found], metadata: TableMetadata) -> _Runs:
    runs = _Runs()
    for found in files:
        runs.note(run_of(found.path), found.written_at)
    for snapshot in metadata.snapshots:
        summary = snapshot.summary.additional_properties if snapshot.summary is not None else {}
        # Rejected rows are published under the name of their run, by the next one where it was killed.
        if "dativo.generation" in summary or CARE in summary:
            runs.note(summary.get("dativo.run-id"), datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC))
    return runs


def _is_over(found: Found, runs: _Runs, written_before: datetime, running: Collection[str]) -> bool:
    """Say whether a file is old, and so is all that we know of its run."""
    run_id = run_of(found.path)
    if run_id is None:
        return found.written_at < written_before
    return run_id not in running and max(found.written_at, runs.last_seen[run_id]) < written_before


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
