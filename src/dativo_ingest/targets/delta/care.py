"""The care for one Delta table, through Delta's own optimize and vacuum.

Neither touches what begins with an underscore, and so neither the log nor the states that lie beside the data.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, WriterProperties

from dativo_ingest.targets.delta.config import DeltaOptions, Place, writer_codec
from dativo_ingest.targets.delta.failures import as_dativo_error, foreign_errors, translated
from dativo_ingest.targets.delta.log import load_table, waiting_files
from dativo_ingest.targets.file_runs import FileRuns, run_of
from dativo_plugin_sdk import (
    Compacted,
    Compaction,
    ConcurrencyError,
    Expired,
    Expiry,
    ResourceError,
    ResourceNotFoundError,
    Sweep,
    Swept,
    TableCare,
    TableHealth,
)

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyarrow.fs import FileInfo

_SMALL_BELOW = 0.75
_ATTEMPTS = 5
_KINDS = re.compile(r"\.(parquet|bin)$")
_DELETED = "deletion_vector.cardinality"
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class _Files:
    """The data files of a table's loaded version."""

    actions: pa.Table

    @property
    def bytes(self) -> int:
        return int(pc.sum(self.actions["size_bytes"]).as_py() or 0)

    @property
    def paths(self) -> list[str]:
        return [str(path) for path in self.actions["path"].to_pylist()]

    def smaller(self, size_bytes: float) -> pa.Table:
        return self.actions.filter(pc.less(self.actions["size_bytes"], pa.scalar(size_bytes, pa.float64())))

    def groups(self, size_bytes: float) -> list[tuple[int, int]]:
        """Count the files below a size, and their bytes, in each partition."""
        small = self.smaller(size_bytes)
        keys = [name for name in small.column_names if name.startswith("partition.")]
        if not keys:
            return [(small.num_rows, int(pc.sum(small["size_bytes"]).as_py() or 0))]
        found = small.group_by(keys).aggregate([("size_bytes", "count"), ("size_bytes", "sum")])
        counts, sizes = found["size_bytes_count"].to_pylist(), found["size_bytes_sum"].to_pylist()
        return [(int(count or 0), int(size or 0)) for count, size in zip(counts, sizes, strict=True)]


class DeltaCare(TableCare):
    """Takes care of one table.

    Args:
        place: The table's root.
        name: Its name for people.
        options: How the job lays it out.
        owner: The root of the table whose states may point to files of this one.
        run_id: Says in the log who did it.
    """

    def __init__(self, place: Place, name: str, options: DeltaOptions, *, owner: Place, run_id: str) -> None:
        self.name = name
        self._place = place
        self._options = options
        self._owner = owner
        self._run_id = run_id

    def health(self) -> TableHealth:
        """Look at the table's log."""
        table = self._load()
        with translated(f"reading {self.name}", self._place.folder):
            files, history = _files(table), table.history()
        target_bytes = self._target_bytes(None)
        deleted = int(pc.sum(files.actions[_DELETED]).as_py() or 0) if _DELETED in files.actions.column_names else 0
        vectors = files.actions[_DELETED].length() - files.actions[_DELETED].null_count if deleted else 0
        oldest_ms = min((each["timestamp"] for each in history), default=None)
        return TableHealth(
            files=files.actions.num_rows,
            small_files=files.smaller(_SMALL_BELOW * target_bytes).num_rows,
            bytes=files.bytes,
            rows=int(pc.sum(files.actions["num_records"]).as_py() or 0) - deleted,
            delete_files=vectors,
            deleted_rows=deleted,
            most_deletes=min(1, vectors),
            snapshots=len(history),
            oldest_snapshot_at=None if oldest_ms is None else datetime.fromtimestamp(oldest_ms / 1000, UTC),
            manifests=None,
            target_file_bytes=target_bytes,
        )

    def compact(self, asked: Compaction, *, dry_run: bool) -> Compacted:
        """Put the small files of each partition together, where any has enough of them."""
        target_bytes = self._target_bytes(asked.target_file_bytes)
        for attempt in range(_ATTEMPTS):
            table = self._load()
            with translated(f"reading {self.name}", self._place.folder):
                files = _files(table)
            small = files.groups(_SMALL_BELOW * target_bytes)
            if all(count < max(2, asked.min_input_files) for count, _ in small):
                break
            if dry_run:
                groups = [each for each in files.groups(target_bytes) if each[0] > 1]
                return Compacted(
                    files_removed=sum(count for count, _ in groups),
                    files_added=sum(math.ceil(size / target_bytes) for _, size in groups),
                    bytes_removed=sum(size for _, size in groups),
                    bytes_added=sum(size for _, size in groups),
                )
            try:
                return self._optimize(table, target_bytes)
            except foreign_errors() as error:
                failure = as_dativo_error(error, f"compacting {self.name}", self._place.folder)
                if not isinstance(failure, ConcurrencyError) or attempt == _ATTEMPTS - 1:
                    raise failure from error
        return Compacted()

    def _optimize(self, table: DeltaTable, target_bytes: int) -> Compacted:
        found = table.optimize.compact(
            target_size=target_bytes,
            max_concurrent_tasks=1,
            writer_properties=WriterProperties(compression=writer_codec(self._options.compression)),
            commit_properties=CommitProperties(
                custom_metadata={"dativo.run-id": self._run_id, "dativo.care": "compact"}
            ),
        )
        if not found["numFilesRemoved"]:
            return Compacted()
        return Compacted(
            files_removed=int(found["numFilesRemoved"]),
            files_added=int(found["numFilesAdded"]),
            bytes_removed=int(json.loads(found["filesRemoved"])["totalSize"]),
            bytes_added=int(json.loads(found["filesAdded"])["totalSize"]),
            snapshot_id=str(table.version()),
        )

    def expire(self, asked: Expiry, *, dry_run: bool) -> Expired:
        """Delete the files that versions older than asked for needed; the versions stay in the log, without rows."""
        table = self._load()
        hours = math.ceil(asked.older_than / _HOUR)
        with translated(f"vacuuming {self.name}", self._place.folder):
            history = table.history()
            keep = [int(each["version"]) for each in history[: asked.retain_last]]
            # Of the files that it names some may be gone already: the log remembers them for a while.
            paths = table.vacuum(hours, dry_run=True, enforce_retention_duration=False, keep_versions=keep)
            there = self._existing(paths)
            nothing = Expired(snapshots_kept=len(history))
            if len(there) < max(1, asked.min_snapshots):
                return nothing
            if not dry_run:
                table.vacuum(hours, dry_run=False, enforce_retention_duration=False, keep_versions=keep)
        return replace(
            nothing,
            files_removed=len(there),
            bytes_removed=sum(int(info.size) for info in there.values()),
            failed=0 if dry_run else len(self._existing(list(there))),
        )

    def orphans(self, asked: Sweep, *, dry_run: bool) -> Swept:
        """Delete what a full vacuum names beyond the files of old versions, of the runs that are over."""
        table, waiting = self._load(), waiting_files(self._owner)
        listed = self._listed()
        after = self._load()
        waiting |= waiting_files(self._owner)
        with translated(f"vacuuming {self.name}", self._place.folder):
            live = {path for each in (table, after) for path in _files(each).paths}
            loose = set(after.vacuum(0, dry_run=True, enforce_retention_duration=False, full=True))
            loose -= set(after.vacuum(0, dry_run=True, enforce_retention_duration=False))
            history = after.history()
        self._require_agreement(listed, loose, live, set(_files(after).paths) & set(_files(table).paths))
        runs = _runs(listed, history)
        older_than = runs.grace(asked.older_than)
        before = datetime.now(UTC) - older_than
        possible = {path: listed[path] for path in loose - waiting if path in listed and _KINDS.search(path)}
        old = {
            path: info
            for path, info in possible.items()
            if runs.is_over(path, _written_at(info), before, asked.running)
        }
        if not dry_run:
            self._delete(list(old))
        return Swept(
            files=sorted(f"{self._place.uri.rstrip('/')}/{path}" for path in old),
            bytes=sum(int(info.size) for info in old.values()),
            young=len(possible) - len(old),
            older_than=older_than,
            failed=0 if dry_run else len(self._existing(list(old))),
        )

    def _require_agreement(
        self, listed: Mapping[str, FileInfo], loose: set[str], live: set[str], lasting: set[str]
    ) -> None:
        """See that what lies there is what the log says, and that no file that would go is one of the table's."""
        for path in lasting:
            if "://" not in path and path not in listed and unquote(path) not in listed:
                raise ResourceError(
                    f"{self.name}: {path} is a part of the table and is not among its files; nothing was deleted",
                    hint="the listing is not to be trusted, or the file is lost: look for it",
                )
        names = {unquote(path).rpartition("/")[2] for path in live}
        for path in loose:
            if unquote(path).rpartition("/")[2] in names:
                raise ResourceError(
                    f"{self.name}: {path} has the name of a file of the table that is said to lie elsewhere; nothing "
                    "was deleted",
                    hint="two ways to write one place: let the table's log and its files agree",
                )

    def _listed(self) -> dict[str, FileInfo]:
        from pyarrow.fs import FileSelector, FileType  # noqa: PLC0415  it loads every file system

        with translated(f"listing {self.name}", self._place.folder):
            infos = self._place.filesystem.get_file_info(FileSelector(self._place.path, recursive=True))
        root = f"{self._place.path}/"
        return {info.path.removeprefix(root): info for info in infos if info.type == FileType.File}

    def _existing(self, paths: list[str]) -> dict[str, FileInfo]:
        from pyarrow.fs import FileType  # noqa: PLC0415  it loads every file system

        infos = self._place.filesystem.get_file_info([f"{self._place.path}/{path}" for path in paths])
        return {path: info for path, info in zip(paths, infos, strict=True) if info.type == FileType.File}

    def _delete(self, paths: list[str]) -> None:
        for path in paths:
            with translated(f"deleting {path} of {self.name}", self._place.folder):
                try:
                    self._place.filesystem.delete_file(f"{self._place.path}/{path}")
                except FileNotFoundError:
                    continue

    def _target_bytes(self, asked: int | None) -> int:
        return asked or int(self._options.target_file_mb * 2**20)

    def _load(self) -> DeltaTable:
        table = load_table(self._place, self.name)
        if table is None:
            raise ResourceNotFoundError(f"table {self.name} does not exist any more")
        return table


def _files(table: DeltaTable) -> _Files:
    return _Files(pa.table(table.get_add_actions(flatten=True)))


def _written_at(info: FileInfo) -> datetime:
    return info.mtime or datetime.now(UTC)  # a store that does not tell: nothing is old


def _runs(listed: Mapping[str, FileInfo], history: list[dict[str, Any]]) -> FileRuns:
    runs = FileRuns()
    for path, info in listed.items():
        runs.note(run_of(path), _written_at(info))
    for version in history:
        if "dativo.generation" in version:
            runs.note(str(version.get("dativo.run-id")), datetime.fromtimestamp(version["timestamp"] / 1000, UTC))
    return runs
