"""The streams of one Postgres database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg

from dativo_ingest.databases.cursor_state import CursorState
from dativo_ingest.databases.streams import DatabaseStreams, News
from dativo_ingest.postgres.servers import same_server
from dativo_ingest.postgres.sessions import Session, let_go, place_of, value
from dativo_ingest.sources.postgres import discovery
from dativo_ingest.sources.postgres.cursor_conditions import range_conditions
from dativo_ingest.sources.postgres.failures import FAILURES
from dativo_ingest.sources.postgres.followed import PostgresCursor
from dativo_ingest.sources.postgres.options import PostgresSourceOptions, options_of
from dativo_ingest.sources.postgres.reading import Reading
from dativo_ingest.sources.postgres.relations import XMIN, Relation
from dativo_ingest.sources.postgres.selection import Selection, selection_of
from dativo_ingest.sources.postgres.snapshots import open_session
from dativo_ingest.sources.postgres.transaction_ids import FollowingIds, require_versions
from dativo_plugin_sdk import StreamSpec
from dativo_plugin_sdk.fingerprints import fingerprint

_IDENTIFIER = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"


class Streams(DatabaseStreams[Session, Relation, Selection]):
    """What can be read of a database, for one run and one thread.

    Args:
        parameters: What libpq is told.
        options: The source's options, which a stream's own go before.
    """

    failures = FAILURES
    discovery = discovery

    def __init__(self, parameters: Mapping[str, str], options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._parameters = parameters
        self._place = place_of(parameters)

    def _open(self) -> Session:
        session = open_session(self._parameters)
        self._parameters = same_server(session, self._parameters)
        return session

    def _is_open(self, session: Session) -> bool:
        return not session.closed

    def _let_go(self, session: Session) -> None:
        let_go(session)

    def _doubts(self, relation: Relation) -> Iterable[str]:
        return discovery.doubts(relation, self._session().info.user)

    def _identify(self, session: Session) -> str:
        with FAILURES.translated(self._place):
            try:
                cluster = value(session, _IDENTIFIER)
            except psycopg.errors.InsufficientPrivilege:
                cluster = self._place
        return fingerprint(cluster, session.info.dbname)

    def _options(self, stream: StreamSpec) -> PostgresSourceOptions:
        return options_of(stream, self._written)

    def _select(self, session: Session, stream: StreamSpec, known: Relation | None) -> Selection:
        return selection_of(session, stream, self._options(stream), known)

    def _require_followable(self, stream: StreamSpec, selection: Selection) -> None:
        if stream.cursor == XMIN:
            require_versions(self._session(), stream, selection)
        else:
            super()._require_followable(stream, selection)

    def _news(self, stream: StreamSpec, selection: Selection, state: CursorState | None) -> News:
        if stream.cursor != XMIN:
            return super()._news(stream, selection, state)
        with FAILURES.translated(stream.name):
            return FollowingIds(self._session(), stream, selection, state, self.fingerprint())

    def _followed(self, session: Session, stream: StreamSpec, selection: Selection) -> PostgresCursor:
        return PostgresCursor(session, stream, selection, self._options(stream))

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
