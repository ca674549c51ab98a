"""What a check of a MySQL source tells of each thing that may be wrong."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from mariadb_service import MariaDB

from dativo_ingest.mysql.connection import parse_access
from dativo_ingest.mysql.way_in import way_in
from dativo_ingest.sources.mysql.checks import Checks
from dativo_ingest.sources.mysql.options import MysqlSourceOptions
from dativo_ingest.sources.mysql.selection import selection_of
from dativo_plugin_sdk import Check, ConnectionTestResult, DativoError, StreamSpec

ORDERS = StreamSpec(name="checked.orders")
FOLLOWED = StreamSpec(name="checked.orders", mode="incremental", cursor="at")
READER = {"user": "checks_reader", "database": None}
SECRET = {"password": "secret"}


@contextmanager
def checks(server: MariaDB, changes: dict[str, Any], credentials: Any, streams: Any, options: Any) -> Iterator[Any]:
    def selected(session: Any, stream: StreamSpec) -> Any:
        return selection_of(session, stream, MysqlSourceOptions(**options))

    connection = {"host": server.host, "port": server.port, "user": server.user, "database": "checked", **changes}
    given = {key: value for key, value in connection.items() if value is not None}
    access = parse_access(given, credentials, end="source")
    made = Checks(way_in(access, Checks.failures), streams, selected)
    try:
        yield made.steps()
    finally:
        made.close()


def walk(
    server: MariaDB,
    changes: dict[str, Any] | None = None,
    credentials: Any = None,
    streams: tuple[StreamSpec, ...] = (ORDERS,),
    **options: Any,
) -> dict[str, ConnectionTestResult | DativoError]:
    """Run the steps until the first that fails, as the engine does; give results or errors by step."""
    found: dict[str, ConnectionTestResult | DativoError] = {}
    check: Check
    with checks(server, changes or {}, credentials or server.credentials, streams, options) as steps:
        for check in steps:
            try:
                found[check.step] = check.run()
            except DativoError as error:
                found[check.step] = error
                break
    return found


def failed(found: dict[str, ConnectionTestResult | DativoError]) -> tuple[str, DativoError]:
    step, error = list(found.items())[-1]
    assert isinstance(error, DativoError), found
    return step, error


@pytest.fixture
def shop(mariadb: MariaDB) -> Iterator[MariaDB]:
    """Make a table in a database, and a user who has been granted nothing."""
    mariadb.ask(
        "CREATE DATABASE checked",
        "CREATE TABLE checked.orders (id int PRIMARY KEY, at timestamp NOT NULL)",
        "INSERT INTO checked.orders VALUES (1, '2026-01-01 00:00:00')",
        "CREATE USER checks_reader@'%' IDENTIFIED BY 'secret'",
    )
    yield mariadb
    mariadb.ask("DROP DATABASE checked", "DROP USER checks_reader@'%'")


@pytest.fixture
def granted(shop: MariaDB) -> Callable[..., MariaDB]:
    def grant(*rights: str) -> MariaDB:
        shop.ask(*(f"GRANT {right} TO checks_reader@'%'" for right in rights))
        return shop

    return grant


def test_checking_walks_from_the_name_to_a_row(shop: MariaDB) -> None:
    found = walk(shop)

    assert list(found) == [
        "dns",
        "tcp",
        "tls",
        "authentication",
        "database",
        "permission checked.orders",
        "read checked.orders",
    ]
    assert all(isinstance(result, ConnectionTestResult) and result.success for result in found.values())
    assert found["tls"].details == {"tls": True}
    assert found["database"].message.startswith("database checked of MariaDB 10.11")
    assert found["read checked.orders"].message == "one row was read"


@pytest.mark.parametrize(
    ("connection", "step", "code", "hint"),
    [
        pytest.param({"host": "no.such.host.invalid"}, "dns", "NETWORK_ERROR", "source.connection.host", id="host"),
        pytest.param({"user": "nobody"}, "authentication", "INVALID_CREDENTIALS", "connection.user", id="user"),
        pytest.param({"database": "nowhere"}, "database", "RESOURCE_NOT_FOUND", "connection.database", id="database"),
        pytest.param({"ssl_mode": "verify_ca"}, "tls", "INVALID_CONFIG", "connection.ssl_ca", id="untrusted"),
        pytest.param({"ssl_ca": "/nowhere"}, "tls", "INVALID_CONFIG", "the files", id="no such file"),
    ],
)
def test_what_is_wrong_with_the_connection_is_told_at_its_step(
    shop: MariaDB, connection: dict[str, Any], step: str, code: str, hint: str
) -> None:
    where, error = failed(walk(shop, connection))

    assert (where, error.error_code) == (step, code)
    assert hint in str(error.hint)
    assert shop.password not in str(error.to_dict())


def test_a_port_where_nobody_listens_is_told(shop: MariaDB) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        step, error = failed(walk(shop, {"port": free.getsockname()[1]}))

    assert (step, error.error_code, error.retryable) == ("tcp", "NETWORK_ERROR", True)


def test_a_wrong_password_is_told(shop: MariaDB) -> None:
    step, error = failed(walk(shop, credentials={"password": "wrong"}))

    assert (step, error.error_code) == ("authentication", "INVALID_CREDENTIALS")


def test_an_expired_certificate_is_told(shop: MariaDB) -> None:
    shop.show_certificate(*shop.authority.issue(shop.host, days=(-9, -3)))
    try:
        step, error = failed(walk(shop, {"ssl_ca": str(shop.ca)}))
    finally:
        shop.show_certificate(*shop.authority.issue(shop.host))

    assert (step, error.error_code) == ("tls", "AUTH_FAILED")
    assert "has expired on" in error.message


def test_a_unix_socket_has_no_name_to_look_up(shop: MariaDB) -> None:
    found = walk(shop, {"host": None, "port": None, "socket": str(shop.socket)})

    assert found["dns"].message == "no name to look up: the server is reached by its Unix socket"
    assert found["tls"].message == "the connection is not encrypted"
    assert "read checked.orders" in found


def test_each_missing_right_is_told_with_the_grant(shop: MariaDB) -> None:
    step, error = failed(walk(shop, {"user": "checks_reader"}, SECRET))
    assert (step, error.error_code) == ("database", "INSUFFICIENT_PERMISSIONS")
    assert "GRANT SELECT" in str(error.hint)

    step, error = failed(walk(shop, READER, SECRET))
    assert (step, error.error_code) == ("permission checked.orders", "INSUFFICIENT_PERMISSIONS")
    assert error.hint == "GRANT SELECT ON `checked`.`orders` TO 'checks_reader'@'%'"

    step, error = failed(walk(shop, READER, SECRET, streams=()))
    assert (step, error.error_code) == ("permission", "INSUFFICIENT_PERMISSIONS")

    shop.ask("GRANT SELECT ON checked.orders TO checks_reader@'%'")
    found = walk(shop, READER, SECRET)
    assert found["read checked.orders"].message == "one row was read"


def test_a_view_whose_definer_lost_his_rights_is_told_when_it_is_read(granted: Callable[..., MariaDB]) -> None:
    server = granted("SELECT ON checked.*")
    server.ask(
        "CREATE USER checks_author@'%' IDENTIFIED BY 'x'",
        "CREATE DEFINER = checks_author@'%' VIEW checked.authored AS SELECT id FROM checked.orders",
    )
    try:
        step, error = failed(walk(server, READER, SECRET, streams=(StreamSpec("checked.authored"),)))
    finally:
        server.ask("DROP USER checks_author@'%'")

    assert step.endswith("checked.authored")
    assert "defined it" in str(error.hint)


def test_a_stream_that_is_not_there_is_told(shop: MariaDB) -> None:
    step, error = failed(walk(shop, streams=(StreamSpec("checked.order"),)))

    assert (step, error.error_code) == ("permission checked.order", "DATA_NOT_FOUND")
    assert error.hint == "did you mean checked.orders?"


def test_columns_that_the_user_may_not_read_are_a_warning(granted: Callable[..., MariaDB]) -> None:
    found = walk(granted("SELECT (id) ON checked.orders"), READER, SECRET)

    result = found["permission checked.orders"]
    assert (result.details or {})["warning"] is True
    assert "other columns" in result.message


def test_a_cursor_that_is_not_there_is_told_with_one_that_would_do(shop: MariaDB) -> None:
    shop.ask("ALTER TABLE checked.orders ADD changed_at datetime")
    step, error = failed(walk(shop, streams=(StreamSpec(name="checked.orders", mode="incremental", cursor="nope"),)))

    assert (step, error.error_code) == ("permission checked.orders", "INVALID_CONFIG")
    assert "changed_at would do" in str(error.hint)


def test_a_query_is_tried(shop: MariaDB) -> None:
    found = walk(shop, streams=(StreamSpec("mine"),), query="SELECT id FROM orders")
    step, error = failed(walk(shop, streams=(StreamSpec("mine"),), query="SELECT nope FROM orders"))

    assert found["read mine"].message == "one row was read"
    assert (step, error.error_code) == ("permission mine", "INVALID_CONFIG")


def test_open_transactions_need_a_right_of_their_own(granted: Callable[..., MariaDB]) -> None:
    found = walk(granted("SELECT ON checked.*"), READER, SECRET, streams=(FOLLOWED,))

    result = found["open transactions"]
    assert (result.details or {})["warning"] is True
    assert "GRANT PROCESS ON *.* TO 'checks_reader'@'%'" in result.message


def test_the_oldest_open_transaction_is_named(granted: Callable[..., MariaDB]) -> None:
    server = granted("SELECT ON checked.*", "PROCESS ON *.*")

    with server.connect(autocommit=False) as open_session, open_session.cursor() as cursor:
        cursor.execute("INSERT INTO checked.orders VALUES (2, '2026-01-02 00:00:00')")
        found = walk(server, READER, SECRET, streams=(FOLLOWED,))
        number = open_session.thread_id()
        open_session.rollback()

    result = found["open transactions"]
    assert (result.details or {})["oldest"] == f"connection {number} of dativo_admin (Sleep)"


def test_a_prepared_transaction_without_a_session_counts_as_open(granted: Callable[..., MariaDB]) -> None:
    server = granted("SELECT ON checked.*", "PROCESS ON *.*")
    with server.connect() as gone, gone.cursor() as cursor:
        for statement in (
            "XA START 'left'",
            "INSERT INTO checked.orders VALUES (3, '2026-01-02 00:00:00')",
            "XA END 'left'",
            "XA PREPARE 'left'",
        ):
            cursor.execute(statement)
    try:
        found = walk(server, READER, SECRET, streams=(FOLLOWED,))
    finally:
        server.ask("XA ROLLBACK 'left'")

    assert (found["open transactions"].details or {})["oldest"] == "a prepared transaction"
