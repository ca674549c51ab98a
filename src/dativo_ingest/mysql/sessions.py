"""Sessions with a MySQL or MariaDB server."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pymysql
from pymysql.constants import CR
from pymysql.cursors import Cursor

from dativo_ingest.mysql.certificates import explained
from dativo_ingest.mysql.connection import Parameters
from dativo_ingest.mysql.failures import Failures
from dativo_ingest.mysql.names import literal
from dativo_plugin_sdk import DativoError, InvalidConfigError, InvalidCredentialsError

if TYPE_CHECKING:
    _Connection = pymysql.Connection[Cursor]  # only the stubs make it generic
else:
    _Connection = pymysql.Connection

PROGRAM = "dativo"

# A server that is gone without a word is noticed within a minute.
_KEEP_ALIVE = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 30),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 10),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 60_000),
    (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
)

# Whatever a server or a user has set: texts mean one moment, nothing is left out, and a slow target is waited for.
_DAY_S = 86_400
_SETTINGS: dict[str, str | float] = {
    "time_zone": "+00:00",
    "sql_mode": "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION",
    "wait_timeout": _DAY_S,
    "net_read_timeout": _DAY_S,
    "net_write_timeout": _DAY_S,
    "idle_transaction_timeout": 0,  # MariaDB
    "idle_readonly_transaction_timeout": 0,  # MariaDB
    "sql_auto_is_null": 0,
    "sql_big_selects": 1,
    "sql_safe_updates": 0,
}
_CONSISTENT = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


@dataclass(frozen=True)
class Server:
    """What a server is."""

    is_mariadb: bool
    version: tuple[int, ...]
    full_version: str
    """As the server writes it: ``10.11.19-MariaDB-0+deb12u1``."""

    @property
    def name(self) -> str:
        """Name it, with its version."""
        return f"{'MariaDB' if self.is_mariadb else 'MySQL'} {'.'.join(map(str, self.version))}"


class Session(_Connection):
    """PyMySQL's connection, with what Dativo has to know and to change of its inside."""

    _sock: socket.socket
    _read_timeout: float | None
    _write_timeout: float | None
    _current_timeout: float | None
    _secure: bool
    server_version: str

    @property
    def is_encrypted(self) -> bool:
        """Say whether TLS is spoken."""
        return isinstance(self._sock, ssl.SSLSocket)

    @property
    def is_safe(self) -> bool:
        """Say whether nobody can listen: TLS is spoken, or it is a Unix socket."""
        return self._secure

    @property
    def server(self) -> Server:
        """Say what the server is, by its greeting."""
        own = self.server_version.removeprefix("5.5.5-")  # what MariaDB 10 says first, for replicas of old
        numbers = own.split("-")[0].split(".")
        return Server("mariadb" in own.lower(), tuple(int(number) for number in numbers if number.isdigit()), own)

    def reach(self) -> None:
        """Connect; where PyMySQL does so by itself, it leaves a Unix socket open that nobody answers."""
        if self.unix_socket is None:
            self.connect()
            return
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        found.settimeout(self.connect_timeout)
        try:
            found.connect(self.unix_socket)
        except OSError as error:
            found.close()
            raise pymysql.OperationalError(CR.CR_CONNECTION_ERROR, str(error)) from error
        self._secure = True
        self.connect(found)

    @property
    def number(self) -> int:
        """Give the number by which the server knows the session."""
        return int(self.thread_id())  # type: ignore[no-untyped-call]  # the stubs leave it untyped

    def be_patient(self) -> None:
        """Wait for as long as the server is there, which the network watches; so far waiting had an end."""
        self._read_timeout = self._write_timeout = self._current_timeout = None
        self._sock.settimeout(None)
        if self.unix_socket is None:
            for level, name, setting in _KEEP_ALIVE:
                if hasattr(socket, name):  # not every system has them all
                    self._sock.setsockopt(level, getattr(socket, name), setting)

    def sever(self) -> None:
        """Cut the connection, whatever another thread does with it: that one finds it broken."""
        with contextlib.suppress(OSError, TypeError):  # closed already, or not yet open
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def tell_password(self) -> Any:
        """Send the password as it is, and give the server's answer."""
        self.write_packet(self.password + b"\0")
        answer: Any = self._read_packet()  # type: ignore[no-untyped-call]  # the stubs leave it untyped
        answer.check_error()
        return answer


def connect(parameters: Parameters, failures: Failures) -> Session:
    """Open a session that reads only, in which every statement is a transaction until one is begun.

    Texts come as UTF-8 and moments in UTC; a transaction sees one image of the database.

    Raises:
        DativoError: There is no way in; the class says why.
    """
    where = parameters.place
    try:
        context = parameters.tls()
    except OSError as error:
        files = ", ".join(each for each in (parameters.ssl_ca, parameters.ssl_cert, parameters.ssl_key) if each)
        raise InvalidConfigError(
            f"{where}: TLS cannot be used with {files or 'what this machine has'}: {error}",
            hint=f"check the files in {failures.end}.connection.ssl_ca, ssl_cert and ssl_key",
        ) from error
    try:
        with failures.translated(where):
            session = _open(parameters, context)
    except DativoError as error:
        found = explained(error, parameters, failures.end)
        if found is error:
            raise
        raise found from error.__cause__
    try:
        with failures.translated(where):
            set_variables(session, _SETTINGS)
            run(session, _CONSISTENT)
            session.be_patient()
    except DativoError:
        let_go(session)
        raise
    return session


def let_go(session: Session) -> None:
    """Close a session; the server rolls back what it has not committed. May be called twice."""
    with contextlib.suppress(pymysql.MySQLError):
        session.close()


def ask(session: Session, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Give the rows that a query finds; parameters are ``%s``."""
    with session.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return list(cursor.fetchall())


def value(session: Session, statement: str, *parameters: object) -> Any:
    """Give the first column of the first row; None where there is none."""
    rows = ask(session, statement, *parameters)
    return rows[0][0] if rows else None


def run(session: Session, statement: str, *parameters: object) -> int:
    """Run a statement and give how many rows it touched."""
    with session.cursor() as cursor:
        return int(cursor.execute(statement, parameters or None))


def set_variables(session: Session, wanted: Mapping[str, str | float]) -> None:
    """Set variables of a session, but those that this server does not have."""
    names = ", ".join(literal(name) for name in wanted)
    known = {str(row[0]).lower() for row in ask(session, f"SHOW SESSION VARIABLES WHERE Variable_name IN ({names})")}
    parts = (f"SESSION {name} = {_written(wanted[name])}" for name in wanted if name in known)
    assignments = ", ".join(parts)
    if assignments:
        run(session, f"SET {assignments}")


def _written(setting: str | float) -> str:
    return literal(setting) if isinstance(setting, str) else str(setting)


def _open(parameters: Parameters, context: ssl.SSLContext | None) -> Session:
    session = Session(
        host=parameters.host,
        port=parameters.port,
        unix_socket=parameters.socket,
        user=parameters.user,
        password=parameters.password.encode(),  # PyMySQL would write a str in Latin-1
        database=parameters.database,
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=parameters.connect_timeout_s,
        read_timeout=parameters.connect_timeout_s,  # a server that takes a connection may still say nothing
        write_timeout=parameters.connect_timeout_s,
        program_name=PROGRAM,
        ssl_disabled=parameters.without_tls,
        ssl=context,
        defer_connect=True,
        auth_plugin_map={"mysql_clear_password": _ClearPassword, "dialog": _Dialog},
    )
    try:
        session.reach()
    except RuntimeError as error:
        raise InvalidCredentialsError(
            f"{parameters.place}: {error}", hint="install the package that it names, or log in by another method"
        ) from error
    return session


class _Dialog:
    """Stands before a method to log in that tells the password as it is, and lets it go on where nobody listens."""

    def __init__(self, session: Any) -> None:
        self._session: Session = session
        if not session.is_safe:
            raise pymysql.OperationalError(
                CR.CR_AUTH_PLUGIN_ERR,
                "the server wants the password in clear text, and the connection is not encrypted",
            )


class _ClearPassword(_Dialog):
    """The same, for the method that does nothing else."""

    def authenticate(self, packet: Any) -> Any:  # noqa: ARG002  it asks for nothing in particular
        """Tell the password, and give the server's answer."""
        return self._session.tell_password()
