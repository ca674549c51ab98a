"""The Iceberg target as the engine sees it; pyiceberg is imported when a table or the catalog is first touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from dativo_ingest.targets.iceberg.checks import Checks
from dativo_ingest.targets.iceberg.config import parse_config, parse_options
from dativo_plugin_sdk import TableCare, TargetConfig
from dativo_plugin_sdk.results import Check
from dativo_plugin_sdk.tables import Delivery, StreamWriter, TableSpec, TableWriter, WriteMode

if TYPE_CHECKING:
    from dativo_ingest.targets.iceberg.catalogs import Connection


class IcebergWriter(StreamWriter):
    """Writes Iceberg tables.

    Args:
        config: ``connection``, ``credentials`` and ``options`` as `dativo_ingest.targets.iceberg.config` has them.

    Raises:
        InvalidConfigError: A key or value is wrong.
        MissingConfigError: Nothing says where the tables go.
    """

    delivery: ClassVar[Delivery] = "exactly_once"
    write_modes: ClassVar[frozenset[WriteMode]] = frozenset({"append", "overwrite", "merge"})
    deletes_rows: ClassVar[bool] = True
    compares_keys: ClassVar[bool] = True

    def __init__(self, config: TargetConfig) -> None:
        super().__init__(config)
        self._parsed = parse_config(config)
        self._opened: Connection | None = None

    def check(self, tables: Sequence[TableSpec]) -> Sequence[Check]:
        """Look at warehouse, catalog, namespaces and tables, then write something and delete it again."""
        return Checks(self._parsed, self._connection, tables, dict(self.config.options)).steps()

    def table(self, spec: TableSpec) -> TableWriter:
        """Give the writer of one table."""
        from dativo_ingest.targets.iceberg.table import IcebergTable  # noqa: PLC0415  it imports pyiceberg

        return IcebergTable(self._connection, spec, parse_options(self.config.options, spec.options))

    def care(self, spec: TableSpec) -> Sequence[TableCare]:
        """Give what takes care of the table and of its quarantine table, of those that exist."""
        from dativo_ingest.targets.iceberg.care import care_for  # noqa: PLC0415  it imports pyiceberg

        return care_for(self._connection, spec, parse_options(self.config.options, spec.options))

    def close(self) -> None:
        """Close the catalog."""
        if self._opened is not None:
            self._opened.close()

    @property
    def _connection(self) -> Connection:
        from dativo_ingest.targets.iceberg.catalogs import Connection  # noqa: PLC0415  it imports pyiceberg

        if self._opened is None:
            self._opened = Connection(self._parsed)
        return self._opened
