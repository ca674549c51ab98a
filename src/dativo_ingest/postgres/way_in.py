"""The way to a session with Postgres, as the first steps of a check go it."""

from __future__ import annotations

from typing import Literal

from dativo_ingest.databases.failures import End
from dativo_ingest.databases.way_in import WayIn
from dativo_ingest.postgres.connection import PostgresAccess
from dativo_ingest.postgres.failures import Failures
from dativo_ingest.postgres.servers import servers_of
from dativo_ingest.postgres.sessions import Session, connect, let_go, place_of
from dativo_plugin_sdk import AuthenticationError, DativoError, InvalidConfigError

_TIMEOUT_S = 10.0


def way_in(access: PostgresAccess, failures: Failures) -> WayIn[Session]:
    """Give the way to a session, for the steps of a check."""
    return WayIn(_Door(access, failures))


class _Door:
    """A database behind libpq."""

    otherwise = "libpq finds a socket or a service by itself"

    def __init__(self, access: PostgresAccess, failures: Failures) -> None:
        self._failures = failures
        self._parameters = access.parameters()
        self.end: End = access.end
        self.place = place_of(self._parameters)
        self.timeout_s = float(self._parameters.get("connect_timeout", _TIMEOUT_S))

    @property
    def servers(self) -> list[tuple[str, int]]:
        return list(servers_of(self._parameters))

    def open(self) -> Session:
        return connect(self._parameters, self._failures)

    def close(self, session: Session) -> None:
        let_go(session)

    def is_encrypted(self, session: Session) -> bool:
        return session.pgconn.ssl_in_use

    def user(self, session: Session) -> str:
        return session.info.user

    def step_of(self, refusal: DativoError) -> Literal["tls", "authentication"] | None:
        if isinstance(refusal, InvalidConfigError) or "certificate" in refusal.details:
            return "tls"
        about_database = "permission denied for database" in str(refusal.details.get("original_message"))
        return "authentication" if isinstance(refusal, AuthenticationError) and not about_database else None
