"""dlt: a table of a database to Parquet files or an Iceberg table, by one of its back ends.

dlt_sql.py URL TABLE BACKEND FORMAT FOLDER [CURSOR]. Its state stays in FOLDER: a second run with a cursor brings what
is new. ``adbc`` is a loader that is registered as dlt documents it. ADBC gives numerics as text, so the server is asked
for whole numbers, which become decimals by putting a point into them: the fastest way that keeps every value.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"

import dlt
import pyarrow as pa
from dlt.sources.sql_database import sql_table
from dlt.sources.sql_database.helpers import BaseTableLoader, register_table_loader_backend

CHUNK_ROWS = 100_000


class AdbcLoader(BaseTableLoader):
    """Reads Postgres through ADBC's driver."""

    def load_rows(self, backend_kwargs: dict[str, Any] | None = None) -> Iterator[pa.Table]:  # noqa: ARG002  dlt's interface
        """Give the rows of the table as they come."""
        import adbc_driver_postgresql.dbapi as adbc  # noqa: PLC0415  one of the back ends
        from adbc_numerics import BATCH_BYTES, as_decimals, as_hundredths  # noqa: PLC0415

        columns = {name: str(column.get("data_type")) for name, column in self.columns.items()}
        decimals = {name for name, kind in columns.items() if kind == "decimal"}
        query = self.compile_query(self.make_query())
        query = as_hundredths(query, self.table.name, decimals)
        url = self.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with adbc.connect(url) as connection, connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            cursor.execute(query)
            for batch in cursor.fetch_record_batch():
                yield pa.Table.from_batches([as_decimals(batch, decimals)])


def main(url: str, table: str, backend: str, table_format: str, folder: str, *cursor: str) -> None:
    """Load the table."""
    register_table_loader_backend("adbc", AdbcLoader)
    schema, _, name = table.rpartition(".")
    streamed = {"return_type": "arrow_stream"} if backend == "connectorx" else None
    rows = sql_table(
        url,
        table=name,
        schema=schema or None,
        backend=backend,
        chunk_size=CHUNK_ROWS,
        backend_kwargs=streamed,
        reflection_level="full_with_precision",
        incremental=dlt.sources.incremental(*cursor) if cursor else None,
    )
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=f"{folder}/state",
        destination=dlt.destinations.filesystem(bucket_url=Path(folder, "out").as_uri()),
        dataset_name="raw",
    )
    if table_format == "iceberg":
        info = pipeline.run(rows, table_format="iceberg", write_disposition="append")
    else:
        info = pipeline.run(rows, loader_file_format="parquet", write_disposition="append")
    info.raise_on_failed_jobs()


main(*sys.argv[1:])
