"""The steps that show whether a job's tables can be written, none of which leaves a trace."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dativo_ingest.targets.iceberg.config import (
    DATABASE,
    DEFAULT_NAMESPACE,
    IcebergConfig,
    IcebergOptions,
    parse_options,
)
from dativo_plugin_sdk import ConnectionTestResult, InsufficientPermissionsError, InvalidConfigError
from dativo_plugin_sdk.results import Check
from dativo_plugin_sdk.tables import TableSpec

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.io import FileIO

    from dativo_ingest.targets.iceberg.catalogs import Connection


class Checks:
    """Looks at everything a run would need.

    Args:
        config: The target's configuration.
        connection: The catalog, opened for reading only.
        tables: What the job would write.
        options: What the target says of all tables, as the job has it.
    """

    def __init__(
        self, config: IcebergConfig, connection: Connection, tables: Sequence[TableSpec], options: dict[str, object]
    ) -> None:
        self._config = config
        self._connection = connection
        self._tables = tables
        self._options = options

    def steps(self) -> list[Check]:
        """List the steps, in the order in which one makes the next possible."""
        return [
            Check("warehouse", self._warehouse),
            Check("catalog", self._catalog),
            Check("namespace", self._namespaces),
            Check("table", self._existing_tables),
            Check("write_probe", self._write_probe),
        ]

    def _warehouse(self) -> ConnectionTestResult:
        folder = self._config.folder
        if folder is None:
            warehouse = self._config.connection.warehouse
            said = f"warehouse {warehouse}" if warehouse else "the catalog says where tables lie"
            return ConnectionTestResult(success=True, message=said, details={"warehouse": warehouse})
        existing = _nearest(folder)
        if not existing.is_dir():
            raise InvalidConfigError(
                f"warehouse {folder}: {existing} is a file", hint="check target.connection.warehouse"
            )
        if not os.access(existing, os.W_OK | os.X_OK):
            raise InsufficientPermissionsError(
                f"warehouse {folder}: {existing} cannot be written by this user",
                hint="let the user that runs the job write it",
            )
        said = "exists" if existing == folder else "will be created by the first run"
        return ConnectionTestResult(
            success=True, message=f"warehouse {folder} {said}", details={"warehouse": str(folder)}
        )

    def _catalog(self) -> ConnectionTestResult:
        from dativo_ingest.targets.iceberg.failures import translated  # noqa: PLC0415  after pyiceberg is needed

        folder = self._config.folder
        catalog = self._connection.to_read()
        if catalog is None:
            kind = "the embedded catalog" if folder is not None else "the tables of the catalog"
            return ConnectionTestResult(success=True, message=f"{kind} will be created by the first run")
        if folder is not None and not os.access(folder / DATABASE, os.W_OK):
            raise InsufficientPermissionsError(
                f"catalog {folder / DATABASE} cannot be written by this user",
                hint="let the user that runs the job write it",
            )
        with translated("listing namespaces"):
            count = len(catalog.list_namespaces())
        kind = "the embedded catalog" if self._config.folder is not None else f"catalog {catalog.name}"
        return ConnectionTestResult(
            success=True, message=f"{kind} answers: {count} namespace(s)", details={"catalog": catalog.name}
        )

    def _namespaces(self) -> ConnectionTestResult:
        from dativo_ingest.targets.iceberg.catalogs import namespace_of  # noqa: PLC0415
        from dativo_ingest.targets.iceberg.failures import translated  # noqa: PLC0415

        catalog = self._connection.to_read()
        missing = []
        names = sorted({spec.namespace or DEFAULT_NAMESPACE for spec in self._tables})
        for name in names:
            parts = namespace_of(name)
            with translated(f"looking for namespace {name}"):
                if catalog is None or not catalog.namespace_exists(parts):
                    missing.append(name)
        there = [name for name in names if name not in missing]
        said = [f"{', '.join(there)} exists"] if there else []
        said += [f"{', '.join(missing)} will be created by the first run"] if missing else []
        return ConnectionTestResult(success=True, message="; ".join(said) or "no tables", details={"missing": missing})

    def _existing_tables(self) -> ConnectionTestResult:
        from dativo_ingest.targets.iceberg import layout  # noqa: PLC0415
        from dativo_ingest.targets.iceberg.catalogs import find_table, identifier_of  # noqa: PLC0415

        catalog = self._connection.to_read()
        there, missing = [], []
        for spec in self._tables:
            options = self._options_of(spec)
            identifier = identifier_of(spec)
            table = find_table(catalog, identifier) if catalog is not None else None
            if table is None:
                missing.append(spec.name)
                continue
            there.append(spec.name)
            name = ".".join(identifier)
            layout.require_same_partitioning(options.partition_by, table.schema(), table.spec(), name)
            layout.require_same_sorting(options.sort_by, table.schema(), table.sort_order(), name)
        said = [f"{', '.join(there)} exists"] if there else []
        said += [f"{', '.join(missing)} will be created by the first run"] if missing else []
        return ConnectionTestResult(
            success=True, message="; ".join(said) or "no tables", details={"existing": there, "missing": missing}
        )

    def _options_of(self, spec: TableSpec) -> IcebergOptions:
        return parse_options(self._options, spec.options)

    def _write_probe(self) -> ConnectionTestResult:
        from dativo_ingest.targets.iceberg import probe  # noqa: PLC0415

        folder = self._config.folder
        if folder is not None:
            probe.write_and_delete_in_folder(folder)
            return ConnectionTestResult(success=True, message=f"a file was written under {folder} and deleted")
        catalog = self._connection.to_read()
        place = self._place(catalog)
        if place is None:
            return ConnectionTestResult(
                success=True,
                message="not tried: the catalog says where tables lie, and none of them exists yet",
                details={"warning": "writing was not tried"},
            )
        location, io = place
        if location.startswith(("file:", "/")):
            probe.write_and_delete_in_folder(Path(location.removeprefix("file://")).parent)
        else:
            probe.write_and_delete(io, location)
        return ConnectionTestResult(success=True, message=f"an object was written under {location} and deleted")

    def _place(self, catalog: Catalog | None) -> tuple[str, FileIO] | None:
        """Find where to write: beside the data of a table that is there, or under the warehouse."""
        from pyiceberg.io import load_file_io  # noqa: PLC0415
        from pyiceberg.table.locations import load_location_provider  # noqa: PLC0415

        from dativo_ingest.targets.iceberg.catalogs import find_table, identifier_of  # noqa: PLC0415

        for spec in self._tables:
            table = find_table(catalog, identifier_of(spec)) if catalog is not None else None
            if table is not None:
                locations = load_location_provider(table.location(), table.properties)
                name = f"dativo-probe-{uuid.uuid4()}.parquet"
                return locations.new_data_location(name), table.io
        properties = catalog.properties if catalog is not None else self._config.catalog_properties()
        warehouse = properties.get("warehouse", "")
        is_place = "://" in warehouse or (self._config.in_postgres and warehouse.startswith("/"))
        if is_place and self._config.connection.type != "rest" and not _is_http(self._config):
            return f"{warehouse.rstrip('/')}/dativo-probe-{uuid.uuid4()}", load_file_io(properties, warehouse)
        return None


def _is_http(config: IcebergConfig) -> bool:
    return (config.connection.uri or "").startswith("http")


def _nearest(folder: Path) -> Path:
    """Give a path, or the nearest of its parents that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
