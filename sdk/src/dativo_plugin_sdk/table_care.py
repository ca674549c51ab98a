"""What keeps a table healthy: fewer and larger files, fewer old versions, no files that nothing refers to.

None of it changes what the table's rows are, nor its streams' state; all of it may be done while others write.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class TableHealth:
    """What a table consists of now; counts that a target has no notion of are None.

    Attributes:
        files: Data files of the current version.
        small_files: Those of them that are well below the size that the table's files should have.
        bytes: What the data files take.
        rows: Rows that readers see.
        delete_files: Files that say which rows of data files are gone.
        deleted_rows: Rows that are still in data files although they are gone.
        most_deletes: The most files of deletes that a single data file has.
        snapshots: Versions that can still be read.
        oldest_snapshot_at: When the oldest of them was made.
        manifests: Lists of files that a reader of the current version has to open.
        target_file_bytes: The size that a data file should have.
    """

    files: int
    small_files: int
    bytes: int
    rows: int
    delete_files: int
    deleted_rows: int
    most_deletes: int
    snapshots: int
    oldest_snapshot_at: datetime | None
    manifests: int | None
    target_file_bytes: int

    @property
    def deleted_ratio(self) -> float:
        """The part of the rows in data files that is gone."""
        stored = self.rows + self.deleted_rows
        return self.deleted_rows / stored if stored else 0.0


@dataclass(frozen=True)
class Compaction:
    """Which files to write anew.

    Attributes:
        target_file_bytes: How large files should get; None takes what the table says.
        min_input_files: So many small files, which belong together, are worth it.
        min_delete_files: A data file that so many files delete rows from is written anew.
        min_deleted_ratio: So is one that has lost such a part of its rows.
        min_manifests: So many manifests are put together, where fewer would do.
    """

    target_file_bytes: int | None = None
    min_input_files: int = 5
    min_delete_files: int = 1
    min_deleted_ratio: float = 0.1
    min_manifests: int = 50


@dataclass(frozen=True)
class Compacted:
    """What a compaction did, or would do: what comes out is then an estimate.

    Attributes:
        files_removed: Data files that were written anew.
        files_added: Data files that came in their place.
        bytes_removed: Their size before.
        bytes_added: Their size now.
        delete_files_removed: Files of deletes that are of no use any more.
        deleted_rows_removed: Rows that were gone already and are now out of the files.
        manifests_removed: How many manifests less there are.
        left: Data files that a run changed at the same time, and which were left as they are.
        snapshot_id: The last version that was made for it; None where there was nothing to do.
    """

    files_removed: int = 0
    files_added: int = 0
    bytes_removed: int = 0
    bytes_added: int = 0
    delete_files_removed: int = 0
    deleted_rows_removed: int = 0
    manifests_removed: int = 0
    left: int = 0
    snapshot_id: str | None = None


@dataclass(frozen=True)
class Expiry:
    """Which versions to keep: those that are young enough, the last ones, and all that branches and tags need.

    Attributes:
        older_than: How old a version must be to go.
        retain_last: So many of a branch stay however old they are.
        min_snapshots: Nothing is done for fewer than these.
    """

    older_than: timedelta
    retain_last: int = 1
    min_snapshots: int = 1


@dataclass(frozen=True)
class Expired:
    """What an expiry did, or would do.

    Attributes:
        snapshots_removed: Versions that cannot be read any more.
        snapshots_kept: Those that can.
        files_removed: Data and delete files that only the removed versions needed.
        metadata_files_removed: The same for files of metadata.
        bytes_removed: What the data and delete files took.
        failed: Files that could not be deleted: they are orphans now.
    """

    snapshots_removed: int = 0
    snapshots_kept: int = 0
    files_removed: int = 0
    metadata_files_removed: int = 0
    bytes_removed: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Sweep:
    """Which files that nothing refers to may go.

    Attributes:
        older_than: How long ago a file, and every other one of its run, was written last.
        running: The runs that are known to be at work: none of their files goes.
    """

    older_than: timedelta
    running: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Swept:
    """What a sweep did, or would do.

    Attributes:
        files: The files that nothing refers to and that are old enough, by their full locations.
        bytes: What they took.
        young: How many more nothing refers to that are too young to go.
        older_than: The age that they had to have: longer than asked for where runs of this table took longer.
        failed: How many could not be deleted.
    """

    files: Sequence[str] = ()
    bytes: int = 0
    young: int = 0
    older_than: timedelta = timedelta()
    failed: int = 0


class TableCare(ABC):
    """The care for one table that exists; ``dry_run`` says what would be done and changes nothing."""

    name: str
    """The table's full name, for people."""

    @abstractmethod
    def health(self) -> TableHealth:
        """Look at the table; its rows are not read."""

    @abstractmethod
    def compact(self, asked: Compaction, *, dry_run: bool) -> Compacted:
        """Write small files and files with deleted rows anew.

        A run that commits at the same time never loses against it: files that the run changed are tried again, and
        left as they are in the end.

        Raises:
            ConcurrencyError: Every file that was to be written anew was changed by others, again and again.
        """

    @abstractmethod
    def expire(self, asked: Expiry, *, dry_run: bool) -> Expired:
        """Forget old versions, then delete the files that only they needed."""

    @abstractmethod
    def orphans(self, asked: Sweep, *, dry_run: bool) -> Swept:
        """Delete files that nothing refers to, such as those of a run that was killed.

        Raises:
            ResourceError: What lies there does not agree with what the table refers to, so nothing was deleted.
        """
