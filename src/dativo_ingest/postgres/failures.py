"""What Postgres and libpq say when something fails, as Dativo's errors."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dativo_ingest.databases.failures import DatabaseFailures, Kind, hinted, require_package
from dativo_plugin_sdk import (
    ConcurrencyError,
    DatabaseLockError,
    DataValidationError,
    DativoError,
    DiskFullError,
    InsufficientPermissionsError,
    InvalidConfigError,
    InvalidCredentialsError,
    NetworkError,
    ResourceError,
    ResourceNotFoundError,
    ResourceUnavailableError,
    SchemaValidationError,
    ServiceUnavailableError,
    TimeoutError,
)

INSTALL = "install it with: pip install 'dativo-ingest[postgres]'"

_TLS: Kind = (InvalidConfigError, "check {end}.connection.sslmode, sslrootcert, sslcert and sslkey")
_NO_TLS: Kind = (
    InvalidConfigError,
    "turn TLS on there (ssl = on), or let {end}.connection.sslmode be prefer, which goes without",
)
_LOGIN: Kind = (InvalidCredentialsError, "check {end}.connection.user and {end}.credentials.password")
_PASSWORD: Kind = (
    InvalidCredentialsError,
    (
        "check {end}.credentials.password and {end}.connection.user: the server does not tell which of them is wrong,"
        " or whether the password has expired"
    ),
)
_NO_PASSWORD: Kind = (
    InvalidCredentialsError,
    "give {end}.credentials.password, PGPASSWORD or an entry of .pgpass for this host, port, database and user",
)
_NO_USER: Kind = (InvalidCredentialsError, "check {end}.connection.user; the server has no such role")
_NO_LOGIN: Kind = (InvalidCredentialsError, "let the role log in: ALTER ROLE ... LOGIN")
_ADDRESS: Kind = (NetworkError, "check {end}.connection.host and port, and that the server is up")
_ENTRY: Kind = (
    InsufficientPermissionsError,
    "let pg_hba.conf of the server admit this user, database and address; some entries want sslmode: require",
)
_DOWN: Kind = (ServiceUnavailableError, "try again when the server is up")

# By SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
_STATES: dict[str, Kind] = {
    "25006": (
        InsufficientPermissionsError,
        "connect to the primary server, with several hosts by parameters: {target_session_attrs: read-write}",
    ),
    "25P03": (
        TimeoutError,
        "raise idle_in_transaction_session_timeout of the role or the server",
    ),
    "25P04": (
        TimeoutError,
        "raise transaction_timeout of the role or the server: ALTER ROLE ... SET transaction_timeout = 0",
    ),
    "28000": _LOGIN,
    "28P01": _PASSWORD,
    "3D000": (ResourceNotFoundError, "check {end}.connection.database"),
    "40001": (ConcurrencyError, "run again"),
    "40P01": (DatabaseLockError, "others and this run waited for each other; run again"),
    "42501": (InsufficientPermissionsError, None),
    "53100": (DiskFullError, "make room on the server's disk"),
    "53200": (
        ResourceUnavailableError,
        "the server has no memory left; a table of many partitions may need more max_locks_per_transaction",
    ),
    "53300": (
        ServiceUnavailableError,
        "try again later; max_connections of the server says how many there may be",
    ),
    "53400": (
        ResourceError,
        "a limit of the server is reached, such as temp_file_limit",
    ),
    "55006": (DatabaseLockError, "run again"),
    "55P03": (
        DatabaseLockError,
        "others hold the table; {end}.options.lock_timeout_s says how long to wait for them",
    ),
    "57014": (TimeoutError, "raise statement_timeout: ALTER ROLE ... SET statement_timeout = 0"),
    "57P04": (ResourceNotFoundError, "the database was dropped meanwhile"),
    "57P05": (TimeoutError, "raise idle_session_timeout of the role or the server"),
}
_CLASSES: dict[str, Kind] = {
    "08": (NetworkError, "check that the server is up"),
    "22": (DataValidationError, None),
    "23": (DataValidationError, None),
    "0A": (SchemaValidationError, None),
    "42": (SchemaValidationError, None),
    "53": (ResourceUnavailableError, "try again when the server has more to give"),
    "54": (SchemaValidationError, None),
    "57": _DOWN,
    "58": (ServiceUnavailableError, "the server has trouble with its own files or system: its log says more"),
    "XX": (ResourceError, "the server finds itself or its data damaged: its log says more"),
}

# A refused connection has no SQLSTATE: libpq tells what the server said as text alone, in English by default.
_TEXTS: tuple[tuple[re.Pattern[str], str | Kind], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"too many (clients|connections)|connection slots are reserved", "53300"),
        (r"(starting up|shutting down|in recovery mode|not yet accepting connections)", _DOWN),
        (r"no pg_hba\.conf entry|pg_hba\.conf rejects", _ENTRY),
        (r"session is (not )?read-only|not in hot standby mode", "25006"),
        (r"server does not support SSL", _NO_TLS),
        (
            r"unexpected eof|EOF detected|closed (the connection )?unexpectedly|has been closed|[Cc]onnection reset",
            _ADDRESS,
        ),
        (r"SSL|TLS|certificate|private key file|sslmode", _TLS),
        (r"password authentication failed", _PASSWORD),
        (r"no password supplied", _NO_PASSWORD),
        (r"role \".*\" does not exist", _NO_USER),
        (r"role \".*\" is not permitted to log in", _NO_LOGIN),
        (
            r"authentication failed|authentication method|requires? .*authentication|no PostgreSQL user name|peer",
            _LOGIN,
        ),
        (r"database \".*\" does not exist|is not currently accepting connections", "3D000"),
        (r"permission denied|does not have CONNECT privilege", "42501"),
        (r"timeout expired|connection timeout|timed out", (TimeoutError, _ADDRESS[1])),
        (r"invalid (integer|port|channel|\w+ value)|definition of service|service file", (InvalidConfigError, None)),
    )
)
_ABOUT = re.compile(r"^connection (failed|is bad): ")
_COLUMN = re.compile(r"^COPY .*?, line \d+, column (?P<name>.*?)(: |$)", re.MULTILINE)


def require_psycopg(what: str) -> None:
    """See that the library is there, which ``what`` needs.

    Raises:
        ResourceNotFoundError: It is not installed.
    """
    require_package("psycopg", what, hint=INSTALL)


@dataclass(frozen=True)
class Failures(DatabaseFailures[str]):
    """What one end of a job makes of failures; ``own`` are kinds by SQLSTATE, or by its first two characters."""

    def raised(self) -> type[Exception]:
        """Give the class of psycopg's errors."""
        import psycopg  # noqa: PLC0415  an extra, and only where there is a connection to use

        return psycopg.Error

    def as_dativo_error(self, error: Exception, what: str) -> DativoError:
        """Choose the class for what ``error``, one of psycopg's, says."""
        text = str(error).strip() or type(error).__name__
        state = getattr(error, "sqlstate", None)
        diagnosis = getattr(error, "diag", None)
        said = _ABOUT.sub("", text.splitlines()[0])
        column = getattr(diagnosis, "column_name", None) or _column(getattr(diagnosis, "context", None))
        details = {
            "original_error": type(error).__name__,
            "original_message": text,
            "sqlstate": state,
            "column": column,
        }
        details = {key: value for key, value in details.items() if value is not None}
        kind, hint = self.kind_of(error, text)
        if state is not None and kind is SchemaValidationError and getattr(diagnosis, "message_hint", None):
            hint = diagnosis.message_hint if diagnosis is not None else hint
        place = f"column {column}: " if column is not None and column not in said else ""
        return kind(f"{what}: {place}{said}", details=details, hint=hint)

    def kind_of(self, error: BaseException, text: str) -> Kind:
        """Choose the class for an error of psycopg's that says ``text``, and give a hint."""
        return hinted(self._find(error, text), self.end)

    def _find(self, error: BaseException, text: str) -> Kind:
        from psycopg.errors import ConnectionTimeout, OperationalError  # noqa: PLC0415

        state = getattr(error, "sqlstate", None)
        if state is not None:
            return self._of_state(state)
        if isinstance(error, ConnectionTimeout):
            return TimeoutError, _ADDRESS[1]
        for pattern, kind in _TEXTS:
            if pattern.search(text):
                return self._of_state(kind) if isinstance(kind, str) else kind
        return _ADDRESS if isinstance(error, OperationalError) else (ResourceError, None)

    def _of_state(self, state: str) -> Kind:
        family = state[:2]
        found = self.own.get(state) or _STATES.get(state) or self.own.get(family) or _CLASSES.get(family)
        return found or (ResourceError, None)


def was_refused(error: object) -> bool:
    """Say whether the server itself said no: what it was asked to do has not happened."""
    state = getattr(error, "sqlstate", None)
    return state is not None and state[:2] not in {"08", "57"}


def _column(context: str | None) -> str | None:
    found = _COLUMN.search(context or "")
    return None if found is None else found["name"]
