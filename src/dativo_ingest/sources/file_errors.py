"""What the operating system and S3 say when a file cannot be had, as Dativo's errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from dativo_plugin_sdk import (
    DataError,
    DataNotFoundError,
    DativoError,
    InsufficientPermissionsError,
    InvalidConfigError,
    InvalidCredentialsError,
    NetworkError,
    RateLimitError,
    ServiceUnavailableError,
    TimeoutError,
    TokenExpiredError,
)

# pyarrow gives every S3 failure as an OSError whose text holds the AWS error's name: there is no attribute to ask.
_AWS_ERROR = re.compile(r"AWS Error (\w+)")
_AWS_CODES: dict[str, tuple[type[DativoError], str]] = {
    "NO_SUCH_BUCKET": (DataNotFoundError, "check the bucket's name, and the endpoint and region it is in"),
    "NO_SUCH_KEY": (DataNotFoundError, "check the key"),
    "RESOURCE_NOT_FOUND": (DataNotFoundError, "check the bucket and the key"),
    "INVALID_ACCESS_KEY_ID": (InvalidCredentialsError, "check source.credentials.access_key_id"),
    "SIGNATURE_DOES_NOT_MATCH": (InvalidCredentialsError, "check source.credentials.secret_access_key"),
    "INVALID_CLIENT_TOKEN_ID": (InvalidCredentialsError, "check source.credentials.access_key_id"),
    "MISSING_AUTHENTICATION_TOKEN": (InvalidCredentialsError, "set source.credentials, or AWS_ACCESS_KEY_ID and so on"),
    "UNRECOGNIZED_CLIENT": (InvalidCredentialsError, "check source.credentials"),
    "EXPIRED_TOKEN": (TokenExpiredError, "get a new session token"),
    "REQUEST_EXPIRED": (TokenExpiredError, "get a new session token"),
    "ACCESS_DENIED": (InsufficientPermissionsError, "allow s3:ListBucket and s3:GetObject, and check the credentials"),
    "NETWORK_CONNECTION": (NetworkError, "check source.connection.endpoint and that the service is up"),
    "REQUEST_TIMEOUT": (TimeoutError, "check that the service is up"),
    "THROTTLING": (RateLimitError, "try again later"),
    "SLOW_DOWN": (RateLimitError, "try again later"),
    "SERVICE_UNAVAILABLE": (ServiceUnavailableError, "try again later"),
    "INTERNAL_FAILURE": (ServiceUnavailableError, "try again later"),
    "REQUEST_TIME_TOO_SKEWED": (InvalidCredentialsError, "set this machine's clock right"),
}


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn an ``OSError`` of the block into a Dativo error that names the file.

    Args:
        name: The file, folder or pattern that is asked for.
    """
    try:
        yield
    except DativoError:  # ours may be OSErrors too: ConnectionError and TimeoutError are builtin ones
        raise
    except OSError as error:
        raise as_dativo_error(error, name) from error


def as_dativo_error(error: OSError, name: str) -> DativoError:
    """Choose the class for what the operating system or S3 said about ``name``."""
    text = str(error)
    details = {"path": name, "original_error": type(error).__name__, "original_message": text}
    if isinstance(error, PermissionError):
        return InsufficientPermissionsError(
            f"{name}: permission denied", details=details, hint="let the user that runs the job read it"
        )
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DataNotFoundError(f"{name}: no such file or folder", details=details)
    aws = _AWS_ERROR.search(text)
    if aws is not None:
        code = aws.group(1)
        reason = text.partition(" operation: ")[2].partition(" (Request ID")[0] or text
        kind, hint = _AWS_CODES.get(code, (DataError, None))
        if "HTTP status 301" in text:
            kind, hint = InvalidConfigError, "set source.connection.region to the bucket's region"
        elif "HTTP status 403" in text:
            kind, hint = _AWS_CODES["ACCESS_DENIED"]
        return kind(f"{name}: S3 said {code}: {reason}", details={**details, "aws_error": code}, hint=hint)
    return DataError(f"{name}: cannot be read: {text}", details=details)
