"""A job in a folder of its own, and the command line run on it as users run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

DATIVO = [sys.executable, "-m", "dativo_ingest"]

# Running as root, files have no say in who may touch them; without capabilities they do.
WITHOUT_PRIVILEGES = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


@dataclass
class Ran:
    """What a command left: its exit code, what it printed, and its report where it wrote one."""

    code: int
    stdout: str
    stderr: str
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """Everything a person would have seen."""
        return self.stdout + self.stderr

    @property
    def rows(self) -> dict[str, Any]:
        """The row counts of the only stream."""
        (stream,) = self.report["streams"]
        return stream["rows"]


@dataclass
class Workshop:
    """A job file in a folder, and the commands run on it."""

    folder: Path
    target: str = "iceberg"
    name: str = "job"
    in_process: bool = False
    """Run in the test's own process, which has imported everything: for what no process of its own can change."""

    @property
    def config(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def place(self) -> Path:
        return (
            self.folder
            / {"iceberg": "warehouse", "parquet": "lake", "delta": "lake", "duckdb": "lake.duckdb"}[self.target]
        )

    def job(self, source: dict[str, Any], streams: dict[str, Any], **settings: Any) -> Workshop:
        """Write the job; JSON is YAML."""
        key = "warehouse" if self.target == "iceberg" else "path"
        job = {
            "version": 1,
            "name": "acceptance",
            "source": source,
            "target": {"connector": self.target, "connection": {key: str(self.place)}, "namespace": "raw"},
            "streams": streams,
            **settings,
        }
        self.config.write_text(json.dumps(job, indent=2, ensure_ascii=False), encoding="utf-8")
        return self

    def command(self, *arguments: str) -> list[str]:
        return [*DATIVO, *arguments, "--config", str(self.config)]

    def run(
        self, *arguments: str, prefix: Sequence[str] = (), env: dict[str, str] | None = None, timeout_s: float = 240
    ) -> Ran:
        """Run the job once."""
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        command = self.command("run", "--progress", "none", "--report", str(report), *arguments)
        if self.in_process:
            return _ran_here(command[len(DATIVO) :], report, env)
        return _ran([*prefix, *command], report, env, timeout_s)

    def start(self) -> subprocess.Popen[bytes]:
        """Start a run and do not wait for it."""
        return subprocess.Popen(
            self.command("run", "--progress", "none"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def tell(self, *command: str) -> Ran:
        """Run another command on the job."""
        return _ran([*DATIVO, *command, "--config", str(self.config)], self.folder / "no report", None, 240)

    def table(self, name: str) -> pa.Table:
        """Read a whole table with an independent reader; one that does not exist is empty."""
        return READERS[self.target](self.place, name)


def _ran_here(arguments: list[str], report: Path, env: dict[str, str] | None) -> Ran:
    from click.testing import CliRunner

    from dativo_ingest.cli.program import dativo

    done = CliRunner().invoke(dativo, arguments, env=env)
    return Ran(done.exit_code, done.stdout, done.stderr, _document(report))


def _ran(command: list[str], report: Path, env: dict[str, str] | None, timeout_s: float) -> Ran:
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=timeout_s, check=False
    )
    return Ran(done.returncode, done.stdout, done.stderr, _document(report))


def _document(report: Path) -> dict[str, Any]:
    return json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}


def _read_iceberg(place: Path, name: str) -> pa.Table:
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.exceptions import NoSuchTableError

    if not (place / "catalog.db").exists():
        return pa.table({})
    catalog = SqlCatalog("default", uri=f"sqlite:///{place}/catalog.db", warehouse=f"file://{place}")
    try:
        return catalog.load_table(("raw", name)).scan().to_arrow()
    except NoSuchTableError:
        return pa.table({})
    finally:
        catalog.close()


def _read_parquet(place: Path, name: str) -> pa.Table:
    """Read every file there is, manifest or not: nothing unfinished may be left after a good run."""
    import pyarrow.parquet as pq

    files = sorted((place / "raw" / name).rglob("*.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files]) if files else pa.table({})


def _read_delta(place: Path, name: str) -> pa.Table:
    from deltalake import DeltaTable

    if not DeltaTable.is_deltatable(str(place / "raw" / name)):
        return pa.table({})
    return DeltaTable(place / "raw" / name).to_pyarrow_table()


def _read_duckdb(place: Path, name: str) -> pa.Table:
    import duckdb

    if not place.exists():
        return pa.table({})
    quoted = name.replace('"', '""')
    with duckdb.connect(str(place), read_only=True) as connection:
        try:
            return connection.sql(f'select * from raw."{quoted}"').to_arrow_table()
        except duckdb.CatalogException:
            return pa.table({})


READERS: dict[str, Callable[[Path, str], pa.Table]] = {
    "iceberg": _read_iceberg,
    "parquet": _read_parquet,
    "delta": _read_delta,
    "duckdb": _read_duckdb,
}
