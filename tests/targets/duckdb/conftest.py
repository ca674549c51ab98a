"""A duckdb target in a file of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dativo_ingest.targets.duckdb import DuckDBTableWriter, DuckDBWriter
from dativo_plugin_sdk import TableSpec, TargetConfig


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lake.duckdb"


@pytest.fixture
def target(path: Path) -> Iterator[Callable[..., DuckDBWriter]]:
    """Give writers of the file; keywords are the target's options."""
    writers: list[DuckDBWriter] = []

    def make(**options: Any) -> DuckDBWriter:
        writers.append(DuckDBWriter(TargetConfig(type="duckdb", connection={"path": str(path)}, options=options)))
        return writers[-1]

    yield make
    for writer in writers:
        writer.close()


@pytest.fixture
def table(target: Callable[..., DuckDBWriter]) -> Callable[..., DuckDBTableWriter]:
    """Give table writers: keywords go into the `TableSpec`, ``writer`` is another writer than one of their own."""

    def make(run_id: str = "run-1", writer: DuckDBWriter | None = None, **spec: Any) -> DuckDBTableWriter:
        fields: dict[str, Any] = {"name": "orders", "namespace": "raw", "job": "job", "stream": "orders", **spec}
        made = (writer or target()).table(TableSpec(run_id=run_id, **fields))
        assert isinstance(made, DuckDBTableWriter)
        return made

    return make


@pytest.fixture
def load(target: Callable[..., DuckDBWriter], table: Callable[..., DuckDBTableWriter], request_of: Any) -> Any:
    """Load batches as one whole run, which lets go of the file; give the receipt and the changes."""

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
def ask(path: Path) -> Callable[[str], list[tuple[Any, ...]]]:
    """Ask the file something once the runs are over."""

    def query(statement: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(path), read_only=True) as connection:
            return connection.execute(statement).fetchall()

    return query
