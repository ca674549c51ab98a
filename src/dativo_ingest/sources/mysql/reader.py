"""The MySQL source as the engine sees it; PyMySQL is imported when the server is first asked for something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dativo_ingest.mysql.connection import parse_access
from dativo_ingest.mysql.failures import require_pymysql
from dativo_ingest.sources.mysql.options import MysqlSourceOptions, options_of
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
    parse,
)

if TYPE_CHECKING:
    from dativo_ingest.mysql.sessions import Session
    from dativo_ingest.sources.mysql.checks import Checks
    from dativo_ingest.sources.mysql.selection import Selection
    from dativo_ingest.sources.mysql.streams import Streams


class MysqlReader(StreamReader):
    """Reads a MySQL or MariaDB server; a stream is a table or a view by its name, or a query.

    Args:
        config: ``connection`` and ``credentials`` as `dativo_ingest.mysql.connection` has them, ``options`` as
            `dativo_ingest.sources.mysql.options` has them.

    Raises:
        InvalidConfigError: A key or value is wrong.
    """

    capabilities = frozenset({Capability.CURSOR_RANGE, Capability.INCREMENTAL, Capability.KEYS, Capability.WATERMARK})

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self._access = parse_access(config.connection, config.credentials, end="source")
        parse(MysqlSourceOptions, config.options, where="source.options")
        self._opened: Streams | None = None
        self._checks: list[Checks] = []

    def check(self, streams: Sequence[StreamSpec]) -> Sequence[Check]:
        """List the steps from the server's name to a row of each stream.

        Raises:
            ResourceNotFoundError: The package PyMySQL is not installed.
        """
        require_pymysql("the mysql source")
        from dativo_ingest.sources.mysql.checks import Checks  # noqa: PLC0415  seen to be there by now
        from dativo_ingest.sources.mysql.selection import selection_of  # noqa: PLC0415

        def selected(session: Session, stream: StreamSpec) -> Selection:
            return selection_of(session, stream, options_of(stream, self.config.options))

        self._checks.append(checks := Checks(self._access, streams, selected))
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

    def fingerprint(self, stream: StreamSpec) -> str | None:  # noqa: ARG002  it is the server's
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
    def _streams(self) -> Streams:
        if self._opened is None:
            require_pymysql("the mysql source")
            from dativo_ingest.sources.mysql.streams import Streams  # noqa: PLC0415  seen to be there by now

            self._opened = Streams(self._access.parameters, self.config.options)
        return self._opened
