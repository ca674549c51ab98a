"""What a job can tell the Iceberg target, and pyiceberg's names for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from dativo_plugin_sdk import InvalidConfigError, MissingConfigError, PluginConfig, Secret, TargetConfig, parse
from dativo_plugin_sdk.config import Texts

Compression: TypeAlias = Literal["zstd", "snappy", "gzip", "lz4", "brotli", "none"]
CatalogType: TypeAlias = Literal["sql", "rest", "glue", "hive", "dynamodb", "bigquery", "in-memory"]

DEFAULT_NAMESPACE = "default"
"""Where a table goes whose job names no namespace: an Iceberg table always has one."""


DATABASE = "catalog.db"
"""The embedded catalog's file in the warehouse folder."""

STREAM_BUFFER = {"buffer-size": str(256 * 1024)}
"""What an open file of a warehouse folder may hold back; pyiceberg by itself takes four times as much."""


_POSTGRES = re.compile(r"postgres(ql)?(\+psycopg2?)?://")


def _as_text(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


Text: TypeAlias = Annotated[str, BeforeValidator(_as_text)]


class IcebergConnection(PluginConfig):
    """Which catalog, and where its tables lie."""

    warehouse: str | None = None
    """The folder or URI (``s3://bucket/prefix``) that tables go under; for a REST catalog, the warehouse's name."""
    uri: str | None = None
    """The catalog's address; without one, an SQLite catalog is kept in the warehouse folder (``catalog.db``)."""
    catalog: str = "default"
    """The catalog's name; an SQL catalog keeps the tables of several catalogs apart by it."""
    type: CatalogType | None = None
    """The kind of catalog, where the ``uri`` does not tell: ``http`` is rest, ``thrift`` hive, the rest sql."""
    endpoint: str | None = None
    """The address of an S3 service other than AWS, such as ``http://127.0.0.1:8333``."""
    region: str | None = None
    """The S3 region; by default what ``AWS_REGION`` says, or us-east-1 for an ``endpoint``."""
    properties: dict[str, Text] = Field(default_factory=dict)
    """Properties handed to pyiceberg's catalog as they are; they go before what the other keys say."""


class IcebergCredentials(PluginConfig):
    """How to be let in; without keys, object stores use those of the environment (``AWS_*``, profiles, roles)."""

    token: Secret | None = None
    """A bearer token for a REST catalog."""
    credential: Secret | None = None
    """``client_id:client_secret`` of a REST catalog, for OAuth2."""
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    password: Secret | None = None
    """Of the user that the ``uri`` of an SQL catalog names."""


class IcebergOptions(PluginConfig):
    """How tables are laid out; in ``target.options`` for all tables, a stream's own keys go first."""

    partition_by: Texts = ()
    """Columns or transforms: ``region``, ``day(created_at)``, ``bucket(16, id)``, ``truncate(4, name)``."""
    sort_by: Texts = ()
    """Columns to sort by: ``id``, ``created_at desc``, ``name asc nulls last``."""
    properties: dict[str, Text] = Field(default_factory=dict)
    """Table properties."""
    compression: Compression | None = None
    """How Parquet pages are packed; by default what the table says, zstd for a new one."""
    target_file_mb: int | None = Field(default=None, ge=1, le=4096)
    """About how large a data file gets; by default what the table says, 256 for a new one."""


class IcebergConfig(PluginConfig):
    """The whole target, parsed."""

    connection: IcebergConnection
    credentials: IcebergCredentials
    options: IcebergOptions

    @property
    def in_postgres(self) -> bool:
        """Whether the catalog is an SQL catalog in a Postgres database."""
        connection = self.connection
        return connection.type in {None, "sql"} and _POSTGRES.match(connection.uri or "") is not None

    @property
    def folder(self) -> Path | None:
        """The warehouse folder whose embedded catalog is used; None where a ``uri`` or ``type`` names another."""
        connection = self.connection
        if connection.uri is not None or connection.type is not None or connection.warehouse is None:
            return None
        return Path(connection.warehouse.removeprefix("file://"))

    def catalog_properties(self) -> dict[str, str]:
        """Give what pyiceberg's catalogs and file systems are told, secrets included."""
        connection = self.connection
        endpoint = connection.endpoint
        known = {
            "type": connection.type,
            "uri": connection.uri,
            "warehouse": connection.warehouse,
            "s3.endpoint": endpoint,
            # Without a region, pyiceberg asks AWS for that of every bucket, also of one that is not at AWS.
            "s3.region": connection.region or ("us-east-1" if endpoint else None),
            "client.region": connection.region,
        }
        secrets = self.credentials
        hidden = {
            "token": secrets.token,
            "credential": secrets.credential,
            "client.access-key-id": secrets.access_key_id,
            "client.secret-access-key": secrets.secret_access_key,
            "client.session-token": secrets.session_token,
            "s3.access-key-id": secrets.access_key_id,
            "s3.secret-access-key": secrets.secret_access_key,
            "s3.session-token": secrets.session_token,
        }
        if self.folder is not None:
            known |= STREAM_BUFFER
        if secrets.credential is not None and connection.uri is not None:
            # Where a catalog hands out tokens by itself; pyiceberg deprecates finding this address on its own.
            known["oauth2-server-uri"] = f"{connection.uri.rstrip('/')}/v1/oauth/tokens"
        properties = {key: value for key, value in known.items() if value is not None}
        properties |= {key: value.get_secret_value() for key, value in hidden.items() if value is not None}
        return properties | connection.properties


def parse_config(config: TargetConfig) -> IcebergConfig:
    """Read the target's part of a job.

    Raises:
        InvalidConfigError: A key or value is wrong, or keys do not go together.
        MissingConfigError: Nothing says where the tables go.
    """
    connection = parse(IcebergConnection, config.connection, where="target.connection")
    parsed = IcebergConfig(
        connection=connection,
        credentials=parse(IcebergCredentials, dict(config.credentials), where="target.credentials"),
        options=parse(IcebergOptions, config.options, where="target.options"),
    )
    if connection.uri is None and connection.type is None:
        if connection.warehouse is None:
            raise MissingConfigError(
                "target.connection needs a warehouse (a folder), or the uri or type of a catalog",
                hint="write connection: {warehouse: ./warehouse}",
            )
        if "://" in connection.warehouse.removeprefix("file://"):
            raise InvalidConfigError(
                f"target.connection: the warehouse {connection.warehouse} is no folder, so it cannot hold the embedded "
                "catalog",
                hint="name a catalog: uri: https://... (REST) or uri: postgresql://... (SQL), or type: glue",
            )
    return parsed


def parse_options(target: Mapping[str, Any], table: Mapping[str, Any]) -> IcebergOptions:
    """Merge what the target and the stream say about a table; the stream goes first, properties key by key."""
    merged = {**target, **table}
    properties = {**(target.get("properties") or {}), **(table.get("properties") or {})}
    return parse(IcebergOptions, {**merged, "properties": properties}, where="options")
