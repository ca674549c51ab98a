"""One incremental run of a stream that follows a column: what is new, how far that is read, where the run stops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import pyarrow as pa

from dativo_ingest.databases.cursor_state import CursorState, Highest, Pending, follows_as_arrow
from dativo_ingest.databases.open_transactions import OpenTransaction, told_of
from dativo_ingest.databases.selection import DatabaseSelection
from dativo_ingest.databases.settling import Waiting, settle
from dativo_ingest.databases.way_in import passed
from dativo_plugin_sdk import ConnectionTestResult, InvalidConfigError, State, StreamSpec

SessionT = TypeVar("SessionT")
SelectionT = TypeVar("SelectionT", bound=DatabaseSelection[Any, Any])
OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True)
class UpperBound:
    """How far times may be read, as far as that is known at once."""

    before: datetime
    """What lies before this moment is there for good, once ``waits`` have ended."""
    holding: tuple[OpenTransaction, ...] = ()
    """The oldest transaction, which the moment is that of."""
    waits: tuple[OpenTransaction, ...] = ()
    """Transactions of which nobody says when they began."""
    warnings: tuple[str, ...] = ()


def open_transactions(bound: UpperBound) -> ConnectionTestResult:
    """Say in a check what an incremental run would leave for the next one, and why."""
    told = [*bound.warnings, *told_of("", bound.holding, None)]
    told += [f"{each.title}, holds back what it has written to; {each.way_out}" for each in bound.waits]
    known = [*bound.holding, *bound.waits]
    details: dict[str, Any] = {"oldest": known[0].who} if known else {}
    if known and known[0].age_s is not None:
        details["age_s"] = round(known[0].age_s)
    if told:
        return passed("; ".join(told), warning=True, **details)
    return passed(f"the oldest is {known[0].title}" if known else "no other transaction is open", **details)


@dataclass(frozen=True)
class Holders:
    """Who may still bring rows with values up to the highest that is there."""

    waits: tuple[OpenTransaction, ...] = ()
    warnings: tuple[str, ...] = ()


class FollowedCursor(ABC, Generic[SessionT, SelectionT, OptionsT]):
    """The column that a stream follows: of a table, a view or a query.

    Args:
        session: A session with no transaction under way, before the image that is read is taken.
        stream: The stream.
        selection: All of the stream.
        options: The stream's options.

    Attributes:
        name: The column's.
        kind: What it becomes.
        conditions: What rows that can be followed meet.

    Raises:
        InvalidConfigError: The stream follows none, or it is not among the columns that are read.
    """

    conditions: tuple[str, ...] = ()

    def __init__(self, session: SessionT, stream: StreamSpec, selection: SelectionT, options: OptionsT) -> None:
        self._session = session
        self._stream = stream
        self._selection = selection
        self._options = options
        self._column = selection.followed(stream)
        self.name = self._column.name
        self.kind = self._column.arrow

    @property
    def is_time(self) -> bool:
        """Say whether its values can be compared with the beginnings of transactions."""
        return pa.types.is_timestamp(self.kind) or pa.types.is_date(self.kind)

    @abstractmethod
    def begins_with_time(self, highest: str) -> bool:
        """Say, by the highest of its values, whether they are uuids that begin with their time.

        Raises:
            InvalidConfigError: They are random.
        """

    @abstractmethod
    def upper_bound(self, lag: timedelta) -> UpperBound:
        """Find how far times may be read."""

    @abstractmethod
    def holders(self) -> Holders:
        """List who may still bring values up to the highest, which was asked for before."""

    @abstractmethod
    def still_open(self, ids: frozenset[str]) -> frozenset[str]:
        """Give those of the transactions that have not ended."""

    @abstractmethod
    def highest(self, conditions: Sequence[str]) -> str | None:
        """Find the highest value of rows that meet conditions, as the state has it."""

    def beyond(self, cursor: Any) -> str:
        """Ask for rows beyond a value."""
        return f"{self._quoted} > {self._literal(cursor)}"

    def up_to(self, cursor: Any) -> str:
        """Ask for rows up to a value, and of it."""
        return f"{self._quoted} <= {self._literal(cursor)}"

    def before(self, moment: datetime) -> str:
        """Ask for rows from before a moment; those of later moments have that value or a higher one."""
        return f"{self._quoted} < {self._written(moment)}"

    @property
    @abstractmethod
    def _quoted(self) -> str:
        """Give the column as SQL names it."""

    @abstractmethod
    def _literal(self, cursor: Any) -> str:
        """Write a value, as the state has it, in SQL."""

    @abstractmethod
    def _written(self, at: datetime) -> str:
        """Write the lowest value of a moment in SQL."""

    @abstractmethod
    def from_earlier(self, cursor: Any, lookback: timedelta | int) -> str:
        """Ask for rows from so much before a value on.

        Raises:
            InvalidConfigError: Nothing of that kind can be taken from a value.
        """

    @abstractmethod
    def doubts(self, cursor: Any) -> Iterable[str]:
        """Say why no watermark is safe here, if there is a reason; ``cursor`` is where the last run stopped."""

    @abstractmethod
    def unread(self) -> Iterable[str]:
        """Tell of rows that are never read."""


class Following:
    """What a run reads, and the state it comes to.

    Args:
        followed: What it follows.
        stream: The stream.
        state: Where the last run stopped.
        as_arrow: Whether the rows that are read have the column, as what it is.
        waiting: How long to wait for others.

    Attributes:
        conditions: What new rows meet.
        warnings: What the report must say.

    Raises:
        DatabaseLockError: A transaction has held the stream back for longer than it may.
        InvalidConfigError: New rows cannot be found by the column.
    """

    def __init__(
        self,
        followed: FollowedCursor[Any, Any, Any],
        stream: StreamSpec,
        state: CursorState | None,
        *,
        as_arrow: bool,
        waiting: Waiting,
    ) -> None:
        self._followed = followed
        self._stream = stream
        self._state = state
        self._as_arrow = as_arrow and follows_as_arrow(followed.kind)
        self._waiting = waiting
        self._cursor = before = None if state is None else state.cursor
        self._pending: Pending | None = None
        self._highest: Highest | None = None
        self.warnings = [*followed.doubts(before), *(followed.unread() if state is None else ())]
        self._new = (*followed.conditions, *(() if before is None else (followed.beyond(before),)))
        limit = self._limit()
        lookback = stream.watermark.lookback
        if before is None or lookback is None:
            self.conditions = (*self._new, limit or "false")
        else:
            first = followed.from_earlier(before, lookback)
            self.conditions = (*followed.conditions, first, limit or followed.up_to(before))

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
        return CursorState(self._followed.name, cursor, self._pending).to_json()

    def _limit(self) -> str | None:
        """Find how far to read, and write it as a condition; None where nothing new can be read."""
        followed = self._followed
        if followed.is_time:
            return self._up_to_moment()
        highest = followed.highest(self._new)
        if highest is None:
            self._pending = None if self._state is None else self._state.pending
            return None
        if followed.begins_with_time(highest):
            return self._up_to_moment()
        if self._stream.watermark.lag:
            raise InvalidConfigError(
                f"stream {self._stream.name}: lag is a time, and the cursor {followed.name} is none",
                hint="leave lag out: the transactions that may bring lower values are waited for",
            )
        value = int(highest) if pa.types.is_integer(followed.kind) else highest
        holders = followed.holders()
        self.warnings += holders.warnings
        bound = self._settled(value, holders.waits)
        if bound is None:
            return None
        self._cursor = bound
        return followed.up_to(bound)

    def _up_to_moment(self) -> str | None:
        watermark = self._stream.watermark
        bound = self._followed.upper_bound(watermark.lag)
        self.warnings += bound.warnings
        self.warnings += told_of(self._stream.name, bound.holding, watermark.max_lag)
        settled = self._settled(bound.before.astimezone(UTC).isoformat(), bound.waits)
        if settled is None:
            return None
        limit = self._followed.before(datetime.fromisoformat(settled))
        if self._as_arrow:
            self._highest = Highest(
                self._followed.name, self._followed.kind, None if watermark.lookback is None else self._cursor
            )
            return limit
        highest = self._followed.highest((*self._new, limit))
        if highest is None:
            return None
        self._cursor = highest
        return f"{limit} AND {self._followed.up_to(highest)}"

    def _settled(self, candidate: Any, waits: Sequence[OpenTransaction]) -> Any:
        pending = None if self._state is None else self._state.pending
        settled = settle(candidate, frozenset(each.id for each in waits), pending, self._waiting)
        self._pending = settled.pending
        if settled.pending is not None:
            left = [each for each in waits if each.id in settled.pending.waits]
            self.warnings += told_of(self._stream.name, left, self._stream.watermark.max_lag, waited=True)
        return settled.bound
