"""The catalog that lives in the warehouse folder: one SQLite file, in the layout of pyiceberg's own SQL catalog.

Any Iceberg tool that knows an SQL catalog opens it as ``sqlite:///<warehouse>/catalog.db``. It is written here with
the standard library because SQLAlchemy alone takes longer to import than a small job takes to run, and because every
change is one ``BEGIN IMMEDIATE`` transaction that waits for its turn instead of failing half-way with a lock.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pyiceberg.catalog import PropertiesUpdateSummary
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NamespaceNotEmptyError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.io import load_file_io
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortOrder
from pyiceberg.typedef import EMPTY_DICT, Identifier, Properties

from dativo_ingest.targets.iceberg.config import DATABASE
from dativo_ingest.targets.iceberg.staged_tables import StagedTables, location_of
from dativo_plugin_sdk import InvalidConfigError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.schema import Schema
    from pyiceberg.table.update import TableRequirement, TableUpdate
    from pyiceberg.view import View

LOCK_TIMEOUT_S = 30.0
LOCK_TIMEOUT_PROPERTY = "dativo.lock-timeout-s"

_TABLES = (
    """CREATE TABLE IF NOT EXISTS iceberg_tables (
        catalog_name VARCHAR(255) NOT NULL,
        table_namespace VARCHAR(255) NOT NULL,
        table_name VARCHAR(255) NOT NULL,
        metadata_location VARCHAR(1000),
        previous_metadata_location VARCHAR(1000),
        iceberg_type VARCHAR(5),
        PRIMARY KEY (catalog_name, table_namespace, table_name)
    )""",
    """CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
        catalog_name VARCHAR(255) NOT NULL,
        namespace VARCHAR(255) NOT NULL,
        property_key VARCHAR(255) NOT NULL,
        property_value VARCHAR(1000) NOT NULL,
        PRIMARY KEY (catalog_name, namespace, property_key)
    )""",
)


class EmbeddedCatalog(StagedTables):
    """A catalog in one SQLite file; it and its folder are created when missing.

    Args:
        name: Several catalogs may share the file; each sees its own tables.
        folder: The warehouse folder.
        properties: What pyiceberg's file systems are told.
        create: Whether to make what is missing; without it, a missing file raises ``FileNotFoundError``.
    """

    def __init__(self, name: str, folder: Path, *, create: bool = True, **properties: str) -> None:
        super().__init__(name, **{**properties, "warehouse": location_of(folder)})
        self._timeout_s = float(properties.get(LOCK_TIMEOUT_PROPERTY, LOCK_TIMEOUT_S))
        path = folder / DATABASE
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            raise FileNotFoundError(str(path))
        self._connection = sqlite3.connect(path, timeout=self._timeout_s, isolation_level=None, check_same_thread=False)
        if not self._has_tables():
            if not create:
                self._connection.close()
                raise FileNotFoundError(str(path))
            self._create_tables()
        self._require_layout(path)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _has_tables(self) -> bool:
        names = {row[0] for row in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return {"iceberg_tables", "iceberg_namespace_properties"} <= names

    def _create_tables(self) -> None:
        with self._changing() as cursor:
            for statement in _TABLES:
                cursor.execute(statement)

    def _require_layout(self, path: Path) -> None:
        columns = {row[1] for row in self._rows("PRAGMA table_info(iceberg_tables)")}
        if columns and "iceberg_type" not in columns:
            raise InvalidConfigError(
                f"{path} is an Iceberg catalog in an older layout (iceberg_tables has no iceberg_type)",
                hint="add it: ALTER TABLE iceberg_tables ADD COLUMN iceberg_type VARCHAR(5)",
            )

    def _rows(self, statement: str, *values: str) -> list[tuple[str, ...]]:
        return self._connection.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Cursor]:
        """Hold the one write lock; all of the block's changes land, or none."""
        cursor = self._connection.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        try:
            yield cursor
            cursor.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                cursor.execute("ROLLBACK")
            raise

    def _metadata_location(self, identifier: str | Identifier) -> str | None:
        namespace, name = self._split(identifier)
        rows = self._rows(
            "SELECT metadata_location FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ? "
            "AND table_name = ? AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)",
            self.name,
            namespace,
            name,
        )
        return rows[0][0] if rows else None

    def _split(self, identifier: str | Identifier) -> tuple[str, str]:
        return self.namespace_to_string(self.namespace_from(identifier)), self.table_name_from(identifier)

    def load_table(self, identifier: str | Identifier) -> Table:
        """Read a table's current metadata."""
        location = self._metadata_location(identifier)
        if location is None:
            raise NoSuchTableError(f"Table does not exist: {'.'.join(self.identifier_to_tuple(identifier))}")
        return self._table_at(identifier, location)

    def _table_at(self, identifier: str | Identifier, location: str) -> Table:
        metadata = FromInputFile.table_metadata(load_file_io(self.properties, location).new_input(location))
        return Table(
            identifier=self.identifier_to_tuple(identifier),
            metadata=metadata,
            metadata_location=location,
            io=self._load_file_io(metadata.properties, location),
            catalog=self,
        )

    def create_table(  # noqa: PLR0913, PLR0917  pyiceberg's signature
        self,
        identifier: str | Identifier,
        schema: Schema | pa.Schema,
        location: str | None = None,
        partition_spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC,
        sort_order: SortOrder = UNSORTED_SORT_ORDER,
        properties: Properties = EMPTY_DICT,
    ) -> Table:
        """Create an empty table."""
        staged = self.create_table_transaction(identifier, schema, location, partition_spec, sort_order, properties)
        try:
            return staged.commit_transaction()
        except CommitFailedException as error:
            raise TableAlreadyExistsError(str(error)) from error

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Swap a table's metadata for new metadata, unless somebody else did in between.

        Raises:
            CommitFailedException: A requirement does not hold, or somebody else was faster.
        """
        identifier = table.name()
        location = self._metadata_location(identifier)
        current: Table | None = None
        if location is not None:
            # The metadata of a location never changes, so what the caller holds need not be read again.
            current = table if location == table.metadata_location else self._table_at(identifier, location)
        staged = self._update_and_stage_table(current, identifier, requirements, updates)
        if current is not None and staged.metadata == current.metadata:
            return CommitTableResponse(metadata=current.metadata, metadata_location=current.metadata_location)
        self._write_metadata(staged.metadata, staged.io, staged.metadata_location)
        if not self._swap(identifier, location, staged.metadata_location):
            staged.io.delete(staged.metadata_location)
            raise CommitFailedException(f"{'.'.join(identifier)} was changed by somebody else")
        return CommitTableResponse(metadata=staged.metadata, metadata_location=staged.metadata_location)

    def _swap(self, identifier: Identifier, old: str | None, new: str) -> bool:
        namespace, name = self._split(identifier)
        with self._changing() as cursor:
            if old is None:
                cursor.execute(
                    "INSERT OR IGNORE INTO iceberg_tables VALUES (?, ?, ?, ?, NULL, 'TABLE')",
                    (self.name, namespace, name, new),
                )
            else:
                cursor.execute(
                    "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ? WHERE catalog_name"
                    " = ? AND table_namespace = ? AND table_name = ? AND metadata_location = ?",
                    (new, old, self.name, namespace, name, old),
                )
            return cursor.rowcount == 1

    def drop_table(self, identifier: str | Identifier) -> None:
        """Forget a table; its files stay."""
        namespace, name = self._split(identifier)
        with self._changing() as cursor:
            cursor.execute(
                "DELETE FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ? "
                "AND table_name = ? AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)",
                (self.name, namespace, name),
            )
            if cursor.rowcount < 1:
                raise NoSuchTableError(f"Table does not exist: {namespace}.{name}")

    def list_tables(self, namespace: str | Identifier) -> list[Identifier]:
        """List the tables that lie directly in a namespace."""
        text = self.namespace_to_string(namespace)
        if not self.namespace_exists(namespace):
            raise NoSuchNamespaceError(f"Namespace does not exist: {text}")
        rows = self._rows(
            "SELECT table_name FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ? "
            "AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)",
            self.name,
            text,
        )
        return [(*self.identifier_to_tuple(namespace), row[0]) for row in rows]

    def namespace_exists(self, namespace: str | Identifier) -> bool:
        """Say whether a namespace, or one below it, was created or holds a table."""
        text = self.namespace_to_string(namespace, NoSuchNamespaceError)
        return any(name == text or name.startswith(f"{text}.") for name in self._namespaces())

    def _namespaces(self) -> set[str]:
        rows = self._rows(
            "SELECT table_namespace FROM iceberg_tables WHERE catalog_name = ? "
            "UNION SELECT namespace FROM iceberg_namespace_properties WHERE catalog_name = ?",
            self.name,
            self.name,
        )
        return {row[0] for row in rows}

    def create_namespace(self, namespace: str | Identifier, properties: Properties = EMPTY_DICT) -> None:
        """Create a namespace; its parents then exist too."""
        text = self.namespace_to_string(namespace, NoSuchNamespaceError)
        with self._changing() as cursor:
            if self.namespace_exists(namespace):
                raise NamespaceAlreadyExistsError(f"Namespace already exists: {text}")
            cursor.executemany(
                "INSERT INTO iceberg_namespace_properties VALUES (?, ?, ?, ?)",
                [(self.name, text, key, value) for key, value in (properties or {"exists": "true"}).items()],
            )

    def drop_namespace(self, namespace: str | Identifier) -> None:
        """Drop an empty namespace."""
        text = self.namespace_to_string(namespace)
        if tables := self.list_tables(namespace):
            raise NamespaceNotEmptyError(f"Namespace {text} is not empty: it holds {len(tables)} table(s)")
        with self._changing() as cursor:
            cursor.execute(
                "DELETE FROM iceberg_namespace_properties WHERE catalog_name = ? AND namespace = ?", (self.name, text)
            )

    def list_namespaces(self, namespace: str | Identifier = ()) -> list[Identifier]:
        """List the namespaces directly below one, or at the top."""
        parent = self.identifier_to_tuple(namespace) if namespace else ()
        depth = len(parent) + 1
        found = {tuple(name.split("."))[:depth] for name in self._namespaces()}
        return sorted(name for name in found if len(name) == depth and name[:-1] == parent)

    def load_namespace_properties(self, namespace: str | Identifier) -> Properties:
        """Read a namespace's properties."""
        text = self.namespace_to_string(namespace)
        if not self.namespace_exists(namespace):
            raise NoSuchNamespaceError(f"Namespace does not exist: {text}")
        rows = self._rows(
            "SELECT property_key, property_value FROM iceberg_namespace_properties "
            "WHERE catalog_name = ? AND namespace = ?",
            self.name,
            text,
        )
        return {row[0]: row[1] for row in rows}

    def view_exists(self, identifier: str | Identifier) -> bool:  # noqa: ARG002  there are no views
        """Say no: this catalog holds tables only."""
        return False

    def list_views(self, namespace: str | Identifier) -> list[Identifier]:  # noqa: ARG002  there are no views
        """List nothing: this catalog holds tables only."""
        return []

    def _unsupported(self) -> NoReturn:
        raise NotImplementedError(
            "Dativo's embedded catalog only writes tables; open catalog.db as pyiceberg's SqlCatalog for this"
        )

    def register_table(
        self,
        identifier: str | Identifier,  # noqa: ARG002
        metadata_location: str,  # noqa: ARG002
        overwrite: bool = False,  # noqa: ARG002, FBT001, FBT002  pyiceberg's signature
    ) -> Table:
        """Not supported."""
        self._unsupported()

    def rename_table(self, from_identifier: str | Identifier, to_identifier: str | Identifier) -> Table:  # noqa: ARG002
        """Not supported."""
        self._unsupported()

    def update_namespace_properties(
        self,
        namespace: str | Identifier,  # noqa: ARG002
        removals: set[str] | None = None,  # noqa: ARG002
        updates: Properties = EMPTY_DICT,  # noqa: ARG002
    ) -> PropertiesUpdateSummary:
        """Not supported."""
        self._unsupported()

    def load_view(self, identifier: str | Identifier) -> View:  # noqa: ARG002
        """Not supported."""
        self._unsupported()

    def drop_view(self, identifier: str | Identifier) -> None:  # noqa: ARG002
        """Not supported."""
        self._unsupported()

    def register_view(self, identifier: str | Identifier, metadata_location: str) -> View:  # noqa: ARG002
        """Not supported."""
        self._unsupported()
