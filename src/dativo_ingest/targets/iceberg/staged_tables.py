"""How a catalog stages a new table: pyiceberg's own way knows namespaces of one level alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.exceptions import NoSuchNamespaceError
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.table import CreateTableTransaction, StagedTable
from pyiceberg.table.locations import load_location_provider
from pyiceberg.table.metadata import new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortOrder
from pyiceberg.typedef import EMPTY_DICT, Identifier, Properties

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.schema import Schema


def location_of(folder: Path) -> str:
    """Give the Iceberg location of a folder: a ``file`` URI, or the bare path where a URI would cut it short."""
    path = str(folder)
    return path if set("#?") & set(path) else f"file://{path}"


class StagedTables(MetastoreCatalog):
    """A catalog that stages tables in namespaces of any depth."""

    def create_table_transaction(  # noqa: PLR0913, PLR0917  pyiceberg's signature
        self,
        identifier: str | Identifier,
        schema: Schema | pa.Schema,
        location: str | None = None,
        partition_spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC,
        sort_order: SortOrder = UNSORTED_SORT_ORDER,
        properties: Properties = EMPTY_DICT,
    ) -> CreateTableTransaction:
        """Stage a new table, in a namespace of any depth; it exists once the transaction is committed."""
        namespace = self.namespace_to_string(self.namespace_from(identifier))
        name = self.table_name_from(identifier)
        if not self.namespace_exists(namespace):
            raise NoSuchNamespaceError(f"Namespace does not exist: {namespace}")
        location = self._resolve_table_location(location, namespace, name)
        if location.startswith("file://"):
            location = location_of(Path(location.removeprefix("file://")))  # the table's own name may have a "#"
        metadata = new_table_metadata(
            location=location,
            schema=self._convert_schema_if_needed(schema),
            partition_spec=partition_spec,
            sort_order=sort_order,
            properties=properties,
        )
        metadata_location = load_location_provider(location, properties).new_table_metadata_file_location()
        return CreateTableTransaction(
            StagedTable(
                identifier=self.identifier_to_tuple(identifier),
                metadata=metadata,
                metadata_location=metadata_location,
                io=self._load_file_io(properties, metadata_location),
                catalog=self,
            )
        )
