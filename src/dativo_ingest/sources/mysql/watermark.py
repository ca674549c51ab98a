"""How far an incremental run may read without losing rows whose transactions commit later.

A row's time is usually that of the statement that wrote it, so rows of a transaction that is still open appear later
with a time that lies before that of rows already read. So a run reads only what is older than every open transaction
that may have written, and than every statement that waits for a lock and has its time already.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pymysql

from dativo_ingest.mysql.names import literal
from dativo_ingest.mysql.sessions import Session, ask, run, value
from dativo_ingest.sources.mysql.relations import Column

_NEEDS_PROCESS = 1227
_TRIES = 20
_STALE_S = 0.15

# The server keeps the list of transactions for 0.1 s, and for longer where many ask: it is of now where it has this
# session's own. A transaction that only reads, or has written nothing and runs no statement, has no rows to commit:
# what it writes later will have later times.
_OLDEST = """
SELECT MAX(trx_mysql_thread_id = CONNECTION_ID()),
       CONVERT_TZ(MIN(CASE WHEN trx_mysql_thread_id <> CONNECTION_ID() AND NOT trx_is_read_only
                            AND (trx_rows_modified > 0 OR trx_query IS NOT NULL OR trx_mysql_thread_id = 0)
                           THEN trx_started END), 'SYSTEM', '+00:00')
FROM information_schema.innodb_trx
"""
_WAITING = """
SELECT UTC_TIMESTAMP() - INTERVAL MAX(TIME) SECOND FROM information_schema.processlist
WHERE COMMAND IN ('Query', 'Execute') AND STATE LIKE 'Waiting for % lock'
"""
_NOW = "UTC_TIMESTAMP() - INTERVAL 1 SECOND"
_LOCAL = "CONVERT_TZ({0}, '+00:00', @@global.time_zone)"


@dataclass(frozen=True)
class UpperBound:
    """What is left for the next run."""

    before: str | None
    """Rows of this value of the cursor, as text, or a later one are not read; None where there is no such limit."""
    warnings: tuple[str, ...] = ()


def upper_bound(session: Session, column: Column) -> UpperBound:
    """Find how far to read; to be asked before the image that is read is taken.

    Only a column of times can be compared with the beginnings of transactions. A datetime has no zone: the bound holds
    for those in UTC and for those in the server's own zone, whichever is earlier.

    Args:
        session: A session with no transaction under way.
        column: The cursor.
    """
    kind = column.native.arrow
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return UpperBound(
            None, (f"cursor {column.name} is no time: rows of transactions that commit out of order may be missed",)
        )
    warnings = []
    try:
        oldest = _oldest(session)
    except pymysql.err.OperationalError as error:
        if error.args[0] != _NEEDS_PROCESS:
            raise
        oldest = None
        warnings.append(
            "the user does not see when others' transactions began, so that rows which commit late may be missed;"
            " GRANT PROCESS ON *.* TO CURRENT_USER"
        )
    if _is_replica(session):
        warnings.append("a replica does not know its primary's open transactions: rows that commit late may be missed")
    before = f"LEAST({', '.join([_NOW, _NOW, *(literal(each) for each in oldest or ())])})"  # it takes no less than two
    if not (pa.types.is_timestamp(kind) and getattr(kind, "tz", None)):
        before = f"LEAST({before}, COALESCE({_LOCAL.format(before)}, {before}))"
    if pa.types.is_date(kind):
        before = f"DATE({before})"
    return UpperBound(str(value(session, f"SELECT CAST({before} AS CHAR)")), tuple(warnings))


def _oldest(session: Session) -> list[str]:
    """Give the beginnings of what is under way, in UTC."""
    for _ in range(_TRIES):
        run(session, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        try:
            ((is_now, started),) = ask(session, _OLDEST)
            if is_now:
                waiting = value(session, _WAITING)
                return [str(each) for each in (started, waiting) if each is not None]
            run(session, f"DO SLEEP({_STALE_S})")
        finally:
            run(session, "ROLLBACK")
    raise pymysql.err.OperationalError(1205, "information_schema.innodb_trx does not come up to date")


def _is_replica(session: Session) -> bool:
    found = dict(ask(session, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Slave_running', 'Replica_running')"))
    return "ON" in {str(each).upper() for each in found.values()}
