"""Who works on which stream, kept in the SQLite file beside the job; times are the store's own clock."""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Protocol

from dativo_ingest.run.state_file import opened

_TABLE = """
CREATE TABLE IF NOT EXISTS leases (
    key TEXT PRIMARY KEY, run_id TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, machine TEXT NOT NULL,
    process TEXT NOT NULL, taken_at REAL NOT NULL, seen_at REAL NOT NULL, expires_at REAL NOT NULL
) WITHOUT ROWID
"""
_NOW = "(julianday('now') - 2440587.5) * 86400.0"  # seconds since 1970
_EVERY = f"""
SELECT run_id, host, pid, machine, process, {_NOW} - taken_at, {_NOW} - seen_at, {_NOW} >= expires_at
FROM leases
"""  # noqa: S608  the one thing put in is the clock
_HOLDER = f"{_EVERY} WHERE key = ?"
_TAKE = f"INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?, {_NOW}, {_NOW}, {_NOW} + ?)"  # noqa: S608
_RENEW = f"UPDATE leases SET seen_at = {_NOW}, expires_at = {_NOW} + ? WHERE key = ? AND run_id = ?"  # noqa: S608
_RELEASE = "DELETE FROM leases WHERE key = ? AND run_id = ?"


@dataclass(frozen=True)
class Owner:
    """A run, and the process that it is."""

    run_id: str
    host: str
    pid: int
    machine: str
    """What a process id belongs to: the boot and the namespace of process ids; empty where nobody can tell."""
    process: str
    """When the process started, so that another one with its id is not taken for it; empty where nobody can tell."""

    @classmethod
    def here(cls, run_id: str) -> Owner:
        """Describe a run of this process."""
        pid = os.getpid()
        return cls(run_id, socket.gethostname(), pid, _machine(), _process(pid) or "")


@dataclass(frozen=True)
class Holder:
    """Who has a lease: for how long, and when it was last heard of."""

    key: str
    owner: Owner
    age_s: float
    silent_s: float
    expired: bool

    @property
    def is_gone(self) -> bool:
        """Say whether the process is known to be gone: it ran on this machine, and does no longer."""
        owner = self.owner
        if sys.platform == "win32" or (owner.host, owner.machine) != (socket.gethostname(), _machine()):
            return False
        process = _process(owner.pid)
        if process is not None and owner.process:
            return process != owner.process
        try:  # it may be there and not be shown to us
            os.kill(owner.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class LeaseStore(Protocol):
    """Keeps leases; every method is one step that other runners see whole or not at all."""

    def take(self, keys: Sequence[str], owner: Owner, *, ttl_s: float, steal: bool) -> Holder | None:
        """Take all of ``keys`` or none; give the live holder of one that cannot be had.

        An expired lease, and one whose process is gone, is free; with ``steal`` every one is.
        """

    def renew(self, keys: Sequence[str], owner: Owner, *, ttl_s: float) -> Sequence[Holder]:
        """Hold ``keys`` for another ``ttl_s``; give those that another run has taken since."""

    def release(self, keys: Sequence[str], owner: Owner) -> None:
        """Give ``keys`` back; those of another run by now stay."""


class SqliteLeaseStore:
    """A `LeaseStore` in a file; its clock is SQLite's.

    Args:
        path: The file; its folder is created with it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, keys: Sequence[str], owner: Owner, *, ttl_s: float, steal: bool) -> Holder | None:
        """Take all of ``keys`` or none."""
        with self._changing() as connection:
            if not steal:
                for holder in _holders(connection, keys, owner):
                    if not (holder.expired or holder.is_gone):
                        return holder
            connection.executemany(_TAKE, [(key, *astuple(owner), ttl_s) for key in keys])
        return None

    def renew(self, keys: Sequence[str], owner: Owner, *, ttl_s: float) -> Sequence[Holder]:
        """Hold ``keys`` on; one that nobody holds any more is taken again."""
        with self._changing() as connection:
            lost = _holders(connection, keys, owner)
            for key in set(keys) - {holder.key for holder in lost}:
                if connection.execute(_RENEW, (ttl_s, key, owner.run_id)).rowcount == 0:
                    connection.execute(_TAKE, (key, *astuple(owner), ttl_s))
        return lost

    def release(self, keys: Sequence[str], owner: Owner) -> None:
        """Give ``keys`` back."""
        with self._changing() as connection:
            connection.executemany(_RELEASE, [(key, owner.run_id) for key in keys])

    def at_work(self) -> frozenset[str]:
        """Give the runs that hold any lease; the file is not made where it is missing."""
        if not self._path.exists():
            return frozenset()
        with opened(self._path, _TABLE) as connection:
            rows = connection.execute(_EVERY).fetchall()
        holders = [Holder("", Owner(*row[:5]), age_s=row[5], silent_s=row[6], expired=bool(row[7])) for row in rows]
        return frozenset(each.owner.run_id for each in holders if not (each.expired or each.is_gone))

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with opened(self._path, _TABLE) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")  # closed without it, everything is rolled back


def _holders(connection: sqlite3.Connection, keys: Sequence[str], owner: Owner) -> list[Holder]:
    """List who holds ``keys`` beside ``owner``."""
    found = []
    for key in keys:
        row = connection.execute(_HOLDER, (key,)).fetchone()
        if row is not None and row[0] != owner.run_id:
            found.append(Holder(key, Owner(*row[:5]), age_s=row[5], silent_s=row[6], expired=bool(row[7])))
    return found


def _machine() -> str:
    """Name what process ids belong to; containers of one host may share its name and not its processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115  not a path: pid:[4026531836]
    except OSError:
        return ""


def _process(pid: int) -> str | None:
    """Say when a process started, in clock ticks since boot; None where none is to be seen, ``dead`` for remains."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # proc(5): the name before may hold anything
    return "dead" if fields[0] in {"Z", "X"} else fields[19]
