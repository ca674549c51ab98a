"""A postgres source and a schema of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pytest
from postgres_service import Postgres

from dativo_ingest.sources.postgres import PostgresReader
from dativo_plugin_sdk import Message, Rejected, Rows, SourceConfig, State, StateChanged, StreamSpec, Warned


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that are marked for it with the oldest release that is promised to work, too."""
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    if "postgres" in metafunc.fixturenames and "each_postgres" in marks and "newest_postgres" not in marks:
        metafunc.parametrize("postgres", [18, 15], indirect=True, ids=["postgres18", "postgres15"])


@pytest.fixture
def postgres(request: pytest.FixtureRequest) -> Postgres:
    """Give the server of a release: both stay for as long as the worker."""
    server: Postgres = request.getfixturevalue("postgres_15" if getattr(request, "param", 18) == 15 else "postgres_18")
    return server


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
    """One schema of the server, and readers of it."""

    server: Postgres
    name: str
    readers: list[PostgresReader] = field(default_factory=list)

    @property
    def version(self) -> int:
        """The server's first number."""
        with self.server.connect() as session:
            return session.info.server_version // 10000

    def run(self, *statements: str) -> None:
        """Run statements with the schema as the only one."""
        with self.server.connect(options=f"-c search_path={self.name},public") as session:
            for statement in statements:
                session.execute(statement)  # type: ignore[arg-type]  # tests write what they ask

    def reader(
        self, connection: dict[str, Any] | None = None, credentials: dict[str, str] | None = None, **options: Any
    ) -> PostgresReader:
        config = SourceConfig(
            type="postgres",
            connection={**self.server.connection, **(connection or {})},
            credentials=credentials or dict(self.server.credentials),
            options=options,
        )
        self.readers.append(PostgresReader(config))
        return self.readers[-1]

    def read(self, table: str, *, state: State | None = None, schema: pa.Schema | None = None, **spec: Any) -> Found:
        """Read a stream as the engine does."""
        options = spec.pop("options", {})
        connection, credentials = spec.pop("connection", None), spec.pop("credentials", None)
        name = table if options.get("query") else f"{self.name}.{table}"
        stream = StreamSpec(name, options=options, **spec)
        return read_with(self.reader(connection, credentials), stream, state=state, schema=schema)


def read_with(
    reader: PostgresReader, stream: StreamSpec, *, state: State | None = None, schema: pa.Schema | None = None
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
def database(postgres: Postgres) -> Iterator[Database]:
    """Give a schema that goes with the test."""
    yield from _database(postgres)


@pytest.fixture
def database_15(postgres_15: Postgres) -> Iterator[Database]:
    """Give a schema of the server that has PostGIS."""
    yield from _database(postgres_15)


def _database(server: Postgres) -> Iterator[Database]:
    made = Database(server, f"source_{uuid.uuid4().hex[:12]}")
    server.ask(f"CREATE SCHEMA {made.name}")
    yield made
    for reader in made.readers:
        reader.close()
    server.ask(f"DROP SCHEMA {made.name} CASCADE")


@pytest.fixture
def reading() -> Callable[..., Found]:
    return read_with
