"""What a job can tell the Delta target, and deltalake's and Arrow's names for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from dativo_ingest.targets.parquet_files import Compression
from dativo_ingest.targets.s3_store import S3Credentials, S3Service, is_s3
from dativo_plugin_sdk import InvalidConfigError, PluginConfig, TableSpec, TargetConfig, parse
from dativo_plugin_sdk.config import Texts

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_CODECS = {"none": "UNCOMPRESSED", "lz4": "LZ4_RAW"}
_NO_FOLDER = re.compile(r"[\x00-\x1f\x7f/\\]")


class DeltaConnection(PluginConfig):
    """Where the tables lie."""

    path: str = Field(min_length=1)
    """A folder, made when missing, or an S3 address: ``s3://bucket/prefix``."""
    endpoint: str | None = None
    """The address of an S3 service other than AWS, such as ``http://127.0.0.1:8333``."""
    region: str | None = None
    """The S3 region; by default what ``AWS_REGION`` says, or us-east-1 for an ``endpoint``."""


class DeltaOptions(PluginConfig):
    """How tables are laid out; in ``target.options`` for all tables, a stream's own keys go first."""

    partition_by: Texts = ()
    """Columns to partition by: ``region``. Delta has no transforms."""
    sort_by: Texts = ()
    """The order of the rows within each row group: ``id``, ``id desc``, ``id nulls first``; not with ``merge``."""
    properties: dict[str, str] = Field(default_factory=dict)
    """Table properties that Delta knows: ``delta.logRetentionDuration``."""
    compression: Compression = "zstd"
    target_file_mb: float = Field(default=256, gt=0)
    """A file that has grown to this size is closed and another one begun; not with ``merge``."""


@dataclass(frozen=True)
class Place:
    """One table's root: as deltalake names it, and as a folder of one of Arrow's file systems."""

    uri: str
    filesystem: FileSystem
    path: str
    storage_options: Mapping[str, str]
    folder: Path | None
    """The folder, where it is one of this machine's."""


class DeltaConfig(PluginConfig):
    """The whole target, parsed."""

    connection: DeltaConnection
    credentials: S3Credentials
    options: DeltaOptions

    @property
    def folder(self) -> Path | None:
        """The local folder that the tables go under; None for an object store."""
        path = self.connection.path
        return None if is_s3(path) else Path(path.removeprefix("file://"))

    def place(self, *names: str | None) -> Place:
        """Give the root of the table of these names.

        Raises:
            InvalidConfigError: A name cannot be a folder's.
        """
        from pyarrow import fs  # noqa: PLC0415  it loads every file system

        parts = [name for name in names if name is not None]
        for name in parts:
            if name in {"", ".", ".."} or name.startswith("_") or _NO_FOLDER.search(name):
                raise InvalidConfigError(
                    f"{name!r} cannot be a folder's name, which the delta target needs",
                    hint="table: gives the table another name",
                )
        if self.folder is not None:
            folder = self.folder.joinpath(*parts)
            return Place(str(folder), fs.LocalFileSystem(), str(folder), {}, folder)
        uri = "/".join([self.connection.path.rstrip("/"), *parts])
        service = S3Service.of(self.connection.endpoint, self.connection.region, self.credentials)
        return Place(uri, service.arrow(), uri.partition("://")[2], self._storage_options(), None)

    @property
    def _region(self) -> str | None:
        return self.connection.region or ("us-east-1" if self.connection.endpoint else None)

    def _storage_options(self) -> dict[str, str]:
        secrets = self.credentials
        endpoint = self.connection.endpoint
        known = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ALLOW_HTTP": "true" if endpoint and endpoint.startswith("http://") else None,
            "AWS_REGION": self._region,
            # A version of the log is created only where there is none: If-None-Match, which S3 has since 2024.
            "AWS_CONDITIONAL_PUT": "etag",
        }
        hidden = {
            "AWS_ACCESS_KEY_ID": secrets.access_key_id,
            "AWS_SECRET_ACCESS_KEY": secrets.secret_access_key,
            "AWS_SESSION_TOKEN": secrets.session_token,
        }
        options = {key: value for key, value in known.items() if value is not None}
        return options | {key: value.get_secret_value() for key, value in hidden.items() if value is not None}


def parse_config(config: TargetConfig) -> DeltaConfig:
    """Read the target's part of a job.

    Raises:
        InvalidConfigError: A key or value is wrong, or keys do not go together.
    """
    parsed = DeltaConfig(
        connection=parse(DeltaConnection, config.connection, where="target.connection"),
        credentials=parse(S3Credentials, dict(config.credentials), where="target.credentials"),
        options=parse_options(config.options, {}, where="target.options"),
    )
    path = parsed.connection.path
    if "://" in path.removeprefix("file://") and not is_s3(path):
        raise InvalidConfigError(
            f"target.connection.path: {path.partition('://')[0]}:// is not supported, only folders and s3://"
        )
    if parsed.folder is not None and (parsed.connection.endpoint or parsed.connection.region):
        raise InvalidConfigError("target.connection: endpoint and region are for a path that begins with s3://")
    return parsed


def parse_options(target: Mapping[str, Any], table: Mapping[str, Any], *, where: str = "options") -> DeltaOptions:
    """Merge what the target and the stream say about a table; the stream goes first, properties key by key."""
    own = {key: value for key, value in table.items() if value not in (None, [], (), {})}
    properties = {**(target.get("properties") or {}), **(own.get("properties") or {})}
    options = parse(DeltaOptions, {**target, **own, "properties": properties}, where=where)
    for key in options.properties:
        if not key.startswith("delta."):
            raise InvalidConfigError(f"{where}.properties: {key}: Delta's properties begin with 'delta.'")
    return options


def writer_codec(compression: Compression) -> Any:
    """Give a codec by deltalake's name."""
    return _CODECS.get(compression, compression.upper())


def title(spec: TableSpec) -> str:
    """Give a table's name for people."""
    return ".".join(name for name in (spec.namespace, spec.name) if name is not None)
