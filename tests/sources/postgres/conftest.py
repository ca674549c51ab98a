"""A postgres source and a schema of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from database_reading import Database, Found, read_with
from postgres_service import Postgres

from dativo_ingest.sources.postgres import PostgresReader


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


class Schema(Database):
    """One schema of the server."""

    connector = "postgres"
    kind = PostgresReader

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


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Schema]:
    """Give a schema that goes with the test."""
    yield from _database(postgres)


@pytest.fixture
def database_15(postgres_15: Postgres) -> Iterator[Schema]:
    """Give a schema of the server that has PostGIS."""
    yield from _database(postgres_15)


def _database(server: Postgres) -> Iterator[Schema]:
    made = Schema(server, f"source_{uuid.uuid4().hex[:12]}")
    server.ask(f"CREATE SCHEMA {made.name}")
    yield made
    made.close()
    server.ask(f"DROP SCHEMA {made.name} CASCADE")


@pytest.fixture
def reading() -> Callable[..., Found]:
    return read_with
