"""A parquet target in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dativo_ingest.targets.parquet import ParquetTableWriter, ParquetWriter
from dativo_plugin_sdk import TableSpec, TargetConfig

Make = Callable[..., ParquetTableWriter]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def table(lake: Path) -> Iterator[Make]:
    """Give table writers: keywords go into the `TableSpec`, ``target`` into the target's options."""
    writers: list[ParquetWriter] = []

    def make(run_id: str = "run-1", target: dict[str, Any] | None = None, **spec: Any) -> ParquetTableWriter:
        writer = ParquetWriter(TargetConfig(type="parquet", connection={"path": str(lake)}, options=target or {}))
        writers.append(writer)
        fields: dict[str, Any] = {"name": "orders", "namespace": "raw", "job": "job", "stream": "orders", **spec}
        made = writer.table(TableSpec(run_id=run_id, **fields))
        assert isinstance(made, ParquetTableWriter)
        return made

    yield make
    for writer in writers:
        writer.close()
