"""The first steps of a check, for either end: is the server there, and does it let this user in?"""

from __future__ import annotations

import builtins
import socket

from dativo_ingest.postgres.connection import PostgresAccess
from dativo_ingest.postgres.failures import Failures
from dativo_ingest.postgres.servers import servers_of
from dativo_ingest.postgres.sessions import Session, connect, let_go, place_of
from dativo_plugin_sdk import (
    AuthenticationError,
    Check,
    ConnectionTestResult,
    DativoError,
    InvalidConfigError,
    NetworkError,
    TimeoutError,
)

_TIMEOUT_S = 10.0


class WayIn:
    """The steps from a server's name to a session, which serves the steps after them.

    Args:
        access: Where the server is and how to be let in.
        failures: How errors are named.
    """

    def __init__(self, access: PostgresAccess, failures: Failures) -> None:
        self._end = access.end
        self._failures = failures
        self._parameters = access.parameters()
        self._session: Session | None = None
        self._refusal: DativoError | None = None
        self.place = place_of(self._parameters)

    def steps(self) -> list[Check]:
        """List the steps in order."""
        return [
            Check("dns", self._names),
            Check("tcp", self._addresses),
            Check("tls", self._tls),
            Check("authentication", self._authentication),
        ]

    def close(self) -> None:
        """Let go of the session; may be called twice."""
        if self._session is not None:
            let_go(self._session)
        self._session = None

    def session(self) -> Session:
        """Give the session, or say why there is none.

        Raises:
            DativoError: There is no way in; the class says why.
        """
        if self._refusal is not None:
            raise self._refusal
        if self._session is None:
            self._session = connect(self._parameters, self._failures)
        return self._session

    def _names(self) -> ConnectionTestResult:
        found = {}
        for host, port in servers_of(self._parameters):
            try:
                found[host] = sorted({each[4][0] for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
            except (OSError, UnicodeError) as error:
                raise NetworkError(
                    f"{host}: its name has no address: {error}",
                    hint=f"check {self._end}.connection.host, and the DNS here",
                ) from error
        if not found:
            return passed("no name to look up: libpq finds a socket or a service by itself")
        return passed(f"{', '.join(found)}: found", addresses=found)

    def _addresses(self) -> ConnectionTestResult:
        failure: OSError | None = None
        timeout_s = float(self._parameters.get("connect_timeout", _TIMEOUT_S))
        servers = list(servers_of(self._parameters))
        for host, port in servers:
            try:
                socket.create_connection((host, port), timeout=timeout_s).close()
            except OSError as error:
                failure = error
            else:
                return passed(f"{host}:{port} takes connections")
        if failure is None:
            return passed("no address to try: libpq finds a socket or a service by itself")
        kind = TimeoutError if isinstance(failure, builtins.TimeoutError) else NetworkError
        raise kind(
            f"{' and '.join(f'{host}:{port}' for host, port in servers)}: {failure}",
            hint=f"check {self._end}.connection.host and port, that the server is up, and the firewalls between",
        ) from failure

    def _tls(self) -> ConnectionTestResult:
        try:
            self._session = connect(self._parameters, self._failures)
        except DativoError as error:
            self._refusal = error
        if isinstance(self._refusal, InvalidConfigError) or (self._refusal and "certificate" in self._refusal.details):
            raise self._refusal
        if self._session is None:
            return passed("not refused so far")
        encrypted = self._session.pgconn.ssl_in_use
        return passed("the connection is encrypted" if encrypted else "the connection is not encrypted", tls=encrypted)

    def _authentication(self) -> ConnectionTestResult:
        if isinstance(self._refusal, AuthenticationError) and not _is_about_database(self._refusal):
            raise self._refusal
        if self._session is None:
            return passed("not refused so far")
        return passed(f"{self._session.info.user} is let in", user=self._session.info.user)


def passed(message: str, **details: object) -> ConnectionTestResult:
    """Say that a step went well."""
    return ConnectionTestResult(success=True, message=message, details=dict(details) or None)


def _is_about_database(error: DativoError) -> bool:
    return "permission denied for database" in str(error.details.get("original_message"))
