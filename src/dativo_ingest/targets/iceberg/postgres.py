"""pyiceberg's SQL catalog in a Postgres database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyiceberg.catalog.sql import SqlCatalog, SqlCatalogBaseTable
from pyiceberg.exceptions import NamespaceAlreadyExistsError
from pyiceberg.typedef import EMPTY_DICT
from sqlalchemy import inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError

from dativo_ingest.targets.iceberg.staged_tables import StagedTables, location_of
from dativo_plugin_sdk import InvalidConfigError

if TYPE_CHECKING:
    from pyiceberg.typedef import Identifier, Properties

_DRIVER = "postgresql+psycopg"
_CAREFUL = {"connect_timeout": "10", "application_name": "dativo"}
_MAKING = int.from_bytes(b"iceberg", "big")  # the number of an advisory lock


class PostgresCatalog(StagedTables, SqlCatalog):
    """A catalog whose tables are two tables of a Postgres database; they are made by `create_tables`, not before.

    Args:
        name: Several catalogs may share a database; each sees its own tables.
        uri: ``postgresql://user@host:port/database``, with or without a driver's name.
        password: The user's, where the address has none.
        properties: What pyiceberg's file systems are told.
    """

    def __init__(self, name: str, *, uri: str, password: str | None = None, **properties: str) -> None:
        warehouse = properties.get("warehouse", "")
        if warehouse.startswith("/"):
            properties["warehouse"] = location_of(Path(warehouse))
        # A session that died while a slow source was read is opened anew.
        settings = {"pool_pre_ping": "true", **properties, "init_catalog_tables": "false"}
        super().__init__(name, **settings, uri=address(uri, password))

    @property
    def is_made(self) -> bool:
        """Whether the tables of the catalog are there."""
        found = inspect(self.engine)
        return all(found.has_table(name) for name in SqlCatalogBaseTable.metadata.tables)

    def create_tables(self) -> None:
        """Make the tables of the catalog where they are missing; another run may do so at the same time."""
        with self.engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _MAKING})
            SqlCatalogBaseTable.metadata.create_all(connection)

    def create_namespace(self, namespace: str | Identifier, properties: Properties = EMPTY_DICT) -> None:
        """Create a namespace.

        Raises:
            NamespaceAlreadyExistsError: It is there, or another run made it at the same time.
        """
        try:
            super().create_namespace(namespace, properties)
        except IntegrityError as error:
            raise NamespaceAlreadyExistsError(f"Namespace {namespace} already exists") from error


def address(uri: str, password: str | None) -> str:
    """Give a database's address as SQLAlchemy wants it: by the driver that is here, patient for ten seconds.

    Raises:
        InvalidConfigError: It cannot be read.
    """
    try:
        url = make_url(uri).set(drivername=_DRIVER)
    except (ArgumentError, ValueError):
        # What SQLAlchemy says repeats the address, and a password in it.
        raise InvalidConfigError(
            "target.connection.uri is no address of a database",
            hint="write postgresql://user@host:5432/database; @ / : # % in a user are written in percent form",
        ) from None
    if password is not None:
        url = url.set(password=password)
    return url.set(query={**_CAREFUL, **url.query}).render_as_string(hide_password=False)
