"""Environments of their own for the peers, and the data that all read."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
WORK = HERE / ".work"
ROOT = HERE.parent
UV = ROOT / ".tools" / "bin" / "uv"

PEERS = {
    # as a user installs it: what only the tests need is not there to be imported
    "dativo": ["--editable", str(ROOT / "sdk"), "--editable", f"{ROOT}[delta,postgres,mysql,container]"],
    "duckdb-iceberg": ["duckdb==1.5.5", "duckdb-extension-iceberg==1.5.5", "duckdb-extension-avro==1.5.5", "pyarrow"],
    "polars": ["polars==2.1.0"],
    "duckdb": ["duckdb==2.0.0"],
    "dlt": [
        "dlt[duckdb,parquet,filesystem]==1.31.0",
        "duckdb<2",
        "pyiceberg[sql-sqlite]",
        "sqlalchemy",
        "pyarrow",
    ],
    "dlt-sql": [
        "dlt[parquet,filesystem,sql_database]==1.31.0",
        "adbc-driver-postgresql==1.13.0",
        "connectorx==0.4.6",
        "numpy",
        "psycopg[binary]",
        "pymysql",
        "pyarrow",
        "pyiceberg[sql-sqlite]",
        "sqlalchemy",
    ],
    "arrow-sql": ["adbc-driver-postgresql==1.13.0", "connectorx==0.4.6", "numpy", "pyarrow"],
    "duckdb-sql": ["duckdb==1.5.5", "duckdb-extension-postgres-scanner==1.5.5"],
    "singer": ["singer-sdk==0.54.9"],
    "sling": ["sling-linux-amd64==1.4.11"],
    "tpch": ["tpchgen-cli"],
}


@cache
def python_of(peer: str) -> Path:
    """Give the interpreter of a peer's environment, made on first use."""
    folder = WORK / "envs" / peer
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if peer == "dativo" and ready.exists() and ready.stat().st_mtime < (ROOT / "pyproject.toml").stat().st_mtime:
        ready.unlink()  # its connectors may be others
    if not ready.exists():
        subprocess.run([UV, "venv", "--quiet", "--allow-existing", "--python", "python3", folder], check=True)
        subprocess.run(
            [UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *PEERS[peer]], check=True
        )
        ready.touch()
    if peer == "dativo":  # what pip does with a package's modules, and not with an editable one's
        subprocess.run([python, "-m", "compileall", "-q", ROOT / "src", ROOT / "sdk" / "src"], check=True)
    return python


def rows_arrow(scale: float, order: str) -> Path:
    """Give rows of ten columns as an Arrow file: 6.0 million rows and 748 MB at scale 1; ``order`` is random or day."""
    path = WORK / "data" / f"rows-{scale:g}-{order}.arrow"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        count = round(6_000_000 * scale)
        subprocess.run([python_of("dativo"), HERE / "peers" / "append.py", "make", path, str(count), order], check=True)
    return path


def rows_parquet(scale: float) -> Path:
    """Give the same rows as one Parquet file."""
    path = WORK / "data" / f"rows-{scale:g}.parquet"
    if not path.exists():
        source = rows_arrow(scale, "random")
        subprocess.run([python_of("dativo"), HERE / "peers" / "append.py", "copy", source, path], check=True)
    return path


def lineitem_csv(scale: float) -> Path:
    """Give TPC-H lineitem as CSV with a header: 6.0 million rows and 766 MB at scale 1."""
    folder = WORK / "data" / f"sf{scale:g}"
    path = folder / "lineitem.csv"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = python_of("tpch").parent / "tpchgen-cli"
        subprocess.run(
            [command, "csv", "-s", f"{scale:g}", "--tables=lineitem", f"--output-dir={folder}"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    return path
