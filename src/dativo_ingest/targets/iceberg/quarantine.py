"""Rejected rows in a second table, exactly once although two tables cannot commit together.

The rows are written first, as data files that no table knows. The main table's commit carries a pointer to them. Then
the files are appended to the quarantine table in one commit that also notes the main commit's generation there. If a
crash comes between the two, the next run finds a pointer whose generation the quarantine table has not noted, and
finishes the work; the note is fenced, so that two who try at once append the files once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pyarrow.parquet as pq
from pyiceberg.exceptions import CommitFailedException, TableAlreadyExistsError

from dativo_ingest.targets.iceberg.catalogs import ensure_namespace, find_table
from dativo_ingest.targets.iceberg.config import IcebergOptions
from dativo_ingest.targets.iceberg.evolution import plan_changes
from dativo_ingest.targets.iceberg.failures import translated
from dativo_ingest.targets.iceberg.parquet_file import data_file
from dativo_ingest.targets.iceberg.producers import RUN_ID, FenceBrokenError, stage_snapshot
from dativo_ingest.targets.iceberg.table_files import format_options, layout_properties, open_files
from dativo_ingest.targets.iceberg.types import to_iceberg_schema
from dativo_plugin_sdk import ConcurrencyError, ResourceNotFoundError, SchemaValidationError
from dativo_plugin_sdk.tables import CommittedState, TableSpec

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata

    from dativo_ingest.targets.iceberg.data_files import DataFiles

_ATTEMPTS = 5
_OPTIONS = IcebergOptions()


@dataclass(frozen=True)
class Quarantine:
    """The quarantine table of one stream's table.

    Args:
        catalog: Where both tables are.
        namespace: Where both tables are.
        spec: The main table and its stream.
    """

    catalog: Catalog
    namespace: tuple[str, ...]
    spec: TableSpec

    @property
    def identifier(self) -> tuple[str, ...]:
        """The quarantine table's full name."""
        return (*self.namespace, self.spec.quarantine_name)

    @property
    def name(self) -> str:
        """The quarantine table's full name, for people."""
        return ".".join(self.identifier)

    @property
    def _note(self) -> str:
        return f"dativo.quarantine.{self.spec.job}/{self.spec.stream}"

    def open(self, incoming: pa.Schema) -> DataFiles:
        """Make ready to write rejected rows; the table is created when missing, and takes new columns at once."""
        ensure_namespace(self.catalog, self.namespace)
        table = self._ready(incoming)
        return open_files(
            table.metadata,
            table.io,
            incoming,
            _OPTIONS,
            run_id=self.spec.run_id,
            buffer_bytes=max(1, min(self.spec.buffer_bytes // 8, 16 * 2**20)),
        )

    def _ready(self, incoming: pa.Schema) -> Table:
        wanted = to_iceberg_schema(incoming)
        with translated(f"preparing {self.name}"):
            for _ in range(_ATTEMPTS):
                table = find_table(self.catalog, self.identifier)
                try:
                    if table is None:
                        properties = layout_properties(_OPTIONS)
                        return self.catalog.create_table(self.identifier, wanted, properties=properties)
                    if not table.spec().is_unpartitioned():
                        raise SchemaValidationError(
                            f"{self.name} is partitioned; a quarantine table must not be",
                            hint="rename it, so that the next run creates another",
                        )
                    changes = plan_changes(table.schema(), wanted, self.name)
                    if changes:
                        with table.update_schema() as update:
                            for change in changes:
                                change.apply(update)
                except (CommitFailedException, TableAlreadyExistsError):
                    continue  # somebody else did it
                return table
        raise ConcurrencyError(f"{self.name} is being changed by others all the time", hint="run the job again")

    def pointer(self, files: Sequence[DataFile], commit_id: str) -> dict[str, Any] | None:
        """Say where the rejected rows of a commit lie; None where there are none."""
        if not files:
            return None
        return {
            "commit_id": commit_id,
            "table": self.name,
            "files": [{"path": file.file_path, "rows": file.record_count} for file in files],
        }

    def publish(self, state: CommittedState, table_uuid: str, files: Sequence[DataFile] | None = None) -> None:
        """Append the files that a committed state points to, unless that has happened.

        Args:
            state: What the main table remembers.
            table_uuid: The main table: generations of another table of its name do not count.
            files: The files, where they are at hand; otherwise their footers are read.
        """
        pointer = state.quarantine
        if pointer is None:
            return

        def fence(metadata: TableMetadata) -> None:
            if self._is_published(metadata, state, table_uuid):
                raise FenceBrokenError("published by somebody else")

        note = {"table_uuid": table_uuid, "generation": state.generation, "commit_id": state.commit_id}
        with translated(f"publishing rejected rows in {self.name}"):
            for _ in range(_ATTEMPTS):
                table = find_table(self.catalog, self.identifier)
                if table is None:
                    table = self._recreate(pointer)
                if self._is_published(table.metadata, state, table_uuid):
                    return
                found = files if files is not None else self._read(table, pointer)
                try:
                    with table.transaction() as transaction:
                        transaction.set_properties({self._note: json.dumps(note)})
                        summary = {"dativo.commit-id": str(state.commit_id), RUN_ID: str(state.run_id)}
                        stage_snapshot(transaction, found, replace=False, fence=fence, summary=summary)
                except FenceBrokenError:
                    return
                except CommitFailedException:
                    continue
                return
        raise ConcurrencyError(
            f"{self.name} is being changed by others all the time; the rows of {self.spec.name} are committed, its "
            "rejected rows will be published by the next run",
            hint="run the job again",
        )

    def _is_published(self, metadata: TableMetadata, state: CommittedState, table_uuid: str) -> bool:
        note = json.loads(metadata.properties.get(self._note, "{}"))
        return note.get("table_uuid") == table_uuid and int(note.get("generation", 0)) >= state.generation

    def _read(self, table: Table, pointer: Mapping[str, Any]) -> list[DataFile]:
        options = format_options(table.metadata, _OPTIONS)
        found = []
        for item in pointer["files"]:
            source = table.io.new_input(item["path"])
            with source.open() as stream:
                metadata = pq.read_metadata(cast("Any", stream))
            if metadata.num_rows != item["rows"]:
                raise ResourceNotFoundError(
                    f"{item['path']} holds {metadata.num_rows} rejected rows, {item['rows']} were committed"
                )
            found.append(data_file(metadata, options, path=item["path"], size_bytes=len(source)))
        return found

    def _recreate(self, pointer: Mapping[str, Any]) -> Table:
        """Make the table anew, with the columns of the files that wait for it: somebody dropped it in between."""
        from pyiceberg.io import load_file_io  # noqa: PLC0415  only in this odd case

        path = pointer["files"][0]["path"]
        with load_file_io(self.catalog.properties, path).new_input(path).open() as stream:
            schema = pq.read_schema(cast("Any", stream))
        return self._ready(schema)
