"""How far a run that follows times may read without losing rows whose transactions commit later.

A row's time is that of the statement that wrote it, so rows of a transaction that is open now may appear later with a
time from its beginning on. So a run reads what is older than every transaction that is open and may have written, and
than every statement that waits for a lock and has its time already. Asked before the image that is read is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from dativo_ingest.databases.following import UpperBound
from dativo_ingest.mysql.names import account, literal
from dativo_ingest.mysql.sessions import Session, ask, value
from dativo_ingest.sources.mysql.open_transactions import begun
from dativo_plugin_sdk import InvalidConfigError

# The server tells when things began in whole seconds, and a statement takes its time before its transaction begins.
_MARGIN = timedelta(seconds=2)

_NOW = "SELECT CAST(UTC_TIMESTAMP(6) AS CHAR)"
# Where clocks are set back within the hour, local times come a second time, and those before that are not over.
_LOCAL = """
SELECT CAST(local.this - INTERVAL GREATEST(0, 3600 - TIMESTAMPDIFF(SECOND, local.this, local.later)) SECOND AS CHAR)
FROM (SELECT CONVERT_TZ({at}, '+00:00', {zone}) AS this,
             CONVERT_TZ({at} + INTERVAL 1 HOUR, '+00:00', {zone}) AS later) AS local
"""
_ELSEWHERE = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Slave_running', 'Replica_running', 'wsrep_ready')"


def upper_bound(session: Session, lag: timedelta) -> UpperBound:
    """Find how far to read; to be asked before the image that is read is taken.

    Args:
        session: A session with no transaction under way.
        lag: How much more of the newest rows to leave.
    """
    now = server_time(session)
    found = begun(session, now)
    told = tuple(elsewhere(session)) if not lag else ()
    if found is None:
        return UpperBound(now - _MARGIN - lag, warnings=(*told, cannot_see(session)))
    known = [(each.started_at, each.transaction) for each in found if each.started_at is not None]
    started_at, oldest = min(known, key=lambda each: each[0], default=(now, None))
    hidden = tuple(each.transaction for each in found if each.started_at is None)
    return UpperBound(min(now, started_at) - _MARGIN - lag, () if oldest is None else (oldest,), hidden, told)


def server_time(session: Session) -> datetime:
    """Ask for the time that the server has."""
    return datetime.fromisoformat(str(value(session, _NOW))).replace(tzinfo=UTC)


def cannot_see(session: Session) -> str:
    """Say which right is missing, and what that costs."""
    user = str(value(session, "SELECT CURRENT_USER()"))
    return (
        f"{user} does not see which transactions are open, so that rows which commit late may be missed; GRANT PROCESS"
        f" ON *.* TO {account(user)}, or set lag to longer than transactions take"
    )


def elsewhere(session: Session) -> Iterator[str]:
    """Say where rows come from other servers, whose transactions do not show here."""
    found = {str(name).lower(): str(setting).upper() for name, setting in ask(session, _ELSEWHERE)}
    if "ON" in {found.get("slave_running"), found.get("replica_running")}:
        yield (
            "a replica does not know its primary's open transactions: rows that commit late may be missed; read the"
            " primary, or set lag to longer than transactions and replication take"
        )
    if found.get("wsrep_ready") == "ON":
        yield "other nodes of the cluster have transactions that do not show here: rows of theirs may be missed"


def local_text(session: Session, at: datetime, *, has_zone: bool, zone: str | None) -> str:
    """Write a moment as a column of times has it; all later moments have that value or a later one.

    Args:
        session: A session in UTC.
        at: The moment.
        has_zone: Whether the column is of moments; other columns have local times.
        zone: In which zone those are; None for UTC or the server's own, whichever is earlier.

    Raises:
        InvalidConfigError: The server does not know the zone.
    """
    text = literal(at.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" "))
    if has_zone:
        return text
    moment = f"CAST({text} AS DATETIME(6))"
    found = value(session, _LOCAL.format(at=moment, zone="@@global.time_zone" if zone is None else literal(zone)))
    if found is None and zone is not None:
        raise InvalidConfigError(
            f"options.time_zone: the server does not know {zone}",
            hint="write it as +01:00, or have its time zones loaded (mysql_tzinfo_to_sql)",
        )
    if zone is not None:
        return literal(str(found))
    return f"LEAST({moment}, COALESCE({'NULL' if found is None else literal(str(found))}, {moment}))"
