"""The steps of a check: is the server there, does it let this user in, and may the user read each stream?"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from psycopg import pq

from dativo_ingest.databases.checks import DatabaseChecks
from dativo_ingest.databases.following import UpperBound
from dativo_ingest.databases.way_in import passed
from dativo_ingest.postgres.sessions import Session, ask, begin, run
from dativo_ingest.sources.postgres.discovery import doubts
from dativo_ingest.sources.postgres.failures import FAILURES
from dativo_ingest.sources.postgres.options import PostgresSourceOptions
from dativo_ingest.sources.postgres.relations import XMIN, Relation, readable, relations
from dativo_ingest.sources.postgres.selection import Selection
from dativo_ingest.sources.postgres.transaction_ids import require_versions
from dativo_ingest.sources.postgres.watermark import upper_bound
from dativo_plugin_sdk import ConnectionTestResult, InsufficientPermissionsError, StreamSpec

_FACTS = """
SELECT current_setting('server_version'), current_setting('server_encoding'), pg_catalog.pg_is_in_recovery()
"""


class Checks(DatabaseChecks[Session, Selection]):
    """The steps of one check of a database."""

    failures = FAILURES

    def _database(self, session: Session) -> ConnectionTestResult:
        ((version, encoding, is_replica),) = ask(session, _FACTS)
        name = session.info.dbname
        role = "a replica" if is_replica else "the primary"
        return passed(
            f"database {name} of Postgres {version}, {role}",
            database=name,
            server_version=version,
            encoding=encoding,
            replica=is_replica,
        )

    def _anything(self, session: Session) -> ConnectionTestResult:
        found = relations(session)
        count = len(readable(found))
        if found and not count:
            raise InsufficientPermissionsError(
                f"{session.info.user} may read none of the {len(found)} tables and views of {session.info.dbname}",
                hint="dativo discover says of each which right is missing",
            )
        return passed(f"{count} of {len(found)} tables and views can be read", readable=count, found=len(found))

    def _require_cursor(self, stream: StreamSpec, selection: Selection) -> None:
        if stream.cursor == XMIN:
            require_versions(self._way_in.session(), stream, selection)
        else:
            super()._require_cursor(stream, selection)

    def _doubts(self, relation: Relation) -> Iterable[str]:
        return doubts(relation, self._way_in.user())

    def _count(self, session: Session, statement: str) -> int:
        try:
            begin(session, lock_timeout_s=self.lock_timeout_s, mode="READ ONLY")
            run(session, f"SET LOCAL statement_timeout = {round(self.read_timeout_s * 1000)}")
            return run(session, statement)
        finally:
            if session.info.transaction_status not in {pq.TransactionStatus.IDLE, pq.TransactionStatus.UNKNOWN}:
                run(session, "ROLLBACK")

    def _upper_bound(self, session: Session) -> UpperBound:
        return upper_bound(session, timedelta(0), parts=None, readers=PostgresSourceOptions().read_only_applications)
