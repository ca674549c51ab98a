"""The steps of a check: is the server there, does it let this user in, and may the user read each stream?"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from dativo_ingest.databases.checks import DatabaseChecks
from dativo_ingest.databases.following import UpperBound
from dativo_ingest.databases.way_in import passed
from dativo_ingest.mysql.names import account
from dativo_ingest.mysql.sessions import Session, ask, run, set_variables, value
from dativo_ingest.sources.mysql.discovery import doubts, stream_names
from dativo_ingest.sources.mysql.failures import FAILURES
from dativo_ingest.sources.mysql.options import MysqlSourceOptions
from dativo_ingest.sources.mysql.reading import limits
from dativo_ingest.sources.mysql.relations import Relation
from dativo_ingest.sources.mysql.selection import Selection
from dativo_ingest.sources.mysql.watermark import upper_bound
from dativo_plugin_sdk import ConnectionTestResult, InsufficientPermissionsError

_FACTS = "SELECT DATABASE(), @@character_set_database, @@GLOBAL.read_only"


class Checks(DatabaseChecks[Session, Selection]):
    """The steps of one check of a server."""

    failures = FAILURES

    def _database(self, session: Session) -> ConnectionTestResult:
        options = MysqlSourceOptions(lock_timeout_s=self.lock_timeout_s, statement_timeout_s=self.read_timeout_s)
        set_variables(session, limits(options))
        ((database, encoding, read_only),) = ask(session, _FACTS)
        where = f"database {database}" if database else "all databases"
        return passed(
            f"{where} of {session.server.name}",
            database=database,
            server_version=session.server.full_version,
            encoding=encoding,
            read_only=bool(read_only),
        )

    def _anything(self, session: Session) -> ConnectionTestResult:
        count = len(stream_names(session))
        if not count:
            user = account(str(value(session, "SELECT CURRENT_USER()")))
            raise InsufficientPermissionsError(
                f"{self._way_in.user()} may read no table or view of {self._way_in.place}",
                hint=f"GRANT SELECT ON `database`.* TO {user}, if there is any",
            )
        return passed(f"{count} tables and views can be read", readable=count)

    def _doubts(self, relation: Relation) -> Iterable[str]:
        return doubts(relation)

    def _count(self, session: Session, statement: str) -> int:
        return run(session, statement)

    def _upper_bound(self, session: Session) -> UpperBound:
        return upper_bound(session, timedelta(0))
