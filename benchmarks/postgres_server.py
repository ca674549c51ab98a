"""A Postgres server for benchmarks, with TPC-H lineitem in it, and what CPU time it takes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from environments import ROOT, lineitem_csv
from lineitem import COLUMNS

sys.path.append(str(ROOT / "tests" / "support"))

from postgres_service import running

if TYPE_CHECKING:
    from postgres_service import Postgres

# As a server of this size would be set; what is read is in memory, so that the disk is nobody's bottleneck.
_SETTINGS = {
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
    "max_connections": "100",
}
_TICKS_S = 1 / os.sysconf("SC_CLK_TCK")
TABLE = "public.lineitem"


@dataclass(frozen=True)
class Served:
    """A running server with a loaded table."""

    server: Postgres

    @property
    def url(self) -> str:
        """Where it is, for libpq and all that reads addresses as libpq does."""
        server = self.server
        return f"postgresql://{server.user}:{PASSWORD_IN_URL}@{server.host}:{server.port}/{server.database}"

    def cpu_s(self) -> float:
        """Give the CPU seconds that the server has taken so far, in processes that live and in those that ended."""
        postmaster = int((self.server.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
        own = _times(postmaster)
        return (sum(own) + sum(sum(_times(child)[:2]) for child in _children(postmaster))) * _TICKS_S


PASSWORD_IN_URL = "pa%20ss%27w%40rd"  # noqa: S105  of a server that lives for minutes, on loopback


@contextlib.contextmanager
def serving(scale: float) -> Iterator[Served]:
    """Start a server and load lineitem, as a database has it that was not touched for a while: vacuumed and in memory."""
    csv = lineitem_csv(scale)
    with running(**_SETTINGS) as server:
        columns = ", ".join(f"{name} {kind} NOT NULL" for name, kind in COLUMNS.items())
        with server.connect() as session:
            session.execute(f"CREATE TABLE {TABLE} ({columns})")
            with csv.open("rb") as file, session.cursor() as cursor:
                with cursor.copy(f"COPY {TABLE} FROM STDIN (FORMAT csv, HEADER, FREEZE false)") as copy:
                    while block := file.read(2**20):
                        copy.write(block)
            session.execute(f"VACUUM (FREEZE, ANALYZE) {TABLE}")
            session.execute("CHECKPOINT")
        yield Served(server)


def _times(process: int) -> tuple[int, int, int, int]:
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
