"""What every file source can be told: where its files are, how to be let in, how to read and follow them."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from dativo_plugin_sdk import PluginConfig, Secret

Compression: TypeAlias = Literal["auto", "none", "gzip", "zstd"]


class FileConnection(PluginConfig):
    """Where the files are."""

    path: str | None = None
    """A file, a folder, a glob (``**`` crosses folders) or an ``s3://bucket/key*`` address; or by stream."""
    endpoint: str | None = None
    """The address of an S3 service other than AWS, such as ``http://127.0.0.1:8333``."""
    region: str | None = None
    """The S3 region; by default what ``AWS_REGION`` says, or us-east-1 for an ``endpoint``."""
    anonymous: bool = False
    """Ask S3 without credentials."""
    compression: Compression = "auto"
    """How the files are packed; ``auto`` goes by the suffixes ``.gz`` and ``.zst``."""


class FileCredentials(PluginConfig):
    """Keys for S3; without them, those of the environment (``AWS_*``, profiles, instance roles) are used."""

    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None


class FileOptions(PluginConfig):
    """How files of any format are read and followed; each format adds its own keys.

    They stand in ``source.options``, and in a stream's ``options``, which go first.
    """

    path: str | None = None
    """The stream's own file, folder, glob or address."""
    compression: Compression | None = None
    """How the stream's files are packed, where it differs from the connection's."""
    changed_files: Literal["fail", "reload", "ignore"] = "fail"
    """What to do with a file that was read before and is another now (in mode incremental without a cursor)."""
    infer_rows: int = Field(default=10_000, ge=1)
    """How many rows of a file are looked at to find its columns and types."""
    infer_files: int = Field(default=10, ge=1)
    """How many files are looked at; the others are met when they are read."""
    extra_columns: Literal["ignore", "fail"] = "ignore"
    """What to do with columns of a file that the stream's schema lacks; set by the stream's own key of that name."""
