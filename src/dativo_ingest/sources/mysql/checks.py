"""The steps of a check: is the server there, does it let this user in, and may the user read each stream?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial

from dativo_ingest.databases.cursors import require_known
from dativo_ingest.databases.following import open_transactions
from dativo_ingest.databases.way_in import passed
from dativo_ingest.mysql.connection import MysqlAccess
from dativo_ingest.mysql.names import account
from dativo_ingest.mysql.sessions import Session, ask, run, set_variables, value
from dativo_ingest.mysql.way_in import way_in
from dativo_ingest.sources.mysql.cursor_conditions import cursor_column
from dativo_ingest.sources.mysql.discovery import doubts, stream_names
from dativo_ingest.sources.mysql.failures import FAILURES
from dativo_ingest.sources.mysql.selection import Selection
from dativo_ingest.sources.mysql.watermark import upper_bound
from dativo_plugin_sdk import (
    Check,
    ConnectionTestResult,
    InsufficientPermissionsError,
    StreamSpec,
    TimeoutError,
)

_LOCK_TIMEOUT_S = 5
_READ_TIMEOUT_S = 30
_LIMITS: dict[str, str | float] = {
    "lock_wait_timeout": _LOCK_TIMEOUT_S,
    "max_statement_time": _READ_TIMEOUT_S,  # MariaDB
    "max_execution_time": _READ_TIMEOUT_S * 1000,  # MySQL
}

_FACTS = "SELECT DATABASE(), @@character_set_database, @@GLOBAL.read_only"


class Checks:
    """The steps of one check; the session that one of them opens serves those after it.

    Args:
        access: Where the server is and how to be let in.
        streams: What is to be read.
        selected: Finds what a stream selects.
    """

    def __init__(
        self,
        access: MysqlAccess,
        streams: Sequence[StreamSpec],
        selected: Callable[[Session, StreamSpec], Selection],
    ) -> None:
        self._streams = streams
        self._selected = selected
        self._user = access.parameters.user
        self._way_in = way_in(access, FAILURES)
        self._selections: dict[str, Selection] = {}

    def steps(self) -> list[Check]:
        """List the steps in order."""
        return [*self._way_in.steps(), Check("database", self._database), *self._about_streams()]

    def close(self) -> None:
        """Let go of the session; may be called twice."""
        self._way_in.close()

    def _about_streams(self) -> Iterator[Check]:
        if not self._streams:
            yield Check("permission", self._anything)
        for stream in self._streams:
            yield Check(f"permission {stream.name}", partial(self._permission, stream))
            yield Check(f"read {stream.name}", partial(self._read, stream))
        if any(stream.mode == "incremental" for stream in self._streams):
            yield Check("open transactions", self._open_transactions)

    def _database(self) -> ConnectionTestResult:
        session = self._way_in.session()
        with FAILURES.translated(self._way_in.place):
            set_variables(session, _LIMITS)
            ((database, encoding, read_only),) = ask(session, _FACTS)
        where = f"database {database}" if database else "all databases"
        return passed(
            f"{where} of {session.server.name}",
            database=database,
            server_version=session.server.full_version,
            encoding=encoding,
            read_only=bool(read_only),
        )

    def _anything(self) -> ConnectionTestResult:
        session = self._way_in.session()
        with FAILURES.translated(self._way_in.place):
            count = len(stream_names(session))
        if not count:
            raise InsufficientPermissionsError(
                f"{self._user} may read no table or view of {self._way_in.place}",
                hint=f"GRANT SELECT ON `database`.* TO {account(self._account(session))}, if there is any",
            )
        return passed(f"{count} tables and views can be read", readable=count)

    def _permission(self, stream: StreamSpec) -> ConnectionTestResult:
        session = self._way_in.session()
        with FAILURES.translated(stream.name):
            selection = self._selected(session, stream)
        self._selections[stream.name] = selection
        if stream.mode == "incremental":
            require_known(stream, selection.title, selection.columns, selection.relation)
            cursor_column(stream, selection)
        relation = selection.relation
        if relation is None:
            return passed("the query is one that the server takes", columns=len(selection.columns))
        told = list(doubts(relation))
        if told:
            return passed("; ".join(told), warning=True)
        return passed(
            f"{self._user} may read the {relation.kind}",
            columns=len(relation.columns),
            estimated_rows=relation.rows,
        )

    def _read(self, stream: StreamSpec) -> ConnectionTestResult:
        session = self._way_in.session()
        selection = self._selections[stream.name]
        try:
            with FAILURES.translated(stream.name):
                count = run(session, f"{selection.select(selection.read_as(stream.schema))} LIMIT 1")
        except TimeoutError:
            return passed(f"no row came within {_READ_TIMEOUT_S} s, which a large view may need", warning=True)
        return passed("one row was read" if count else "there are no rows")

    def _open_transactions(self) -> ConnectionTestResult:
        """See whether open transactions show: incremental runs leave for later what one may still commit."""
        session = self._way_in.session()
        with FAILURES.translated(self._way_in.place):
            bound = upper_bound(session, timedelta(0))
        return open_transactions(bound)

    def _account(self, session: Session) -> str:
        return str(value(session, "SELECT CURRENT_USER()"))
