"""The way to a session with MySQL or MariaDB, as the first steps of a check go it."""

from __future__ import annotations

from typing import Literal

from dativo_ingest.databases.failures import End
from dativo_ingest.databases.way_in import WayIn
from dativo_ingest.mysql.connection import MysqlAccess
from dativo_ingest.mysql.failures import Failures
from dativo_ingest.mysql.sessions import Session, connect, let_go
from dativo_plugin_sdk import AuthenticationError, DativoError, InvalidConfigError

_NOT_INTO_DATABASE = 1044


def way_in(access: MysqlAccess, failures: Failures) -> WayIn[Session]:
    """Give the way to a session, for the steps of a check."""
    return WayIn(_Door(access, failures))


class _Door:
    """A server that PyMySQL speaks with."""

    otherwise = "the server is reached by its Unix socket"

    def __init__(self, access: MysqlAccess, failures: Failures) -> None:
        self._failures = failures
        self._parameters = access.parameters
        self.end: End = access.end
        self.place = access.parameters.place
        self.timeout_s = float(access.parameters.connect_timeout_s)

    @property
    def servers(self) -> list[tuple[str, int]]:
        return [] if self._parameters.socket else [(self._parameters.host, self._parameters.port)]

    def open(self) -> Session:
        return connect(self._parameters, self._failures)

    def close(self, session: Session) -> None:
        let_go(session)

    def is_encrypted(self, session: Session) -> bool:
        return session.is_encrypted

    def user(self, session: Session) -> str:  # noqa: ARG002  the server takes the user for the one who was named
        return self._parameters.user

    def step_of(self, refusal: DativoError) -> Literal["tls", "authentication"] | None:
        if isinstance(refusal, InvalidConfigError) or "certificate" in refusal.details:
            return "tls"
        about_database = refusal.details.get("error_number") == _NOT_INTO_DATABASE
        return "authentication" if isinstance(refusal, AuthenticationError) and not about_database else None
