"""The steps of a check: is the server there, does it let this user in, and may the user read each stream?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial

from psycopg import pq

from dativo_ingest.databases.cursors import require_known
from dativo_ingest.databases.following import open_transactions
from dativo_ingest.databases.way_in import passed
from dativo_ingest.postgres.connection import PostgresAccess
from dativo_ingest.postgres.sessions import Session, ask, begin, run
from dativo_ingest.postgres.way_in import way_in
from dativo_ingest.sources.postgres.cursor_conditions import cursor_column
from dativo_ingest.sources.postgres.discovery import doubts
from dativo_ingest.sources.postgres.failures import FAILURES
from dativo_ingest.sources.postgres.options import PostgresSourceOptions
from dativo_ingest.sources.postgres.relations import XMIN, readable, relations
from dativo_ingest.sources.postgres.selection import Selection
from dativo_ingest.sources.postgres.transaction_ids import require_versions
from dativo_ingest.sources.postgres.watermark import upper_bound
from dativo_plugin_sdk import (
    Check,
    ConnectionTestResult,
    InsufficientPermissionsError,
    StreamSpec,
    TimeoutError,
)

_LOCK_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 30.0

_FACTS = """
SELECT current_setting('server_version'), current_setting('server_encoding'), pg_catalog.pg_is_in_recovery()
"""


class Checks:
    """The steps of one check; the session that one of them opens serves those after it.

    Args:
        access: Where the server is and how to be let in.
        streams: What is to be read.
        selected: Finds what a stream selects.
    """

    def __init__(
        self,
        access: PostgresAccess,
        streams: Sequence[StreamSpec],
        selected: Callable[[Session, StreamSpec], Selection],
    ) -> None:
        self._streams = streams
        self._selected = selected
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

    def _anything(self) -> ConnectionTestResult:
        session = self._way_in.session()
        with FAILURES.translated(self._way_in.place):
            found = relations(session)
        count = len(readable(found))
        if found and not count:
            raise InsufficientPermissionsError(
                f"{session.info.user} may read none of the {len(found)} tables and views of {session.info.dbname}",
                hint="dativo discover says of each which right is missing",
            )
        return passed(f"{count} of {len(found)} tables and views can be read", readable=count, found=len(found))

    def _permission(self, stream: StreamSpec) -> ConnectionTestResult:
        session = self._way_in.session()
        with FAILURES.translated(stream.name):
            selection = self._selected(session, stream)
        self._selections[stream.name] = selection
        if stream.mode == "incremental":
            _require_cursor(session, stream, selection)
        relation = selection.relation
        if relation is None:
            return passed("the query is one that the server takes", columns=len(selection.columns))
        told = list(doubts(relation, session.info.user))
        if told:
            return passed("; ".join(told), warning=True)
        return passed(
            f"{session.info.user} may read the {relation.kind}",
            columns=len(relation.columns),
            estimated_rows=relation.rows,
        )

    def _read(self, stream: StreamSpec) -> ConnectionTestResult:
        session = self._way_in.session()
        selection = self._selections[stream.name]
        statement = f"{selection.select(selection.read_as(stream.schema))} LIMIT 1"
        try:
            with FAILURES.translated(stream.name):
                begin(session, lock_timeout_s=_LOCK_TIMEOUT_S, mode="READ ONLY")
                run(session, f"SET LOCAL statement_timeout = {round(_READ_TIMEOUT_S * 1000)}")
                count = run(session, statement)
        except TimeoutError:
            return passed(f"no row came within {_READ_TIMEOUT_S:g} s, which a large view may need", warning=True)
        finally:
            if session.info.transaction_status not in {pq.TransactionStatus.IDLE, pq.TransactionStatus.UNKNOWN}:
                run(session, "ROLLBACK")
        return passed("one row was read" if count else "there are no rows")

    def _open_transactions(self) -> ConnectionTestResult:
        """See whether open transactions show: incremental runs leave for later what one may still commit."""
        session = self._way_in.session()
        with FAILURES.translated(self._way_in.place):
            bound = upper_bound(
                session, timedelta(0), parts=None, readers=PostgresSourceOptions().read_only_applications
            )
        return open_transactions(bound)


def _require_cursor(session: Session, stream: StreamSpec, selection: Selection) -> None:
    if stream.cursor == XMIN:
        require_versions(session, stream, selection)
        return
    require_known(stream, selection.title, selection.columns, selection.relation)
    cursor_column(stream, selection)
