"""What a suite needs to know of the world a plugin works in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from dativo_plugin_sdk.config import SourceConfig, TargetConfig
from dativo_plugin_sdk.streams import ReadMode, StreamSpec


@dataclass(frozen=True)
class StreamCase:
    """One stream of a source, as a job would ask for it."""

    name: str
    mode: ReadMode = "full_refresh"
    cursor: str | None = None
    primary_key: Sequence[str] = ()
    """Columns by which rows are told apart; without them rows are compared as a whole."""
    options: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Mapping[str, Any]] | int | None = None
    """What must come: the rows in any order, or how many there are."""
    schema: pa.Schema | None = None
    """What a contract would ask for; by default what the reader finds."""

    def spec(self, *, schema: pa.Schema | None = None, batch_bytes: int = 2**20) -> StreamSpec:
        """Say what the reader needs to know."""
        return StreamSpec(
            name=self.name,
            mode=self.mode,
            cursor=self.cursor,
            primary_key=tuple(self.primary_key),
            schema=schema or self.schema,
            options=dict(self.options),
            batch_bytes=batch_bytes,
        )


@dataclass(frozen=True)
class OldState:
    """A state as an older release of a reader left it, told after the rows that it stands for."""

    version: int
    state: Mapping[str, Any]


@dataclass(frozen=True)
class ReaderCase:
    """A source that is there for the suite: what a job would say of it, and what is wrong on purpose.

    ``bad_credentials`` and ``bad_host`` replace keys of ``credentials`` and ``connection``.
    """

    streams: Sequence[StreamCase] = ()
    connection: Mapping[str, Any] = field(default_factory=dict)
    credentials: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    bad_credentials: Mapping[str, Any] | None = None
    """Credentials that the source refuses."""
    bad_host: Mapping[str, Any] | None = None
    """A connection to where nothing is."""
    http: str | None = None
    """The key of ``connection`` that holds the address of an HTTP API, where it is one."""
    large: StreamCase | None = None
    """A stream of 64 MiB or more as Arrow data; a few thousand rows with a long text are enough."""
    old_states: Sequence[OldState] = ()
    """States of the first stream, one of each version that the reader still knows."""
    secrets_in_rows: bool = False
    """Whether the source gives its own credentials as data."""
    batch_bytes: int = 2**20
    most_crashes: int = 25
    """In how many places, evenly spread, reading is stopped; the first and the last are always among them."""
    cancel_s: float = 5.0
    memory_bytes: int | None = None
    """How much reading the large stream may take beyond a small one; by default 24 MiB and four batches."""

    def config(
        self,
        connection: Mapping[str, Any] | None = None,
        credentials: Mapping[str, Any] | None = None,
    ) -> SourceConfig:
        """Give the source's configuration, with some keys replaced."""
        return SourceConfig(
            type="conformance",
            connection={**self.connection, **(connection or {})},
            credentials={**self.credentials, **(credentials or {})},
            objects=[stream.name for stream in self.streams],
            engine={"options": dict(self.options), "job": "conformance"},
            options=dict(self.options),
        )


@dataclass(frozen=True)
class WriterCase:
    """A target that is there for the suite, empty before each check.

    ``read`` looks at the target with something else than the writer: it gives the rows of a table that its readers can
    see now, as an Arrow table or a list of dicts, and none where there is no such table. Its values may be text where
    the target keeps text: they are compared as the type that was written.
    """

    read: Callable[[str], pa.Table | Sequence[Mapping[str, Any]]]
    connection: Mapping[str, Any] = field(default_factory=dict)
    credentials: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    table_options: Mapping[str, Any] = field(default_factory=dict)
    namespace: str | None = "conformance"
    output_base: str = ""
    """The folder or URI that a simple plugin's files go under; by default ``connection.path``."""
    bad_credentials: Mapping[str, Any] | None = None
    """Credentials that the target refuses."""
    bad_host: Mapping[str, Any] | None = None
    """A connection to where nothing is, or where nothing can be made."""
    buffer_bytes: int = 2**20
    memory_bytes: int | None = None
    """How much writing 64 MiB may take beyond writing a little; by default 32 MiB and eight buffers."""

    def config(
        self,
        connection: Mapping[str, Any] | None = None,
        credentials: Mapping[str, Any] | None = None,
    ) -> TargetConfig:
        """Give the target's configuration, with some keys replaced."""
        return TargetConfig(
            type="conformance",
            connection={**self.connection, **(connection or {})},
            credentials={**self.credentials, **(credentials or {})},
            engine={"options": dict(self.options), "job": "conformance"},
            options=dict(self.options),
        )
