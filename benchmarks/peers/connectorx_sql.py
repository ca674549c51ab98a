"""connectorx: a query's record batches into one Parquet file. connectorx_sql.py URL QUERY TARGET."""

from __future__ import annotations

import sys

import connectorx
from parquet_loop import write


def main(url: str, query: str, target: str) -> None:
    """Stream the rows."""
    protocol = {"protocol": "binary"} if url.startswith("postgres") else {}
    batches = connectorx.read_sql(url, query, return_type="arrow_stream", batch_size=65_536, **protocol)
    write(batches, target)


main(*sys.argv[1:])
