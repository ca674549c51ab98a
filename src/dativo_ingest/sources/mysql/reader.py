"""The MySQL source as the engine sees it; PyMySQL is imported when the server is first asked for something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dativo_ingest.databases.reader import DatabaseReader
from dativo_ingest.mysql.connection import parse_access
from dativo_ingest.mysql.failures import require_pymysql
from dativo_ingest.sources.mysql.options import MysqlSourceOptions, options_of
from dativo_plugin_sdk import SourceConfig, StreamSpec, parse

if TYPE_CHECKING:
    from dativo_ingest.mysql.sessions import Session
    from dativo_ingest.sources.mysql.checks import Checks
    from dativo_ingest.sources.mysql.selection import Selection
    from dativo_ingest.sources.mysql.streams import Streams


class MysqlReader(DatabaseReader):
    """Reads a MySQL or MariaDB server; a stream is a table or a view by its name, or a query.

    Args:
        config: ``connection`` and ``credentials`` as `dativo_ingest.mysql.connection` has them, ``options`` as
            `dativo_ingest.sources.mysql.options` has them.

    Raises:
        InvalidConfigError: A key or value is wrong.
    """

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self._access = parse_access(config.connection, config.credentials, end="source")
        parse(MysqlSourceOptions, config.options, where="source.options")

    def _open_streams(self) -> Streams:
        require_pymysql("the mysql source")
        from dativo_ingest.sources.mysql.streams import Streams  # noqa: PLC0415  seen to be there by now

        return Streams(self._access.parameters, self.config.options)

    def _make_checks(self, streams: Sequence[StreamSpec]) -> Checks:
        require_pymysql("the mysql source")
        from dativo_ingest.mysql.way_in import way_in  # noqa: PLC0415  seen to be there by now
        from dativo_ingest.sources.mysql.checks import Checks  # noqa: PLC0415
        from dativo_ingest.sources.mysql.selection import selection_of  # noqa: PLC0415

        def selected(session: Session, stream: StreamSpec) -> Selection:
            return selection_of(session, stream, options_of(stream, self.config.options))

        return Checks(way_in(self._access, Checks.failures), streams, selected)
