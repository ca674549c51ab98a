"""What a job can tell the Postgres target, and libpq's names for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from pydantic import Field

from dativo_plugin_sdk import InvalidConfigError, PluginConfig, Secret, TargetConfig, parse

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
    "fallback_application_name": APPLICATION_NAME,
}


class PostgresConnection(PluginConfig):
    """Which database; what is not said libpq finds in ``PG*`` variables, ``pg_service.conf`` and ``.pgpass``."""

    url: str | None = None
    """``postgresql://user@host:5432/database?sslmode=require``, instead of the next five keys."""
    host: str | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    database: str | None = None
    user: str | None = None
    service: str | None = None
    """A section of ``pg_service.conf``."""
    sslmode: SslMode | None = None
    """How much TLS has to prove; libpq's default is ``prefer``, which also goes without."""
    sslrootcert: str | None = None
    """The file of the authority that ``verify-ca`` and ``verify-full`` trust, or ``system``."""
    sslcert: str | None = None
    """The file of the client's certificate."""
    sslkey: str | None = None
    """The file of its key."""
    application_name: str | None = None
    """How the server's views name the run: ``dativo`` by default."""
    connect_timeout_s: int | None = Field(default=None, ge=1)
    """How long each address may take to answer: by default what ``PGCONNECT_TIMEOUT`` says, or 10."""
    parameters: dict[str, str] = Field(default_factory=dict)
    """Other parameters of libpq: ``target_session_attrs: read-write``, ``options: -c statement_timeout=0``."""


class PostgresCredentials(PluginConfig):
    """How to be let in."""

    password: Secret | None = None
    """Of the user; without one, that of the ``url``, of ``PGPASSWORD`` or of ``.pgpass``."""
    sslpassword: Secret | None = None
    """Of the client's key."""


class PostgresOptions(PluginConfig):
    """How tables are written; in ``target.options`` for all tables, a stream's own keys go first."""

    lock_timeout_s: float = Field(default=60.0, ge=0)
    """How long a commit waits for others that hold the table; 0 is for ever."""
    nul_characters: Literal["fail", "remove"] = "fail"
    """What becomes of U+0000 in a text, which Postgres cannot keep: an error, or it is left out."""


class PostgresConfig(PluginConfig):
    """The whole target, parsed."""

    connection: PostgresConnection
    credentials: PostgresCredentials
    options: PostgresOptions

    def parameters(self) -> dict[str, str]:
        """Give what libpq is told, secrets included."""
        connection, secrets = self.connection, self.credentials
        own = {
            "host": connection.host,
            "port": None if connection.port is None else str(connection.port),
            "dbname": connection.database,
            "user": connection.user,
            "service": connection.service,
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
            **_of_url(connection.url),
            **{key: value for key, value in own.items() if value is not None},
            **connection.parameters,
        }
        patience = {} if "PGCONNECT_TIMEOUT" in os.environ else {"connect_timeout": _CONNECT_TIMEOUT_S}
        return {**_CAREFUL, **patience, **given, "client_encoding": "UTF8"}


def parse_config(config: TargetConfig) -> PostgresConfig:
    """Read the target's part of a job.

    Raises:
        InvalidConfigError: A key or value is wrong, or keys do not go together.
    """
    parsed = PostgresConfig(
        connection=parse(PostgresConnection, config.connection, where="target.connection"),
        credentials=parse(PostgresCredentials, dict(config.credentials), where="target.credentials"),
        options=parse_options(config.options, {}, where="target.options"),
    )
    connection = parsed.connection
    if connection.url is not None:
        twice = [name for name in _NOT_WITH_URL if getattr(connection, name) is not None]
        if twice:
            raise InvalidConfigError(
                f"target.connection: {', '.join(twice)} and url do not go together", hint="say it in the url alone"
            )
        if not connection.url.startswith(_SCHEMES):
            raise InvalidConfigError(
                "target.connection.url must begin with postgresql://",
                hint="write postgresql://user@host:5432/database; other notations go without a driver's name",
            )
    return parsed


def parse_options(target: Mapping[str, Any], table: Mapping[str, Any], *, where: str) -> PostgresOptions:
    """Merge what the target and the stream say about a table; the stream goes first."""
    given = {**target, **{key: value for key, value in table.items() if value not in (None, [], (), {})}}
    for name, why in (
        ("partition_by", "Dativo makes plain tables; make a partitioned one in Postgres, it is written to as it is"),
        ("sort_by", "tables in Postgres keep no order; an index makes filters fast"),
        ("properties", "tables in Postgres have no properties"),
    ):
        if given.get(name):
            raise InvalidConfigError(f"{where}.{name}: {why}")
        given.pop(name, None)
    return parse(PostgresOptions, given, where=where)


def _of_url(url: str | None) -> dict[str, str]:
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
            "target.connection.url is no URL that libpq can read",
            hint="characters such as @ / : # % in a user or password are written in percent form: %40 is @",
        )
    return found
