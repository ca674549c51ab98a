"""A postgres target in a schema of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from postgres_service import Postgres

from dativo_ingest.targets.postgres import PostgresWriter
from dativo_ingest.targets.postgres.table import PostgresTableWriter
from dativo_plugin_sdk import TableSpec, TargetConfig


@pytest.fixture
def namespace() -> str:
    return f"raw_{uuid.uuid4().hex[:12]}"


@pytest.fixture
def target(postgres: Postgres) -> Iterator[Callable[..., PostgresWriter]]:
    """Give writers of the database; keywords are the target's options, ``connection`` and ``credentials`` differ."""
    writers: list[PostgresWriter] = []

    def make(
        connection: dict[str, Any] | None = None, credentials: dict[str, str] | None = None, **options: Any
    ) -> PostgresWriter:
        config = TargetConfig(
            type="postgres",
            connection=postgres.connection if connection is None else connection,
            credentials=dict(postgres.credentials if credentials is None else credentials),
            options=options,
        )
        writers.append(PostgresWriter(config))
        return writers[-1]

    yield make
    for writer in writers:
        writer.close()


@pytest.fixture
def table(target: Callable[..., PostgresWriter], namespace: str) -> Callable[..., PostgresTableWriter]:
    """Give table writers: keywords go into the `TableSpec`, ``writer`` is another writer than one of their own."""

    def make(run_id: str = "run-1", writer: PostgresWriter | None = None, **spec: Any) -> PostgresTableWriter:
        fields: dict[str, Any] = {"name": "orders", "namespace": namespace, "job": "job", "stream": "orders", **spec}
        made = (writer or target()).table(TableSpec(run_id=run_id, **fields))
        assert isinstance(made, PostgresTableWriter)
        return made

    return make


@pytest.fixture
def load(target: Callable[..., PostgresWriter], table: Callable[..., PostgresTableWriter], request_of: Any) -> Any:
    """Load batches as one whole run; give the receipt and the changes."""

    def run(*batches: Any, generation: int = 0, options: dict[str, Any] | None = None, **spec: Any) -> Any:
        writer = target(**(options or {}))
        made = table(writer=writer, run_id=f"run-{generation}", **spec)
        changes = made.open(batches[0].schema)
        for batch in batches:
            made.write(batch)
        receipt = made.commit(request_of(generation))
        writer.close()
        return receipt, list(changes)

    return run


@pytest.fixture
def ask(postgres: Postgres, namespace: str) -> Callable[[str], list[tuple[Any, ...]]]:
    """Ask the database something; the test's schema is where names are looked for."""

    def query(statement: str) -> list[tuple[Any, ...]]:
        with postgres.connect(options=f"-c search_path={namespace} -c timezone=UTC") as session:
            cursor = session.execute(statement)  # type: ignore[arg-type]  # tests write what they ask
            return cursor.fetchall() if cursor.description is not None else []

    return query
