"""polars: scan_csv into sink_parquet with explicit types. polars_csv.py SOURCE TARGET."""

from __future__ import annotations

import sys

import polars as pl

TYPES = [pl.Int64] * 3 + [pl.Int32] + [pl.Decimal(15, 2)] * 4 + [pl.String] * 2 + [pl.Date] * 3 + [pl.String] * 3


def main(source: str, target: str) -> None:
    """Stream one file."""
    with open(source, encoding="utf-8") as file:  # noqa: PTH123  the shortest loop anyone would write
        names = file.readline().strip().split(",")
    frame = pl.scan_csv(source, schema=dict(zip(names, TYPES, strict=True)))
    frame.sink_parquet(target, compression="zstd", row_group_size=250_000)


main(*sys.argv[1:])
