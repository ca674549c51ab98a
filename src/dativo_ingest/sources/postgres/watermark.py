"""How far an incremental run may read without losing rows whose transactions commit later.

A row's time is usually that of its transaction's beginning, so rows of a transaction that is still open appear later
with a time that lies before that of rows already read. So a run reads only what is older than every open transaction.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from dativo_ingest.postgres.sessions import Session, ask
from dativo_ingest.sources.postgres.relations import Column

# A transaction takes its time a moment before others can see that it has begun; hence the second.
_OLDEST = """
SELECT (least(clock_timestamp() - interval '1 second',
              (SELECT min(xact_start) FROM pg_catalog.pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()
                 AND backend_type NOT IN ('autovacuum worker', 'parallel worker', 'walsender')),
              (SELECT min(prepared) FROM pg_catalog.pg_prepared_xacts WHERE database = current_database())))::text,
       pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE'), pg_catalog.pg_is_in_recovery()
"""


@dataclass(frozen=True)
class UpperBound:
    """What is left for the next run."""

    before: str | None
    """Rows of this value of the cursor, as text, or a later one are not read; None where there is no such limit."""
    warnings: tuple[str, ...] = ()


def upper_bound(session: Session, column: Column) -> UpperBound:
    """Find how far to read; to be asked before the image that is read is taken.

    Only a column of times can be compared with the beginnings of transactions. A time without a zone is taken as UTC.

    Args:
        session: A session with no transaction under way.
        column: The cursor.
    """
    kind = column.native.arrow
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return UpperBound(
            None, (f"cursor {column.name} is no time: rows of transactions that commit out of order may be missed",)
        )
    ((oldest, sees_all, is_standby),) = ask(session, _OLDEST)
    warnings = []
    if not sees_all:
        warnings.append(
            f"{session.info.user} does not see when others' transactions began, so that rows which commit late may be"
            f" missed; GRANT pg_read_all_stats TO {session.info.user}"
        )
    if is_standby:
        warnings.append("a standby does not know the open transactions: rows which commit late may be missed")
    return UpperBound(oldest, tuple(warnings))
