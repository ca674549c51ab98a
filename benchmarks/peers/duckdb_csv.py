"""DuckDB: read_csv with explicit types into COPY TO parquet. duckdb_csv.py SOURCE TARGET."""

from __future__ import annotations

import sys

import duckdb

TYPES = ["BIGINT"] * 3 + ["INTEGER"] + ["DECIMAL(15,2)"] * 4 + ["VARCHAR"] * 2 + ["DATE"] * 3 + ["VARCHAR"] * 3


def main(source: str, target: str) -> None:
    """Stream one file."""
    with open(source, encoding="utf-8") as file:  # noqa: PTH123  the shortest loop anyone would write
        names = file.readline().strip().split(",")
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in zip(names, TYPES, strict=True))
    connection = duckdb.connect()
    connection.execute("set preserve_insertion_order = false")
    connection.execute(
        f"copy (select * from read_csv('{source}', header = true, columns = {{{columns}}})) "  # noqa: S608  our own paths
        f"to '{target}' (format parquet, compression zstd, row_group_size 250000)"
    )


main(*sys.argv[1:])
