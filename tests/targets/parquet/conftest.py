"""A parquet target in a folder or bucket of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from parquet_lakes import BucketLake, FolderLake, Lake
from s3_service import S3

from dativo_ingest.targets.parquet import ParquetTableWriter, ParquetWriter
from dativo_plugin_sdk import TableSpec

Make = Callable[..., ParquetTableWriter]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def bucket(s3: S3) -> BucketLake:
    return BucketLake(s3, f"parquet/{uuid.uuid4()}")


@pytest.fixture
def place(request: pytest.FixtureRequest, lake: Path) -> Lake:
    """Where ``table`` writes: a folder, or a bucket for tests that have `parquet_lakes.everywhere` as a mark."""
    if getattr(request, "param", "folder") == "folder":
        return FolderLake(lake)
    bucket: Lake = request.getfixturevalue("bucket")
    return bucket


@pytest.fixture
def table(place: Lake) -> Iterator[Make]:
    """Give table writers: keywords go into the `TableSpec`, ``target`` into the target's options."""
    writers: list[ParquetWriter] = []

    def make(run_id: str = "run-1", target: dict[str, Any] | None = None, **spec: Any) -> ParquetTableWriter:
        writer = place.writer(**target or {})
        writers.append(writer)
        fields: dict[str, Any] = {"name": "orders", "namespace": "raw", "job": "job", "stream": "orders", **spec}
        made = writer.table(TableSpec(run_id=run_id, **fields))
        assert isinstance(made, ParquetTableWriter)
        return made

    yield make
    for writer in writers:
        writer.close()
