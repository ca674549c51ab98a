"""The built-in sources of files pass the suite that plugins pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from dativo_ingest import __version__
from dativo_ingest.sources.arrow import ArrowReader
from dativo_ingest.sources.csv import CsvReader
from dativo_ingest.sources.json import JsonLinesReader, JsonReader
from dativo_ingest.sources.parquet import ParquetReader
from dativo_plugin_sdk.testing import Gap, ReaderCase, ReaderSuite, StreamCase

FILES, ROWS = 4, 50
NO_CREDENTIALS = "files of this machine are read without credentials"
GAPS = (
    Gap("bad_credentials", "not_applicable", NO_CREDENTIALS),
    Gap("secrets", "not_applicable", NO_CREDENTIALS),
    Gap("retry_after", "not_applicable", "files are read without HTTP requests of its own"),
)


def rows_of(number: int) -> pa.Table:
    ids = range(number * ROWS, (number + 1) * ROWS)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "name": pa.array([f"Åsa {each}" if each % 7 else None for each in ids], pa.string()),
            "price": pa.array([each / 4 for each in ids], pa.float64()),
            "paid": pa.array([each % 2 == 0 for each in ids], pa.bool_()),
        }
    )


def large(parts: int) -> Iterator[pa.Table]:
    for number in range(parts):
        ids = range(number * 1024, (number + 1) * 1024)
        yield pa.table({"id": pa.array(ids, pa.int64()), "text": pa.array(["x" * 4096] * 1024, pa.string())})


def write_csv(path: Path, tables: Iterator[pa.Table]) -> None:
    with path.open("wb") as file:
        for number, table in enumerate(tables):
            pyarrow.csv.write_csv(table, file, pyarrow.csv.WriteOptions(include_header=number == 0))


def write_json_lines(path: Path, tables: Iterator[pa.Table]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for table in tables:
            file.writelines(f"{json.dumps(row)}\n" for row in table.to_pylist())


def write_json(path: Path, tables: Iterator[pa.Table]) -> None:
    with path.open("w", encoding="utf-8") as file:
        before = "["
        for table in tables:
            for row in table.to_pylist():
                file.write(before + json.dumps(row))
                before = ",\n"
        file.write("]")


def write_parquet(path: Path, tables: Iterator[pa.Table]) -> None:
    first = next(tables)
    with pyarrow.parquet.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def write_arrow(path: Path, tables: Iterator[pa.Table]) -> None:
    first = next(tables)
    with pa.ipc.new_file(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


class FileSuite(ReaderSuite):
    """Four small files and a large one."""

    write: ClassVar[Callable[[Path, Iterator[pa.Table]], None]]
    gaps = GAPS
    large_parts: ClassVar[int] = 12
    """Of 4 MiB each."""
    memory_bytes: ClassVar[int | None] = None

    @pytest.fixture
    def reader_case(self, folder: Path, request: pytest.FixtureRequest) -> ReaderCase:
        wanted = [row for number in range(FILES) for row in rows_of(number).to_pylist()]
        with_large = request.function.__name__ == "test_memory_is_bounded"
        return ReaderCase(
            streams=[StreamCase("small", mode="incremental", primary_key=["id"], rows=wanted)],
            connection={"path": str(folder / "*")},
            bad_host={"path": str(folder.parent / "nowhere" / "*")},
            large=StreamCase("large", options={"path": self.large_file(folder.parent)}) if with_large else None,
            memory_bytes=self.memory_bytes,
        )

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "data"
        folder.mkdir()
        for number in range(FILES):
            type(self).write(folder / f"part-{number}.{self.connector}", iter([rows_of(number)]))
        return folder

    def large_file(self, folder: Path) -> str:
        path = folder / f"large.{self.connector}"
        type(self).write(path, large(self.large_parts))
        return str(path)


class TestCsv(FileSuite):
    plugin = CsvReader
    version = __version__
    connector = "csv"
    large_parts, memory_bytes = 44, 128 * 2**20  # blocks are parsed side by side, more of them where cores are busy
    write = staticmethod(write_csv)


class TestJson(FileSuite):
    plugin = JsonReader
    version = __version__
    connector = "json"
    write = staticmethod(write_json)


class TestJsonLines(FileSuite):
    plugin = JsonLinesReader
    version = __version__
    connector = "jsonl"
    write = staticmethod(write_json_lines)


class TestParquet(FileSuite):
    plugin = ParquetReader
    version = __version__
    connector = "parquet"
    write = staticmethod(write_parquet)


class TestArrow(FileSuite):
    plugin = ArrowReader
    version = __version__
    connector = "arrow"
    write = staticmethod(write_arrow)
