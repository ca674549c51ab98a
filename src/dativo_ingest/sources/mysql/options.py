"""What a job can tell the MySQL source about its streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from dativo_plugin_sdk import PluginConfig, StreamSpec, parse
from dativo_plugin_sdk.config import Texts


class MysqlSourceOptions(PluginConfig):
    """How streams are read; in ``source.options`` for all of them, a stream's own keys go first."""

    query: str | None = Field(default=None, min_length=1)
    """A SELECT of one's own, in place of the table that the stream is named for."""
    columns: Texts = ()
    """The columns to read; by default all."""
    filter: str | None = Field(default=None, min_length=1)
    """A condition in SQL that rows must meet, such as ``status <> 'draft'``; the server leaves the others out."""
    lock_timeout_s: float = Field(default=60.0, ge=0)
    """How long to wait for others that change a table's definition; 0 is for ever."""
    statement_timeout_s: float | None = Field(default=None, ge=0)
    """How long the server may work on one statement, and reading a table is one; by default as the server is set."""
    writers_timeout_s: float = Field(default=10.0, ge=0)
    """How long an incremental run waits for open transactions where nothing tells which rows they may bring: all that
    write, where a number is followed, and those that were prepared."""
    time_zone: str | None = Field(default=None, min_length=1)
    """The zone of times in a cursor that has none, such as ``Europe/Rome``; by default that of the server or UTC,
    whichever is earlier."""
    max_snapshot_age_s: float = Field(default=14_400.0, ge=0)
    """How long the image that is read may be kept open at the server, four hours by default; 0 is for ever."""
    spill_after_s: float = Field(default=600.0, ge=0)
    """After how long rows that the target is too slow for wait on local disk, so that the image need not be kept."""
    spill_mb: int = Field(default=4096, ge=0)
    """How much may wait there, in MiB; 0 is nothing."""
    extra_columns: Literal["ignore", "fail"] = "ignore"
    """What to do with columns that the contract does not know; set by the stream's own key of that name."""


def options_of(stream: StreamSpec, source: Mapping[str, Any]) -> MysqlSourceOptions:
    """Merge what the source and a stream say; the stream goes first.

    Raises:
        InvalidConfigError: A key or value is wrong.
    """
    return parse(MysqlSourceOptions, {**source, **stream.options}, where=f"streams.{stream.name}")
