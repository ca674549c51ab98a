"""Merging by key: what one run wrote replaces the rows of its keys, with position deletes instead of new files.

The rows of a run go to data files as they come. When the run commits, its earlier rows of a key give way to the last
one, or to none where the key was deleted after them; then the key columns of the table's files that may hold such keys
are read, and what matches is deleted by its position. A file of which the run deletes a large part is written anew
instead. All of it lands as one snapshot.

That snapshot is right only for the files it was made for. `_Unchanged` says so again before each new try of a commit:
where somebody has rewritten a file, deleted from it, or added one that may hold our keys, the work is done again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.exceptions import ValidationException
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import _task_to_record_batches
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask

from dativo_ingest.targets.iceberg.failures import translated
from dativo_ingest.targets.iceberg.merge_keys import KeyLog, KeySet, Matches
from dativo_ingest.targets.iceberg.position_deletes import is_about_only, read_deletes, without, write_deletes
from dativo_ingest.targets.iceberg.producers import Delta
from dativo_ingest.targets.iceberg.table_files import namer, open_files

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata

    from dativo_ingest.targets.iceberg.config import IcebergOptions

REWRITE_ABOVE = 0.3
"""The share of a file's rows from which on it is written anew: its readers would skip too much."""
_FILES_AT_ONCE = 4


class MergeConflictError(ValidationException):
    """The table's files are not those that the deletes were made for; they have to be made again."""


@dataclass(frozen=True)
class _Own:
    """What the run itself wrote, each key once, and the keys that it wrote or deleted."""

    files: Sequence[DataFile]
    deletes: Sequence[DataFile]
    keys: KeySet


@dataclass
class _Planned:
    """The changes to the files that were there."""

    files: list[DataFile] = field(default_factory=list)
    deletes: list[DataFile] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)
    touched: dict[str, frozenset[str]] = field(default_factory=dict)
    matched: list[pa.Array[Any]] = field(default_factory=list)


class Merge:
    """One run's merge into one table.

    Args:
        log: Where the run's rows went.
        metadata: The table, with the schema it will have.
        io: Where its files are.
        options: What the job says of the table.
        run_id: Begins the names of the files.
        buffer_bytes: How much Arrow data may wait to be written.

    Attributes:
        metadata: The table, with the schema it will have.
    """

    def __init__(  # noqa: PLR0913  what a table's files depend on
        self,
        log: KeyLog,
        metadata: TableMetadata,
        io: FileIO,
        options: IcebergOptions,
        *,
        run_id: str,
        buffer_bytes: int,
    ) -> None:
        self._log = log
        self.metadata = metadata
        self._io = io
        self._options = options
        self._run_id = run_id
        self._buffer_bytes = buffer_bytes
        self._name = namer(metadata, run_id, "-deletes.parquet")
        schema = metadata.schema()
        # Optional, because a file that is older than a column lacks it.
        fields = [schema.find_field(each.field_id).model_copy(update={"required": False}) for each in log.columns]
        self._key_schema = Schema(*fields)
        self._own: _Own | None = None
        self._own_paths: list[str] = []
        self._paths: list[str] = []
        self._known: dict[str, Matches] = {}

    def plan(self, table: Table | None, files: Sequence[DataFile]) -> Delta:
        """Find out what the commit of the run's files has to do to a table as it is now.

        Args:
            table: The table; None where the commit creates it.
            files: All data files of the run.
        """
        own = self._settled(files)
        self._forget()
        tasks: dict[str, FileScanTask] = {}
        if table is not None and own.keys.size:
            tasks = live_files(table)
        planned = self._changes(list(tasks.values()), own.keys)
        updated, deleted = own.keys.count(pa.chunked_array(planned.matched, pa.int64()))
        return Delta(
            files=[*own.files, *planned.files],
            deletes=[*own.deletes, *planned.deletes],
            removed=frozenset(planned.removed),
            still_fits=_Unchanged(frozenset(tasks), planned.touched, own.keys),
            inserted=own.keys.written - updated,
            updated=updated,
            deleted=deleted,
        )

    def discard(self) -> None:
        """Delete what was written beside the run's data files; what cannot be deleted is left as an orphan."""
        self._forget()
        _delete(self._io, self._own_paths)

    def _forget(self) -> None:
        """Delete what was written for a try that did not land."""
        _delete(self._io, self._paths)

    def _settled(self, files: Sequence[DataFile]) -> _Own:
        """Let the last row of each key win among the run's own."""
        if self._own is None:
            keys, dead = self._log.settle()
            kept: list[DataFile] = []
            deletes: list[DataFile] = []
            for file in files:
                positions = dead.get(file.file_path)
                if positions is None:
                    kept.append(file)
                elif len(positions) > REWRITE_ABOVE * file.record_count:
                    kept += self._rewrite(FileScanTask(file), positions, self._own_paths)
                    _delete(self._io, [file.file_path])
                else:
                    kept.append(file)
                    deletes.append(self._write_deletes(file, positions, self._own_paths))
            self._own = _Own(kept, deletes, keys)
        return self._own

    def _changes(self, tasks: Sequence[FileScanTask], keys: KeySet) -> _Planned:
        planned = _Planned()
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            found = pool.map(lambda task: self._find(task, keys), tasks)
            touched = [(task, *each) for task, each in zip(tasks, found, strict=True) if len(each[0].positions)]
        for task, matches, gone in touched:
            planned.matched.append(matches.keys)
            planned.touched[task.file.file_path] = frozenset(each.file_path for each in task.delete_files)
            if len(matches.positions) > REWRITE_ABOVE * (task.file.record_count - len(gone)):
                planned.files += self._rewrite(task, pa.concat_arrays([matches.positions, gone]), self._paths)
                planned.removed.add(task.file.file_path)
                planned.removed |= {each.file_path for each in task.delete_files if is_about_only(each, task.file)}
        kept = [each for each in touched if each[0].file.file_path not in planned.removed]
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            planned.deletes += pool.map(
                lambda each: self._write_deletes(each[0].file, each[1].positions, self._paths), kept
            )
        return planned

    def _find(self, task: FileScanTask, keys: KeySet) -> tuple[Matches, pa.Array[Any]]:
        """Find the live rows of a file that the run replaces or deletes; with them, those that were deleted before."""
        path = task.file.file_path
        none = pa.array([], pa.int64())
        if path not in self._known:
            possible = keys.possible(task.file, self.metadata.specs()[task.file.spec_id])
            matches = Matches(none, none)
            if len(possible):
                matches = keys.match(possible, rows_of_file(self._io, task, self._key_schema, self.metadata))
            self._known[path] = matches
        matches = self._known[path]
        if not len(matches.positions) or not task.delete_files:
            return matches, none
        gone = read_deletes(self._io, task.delete_files, task.file)
        live = pc.invert(pc.is_in(matches.positions, value_set=gone))
        return Matches(matches.positions.filter(live), matches.keys.filter(live)), gone

    def _rewrite(self, task: FileScanTask, deleted: pa.Array[Any], paths: list[str]) -> list[DataFile]:
        """Write a file anew without some of its rows; nothing is written where no row is left."""
        position = 0
        rows = None
        for batch in rows_of_file(self._io, task, self.metadata.schema(), self.metadata):
            left = without(batch, position, deleted)
            position += batch.num_rows
            if not left.num_rows:
                continue
            if rows is None:
                rows = open_files(
                    self.metadata,
                    self._io,
                    left.schema,
                    self._options,
                    run_id=self._run_id,
                    buffer_bytes=self._buffer_bytes,
                )
                rows.paths = paths  # so that they are deleted with the rest, whatever happens
            rows.write(left)
        return list(rows.finish()) if rows is not None else []

    def _write_deletes(self, file: DataFile, positions: pa.Array[Any], paths: list[str]) -> DataFile:
        spec = self.metadata.specs()[file.spec_id]
        folder = "" if spec.is_unpartitioned() else spec.partition_to_path(file.partition, self.metadata.schema())
        path = self._name(folder)
        paths.append(path)
        return write_deletes(self._io, path, file, positions)


@dataclass(frozen=True)
class _Unchanged:
    """Whether a table still has the files that a merge was planned for.

    Attributes:
        files: The data files that were there.
        touched: Those with rows that go, each with the files that delete from it.
        keys: The keys that the run wrote or deleted.
    """

    files: frozenset[str]
    touched: Mapping[str, frozenset[str]]
    keys: KeySet

    def __call__(self, table: Table) -> None:
        """Look at the table again.

        Raises:
            MergeConflictError: The merge would not be right any more.
        """
        if not self.keys.size:
            return
        now = live_files(table)
        for path, deletes in self.touched.items():
            if path not in now:
                raise MergeConflictError(f"{path} was replaced by somebody else")
            if frozenset(each.file_path for each in now[path].delete_files) != deletes:
                raise MergeConflictError(f"rows of {path} were deleted by somebody else")
        specs = table.specs()
        for path, task in now.items():
            if path not in self.files and len(self.keys.possible(task.file, specs[task.file.spec_id])):
                raise MergeConflictError(f"{path} is new and may hold keys of this run")


def live_files(table: Table) -> dict[str, FileScanTask]:
    """List the data files of a table with what deletes from them, by their paths."""
    found: dict[str, FileScanTask] = {}
    with translated(f"listing the files of {'.'.join(table.name())}"):
        for task in table.scan().plan_files():
            assert isinstance(task, FileScanTask)  # noqa: S101  a table scan gives no other
            found[task.file.file_path] = task
    return found


def rows_of_file(io: FileIO, task: FileScanTask, schema: Schema, metadata: TableMetadata) -> Iterator[pa.RecordBatch]:
    """Read all rows of a data file in their order, deleted or not, in the columns of a schema."""
    with translated(f"reading {task.file.file_path}"):
        yield from _task_to_record_batches(
            io,
            FileScanTask(task.file),
            AlwaysTrue(),
            schema,
            metadata.schema(),
            schema.field_ids,
            None,
            True,  # noqa: FBT003  names are case-sensitive
            metadata.name_mapping(),
            metadata.specs().get(task.file.spec_id),
            metadata.format_version,
        )


def _delete(io: FileIO, paths: list[str]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):  # an orphan costs room, not correctness
            io.delete(path)
    paths.clear()
