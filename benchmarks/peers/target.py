"""One run of Dativo's target, without a job around it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

import dativo_ingest.targets.iceberg.table  # noqa: F401  imported before a clock starts
from dativo_ingest.targets.iceberg import IcebergWriter
from dativo_plugin_sdk import TargetConfig
from dativo_plugin_sdk.tables import CommitRequest, Receipt, StreamWriter, TableSpec


def iceberg(folder: Path) -> IcebergWriter:
    """Give the Iceberg target with its embedded catalog."""
    return IcebergWriter(
        TargetConfig(type="iceberg", connection={"warehouse": str(folder)}, credentials={}, options={})
    )


def delta(folder: Path) -> StreamWriter:
    """Give the Delta target."""
    from dativo_ingest.targets.delta import DeltaWriter  # noqa: PLC0415  deltalake is imported only where it is used

    return DeltaWriter(TargetConfig(type="delta", connection={"path": str(folder)}, credentials={}, options={}))


def duckdb(folder: Path) -> StreamWriter:
    """Give the DuckDB target."""
    from dativo_ingest.targets.duckdb import DuckDBWriter  # noqa: PLC0415  duckdb is imported only where it is used

    place = {"path": str(folder / "out.duckdb")}
    return DuckDBWriter(TargetConfig(type="duckdb", connection=place, credentials={}, options={}))


def load(  # noqa: PLR0913  what a run consists of
    target: StreamWriter,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    *,
    write: str = "append",
    primary_key: tuple[str, ...] = ("id",),
    options: Mapping[str, Any] | None = None,
) -> Receipt:
    """Carry rows into the table ``raw.t``."""
    spec = TableSpec(
        name="t",
        namespace="raw",
        job="bench",
        stream="t",
        run_id=str(uuid.uuid4()),
        write=write,
        primary_key=primary_key,
        options=options or {},
    )
    table = target.table(spec)
    before = table.load_state()
    table.open(schema)
    for batch in batches:
        table.write(batch)
    receipt = table.commit(CommitRequest(str(uuid.uuid4()), before.generation, None, "2026-01-01T00:00:00+00:00"))
    target.close()
    return receipt


def catalog(folder: Path) -> SqlCatalog:
    """Open the same warehouse as pyiceberg does."""
    return SqlCatalog("default", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
