"""The demo of `make demo`: check and run the sample job, then look at what landed with an Iceberg reader."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from pyiceberg.catalog.sql import SqlCatalog

HERE = Path(__file__).parent
FOLDER = HERE.parent / "demo"
WAREHOUSE = FOLDER / "warehouse"
SAMPLE = ("jobs", "data", "assets")


def main() -> None:
    """Copy the sample to demo/, run it there, show the table and its quarantine."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for part in SAMPLE:
        shutil.copytree(HERE / part, FOLDER / part)
    dativo("check", "--config", "demo/jobs/orders_to_iceberg.yaml")
    dativo("run", "--config", "demo/jobs/orders_to_iceberg.yaml")
    # The warehouse is a plain SQL catalog: any Iceberg engine opens it, here pyiceberg on its own.
    catalog = SqlCatalog("default", uri=f"sqlite:///{WAREHOUSE}/catalog.db", warehouse=WAREHOUSE.as_uri())
    show(catalog, "orders", limit=5)
    show(catalog, "orders__quarantine", limit=10)
    print("\nRun it again and there is nothing new to load:")
    dativo("run", "--config", "demo/jobs/orders_to_iceberg.yaml")


def dativo(*arguments: str) -> None:
    """Run a command as a user would."""
    print(f"\n$ dativo {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "dativo_ingest", *arguments], cwd=FOLDER.parent, check=True)  # noqa: S603


def show(catalog: SqlCatalog, table: str, *, limit: int) -> None:
    """Print the first rows of a table."""
    rows = catalog.load_table(f"shop.{table}").scan(limit=limit).to_arrow()
    print(f"\nshop.{table}: the first {rows.num_rows} rows")
    for row in rows.to_pylist():
        print("  " + "  ".join(f"{name}={value}" for name, value in row.items() if value is not None))


main()
