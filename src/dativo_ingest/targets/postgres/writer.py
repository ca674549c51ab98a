"""The Postgres target as the engine sees it; psycopg is imported when the server is first asked for something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from dativo_ingest.postgres.failures import require_psycopg
from dativo_ingest.targets.postgres.config import parse_config, parse_options
from dativo_ingest.targets.postgres.failures import FAILURES
from dativo_ingest.targets.postgres.names import require_names
from dativo_plugin_sdk import (
    Check,
    InvalidConfigError,
    StreamWriter,
    TableSpec,
    TableWriter,
    TargetConfig,
    WriteMode,
)

if TYPE_CHECKING:
    from dativo_ingest.postgres.sessions import Sessions
    from dativo_ingest.targets.postgres.checks import Checks
    from dativo_ingest.targets.postgres.config import PostgresOptions
    from dativo_ingest.targets.postgres.table import PostgresTableWriter


class PostgresWriter(StreamWriter):
    """Writes tables of a Postgres database; append, overwrite and merge are exactly once.

    Args:
        config: ``connection``, ``credentials`` and ``options`` as `dativo_ingest.targets.postgres.config` has them.

    Raises:
        InvalidConfigError: A key or value is wrong.
    """

    write_modes: ClassVar[frozenset[WriteMode]] = frozenset({"append", "overwrite", "merge"})
    deletes_rows: ClassVar[bool] = True
    compares_keys: ClassVar[bool] = True

    def __init__(self, config: TargetConfig) -> None:
        super().__init__(config)
        self._parsed = parse_config(config)
        self._sessions: Sessions | None = None
        self._tables: list[PostgresTableWriter] = []
        self._checks: list[Checks] = []

    def check(self, tables: Sequence[TableSpec]) -> Sequence[Check]:
        """List the steps from the server's name to a probe that is rolled back.

        Raises:
            ResourceNotFoundError: The package psycopg is not installed.
        """
        require_psycopg("the postgres target")
        from dativo_ingest.targets.postgres.checks import Checks  # noqa: PLC0415  it imports psycopg

        for spec in tables:
            self._options(spec)
        self._checks.append(checks := Checks(self._parsed, tables))
        return checks.steps()

    def table(self, spec: TableSpec) -> TableWriter:
        """Give the writer of one table.

        Raises:
            InvalidConfigError: An option or a name that cannot be had, or a merge without a primary key.
            ResourceNotFoundError: The package psycopg is not installed.
        """
        require_psycopg("the postgres target")
        from dativo_ingest.postgres.sessions import Sessions  # noqa: PLC0415  it imports psycopg
        from dativo_ingest.targets.postgres.table import PostgresTableWriter  # noqa: PLC0415

        options = self._options(spec)
        if self._sessions is None:
            self._sessions = Sessions(self._parsed.access.parameters(), FAILURES)
        table = PostgresTableWriter(spec, self._sessions, options)
        self._tables.append(table)
        return table

    def close(self) -> None:
        """Drop what was neither committed nor aborted, and let go of the server."""
        for table in self._tables:
            table.abort()
        for checks in self._checks:
            checks.close()
        self._tables, self._checks = [], []
        if self._sessions is not None:
            self._sessions.close()

    def _options(self, spec: TableSpec) -> PostgresOptions:
        if spec.write == "merge" and not spec.primary_key:
            raise InvalidConfigError(f"streams.{spec.stream}: write: merge needs primary_key")
        require_names(spec)
        return parse_options(self.config.options, spec.options, where=f"streams.{spec.stream}")
