"""Following ``xmin``: the id of the transaction that wrote a row's version, which every change of a row changes.

A run reads what was written by transactions from the last run's horizon on, up to the oldest transaction that has an id
and is open: ids below that are of transactions that have ended. So each version is read once, in whatever order
transactions commit, and readers hold nothing back. Rows have the last 32 bits of an id; the state has all 64.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from dativo_ingest.databases.cursor_state import CursorState
from dativo_ingest.databases.open_transactions import told_of
from dativo_ingest.postgres.sessions import Session, value
from dativo_ingest.sources.postgres.open_transactions import of_xid
from dativo_ingest.sources.postgres.relations import XMIN
from dativo_ingest.sources.postgres.selection import Selection
from dativo_plugin_sdk import DataError, InvalidConfigError, State, StreamSpec

_HORIZON = "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::int8"
_FIRST_VERSION = 130000
_IDS = 2**32
_LONGEST = 2**31
_WORTH_A_COMMIT = 10**7
"""So many ids later a state is written although there were no rows."""
_OF_ROW = "xmin::text::int8"
_LAST_SPECIAL = 2
"""Ids up to this are no transactions': rows of very old tables have them."""


@dataclass
class FollowingIds:
    """What a run reads of a table whose row versions it follows, and the state it comes to.

    Args:
        session: A session with no transaction under way, before the image that is read is taken.
        stream: The stream.
        selection: All of it.
        state: Where the last run stopped.
        server: What the server is known by: ids of another mean nothing.

    Raises:
        DatabaseLockError: A transaction has held the stream back for longer than it may.
        DataError: The state is of another server, or so old that ids have come around since.
        InvalidConfigError: The stream has no row versions, or other settings make no sense with them.
    """

    session: Session
    stream: StreamSpec
    selection: Selection
    state: CursorState | None
    server: str

    def __post_init__(self) -> None:
        """Find out what is new."""
        require_versions(self.session, self.stream, self.selection)
        self._seen = False
        self._first = None if self.state is None else _first_id(self.stream, self.state, self.server)
        self._end = int(value(self.session, _HORIZON))
        holding = [each for each in of_xid(self.session, self._end) if each.age_s is not None]
        self.warnings = told_of(self.stream.name, holding, self.stream.watermark.max_lag)
        self.conditions = (self._condition(),)

    def see(self, batch: pa.RecordBatch) -> None:
        """Take note of rows that were read."""
        self._seen = self._seen or bool(batch.num_rows)

    def reached(self) -> State | None:
        """Give the state after the last row; None where it can stay as it was."""
        if self._first is not None and not self._seen and self._end - self._first < _WORTH_A_COMMIT:
            return None
        return CursorState(XMIN, {"xid": self._end, "server": self.server}).to_json()

    def _condition(self) -> str:
        if self._first is None:
            # Rows frozen long ago have ids of any height: all are read but those that the next run reads.
            later = "(SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::int8)"
            return f"{_OF_ROW} <= {_LAST_SPECIAL} OR {_distance(self._end)} >= {later} - {self._end}"
        if self._end < self._first:
            raise DataError(
                f"stream {self.stream.name}: transaction ids went back from {self._first} to {self._end}: the"
                " server was restored to an earlier time",
                hint="run with --full-refresh",
            )
        if self._end - self._first >= _LONGEST:
            raise DataError(
                f"stream {self.stream.name}: {self._end - self._first} transactions have passed since the last run, and"
                " the ids of rows cannot tell any more which are new",
                hint="run with --full-refresh",
            )
        return written_between(self._first, self._end)


def written_between(first: int, end: int) -> str:
    """Ask for rows that were written by transactions from one on and before another."""
    return f"{_OF_ROW} > {_LAST_SPECIAL} AND {_distance(first)} < {end - first}"


def require_versions(session: Session, stream: StreamSpec, selection: Selection) -> None:
    """See to it that row versions can be followed.

    Raises:
        InvalidConfigError: They cannot.
    """
    relation = selection.relation
    if relation is None or not relation.has_versions:
        what = "a query" if relation is None else f"a {relation.kind}"
        raise InvalidConfigError(
            f"stream {stream.name}: {what} has no xmin, which is the version of a table's row",
            hint="follow a column, or read the table",
        )
    if session.info.server_version < _FIRST_VERSION:
        raise InvalidConfigError(f"stream {stream.name}: following xmin takes Postgres 13 or later")
    for name, setting in (("lag", stream.watermark.lag), ("lookback", stream.watermark.lookback)):
        if setting:
            raise InvalidConfigError(
                f"stream {stream.name}: {name} is for values that commit out of order, and xmin has none: leave it out"
            )
    if stream.cursor_from is not None or stream.cursor_to is not None:
        raise InvalidConfigError(f"stream {stream.name}: --from and --to are values of a column, and xmin is none")


def _first_id(stream: StreamSpec, state: CursorState, server: str) -> int:
    if state.cursor["server"] != server:
        raise DataError(
            f"stream {stream.name}: the state's transaction ids are of another server, and mean nothing on this one",
            hint="run with --full-refresh",
        )
    return int(state.cursor["xid"])


def _distance(xid: int) -> str:
    """Count how many ids after this one a row's is, around the end of the numbers if need be."""
    return f"(({_OF_ROW} - {xid % _IDS}) & {_IDS - 1})"
