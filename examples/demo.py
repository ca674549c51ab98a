"""The demo of `make demo`: check and run the sample job, then look at what landed with an Iceberg reader."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from pyiceberg.catalog.sql import SqlCatalog
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

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
    print()
    show(catalog, "orders", ("order_id", "ordered_at", "status", "amount", "currency", "note"), limit=5)
    show(catalog, "orders__quarantine", ("line", "column", "rule", "reason", "row"), limit=10)
    print("Run it again and there is nothing new to load:")
    dativo("run", "--config", "demo/jobs/orders_to_iceberg.yaml")


def dativo(*arguments: str) -> None:
    """Run a command as a user would."""
    print(f"\n$ dativo {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "dativo_ingest", *arguments], cwd=FOLDER.parent, check=True)  # noqa: S603


def show(catalog: SqlCatalog, table: str, columns: tuple[str, ...], *, limit: int) -> None:
    """Print the first rows of a table."""
    rows = catalog.load_table(f"shop.{table}").scan(limit=limit, selected_fields=columns).to_arrow()
    shown = Table(title=f"shop.{table}", title_justify="left", box=box.SIMPLE_HEAD, expand=False)
    for name in columns:
        shown.add_column(name, overflow="fold")
    for row in rows.select(columns).to_pylist():
        shown.add_row(*("" if value is None else escape(str(value)) for value in row.values()))
    Console(width=110).print(shown)


main()
