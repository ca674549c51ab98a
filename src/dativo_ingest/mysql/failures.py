"""What MySQL, MariaDB and PyMySQL say when something fails, as Dativo's errors."""

from __future__ import annotations

import builtins
import ssl
from dataclasses import dataclass

from dativo_ingest.databases.failures import DatabaseFailures, Kind, hinted, require_package
from dativo_plugin_sdk import (
    ConcurrencyError,
    DatabaseLockError,
    DataNotFoundError,
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
    TransientError,
)

INSTALL = "install it with: pip install 'dativo-ingest[mysql]'"

_TLS: Kind = (InvalidConfigError, "check {end}.connection.ssl_mode, ssl_ca, ssl_cert and ssl_key")
_LOGIN: Kind = (
    InvalidCredentialsError,
    (
        "check {end}.credentials.password and {end}.connection.user: the server does not tell which of them is wrong,"
        " whether the account is for another host than this one, or whether it wants TLS"
    ),
)
_NO_PASSWORD: Kind = (InvalidCredentialsError, "give {end}.credentials.password: the server was told none")
_METHOD: Kind = (
    InvalidCredentialsError,
    "the account logs in by a method that is not supported here; mysql_native_password and caching_sha2_password are",
)
_LOCKED_OUT: Kind = (InvalidCredentialsError, "let the account in again: ALTER USER ... ACCOUNT UNLOCK")
_EXPIRED: Kind = (InvalidCredentialsError, "set a new password: ALTER USER ... IDENTIFIED BY ...")
_NO_TLS: Kind = (InvalidConfigError, "set {end}.connection.ssl_mode: required, as the server wants it")
_ADDRESS: Kind = (NetworkError, "check {end}.connection.host and port, and that the server is up")
_LOST: Kind = (
    NetworkError,
    (
        "the connection ended from outside: look into the server's log, and see whether something between gives up on"
        " slow connections"
    ),
)
_DOWN: Kind = (ServiceUnavailableError, "try again when the server is up")
_FULL: Kind = (
    ServiceUnavailableError,
    "try again later; max_connections of the server, or a limit of the account, says how many there may be",
)
_HOST: Kind = (
    InsufficientPermissionsError,
    "the account is for other hosts: CREATE USER '...'@'%' (or this machine's address), with the rights that it needs",
)
_RIGHT: Kind = (InsufficientPermissionsError, "the user needs SELECT on what it reads: GRANT SELECT ON `db`.* TO ...")
_GONE: Kind = (DataNotFoundError, "dativo discover lists what there is")
_STATEMENT: Kind = (InvalidConfigError, "correct the stream's query, filter or columns")
_BROKEN: Kind = (ResourceError, "look into the server's log; CHECK TABLE says what is wrong with the table")
_VIEW: Kind = (
    ResourceError,
    "repair the view in the database: it uses what is gone, or what the one who defined it may not read",
)
_LOCKED: Kind = (DatabaseLockError, "others hold what is read; run again")
_SLOW: Kind = (TimeoutError, "raise max_statement_time (MariaDB) or max_execution_time (MySQL) for the user")
_MEMORY: Kind = (ResourceUnavailableError, "try again when the server has more to give")
_DISK: Kind = (DiskFullError, "make room on the server's disk; large sorts of a query need some in tmpdir")
_PACKET: Kind = (ResourceError, "raise max_allowed_packet of the server: a row has to fit into it")
_VALUE: Kind = (DataValidationError, None)

_DENIED = 1045

# https://mariadb.com/kb/en/mariadb-error-code-reference/ and
# https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html: up to 1799 they mean the same.
_NUMBERS: dict[int, Kind] = {
    0: _LOST,
    1020: (ConcurrencyError, "run again"),
    1021: _DISK,
    1034: _BROKEN,
    1035: _BROKEN,
    1037: _MEMORY,
    1038: _MEMORY,
    1040: _FULL,
    1041: _MEMORY,
    1042: (
        NetworkError,
        "the server cannot find this machine's name: let it have skip_name_resolve, or mend the DNS there",
    ),
    1043: _ADDRESS,
    1044: (InsufficientPermissionsError, "let the user into the database: GRANT SELECT ON `db`.* TO ..."),
    _DENIED: _LOGIN,
    1046: (InvalidConfigError, "set {end}.connection.database, or name streams database.table"),
    1049: (ResourceNotFoundError, "check {end}.connection.database; names may differ in case alone"),
    1051: _GONE,
    1052: _STATEMENT,
    1053: _DOWN,
    1054: (InvalidConfigError, "dativo discover --verbose lists the columns"),
    1064: (InvalidConfigError, "try the query in the mysql or mariadb client"),
    1077: _DOWN,
    1078: _DOWN,
    1079: _DOWN,
    1109: _STATEMENT,
    1114: _DISK,
    1129: (
        InsufficientPermissionsError,
        "too many connections from here were broken off, so that the server takes no more: FLUSH HOSTS there",
    ),
    1130: _HOST,
    1135: _MEMORY,
    1142: _RIGHT,
    1143: _RIGHT,
    1146: _GONE,
    1152: _LOST,
    1153: _PACKET,
    1158: _LOST,
    1159: (TimeoutError, _LOST[1]),
    1160: _LOST,
    1161: (TimeoutError, _LOST[1]),
    1184: _LOST,
    1194: _BROKEN,
    1195: _BROKEN,
    1203: _FULL,
    1205: _LOCKED,
    1206: _MEMORY,
    1213: (DatabaseLockError, "others and this run waited for each other; run again"),
    1226: _FULL,
    1227: (InsufficientPermissionsError, "the account lacks the right that the message names: GRANT ... ON *.* TO ..."),
    1251: _METHOD,
    1275: _METHOD,
    1290: (
        InsufficientPermissionsError,
        "the server was started with an option that forbids it; connect to another one",
    ),
    1292: _VALUE,
    1301: _PACKET,
    1317: (TransientError, "somebody ended the statement (KILL QUERY); run again"),
    1356: _VIEW,
    1366: _VALUE,
    1370: _RIGHT,
    1411: _VALUE,
    1412: (ConcurrencyError, "the table was changed (ALTER TABLE) while it was read; run again"),
    1449: _VIEW,
    1524: _METHOD,
    1525: _VALUE,
    1690: _VALUE,
    1698: (
        InvalidCredentialsError,
        "the account logs in without a password, as the system's user of that name (unix_socket); use another one",
    ),
    1792: (InvalidConfigError, "a stream's query may only read"),
    1812: _BROKEN,
    1820: _EXPIRED,
    1836: (InsufficientPermissionsError, "the server is read-only; connect to the primary one"),
    1862: _EXPIRED,
    1927: (ServiceUnavailableError, "somebody, or a time-out of the server, ended the connection; run again"),
    1932: _BROKEN,
    1969: _SLOW,
    2002: _ADDRESS,
    2003: _ADDRESS,
    2005: _ADDRESS,
    2006: _LOST,
    2012: _ADDRESS,
    2013: _LOST,
    2026: _TLS,
    2027: (NetworkError, "see that {end}.connection.host and port are those of a MySQL or MariaDB server"),
    2055: _LOST,
    2059: _METHOD,
    2061: _METHOD,
    3024: _SLOW,
    3118: _LOCKED_OUT,
    3159: _NO_TLS,
    3169: (ServiceUnavailableError, "somebody ended the session (KILL); run again"),
    3572: _LOCKED,
    3955: _LOCKED_OUT,
    4031: (NetworkError, "the server ends connections that say nothing for long: raise wait_timeout there"),
    4150: _LOCKED_OUT,
    4151: _LOCKED_OUT,
}
# PyMySQL's own words about how it logs in, and about a connection whose packets are out of order.
_WITHOUT_NUMBER: dict[str, Kind] = {"OperationalError": _METHOD}
_STATES: dict[str, Kind] = {
    "08": _ADDRESS,
    "22": _VALUE,
    "23": _VALUE,
    "28": _LOGIN,
    "42": _STATEMENT,
    "0A": (SchemaValidationError, None),
    "40": (ConcurrencyError, "run again"),
}


def require_pymysql(what: str) -> None:
    """See that the library is there, which ``what`` needs.

    Raises:
        ResourceNotFoundError: It is not installed.
    """
    require_package("pymysql", what, hint=INSTALL)


@dataclass(frozen=True)
class Failures(DatabaseFailures[int]):
    """What one end of a job makes of failures; ``own`` are kinds by the server's or client's number of the error."""

    def raised(self) -> type[Exception]:
        """Give the class of PyMySQL's errors."""
        import pymysql  # noqa: PLC0415  an extra, and only where there is a connection to use

        return pymysql.MySQLError

    def as_dativo_error(self, error: Exception, what: str) -> DativoError:
        """Choose the class for what ``error``, one of PyMySQL's, says."""
        cause = cause_of(error)
        if cause is not None:
            return self._of_system(cause, what)
        kind, hint = self.kind_of(error)
        return kind(f"{what}: {_text(error)}", details=_details(error), hint=hint)

    def _of_system(self, error: OSError, what: str) -> DativoError:
        """Choose the class for what the network, or TLS, says of a connection."""
        if isinstance(error, builtins.TimeoutError):
            kind: Kind = (TimeoutError, _ADDRESS[1])
        elif isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            kind = _TLS
        else:
            kind = _ADDRESS
        found, hint = hinted(kind, self.end)
        return found(f"{what}: {error}", details=_details(error), hint=hint)

    def kind_of(self, error: BaseException) -> Kind:
        """Choose the class for an error of PyMySQL's, and give a hint."""
        return hinted(self._find(error), self.end)

    def _find(self, error: BaseException) -> Kind:
        number = number_of(error)
        if number is None:
            return _WITHOUT_NUMBER.get(type(error).__name__, _LOST)
        if number == _DENIED and "using password: NO" in _text(error):
            return _NO_PASSWORD
        family = str(getattr(error, "sqlstate", None) or "")[:2]
        return self.own.get(number) or _NUMBERS.get(number) or _STATES.get(family) or (ResourceError, None)


def number_of(error: BaseException) -> int | None:
    """Give the number by which the server, or PyMySQL, names an error."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) else None


def cause_of(error: BaseException | None) -> OSError | None:
    """Give what the system said to PyMySQL, where it has kept it: why there is no connection, or none in time."""
    cause = getattr(error, "original_exception", None)
    if isinstance(cause, OSError):
        return cause
    context = None if error is None else error.__context__
    return context if isinstance(context, builtins.TimeoutError) else None


def _text(error: BaseException) -> str:
    said = [str(each) for each in error.args if not isinstance(each, int)]
    return " ".join(said).strip() or "the connection is closed"


def _details(error: Exception) -> dict[str, object]:
    found = {
        "original_error": type(error).__name__,
        "original_message": str(error),
        "error_number": number_of(error) if not isinstance(error, OSError) else None,
        "sqlstate": getattr(error, "sqlstate", None),
    }
    return {key: value for key, value in found.items() if value is not None}
