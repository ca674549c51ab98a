"""What pyiceberg, SQLite, object stores and the operating system say, as Dativo's errors."""

from __future__ import annotations

import errno
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dativo_ingest.postgres.failures import was_refused
from dativo_ingest.targets.postgres.failures import kind_of
from dativo_plugin_sdk import (
    AuthenticationError,
    ConcurrencyError,
    ConfigurationError,
    ConnectionError,
    DatabaseLockError,
    DativoError,
    DiskFullError,
    InsufficientPermissionsError,
    InvalidConfigError,
    InvalidCredentialsError,
    NetworkError,
    RateLimitError,
    ResourceError,
    ResourceNotFoundError,
    ResourceUnavailableError,
    SchemaValidationError,
    ServiceUnavailableError,
    TimeoutError,
    TokenExpiredError,
)
from dativo_plugin_sdk.s3_errors import s3_failure

Found = tuple[type[DativoError], str | None]

_HTTP: dict[str, Found] = {
    "BadRequestError": (ConfigurationError, "check target.connection"),
    "UnauthorizedError": (InvalidCredentialsError, "check target.credentials: token, or credential (id:secret)"),
    "OAuthError": (InvalidCredentialsError, "check target.credentials.credential (id:secret)"),
    "ForbiddenError": (InsufficientPermissionsError, "let the user of the job create and change tables here"),
    "AuthorizationExpiredError": (TokenExpiredError, "get a new token"),
    "TooManyRequestsError": (RateLimitError, "try again later"),
    "ServiceUnavailableError": (ServiceUnavailableError, "try again later"),
    "ServerError": (ServiceUnavailableError, "see the catalog's log"),
    "CommitStateUnknownException": (ServiceUnavailableError, "see the catalog's log"),
    "CommitFailedException": (ConcurrencyError, "run the job again"),
    "ValidationException": (ConcurrencyError, "run the job again"),
    "WaitingForLockException": (DatabaseLockError, "try again later"),
    "NoSuchTableError": (ResourceNotFoundError, None),
    "NoSuchNamespaceError": (ResourceNotFoundError, None),
    "NotInstalledError": (ResourceNotFoundError, "install what the message names"),
    "SignError": (InvalidCredentialsError, "check target.credentials"),
    "ValidationError": (SchemaValidationError, None),
    "RESTError": (ResourceUnavailableError, "check target.connection.uri and the catalog's log"),
}
"""By the name of pyiceberg's class; a subclass not listed is found by its nearest listed base."""

_ERRNO: dict[int, Found] = {
    errno.ENOSPC: (DiskFullError, "free space where the warehouse lies, then run the job again"),
    errno.EDQUOT: (DiskFullError, "raise the quota where the warehouse lies, then run the job again"),
    errno.EACCES: (InsufficientPermissionsError, "let the user that runs the job write the warehouse"),
    errno.EPERM: (InsufficientPermissionsError, "let the user that runs the job write the warehouse"),
    errno.EROFS: (InsufficientPermissionsError, "the file system is mounted read-only"),
    errno.ENOTDIR: (InvalidConfigError, "a part of the path is a file: check target.connection.warehouse"),
    errno.EEXIST: (InvalidConfigError, "a file is in the way: check target.connection.warehouse"),
    errno.ENAMETOOLONG: (InvalidConfigError, "shorten the table's or the partition's name"),
    errno.ENOENT: (ResourceNotFoundError, "check target.connection.warehouse, and whether something deleted its files"),
    errno.ECONNREFUSED: (NetworkError, "check the address, and that the service is up"),
    errno.ETIMEDOUT: (TimeoutError, "check that the service is up"),
}

_WITHOUT_ERRNO = {PermissionError: errno.EACCES, FileNotFoundError: errno.ENOENT, FileExistsError: errno.EEXIST}
"""pyiceberg raises these with a text alone."""

_SQLITE: dict[int, Found] = {
    sqlite3.SQLITE_BUSY: (DatabaseLockError, "another process holds the catalog: try again"),
    sqlite3.SQLITE_LOCKED: (DatabaseLockError, "another process holds the catalog: try again"),
    sqlite3.SQLITE_FULL: (DiskFullError, "free space where the warehouse lies, then run the job again"),
    sqlite3.SQLITE_READONLY: (InsufficientPermissionsError, "let the user that runs the job write catalog.db"),
    sqlite3.SQLITE_PERM: (InsufficientPermissionsError, "let the user that runs the job write catalog.db"),
    sqlite3.SQLITE_CANTOPEN: (
        InsufficientPermissionsError,
        "let the user that runs the job write the warehouse folder",
    ),
    sqlite3.SQLITE_NOTADB: (InvalidConfigError, "catalog.db in the warehouse folder is no SQLite database"),
    sqlite3.SQLITE_IOERR: (DiskFullError, "look at the disk that the warehouse lies on"),
}


def foreign_errors() -> tuple[type[BaseException], ...]:
    """List what pyiceberg and what it stands on may raise; to be called in an ``except`` clause.

    Libraries that were not imported cannot have raised anything, so they are not imported here either.
    """
    from pyiceberg import exceptions  # noqa: PLC0415  by now it is loaded

    found = [each for each in vars(exceptions).values() if isinstance(each, type) and issubclass(each, Exception)]
    found += [OSError, sqlite3.Error, NotImplementedError, ValueError]
    for module, name in (("sqlalchemy.exc", "SQLAlchemyError"), ("botocore.exceptions", "BotoCoreError")):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    if "botocore.exceptions" in sys.modules:
        found.append(sys.modules["botocore.exceptions"].ClientError)
    return tuple(found)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn a foreign error of the block into a Dativo error.

    Args:
        what: What is being done, to begin the message with: ``writing raw.orders``.
    """
    try:
        yield
    except DativoError:  # ours may be OSErrors too: ConnectionError and TimeoutError are builtin ones
        raise
    except foreign_errors() as error:
        raise as_dativo_error(error, what) from error


def as_dativo_error(error: BaseException, what: str) -> DativoError:
    """Choose the class for what happened while ``what`` was done."""
    kind, hint = _find(error)
    original = getattr(error, "orig", None)  # SQLAlchemy writes its statement beside what the driver says
    said = str(error) if original is None else str(original).splitlines()[0]
    text = said or type(error).__name__
    if text == "ACCESS_DENIED":
        text = "access denied"
    return kind(
        f"{what}: {text}",
        details={"original_error": type(error).__name__, "original_message": text},
        hint=hint,
    )


def never_sent(error: BaseException) -> bool:
    """Say whether a request cannot have reached its server: no connection came about."""
    return any(
        type(each).__name__ in {"NewConnectionError", "NameResolutionError", "ConnectTimeout", "ConnectTimeoutError"}
        for each in _chain(error)
    )


def _find(error: BaseException) -> Found:  # noqa: C901, PLR0911  one for each library
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(error)
    original = getattr(error, "orig", None)  # SQLAlchemy keeps the driver's error there
    if isinstance(original, BaseException):
        return _find(original)
    if type(error).__module__.startswith("psycopg"):
        return _of_psycopg(error)
    for each in type(error).__mro__:
        if each.__module__.startswith("pyiceberg") and each.__name__ in _HTTP:
            return _HTTP[each.__name__]
        if each.__module__.startswith("requests"):
            return _of_requests(error)
        if each.__module__.startswith("botocore"):
            return _of_botocore(error)
        if each.__module__.startswith("sqlalchemy"):
            return ResourceUnavailableError, "check target.connection.uri and that the database is up"
    if isinstance(error, OSError):
        return _of_os(error)
    if isinstance(error, NotImplementedError):
        return ResourceNotFoundError, "the catalog or pyiceberg does not support this"
    return ResourceError, None


def _of_os(error: OSError) -> Found:
    failure = s3_failure(error, "target")
    if failure is not None:
        return failure.error_class or ResourceUnavailableError, failure.hint or "see the message of the object store"
    number = error.errno
    for kind, stands_for in _WITHOUT_ERRNO.items():
        if number is None and isinstance(error, kind):
            number = stands_for
    return _ERRNO.get(number or 0, (ResourceError, None))


def _of_sqlite(error: sqlite3.Error) -> Found:
    code = getattr(error, "sqlite_errorcode", None)
    # The low byte is the primary code; the rest says more about it (SQLite, "Result and Error Codes").
    return _SQLITE.get(code & 0xFF, (ResourceError, None)) if code is not None else (ResourceError, None)


def _of_psycopg(error: BaseException) -> Found:
    kind, hint = kind_of(error, str(error))
    if issubclass(kind, AuthenticationError | ConnectionError | ResourceNotFoundError):
        hint = "check target.connection.uri and target.credentials.password, and that the database is up"
    return kind, hint


def _of_requests(error: BaseException) -> Found:
    names = {type(each).__name__ for each in _chain(error)}
    if "ConnectTimeout" in names or "ReadTimeout" in names:
        return TimeoutError, "check that the catalog is up"
    if "MissingSchema" in names or "InvalidURL" in names or "InvalidSchema" in names:
        return InvalidConfigError, "check target.connection.uri"
    return NetworkError, "check target.connection.uri, and that the catalog is up"


def _of_botocore(error: BaseException) -> Found:
    response = getattr(error, "response", None) or {}
    code = response.get("Error", {}).get("Code", type(error).__name__)
    match code:
        case "AccessDeniedException" | "AccessDenied":
            return InsufficientPermissionsError, "allow the job's AWS identity to use the catalog"
        case "ExpiredTokenException" | "ExpiredToken":
            return TokenExpiredError, "get a new session token"
        case "UnrecognizedClientException" | "InvalidClientTokenId" | "NoCredentialsError":
            return InvalidCredentialsError, "check target.credentials"
        case "ThrottlingException":
            return RateLimitError, "try again later"
        case "EndpointConnectionError" | "ConnectTimeoutError" | "ReadTimeoutError":
            return NetworkError, "check target.connection.region and the network"
        case _:
            return ResourceUnavailableError, None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it wraps: its causes, contexts, arguments and ``reason``, as requests nests them."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = (each.__cause__, each.__context__, getattr(each, "reason", None), *each.args)
        waiting += [item for item in inner if isinstance(item, BaseException)]


def outcome_is_unknown(error: BaseException) -> bool:
    """Say whether a commit that raised ``error`` may have landed, or may still land.

    What is not known to have been refused counts as unknown, but for what happens on this machine: files and SQLite.
    """
    names = {each.__name__ for each in type(error).__mro__}
    modules = {each.__module__.partition(".")[0] for each in type(error).__mro__}
    if "requests" in modules or "botocore" in modules:
        status = (getattr(error, "response", None) or {}) if "botocore" in modules else {}
        code = status.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        refused = 400 <= code < 500  # noqa: PLR2004  HTTP's "it is your fault"
        return not refused and not never_sent(error) and "EndpointConnectionError" not in names
    if "sqlalchemy" in modules:
        original = getattr(error, "orig", None)
        return not isinstance(original, sqlite3.Error) and not was_refused(original)
    if names & {"CommitStateUnknownException", "ServerError"}:
        return True
    # A commit that was done and whose answer cannot be read shows as a ValueError of pydantic's.
    return isinstance(error, ValueError)
