"""What a schema remembers of each stream that fills a table of it: the newest state, and the commits that led there."""
# ruff: noqa: S608  names are quoted, values are parameters

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dativo_ingest.postgres.sessions import Session, ask, run, value
from dativo_ingest.targets.postgres.names import HISTORY_TABLE, STATE_TABLE, namespace_of
from dativo_ingest.targets.postgres.tables import Table, make_schema, wait_to_make
from dativo_plugin_sdk import CommittedState, PastCommit, TableSpec

_STATE_COLUMNS = (
    "state_key text PRIMARY KEY, generation bigint NOT NULL, commit_id text NOT NULL, run_id text,"
    " committed_at timestamptz NOT NULL DEFAULT now(), has_table boolean NOT NULL, state text NOT NULL"
)
_HISTORY_COLUMNS = (
    "state_key text, generation bigint, commit_id text NOT NULL, run_id text,"
    " committed_at timestamptz NOT NULL DEFAULT now(), rows_added bigint NOT NULL, state text NOT NULL,"
    " PRIMARY KEY (state_key, generation)"
)


_KEPT_COMMITS = 1000


class StreamState:
    """The state of one stream.

    Args:
        schema: The schema of the stream's table.
        key: The stream's key.
    """

    @classmethod
    def of(cls, spec: TableSpec) -> StreamState:
        """Give the state of a table's stream: one that goes into another table now has loaded nothing there."""
        return cls(namespace_of(spec), f"{spec.state_key} in {spec.name}")

    def __init__(self, schema: str, key: str) -> None:
        self._schema = schema
        self._key = key
        self._states = Table(schema, STATE_TABLE)
        self._history = Table(schema, HISTORY_TABLE)

    def load(self, session: Session, *, has_table: bool) -> CommittedState:
        """Read what is remembered.

        Args:
            session: The database.
            has_table: Whether the stream's table is there. Where somebody has dropped it since, reading starts over.
        """
        if not self._states.exists(session):
            return CommittedState()
        rows = ask(session, f"SELECT state, has_table FROM {self._states.sql} WHERE state_key = $1", self._key)
        if not rows:
            return CommittedState()
        state = CommittedState.from_json(rows[0][0])
        return replace(state, state=None) if rows[0][1] and not has_table else state

    def history(self, session: Session) -> Sequence[CommittedState]:
        """List the commits that are remembered, the newest first."""
        if not self._history.exists(session):
            return []
        rows = ask(
            session,
            f"SELECT state, rows_added FROM {self._history.sql} WHERE state_key = $1 ORDER BY generation DESC",
            self._key,
        )
        return [PastCommit(**{**vars(CommittedState.from_json(state)), "rows": added}) for state, added in rows]

    def shows(self, session: Session, state: CommittedState) -> bool:
        """Say whether exactly this commit has landed, whatever came after it."""
        found = value(
            session,
            f"SELECT commit_id FROM {self._history.sql} WHERE state_key = $1 AND generation = $2",
            self._key,
            state.generation,
        )
        return bool(found == state.commit_id)

    def make(self, session: Session) -> None:
        """Make the schema and the tables of states where they are missing, within the transaction."""
        make_schema(session, self._schema)
        for table, columns in ((self._states, _STATE_COLUMNS), (self._history, _HISTORY_COLUMNS)):
            if not table.exists(session):
                wait_to_make(session)
                if not table.exists(session):
                    run(session, f"CREATE TABLE {table.sql} ({columns})")

    def move(self, session: Session, state: CommittedState, *, has_table: bool) -> bool:
        """Replace the state of the generation before within the transaction; say whether it was there.

        Another transaction that moves the same state is waited for.
        """
        values = (
            self._key,
            state.generation,
            state.commit_id,
            state.run_id,
            state.committed_at,
            has_table,
            state.to_json(),
        )
        names = "state_key, generation, commit_id, run_id, committed_at, has_table, state"
        if state.generation == 1:
            insert = f"INSERT INTO {self._states.sql} ({names}) VALUES ($1, $2, $3, $4, $5::timestamptz, $6, $7)"
            return run(session, f"{insert} ON CONFLICT DO NOTHING", *values) == 1
        update = f"UPDATE {self._states.sql} SET ({names}) = ($1, $2, $3, $4, $5::timestamptz, $6, $7)"
        return run(session, f"{update} WHERE state_key = $1 AND generation = $2 - 1", *values) == 1

    def try_rights(self, session: Session) -> None:
        """See within the transaction that the tables of states may be written; nobody is waited for, no row touched."""
        self.make(session)
        for table in (self._states, self._history):
            run(session, f"INSERT INTO {table.sql} SELECT * FROM {table.sql} WHERE false")
        run(session, f"UPDATE {self._states.sql} SET generation = generation WHERE false")
        run(session, f"DELETE FROM {self._history.sql} WHERE false")

    def remember(self, session: Session, state: CommittedState, *, rows_added: int) -> None:
        """Add a commit to the history within its transaction; the oldest beyond a thousand is let go."""
        run(
            session,
            f"INSERT INTO {self._history.sql} (state_key, generation, commit_id, run_id, committed_at, rows_added,"
            " state) VALUES ($1, $2, $3, $4, $5::timestamptz, $6, $7)",
            self._key,
            state.generation,
            state.commit_id,
            state.run_id,
            state.committed_at,
            rows_added,
            state.to_json(),
        )
        run(
            session,
            f"DELETE FROM {self._history.sql} WHERE state_key = $1 AND generation <= $2",
            self._key,
            state.generation - _KEPT_COMMITS,
        )


def transaction_of(session: Session) -> str:
    """Give the number of the session's transaction, by which `outcome_of` knows it."""
    return str(value(session, "SELECT pg_catalog.txid_current()::text"))


def outcome_of(session: Session, transaction: str) -> str | None:
    """Say what became of a transaction: ``committed``, ``aborted``, ``in progress``, or None where nobody knows."""
    found: str | None = value(session, "SELECT pg_catalog.txid_status($1::bigint)", transaction)
    return found


def end(session: Session, transaction: str) -> None:
    """End the session that still has the transaction open: its client is gone."""
    run(
        session,
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
        " WHERE backend_xid::text::bigint = $1::bigint % 4294967296 AND usename = current_user",
        transaction,
    )
