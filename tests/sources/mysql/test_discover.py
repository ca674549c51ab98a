"""What discover finds on a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from mariadb_service import MariaDB

from dativo_ingest.mysql import sessions
from dativo_ingest.mysql.connection import parse_access
from dativo_ingest.mysql.sessions import Session, connect, let_go
from dativo_ingest.sources.mysql.discovery import discover, doubts, find, find_listed, stream_names
from dativo_ingest.sources.mysql.failures import FAILURES
from dativo_plugin_sdk import DataNotFoundError, DataValidationError, DativoError, InsufficientPermissionsError

_ORDERS = """
CREATE TABLE orders (
    id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer varchar(40) NOT NULL COMMENT 'who pays',
    total decimal(10,2),
    note json,
    plain longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    created_at datetime NOT NULL,
    touched timestamp(6) NOT NULL DEFAULT current_timestamp(6) ON UPDATE current_timestamp(6)
) COMMENT 'what was bought'
"""


@pytest.fixture
def shop(mariadb: MariaDB) -> Iterator[Callable[..., MariaDB]]:
    """Give a way to run statements in two databases of the test's own, ``tried`` and ``tried.too``."""
    mariadb.ask("CREATE DATABASE tried", "CREATE DATABASE `tried.too`")

    def tell(*statements: str) -> MariaDB:
        mariadb.ask("USE tried", *statements)
        return mariadb

    yield tell
    mariadb.ask("DROP DATABASE tried", "DROP DATABASE `tried.too`", "DROP USER IF EXISTS looker@'%'")


@contextmanager
def _session(server: MariaDB, database: str | None = "tried", user: str | None = None) -> Iterator[Session]:
    connection = {**server.connection, "database": database, "user": user or server.user}
    credentials = server.credentials if user is None else {"password": "p"}
    session = connect(parse_access(connection, credentials, end="source").parameters, FAILURES)
    try:
        yield session
    finally:
        let_go(session)


def _objects(server: MariaDB, pattern: str | None = None, **where: Any) -> dict[str, dict[str, Any]]:
    with _session(server, **where) as session:
        return {each["name"]: each for each in discover(session, pattern).objects}


def _warnings(server: MariaDB, pattern: str | None = None, **where: Any) -> list[str]:
    with _session(server, **where) as session:
        return list(discover(session, pattern).warnings)


def test_a_table_is_described_with_columns_key_and_cursors(shop: Callable[..., MariaDB]) -> None:
    server = shop(_ORDERS, "INSERT INTO orders (customer, created_at) VALUES ('a', now()), ('b', now())")

    found = _objects(server)["tried.orders"]

    columns = found.pop("columns")
    assert found.pop("size_bytes") > 0
    assert found == {
        "name": "tried.orders",
        "namespace": "tried",
        "type": "table",
        "description": "what was bought",
        "estimated_rows": 2,
        "primary_key": ["id"],
        "cursor_candidates": ["touched", "id", "created_at"],
        "cursor": "touched",
        "sync_modes": ["full_refresh", "incremental"],
    }
    assert [tuple(column.values()) for column in columns] == [
        ("id", "bigint(20) unsigned", "decimal128(20, 0)", False, "widened"),
        ("customer", "varchar(40)", "string", False, "exact"),
        ("total", "decimal(10,2)", "decimal128(10, 2)", True, "exact"),
        ("note", "json", "string", True, "exact"),
        ("plain", "longtext", "string", True, "exact"),
        ("created_at", "datetime", "timestamp[us]", False, "exact"),
        ("touched", "timestamp(6)", "timestamp[us, tz=UTC]", False, "exact"),
    ]


def test_json_is_told_by_its_check_and_comments_are_kept(shop: Callable[..., MariaDB]) -> None:
    with _session(shop(_ORDERS)) as session:
        fields = find(session, "orders").arrow_schema

    metadata = {field.name: field.metadata or {} for field in fields}
    assert metadata["note"][b"dativo.logical_type"] == b"json"
    assert b"dativo.logical_type" not in metadata["plain"]
    assert metadata["customer"][b"doc"] == b"who pays"


def test_what_has_rows_is_told_apart(shop: Callable[..., MariaDB]) -> None:
    server = shop(
        "CREATE TABLE plain (a int)",
        "CREATE TABLE parts (a int PRIMARY KEY) PARTITION BY HASH (a) PARTITIONS 3",
        "CREATE TABLE history (a int) WITH SYSTEM VERSIONING",
        "CREATE TABLE files (a int) ENGINE = MyISAM",
        "CREATE VIEW seen AS SELECT a FROM plain",
        "CREATE SEQUENCE numbers",
    )

    found = {name.removeprefix("tried."): each["type"] for name, each in _objects(server).items()}

    assert found == {
        "plain": "table",
        "parts": "partitioned table",
        "history": "table",
        "files": "table",
        "seen": "view",
    }


def test_the_primary_key_goes_before_the_smallest_that_is_never_null(shop: Callable[..., MariaDB]) -> None:
    server = shop(
        "CREATE TABLE keyed (a int, b int NOT NULL, c int, UNIQUE (b), PRIMARY KEY (c, a))",
        "CREATE TABLE smallest (a int NOT NULL, b int NOT NULL, c int NOT NULL, UNIQUE wide (a, b), UNIQUE one (c))",
        "CREATE TABLE nullable (a int, UNIQUE (a))",
        "CREATE TABLE beginning (a text NOT NULL, UNIQUE (a(10)))",
    )

    with _session(server) as session:
        found = find_listed(session, ["keyed", "smallest", "nullable", "beginning"])

    keys = {name: (each.key, each.primary_key) for name, each in found.items()}
    assert keys == {
        "keyed": (("c", "a"), ("c", "a")),
        "smallest": (("c",), ()),
        "nullable": ((), ()),
        "beginning": ((), ()),
    }


def test_a_broken_view_is_left_out_and_says_so(shop: Callable[..., MariaDB]) -> None:
    server = shop("CREATE TABLE a (b int)", "CREATE VIEW broken AS SELECT b FROM a", "DROP TABLE a")

    assert _objects(server) == {}
    assert ["tried.broken is left out" in text for text in _warnings(server)] == [True]
    with _session(server) as session, pytest.raises(DataNotFoundError, match="uses what is gone"):
        find(session, "broken")


def test_without_a_database_all_but_the_systems_own_are_listed(shop: Callable[..., MariaDB]) -> None:
    server = shop("CREATE TABLE a (b int)", 'CREATE TABLE `tried.too`.`or.ders "`` ü` (`select` int)')

    names = {name for name in _objects(server, database=None) if name.startswith("tried")}

    assert names == {"tried.a", 'tried.too.or.ders "` ü'}
    assert not [name for name in _objects(server, database=None) if name.startswith(("mysql.", "sys."))]


def test_a_pattern_picks_by_database_and_name(shop: Callable[..., MariaDB]) -> None:
    server = shop("CREATE TABLE orders_1 (b int)", "CREATE TABLE orders_2 (b int)", "CREATE TABLE users (b int)")

    assert set(_objects(server, "tried.orders_*")) == {"tried.orders_1", "tried.orders_2"}
    assert "nothing matches 'orders_*'" in _warnings(server, "orders_*")[0]


def test_globs_pick_from_what_the_user_may_read(shop: Callable[..., MariaDB]) -> None:
    server = shop(
        "CREATE TABLE a (b int)",
        "CREATE TABLE secret (b int)",
        "CREATE TABLE written (b int)",
        "CREATE USER looker@'%' IDENTIFIED BY 'p'",
        "GRANT SELECT ON tried.a TO looker@'%'",
        "GRANT INSERT ON tried.written TO looker@'%'",
    )

    with _session(server, user="looker") as session:
        assert stream_names(session) == ["tried.a"]
    (warning,) = _warnings(server, user="looker")
    assert warning == (
        "in tried, written left out: looker@% may not read it; GRANT SELECT ON `tried`.`written` TO 'looker'@'%'"
    )


def test_columns_granted_one_by_one_are_all_that_is_read(shop: Callable[..., MariaDB]) -> None:
    server = shop(
        "CREATE TABLE people (id int PRIMARY KEY, name text, salary int)",
        "CREATE USER looker@'%' IDENTIFIED BY 'p'",
        "GRANT SELECT (id, name) ON tried.people TO looker@'%'",
    )

    with _session(server, user="looker") as session:
        found = find(session, "tried.people")

    assert [column.name for column in found.columns] == ["id", "name"]
    assert list(doubts(found)) == [
        "tried.people: the user may read id, name; other columns, if there are any, are left out"
    ]


def test_a_name_without_a_database_means_the_connections_own(shop: Callable[..., MariaDB]) -> None:
    server = shop("CREATE TABLE a (b int)", "CREATE TABLE `tried.too`.a (b int)")

    with _session(server) as session:
        found = [find(session, name).title for name in ("a", "tried.a", "tried.too.a")]

    assert found == ["tried.a", "tried.a", "tried.too.a"]


def test_a_name_that_means_two_tables_is_refused(shop: Callable[..., MariaDB]) -> None:
    server = shop("CREATE TABLE `too.a` (b int)", "CREATE TABLE `tried.too`.a (b int)")

    with (
        _session(server) as session,
        pytest.raises(DataValidationError, match=r"means `tried`\.`too\.a` and `tried\.too`"),
    ):
        find(session, "tried.too.a")


def _missing(server: MariaDB, name: str, **where: Any) -> DativoError:
    with _session(server, **where) as session, pytest.raises(DativoError) as caught:
        find(session, name)
    return caught.value


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(shop: Callable[..., MariaDB]) -> None:
    error = _missing(shop(_ORDERS), "tried.order")

    assert isinstance(error, DataNotFoundError)
    assert error.hint == "did you mean tried.orders?"


def test_what_the_user_may_not_see_is_a_matter_of_rights(shop: Callable[..., MariaDB]) -> None:
    server = shop("CREATE TABLE secret (b int)", "CREATE USER looker@'%' IDENTIFIED BY 'p'")

    error = _missing(server, "tried.secret", user="looker", database=None)

    assert isinstance(error, InsufficientPermissionsError)
    assert error.hint == "GRANT SELECT ON `tried`.`secret` TO 'looker'@'%'"


def test_many_tables_are_found_by_as_few_queries_as_one(
    shop: Callable[..., MariaDB], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"t{number}" for number in range(60)]
    server = shop(*(f"CREATE TABLE {name} (a int PRIMARY KEY, b json, c timestamp)" for name in names))
    statements: list[str] = []
    counted = sessions.Session.query

    def query(self: Session, sql: str, *rest: Any, **more: Any) -> int:
        statements.append(sql)
        return counted(self, sql, *rest, **more)

    monkeypatch.setattr(sessions.Session, "query", query)
    counts = []
    with _session(server) as session:
        for act in (
            lambda: discover(session).objects,
            lambda: find_listed(session, names),
            lambda: stream_names(session),
            lambda: find(session, "t7").columns,
        ):
            before = len(statements)
            assert len(act()) in {60, 3}
            counts.append(len(statements) - before)

    assert counts == [6, 6, 2, 6]
