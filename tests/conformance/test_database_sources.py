"""The built-in sources of databases pass the suite that plugins pass."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from mariadb_service import MariaDB
from postgres_service import Postgres
from server_processes import free_port

from dativo_ingest import __version__
from dativo_ingest.sources.mysql import MysqlReader
from dativo_ingest.sources.postgres import PostgresReader
from dativo_plugin_sdk.testing import Gap, ReaderCase, ReaderSuite, StreamCase

ROWS = 500
GAPS = (Gap("retry_after", "not_applicable", "databases are not asked by HTTP"),)
WANTED = [
    {
        "id": number,
        "name": None if number % 7 == 0 else f"Åsa {number}",
        "price": Decimal(number) / 4,
        "changed_at": datetime.fromisoformat("2026-01-01") + timedelta(minutes=number),
    }
    for number in range(1, ROWS + 1)
]
COLUMNS = "id int PRIMARY KEY, name varchar(50), price decimal(12, 2), changed_at {moment} NOT NULL"
LARGE_ROWS = 12 * 1024


def case_of(server: Any, database: str, connection: dict[str, Any], port: int) -> ReaderCase:
    whole = StreamCase(f"{database}.whole", primary_key=["id"], rows=WANTED)
    followed = StreamCase(
        f"{database}.followed", mode="incremental", cursor="changed_at", primary_key=["id"], rows=WANTED
    )
    return ReaderCase(
        streams=[whole, followed],
        connection=connection,
        credentials=server.credentials,
        bad_credentials={"password": "not the password"},
        bad_host={"port": port},
        large=StreamCase(f"{database}.large"),
    )


class TestPostgres(ReaderSuite):
    plugin = PostgresReader
    version = __version__
    connector = "postgres"
    gaps = GAPS

    @pytest.fixture
    def reader_case(self, postgres: Postgres, postgres_tables: str) -> ReaderCase:
        return case_of(postgres, postgres_tables, postgres.connection, free_port())


class TestMysql(ReaderSuite):
    plugin = MysqlReader
    version = __version__
    connector = "mysql"
    gaps = GAPS

    @pytest.fixture
    def reader_case(self, mariadb: MariaDB, mysql_tables: str) -> ReaderCase:
        return case_of(mariadb, mysql_tables, {**mariadb.connection, "database": mysql_tables}, free_port())


@pytest.fixture(scope="module")
def postgres_tables(postgres: Postgres) -> Iterator[str]:
    name = f"conformance_{uuid.uuid4().hex[:12]}"
    postgres.ask(f"CREATE SCHEMA {name}")
    for table in ("whole", "followed"):
        postgres.ask(f"CREATE TABLE {name}.{table} ({COLUMNS.format(moment='timestamp')})")
        with postgres.connect() as session, session.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {name}.{table} VALUES (%s, %s, %s, %s)", [[*row.values()] for row in WANTED]
            )
    postgres.ask(
        f"CREATE TABLE {name}.large AS "
        f"SELECT n AS id, repeat('x', 4096) AS text FROM generate_series(1, {LARGE_ROWS}) AS n"
    )
    yield name
    postgres.ask(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(scope="module")
def mysql_tables(mariadb: MariaDB) -> Iterator[str]:
    name = f"conformance_{uuid.uuid4().hex[:12]}"
    mariadb.ask(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    for table in ("whole", "followed"):
        mariadb.ask(f"CREATE TABLE {name}.{table} ({COLUMNS.format(moment='datetime(6)')})")
        with mariadb.connect(database=name) as session, session.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} VALUES (%s, %s, %s, %s)", [[*row.values()] for row in WANTED])
    mariadb.ask(
        f"CREATE TABLE {name}.large AS SELECT seq AS id, REPEAT('x', 4096) AS text FROM {name}.seq_1_to_{LARGE_ROWS}"
    )
    yield name
    mariadb.ask(f"DROP DATABASE {name}")
