"""Buckets of S3 services as targets use them: one set of keys, typed errors, creation that says what became of it."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from dativo_plugin_sdk import (
    DativoError,
    InvalidConfigError,
    InvalidCredentialsError,
    NetworkError,
    PluginConfig,
    ResourceNotFoundError,
    ResourceUnavailableError,
    Secret,
    ServiceUnavailableError,
    TimeoutError,
)
from dativo_plugin_sdk.s3_errors import s3_answer, s3_failure

if TYPE_CHECKING:
    from obstore import WritableFile
    from obstore.store import ClientConfig, RetryConfig, S3Store
    from pyarrow.fs import S3FileSystem

INSTALL = "install it with: pip install 'dativo-ingest[s3]'"
PAGE = 1000
"""How many keys an answer to a listing holds at most (S3 API, ListObjectsV2, ``MaxKeys``)."""

_SCHEMES = ("s3://", "s3a://")
_CONNECT_S = 10
_REQUEST_S = 60
_RETRIES = 3
_RETRY_FOR_S = 60
_PART_BYTES = 8 * 2**20  # an upload has at most 10,000 parts, so that 80 GB are the most of a file
_PARTS_AT_ONCE = 2
UPLOAD_BYTES = (1 + _PARTS_AT_ONCE) * _PART_BYTES
"""The most bytes that one upload holds in memory."""

# obstore gives what its object store says as text alone: there is no attribute to ask.
_CODE = re.compile(r"<Code>(\w+)</Code>|\(code: (\w+)\)")
_STATUS = re.compile(r"status code: (\d{3})")
_HTTP_ERROR = re.compile(r"HttpError \{\s*kind: (\w+)")
_NO_KEYS = "169.254.169.254"  # the machine's own address for credentials, which only clouds have


class S3Credentials(PluginConfig):
    """Keys of an object store; without them those of the environment are used (``AWS_*``, roles of the machine)."""

    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None


class LostAnswerError(Exception):
    """A write was sent and no answer says whether it was done; ``failure`` tells what came instead."""

    def __init__(self, failure: DativoError) -> None:
        super().__init__(str(failure))
        self.failure = failure


def is_s3(path: str) -> bool:
    """Say whether a path is an address in a bucket."""
    return path.startswith(_SCHEMES)


@dataclass(frozen=True)
class S3Service:
    """An S3 service and how to be let in.

    Attributes:
        endpoint: Its address, where it is not AWS.
        region: Its region; what the environment says where it is None.
        credentials: Keys; those of the environment where there are none.
    """

    endpoint: str | None = None
    region: str | None = None
    credentials: S3Credentials = field(default_factory=S3Credentials)

    @classmethod
    def of(cls, endpoint: str | None, region: str | None, credentials: S3Credentials) -> S3Service:
        """Fill in what the environment says of the service.

        Raises:
            InvalidConfigError: The endpoint is no address, or one key is given without the other.
        """
        endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if endpoint is not None:
            endpoint = endpoint if "://" in endpoint else f"https://{endpoint}"
            parts = urlsplit(endpoint)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise InvalidConfigError(f"target.connection.endpoint: {endpoint} is no address of http:// or https://")
        if (credentials.access_key_id is None) != (credentials.secret_access_key is None):
            raise InvalidConfigError(
                "target.credentials: an access key needs both of its parts",
                hint="give access_key_id and secret_access_key, or neither",
            )
        return cls(endpoint, region or ("us-east-1" if endpoint else None), credentials)

    def address(self) -> tuple[str, int]:
        """Give the host and port that requests go to."""
        parts = urlsplit(self.endpoint or f"https://s3.{self.region or 'us-east-1'}.amazonaws.com")
        return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)

    def reach(self) -> str:
        """Look the service up and connect to it, unless requests go through a proxy; say what was done.

        Raises:
            NetworkError: There is no such host, or nobody listens.
        """
        host, port = self.address()
        scheme = urlsplit(self.endpoint).scheme if self.endpoint else "https"
        if scheme in getproxies() and not proxy_bypass(host):
            return f"{host}:{port} through a proxy"
        try:
            socket.create_connection((host, port), timeout=_CONNECT_S).close()
        except OSError as error:
            raise NetworkError(
                f"{host}:{port}: {error.strerror or error}",
                details={"host": host, "port": port, "original_error": type(error).__name__},
                hint="check target.connection.endpoint and that the service is up",
            ) from error
        return f"{host}:{port} answers"

    def arrow(self) -> S3FileSystem:
        """Give Arrow's file system of the service, which reads its files."""
        from pyarrow import fs  # noqa: PLC0415  it loads every file system

        settings: dict[str, Any] = {"region": self.region, **self._keys("access_key", "secret_key", "session_token")}
        if self.endpoint is not None:
            scheme, _, host = self.endpoint.partition("://")
            settings |= {"endpoint_override": host.rstrip("/"), "scheme": scheme}
        return fs.S3FileSystem(
            **{key: value for key, value in settings.items() if value is not None},
            connect_timeout=_CONNECT_S,
            request_timeout=_REQUEST_S,
        )

    def bucket(self, address: str) -> tuple[Bucket, str]:
        """Give the bucket of an ``s3://`` address, and the key in it.

        Raises:
            InvalidConfigError: The address names no bucket, or a key that cannot be one.
            ResourceNotFoundError: The library is not installed.
        """
        try:
            import obstore  # noqa: F401, PLC0415  only to see
        except ModuleNotFoundError as error:
            raise ResourceNotFoundError(f"{address}: S3 needs the package obstore", hint=INSTALL) from error
        name, _, key = address.partition("://")[2].partition("/")
        key = key.strip("/")
        if not name or {"", ".", ".."} & set(key.split("/")) - ({""} if not key else set()):
            raise InvalidConfigError(f"target.connection.path: {address} is not s3://bucket or s3://bucket/prefix")
        return Bucket(self, name), key

    def store(self, bucket: str, *, retries: int) -> S3Store:
        """Open a bucket with obstore; nothing is asked of the service yet."""
        from obstore.store import S3Store  # noqa: PLC0415

        given = {"endpoint": self.endpoint, "region": self.region}
        keys = self._keys("access_key_id", "secret_access_key", "session_token")
        client: ClientConfig = {
            "allow_http": self.endpoint is not None and self.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=_CONNECT_S),
            "timeout": timedelta(seconds=_REQUEST_S),
        }
        retry: RetryConfig = {"max_retries": retries, "retry_timeout": timedelta(seconds=_RETRY_FOR_S)}
        settings: dict[str, Any] = {key: value for key, value in {**given, **keys}.items() if value is not None}
        return S3Store(bucket, client_options=client, retry_config=retry, **settings)

    def _keys(self, *names: str) -> Mapping[str, str | None]:
        keys = self.credentials
        values = (keys.access_key_id, keys.secret_access_key, keys.session_token)
        return {
            name: value.get_secret_value() if value is not None else None
            for name, value in zip(names, values, strict=True)
        }


class Bucket:
    """One bucket: listing, reading, removing, and writing in the ways a commit needs; errors are Dativo's."""

    def __init__(self, service: S3Service, name: str) -> None:
        self.service = service
        self.name = name

    @cached_property
    def _store(self) -> S3Store:
        return self.service.store(self.name, retries=_RETRIES)

    @cached_property
    def _store_once(self) -> S3Store:
        # A retry inside the library would meet the object that its first, unanswered try had created.
        return self.service.store(self.name, retries=0)

    def page(self, folder: str, *, after: str | None = None) -> list[str]:
        """List the first keys below a folder, in order; fewer than `PAGE` are all there are.

        Args:
            folder: The folder's key; empty for the bucket itself.
            after: Only keys behind this one.
        """
        import obstore  # noqa: PLC0415

        with self._translated(folder):
            pages = obstore.list(self._store, folder or None, offset=after, chunk_size=PAGE)
            return [each["path"] for each in next(iter(pages), [])]

    def keys(self, folder: str) -> Iterator[str]:
        """List every key below a folder, in order and page by page."""
        import obstore  # noqa: PLC0415

        with self._translated(folder):
            for page in obstore.list(self._store, folder or None, chunk_size=PAGE):
                yield from (each["path"] for each in page)

    def read(self, key: str) -> bytes | None:
        """Read an object whole; None where there is none."""
        import obstore  # noqa: PLC0415

        try:
            with self._translated(key):
                return bytes(obstore.get(self._store, key).bytes())
        except ResourceNotFoundError as error:
            if error.details.get("code") == "NO_SUCH_KEY":
                return None
            raise

    def create(self, key: str, data: bytes) -> bool:
        """Write an object where there is none (``If-None-Match: *``); sent once, without any retry.

        Returns:
            Whether it was written. False is the service's word that there is one, or that another writer was at it in
            the same moment: only reading tells which.

        Raises:
            LostAnswerError: It was sent, and may be written now or later.
            DativoError: It was not written.
        """
        import obstore  # noqa: PLC0415
        from obstore.exceptions import AlreadyExistsError, PreconditionError  # noqa: PLC0415

        try:
            with self._translated(key):
                try:
                    obstore.put(self._store_once, key, data, mode="create", use_multipart=False)
                except (AlreadyExistsError, PreconditionError):
                    return False
        except DativoError as failure:
            if _may_have_landed(failure):
                raise LostAnswerError(failure) from failure
            raise
        return True

    def replace(self, key: str, data: bytes) -> None:
        """Write an object, over the one that is there."""
        import obstore  # noqa: PLC0415

        with self._translated(key):
            obstore.put(self._store, key, data, use_multipart=False)

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are gone are fine."""
        import obstore  # noqa: PLC0415

        if keys:
            with self._translated(keys[0]):
                obstore.delete(self._store, list(keys))

    def upload(self, key: str) -> WritableFile:
        """Begin an object that is sent in parts; it is there once it is closed, and never where it is not."""
        import obstore  # noqa: PLC0415

        with self._translated(key):
            return obstore.open_writer(self._store, key, buffer_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

    def where(self, key: str) -> str:
        """Give an object's address, for people."""
        return f"s3://{self.name}/{key}" if key else f"s3://{self.name}"

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        with translated(self.where(key)):
            yield


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn what obstore and Arrow raise in the block into a Dativo error that names the address."""
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        yield
    except DativoError:  # ours may be OSErrors too: ConnectionError and TimeoutError are builtin ones
        raise
    except (BaseError, OSError) as error:
        raise as_dativo_error(error, where) from error


def as_dativo_error(error: Exception, where: str) -> DativoError:
    """Choose the class for what obstore, or Arrow, said about an address."""
    text = str(error)
    said = text.partition("\n\nDebug source")[0]
    details: dict[str, Any] = {"path": where, "original_error": type(error).__name__, "original_message": said}
    if _NO_KEYS in said:
        return InvalidCredentialsError(
            f"{where}: there are no credentials: neither the job nor the environment nor the machine has any",
            details=details,
            hint="set target.credentials, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    http_error = _HTTP_ERROR.search(text)  # an upload in parts leaves this out
    if http_error is not None or "HTTP error: " in said:
        kind = http_error[1] if http_error is not None else None
        lost = TimeoutError if kind == "Timeout" or "timed out" in said else NetworkError
        return lost(
            f"{where}: {_first_line(said)}",
            details={**details, "http_error": kind},
            hint="check target.connection.endpoint and that the service is up",
        )
    failure = s3_failure(error, "target") if isinstance(error, OSError) else None
    if failure is None:
        status = _STATUS.search(text)
        code = _CODE.search(text)
        details["status"] = int(status[1]) if status else None
        name = code[1] or code[2] if code else "NoSuchKey" if isinstance(error, FileNotFoundError) else ""
        failure = s3_answer(name, details["status"], "target")
    details["code"] = failure.code
    reason = f"S3 said {failure.code or details['status']}" if failure.code or details["status"] else _first_line(said)
    error_class = failure.error_class or ResourceUnavailableError
    return error_class(f"{where}: {reason}", details=details, hint=failure.hint)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _may_have_landed(failure: DativoError) -> bool:
    """Say whether a write that failed so may have been done, or may still be: what was refused was not."""
    if isinstance(failure, NetworkError | TimeoutError):
        return failure.details.get("http_error") != "Connect"
    # RFC 9110 15.6: with a status of 5xx the server failed, before or after it did what was asked.
    return isinstance(failure, ServiceUnavailableError | ResourceUnavailableError) and not _is_refusal(failure)


def _is_refusal(failure: DativoError) -> bool:
    status = failure.details["status"]
    return status is not None and status < 500  # noqa: PLR2004
