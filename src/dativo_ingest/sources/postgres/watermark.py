"""How far a run that follows times may read without losing rows whose transactions commit later.

A row's time is that of its transaction's beginning (``now()``) or a later one, so rows of a transaction that is open
now may appear later with a time from its beginning on, and no earlier. So a run reads what is older than every open
transaction. Asked before the image that is read is taken: what begins later has later times.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from dativo_ingest.databases.following import UpperBound
from dativo_ingest.postgres.names import quoted
from dativo_ingest.postgres.sessions import Session, ask, value
from dativo_ingest.sources.postgres.open_transactions import begun, prepared
from dativo_ingest.sources.postgres.relations import Column
from dativo_ingest.sources.postgres.selection import literal

# A transaction takes its time a moment before others can see that it has begun, and columns and applications round: to
# the second at most.
_MARGIN = timedelta(seconds=1)

STANDBY_DOUBT = (
    "a standby does not know which transactions are open on the primary: rows that commit late may be missed; read the"
    " primary, or follow xmin"
)

# Others' transactions show to their owner, to superusers and to members of pg_read_all_stats.
_FACTS = """
SELECT statement_timestamp(), pg_catalog.pg_is_in_recovery(),
       coalesce(pg_catalog.pg_last_xact_replay_timestamp(), pg_catalog.pg_postmaster_start_time()),
       pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
"""
_ZONE = "SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'TimeZone'"
# Where clocks are set back within the hour, local times come a second time, and those before that are not over.
_LOCAL = """
SELECT (local.at - greatest(interval '1 hour' - (($1::timestamptz + interval '1 hour') AT TIME ZONE $2 - local.at),
                            interval '0'))::text
FROM (SELECT $1::timestamptz AT TIME ZONE $2) AS local (at)
"""


def upper_bound(
    session: Session, lag: timedelta, *, parts: Sequence[int] | None, readers: Sequence[str] = ()
) -> UpperBound:
    """Find how far to read; to be asked before the image that is read is taken.

    Args:
        session: A session with no transaction under way.
        lag: How much more of the newest rows to leave.
        parts: The tables that are read; None where nobody knows, as of a view.
        readers: The ``application_name`` of sessions that never write.
    """
    ((now, is_standby, replayed_at, sees_all),) = ask(session, _FACTS)
    if is_standby:
        told = () if lag else (f"{STANDBY_DOUBT}, or set lag to longer than transactions take",)
        return UpperBound(min(now, replayed_at) - _MARGIN - lag, warnings=told)
    open_ = begun(session, readers)
    known = [(each.started_at, each.transaction) for each in open_ if each.started_at is not None]
    started_at, oldest = min(known, key=lambda each: each[0], default=(now, None))
    hidden = [each.transaction for each in open_ if each.started_at is None]
    return UpperBound(
        min(now, started_at) - _MARGIN - lag,
        () if oldest is None else (oldest,),
        (*hidden, *prepared(session, parts)),
        () if sees_all else (cannot_see(session),),
    )


def cannot_see(session: Session) -> str:
    """Say which right is missing, and what that costs."""
    user = session.info.user
    return (
        f"{user} does not see when others' transactions began: where some are open, nothing is read before they have"
        f" ended; GRANT pg_read_all_stats TO {quoted(user)}"
    )


def moment(session: Session, at: datetime, column: Column, zone: str | None) -> str:
    """Write a moment as a value of a column of times; all later moments have that value or a later one.

    Args:
        session: A session with no transaction under way.
        at: The moment.
        column: The column.
        zone: In which zone a column without one is; None for the one that the server is set to.
    """
    kind: Any = column.native.arrow
    text = at.astimezone(UTC).isoformat()
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return literal(text, "timestamptz")
    local = str(value(session, _LOCAL, text, zone or value(session, _ZONE)))
    written = literal(local, "timestamp")
    return f"{written}::date" if pa.types.is_date(kind) else written
