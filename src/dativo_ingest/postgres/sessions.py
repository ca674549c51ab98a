"""Sessions with a Postgres server, and where it is."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import psycopg

from dativo_ingest.postgres.certificates import explained
from dativo_ingest.postgres.failures import Failures
from dativo_plugin_sdk import DativoError

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_PARTS = ("host", "port", "dbname")

# Whatever a role or a database has set for its own users: texts mean one moment, and a slow source is waited for.
_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}


class Sessions:
    """The sessions of one run: one that is given back clean serves the next table.

    Args:
        parameters: What libpq is told.
        failures: How errors are named.
    """

    def __init__(self, parameters: Mapping[str, str], failures: Failures) -> None:
        self._parameters = parameters
        self._failures = failures
        self._spare: list[Session] = []

    def lend(self) -> Session:
        """Give a session that nobody else has."""
        return self._spare.pop() if self._spare else connect(self._parameters, self._failures)

    def take_back(self, session: Session) -> None:
        """Take a session whose work is done; its temporary tables go, and one in doubt is closed."""
        try:
            clean = session.info.transaction_status == psycopg.pq.TransactionStatus.IDLE and not self._spare
            if clean:
                run(session, "DISCARD TEMPORARY")
                self._spare.append(session)
                return
        except psycopg.Error:
            pass  # a broken session has nothing to be cleaned; the server drops what it had
        let_go(session)

    def close(self) -> None:
        """Close what nobody uses; may be called twice."""
        while self._spare:
            let_go(self._spare.pop())


def let_go(session: Session) -> None:
    """Close a session; the server rolls back what it has not committed."""
    with contextlib.suppress(psycopg.Error):
        session.close()


def place_of(parameters: Mapping[str, str]) -> str:
    """Name the server and the database, for messages; without any secret."""
    host, port, database = (parameters.get(part) for part in _PARTS)
    if host is None and "service" in parameters:
        host = f"service {parameters['service']}"
    host = host or "the server of PGHOST"
    return f"{host}{f':{port}' if port else ''}{f'/{database}' if database else ''}"


def connect(parameters: Mapping[str, str], failures: Failures) -> Session:
    """Open a session in which every statement is a transaction until one is begun.

    Raises:
        DativoError: There is no way in; the class says why.
    """
    try:
        with failures.translated(place_of(parameters)):
            return _settled(parameters)
    except DativoError as error:
        found = explained(error, parameters, failures.end)
        if found is error:
            raise
        raise found from error.__cause__


def _settled(parameters: Mapping[str, str]) -> Session:
    arguments: dict[str, Any] = {**parameters}
    session = psycopg.connect(autocommit=True, prepare_threshold=None, cursor_factory=psycopg.RawCursor, **arguments)
    try:
        _settle(session)
    except psycopg.Error:
        session.close()
        raise
    return session


def _settle(session: Session) -> None:
    session.execute(
        "SELECT set_config(own.name, own.setting, false) FROM unnest($1::text[], $2::text[]) AS own(name, setting)"
        " WHERE own.name IN (SELECT name FROM pg_catalog.pg_settings)",  # older servers do not know them all
        [list(_SETTINGS), list(_SETTINGS.values())],
    )
    with contextlib.suppress(psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject):
        # A client that died in the midst of a long statement is noticed; not every server can.
        session.execute("SET client_connection_check_interval = '5s'")


def begin(session: Session, *, lock_timeout_s: float, mode: str = "ISOLATION LEVEL READ COMMITTED") -> None:
    """Begin a transaction whose statements wait so long for a lock; 0 is for ever."""
    run(session, f"BEGIN {mode}")
    run(session, f"SET LOCAL lock_timeout = {round(lock_timeout_s * 1000)}")


def ask(session: Session, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Give the rows that a query finds; parameters are ``$1``, ``$2``."""
    return session.execute(_query(statement), parameters).fetchall()


def value(session: Session, statement: str, *parameters: object) -> Any:
    """Give the first column of the first row; None where there is none."""
    rows = ask(session, statement, *parameters)
    return rows[0][0] if rows else None


def run(session: Session, statement: str, *parameters: object) -> int:
    """Run a statement and give how many rows it touched."""
    return session.execute(_query(statement), parameters).rowcount


def _query(statement: str) -> Any:
    return statement  # psycopg types a query as a literal; ours are made of quoted names
