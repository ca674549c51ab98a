"""The Postgres source as the engine sees it; psycopg is imported when the server is first asked for something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dativo_ingest.databases.reader import DatabaseReader
from dativo_ingest.postgres.connection import parse_access
from dativo_ingest.postgres.failures import require_psycopg
from dativo_ingest.sources.postgres.options import PostgresSourceOptions, options_of
from dativo_plugin_sdk import SourceConfig, StreamSpec, parse

if TYPE_CHECKING:
    from dativo_ingest.postgres.sessions import Session
    from dativo_ingest.sources.postgres.checks import Checks
    from dativo_ingest.sources.postgres.selection import Selection
    from dativo_ingest.sources.postgres.streams import Streams


class PostgresReader(DatabaseReader):
    """Reads a Postgres database; a stream is a table or a view by its name, or a query.

    Args:
        config: ``connection`` and ``credentials`` as `dativo_ingest.postgres.connection` has them, ``options`` as
            `dativo_ingest.sources.postgres.options` has them.

    Raises:
        InvalidConfigError: A key or value is wrong.
    """

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self._access = parse_access(config.connection, config.credentials, end="source", job=config.engine.get("job"))
        parse(PostgresSourceOptions, config.options, where="source.options")

    def _open_streams(self) -> Streams:
        require_psycopg("the postgres source")
        from dativo_ingest.sources.postgres.streams import Streams  # noqa: PLC0415  seen to be there by now

        return Streams(self._access.parameters(), self.config.options)

    def _make_checks(self, streams: Sequence[StreamSpec]) -> Checks:
        require_psycopg("the postgres source")
        from dativo_ingest.postgres.way_in import way_in  # noqa: PLC0415  seen to be there by now
        from dativo_ingest.sources.postgres.checks import Checks  # noqa: PLC0415
        from dativo_ingest.sources.postgres.selection import selection_of  # noqa: PLC0415

        def selected(session: Session, stream: StreamSpec) -> Selection:
            return selection_of(session, stream, options_of(stream, self.config.options))

        return Checks(way_in(self._access, Checks.failures), streams, selected)
