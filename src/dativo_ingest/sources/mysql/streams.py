"""The streams of one server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dativo_ingest.databases.streams import DatabaseStreams
from dativo_ingest.mysql.connection import Parameters
from dativo_ingest.mysql.sessions import Session, ask, let_go, set_variables, value
from dativo_ingest.sources.mysql import discovery
from dativo_ingest.sources.mysql.cursor_conditions import range_conditions
from dativo_ingest.sources.mysql.failures import FAILURES
from dativo_ingest.sources.mysql.followed import MysqlCursor
from dativo_ingest.sources.mysql.options import MysqlSourceOptions, options_of
from dativo_ingest.sources.mysql.reading import Reading, limits, open_session
from dativo_ingest.sources.mysql.relations import Relation
from dativo_ingest.sources.mysql.selection import Selection, selection_of
from dativo_plugin_sdk import StreamSpec
from dativo_plugin_sdk.fingerprints import fingerprint

_IDENTIFIERS = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid')"


class Streams(DatabaseStreams[Session, Relation, Selection]):
    """What can be read of a server, for one run and one thread.

    Args:
        parameters: How to get in.
        options: The source's options, which a stream's own go before.
    """

    failures = FAILURES
    discovery = discovery

    def __init__(self, parameters: Parameters, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._parameters = parameters

    def _open(self) -> Session:
        return open_session(self._parameters)

    def _is_open(self, session: Session) -> bool:
        return bool(session.open)

    def _let_go(self, session: Session) -> None:
        let_go(session)

    def _doubts(self, relation: Relation) -> Iterable[str]:
        return discovery.doubts(relation)

    def _identify(self, session: Session) -> str:
        with FAILURES.translated(self._parameters.place):
            known = dict(ask(session, _IDENTIFIERS))
            database = value(session, "SELECT DATABASE()")
        server = known.get("server_uuid") or known.get("server_uid") or self._parameters.server
        return fingerprint(server, database)

    def _options(self, stream: StreamSpec) -> MysqlSourceOptions:
        return options_of(stream, self._written)

    def _select(self, session: Session, stream: StreamSpec, known: Relation | None) -> Selection:
        return selection_of(session, stream, self._options(stream), known)

    def _followed(self, session: Session, stream: StreamSpec, selection: Selection) -> MysqlCursor:
        options = self._options(stream)
        set_variables(session, limits(options))
        return MysqlCursor(session, stream, selection, options)

    def _range(self, stream: StreamSpec, selection: Selection) -> Sequence[str]:
        return range_conditions(stream, selection.followed(stream))

    def _reading(self, stream: StreamSpec, selection: Selection) -> Reading:
        return Reading(
            self._parameters,
            selection,
            selection.read_as(stream.schema),
            self._options(stream),
            parallelism=stream.parallelism,
            batch_bytes=stream.batch_bytes,
        )
