"""How a job says which MySQL or MariaDB server it means."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import Field

from dativo_ingest.databases.failures import End
from dativo_plugin_sdk import InvalidConfigError, MissingConfigError, PluginConfig, Secret, parse

SslMode: TypeAlias = Literal["disabled", "preferred", "required", "verify_ca", "verify_identity"]

_HOST, _PORT = "localhost", 3306
_CONNECT_TIMEOUT_S = 10
_SCHEMES = ("mysql", "mariadb")
_NOT_WITH_URL = ("host", "port", "socket", "database", "user")
_OF_URL = ("socket", "ssl_mode", "ssl_ca", "ssl_cert", "ssl_key", "connect_timeout_s")
_OTHER_NAMES = {"connect_timeout": "connect_timeout_s", "unix_socket": "socket", "sslmode": "ssl_mode"}


class MysqlConnection(PluginConfig):
    """Which server; files of MySQL's own clients, such as ``my.cnf``, are not read."""

    url: str | None = None
    """``mysql://user@host:3306/database?ssl_mode=required``, instead of the next five keys."""
    host: str | None = None
    """``localhost`` by default, which is reached over TCP."""
    port: int | None = Field(default=None, ge=1, le=65535)
    socket: str | None = None
    """The file of the server's Unix socket, instead of host and port."""
    database: str | None = None
    """What names of streams without a database mean, and all that discover lists; by default all databases."""
    user: str | None = None
    ssl_mode: SslMode | None = None
    """How much TLS has to prove: by default ``verify_identity`` with an ``ssl_ca``, ``required`` with an ``ssl_cert``,
    else ``preferred``, which also goes without."""
    ssl_ca: str | None = None
    """The file of the authority to trust; ``verify_ca`` and ``verify_identity`` trust this machine's without one."""
    ssl_cert: str | None = None
    """The file of the client's certificate."""
    ssl_key: str | None = None
    """The file of its key."""
    connect_timeout_s: int | None = Field(default=None, ge=1)
    """How long the server may take to answer and to let the user in: 10 by default."""


class MysqlCredentials(PluginConfig):
    """How to be let in."""

    password: Secret | None = None
    """Of the user; without one, that of the ``url``."""
    ssl_key_password: Secret | None = None
    """Of the client's key."""


@dataclass(frozen=True)
class Parameters:
    """All that is needed to open a session, secrets included."""

    user: str
    host: str = _HOST
    port: int = _PORT
    socket: str | None = None
    database: str | None = None
    password: str = field(default="", repr=False)
    ssl_mode: SslMode = "preferred"
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None
    ssl_key_password: str | None = field(default=None, repr=False)
    connect_timeout_s: int = _CONNECT_TIMEOUT_S

    @property
    def server(self) -> str:
        """Name the server, for messages."""
        return self.socket or f"{self.host}:{self.port}"

    @property
    def place(self) -> str:
        """Name the server and the database, for messages; without any secret."""
        return self.server + (f"/{self.database}" if self.database else "")

    @property
    def verifies(self) -> bool:
        """Say whether the server's certificate has to be trusted."""
        return self.ssl_mode in {"verify_ca", "verify_identity"}

    @property
    def without_tls(self) -> bool:
        """Say whether TLS is not even tried; nobody listens at a Unix socket."""
        return self.ssl_mode == "disabled" or (self.socket is not None and self.ssl_mode == "preferred")

    def tls(self) -> ssl.SSLContext | None:
        """Give what TLS has to be spoken with; None where it does not have to be.

        Raises:
            OSError: A file cannot be read, or is not what it should be.
        """
        if self.ssl_mode in {"disabled", "preferred"}:
            return None
        context = ssl.create_default_context(cafile=self.ssl_ca)
        # Certificates that MySQL makes for itself do not stand what Python 3.13 asks for by default.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.check_hostname = self.ssl_mode == "verify_identity"
        context.verify_mode = ssl.CERT_REQUIRED if self.verifies else ssl.CERT_NONE
        if self.ssl_cert is not None:
            context.load_cert_chain(self.ssl_cert, self.ssl_key, self.ssl_key_password)
        return context


@dataclass(frozen=True)
class MysqlAccess:
    """Where the server is and how to be let in, parsed; ``end`` is the one that says so."""

    end: End
    parameters: Parameters


def parse_access(connection: Mapping[str, Any], credentials: Mapping[str, Any], *, end: End) -> MysqlAccess:
    """Read the part of a job that says where the server is and how to be let in.

    Raises:
        InvalidConfigError: A key or value is wrong, or keys do not go together.
        MissingConfigError: Nobody says who the user is.
    """
    where = f"{end}.connection"
    own = parse(MysqlConnection, dict(connection), where=where)
    secrets = parse(MysqlCredentials, dict(credentials), where=f"{end}.credentials")
    given, password = ({}, None) if own.url is None else _of_url(own, own.url, where=where)
    said = parse(MysqlConnection, {**given, **own.model_dump(exclude_none=True, exclude={"url"})}, where=where)
    if said.socket is not None and (said.host is not None or said.port is not None):
        raise InvalidConfigError(f"{where}: socket does not go together with host and port", hint="name one of them")
    mode = _mode_of(said, where)
    if said.user is None:
        raise MissingConfigError(f"{where}.user is missing", hint=f"set {where}.user, or write it into the url")
    if secrets.password is not None:
        password = secrets.password.get_secret_value()
    key_password = secrets.ssl_key_password
    return MysqlAccess(
        end,
        Parameters(
            password=password or "",
            ssl_key_password=None if key_password is None else key_password.get_secret_value(),
            ssl_mode=mode,
            **said.model_dump(exclude_none=True, exclude={"url", "ssl_mode"}),
        ),
    )


def _mode_of(said: MysqlConnection, where: str) -> SslMode:
    mode = said.ssl_mode or ("verify_identity" if said.ssl_ca else "required" if said.ssl_cert else "preferred")
    if said.ssl_ca and mode not in {"verify_ca", "verify_identity"}:
        raise InvalidConfigError(
            f"{where}: ssl_ca does nothing with ssl_mode: {mode}",
            hint="set ssl_mode: verify_identity, or verify_ca where the certificate has another name",
        )
    if said.ssl_cert and mode in {"disabled", "preferred"}:
        raise InvalidConfigError(
            f"{where}: ssl_cert does nothing with ssl_mode: {mode}", hint="set ssl_mode: required, or one that verifies"
        )
    if said.ssl_key and not said.ssl_cert:
        raise InvalidConfigError(f"{where}: ssl_key does not go without ssl_cert", hint="name the certificate's file")
    return mode


def _of_url(connection: MysqlConnection, url: str, *, where: str) -> tuple[dict[str, Any], str | None]:
    """Give the keys that a URL stands for, and the password in it; messages do not repeat it."""
    twice = [name for name in _NOT_WITH_URL if getattr(connection, name) is not None]
    if twice:
        raise InvalidConfigError(
            f"{where}: {', '.join(twice)} and url do not go together", hint="say it in the url alone"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _unreadable(where) from None
    if parts.scheme not in _SCHEMES:
        raise InvalidConfigError(
            f"{where}.url must begin with mysql:// or mariadb://",
            hint="write mysql://user@host:3306/database; other notations go without a driver's name",
        )
    found = {
        "host": _decoded(parts.hostname),
        "port": port,
        "user": _decoded(parts.username),
        "database": _decoded(parts.path.removeprefix("/")),
        **_query(parts, where),
    }
    return {key: value for key, value in found.items() if value is not None}, _decoded(parts.password)


def _query(parts: SplitResult, where: str) -> dict[str, str]:
    if parts.fragment or "@" in parts.path + parts.query:
        raise _unreadable(where)
    found = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        key = name.lower().replace("-", "_")
        key = _OTHER_NAMES.get(key, key)
        if key not in _OF_URL:
            raise InvalidConfigError(
                f"{where}.url: there is no {name}", hint=f"after the ? there may be {', '.join(_OF_URL)}"
            )
        found[key] = value.lower().replace("-", "_") if key == "ssl_mode" else value
    return found


def _decoded(text: str | None) -> str | None:
    return unquote(text) if text else None


def _unreadable(where: str) -> InvalidConfigError:
    return InvalidConfigError(
        f"{where}.url is no URL that can be read",
        hint="characters such as @ / : # % in a user or password are written in percent form: %40 is @",
    )
