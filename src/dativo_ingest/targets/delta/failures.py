"""What deltalake and object stores say when something fails, as Dativo's errors."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dativo_ingest.targets.filesystem import as_dativo_error as of_file_system
from dativo_plugin_sdk import (
    ConcurrencyError,
    DativoError,
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

INSTALL = "install it with: pip install 'dativo-ingest[delta]'"

# deltalake gives what its object store says as text alone: there is no attribute to ask.
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_CODE = re.compile(r"code: (\d+), kind: ")
_STORE: tuple[tuple[str, type[DativoError], str], ...] = (
    ("InvalidAccessKeyId", InvalidCredentialsError, "check target.credentials.access_key_id"),
    ("SignatureDoesNotMatch", InvalidCredentialsError, "check target.credentials.secret_access_key"),
    ("ExpiredToken", TokenExpiredError, "get a new session token"),
    ("AccessDenied", InsufficientPermissionsError, "allow s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket"),
    ("403 Forbidden", InsufficientPermissionsError, "allow s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket"),
    ("NoSuchBucket", ResourceNotFoundError, "check the bucket's name, and the endpoint and region it is in"),
    ("SlowDown", RateLimitError, "try again later"),
    ("503 Service Unavailable", ServiceUnavailableError, "try again later"),
    ("500 Internal Server Error", ServiceUnavailableError, "try again later"),
    ("operation timed out", TimeoutError, "check that the service is up"),
    ("error sending request", NetworkError, "check target.connection.endpoint and that the service is up"),
    ("HTTP error", NetworkError, "check target.connection.endpoint and that the service is up"),
    ("Generic S3 error", ResourceUnavailableError, "see the message of the object store"),
)


_CLASSES: dict[str, tuple[type[DativoError], str | None]] = {
    "CommitFailedError": (ConcurrencyError, "run the job again"),
    "TableNotFoundError": (ResourceNotFoundError, "check target.connection.path"),
    "SchemaMismatchError": (SchemaValidationError, None),
    "DeltaProtocolError": (InvalidConfigError, "the installed deltalake does not know all that the table asks for"),
}


def require_deltalake() -> None:
    """See that the library is there.

    Raises:
        ResourceNotFoundError: It is not installed.
    """
    try:
        import deltalake  # noqa: F401, PLC0415  only to see
    except ModuleNotFoundError as error:
        raise ResourceNotFoundError("the delta target needs the package deltalake", hint=INSTALL) from error


def foreign_errors() -> tuple[type[Exception], ...]:
    """List what deltalake and Arrow's file systems may raise; to be called in an ``except`` clause."""
    from deltalake.exceptions import DeltaError  # noqa: PLC0415  heavy, and by now it is loaded

    return (DeltaError, OSError, ValueError)


@contextmanager
def translated(what: str, folder: Path | None = None) -> Iterator[None]:
    """Turn a foreign error of the block into a Dativo error.

    Args:
        what: What is being done, to begin the message with: ``writing raw.orders``.
        folder: Where the table lies on this machine, if it does.
    """
    try:
        yield
    except DativoError:  # ours may be OSErrors too: ConnectionError and TimeoutError are builtin ones
        raise
    except foreign_errors() as error:
        raise as_dativo_error(error, what, folder) from error


def as_dativo_error(error: Exception, what: str, folder: Path | None = None) -> DativoError:
    """Choose the class for what happened while ``what`` was done."""
    text = str(error).strip() or type(error).__name__
    number = _OS_ERROR.search(text) or _CODE.search(text)
    if folder is not None and (number or (isinstance(error, OSError) and error.errno)):
        code = int(number[1]) if number else int(getattr(error, "errno", 0) or 0)
        return of_file_system(OSError(code, text), folder)
    if isinstance(error, OSError) and (failure := s3_failure(error, "target")) is not None:
        kind, hint = failure.error_class or ResourceUnavailableError, failure.hint
    else:
        kind, hint = _find(error, text)
    details = {"original_error": type(error).__name__, "original_message": text}
    return kind(f"{what}: {text.splitlines()[0]}", details=details, hint=hint)


def _find(error: Exception, text: str) -> tuple[type[DativoError], str | None]:
    for words, kind, hint in _STORE:
        if words in text:
            return kind, hint
    if isinstance(error, OSError) and error.errno == errno.ENOENT:
        return ResourceNotFoundError, None
    return _CLASSES.get(type(error).__name__, (ResourceError, None))


def may_still_land(error: DativoError) -> bool:
    """Say whether a write that failed so may have reached, or may still reach, the object store."""
    return isinstance(
        error, NetworkError | TimeoutError | ServiceUnavailableError | ResourceUnavailableError | RateLimitError
    )
