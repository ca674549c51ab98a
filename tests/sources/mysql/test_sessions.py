"""Sessions with a real server: what they are set to, and why there may be none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pymysql
import pytest
from certificates import Authority
from mariadb_service import MariaDB

from dativo_ingest.mysql.connection import parse_access
from dativo_ingest.mysql.failures import Failures
from dativo_ingest.mysql.sessions import Session, ask, connect, let_go, run, value
from dativo_plugin_sdk import (
    AuthenticationError,
    ConcurrencyError,
    DatabaseLockError,
    DataNotFoundError,
    DativoError,
    InsufficientPermissionsError,
    InvalidConfigError,
    InvalidCredentialsError,
    NetworkError,
    ResourceError,
    ResourceNotFoundError,
    ServiceUnavailableError,
    TimeoutError,
    TransientError,
)

_FAILURES = Failures("source")


def _open(server: MariaDB, password: str | None = None, **changes: Any) -> Session:
    connection = {key: each for key, each in {**server.connection, **changes}.items() if each is not None}
    credentials = server.credentials if password is None else {"password": password}
    return connect(parse_access(connection, credentials, end="source").parameters, _FAILURES)


@contextmanager
def _session(server: MariaDB, **changes: Any) -> Iterator[Session]:
    session = _open(server, **changes)
    try:
        yield session
    finally:
        let_go(session)


@pytest.fixture
def account(mariadb: MariaDB) -> Iterator[str]:
    """Give the name of an account that a test may make; it is gone afterwards."""
    yield "tried"
    with mariadb.connect_as_root() as session, session.cursor() as cursor:
        cursor.execute("SELECT host FROM mysql.user WHERE user = 'tried'")
        for (host,) in cursor.fetchall():
            cursor.execute("DROP USER 'tried'@%s", (host,))


@contextmanager
def _global(server: MariaDB, name: str, setting: str) -> Iterator[None]:
    with server.connect_as_root() as session, session.cursor() as cursor:
        cursor.execute(f"SELECT @@GLOBAL.{name}")
        (before,) = cursor.fetchone()
        cursor.execute(f"SET GLOBAL {name} = {setting}")
        try:
            yield
        finally:
            cursor.execute(f"SET GLOBAL {name} = %s", (before,))


def test_a_session_reads_only_in_utc_and_sees_one_image(mariadb: MariaDB) -> None:
    settings = "@@time_zone, @@tx_isolation, @@tx_read_only, @@character_set_results, @@idle_transaction_timeout"

    with _session(mariadb) as session:
        (found,) = ask(session, f"SELECT {settings}")

    assert found == ("+00:00", "REPEATABLE-READ", 1, "utf8mb4", 0)


def test_what_the_server_is_set_to_does_not_change_what_texts_mean(mariadb: MariaDB) -> None:
    odd = "'ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH,NO_BACKSLASH_ESCAPES'"

    with _global(mariadb, "sql_mode", odd), _session(mariadb) as session:
        found = value(session, r"""SELECT CONCAT("a", '\'', CAST('b' AS CHAR(3)), '|')""")

    assert found == "a'b|"


def test_the_server_says_what_it_is(mariadb: MariaDB) -> None:
    with _session(mariadb) as session:
        server = session.server

    assert server.is_mariadb
    assert server.version[:2] == (10, 11)
    assert server.name.startswith("MariaDB 10.11.")


def test_a_session_may_be_let_go_twice(mariadb: MariaDB) -> None:
    session = _open(mariadb)

    let_go(session)
    let_go(session)

    assert not session.open


def test_a_session_waits_for_as_long_as_the_server_is_there(mariadb: MariaDB) -> None:
    with _session(mariadb, connect_timeout_s=1) as session:
        found = value(session, "SELECT SLEEP(1.3)")

    assert found == 0


@pytest.mark.parametrize(
    ("mode", "encrypted"), [("disabled", False), ("preferred", True), ("required", True), ("verify_identity", True)]
)
def test_tls_modes_encrypt_as_they_say(mariadb: MariaDB, mode: str, *, encrypted: bool) -> None:
    authority = {"ssl_ca": str(mariadb.ca)} if mode.startswith("verify") else {}

    with _session(mariadb, ssl_mode=mode, **authority) as session:
        assert session.is_encrypted is encrypted


def test_a_unix_socket_needs_no_tls(mariadb: MariaDB) -> None:
    with _session(mariadb, host=None, port=None, socket=str(mariadb.socket)) as session:
        assert session.is_safe
        assert not session.is_encrypted


def test_verify_ca_does_not_look_at_names(mariadb: MariaDB) -> None:
    with _session(mariadb, host="localhost", ssl_mode="verify_ca", ssl_ca=str(mariadb.ca)) as session:
        assert session.is_encrypted


def test_a_password_may_have_any_characters(mariadb: MariaDB, account: str) -> None:
    mariadb.ask(f"CREATE USER {account}@'%' IDENTIFIED BY 'pä€''ß'")

    with _session(mariadb, password="pä€'ß", user=account, database=None) as session:
        assert value(session, "SELECT 1") == 1


def _refusal(server: MariaDB, **changes: Any) -> DativoError:
    with pytest.raises(DativoError) as caught:
        let_go(_open(server, **changes))
    return caught.value


def test_certificates_of_another_name_of_unknown_authors_and_out_of_date_are_told_apart(mariadb: MariaDB) -> None:
    usual = mariadb.authority.issue(mariadb.host)
    ca = str(mariadb.ca)

    named = _refusal(mariadb, host="localhost", ssl_ca=ca)
    unknown = _refusal(mariadb, ssl_mode="verify_ca")
    try:
        mariadb.show_certificate(*mariadb.authority.issue(mariadb.host, days=(-9, -3)))
        expired = _refusal(mariadb, ssl_ca=ca)
        mariadb.show_certificate(*mariadb.authority.issue(mariadb.host, days=(3, 9)))
        early = _refusal(mariadb, ssl_ca=ca)
        mariadb.show_certificate(*Authority("Somebody else").issue(mariadb.host))
        foreign = _refusal(mariadb, ssl_ca=ca)
    finally:
        mariadb.show_certificate(*usual)

    found = {name: error.details["certificate"] for name, error in locals().items() if isinstance(error, DativoError)}
    assert found == {
        "named": "wrong_host",
        "unknown": "untrusted",
        "expired": "expired",
        "early": "not_yet_valid",
        "foreign": "untrusted",
    }
    assert isinstance(expired, AuthenticationError)
    assert "has expired on " in expired.message
    assert isinstance(named, InvalidConfigError)
    assert "source.connection.host" in str(named.hint)
    assert "source.connection.ssl_ca" in str(unknown.hint)


@pytest.mark.parametrize(
    ("account_is", "database", "kind", "hint"),
    [
        pytest.param(
            "IDENTIFIED BY 'right'", None, InvalidCredentialsError, "does not tell which", id="wrong password"
        ),
        pytest.param("IDENTIFIED BY 'p' ACCOUNT LOCK", None, InvalidCredentialsError, "ACCOUNT UNLOCK", id="locked"),
        pytest.param("IDENTIFIED BY 'p' PASSWORD EXPIRE", None, InvalidCredentialsError, "new password", id="expired"),
        pytest.param(
            "IDENTIFIED VIA unix_socket", None, InvalidCredentialsError, "unix_socket", id="by the system's user"
        ),
        pytest.param(
            "IDENTIFIED BY 'p'", "shop", InsufficientPermissionsError, "GRANT SELECT", id="not into the database"
        ),
    ],
)
def test_accounts_that_are_not_let_in_are_told_apart(
    mariadb: MariaDB, account: str, account_is: str, *, database: str | None, kind: type[DativoError], hint: str
) -> None:
    mariadb.ask(f"CREATE USER {account}@'%' {account_is}")

    refusal = _refusal(mariadb, user=account, password="p", database=database)

    assert type(refusal) is kind
    assert not refusal.retryable
    assert hint in str(refusal.hint)


def test_no_password_is_told_from_a_wrong_one(mariadb: MariaDB) -> None:
    refusal = _refusal(mariadb, password="")

    assert isinstance(refusal, InvalidCredentialsError)
    assert refusal.hint == "give source.credentials.password: the server was told none"


def test_an_unknown_database_is_not_found(mariadb: MariaDB) -> None:
    refusal = _refusal(mariadb, database="nowhere")

    assert isinstance(refusal, ResourceNotFoundError)
    assert "Unknown database 'nowhere'" in refusal.message


def test_a_host_that_is_not_allowed_is_no_matter_of_the_password(mariadb: MariaDB) -> None:
    with mariadb.connect_as_root() as root, root.cursor() as cursor:
        cursor.execute("SELECT user FROM mysql.user WHERE host = '%'")  # other tests' accounts, too
        users = [user for (user,) in cursor.fetchall()]
        cursor.execute("RENAME USER " + ", ".join(f"'{user}'@'%' TO '{user}'@'10.1.1.1'" for user in users))
        cursor.execute("FLUSH PRIVILEGES")
        try:
            refusal = _refusal(mariadb)
        finally:
            cursor.execute("RENAME USER " + ", ".join(f"'{user}'@'10.1.1.1' TO '{user}'@'%'" for user in users))
            cursor.execute("FLUSH PRIVILEGES")

    assert isinstance(refusal, InsufficientPermissionsError)
    assert refusal.details["error_number"] == 1130
    assert "other hosts" in str(refusal.hint)


@pytest.mark.parametrize(
    ("number", "kind", "retryable"),
    [
        pytest.param(1053, ServiceUnavailableError, True, id="shutdown"),
        pytest.param(1129, InsufficientPermissionsError, False, id="host is blocked"),
        pytest.param(1203, ServiceUnavailableError, True, id="too many connections of the account"),
        pytest.param(1205, DatabaseLockError, True, id="lock wait time-out"),
        pytest.param(1213, DatabaseLockError, True, id="deadlock"),
        pytest.param(1290, InsufficientPermissionsError, False, id="read-only server"),
        pytest.param(1412, ConcurrencyError, True, id="table changed"),
        pytest.param(1927, ServiceUnavailableError, True, id="connection killed"),
        pytest.param(3024, TimeoutError, True, id="MySQL's statement time-out"),
        pytest.param(3159, InvalidConfigError, False, id="MySQL wants TLS"),
        pytest.param(2006, NetworkError, True, id="gone away"),
        pytest.param(4031, NetworkError, True, id="said nothing for long"),
        pytest.param(31_999, ResourceError, False, id="unknown"),
    ],
)
def test_what_is_hard_to_bring_about_is_told_apart_too(
    number: int, kind: type[DativoError], *, retryable: bool
) -> None:
    found = _FAILURES.as_dativo_error(pymysql.OperationalError(number, "as the server says it"), "here")

    assert type(found) is kind
    assert found.retryable is retryable
    assert found.message == "here: as the server says it"


def test_too_many_connections_are_worth_another_try(mariadb: MariaDB) -> None:
    with _global(mariadb, "max_connections", "10"):
        taken = []
        with suppress(pymysql.Error):
            while True:
                taken.append(mariadb.connect())
        refusal = _refusal(mariadb)
        for each in taken:
            each.close()

    assert isinstance(refusal, ServiceUnavailableError)
    assert refusal.retryable
    assert refusal.details["error_number"] == 1040


def test_too_many_connections_of_one_account_are_worth_another_try(mariadb: MariaDB, account: str) -> None:
    mariadb.ask(f"CREATE USER {account}@'%' IDENTIFIED BY 'p' WITH MAX_USER_CONNECTIONS 1")

    with _session(mariadb, user=account, password="p", database=None):
        refusal = _refusal(mariadb, user=account, password="p", database=None)

    assert isinstance(refusal, ServiceUnavailableError)
    assert refusal.details["error_number"] == 1226


def test_a_port_where_nobody_listens_is_a_network_error(mariadb: MariaDB) -> None:
    refusal = _refusal(mariadb, port=1)

    assert isinstance(refusal, NetworkError)
    assert "Connection refused" in refusal.message


def test_a_socket_that_is_not_there_is_a_network_error(mariadb: MariaDB) -> None:
    refusal = _refusal(mariadb, host=None, port=None, socket=str(mariadb.folder / "no-such.sock"))

    assert isinstance(refusal, NetworkError)
    assert "no-such.sock" in refusal.message


def test_a_server_that_says_nothing_is_not_waited_for(mariadb: MariaDB) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        refusal = _refusal(mariadb, port=silent.getsockname()[1], connect_timeout_s=1)

    assert isinstance(refusal, TimeoutError)


def test_what_is_no_mysql_server_is_a_network_error(mariadb: MariaDB) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        thread = threading.Thread(target=_greet, args=(other, b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        thread.start()
        refusal = _refusal(mariadb, port=other.getsockname()[1])
        thread.join()

    assert isinstance(refusal, NetworkError)


def test_a_password_is_not_told_in_clear_text_where_others_may_listen(mariadb: MariaDB) -> None:
    plain = bytes([10]) + b"8.0.0\0" + bytes(4) + b"12345678\0" + (0xF7FF).to_bytes(2, "little")
    plain += bytes([45, 2, 0]) + (0x0008).to_bytes(2, "little") + bytes([21]) + bytes(10) + b"123456789012\0"
    greeting = plain + b"mysql_clear_password\0"
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as other:
        packet = len(greeting).to_bytes(3, "little") + b"\0" + greeting
        switch = b"\xfemysql_clear_password\0"
        thread = threading.Thread(
            target=_greet, args=(other, packet, len(switch).to_bytes(3, "little") + b"\2" + switch, heard)
        )
        thread.start()
        refusal = _refusal(mariadb, port=other.getsockname()[1], ssl_mode="disabled", password="told to nobody")
        thread.join()

    assert isinstance(refusal, InvalidCredentialsError)
    assert "clear text" in refusal.message
    assert b"told to nobody" not in b"".join(heard)


def _greet(listener: socket.socket, first: bytes, then: bytes = b"", heard: list[bytes] | None = None) -> None:
    with listener.accept()[0] as client:
        client.sendall(first)
        for said in (then, b""):
            with suppress(OSError):
                got = client.recv(4096)
                if heard is not None:
                    heard.append(got)
                client.sendall(said)


def test_what_a_statement_does_wrong_has_a_class_of_its_own(mariadb: MariaDB) -> None:
    statements = {
        "SELECT * FROM no_such_table": DataNotFoundError,
        "SELECT no_such_column FROM (SELECT 1) AS one": InvalidConfigError,
        "SELECT FROM": InvalidConfigError,
        "CREATE TABLE made (id int)": InvalidConfigError,
        "SET STATEMENT max_statement_time = 0.1 FOR SELECT SLEEP(5)": TimeoutError,
    }

    with _session(mariadb) as session:
        found = {statement: _failure(session, statement) for statement in statements}

    assert {statement: type(error) for statement, error in found.items()} == statements


def _failure(session: Session, statement: str) -> DativoError:
    with pytest.raises(DativoError) as caught, _FAILURES.translated("here"):
        run(session, statement)
    return caught.value


def test_a_session_that_is_ended_from_outside_is_worth_another_try(mariadb: MariaDB) -> None:
    with _session(mariadb) as session:
        mariadb.ask(f"KILL {session.thread_id()}")
        first, second = _failure(session, "SELECT 1"), _failure(session, "SELECT 1")

    assert first.retryable
    assert isinstance(second, NetworkError)
    assert second.retryable


def test_a_statement_that_is_ended_from_outside_is_worth_another_try(mariadb: MariaDB) -> None:
    with _session(mariadb) as session:
        ender = threading.Timer(0.3, lambda: mariadb.ask(f"KILL QUERY {session.thread_id()}"))
        ender.start()
        found = _failure(session, "SELECT SLEEP(20), 1 FROM (SELECT 1 UNION SELECT 2) AS two")
        ender.join()

    assert isinstance(found, TransientError)
    assert found.retryable


def test_a_right_that_is_missing_is_named(mariadb: MariaDB, account: str) -> None:
    mariadb.ask(
        "CREATE TABLE hidden (a int, b int)",
        f"CREATE USER {account}@'%' IDENTIFIED BY 'p'",
        f"GRANT SELECT (a) ON shop.hidden TO {account}@'%'",
    )

    with _session(mariadb, user=account, password="p") as session:
        column = _failure(session, "SELECT b FROM hidden")
        table = _failure(session, "SELECT * FROM mysql.user")
        right = _failure(session, "SELECT * FROM information_schema.innodb_trx")
    mariadb.ask("DROP TABLE hidden")

    assert {type(each) for each in (column, table, right)} == {InsufficientPermissionsError}
    assert [each.details["error_number"] for each in (column, table, right)] == [1143, 1142, 1227]
