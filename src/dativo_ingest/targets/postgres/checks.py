"""The steps of a check: is the server there, does it let this user in, and may the user write?"""
# ruff: noqa: S608  names are quoted, values are parameters

from __future__ import annotations

import builtins
import socket
import uuid
from collections.abc import Iterator, Sequence

from psycopg import pq

from dativo_ingest.targets.postgres.config import PostgresConfig
from dativo_ingest.targets.postgres.failures import translated
from dativo_ingest.targets.postgres.names import namespace_of, quoted, title
from dativo_ingest.targets.postgres.sessions import Session, ask, begin, connect, let_go, place_of, run, value
from dativo_ingest.targets.postgres.state import StreamState
from dativo_ingest.targets.postgres.tables import Table, has_schema
from dativo_plugin_sdk import (
    AuthenticationError,
    Check,
    ConnectionTestResult,
    DativoError,
    InsufficientPermissionsError,
    InvalidConfigError,
    NetworkError,
    TableSpec,
    TimeoutError,
)

_PORT = "5432"
_TIMEOUT_S = 10.0
_LOCK_TIMEOUT_S = 5.0
_WRITES = {
    "append": ("INSERT INTO {0} SELECT * FROM {0} WHERE false",),
    "overwrite": ("INSERT INTO {0} SELECT * FROM {0} WHERE false", "DELETE FROM {0} WHERE false"),
    "merge": (
        "INSERT INTO {0} SELECT * FROM {0} WHERE false",
        "UPDATE {0} SET {1} = {1} WHERE false",
        "DELETE FROM {0} WHERE false",
    ),
}


class Checks:
    """The steps of one check; the session that one of them opens serves those after it.

    Args:
        config: The target.
        tables: What is to be written.
    """

    def __init__(self, config: PostgresConfig, tables: Sequence[TableSpec]) -> None:
        self._tables = tables
        self._parameters = config.parameters()
        self._place = place_of(self._parameters)
        self._session: Session | None = None
        self._refusal: DativoError | None = None

    def steps(self) -> list[Check]:
        """List the steps in order."""
        schemas = dict.fromkeys(map(namespace_of, self._tables))
        return [
            Check("dns", self._names),
            Check("tcp", self._addresses),
            Check("tls", self._tls),
            Check("authentication", self._authentication),
            Check("database", self._database),
            *(Check(f"schema {schema}", lambda schema=schema: self._schema(schema)) for schema in schemas),  # type: ignore[misc]  # mypy does not see the default
            *(Check(f"table {title(spec)}", lambda spec=spec: self._table(spec)) for spec in self._tables),  # type: ignore[misc]  # the same
            Check("write_probe", self._probe),
        ]

    def close(self) -> None:
        """Let go of the session; may be called twice."""
        if self._session is not None:
            let_go(self._session)
        self._session = None

    def _names(self) -> ConnectionTestResult:
        found = {}
        for host, port in self._servers():
            try:
                found[host] = sorted({each[4][0] for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
            except (OSError, UnicodeError) as error:
                raise NetworkError(
                    f"{host}: its name has no address: {error}", hint="check target.connection.host, and the DNS here"
                ) from error
        if not found:
            return _ok("no name to look up: libpq finds a socket or a service by itself")
        return _ok(f"{', '.join(found)}: found", addresses=found)

    def _addresses(self) -> ConnectionTestResult:
        failure: OSError | None = None
        timeout_s = float(self._parameters.get("connect_timeout", _TIMEOUT_S))
        servers = list(self._servers())
        for host, port in servers:
            try:
                socket.create_connection((host, port), timeout=timeout_s).close()
            except OSError as error:
                failure = error
            else:
                return _ok(f"{host}:{port} takes connections")
        if failure is None:
            return _ok("no address to try: libpq finds a socket or a service by itself")
        kind = TimeoutError if isinstance(failure, builtins.TimeoutError) else NetworkError
        raise kind(
            f"{' and '.join(f'{host}:{port}' for host, port in servers)}: {failure}",
            hint="check target.connection.host and port, that the server is up, and the firewalls between",
        ) from failure

    def _tls(self) -> ConnectionTestResult:
        try:
            self._session = connect(self._parameters)
        except DativoError as error:
            self._refusal = error
        if isinstance(self._refusal, InvalidConfigError):
            raise self._refusal
        if self._session is None:
            return _ok("not refused")
        encrypted = self._session.pgconn.ssl_in_use
        return _ok("the connection is encrypted" if encrypted else "the connection is not encrypted", tls=encrypted)

    def _authentication(self) -> ConnectionTestResult:
        if isinstance(self._refusal, AuthenticationError):
            raise self._refusal
        if self._session is None:
            return _ok("not refused")
        return _ok(f"{self._session.info.user} is let in", user=self._session.info.user)

    def _database(self) -> ConnectionTestResult:
        session = self._connected()
        with translated(self._place):
            ((version, read_only, encoding),) = ask(
                session,
                "SELECT current_setting('server_version'), current_setting('transaction_read_only') = 'on',"
                " current_setting('server_encoding')",
            )
        name = session.info.dbname
        details = {"database": name, "server_version": version, "encoding": encoding}
        if read_only:
            raise InsufficientPermissionsError(
                f"{self._place}: the server is read-only",
                details=details,
                hint="connect to the primary server, with several hosts by parameters:"
                " {target_session_attrs: read-write}",
            )
        return _ok(f"database {name} of Postgres {version}", **details)

    def _schema(self, schema: str) -> ConnectionTestResult:
        session = self._connected()
        with translated(f"schema {schema}"):
            exists = has_schema(session, schema)
            if exists:
                question = "SELECT has_schema_privilege($1, 'USAGE') AND has_schema_privilege($1, 'CREATE')"
                may = value(session, question, schema)
            else:
                may = value(session, "SELECT has_database_privilege(current_database(), 'CREATE')")
        user, database = quoted(session.info.user), quoted(session.info.dbname)
        if not may:
            make = (
                f"CREATE SCHEMA {quoted(schema)} AUTHORIZATION {user}, or GRANT CREATE ON DATABASE {database} TO {user}"
            )
            raise InsufficientPermissionsError(
                f"schema {schema}: {session.info.user} may not create {'tables in it' if exists else 'it'}",
                hint=f"GRANT USAGE, CREATE ON SCHEMA {quoted(schema)} TO {user}" if exists else make,
            )
        return _ok(f"{schema} exists" if exists else f"{schema} is to be made")

    def _table(self, spec: TableSpec) -> ConnectionTestResult:
        session = self._connected()
        table = Table(namespace_of(spec), spec.name)
        with translated(table.title):
            columns = table.columns(session)
            if not columns:
                return _ok(f"{table.title} does not exist yet")
            state = StreamState.of(spec).load(session, has_table=True)
        return _ok(f"{table.title} exists", columns=len(columns), generation=state.generation)

    def _probe(self) -> ConnectionTestResult:
        """Do what a run does, in a transaction that is rolled back."""
        session = self._connected()
        with translated("write probe"):
            begin(session, lock_timeout_s=_LOCK_TIMEOUT_S)
            try:
                run(session, "CREATE TEMPORARY TABLE _dativo_probe (id bigint)")
                for spec in self._tables:
                    StreamState.of(spec).try_rights(session)
                    self._try_table(session, spec)
            finally:
                if session.info.transaction_status != pq.TransactionStatus.UNKNOWN:
                    run(session, "ROLLBACK")
        self.close()
        return _ok("tables were made and filled in a transaction that was rolled back")

    def _try_table(self, session: Session, spec: TableSpec) -> None:
        table = Table(namespace_of(spec), spec.name)
        columns = table.columns(session)
        for statement in _WRITES[spec.write] if columns else ():
            run(session, statement.format(table.sql, quoted(columns[0].column.name)))
        probe = quoted(table.schema, f"_dativo_probe_{uuid.uuid4().hex}")
        run(session, f"CREATE TABLE {probe} (id bigint)")
        run(session, f"INSERT INTO {probe} VALUES (1)")

    def _connected(self) -> Session:
        """Give the session, or say why there is none."""
        if self._refusal is not None:
            raise self._refusal
        if self._session is None:
            self._session = connect(self._parameters)
        return self._session

    def _servers(self) -> Iterator[tuple[str, int]]:
        """Give the hosts and ports that libpq will try, none where they are not known here."""
        defaults = {each.keyword.decode(): each.val for each in pq.Conninfo.get_defaults()}

        def said(name: str) -> str:
            default = defaults.get(name)
            return self._parameters.get(name) or (default.decode() if default else "")

        hosts = (said("hostaddr") or said("host")).split(",")
        ports = (said("port") or _PORT).split(",")
        for number, host in enumerate(hosts):
            port = ports[number] if len(ports) == len(hosts) else ports[0]
            if host and not host.startswith(("/", "@")):
                yield host, int(port or _PORT)


def _ok(message: str, **details: object) -> ConnectionTestResult:
    return ConnectionTestResult(success=True, message=message, details=dict(details) or None)
