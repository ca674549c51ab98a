"""A MariaDB server of each test worker's own: the machine's, or one out of Debian's packages."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
from certificates import Authority
from debian import library_path, unpacked
from server_processes import free_port, give_away, is_root, server_folder, start

_PACKAGES = ("mariadb-server-core", "liburing2", "libaio1", "libnuma1")
_READY_S = 60.0
_SETUP_S = 60.0
_SYSTEM_TABLES = (
    "mysql_system_tables.sql",
    "mysql_performance_tables.sql",
    "mysql_system_tables_data.sql",
    "maria_add_gis_sp_bootstrap.sql",
    "mysql_sys_schema.sql",
)
# What the tests lose with the machine is no loss, and nobody needs it on disk before that.
_SETTINGS = {
    "bind-address": "127.0.0.1",
    "skip-name-resolve": "ON",
    "character-set-server": "utf8mb4",
    "collation-server": "utf8mb4_general_ci",
    "max-connections": "60",
    "max-allowed-packet": "256M",
    "table-open-cache": "400",
    "key-buffer-size": "1M",
    "aria-pagecache-buffer-size": "1M",
    "aria-log-file-size": "8M",
    "innodb-buffer-pool-size": "48M",
    "innodb-log-file-size": "32M",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-doublewrite": "OFF",
    "innodb-use-native-aio": "OFF",
    "innodb-fast-shutdown": "3",
    "debug-no-sync": "ON",
    "sync-frm": "OFF",
}
_NO_BINLOG = {"skip-log-bin": "ON"}
_BINLOG = {
    "log-bin": "binlog",
    "binlog-format": "ROW",
    "binlog-row-metadata": "FULL",
    "sync-binlog": "0",
    "server-id": "1",
}


@dataclass(frozen=True)
class MariaDB:
    """A server on loopback with TLS; ``database`` is shared by the worker's tests, so use tables of your own."""

    port: int
    folder: Path
    """Of the server: its socket, its data, and its certificates."""
    authority: Authority = field(default_factory=lambda: Authority("Dativo test authority"), repr=False)
    host: str = "127.0.0.1"
    user: str = "dativo_admin"
    password: str = "pa ss'w@rd"
    database: str = "shop"

    @property
    def socket(self) -> Path:
        """Give the Unix socket."""
        return self.folder / "mariadb.sock"

    @property
    def ca(self) -> Path:
        """Give the file of the authority that signed the server's certificate."""
        return self.folder / "ca.pem"

    @property
    def connection(self) -> dict[str, Any]:
        """Give the connection as a job writes it."""
        return {"host": self.host, "port": self.port, "database": self.database, "user": self.user}

    @property
    def credentials(self) -> dict[str, str]:
        """Give the credentials as a job writes them."""
        return {"password": self.password}

    def connect(self, **changes: Any) -> pymysql.Connection[Any]:
        """Open a session with nothing of Dativo's."""
        arguments = {
            "host": self.host,
            "port": self.port,
            "database": self.database,
            "user": self.user,
            "password": self.password,
            "charset": "utf8mb4",
            "autocommit": True,
            **changes,
        }
        return pymysql.connect(**arguments)

    def connect_as_root(self) -> pymysql.Connection[Any]:
        """Open a session by the Unix socket, for what may keep the usual user out."""
        return pymysql.connect(unix_socket=str(self.socket), user="root", autocommit=True)

    def ask(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements and give the rows of the last."""
        with self.connect() as session, session.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def show_certificate(self, certificate: bytes, key: bytes) -> None:
        """Let the server show a certificate to those who connect from now on."""
        _write_certificate(self.folder, certificate, key)
        self.ask("FLUSH SSL")


@contextmanager
def running(*, binlog: bool = False, **settings: str) -> Iterator[MariaDB]:
    """Start a server on a free port, and end it by its pid; it goes with this process however that ends.

    Args:
        binlog: Whether changes are logged row by row, as change data capture reads them.
        settings: The server's settings beside the usual ones, with ``_`` for ``-``.
    """
    with server_folder("mariadb") as folder:
        server = MariaDB(port=free_port(), folder=folder)
        software = _software(folder)
        data = folder / "data"
        data.mkdir(mode=0o700)
        (folder / "tmp").mkdir()
        give_away(folder, data, folder / "tmp")
        own = {name.replace("_", "-"): value for name, value in settings.items()}
        flags = _flags({**_SETTINGS, **(_BINLOG if binlog else _NO_BINLOG), **_places(server, software), **own})
        _initialise(software, data, flags)
        server.ca.write_bytes(server.authority.certificate)
        _write_certificate(folder, *server.authority.issue(server.host))
        (folder / "init.sql").write_text(_first_words(server))
        tls = _flags({"ssl-cert": f"{folder}/server.pem", "ssl-key": f"{folder}/server.key"})
        with (folder / "log.txt").open("wb") as log:
            command = [str(software.program), "--no-defaults", *flags, *tls, f"--init-file={folder}/init.sql"]
            process = start(command, data, log, end_by=signal.SIGKILL, environment=software.environment)
        try:
            _wait(server, process, folder / "log.txt")
            yield server
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class _Software:
    program: Path
    share: Path
    """Where messages, character sets and the first tables are."""
    environment: Mapping[str, str] = field(default_factory=dict)


def _software(folder: Path) -> _Software:
    """Find the machine's server, or take one out of packages, a copy of which nobody can read."""
    installed = shutil.which("mariadbd")
    if installed is not None:
        return _Software(Path(installed), Path("/usr/share/mysql"))
    root = unpacked(*_PACKAGES)
    if is_root():
        root = Path(
            shutil.copytree(root, folder / "software", ignore=shutil.ignore_patterns("doc", "man"), symlinks=True)
        )
    software = _Software(root / "usr/sbin/mariadbd", root / "usr/share/mysql", {"LD_LIBRARY_PATH": library_path(root)})
    needs = subprocess.run(
        ["ldd", str(software.program)], env=dict(software.environment), capture_output=True, text=True, check=True
    )
    missing = [line.split()[0] for line in needs.stdout.splitlines() if "not found" in line]
    if missing:
        raise RuntimeError(
            f"this machine lacks libraries that MariaDB needs: {', '.join(missing)};"
            " install mariadb-server-core, or add the packages that hold them to mariadb_service.py"
        )
    return software


def _places(server: MariaDB, software: _Software) -> dict[str, str]:
    return {
        "datadir": str(server.folder / "data"),
        "tmpdir": str(server.folder / "tmp"),  # a server that starts clears its own of other servers' files
        "socket": str(server.socket),
        "pid-file": str(server.folder / "mariadb.pid"),
        "lc-messages-dir": str(software.share),
        "character-sets-dir": str(software.share / "charsets"),
        "port": str(server.port),
    }


def _flags(settings: Mapping[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]


def _initialise(software: _Software, data: Path, flags: list[str]) -> None:
    """Make the system's tables, as ``mariadb-install-db`` does with programs that are not in the packages."""
    script = data.parent / "system.sql"
    parts = [(software.share / name).read_text(encoding="utf-8") for name in _SYSTEM_TABLES]
    script.write_text("\n".join(["CREATE DATABASE mysql;", "USE mysql;", "SET @auth_root_socket=NULL;", *parts]))
    command = [str(software.program), "--no-defaults", *flags, "--bootstrap", "--enforce-storage-engine="]
    with script.open("rb") as told:
        process = start(
            command, data, subprocess.PIPE, end_by=signal.SIGKILL, stdin=told, environment=software.environment
        )
        output, _ = process.communicate(timeout=_SETUP_S)
    if process.returncode:
        raise RuntimeError(f"MariaDB's tables were not made: {output.decode(errors='replace')[-3000:]}")


def _first_words(server: MariaDB) -> str:
    password = server.password.replace("'", "''")
    lines = (
        f"CREATE USER '{server.user}'@'%' IDENTIFIED BY '{password}'",
        f"GRANT ALL ON *.* TO '{server.user}'@'%' WITH GRANT OPTION",
        f"CREATE DATABASE {server.database}",
        "DELETE FROM mysql.global_priv WHERE User = 'root' AND Host <> 'localhost'",
        "FLUSH PRIVILEGES",
    )
    return "".join(f"{line};\n" for line in lines)


def _write_certificate(folder: Path, certificate: bytes, key: bytes) -> None:
    for name, content in (("server.pem", certificate), ("server.key", key)):
        (folder / name).write_bytes(content)
        give_away(folder / name)


def _wait(server: MariaDB, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + _READY_S
    while True:
        try:
            server.ask("SELECT 1")
        except pymysql.Error as error:
            if process.poll() is not None or time.monotonic() > deadline_s:
                tail = log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"MariaDB did not start: {error}\n{tail}") from error
            time.sleep(0.05)
        else:
            return
