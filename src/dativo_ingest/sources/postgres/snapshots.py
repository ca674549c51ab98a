"""Transactions that read one consistent image of a database, in one session or several."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg

from dativo_ingest.postgres.names import quoted
from dativo_ingest.postgres.sessions import Session, begin, connect, let_go, run, value
from dativo_ingest.sources.postgres.failures import FAILURES
from dativo_ingest.sources.postgres.open_transactions import READS_ONLY
from dativo_ingest.sources.postgres.options import PostgresSourceOptions
from dativo_ingest.sources.postgres.relations import Relation
from dativo_plugin_sdk import ResourceUnavailableError

# What makes texts mean one thing, and floats be written with every digit they have.
_SPELLING = {
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "synchronize_seqscans": "off",
}
_READ_ONLY = "ISOLATION LEVEL REPEATABLE READ READ ONLY"


def open_session(parameters: Mapping[str, str]) -> Session:
    """Open a session that spells values as `copy_rows` reads them."""
    session = connect(parameters, FAILURES)
    with FAILURES.translated("the session's settings"):
        try:
            for name, setting in _SPELLING.items():
                run(session, f"SET {name} = {setting}")
        except BaseException:
            let_go(session)
            raise
    return session


def begin_reading(session: Session, options: PostgresSourceOptions, relation: Relation | None) -> None:
    """Begin a transaction that reads one image of the database, and keeps the relation as it is meanwhile.

    The lock is the one that SELECT takes, before the image is taken: TRUNCATE would empty the table in older images
    too. It keeps nobody from reading or writing.
    """
    begin(session, lock_timeout_s=options.lock_timeout_s, mode=_READ_ONLY)
    _limit(session, options)
    if relation is not None and relation.kind in {"table", "partitioned table"}:
        run(session, f"LOCK TABLE {quoted(relation.schema, relation.name)} IN ACCESS SHARE MODE")
    run(session, READS_ONLY)


def export(session: Session) -> str:
    """Give a name by which other sessions can read the same image, as long as this transaction lasts."""
    return str(value(session, "SELECT pg_catalog.pg_export_snapshot()"))


def join(session: Session, options: PostgresSourceOptions, snapshot: str) -> None:
    """Begin a transaction that reads the image that another session exported."""
    begin(session, lock_timeout_s=options.lock_timeout_s, mode=_READ_ONLY)
    try:
        run(session, f"SET TRANSACTION SNAPSHOT '{snapshot}'")
    except (psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject) as error:
        raise ResourceUnavailableError(
            "the image of the database that the sessions are to share is not there",
            details={"original_message": str(error)},
            hint="the session that held it has ended, or a pooler leads to several servers: name one server, or set"
            " limits.parallelism: 1",
        ) from error
    _limit(session, options)
    run(session, READS_ONLY)


def _limit(session: Session, options: PostgresSourceOptions) -> None:
    if options.statement_timeout_s is not None:
        run(session, f"SET LOCAL statement_timeout = {round(options.statement_timeout_s * 1000)}")
    run(session, "SET LOCAL max_parallel_workers_per_gather = 0")  # rows of a range come in the order of their places
