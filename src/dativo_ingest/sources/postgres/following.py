"""One incremental run of a stream that follows a column: what is new, and where the run stops."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from dativo_ingest.databases.cursor_state import CursorState, Highest, Pending, follows_as_arrow
from dativo_ingest.databases.open_transactions import OpenTransaction, told_of
from dativo_ingest.databases.settling import Waiting, settle
from dativo_ingest.postgres.names import quoted
from dativo_ingest.postgres.sessions import Session, ask, value
from dativo_ingest.sources.postgres.copy_rows import ReadColumn
from dativo_ingest.sources.postgres.cursor_conditions import below_infinity, beyond, going_back
from dativo_ingest.sources.postgres.open_transactions import begun, drawers, parts_of, prepared, still_open
from dativo_ingest.sources.postgres.options import PostgresSourceOptions
from dativo_ingest.sources.postgres.relations import Column
from dativo_ingest.sources.postgres.selection import Selection, literal
from dativo_ingest.sources.postgres.sequences import sequences_of
from dativo_ingest.sources.postgres.uuids import follows_time, lowest_at
from dativo_ingest.sources.postgres.watermark import is_time, moment, upper_bound
from dativo_plugin_sdk import InvalidConfigError, State, StreamSpec

_STANDBY = "SELECT pg_catalog.pg_is_in_recovery()"
_SUBSCRIBED = "SELECT EXISTS (SELECT FROM pg_catalog.pg_subscription_rel WHERE srrelid = ANY ($1::int8[]::oid[]))"


@dataclass
class Followed:
    """What a run follows, and by what rules.

    Args:
        session: A session with no transaction under way, before the image that is read is taken.
        stream: The stream.
        column: The cursor.
        selection: All of the stream.
        options: The stream's options.
        stop: Set to end what waits.
    """

    session: Session
    stream: StreamSpec
    column: Column
    selection: Selection
    options: PostgresSourceOptions
    stop: threading.Event

    def __post_init__(self) -> None:
        """Find out which tables are read."""
        relation = self.selection.relation
        has_parts = relation is not None and relation.has_versions
        self.parts = parts_of(self.session, relation.oid) if has_parts and relation is not None else None


class Following:
    """What a run reads of a stream that follows a column, and the state it comes to.

    Args:
        followed: What it follows.
        columns: What is read of it.
        state: Where the last run stopped.

    Attributes:
        selection: The stream's rows that are new.
        warnings: What the report must say.

    Raises:
        DatabaseLockError: A transaction has held the stream back for longer than it may.
        InvalidConfigError: New rows cannot be found by the column.
    """

    def __init__(self, followed: Followed, columns: Sequence[ReadColumn], state: CursorState | None) -> None:
        self._followed = followed
        self._state = state
        self._column = column = followed.column
        self._cursor = None if state is None else state.cursor
        self._pending: Pending | None = None
        self._highest: Highest | None = None
        everything = followed.selection.where(*below_infinity(followed.session, column))
        self._new = everything if self._cursor is None else everything.where(beyond(column, self._cursor))
        self.warnings = [*_doubts(followed), *(_without_cursor(followed) if state is None else ())]
        lookback = followed.stream.watermark.lookback
        before = self._cursor
        limit = self._limit(columns)
        if before is None or lookback is None:
            self.selection = self._new.where(limit or "false")
        else:
            again = going_back(followed.stream, column, before)
            self.selection = everything.where(again, limit or f"NOT {beyond(column, before)}")

    def see(self, batch: pa.RecordBatch) -> None:
        """Take note of rows that were read."""
        if self._highest is not None:
            self._highest.see(batch)

    def reached(self) -> State | None:
        """Give the state after the last row; None where there is nothing to know."""
        highest = None if self._highest is None else self._highest.as_json
        cursor = self._cursor if highest is None else highest
        if cursor is None and self._pending is None:
            return None
        return CursorState(self._column.name, cursor, self._pending).to_json()

    def _limit(self, columns: Sequence[ReadColumn]) -> str | None:
        """Find how far to read, and write it as a condition; None where nothing new can be read."""
        column = self._column
        if is_time(column):
            return self._before(self._settled_moment(), columns)
        highest = _highest(self._followed.session, column, self._new)
        if highest is None:
            self._pending = None if self._state is None else self._state.pending
            return None
        if column.source_type == "uuid" and (
            column.is_uuid7 or follows_time(self._followed.stream.name, column.name, highest)
        ):
            return self._before(self._settled_moment(), columns)
        if self._followed.stream.watermark.lag:
            raise InvalidConfigError(
                f"stream {self._followed.stream.name}: lag is a time, and the cursor {column.name} is none",
                hint="leave lag out: the transactions that have drawn numbers are waited for",
            )
        bound = self._settled_value(highest)
        if bound is None:
            return None
        self._cursor = bound
        return f"{quoted(column.name)} <= {literal(bound, column.source_type)}"

    def _before(self, end: str | None, columns: Sequence[ReadColumn]) -> str | None:
        """Ask for what is before a value, and see to it that the highest of that will be known."""
        column = self._column
        if end is None:
            return None
        limit = f"{quoted(column.name)} < {end}"
        as_arrow = any(each.name == column.name and not each.as_text for each in columns)
        if as_arrow and follows_as_arrow(column.native.arrow):
            before = self._cursor if self._followed.stream.watermark.lookback is not None else None
            self._highest = Highest(column.name, column.native.arrow, before)
            return limit
        highest = _highest(self._followed.session, column, self._new.where(limit))
        self._cursor = self._cursor if highest is None else highest
        return (
            limit if highest is None else f"{limit} AND {quoted(column.name)} <= {literal(highest, column.source_type)}"
        )

    def _settled_moment(self) -> str | None:
        followed, column = self._followed, self._column
        watermark = followed.stream.watermark
        bound = upper_bound(
            followed.session, watermark.lag, parts=followed.parts, readers=followed.options.read_only_applications
        )
        self.warnings += bound.warnings
        if is_time(column) and self._cursor is not None:
            self.warnings += _clock_set_back(followed, self._cursor)
        self.warnings += told_of(followed.stream.name, bound.holding, watermark.max_lag)
        settled = self._settle(bound.before.astimezone(UTC).isoformat(), bound.waits)
        if settled is None:
            return None
        before = datetime.fromisoformat(settled)
        if is_time(column):
            return moment(followed.session, before, column, followed.options.time_zone)
        return literal(lowest_at(before), "uuid")

    def _settled_value(self, highest: str) -> str | None:
        """Find how far to read a column that is no time: what has drawn a number may commit it after higher ones."""
        followed, column = self._followed, self._column
        session = followed.session
        if value(session, _STANDBY):
            self.warnings.append(
                "a standby does not know which transactions are open on the primary: rows that commit late may be"
                " missed; read the primary, or follow xmin"
            )
            return highest
        sequences = sequences_of(session, followed.parts, column.name) if followed.parts else []
        if sequences:
            self.warnings += [text for each in sequences for text in each.doubts(column.name)]
            waits = drawers(session, [each.oid for each in sequences])
        else:
            self.warnings.append(
                f"no sequence fills {column.name}: rows may be missed where a later transaction writes a lower value"
            )
            readers = followed.options.read_only_applications
            waits = [each.transaction for each in begun(session, readers) if each.transaction.id]
            waits += prepared(session, followed.parts)
        found: str | None = self._settle(highest, waits)
        return found

    def _settle(self, candidate: str, waits: Sequence[OpenTransaction]) -> Any:
        followed = self._followed
        settled = settle(
            candidate,
            frozenset(each.id for each in waits),
            None if self._state is None else self._state.pending,
            Waiting(
                lambda ids: still_open(followed.session, ids, followed.parts),
                followed.stop.wait,
                followed.options.writers_timeout_s,
            ),
        )
        self._pending = settled.pending
        if settled.pending is not None:
            left = [each for each in waits if each.id in settled.pending.waits]
            self.warnings += told_of(followed.stream.name, left, followed.stream.watermark.max_lag, waited=True)
        return settled.bound


def _highest(session: Session, column: Column, selection: Selection) -> str | None:
    name = quoted(column.name)
    rows = f"SELECT {name} {selection.rest(f'{name} IS NOT NULL')} ORDER BY {name} DESC LIMIT 1"
    found = value(session, f"SELECT {name}::text FROM ({rows}) AS highest")  # noqa: S608  quoted
    return None if found is None else str(found)


def _doubts(followed: Followed) -> Iterator[str]:
    """Say where rows come from elsewhere, so that the transactions here say nothing of them."""
    relation, name = followed.selection.relation, followed.column.name
    if followed.parts is not None and value(followed.session, _SUBSCRIBED, followed.parts):
        yield (
            f"{followed.selection.title} is filled by a subscription, in the order of another server: rows may be"
            f" missed by cursor {name}; follow xmin"
        )
    if relation is not None and relation.kind in {"materialized view", "foreign table"}:
        yield (
            f"{followed.selection.title} is a {relation.kind}, whose rows appear later than they are written: some may"
            f" be missed by cursor {name}"
        )


def _clock_set_back(followed: Followed, cursor: Any) -> Iterator[str]:
    column = followed.column
    ((now,),) = ask(followed.session, "SELECT clock_timestamp()")
    at = moment(followed.session, now, column, followed.options.time_zone)
    if value(followed.session, f"SELECT {literal(cursor, column.source_type)} > {at}"):
        yield (
            f"the server's clock is before {cursor}, which was read already: it was set back, and rows that are written"
            " until it gets there are missed; lookback reads them"
        )


def _without_cursor(followed: Followed) -> Iterator[str]:
    """Tell of rows that are never read."""
    session, column = followed.session, followed.column
    name = quoted(column.name)
    absent = [f"{name} IS NULL"] if column.nullable else []
    absent += [f"NOT {condition}" for condition in below_infinity(session, column)]
    absent += [f"{name} = 'infinity'"] if is_time(column) else []
    if absent and value(session, f"SELECT EXISTS (SELECT {followed.selection.rest(' OR '.join(absent))})"):
        yield f"rows whose {column.name} is null or infinite are not read: nobody can say whether they are new"
