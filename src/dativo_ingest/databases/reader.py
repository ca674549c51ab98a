"""A database as a source: what is the same for every kind; its library is imported when it is first asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dativo_plugin_sdk import (
    Capability,
    Check,
    DiscoveryResult,
    Message,
    Partition,
    SourceConfig,
    State,
    StreamReader,
    StreamSpec,
)

if TYPE_CHECKING:
    from dativo_ingest.databases.checks import DatabaseChecks
    from dativo_ingest.databases.streams import DatabaseStreams


class DatabaseReader(StreamReader):
    """Reads a database; a stream is a table or a view by its name, or a query."""

    capabilities = frozenset({Capability.CURSOR_RANGE, Capability.INCREMENTAL, Capability.KEYS, Capability.WATERMARK})

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self._opened: DatabaseStreams[Any, Any, Any] | None = None
        self._checks: list[DatabaseChecks[Any, Any]] = []

    @abstractmethod
    def _open_streams(self) -> DatabaseStreams[Any, Any, Any]:
        """Import the library, and give what can be read; nothing is asked of the server yet.

        Raises:
            ResourceNotFoundError: The library is not installed.
        """

    @abstractmethod
    def _make_checks(self, streams: Sequence[StreamSpec]) -> DatabaseChecks[Any, Any]:
        """Import the library, and give the steps from the server's name to a row of each stream.

        Raises:
            ResourceNotFoundError: The library is not installed.
        """

    def check(self, streams: Sequence[StreamSpec]) -> Sequence[Check]:
        """List the steps from the server's name to a row of each stream.

        Raises:
            ResourceNotFoundError: The library is not installed.
        """
        self._checks.append(checks := self._make_checks(streams))
        return checks.steps()

    def discover(self, pattern: str | None = None) -> DiscoveryResult:
        """List the tables and views that the user may read, with their columns."""
        return self._streams.discover(pattern)

    def streams(self) -> Mapping[str, Mapping[str, Any]]:
        """Give a stream for each table and view that the user may read."""
        return {name: {} for name in self._streams.names()}

    def schema(self, stream: StreamSpec) -> pa.Schema:
        """Give the columns that the stream selects, of the types that keep every value."""
        return self._streams.schema(stream)

    def source_schema(self, stream: StreamSpec) -> pa.Schema:
        """Give the columns of the types that keep every value: what `schema` gives."""
        return self.schema(stream)

    def prepare(self, streams: Sequence[StreamSpec]) -> None:
        """Look up what the streams' names mean, by a handful of queries for all of them."""
        self._streams.prepare(streams)

    def partitions(self, stream: StreamSpec, state: State | None) -> Sequence[Partition]:
        """Give one: sessions that read side by side see one image of the database, inside of `read`."""
        return self._streams.partitions(stream, state)

    def warnings(self, stream: StreamSpec) -> Sequence[str]:
        """Say what reading leaves out without an error."""
        return self._streams.warnings(stream)

    def fingerprint(self, stream: StreamSpec) -> str | None:  # noqa: ARG002  it is the database's
        """Know the source by the server's own identifier and the database: another address is the same source."""
        return self._streams.fingerprint()

    def read(self, stream: StreamSpec, partition: Partition, state: State | None) -> Iterator[Message]:  # noqa: ARG002
        """Read the stream; its state follows the last row."""
        return self._streams.read(stream, state)

    def close(self) -> None:
        """End what is being read, and let go of the connections."""
        for checks in self._checks:
            checks.close()
        self._checks = []
        if self._opened is not None:
            self._opened.close()
        self._opened = None

    @property
    def _streams(self) -> DatabaseStreams[Any, Any, Any]:
        if self._opened is None:
            self._opened = self._open_streams()
        return self._opened
