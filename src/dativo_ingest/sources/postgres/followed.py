"""The column that a stream follows, as Postgres sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from dativo_ingest.databases.following import FollowedCursor, Holders, UpperBound
from dativo_ingest.databases.uuids import follows_time, lowest_at
from dativo_ingest.postgres.names import quoted
from dativo_ingest.postgres.sessions import Session, value
from dativo_ingest.sources.postgres.cursor_conditions import below_infinity, going_back
from dativo_ingest.sources.postgres.open_transactions import begun, drawers, parts_of, prepared, still_open
from dativo_ingest.sources.postgres.options import PostgresSourceOptions
from dativo_ingest.sources.postgres.selection import Selection, literal
from dativo_ingest.sources.postgres.sequences import sequences_of
from dativo_ingest.sources.postgres.watermark import STANDBY_DOUBT, moment, upper_bound
from dativo_plugin_sdk import StreamSpec

_NOW = "SELECT clock_timestamp()"
_STANDBY = "SELECT pg_catalog.pg_is_in_recovery()"
_SUBSCRIBED = "SELECT EXISTS (SELECT FROM pg_catalog.pg_subscription_rel WHERE srrelid = ANY ($1::int8[]::oid[]))"


class PostgresCursor(FollowedCursor[Session, Selection, PostgresSourceOptions]):
    """A column of a Postgres database."""

    def __init__(
        self, session: Session, stream: StreamSpec, selection: Selection, options: PostgresSourceOptions
    ) -> None:
        super().__init__(session, stream, selection, options)
        self.conditions = below_infinity(session, self._column)
        relation = selection.relation
        has_parts = relation is not None and relation.has_versions
        self._parts = parts_of(session, relation.oid) if has_parts and relation is not None else None

    def begins_with_time(self, highest: str) -> bool:
        """Say whether the column has uuids of version 7."""
        column = self._column
        if column.source_type != "uuid":
            return False
        return column.is_uuid7 or follows_time(self._stream.name, column.name, highest)

    def upper_bound(self, lag: timedelta) -> UpperBound:
        """Find how far times may be read."""
        return upper_bound(self._session, lag, parts=self._parts, readers=self._options.read_only_applications)

    def holders(self) -> Holders:
        """List who has drawn from the column's sequences; where it has none, all that is open."""
        session, column = self._session, self._column
        if value(session, _STANDBY):
            return Holders(warnings=(STANDBY_DOUBT,))
        sequences = sequences_of(session, self._parts, column.name) if self._parts else []
        if sequences:
            told = [text for each in sequences for text in each.doubts(column.name)]
            return Holders(tuple(drawers(session, [each.oid for each in sequences])), tuple(told))
        readers = self._options.read_only_applications
        waits = [each.transaction for each in begun(session, readers) if each.transaction.id]
        told = [f"no sequence fills {column.name}: rows may be missed where a later transaction writes a lower value"]
        return Holders((*waits, *prepared(session, self._parts)), tuple(told))

    def still_open(self, ids: frozenset[str]) -> frozenset[str]:
        """Give those of the transactions that have not ended."""
        return still_open(self._session, ids, self._parts)

    def highest(self, conditions: Sequence[str]) -> str | None:
        """Find the highest value, in the order that the database has."""
        name = self._quoted
        rows = f"SELECT {name} {self._selection.rest(*conditions, f'{name} IS NOT NULL')} ORDER BY {name} DESC LIMIT 1"
        found = value(self._session, f"SELECT {name}::text FROM ({rows}) AS highest")  # noqa: S608  quoted
        return None if found is None else str(found)

    def from_earlier(self, cursor: Any, lookback: timedelta | int) -> str:
        """Ask for rows from so much before a value on."""
        return going_back(self._stream.name, self._column, cursor, lookback)

    def doubts(self, cursor: Any) -> Iterator[str]:
        """Say where rows come from elsewhere, so that the transactions here say nothing of them."""
        relation, name = self._selection.relation, self.name
        if self._parts is not None and value(self._session, _SUBSCRIBED, self._parts):
            yield (
                f"{self._selection.title} is filled by a subscription, in the order of another server: rows may be"
                f" missed by cursor {name}; follow xmin"
            )
        if relation is not None and relation.kind in {"materialized view", "foreign table"}:
            yield (
                f"{self._selection.title} is a {relation.kind}, whose rows appear later than they are written: some may"
                f" be missed by cursor {name}"
            )
        if self.is_time and cursor is not None:
            yield from self._clock_set_back(cursor)

    def unread(self) -> Iterator[str]:
        """Tell of rows that are never read."""
        name = self._quoted
        absent = [f"{name} IS NULL"] if self._column.nullable else []
        absent += [f"NOT {condition}" for condition in self.conditions]
        absent += [f"{name} = 'infinity'"] if self.is_time else []
        if absent and value(self._session, f"SELECT EXISTS (SELECT {self._selection.rest(' OR '.join(absent))})"):
            yield f"rows whose {self.name} is null or infinite are not read: nobody can say whether they are new"

    def _clock_set_back(self, cursor: Any) -> Iterator[str]:
        now = self._written(value(self._session, _NOW))
        if value(self._session, f"SELECT {self._literal(cursor)} > {now}"):
            yield (
                f"the server's clock is before {cursor}, which was read already: it was set back, and rows that are"
                " written until it gets there are missed; lookback reads them"
            )

    @property
    def _quoted(self) -> str:
        return quoted(self.name)

    def _literal(self, cursor: Any) -> str:
        return literal(cursor, self._column.source_type)

    def _written(self, at: datetime) -> str:
        if self.is_time:
            return moment(self._session, at, self._column, self._options.time_zone)
        return literal(lowest_at(at), "uuid")
