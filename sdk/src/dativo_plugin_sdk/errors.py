"""Every failure Dativo knows, as classes that say whose it is and whether trying again helps.

The names ``ConnectionError`` and ``TimeoutError`` shadow builtins on purpose: ours are subclasses of theirs, so a
handler written for the builtin catches both.
"""

from __future__ import annotations

import builtins
from typing import Any, ClassVar

__all__ = [
    "AuthenticationError",
    "CommitStateUnknownError",
    "ConcurrencyError",
    "ConfigurationError",
    "ConnectionError",
    "DataError",
    "DataFormatError",
    "DataNotFoundError",
    "DataValidationError",
    "DatabaseLockError",
    "DativoError",
    "DiskFullError",
    "FencedError",
    "InsufficientPermissionsError",
    "InvalidConfigError",
    "InvalidCredentialsError",
    "MemoryLimitError",
    "MissingConfigError",
    "NetworkError",
    "PluginError",
    "PluginExecutionError",
    "PluginLoadError",
    "PluginVersionError",
    "RateLimitError",
    "ResourceError",
    "ResourceNotFoundError",
    "ResourceUnavailableError",
    "SandboxError",
    "SchemaValidationError",
    "ServiceUnavailableError",
    "TimeoutError",
    "TokenExpiredError",
    "TransientError",
    "error_from_dict",
    "get_error_code",
    "is_retryable_error",
    "wrap_exception",
]


class DativoError(Exception):
    """The root of every error Dativo raises on purpose.

    Args:
        message: What was wrong, what was expected, what there is. ``str(error)`` gives it unchanged.
        error_code: A code other than the class's own.
        details: Facts for a machine, as JSON-able values; never a secret.
        retryable: Whether trying again helps, where this instance differs from its class.
        retry_after_s: Seconds the other side asked us to wait.
        hint: What the reader of the message can do next.
    """

    default_error_code: ClassVar[str] = "DATIVO_ERROR"
    default_retryable: ClassVar[bool] = False

    def __init__(  # noqa: PLR0913  the public signature
        self,
        message: str,
        error_code: str | None = None,
        details: dict[str, Any] | None = None,
        retryable: bool | None = None,  # noqa: FBT001  the public signature
        *,
        retry_after_s: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = self.default_error_code if error_code is None else error_code
        self.details: dict[str, Any] = {} if details is None else dict(details)
        self.retryable = self.default_retryable if retryable is None else retryable
        self.retry_after_s = retry_after_s
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (error_from_dict, (self.to_dict(),))

    def to_dict(self) -> dict[str, Any]:
        """Give the error as JSON-able values; `error_from_dict` reads them back."""
        document: dict[str, Any] = {
            "error_code": self.error_code,
            "message": self.message,
            "details": self.details,
            "retryable": self.retryable,
            "type": type(self).__name__,
        }
        if self.retry_after_s is not None:
            document["retry_after_s"] = self.retry_after_s
        if self.hint is not None:
            document["hint"] = self.hint
        return document


class ConnectionError(DativoError, builtins.ConnectionError):
    """The other side cannot be reached, or the connection broke."""

    default_error_code = "CONNECTION_ERROR"
    default_retryable = True


class NetworkError(ConnectionError):
    """A name that does not resolve, a refused or reset connection, a broken TLS handshake."""

    default_error_code = "NETWORK_ERROR"


class TimeoutError(ConnectionError, builtins.TimeoutError):
    """No answer within the time allowed."""

    default_error_code = "TIMEOUT_ERROR"


class RateLimitError(ConnectionError):
    """The other side asked us to slow down; ``retry_after_s`` says for how long, where it told."""

    default_error_code = "RATE_LIMIT_ERROR"


class AuthenticationError(DativoError):
    """Who we are was not accepted."""

    default_error_code = "AUTH_FAILED"


class InvalidCredentialsError(AuthenticationError):
    """A wrong user, password, key or token."""

    default_error_code = "INVALID_CREDENTIALS"


class TokenExpiredError(AuthenticationError):
    """A token that was good once; trying again helps after a refresh."""

    default_error_code = "TOKEN_EXPIRED"
    default_retryable = True


class InsufficientPermissionsError(AuthenticationError):
    """We are known, and may not do this."""

    default_error_code = "INSUFFICIENT_PERMISSIONS"


class ConfigurationError(DativoError):
    """The job, a contract or a secret reference is not as it must be."""

    default_error_code = "CONFIG_ERROR"


class InvalidConfigError(ConfigurationError):
    """A key or value that is not allowed."""

    default_error_code = "INVALID_CONFIG"


class MissingConfigError(ConfigurationError):
    """A key, a file or an environment variable that must be there is not."""

    default_error_code = "MISSING_CONFIG"


class SchemaValidationError(ConfigurationError):
    """A contract that is no contract, or one that the table or stream cannot follow."""

    default_error_code = "SCHEMA_VALIDATION_ERROR"


class DataError(DativoError):
    """The data itself is at fault."""

    default_error_code = "DATA_ERROR"


class DataNotFoundError(DataError):
    """The source object does not exist: no such table, no file matches."""

    default_error_code = "DATA_NOT_FOUND"


class DataFormatError(DataError):
    """Bytes that are not the format they claim to be."""

    default_error_code = "DATA_FORMAT_ERROR"


class DataValidationError(DataError):
    """Values that break their contract beyond what the job allows."""

    default_error_code = "DATA_VALIDATION_ERROR"


class ResourceError(DativoError):
    """Something the work needs is not there or is used up."""

    default_error_code = "RESOURCE_ERROR"


class ResourceNotFoundError(ResourceError):
    """A needed component, catalog or place does not exist."""

    default_error_code = "RESOURCE_NOT_FOUND"


class ResourceUnavailableError(ResourceError):
    """A needed component exists and cannot serve now."""

    default_error_code = "RESOURCE_UNAVAILABLE"
    default_retryable = True


class DiskFullError(ResourceError):
    """No space is left where the target or a temporary file lives."""

    default_error_code = "DISK_FULL"


class MemoryLimitError(ResourceError):
    """The work does not fit into ``limits.memory_mb``."""

    default_error_code = "RESOURCE_MEMORY"


class PluginError(DativoError):
    """A plugin is at fault."""

    default_error_code = "PLUGIN_ERROR"


class PluginLoadError(PluginError, ValueError):
    """A plugin that cannot be found, imported or instantiated."""

    default_error_code = "PLUGIN_LOAD_ERROR"


class PluginVersionError(PluginError):
    """A plugin and this SDK or protocol do not fit; both versions are named."""

    default_error_code = "PLUGIN_VERSION_ERROR"


class PluginExecutionError(PluginError):
    """A plugin raised something that is no Dativo error, or broke its interface."""

    default_error_code = "PLUGIN_EXECUTION_ERROR"


class SandboxError(PluginError):
    """A plugin did what it may not, or a control cannot be enforced here.

    The code tells which: ``SANDBOX_VIOLATION``, ``SANDBOX_UNAVAILABLE`` or ``EGRESS_DENIED``.
    """

    default_error_code = "SANDBOX_VIOLATION"


class TransientError(DativoError):
    """A fault that passes."""

    default_error_code = "TRANSIENT_ERROR"
    default_retryable = True


class ServiceUnavailableError(TransientError):
    """The service says that it is down or overloaded."""

    default_error_code = "SERVICE_UNAVAILABLE"


class DatabaseLockError(TransientError):
    """A lock was not had in time."""

    default_error_code = "DATABASE_LOCK"


class ConcurrencyError(TransientError):
    """Somebody else changed the same thing, and the tries to follow are used up."""

    default_error_code = "CONCURRENCY_ERROR"


class CommitStateUnknownError(DativoError):
    """A commit got no answer: it may have happened. Nothing is retried or cleaned up on it."""

    default_error_code = "COMMIT_STATE_UNKNOWN"


class FencedError(DativoError):
    """Another run of the same job owns a newer generation; this one landed nothing."""

    default_error_code = "FENCED"


def is_retryable_error(error: BaseException) -> bool:
    """Say whether trying again can help: a Dativo error's flag; builtin connection and time-out errors do."""
    if isinstance(error, DativoError):
        return error.retryable
    return isinstance(error, builtins.ConnectionError | builtins.TimeoutError)


def get_error_code(error: BaseException) -> str:
    """Give the error's code, ``UNKNOWN_ERROR`` for one that is not Dativo's."""
    return error.error_code if isinstance(error, DativoError) else "UNKNOWN_ERROR"


def wrap_exception(
    error: BaseException,
    error_class: type[DativoError] = DativoError,
    message: str | None = None,
) -> DativoError:
    """Turn any exception into a Dativo error.

    A Dativo error comes back as it is. Anything else becomes an ``error_class`` whose ``details`` name the original's
    type and text, and whose ``__cause__`` is the original.
    """
    if isinstance(error, DativoError):
        return error
    wrapped = error_class(
        message or str(error) or type(error).__name__,
        details={"original_error": type(error).__name__, "original_message": str(error)},
    )
    wrapped.__cause__ = error
    return wrapped


def error_from_dict(document: dict[str, Any]) -> DativoError:
    """Build the error that `DativoError.to_dict` described; a class unknown here becomes a plain `DativoError`."""
    error_class = _CLASSES.get(document.get("type", ""), DativoError)
    return error_class(
        document["message"],
        document.get("error_code"),
        document.get("details"),
        document.get("retryable"),
        retry_after_s=document.get("retry_after_s"),
        hint=document.get("hint"),
    )


_CLASSES: dict[str, type[DativoError]] = {
    name: value for name, value in list(globals().items()) if isinstance(value, type) and issubclass(value, DativoError)
}
