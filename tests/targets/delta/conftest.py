"""A Delta target in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dativo_ingest.targets.delta import DeltaWriter
from dativo_plugin_sdk import TableSpec, TableWriter, TargetConfig

Make = Callable[..., TableWriter]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def table(lake: Path) -> Iterator[Make]:
    """Give table writers: keywords go into the `TableSpec`, ``target`` into the target's options."""
    writers: list[DeltaWriter] = []

    def make(
        run_id: str = "run-1",
        target: dict[str, Any] | None = None,
        connection: dict[str, Any] | None = None,
        credentials: dict[str, Any] | None = None,
        **spec: Any,
    ) -> TableWriter:
        writer = DeltaWriter(
            TargetConfig(
                type="delta",
                connection=connection or {"path": str(lake)},
                credentials=credentials or {},
                options=target or {},
            )
        )
        writers.append(writer)
        fields: dict[str, Any] = {"name": "orders", "namespace": "raw", "job": "job", "stream": "orders", **spec}
        return writer.table(TableSpec(run_id=run_id, **fields))

    yield make
    for writer in writers:
        writer.close()


@pytest.fixture
def load(table: Make, request_of: Callable[..., Any]) -> Callable[..., Any]:
    """Load a batch as one run and commit it on the generation that the table has."""

    def run(batch: Any, **options: Any) -> Any:
        writer = table(**options)
        generation = writer.load_state().generation
        writer.open(batch.schema)
        writer.write(batch)
        return writer.commit(request_of(generation))

    return run
