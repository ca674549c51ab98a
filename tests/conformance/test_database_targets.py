"""The built-in targets in databases pass the suite that plugins pass."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pytest
from postgres_service import Postgres
from psycopg import sql
from psycopg.rows import dict_row
from server_processes import free_port

from dativo_ingest import __version__
from dativo_ingest.targets.postgres import PostgresWriter
from dativo_plugin_sdk.testing import WriterCase, WriterSuite


class TestPostgres(WriterSuite):
    plugin = PostgresWriter
    version = __version__
    connector = "postgres"

    @pytest.fixture
    def writer_case(self, postgres: Postgres) -> Iterator[WriterCase]:
        schema = f"conformance_{uuid.uuid4().hex[:12]}"

        def read(name: str) -> list[Mapping[str, Any]]:
            with postgres.connect(row_factory=dict_row, options="-c timezone=UTC") as session:
                try:
                    return session.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, name))).fetchall()
                except psycopg.errors.UndefinedTable:
                    return []

        yield WriterCase(
            read=read,
            connection=postgres.connection,
            credentials=postgres.credentials,
            bad_credentials={"password": "not the password"},
            bad_host={"port": free_port()},
            namespace=schema,
        )
        postgres.ask(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
