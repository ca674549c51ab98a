"""Database servers for benchmarks, with TPC-H lineitem in them, and what CPU time they take."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environments import ROOT, lineitem_csv
from lineitem import COLUMNS

sys.path.append(str(ROOT / "tests" / "support"))

import mariadb_service
import postgres_service
import psycopg
import pymysql
from debian import library_path, unpacked

USER = PASSWORD = "bench"  # noqa: S105  of a server that lives for minutes, on loopback
# As servers of this size would be set. What is read is in memory, so that the disk is nobody's bottleneck.
_POSTGRES = {
    "shared_buffers": "1GB",
    "effective_cache_size": "4GB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "autovacuum": "on",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
}
_MARIADB = {
    "innodb_buffer_pool_size": "2G",
    "innodb_log_file_size": "512M",
    "innodb_flush_log_at_trx_commit": "1",
    "innodb_doublewrite": "ON",
    "debug_no_sync": "OFF",
    "local_infile": "ON",
}
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Served:
    """A running server with a loaded table."""

    connector: str
    port: int
    database: str
    schema: str
    pid: int
    client: list[str]
    """What runs the server's own client; a statement comes last."""
    client_environment: dict[str, str]
    connect: Callable[[], Any]
    """Opens a session of a driver in which every statement commits."""
    host: str = "127.0.0.1"

    @property
    def table(self) -> str:
        """Name the table with its schema."""
        return f"{self.schema}.lineitem"

    @property
    def connection(self) -> dict[str, Any]:
        """Give the connection as a job writes it."""
        return {"host": self.host, "port": self.port, "database": self.database, "user": USER}

    @property
    def credentials(self) -> dict[str, str]:
        """Give the credentials as a job writes them."""
        return {"password": PASSWORD}

    def url(self, scheme: str) -> str:
        """Give the address as SQLAlchemy, connectorx and libpq read it."""
        return f"{scheme}://{USER}:{PASSWORD}@{self.host}:{self.port}/{self.database}"

    def run(self, *statements: str) -> None:
        """Run statements, each for itself."""
        with contextlib.closing(self.connect()) as session, session.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def cpu_s(self) -> float:
        """Give the CPU seconds that the server has taken so far, in processes that live and in those that ended."""
        return (sum(_ticks(self.pid)) + sum(sum(_ticks(child)[:2]) for child in _children(self.pid))) * _TICK_S


@contextlib.contextmanager
def postgres(scale: float) -> Iterator[Served]:
    """Serve lineitem as a Postgres has it that was not touched for a while: vacuumed, and in memory."""
    csv = lineitem_csv(scale)
    with postgres_service.running(**_POSTGRES) as server:

        def connect() -> psycopg.Connection[Any]:
            return server.connect(user=USER, password=PASSWORD)

        with server.connect() as session:
            session.execute(f"CREATE ROLE {USER} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
        address = ["-h", server.host, "-p", str(server.port), "-U", USER, "-d", server.database]
        served = Served(
            connector="postgres",
            port=server.port,
            database=server.database,
            schema="public",
            pid=int((server.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0]),
            client=[str(server.software / "psql"), *address, "-qc"],
            client_environment={"PGPASSWORD": PASSWORD},
            connect=connect,
        )
        served.run(f"CREATE TABLE {served.table} ({_columns()})")
        with (
            connect() as session,
            session.cursor() as cursor,
            csv.open("rb") as file,
            cursor.copy(f"COPY {served.table} FROM STDIN (FORMAT csv, HEADER)") as copy,
        ):
            while block := file.read(2**20):
                copy.write(block)
        served.run(f"VACUUM (FREEZE, ANALYZE) {served.table}", "CHECKPOINT")
        yield served


@contextlib.contextmanager
def mariadb(scale: float) -> Iterator[Served]:
    """Serve lineitem as a MariaDB has it, with the primary key of TPC-H."""
    csv = lineitem_csv(scale)
    with mariadb_service.running(**_MARIADB) as server:

        def connect() -> pymysql.Connection[Any]:
            return server.connect(user=USER, password=PASSWORD, local_infile=True)

        server.ask(
            f"CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'", f"GRANT ALL ON *.* TO {USER}@'%'", "FLUSH PRIVILEGES"
        )
        program, environment = _mariadb_client()
        address = ["-h", server.host, "-P", str(server.port), "-u", USER, f"-p{PASSWORD}", server.database]
        served = Served(
            connector="mysql",
            port=server.port,
            database=server.database,
            schema=server.database,
            pid=int((server.folder / "mariadb.pid").read_text(encoding="utf-8")),
            client=[program, "--no-defaults", "--quick", "--batch", *address, "-e"],
            client_environment=environment,
            connect=connect,
        )
        served.run(
            f"CREATE TABLE {served.table} ({_columns()}, PRIMARY KEY (l_orderkey, l_linenumber))",
            f"LOAD DATA LOCAL INFILE '{csv}' INTO TABLE {served.table} CHARACTER SET utf8mb4 FIELDS TERMINATED BY ','"
            " OPTIONALLY ENCLOSED BY '\"' ESCAPED BY '' LINES TERMINATED BY '\\n' IGNORE 1 LINES",
            f"ANALYZE TABLE {served.table}",
        )
        yield served


def _columns() -> str:
    return ", ".join(
        f"{name} {'varchar(44)' if kind == 'varchar' else kind} NOT NULL" for name, kind in COLUMNS.items()
    )


def _mariadb_client() -> tuple[str, dict[str, str]]:
    installed = shutil.which("mariadb")
    if installed is not None:
        return installed, {}
    root = unpacked("mariadb-client-core", "libedit2", "libbsd0")
    return str(root / "usr/bin/mariadb"), {"LD_LIBRARY_PATH": library_path(root)}


def _ticks(process: int) -> tuple[int, int, int, int]:
    """Give a process's user and system time, and those of its children that ended (proc(5), stat)."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):  # ended since: its parent counts it from now on
        return 0, 0, 0, 0
    user, system, of_children, system_of_children = map(int, stat.rpartition(")")[2].split()[11:15])
    return user, system, of_children, system_of_children


def _children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8")
    return [int(child) for child in found.split()]
