"""Which transactions are open in a database, and which of them may still bring rows of a table.

``pg_locks`` shows to everybody that a transaction is open, by the lock that each has on its own virtual id, and what it
has written to. When it began shows only to its owner and to members of ``pg_read_all_stats``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dativo_ingest.databases.open_transactions import OpenTransaction
from dativo_ingest.postgres.sessions import Session, ask, value

READS_ONLY = "SELECT pg_catalog.pg_advisory_xact_lock_shared(1145132105, 1)"
"""How a transaction shows the others that it does not write."""

# Who cannot bring rows: sessions that say so (READS_ONLY), commands that share a transaction with no others, and the
# server's own processes. All else counts, also what has only read so far: it may write yet, and then with the time of
# its beginning. Rows of an active session may be as old as its statement: procedures commit in between.
_SESSIONS = """
WITH harmless AS MATERIALIZED (
    SELECT pid FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND classid = 1145132105 AND objid = 1 AND objsubid = 2 AND granted AND pid IS NOT NULL
    UNION ALL SELECT pid FROM pg_catalog.pg_stat_progress_vacuum
    UNION ALL SELECT pid FROM pg_catalog.pg_stat_progress_create_index WHERE command LIKE '%CONCURRENTLY'
), sessions AS MATERIALIZED (
    SELECT pid, usename, application_name, state,
           least(xact_start, CASE WHEN state = 'active' THEN query_start END) AS started_at
    FROM pg_catalog.pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_catalog.pg_backend_pid() AND usesysid IS NOT NULL
      AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'parallel worker', 'walsender')
      AND application_name <> ALL ($1::text[])
), open AS MATERIALIZED (
    SELECT pid, virtualxid FROM pg_catalog.pg_locks
    WHERE locktype = 'virtualxid' AND virtualxid = virtualtransaction AND granted
)
SELECT o.virtualxid, s.pid, s.usename::text, s.application_name, s.state, s.started_at,
       extract(epoch FROM statement_timestamp() - s.started_at)::float8
FROM sessions s LEFT JOIN open o USING (pid)
WHERE (o.virtualxid IS NOT NULL OR s.started_at IS NOT NULL) AND s.pid NOT IN (SELECT pid FROM harmless)
"""
# What is prepared can write no more. Its locks tell what it has written to; its id is the virtual one that they have.
_PREPARED = """
WITH locks AS MATERIALIZED (SELECT * FROM pg_catalog.pg_locks WHERE pid IS NULL)
SELECT own.virtualtransaction, p.gid, p.owner::text, extract(epoch FROM statement_timestamp() - p.prepared)::float8
FROM pg_catalog.pg_prepared_xacts p
JOIN locks own ON own.locktype = 'transactionid' AND own.transactionid = p.transaction
WHERE p.database = current_database() AND ($1::int8[] IS NULL OR EXISTS (
    SELECT FROM locks l
    WHERE l.virtualtransaction = own.virtualtransaction AND l.relation = ANY ($1::int8[]::oid[])
      AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')))
"""
# nextval takes a lock on the sequence, which lasts as long as the transaction.
_HOLDERS = """
SELECT DISTINCT l.virtualtransaction, l.pid, a.usename::text, a.application_name, a.state,
       extract(epoch FROM statement_timestamp() - a.xact_start)::float8
FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
WHERE l.locktype = 'relation' AND l.relation = ANY ($1::int8[]::oid[]) AND l.mode <> 'AccessShareLock'
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
"""
_OPEN = "SELECT virtualxid FROM pg_catalog.pg_locks WHERE locktype = 'virtualxid' AND virtualxid = virtualtransaction"
_XID_HOLDER = """
SELECT a.pid::text, a.pid, a.usename::text, a.application_name, a.state,
       extract(epoch FROM statement_timestamp() - a.xact_start)::float8
FROM pg_catalog.pg_stat_activity a WHERE a.backend_xid::text = $1
"""
_PREPARED_XID = """
SELECT transaction::text, gid, owner::text, extract(epoch FROM statement_timestamp() - prepared)::float8
FROM pg_catalog.pg_prepared_xacts WHERE transaction::text = $1
"""
_TREE = """
WITH RECURSIVE tree (oid) AS (
    SELECT $1::int8::oid UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree t ON t.oid = i.inhparent
) SELECT array_agg(oid::int8) FROM tree
"""


@dataclass(frozen=True)
class Begun:
    """A transaction that is open, and when it began; None where that does not show."""

    transaction: OpenTransaction
    started_at: datetime | None


def parts_of(session: Session, oid: int) -> list[int]:
    """List a table and all that are a part of it or inherit from it."""
    return list(value(session, _TREE, oid))


def begun(session: Session, readers: Sequence[str]) -> list[Begun]:
    """List the transactions of others that may still write.

    Args:
        session: A session with no transaction under way.
        readers: The ``application_name`` of sessions that never write.
    """
    rows = ask(session, _SESSIONS, list(readers))
    return [
        Begun(_of_session((vxid or "", *session_facts, age_s)), started_at)
        for vxid, *session_facts, started_at, age_s in rows
    ]


def prepared(session: Session, written: Sequence[int] | None) -> list[OpenTransaction]:
    """List the prepared transactions that have written to these relations; all of the database where None."""
    rows = ask(session, _PREPARED, None if written is None else list(written))
    return [_of_prepared(*row) for row in rows]


def drawers(session: Session, sequences: Sequence[int]) -> list[OpenTransaction]:
    """List the transactions, prepared ones too, that have drawn from sequences."""
    rows = ask(session, _HOLDERS, list(sequences))
    return [
        _of_session(row) if row[1] is not None else OpenTransaction(row[0], "a prepared transaction") for row in rows
    ]


def of_xid(session: Session, xid: int) -> list[OpenTransaction]:
    """Find whose transaction id this is, as the last 32 bits of it show."""
    short = str(xid % 2**32)
    return [
        *(_of_session(row) for row in ask(session, _XID_HOLDER, short)),
        *(_of_prepared(*row) for row in ask(session, _PREPARED_XID, short)),
    ]


def still_open(session: Session, ids: Iterable[str], written: Sequence[int] | None) -> frozenset[str]:
    """Give those of the transactions that have not ended.

    One that was prepared has another id after the server was started anew, so that with one gone everything that is
    prepared counts.
    """
    wanted = frozenset(ids)
    now = {row[0] for row in ask(session, _OPEN)}  # before what is prepared: none is missed on its way
    waiting = {each.id for each in prepared(session, written)}
    left = wanted & (now | waiting)
    return left if left == wanted else left | waiting


def _of_session(row: Sequence[Any]) -> OpenTransaction:
    id_, pid, user, application, state, age_s = row
    told = ", ".join(each for each in (application, state) if each)
    return OpenTransaction(
        id_,
        f"pid {pid} of {user}{f' ({told})' if told else ''}",
        age_s,
        f"SELECT pg_terminate_backend({pid}) would end it",
        {"pid": pid, "user": user, "application": application, "state": state},
    )


def _of_prepared(id_: str, gid: str, owner: str, age_s: float) -> OpenTransaction:
    details: dict[str, Any] = {"gid": gid, "user": owner, "state": "prepared"}
    name = gid.replace("'", "''")
    return OpenTransaction(
        id_,
        f"the prepared transaction {gid} of {owner}",
        age_s,
        f"COMMIT PREPARED '{name}' or ROLLBACK PREPARED '{name}' would end it",
        details,
    )
