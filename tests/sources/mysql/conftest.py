"""A mysql source and a database of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from database_reading import Database, Found, read_with
from mariadb_service import MariaDB

from dativo_ingest.sources.mysql import MysqlReader
from dativo_plugin_sdk import SourceConfig, StreamSpec


class MysqlDatabase(Database):
    """One database of the server."""

    connector = "mysql"
    kind = MysqlReader

    @property
    def connection(self) -> dict[str, Any]:
        return {**super().connection, "database": self.name}

    def run(self, *statements: str, **changes: Any) -> None:
        """Run statements in the database."""
        with self.server.connect(database=self.name, **changes) as session, session.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Give the rows of a query."""
        with self.server.connect(database=self.name) as session, session.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())


@pytest.fixture
def database(mariadb: MariaDB) -> Iterator[MysqlDatabase]:
    """Give a database that goes with the test."""
    made = MysqlDatabase(mariadb, f"source_{uuid.uuid4().hex[:12]}")
    mariadb.ask(f"CREATE DATABASE {made.name} CHARACTER SET utf8mb4")
    yield made
    made.close()
    mariadb.ask(f"DROP DATABASE {made.name}")


@dataclass
class ReadFrom:
    """Reads streams of any server."""

    readers: list[MysqlReader] = field(default_factory=list)

    def reader(self, server: MariaDB, user: str | None = None, password: str | None = None) -> MysqlReader:
        connection = {"host": server.host, "port": server.port, "user": user or server.user}
        credentials = {"password": password or server.password}
        self.readers.append(MysqlReader(SourceConfig(type="mysql", connection=connection, credentials=credentials)))
        return self.readers[-1]

    def __call__(
        self, server: MariaDB, name: str, *, user: str | None = None, password: str | None = None, **spec: Any
    ) -> Found:
        return read_with(self.reader(server, user, password), StreamSpec(name, **spec))


@pytest.fixture
def read_from() -> Iterator[ReadFrom]:
    """Give a reader of streams of any server."""
    made = ReadFrom()
    yield made
    for reader in made.readers:
        reader.close()
