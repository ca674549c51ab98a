"""Which transactions and statements are under way on a server, and since when.

A row's time is that of its statement (``NOW()``), so a transaction that has written nothing and runs no statement holds
nothing back: what it writes later has later values. All of this shows to those who have the right PROCESS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pymysql

from dativo_ingest.databases.open_transactions import OpenTransaction
from dativo_ingest.mysql.sessions import Session, ask, run

_TRIES = 40
_STALE_S = 0.15
_NEEDS_PROCESS = 1227
_ROUNDED_S = 1.0  # what the server says in whole seconds may be so much later the next time

# The server keeps the list of transactions for 0.1 s, and for longer where many ask: it is of now where it has this
# session's own. Prepared transactions whose client has gone belong to thread 0.
_TRANSACTIONS = """
SELECT t.trx_mysql_thread_id, t.trx_id, CAST(CONVERT_TZ(t.trx_started, 'SYSTEM', '+00:00') AS CHAR), p.USER, p.COMMAND,
       t.trx_mysql_thread_id = CONNECTION_ID(),
       NOT t.trx_is_read_only AND NOT t.trx_autocommit_non_locking
       AND (t.trx_rows_modified > 0 OR t.trx_query IS NOT NULL OR t.trx_mysql_thread_id = 0)
FROM information_schema.innodb_trx t LEFT JOIN information_schema.processlist p ON p.ID = t.trx_mysql_thread_id
"""
# A statement that waits for a lock on a table has its time already, and no transaction yet; nor has one just begun.
_STATEMENTS = """
SELECT ID, CAST(UTC_TIMESTAMP() - INTERVAL TIME SECOND AS CHAR), USER, COALESCE(STATE, '')
FROM information_schema.processlist
WHERE COMMAND IN ('Query', 'Execute') AND ID <> CONNECTION_ID() AND USER <> 'system user'
  AND COALESCE(LTRIM(INFO), '') NOT RLIKE '^(select|show|alter|analyze|check|explain|optimize)[[:space:]]'
"""


@dataclass(frozen=True)
class Begun:
    """Something that may still bring rows."""

    transaction: OpenTransaction
    thread: int
    """0 where no session has it: it was prepared."""
    started_at: datetime | None
    """In UTC, to the second; None where nobody knows."""


def begun(session: Session, now: datetime) -> list[Begun] | None:
    """List transactions that have written or run a statement, and statements that may yet begin one.

    Args:
        session: A session with no transaction under way.
        now: The server's time, for ages.

    Returns:
        None where the user has no right to see them.
    """
    try:
        statements, transactions = _under_way(session)
    except pymysql.err.OperationalError as error:
        if error.args[0] == _NEEDS_PROCESS:
            return None
        raise
    return [
        *(_transaction(row, now) for row in transactions),
        *(_thread("statement", row, now) for row in statements),
    ]


def still_open(session: Session, ids: frozenset[str], now: datetime) -> frozenset[str]:
    """Give those that have not ended.

    A statement goes on as its thread's transaction, and a prepared transaction, once its client has gone, as one of no
    thread: where the one has gone, the other is waited for.
    """
    found = begun(session, now)
    if found is None:
        return ids
    left = frozenset(id_ for id_ in ids if any(_is(id_, each.transaction.id) for each in found))
    gone = ids - left
    if not gone:
        return left
    threads = {id_.split()[1] for id_ in gone if id_.startswith("statement")}
    heirs = {each.transaction.id for each in found if each.thread == 0 or str(each.thread) in threads}
    return left | {id_ for id_ in heirs if not id_.startswith("statement")}


def _under_way(session: Session) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    for _ in range(_TRIES):
        statements = ask(session, _STATEMENTS)  # first: one that begins a transaction meanwhile is seen as that
        run(session, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        try:
            rows = ask(session, _TRANSACTIONS)
        finally:
            run(session, "ROLLBACK")
        if any(is_own for *_, is_own, _ in rows):
            return statements, [row[:-2] for row in rows if row[-1] and not row[-2]]
        run(session, f"DO SLEEP({_STALE_S})")
    raise pymysql.err.OperationalError(1205, "information_schema.innodb_trx does not come up to date")


def _transaction(row: Sequence[Any], now: datetime) -> Begun:
    thread, trx_id, started, user, command = row
    if thread:
        return _thread("thread", (thread, started, user, command or ""), now)
    found = OpenTransaction(
        f"prepared {trx_id}",
        "a prepared transaction",
        None,  # a server that was started anew gives those that it finds the time of its start
        "XA RECOVER lists it, XA COMMIT or XA ROLLBACK would end it",
        {"trx_id": str(trx_id), "state": "prepared"},
    )
    return Begun(found, 0, None)


def _thread(kind: str, row: Sequence[Any], now: datetime) -> Begun:
    thread, started, user, state = row
    started_at = datetime.fromisoformat(str(started)).replace(tzinfo=UTC)
    found = OpenTransaction(
        f"{kind} {thread} {started_at.timestamp():.0f}",
        f"connection {thread} of {user}{f' ({state})' if state else ''}",
        max(0.0, (now - started_at).total_seconds()),
        f"KILL {thread} would end it",
        {"connection": int(thread), "user": user, "state": state},
    )
    return Begun(found, int(thread), started_at)


def _is(one: str, other: str) -> bool:
    """Say whether two ids are of the same; when a statement began is known to a second only."""
    if one == other:
        return True
    kind, thread, *since = one.split()
    other_kind, other_thread, *other_since = other.split()
    if (kind, thread) != (other_kind, other_thread) or kind != "statement":
        return False
    return abs(float(since[0]) - float(other_since[0])) <= _ROUNDED_S
