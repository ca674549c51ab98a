"""The catalog that a configuration names, opened; its namespaces and tables, found or made."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
)

from dativo_ingest.postgres.failures import require_psycopg
from dativo_ingest.targets.iceberg.config import DATABASE, DEFAULT_NAMESPACE
from dativo_ingest.targets.iceberg.embedded import EmbeddedCatalog
from dativo_ingest.targets.iceberg.failures import translated
from dativo_plugin_sdk import InvalidConfigError

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from dativo_ingest.targets.iceberg.config import IcebergConfig
    from dativo_plugin_sdk import TableSpec

REQUEST_TIMEOUT_S = 60.0
"""How long a REST catalog may think before an answer; pyiceberg by itself waits for ever."""


class Connection:
    """One run's hold on a catalog, opened when it is first needed."""

    def __init__(self, config: IcebergConfig) -> None:
        self._config = config
        self._catalog: Catalog | None = None

    def to_read(self) -> Catalog | None:
        """Give the catalog; None where it is one of ours that does not exist, which is then not created."""
        if self._catalog is None:
            self._catalog = open_catalog(self._config, create=False)
        return self._catalog

    def to_write(self) -> Catalog:
        """Give the catalog; one of ours is created when missing."""
        if self._catalog is None:
            self._catalog = open_catalog(self._config, create=True)
        assert self._catalog is not None  # noqa: S101  it was asked to be created
        return self._catalog

    def close(self) -> None:
        """Let go of the catalog; may be called twice."""
        if self._catalog is not None:
            self._catalog.close()
        self._catalog = None


def open_catalog(config: IcebergConfig, *, create: bool = True) -> Catalog | None:
    """Open the catalog that ``config`` names.

    Args:
        config: The target's configuration.
        create: Whether a catalog of ours that is missing is made, in SQLite or Postgres; without it, None is given.
    """
    connection = config.connection
    properties = config.catalog_properties()
    folder = config.folder
    # An SQL catalog's address may hold a password.
    address = _USER.sub("//", connection.uri) if connection.uri is not None else connection.type
    place = address if folder is None else folder / DATABASE
    with translated(f"opening catalog {connection.catalog} ({place})"):
        if folder is not None:
            try:
                return EmbeddedCatalog(connection.catalog, folder, create=create, **properties)
            except FileNotFoundError:
                if create:
                    raise
                return None
        if config.in_postgres:
            return _in_postgres(config, create=create)
        if connection.type == "rest" or (connection.type is None and (connection.uri or "").startswith("http")):
            from dativo_ingest.targets.iceberg.rest import TimedRestCatalog  # noqa: PLC0415  it imports requests

            return TimedRestCatalog(connection.catalog, timeout_s=REQUEST_TIMEOUT_S, **properties)
        arguments: dict[str, Any] = {**properties}
        return load_catalog(connection.catalog, **arguments)


def _in_postgres(config: IcebergConfig, *, create: bool) -> Catalog | None:
    require_psycopg("an Iceberg catalog in Postgres")
    from dativo_ingest.targets.iceberg.postgres import PostgresCatalog  # noqa: PLC0415  it imports SQLAlchemy

    properties = config.catalog_properties()
    password = config.credentials.password
    uri = properties.pop("uri")
    secret = None if password is None else password.get_secret_value()
    catalog = PostgresCatalog(config.connection.catalog, uri=uri, password=secret, **properties)
    if not catalog.is_made:
        if not create:
            catalog.close()
            return None
        catalog.create_tables()
    return catalog


_USER = re.compile(r"//[^/@]*@")


def namespace_of(text: str) -> tuple[str, ...]:
    """Split a dotted namespace.

    Raises:
        InvalidConfigError: A part is empty, or cannot be a folder of the warehouse.
    """
    parts = tuple(text.split("."))
    if not all(parts):
        raise InvalidConfigError(f"target.namespace {text!r}: a part of it is empty")
    for part in parts:
        _refuse_ways("namespace", part)
    return parts


def identifier_of(spec: TableSpec) -> tuple[str, ...]:
    """Give a table's namespace, level by level, and its name.

    Raises:
        InvalidConfigError: A part cannot be a folder of the warehouse: a table called ``..`` would lie outside of it.
    """
    _refuse_ways("table", spec.name)
    return (*namespace_of(spec.namespace or DEFAULT_NAMESPACE), spec.name)


def _refuse_ways(what: str, name: str) -> None:
    if name in {".", ".."} or "/" in name or "\0" in name:
        raise InvalidConfigError(f"{what} {name!r} cannot be a folder of the warehouse; name it without slashes")


def find_table(catalog: Catalog, identifier: tuple[str, ...]) -> Table | None:
    """Load a table; None where it or its namespace does not exist."""
    with translated(f"loading table {'.'.join(identifier)}"):
        try:
            return catalog.load_table(identifier)
        except (NoSuchTableError, NoSuchNamespaceError):
            return None


def ensure_namespace(catalog: Catalog, namespace: tuple[str, ...]) -> None:
    """Create a namespace and those above it where they are missing; somebody else may do so at the same time."""
    with translated(f"creating namespace {'.'.join(namespace)}"):
        if catalog.namespace_exists(namespace):
            return
        for depth in range(1, len(namespace) + 1):
            if not catalog.namespace_exists(namespace[:depth]):
                with contextlib.suppress(NamespaceAlreadyExistsError):
                    catalog.create_namespace(namespace[:depth])
