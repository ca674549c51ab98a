"""The steps of a check: is the server there, does it let this user in, and may the user write?"""
# ruff: noqa: S608  names are quoted, values are parameters

from __future__ import annotations

import uuid
from collections.abc import Sequence

from psycopg import pq

from dativo_ingest.databases.way_in import passed
from dativo_ingest.postgres.names import quoted
from dativo_ingest.postgres.sessions import Session, ask, begin, run, value
from dativo_ingest.postgres.way_in import way_in
from dativo_ingest.targets.postgres.config import PostgresConfig
from dativo_ingest.targets.postgres.failures import FAILURES, translated
from dativo_ingest.targets.postgres.names import namespace_of, title
from dativo_ingest.targets.postgres.state import StreamState
from dativo_ingest.targets.postgres.tables import Table, has_schema
from dativo_plugin_sdk import (
    Check,
    ConnectionTestResult,
    InsufficientPermissionsError,
    TableSpec,
)

_PORT = "5432"
_TIMEOUT_S = 10.0
_LOCK_TIMEOUT_S = 5.0
_WRITES = {
    "append": ("INSERT INTO {0} SELECT * FROM {0} WHERE false",),
    "overwrite": ("INSERT INTO {0} SELECT * FROM {0} WHERE false", "DELETE FROM {0} WHERE false"),
    "merge": (
        "INSERT INTO {0} SELECT * FROM {0} WHERE false",
        "UPDATE {0} SET {1} = {1} WHERE false",
        "DELETE FROM {0} WHERE false",
    ),
}


class Checks:
    """The steps of one check; the session that one of them opens serves those after it.

    Args:
        config: The target.
        tables: What is to be written.
    """

    def __init__(self, config: PostgresConfig, tables: Sequence[TableSpec]) -> None:
        self._tables = tables
        self._way_in = way_in(config.access, FAILURES)

    def steps(self) -> list[Check]:
        """List the steps in order."""
        schemas = dict.fromkeys(map(namespace_of, self._tables))
        return [
            *self._way_in.steps(),
            Check("database", self._database),
            *(Check(f"schema {schema}", lambda schema=schema: self._schema(schema)) for schema in schemas),  # type: ignore[misc]  # mypy does not see the default
            *(Check(f"table {title(spec)}", lambda spec=spec: self._table(spec)) for spec in self._tables),  # type: ignore[misc]  # the same
            Check("write_probe", self._probe),
        ]

    def close(self) -> None:
        """Let go of the session; may be called twice."""
        self._way_in.close()

    def _database(self) -> ConnectionTestResult:
        session = self._way_in.session()
        with translated(self._way_in.place):
            ((version, read_only, encoding),) = ask(
                session,
                "SELECT current_setting('server_version'), current_setting('transaction_read_only') = 'on',"
                " current_setting('server_encoding')",
            )
        name = session.info.dbname
        details = {"database": name, "server_version": version, "encoding": encoding}
        if read_only:
            raise InsufficientPermissionsError(
                f"{self._way_in.place}: the server is read-only",
                details=details,
                hint="connect to the primary server, with several hosts by parameters:"
                " {target_session_attrs: read-write}",
            )
        return passed(f"database {name} of Postgres {version}", **details)

    def _schema(self, schema: str) -> ConnectionTestResult:
        session = self._way_in.session()
        with translated(f"schema {schema}"):
            exists = has_schema(session, schema)
            if exists:
                question = "SELECT has_schema_privilege($1, 'USAGE') AND has_schema_privilege($1, 'CREATE')"
                may = value(session, question, schema)
            else:
                may = value(session, "SELECT has_database_privilege(current_database(), 'CREATE')")
        user, database = quoted(session.info.user), quoted(session.info.dbname)
        if not may:
            make = (
                f"CREATE SCHEMA {quoted(schema)} AUTHORIZATION {user}, or GRANT CREATE ON DATABASE {database} TO {user}"
            )
            raise InsufficientPermissionsError(
                f"schema {schema}: {session.info.user} may not create {'tables in it' if exists else 'it'}",
                hint=f"GRANT USAGE, CREATE ON SCHEMA {quoted(schema)} TO {user}" if exists else make,
            )
        return passed(f"{schema} exists" if exists else f"{schema} is to be made")

    def _table(self, spec: TableSpec) -> ConnectionTestResult:
        session = self._way_in.session()
        table = Table(namespace_of(spec), spec.name)
        with translated(table.title):
            columns = table.columns(session)
            if not columns:
                return passed(f"{table.title} does not exist yet")
            state = StreamState.of(spec).load(session, has_table=True)
        return passed(f"{table.title} exists", columns=len(columns), generation=state.generation)

    def _probe(self) -> ConnectionTestResult:
        """Do what a run does, in a transaction that is rolled back."""
        session = self._way_in.session()
        with translated("write probe"):
            begin(session, lock_timeout_s=_LOCK_TIMEOUT_S)
            try:
                run(session, "CREATE TEMPORARY TABLE _dativo_probe (id bigint)")
                for spec in self._tables:
                    StreamState.of(spec).try_rights(session)
                    self._try_table(session, spec)
            finally:
                if session.info.transaction_status != pq.TransactionStatus.UNKNOWN:
                    run(session, "ROLLBACK")
        self.close()
        return passed("tables were made and filled in a transaction that was rolled back")

    def _try_table(self, session: Session, spec: TableSpec) -> None:
        table = Table(namespace_of(spec), spec.name)
        columns = table.columns(session)
        for statement in _WRITES[spec.write] if columns else ():
            run(session, statement.format(table.sql, quoted(columns[0].column.name)))
        probe = quoted(table.schema, f"_dativo_probe_{uuid.uuid4().hex}")
        run(session, f"CREATE TABLE {probe} (id bigint)")
        run(session, f"INSERT INTO {probe} VALUES (1)")
