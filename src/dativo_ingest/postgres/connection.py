"""How a job says which Postgres server and database it means, and libpq's names for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from pydantic import Field

from dativo_ingest.databases.failures import End
from dativo_plugin_sdk import InvalidConfigError, PluginConfig, Secret, parse

TargetSessionAttrs: TypeAlias = Literal["any", "read-write", "read-only", "primary", "standby", "prefer-standby"]
SslMode: TypeAlias = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

APPLICATION_NAME = "dativo"
_CONNECT_TIMEOUT_S = "10"

_SCHEMES = ("postgresql://", "postgres://")
_NOT_WITH_URL = ("host", "port", "database", "user", "service")

# What libpq is told where nobody says otherwise: a server that is gone without a word is noticed within a minute.
_CAREFUL = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}


class PostgresConnection(PluginConfig):
    """Which database; what is not said libpq finds in ``PG*`` variables, ``pg_service.conf`` and ``.pgpass``."""

    url: str | None = None
    """``postgresql://user@host:5432/database?sslmode=require``, instead of the next five keys."""
    host: str | None = None
    """One server or several, which are tried in order: ``standby1,standby2``; a port of its own each is for the url."""
    port: int | None = Field(default=None, ge=1, le=65535)
    database: str | None = None
    user: str | None = None
    service: str | None = None
    """A section of ``pg_service.conf``."""
    target_session_attrs: TargetSessionAttrs | None = None
    """Which of several servers will do: ``prefer-standby`` reads from a replica where there is one."""
    sslmode: SslMode | None = None
    """How much TLS has to prove; libpq's default is ``prefer``, which also goes without."""
    sslrootcert: str | None = None
    """The file of the authority that ``verify-ca`` and ``verify-full`` trust, or ``system``."""
    sslcert: str | None = None
    """The file of the client's certificate."""
    sslkey: str | None = None
    """The file of its key."""
    application_name: str | None = None
    """How the server's views name the run: ``dativo/`` and the job's name by default."""
    connect_timeout_s: int | None = Field(default=None, ge=1)
    """How long each address may take to answer: by default what ``PGCONNECT_TIMEOUT`` says, or 10."""
    parameters: dict[str, str] = Field(default_factory=dict)
    """Other parameters of libpq: ``load_balance_hosts: random``, ``options: -c statement_timeout=0``."""


class PostgresCredentials(PluginConfig):
    """How to be let in."""

    password: Secret | None = None
    """Of the user; without one, that of the ``url``, of ``PGPASSWORD`` or of ``.pgpass``."""
    sslpassword: Secret | None = None
    """Of the client's key."""


class PostgresAccess(PluginConfig):
    """Where the server is and how to be let in, parsed; ``end`` is the one that says so."""

    end: End
    connection: PostgresConnection
    credentials: PostgresCredentials
    job: str | None = None

    def parameters(self) -> dict[str, str]:
        """Give what libpq is told, secrets included.

        Raises:
            InvalidConfigError: libpq cannot read the ``url``.
        """
        connection, secrets = self.connection, self.credentials
        own = {
            "host": connection.host,
            "port": None if connection.port is None else str(connection.port),
            "dbname": connection.database,
            "user": connection.user,
            "service": connection.service,
            "target_session_attrs": connection.target_session_attrs,
            "sslmode": connection.sslmode,
            "sslrootcert": connection.sslrootcert,
            "sslcert": connection.sslcert,
            "sslkey": connection.sslkey,
            "application_name": connection.application_name,
            "connect_timeout": None if connection.connect_timeout_s is None else str(connection.connect_timeout_s),
            "password": None if secrets.password is None else secrets.password.get_secret_value(),
            "sslpassword": None if secrets.sslpassword is None else secrets.sslpassword.get_secret_value(),
        }
        given = {
            **_of_url(connection.url, where=f"{self.end}.connection"),
            **{key: value for key, value in own.items() if value is not None},
            **connection.parameters,
        }
        patience = {} if "PGCONNECT_TIMEOUT" in os.environ else {"connect_timeout": _CONNECT_TIMEOUT_S}
        name = APPLICATION_NAME if self.job is None else f"{APPLICATION_NAME}/{self.job}"
        careful = {**_CAREFUL, "fallback_application_name": name}
        return {**careful, **patience, **given, "client_encoding": "UTF8"}


def parse_access(
    connection: Mapping[str, Any], credentials: Mapping[str, Any], *, end: End, job: str | None = None
) -> PostgresAccess:
    """Read the part of a job that says where the server is and how to be let in.

    Args:
        connection: As the job has it.
        credentials: As the job has them.
        end: The end of the job that it is.
        job: The job's name, which the server's views show.

    Raises:
        InvalidConfigError: A key or value is wrong, or keys do not go together.
    """
    parsed = PostgresAccess(
        end=end,
        job=job,
        connection=parse(PostgresConnection, dict(connection), where=f"{end}.connection"),
        credentials=parse(PostgresCredentials, dict(credentials), where=f"{end}.credentials"),
    )
    if parsed.connection.url is not None:
        _require_url(parsed.connection, parsed.connection.url, where=f"{end}.connection")
    return parsed


def _require_url(connection: PostgresConnection, url: str, *, where: str) -> None:
    twice = [name for name in _NOT_WITH_URL if getattr(connection, name) is not None]
    if twice:
        raise InvalidConfigError(
            f"{where}: {', '.join(twice)} and url do not go together", hint="say it in the url alone"
        )
    if not url.startswith(_SCHEMES):
        raise InvalidConfigError(
            f"{where}.url must begin with postgresql://",
            hint="write postgresql://user@host:5432/database; other notations go without a driver's name",
        )


def _of_url(url: str | None, *, where: str) -> dict[str, str]:
    if url is None:
        return {}
    from psycopg import ProgrammingError  # noqa: PLC0415  an extra, seen to be there by now
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        found = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    except ProgrammingError:
        found = {"port": ""}  # what libpq says may repeat a part of the password
    if not set(found.get("port", "0")) <= set("0123456789,") or found.get("port") == "":
        raise InvalidConfigError(
            f"{where}.url is no URL that libpq can read",
            hint="characters such as @ / : # % in a user or password are written in percent form: %40 is @",
        )
    return found
