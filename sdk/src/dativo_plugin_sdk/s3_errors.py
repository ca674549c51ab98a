"""What an S3 service says, by itself or through pyarrow, as Dativo's errors: one table for reading and writing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from dativo_plugin_sdk.errors import (
    DataNotFoundError,
    DativoError,
    InsufficientPermissionsError,
    InvalidConfigError,
    InvalidCredentialsError,
    NetworkError,
    RateLimitError,
    ResourceNotFoundError,
    ServiceUnavailableError,
    TimeoutError,
    TokenExpiredError,
)

# pyarrow gives every S3 failure as an OSError whose text holds the AWS error's name: there is no attribute to ask.
_AWS_ERROR = re.compile(r"AWS Error (\w+)")
_HTTP_STATUS = re.compile(r"HTTP status (\d{3})")
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_MOVED = 301
_FORBIDDEN = 403
# pyarrow's names are the services' own in another spelling, but for these.
_OTHER_NAMES = {"INTERNAL_ERROR": "INTERNAL_FAILURE", "INVALID_TOKEN": "INVALID_CLIENT_TOKEN_ID"}
_CLASSES: dict[str, tuple[type[DativoError], str]] = {
    "INVALID_ACCESS_KEY_ID": (InvalidCredentialsError, "check {end}.credentials.access_key_id"),
    "SIGNATURE_DOES_NOT_MATCH": (InvalidCredentialsError, "check {end}.credentials.secret_access_key"),
    "INVALID_CLIENT_TOKEN_ID": (InvalidCredentialsError, "check {end}.credentials.access_key_id"),
    "MISSING_AUTHENTICATION_TOKEN": (InvalidCredentialsError, "set {end}.credentials, or AWS_ACCESS_KEY_ID and so on"),
    "UNRECOGNIZED_CLIENT": (InvalidCredentialsError, "check {end}.credentials"),
    "EXPIRED_TOKEN": (TokenExpiredError, "get a new session token"),
    "REQUEST_EXPIRED": (TokenExpiredError, "get a new session token"),
    "REQUEST_TIME_TOO_SKEWED": (InvalidCredentialsError, "set this machine's clock right"),
    "NETWORK_CONNECTION": (NetworkError, "check {end}.connection.endpoint and that the service is up"),
    "REQUEST_TIMEOUT": (TimeoutError, "check that the service is up"),
    "THROTTLING": (RateLimitError, "try again later"),
    "SLOW_DOWN": (RateLimitError, "try again later"),
    "SERVICE_UNAVAILABLE": (ServiceUnavailableError, "try again later"),
    "NOT_IMPLEMENTED": (InvalidConfigError, "use a service that has this operation"),
    "INTERNAL_FAILURE": (ServiceUnavailableError, "try again later"),
}
_PASSING: dict[int | None, tuple[type[DativoError], str]] = {
    429: (RateLimitError, "try again later"),
    500: (ServiceUnavailableError, "try again later"),
    502: (ServiceUnavailableError, "try again later"),
    503: (ServiceUnavailableError, "try again later"),
    504: (ServiceUnavailableError, "try again later"),
}
_MISSING = {
    "NO_SUCH_BUCKET": "check the bucket's name, and the endpoint and region it is in",
    "NO_SUCH_KEY": "check the key",
    "RESOURCE_NOT_FOUND": "check the bucket and the key",
}
_ALLOW = {
    "source": "allow s3:ListBucket and s3:GetObject, and check the credentials",
    "target": "allow s3:GetObject, s3:PutObject and s3:DeleteObject, and check the credentials",
}


@dataclass(frozen=True)
class S3Failure:
    """What an S3 service refused, in Dativo's words.

    Attributes:
        code: The AWS error's name: ``NO_SUCH_BUCKET``.
        error_class: What to raise; None where the name tells nothing.
        hint: What to do about it.
    """

    code: str
    error_class: type[DativoError] | None = None
    hint: str | None = None


def is_s3_error(error: OSError) -> bool:
    """Say whether an S3 service, or the way to it, failed."""
    return _AWS_ERROR.search(str(error)) is not None


def s3_failure(error: OSError, end: Literal["source", "target"]) -> S3Failure | None:
    """Tell what pyarrow's error means for one end of a job; None where it is not about S3."""
    text = str(error)
    found = _AWS_ERROR.search(text)
    if found is None:
        return None
    status = _HTTP_STATUS.search(text)
    return _failure(found.group(1), int(status[1]) if status else None, end)


def s3_answer(code: str, status: int | None, end: Literal["source", "target"]) -> S3Failure:
    """Tell what an answer of the service means for one end of a job.

    Args:
        code: The error's name as S3 writes it (``NoSuchBucket``), or nothing where the answer had no body.
        status: The status of HTTP.
        end: Which part of the job to send people to.
    """
    name = _WORD.sub("_", code).upper()
    return _failure(_OTHER_NAMES.get(name, name), status, end)


def _failure(code: str, status: int | None, end: Literal["source", "target"]) -> S3Failure:
    if status == _MOVED or code == "AUTHORIZATION_HEADER_MALFORMED":
        return S3Failure(code, InvalidConfigError, f"set {end}.connection.region to the bucket's region")
    if code in _CLASSES:
        error_class, hint = _CLASSES[code]
        return S3Failure(code, error_class, hint.format(end=end))
    if code in _MISSING:
        return S3Failure(code, DataNotFoundError if end == "source" else ResourceNotFoundError, _MISSING[code])
    if code == "ACCESS_DENIED" or status == _FORBIDDEN:
        return S3Failure(code, InsufficientPermissionsError, _ALLOW[end])
    if status in _PASSING:
        return S3Failure(code, *_PASSING[status])
    return S3Failure(code)
