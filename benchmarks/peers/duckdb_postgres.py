"""DuckDB's postgres extension: a table into one Parquet file. duckdb_postgres.py URL TABLE TARGET."""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import duckdb_extension_postgres_scanner


def main(url: str, table: str, target: str) -> None:
    """Copy the table, with as many threads as DuckDB takes by itself."""
    folder = Path(next(iter(duckdb_extension_postgres_scanner.__path__)))
    extension = next(folder.rglob("postgres_scanner.duckdb_extension"))
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute(f"load '{extension}'")
    connection.execute("set preserve_insertion_order = false")
    connection.execute(f"attach '{url}' as source (type postgres, read_only)")
    connection.execute(
        f"copy (select * from source.{table}) to '{target}' (format parquet, compression zstd, row_group_size 250000)"  # noqa: S608  our own names
    )


main(*sys.argv[1:])
