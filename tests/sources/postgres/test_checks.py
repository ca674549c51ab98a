"""What a check of a Postgres source tells of each thing that may be wrong."""

from __future__ import annotations

import os
import re
import signal
import socket
from contextlib import ExitStack, contextmanager

import pytest
from certificates import Authority
from postgres_service import running
from tls_front import tls_front

from dativo_ingest.postgres.connection import parse_access
from dativo_ingest.postgres.way_in import way_in
from dativo_ingest.sources.postgres.checks import Checks
from dativo_ingest.sources.postgres.options import PostgresSourceOptions
from dativo_ingest.sources.postgres.selection import selection_of
from dativo_plugin_sdk import DativoError, StreamSpec

READER = "checks_reader"
ORDERS = StreamSpec(name="checked.orders")


@contextmanager
def checks(connection, credentials, streams, **options):
    def selected(session, stream):
        return selection_of(session, stream, PostgresSourceOptions(**options))

    access = parse_access(connection, credentials, end="source")
    made = Checks(way_in(access, Checks.failures), streams, selected)
    try:
        yield made.steps()
    finally:
        made.close()


def walk(connection, credentials=None, streams=(ORDERS,), **options):
    """Run the steps until the first that fails, as the engine does; give results or errors by step."""
    found = {}
    with checks(connection, credentials or {}, streams, **options) as steps:
        for check in steps:
            try:
                found[check.step] = check.run()
            except DativoError as error:
                found[check.step] = error
                break
    return found


def failed(found):
    step, error = list(found.items())[-1]
    assert isinstance(error, DativoError), found
    return step, error


@pytest.fixture
def shop(postgres):
    """Make a table in a schema, and a user who has been granted nothing."""
    postgres.ask("CREATE SCHEMA checked")
    postgres.ask("CREATE TABLE checked.orders (id int PRIMARY KEY, at timestamptz NOT NULL)")
    postgres.ask("INSERT INTO checked.orders VALUES (1, 'infinity')")
    postgres.ask(f"CREATE ROLE {READER} LOGIN PASSWORD 'secret'")
    yield postgres
    postgres.ask("DROP SCHEMA checked CASCADE")
    postgres.ask(f"DROP OWNED BY {READER}")
    postgres.ask(f"DROP ROLE {READER}")


def reader_of(shop):
    return {**shop.connection, "user": READER}, {"password": "secret"}


def test_checking_walks_from_the_name_to_a_row(shop):
    found = walk(shop.connection, shop.credentials)

    assert list(found) == [
        "dns",
        "tcp",
        "tls",
        "authentication",
        "database",
        "permission checked.orders",
        "read checked.orders",
    ]
    assert all(result.success for result in found.values())
    assert found["database"].details["replica"] is False
    assert found["read checked.orders"].message == "one row was read"
    assert shop.ask("SELECT FROM pg_stat_activity WHERE application_name = 'dativo'") == []


@pytest.mark.parametrize(
    ("connection", "step", "code", "hint"),
    [
        pytest.param({"host": "no.such.host.invalid"}, "dns", "NETWORK_ERROR", "source.connection.host", id="host"),
        pytest.param({"user": "nobody_here"}, "authentication", "INVALID_CREDENTIALS", "source.conn", id="user"),
        pytest.param({"database": "nowhere"}, "database", "RESOURCE_NOT_FOUND", "connection.database", id="database"),
        pytest.param({"sslmode": "require"}, "tls", "INVALID_CONFIG", "turn TLS on there", id="no tls there"),
    ],
)
def test_what_is_wrong_with_the_connection_is_told_at_its_step(shop, connection, step, code, hint):
    where, error = failed(walk({**shop.connection, **connection}, shop.credentials))

    assert (where, error.error_code) == (step, code)
    assert hint in error.hint
    assert shop.password not in str(error.to_dict())


def test_a_wrong_password_and_none_are_told_apart(shop, monkeypatch, tmp_path):
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))

    step, wrong = failed(walk(shop.connection, {"password": "wrong"}))
    _, none = failed(walk(shop.connection))

    assert (step, wrong.error_code, none.error_code) == ("authentication", "INVALID_CREDENTIALS", "INVALID_CREDENTIALS")
    assert "check source.credentials.password" in wrong.hint
    assert "give source.credentials.password" in none.hint


def test_a_role_that_may_not_log_in_is_told(shop):
    shop.ask(f"ALTER ROLE {READER} NOLOGIN")

    step, error = failed(walk(*reader_of(shop)))

    assert (step, error.error_code) == ("authentication", "INVALID_CREDENTIALS")
    assert "ALTER ROLE" in error.hint


def test_a_port_where_nobody_listens_is_told(shop):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        step, error = failed(walk({**shop.connection, "port": free.getsockname()[1]}, shop.credentials))

    assert (step, error.error_code, error.retryable) == ("tcp", "NETWORK_ERROR", True)


def test_each_missing_right_is_told_with_the_grant(shop):
    shop.ask("REVOKE CONNECT ON DATABASE lake FROM PUBLIC")
    try:
        step, error = failed(walk(*reader_of(shop)))
    finally:
        shop.ask("GRANT CONNECT ON DATABASE lake TO PUBLIC")
    without_usage, no_usage = failed(walk(*reader_of(shop)))
    shop.ask(f"GRANT USAGE ON SCHEMA checked TO {READER}")
    without_select, no_select = failed(walk(*reader_of(shop)))
    shop.ask(f"GRANT SELECT ON checked.orders TO {READER}")
    found = walk(*reader_of(shop))

    assert (step, error.error_code) == ("database", "INSUFFICIENT_PERMISSIONS")
    assert (without_usage, no_usage.error_code) == ("permission checked.orders", "INSUFFICIENT_PERMISSIONS")
    assert no_usage.hint == f'GRANT USAGE ON SCHEMA "checked" TO "{READER}"'
    assert (without_select, no_select.error_code) == ("permission checked.orders", "INSUFFICIENT_PERMISSIONS")
    assert no_select.hint == f'GRANT SELECT ON "checked"."orders" TO "{READER}"'
    assert found["read checked.orders"].success


def test_columns_that_may_not_be_read_are_a_warning(shop):
    shop.ask(f"GRANT USAGE ON SCHEMA checked TO {READER}")
    shop.ask(f"GRANT SELECT (id) ON checked.orders TO {READER}")

    found = walk(*reader_of(shop))

    assert found["permission checked.orders"].details == {"warning": True}
    assert "columns at" in found["permission checked.orders"].message
    assert found["read checked.orders"].success


def test_a_view_over_what_may_not_be_read_is_found_by_reading(shop):
    shop.ask("CREATE VIEW checked.seen AS SELECT * FROM checked.orders")
    shop.ask("ALTER VIEW checked.seen SET (security_invoker = true)")
    shop.ask(f"GRANT USAGE ON SCHEMA checked TO {READER}")
    shop.ask(f"GRANT SELECT ON checked.seen TO {READER}")

    step, error = failed(walk(*reader_of(shop), streams=[StreamSpec(name="checked.seen")]))

    assert (step, error.error_code) == ("read checked.seen", "INSUFFICIENT_PERMISSIONS")
    assert "SELECT on the table" in error.hint


def test_a_stream_that_is_not_there_and_a_cursor_that_is_not_are_told(shop):
    step, error = failed(walk(shop.connection, shop.credentials, [StreamSpec(name="checked.order")]))
    stream = StreamSpec(name="checked.orders", mode="incremental", cursor="updated_at")
    where, no_cursor = failed(walk(shop.connection, shop.credentials, [stream]))

    assert (step, error.error_code) == ("permission checked.order", "DATA_NOT_FOUND")
    # Schemas that other tests leave on the server may have an orders, too: these alone may follow.
    assert re.fullmatch(r"did you mean checked\.orders( or (?!checked\.)\w+\.orders)*\?", error.hint)
    assert (where, no_cursor.error_code) == ("permission checked.orders", "INVALID_CONFIG")
    assert "has no column updated_at" in no_cursor.message


def test_a_query_is_tried_and_its_mistakes_are_told(shop):
    def of(text):
        return walk(shop.connection, shop.credentials, [StreamSpec(name="mine")], query=text)

    found = of("SELECT id FROM checked.orders -- all;")
    errors = [failed(of(text))[1] for text in ("SELECT FROM WHERE", "SELECT x FROM checked.orders", "SELECT * FROM no")]
    _, writing = failed(of("WITH gone AS (DELETE FROM checked.orders RETURNING *) SELECT * FROM gone"))

    assert found["read mine"].success
    assert [error.error_code for error in errors] == ["INVALID_CONFIG", "INVALID_CONFIG", "DATA_NOT_FOUND"]
    assert shop.ask("SELECT count(*) FROM checked.orders") == [(1,)]
    assert not writing.retryable


def test_a_table_that_others_hold_is_told(shop, monkeypatch):
    monkeypatch.setattr(Checks, "lock_timeout_s", 0.1)
    with shop.connect(autocommit=False) as other:
        other.execute("LOCK TABLE checked.orders")
        step, error = failed(walk(shop.connection, shop.credentials))
        other.rollback()

    assert (step, error.error_code, error.retryable) == ("read checked.orders", "DATABASE_LOCK", True)


def test_a_view_that_takes_long_is_a_warning(shop, monkeypatch):
    monkeypatch.setattr(Checks, "read_timeout_s", 0.1)
    shop.ask("CREATE VIEW checked.slow AS SELECT pg_sleep(60)::text AS slept")

    found = walk(shop.connection, shop.credentials, [StreamSpec(name="checked.slow"), ORDERS])

    assert found["read checked.slow"].details == {"warning": True}
    assert found["read checked.orders"].success


def test_incremental_streams_want_to_see_open_transactions(shop):
    stream = StreamSpec(name="checked.orders", mode="incremental", cursor="at")
    shop.ask(f"GRANT USAGE ON SCHEMA checked TO {READER}")
    shop.ask(f"GRANT SELECT ON checked.orders TO {READER}")

    blind = walk(*reader_of(shop), streams=[stream])["open transactions"]
    shop.ask(f"GRANT pg_read_all_stats TO {READER}")
    with shop.connect(autocommit=False, application_name="slow_batch") as other:
        other.execute("SELECT 1")
        seeing = walk(*reader_of(shop), streams=[stream])["open transactions"]
        other.rollback()

    assert blind.details == {"warning": True}
    assert f'GRANT pg_read_all_stats TO "{READER}"' in blind.message
    assert "(slow_batch, idle in transaction)" in seeing.details["oldest"]


def test_without_streams_it_is_said_how_much_may_be_read(shop):
    found = walk(shop.connection, shop.credentials, [])["permission"]
    step, error = failed(walk(*reader_of(shop), streams=[]))

    assert found.details["readable"] == found.details["found"] >= 1
    assert (step, error.error_code) == ("permission", "INSUFFICIENT_PERMISSIONS")


@pytest.fixture(scope="module")
def authority():
    return Authority("Dativo tests")


@pytest.fixture
def presents(postgres, tmp_path, authority):
    """Put a front with a certificate before the server; give connections that trust the authority."""
    trusted = tmp_path / "root.crt"
    trusted.write_bytes(authority.certificate)
    with ExitStack() as fronts:

        def show(certificate, key):
            port = fronts.enter_context(tls_front(postgres.port, certificate, key, tmp_path))
            return {**postgres.connection, "port": port, "sslmode": "verify-full", "sslrootcert": str(trusted)}

        yield show


def test_a_certificate_that_proves_the_server_is_accepted(postgres, presents, authority):
    found = walk(presents(*authority.issue("127.0.0.1")), postgres.credentials, [])

    assert found["tls"].details == {"tls": True}
    assert found["permission"].success


@pytest.mark.parametrize(
    ("issue", "kind", "code", "hint"),
    [
        pytest.param({"days": (-10, -1)}, "expired", "AUTH_FAILED", "renew the server's certificate", id="expired"),
        pytest.param({"days": (1, 10)}, "not_yet_valid", "AUTH_FAILED", "clocks", id="not yet"),
        pytest.param({"name": "db.example.com"}, "wrong_host", "INVALID_CONFIG", "connection.host", id="host"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told(postgres, presents, authority, issue, kind, code, hint):  # noqa: PLR0917
    connection = presents(*authority.issue(**{"name": "127.0.0.1", **issue}))

    step, error = failed(walk(connection, postgres.credentials, []))

    assert (step, error.details["certificate"], error.error_code, error.retryable) == ("tls", kind, code, False)
    assert hint in error.hint


def test_a_certificate_of_another_authority_is_told(postgres, presents):
    connection = presents(*Authority("Somebody else").issue("127.0.0.1"))

    step, error = failed(walk(connection, postgres.credentials, []))
    accepted = walk({**connection, "sslmode": "require", "sslrootcert": None}, postgres.credentials, [])

    assert (step, error.details["certificate"], error.error_code) == ("tls", "untrusted", "INVALID_CONFIG")
    assert "source.connection.sslrootcert" in error.hint
    assert accepted["tls"].details == {"tls": True}


def test_a_server_that_is_full_is_told_and_one_that_shuts_down():
    with running(max_connections="5", superuser_reserved_connections="1") as small:
        small.ask(f"CREATE ROLE {READER} LOGIN PASSWORD 'secret'")
        connection = {**small.connection, "user": READER}
        taken = [small.connect(user=READER, password="secret") for _ in range(4)]
        try:
            step, full = failed(walk(connection, {"password": "secret"}, []))
            os.kill(int((small.data / "postmaster.pid").read_text().split()[0]), signal.SIGTERM)
            where, stopping = failed(walk(connection, {"password": "secret"}, []))
            while "too many" in stopping.message:  # the signal is still on its way
                where, stopping = failed(walk(connection, {"password": "secret"}, []))
        finally:
            for each in taken:
                each.close()

    assert (step, full.error_code, full.retryable) == ("database", "SERVICE_UNAVAILABLE", True)
    assert "max_connections" in full.hint
    assert (where, stopping.error_code, stopping.retryable) == ("database", "SERVICE_UNAVAILABLE", True)
    assert "when the server is up" in stopping.hint
