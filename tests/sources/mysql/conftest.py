"""A mysql source and a database of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pytest
from mariadb_service import MariaDB

from dativo_ingest.sources.mysql import MysqlReader
from dativo_plugin_sdk import Message, Rejected, Rows, SourceConfig, State, StateChanged, StreamSpec, Warned


@dataclass
class Found:
    """What reading a stream gave."""

    messages: list[Message]
    schema: pa.Schema
    state: State | None = None
    batches: list[pa.RecordBatch] = field(default_factory=list)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for batch in self.batches for row in batch.to_pylist()]

    @property
    def warnings(self) -> list[str]:
        return [each.message for each in self.messages if isinstance(each, Warned)]


@dataclass
class Database:
    """One database of the server, and readers of it."""

    server: MariaDB
    name: str
    readers: list[MysqlReader] = field(default_factory=list)

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

    def reader(self, connection: dict[str, Any] | None = None, **options: Any) -> MysqlReader:
        given = {"credentials": dict(self.server.credentials), **(connection or {})}
        credentials = given.pop("credentials")
        config = SourceConfig(
            type="mysql",
            connection={**self.server.connection, "database": self.name, **given},
            credentials=credentials,
            options=options,
        )
        self.readers.append(MysqlReader(config))
        return self.readers[-1]

    def read(self, table: str, *, state: State | None = None, schema: pa.Schema | None = None, **spec: Any) -> Found:
        """Read a stream as the engine does."""
        options = spec.pop("options", {})
        connection = spec.pop("connection", None)
        name = table if options.get("query") else f"{self.name}.{table}"
        stream = StreamSpec(name, options=options, **spec)
        return read_with(self.reader(connection), stream, state=state, schema=schema)


def read_with(
    reader: MysqlReader, stream: StreamSpec, *, state: State | None = None, schema: pa.Schema | None = None
) -> Found:
    partitions = reader.partitions(stream, state)
    found = Found([], schema or reader.schema(stream), state)
    for partition in partitions:
        for message in reader.read(replace(stream, schema=found.schema), partition, state):
            found.messages.append(message)
            if isinstance(message, Rows):
                found.batches.append(message.batch)
            if isinstance(message, StateChanged):
                found.state = message.state
            assert not isinstance(message, Rejected)
    return found


@pytest.fixture
def database(mariadb: MariaDB) -> Iterator[Database]:
    """Give a database that goes with the test."""
    made = Database(mariadb, f"source_{uuid.uuid4().hex[:12]}")
    mariadb.ask(f"CREATE DATABASE {made.name} CHARACTER SET utf8mb4")
    yield made
    for reader in made.readers:
        reader.close()
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
