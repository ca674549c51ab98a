"""The care for one Iceberg table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dativo_ingest.targets.iceberg.catalogs import find_table, identifier_of
from dativo_ingest.targets.iceberg.compaction import Compactor
from dativo_ingest.targets.iceberg.compaction_plan import is_small
from dativo_ingest.targets.iceberg.config import IcebergOptions
from dativo_ingest.targets.iceberg.expiry import expire
from dativo_ingest.targets.iceberg.live_files import read_live_files
from dativo_ingest.targets.iceberg.orphans import Sweeper, waiting_files
from dativo_ingest.targets.iceberg.table_files import target_file_bytes
from dativo_plugin_sdk import (
    Compacted,
    Compaction,
    Expired,
    Expiry,
    ResourceNotFoundError,
    Sweep,
    Swept,
    TableCare,
    TableHealth,
)

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from dativo_ingest.targets.iceberg.catalogs import Connection
    from dativo_plugin_sdk import TableSpec

_QUARANTINE = "__quarantine"


def care_for(connection: Connection, spec: TableSpec, options: IcebergOptions) -> list[IcebergCare]:
    """Give what takes care of a table and of its quarantine table, of those that exist."""
    catalog = connection.to_read()
    if catalog is None:
        return []
    identifier = identifier_of(spec)
    tables = {identifier: options, (*identifier[:-1], spec.quarantine_name): IcebergOptions()}
    return [
        IcebergCare(connection, each, layout, run_id=spec.run_id, buffer_bytes=spec.buffer_bytes)
        for each, layout in tables.items()
        if find_table(catalog, each) is not None
    ]


class IcebergCare(TableCare):
    """Takes care of one table.

    Args:
        connection: The catalog.
        identifier: The table.
        options: What the job says of its files.
        run_id: Begins the names of files.
        buffer_bytes: How much Arrow data may wait to be written.
    """

    def __init__(
        self,
        connection: Connection,
        identifier: tuple[str, ...],
        options: IcebergOptions,
        *,
        run_id: str,
        buffer_bytes: int,
    ) -> None:
        self.name = ".".join(identifier)
        self._connection = connection
        self._identifier = identifier
        self._options = options
        self._run_id = run_id
        self._buffer_bytes = buffer_bytes

    def health(self) -> TableHealth:
        """Look at the table; only metadata is read."""
        table = self._load()
        live = read_live_files(table)
        target_bytes = target_file_bytes(table.metadata.properties, self._options)
        files = live.files.values()
        deleted = sum(each.deleted_rows for each in files)
        oldest = min((each.timestamp_ms for each in table.metadata.snapshots), default=None)
        return TableHealth(
            files=len(files),
            small_files=sum(is_small(each, target_bytes) for each in files),
            bytes=sum(each.file.file_size_in_bytes for each in files),
            rows=sum(each.file.record_count for each in files) - deleted,
            delete_files=len(live.deletes) + live.by_values,
            deleted_rows=deleted,
            most_deletes=max((len(each.deletes) for each in files), default=0),
            snapshots=len(table.metadata.snapshots),
            oldest_snapshot_at=None if oldest is None else datetime.fromtimestamp(oldest / 1000, UTC),
            manifests=len(live.manifests),
            target_file_bytes=target_bytes,
        )

    def compact(self, asked: Compaction, *, dry_run: bool) -> Compacted:
        """Write small files and files with deleted rows anew, in one snapshot."""
        compactor = Compactor(self._load, self.name, self._options, self._run_id, self._buffer_bytes)
        return compactor.compact(asked, dry_run=dry_run)

    def expire(self, asked: Expiry, *, dry_run: bool) -> Expired:
        """Forget old snapshots, then delete the files that only they needed."""
        return expire(self._load, self.name, asked, dry_run=dry_run)

    def orphans(self, asked: Sweep, *, dry_run: bool) -> Swept:
        """Delete files of the table's folders that nothing refers to."""
        return Sweeper(self._load, self.name, self._waiting).sweep(asked, dry_run=dry_run)

    def _waiting(self) -> set[str]:
        """Give the files that states of the table, or of the one whose rejected rows it takes, point to."""
        owner = (*self._identifier[:-1], self._identifier[-1].removesuffix(_QUARANTINE))
        tables = (find_table(self._connection.to_write(), each) for each in {self._identifier, owner})
        return {path for table in tables if table is not None for path in waiting_files(table.metadata)}

    def _load(self) -> Table:
        table = find_table(self._connection.to_write(), self._identifier)
        if table is None:
            raise ResourceNotFoundError(f"table {self.name} does not exist any more")
        return table
