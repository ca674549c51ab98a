"""ADBC's Postgres driver: a table's record batches into one Parquet file. adbc_postgres.py URL TABLE TARGET."""

from __future__ import annotations

import sys

import adbc_driver_postgresql.dbapi as adbc
from adbc_numerics import BATCH_BYTES, as_decimals, hundredths
from parquet_loop import write

DECIMALS = {"l_quantity", "l_extendedprice", "l_discount", "l_tax"}


def main(url: str, table: str, columns: str, target: str) -> None:
    """Stream the rows."""
    wanted = ", ".join(hundredths(name) if name in DECIMALS else name for name in columns.split(","))
    with adbc.connect(url) as connection, connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
        cursor.execute(f"SELECT {wanted} FROM {table}")  # noqa: S608  our own names
        write((as_decimals(batch, DECIMALS) for batch in cursor.fetch_record_batch()), target)


main(*sys.argv[1:])
