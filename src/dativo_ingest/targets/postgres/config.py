"""What a job can tell the Postgres target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from dativo_ingest.postgres.connection import PostgresAccess, parse_access
from dativo_plugin_sdk import InvalidConfigError, PluginConfig, TargetConfig, parse


class PostgresOptions(PluginConfig):
    """How tables are written; in ``target.options`` for all tables, a stream's own keys go first."""

    lock_timeout_s: float = Field(default=60.0, ge=0)
    """How long a commit waits for others that hold the table; 0 is for ever."""
    nul_characters: Literal["fail", "remove"] = "fail"
    """What becomes of U+0000 in a text, which Postgres cannot keep: an error, or it is left out."""


class PostgresConfig(PluginConfig):
    """The whole target, parsed."""

    access: PostgresAccess
    options: PostgresOptions


def parse_config(config: TargetConfig) -> PostgresConfig:
    """Read the target's part of a job.

    Raises:
        InvalidConfigError: A key or value is wrong, or keys do not go together.
    """
    return PostgresConfig(
        access=parse_access(config.connection, config.credentials, end="target", job=config.engine.get("job")),
        options=parse_options(config.options, {}, where="target.options"),
    )


def parse_options(target: Mapping[str, Any], table: Mapping[str, Any], *, where: str) -> PostgresOptions:
    """Merge what the target and the stream say about a table; the stream goes first."""
    given = {**target, **{key: value for key, value in table.items() if value not in (None, [], (), {})}}
    for name, why in (
        ("partition_by", "Dativo makes plain tables; make a partitioned one in Postgres, it is written to as it is"),
        ("sort_by", "tables in Postgres keep no order; an index makes filters fast"),
        ("properties", "tables in Postgres have no properties"),
    ):
        if given.get(name):
            raise InvalidConfigError(f"{where}.{name}: {why}")
        given.pop(name, None)
    return parse(PostgresOptions, given, where=where)
