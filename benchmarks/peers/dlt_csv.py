"""dlt: its DuckDB-backed CSV reader to Parquet files or an Iceberg table. dlt_csv.py SOURCE FOLDER FORMAT."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"

import dlt
from dlt.sources.filesystem import filesystem, read_csv_duckdb


def main(source: str, folder: str, table_format: str) -> None:
    """Load one file with a fresh pipeline state."""
    path = Path(source)
    files = filesystem(bucket_url=path.parent.as_uri(), file_glob=path.name)
    rows = (files | read_csv_duckdb(use_pyarrow=True, chunk_size=100_000)).with_name("lineitem")
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
