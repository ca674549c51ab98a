"""The streams of one Postgres database, with the sessions that serve them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import psycopg
import pyarrow as pa

from dativo_ingest.databases.cursor_state import CursorState
from dativo_ingest.databases.following import Following
from dativo_ingest.databases.settling import Waiting
from dativo_ingest.postgres.servers import same_server
from dativo_ingest.postgres.sessions import Session, let_go, place_of, value
from dativo_ingest.sources.postgres.copy_rows import ReadColumn
from dativo_ingest.sources.postgres.cursor_conditions import cursor_column, range_conditions
from dativo_ingest.sources.postgres.discovery import discover, doubts, find_listed, stream_names
from dativo_ingest.sources.postgres.failures import FAILURES
from dativo_ingest.sources.postgres.followed import PostgresCursor
from dativo_ingest.sources.postgres.options import options_of
from dativo_ingest.sources.postgres.reading import Reading
from dativo_ingest.sources.postgres.relations import XMIN, Relation
from dativo_ingest.sources.postgres.selection import Selection, selection_of
from dativo_ingest.sources.postgres.snapshots import open_session
from dativo_ingest.sources.postgres.transaction_ids import FollowingIds, require_versions
from dativo_plugin_sdk import (
    DataValidationError,
    DiscoveryResult,
    Message,
    Partition,
    State,
    StateChanged,
    StreamSpec,
    Warned,
)
from dativo_plugin_sdk.fingerprints import fingerprint

_IDENTIFIER = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"


class Streams:
    """What can be read of a database, for one run and one thread.

    Args:
        parameters: What libpq is told.
        options: The source's options, which a stream's own go before.
    """

    def __init__(self, parameters: Mapping[str, str], options: Mapping[str, Any]) -> None:
        self._parameters = parameters
        self._place = place_of(parameters)
        self._written = options
        self._shared: Session | None = None
        self._reading: Reading | None = None
        self._selections: dict[str, Selection] = {}
        self._relations: dict[str, Relation] = {}
        self._identity: str | None = None
        self._stop = threading.Event()

    def discover(self, pattern: str | None = None) -> DiscoveryResult:
        """List the tables and views that the user may read."""
        with FAILURES.translated("discover"):
            return discover(self._session(), pattern)

    def names(self) -> list[str]:
        """List the tables and views that the user may read."""
        with FAILURES.translated("discover"):
            return stream_names(self._session())

    def prepare(self, streams: Sequence[StreamSpec]) -> None:
        """Look up what the streams' names mean, by a handful of queries for all of them."""
        with FAILURES.translated("discover"):
            names = [stream.name for stream in streams if "query" not in stream.options]
            self._relations.update(find_listed(self._session(), names))

    def schema(self, stream: StreamSpec) -> pa.Schema:
        """Give the columns that the stream selects, of the types that keep every value."""
        return pa.schema([column.field for column in self._selection(stream).columns])

    def partitions(self, stream: StreamSpec, state: State | None) -> Sequence[Partition]:
        """Give one: what is read side by side shares one image, and is one message to the engine."""
        selection = self._selection(stream)
        relation = selection.relation
        if stream.mode == "incremental":
            require_followable(self._session(), stream, selection)
            CursorState.of(stream, state)
        whole = relation is not None and not selection.conditions and stream.mode == "full_refresh"
        return [Partition(stream.name, rows=relation.rows if whole and relation is not None else None)]

    def warnings(self, stream: StreamSpec) -> Sequence[str]:
        """Say what reading leaves out without an error."""
        relation = self._selection(stream).relation
        return [] if relation is None else list(doubts(relation, self._session().info.user))

    def fingerprint(self) -> str:
        """Know the source by the cluster and the database."""
        if self._identity is None:
            session = self._session()
            with FAILURES.translated(self._place):
                try:
                    cluster = value(session, _IDENTIFIER)
                except psycopg.errors.InsufficientPrivilege:
                    cluster = self._place
            self._identity = fingerprint(cluster, session.info.dbname)
        return self._identity

    def read(self, stream: StreamSpec, state: State | None) -> Iterator[Message]:
        """Read the stream; the state follows its last row.

        Raises:
            DativoError: The server or the connection failed; trying again helps where the error says so.
        """
        selection = self._selection(stream)
        options = options_of(stream, self._written)
        yield from self._note_extra_columns(stream, selection)
        columns = selection.read_as(stream.schema)
        following: Following | FollowingIds | None = None
        if stream.mode == "incremental":
            if stream.cursor_from is not None or stream.cursor_to is not None:
                require_followable(self._session(), stream, selection)
                selection = selection.where(*range_conditions(stream, cursor_column(stream, selection)))
            else:
                following = self._following(stream, selection, columns, CursorState.of(stream, state))
                yield from (Warned(text) for text in following.warnings)
                selection = selection.where(*following.conditions)
        self._reading = Reading(
            self._parameters,
            selection,
            columns,
            options,
            parallelism=stream.parallelism,
            batch_bytes=stream.batch_bytes,
        )
        with closing(self._reading.rows()) as found:
            for rows in found:
                if following is not None:
                    following.see(rows.batch)
                yield rows
        yield from (Warned(text) for text in self._reading.warnings)
        if following is not None and (reached := following.reached()) is not None:
            yield StateChanged(reached)

    def close(self) -> None:
        """End what is being read, and let go of connections; may be called twice."""
        self._stop.set()
        if self._reading is not None:
            self._reading.cancel()
        if self._shared is not None:
            let_go(self._shared)
        self._shared = None

    def _following(
        self, stream: StreamSpec, selection: Selection, columns: Sequence[ReadColumn], state: CursorState | None
    ) -> Following | FollowingIds:
        """Find out what is new, before the image that is read is taken."""
        session = self._session()
        with FAILURES.translated(stream.name):
            if stream.cursor == XMIN:
                return FollowingIds(session, stream, selection, state, self.fingerprint())
            column, options = cursor_column(stream, selection), options_of(stream, self._written)
            followed = PostgresCursor(session, stream, column, selection, options)
            as_arrow = any(each.name == column.name and not each.as_text for each in columns)
            waiting = Waiting(followed.still_open, self._stop.wait, options.writers_timeout_s)
            return Following(followed, stream, state, as_arrow=as_arrow, waiting=waiting)

    def _note_extra_columns(self, stream: StreamSpec, selection: Selection) -> Iterator[Message]:
        known = {column.name for column in selection.columns} if stream.schema is None else set(stream.schema.names)
        extra = [column.name for column in selection.columns if column.name not in known]
        if not extra or stream.columns is not None:
            return
        text = f"{selection.title} has columns that are not in the schema: {', '.join(extra)}"
        if options_of(stream, self._written).extra_columns == "fail":
            raise DataValidationError(text, hint="add them to the contract, or set extra_columns: ignore")
        yield Warned(f"{text}; they are left out")

    def _selection(self, stream: StreamSpec) -> Selection:
        found = self._selections.get(stream.name)
        if found is None:
            with FAILURES.translated(stream.name):
                known = self._relations.pop(stream.name, None)
                found = selection_of(self._session(), stream, options_of(stream, self._written), known)
            self._selections[stream.name] = found
        return found

    def _session(self) -> Session:
        if self._shared is None or self._shared.closed:
            self._shared = open_session(self._parameters)
            self._parameters = same_server(self._shared, self._parameters)
        return self._shared


def require_followable(session: Session, stream: StreamSpec, selection: Selection) -> None:
    """See to it that the stream has what it follows.

    Raises:
        InvalidConfigError: It has not.
    """
    if stream.cursor == XMIN:
        require_versions(session, stream, selection)
    else:
        cursor_column(stream, selection)
