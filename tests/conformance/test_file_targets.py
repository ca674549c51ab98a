"""The built-in targets of files pass the suite that plugins pass."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from workshop import READERS

from dativo_ingest import __version__
from dativo_ingest.targets.delta import DeltaWriter
from dativo_ingest.targets.duckdb import DuckDBWriter
from dativo_ingest.targets.iceberg import IcebergWriter
from dativo_ingest.targets.parquet import ParquetWriter
from dativo_plugin_sdk.testing import Gap, WriterCase, WriterSuite

NO_CREDENTIALS = "a folder of this machine is written without credentials"
GAPS = (
    Gap("bad_credentials", "not_applicable", NO_CREDENTIALS),
    Gap("secrets", "not_applicable", NO_CREDENTIALS),
    Gap("bad_host", "not_applicable", "a folder of this machine has no host"),
)


def case_of(target: str, place: Path, key: str = "path") -> WriterCase:
    return WriterCase(
        read=partial(READERS[target], place),
        connection={key: str(place)},
        namespace="raw",
    )


def copied_duckdb(place: Path, name: str) -> pa.Table:
    """Read a copy, as another process would: this one may have the file open to write."""
    copy = place.with_name("copy.duckdb")
    for ending in ("", ".wal"):
        if Path(f"{place}{ending}").exists():
            shutil.copy(f"{place}{ending}", f"{copy}{ending}")
    try:
        return READERS["duckdb"](copy, name)
    finally:
        for ending in ("", ".wal"):
            Path(f"{copy}{ending}").unlink(missing_ok=True)


class TestIceberg(WriterSuite):
    plugin = IcebergWriter
    version = __version__
    connector = "iceberg"
    gaps = GAPS

    @pytest.fixture
    def writer_case(self, tmp_path: Path) -> WriterCase:
        return case_of("iceberg", tmp_path / "lake", "warehouse")


class TestParquet(WriterSuite):
    plugin = ParquetWriter
    version = __version__
    connector = "parquet"
    gaps = GAPS

    @pytest.fixture
    def writer_case(self, tmp_path: Path) -> WriterCase:
        return case_of("parquet", tmp_path / "lake")


class TestDelta(WriterSuite):
    plugin = DeltaWriter
    version = __version__
    connector = "delta"
    gaps = (*GAPS, Gap("types[time]", "not_supported", "Delta has no type for a time of day"))

    @pytest.fixture
    def writer_case(self, tmp_path: Path) -> WriterCase:
        return case_of("delta", tmp_path / "lake")


class TestDuckDB(WriterSuite):
    plugin = DuckDBWriter
    version = __version__
    connector = "duckdb"
    gaps = (
        *GAPS,
        Gap("memory", "not_supported", "DuckDB keeps up to 122,880 rows of a table in memory, whatever their size"),
    )

    @pytest.fixture
    def writer_case(self, tmp_path: Path) -> WriterCase:
        place = tmp_path / "lake.duckdb"
        return replace(case_of("duckdb", place), read=partial(copied_duckdb, place))
