"""Connections that drop, servers that go away, limits that are hit: what a reader makes of it."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from postgres_service import running
from postgres_wire import wire

from dativo_ingest.sources.postgres import PostgresReader, ranges
from dativo_ingest.sources.postgres.failures import FAILURES
from dativo_ingest.sources.postgres.snapshots import open_session
from dativo_plugin_sdk import (
    ConcurrencyError,
    DatabaseLockError,
    DativoError,
    DiskFullError,
    NetworkError,
    ResourceError,
    ResourceNotFoundError,
    ResourceUnavailableError,
    Rows,
    ServiceUnavailableError,
    SourceConfig,
    StreamSpec,
    TimeoutError,
    Warned,
)


@pytest.fixture
def small_ranges(monkeypatch) -> None:
    monkeypatch.setattr(ranges, "_LEAST_BYTES", 8192 * 4)


@pytest.fixture
def long(database) -> Any:
    """Make a table of 12 MB, more than what sockets hold."""
    database.run(
        "CREATE TABLE long (id int, filler text)",
        "INSERT INTO long SELECT g, repeat('z', 2000) FROM generate_series(1, 6000) g",
    )
    return database


def messages(database, table="long", *, connection=None, **spec):
    """Give a reader's messages as they come, not all at once."""
    reader = database.reader(connection)
    stream = StreamSpec(f"{database.name}.{table}", batch_bytes=2**18, **spec)
    stream = replace(stream, schema=reader.schema(stream))
    return reader.read(stream, reader.partitions(stream, None)[0], None)


def ids(found) -> list[int]:
    return sorted(value for each in found if isinstance(each, Rows) for value in each.batch["id"].to_pylist())


def sessions_of(database) -> list[tuple[Any, ...]]:
    return database.server.ask(
        "SELECT state FROM pg_stat_activity WHERE application_name LIKE 'dativo%' AND xact_start IS NOT NULL"
    )


def wait_for(condition, timeout_s=20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.mark.usefixtures("small_ranges")
def test_ranges_go_on_where_the_network_cut_them_off(long) -> None:
    with wire(long.server.port, cut_after_bytes=2_000_000, cuts=2) as way:
        found = list(messages(long, connection={"port": way.port}, parallelism=2))

    assert way.cuts_left == 0
    assert ids(found) == list(range(1, 6001))


def test_a_read_by_one_session_that_is_cut_off_fails_and_says_that_trying_again_helps(long) -> None:
    cut = wire(long.server.port, cut_after_bytes=2_000_000, cuts=1)

    with cut as way, pytest.raises(NetworkError) as caught:
        list(messages(long, connection={"port": way.port}))

    assert caught.value.retryable


@pytest.mark.usefixtures("small_ranges")
def test_a_range_of_values_is_read_again_only_before_it_gave_rows(long) -> None:
    options = {"partition_column": "id"}
    cut = wire(long.server.port, cut_after_bytes=1_200_000, cuts=1, resets=False)

    with cut as way, pytest.raises(NetworkError):
        list(messages(long, connection={"port": way.port}, parallelism=2, options=options))


def test_a_slow_target_holds_no_image_longer_than_allowed(long) -> None:
    options = {"max_snapshot_age_s": 1.0, "spill_mb": 0}
    with closing(messages(long, options=options)) as found:
        next(found)
        wait_for(lambda: not sessions_of(long))  # nobody takes rows meanwhile

        with pytest.raises(TimeoutError, match="is 1 s old and was let go of") as caught:
            list(found)

    assert caught.value.retryable
    assert "spill_mb" in caught.value.hint
    assert caught.value.details["waited_for_target_s"] > 0.5


@pytest.mark.usefixtures("small_ranges")
def test_sessions_side_by_side_hold_no_image_longer_than_allowed(long) -> None:
    with closing(messages(long, parallelism=2, options={"max_snapshot_age_s": 1.0, "spill_mb": 0})) as found:
        next(found)
        wait_for(lambda: not sessions_of(long))

        with pytest.raises(TimeoutError, match="was let go of"):
            list(found)


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.usefixtures("small_ranges")
def test_rows_that_a_slow_target_does_not_take_wait_on_disk_and_the_image_is_let_go_of(long, parallelism) -> None:
    options = {"max_snapshot_age_s": 60.0, "spill_after_s": 0.2}
    with closing(messages(long, parallelism=parallelism, options=options)) as reading:
        found = [next(reading)]
        wait_for(lambda: not sessions_of(long))
        long.run("TRUNCATE long")

        found += reading

    assert ids(found) == list(range(1, 6001))
    assert any(isinstance(each, Warned) and "waited on local disk" in each.message for each in found)


def test_an_error_after_rows_that_wait_on_disk_is_raised_after_them(database) -> None:
    query = "SELECT 1 / (6000 - g) AS id, repeat('z', 2000) FROM generate_series(1, 6000) g"
    reader = database.reader()
    stream = StreamSpec("broken", batch_bytes=2**18, options={"query": query, "spill_after_s": 0.0})
    found: list[Any] = []

    def take_slowly() -> None:
        for each in reader.read(stream, reader.partitions(stream, None)[0], None):
            time.sleep(0.05)
            found.append(each)

    with pytest.raises(DativoError, match="division by zero"):
        take_slowly()

    assert found


@pytest.mark.usefixtures("small_ranges")
def test_fewer_sessions_read_where_the_server_has_no_room_for_more(long) -> None:
    server = long.server
    server.ask(
        f"CREATE ROLE few LOGIN PASSWORD 'secret' CONNECTION LIMIT 3;"
        f" GRANT USAGE ON SCHEMA {long.name} TO few; GRANT SELECT ON ALL TABLES IN SCHEMA {long.name} TO few"
    )
    try:
        reader = long.reader({"user": "few"})
        reader = type(reader)(reader.config.model_copy(update={"credentials": {"password": "secret"}}))
        stream = StreamSpec(f"{long.name}.long", parallelism=4, batch_bytes=2**18)
        found = list(reader.read(stream, reader.partitions(stream, None)[0], None))
        reader.close()
    finally:
        server.ask("DROP OWNED BY few")
        server.ask("DROP ROLE few")

    assert ids(found) == list(range(1, 6001))
    assert any(isinstance(each, Warned) and "fewer sessions" in each.message for each in found)


def test_a_server_that_goes_down_in_the_midst_of_rows_is_unavailable() -> None:
    with running() as server:
        server.ask("CREATE TABLE long AS SELECT g AS id, repeat('z', 2000) AS filler FROM generate_series(1, 6000) g")
        config = {"connection": dict(server.connection), "credentials": dict(server.credentials)}
        reader = PostgresReader(SourceConfig(type="postgres", **config))
        stream = StreamSpec("public.long", batch_bytes=2**18)
        with closing(reader.read(stream, reader.partitions(stream, None)[0], None)) as found:
            next(found)
            os.kill(int((server.data / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
            with pytest.raises((ServiceUnavailableError, NetworkError)) as caught:
                list(found)
        reader.close()

    assert caught.value.retryable


def test_a_dead_peer_is_noticed_within_minutes(database) -> None:
    session = open_session(database.reader()._access.parameters())
    with closing(session), socket.socket(fileno=os.dup(session.pgconn.socket)) as connection:
        options = {
            name: connection.getsockopt(level, getattr(socket, name))
            for level, name in (
                (socket.SOL_SOCKET, "SO_KEEPALIVE"),
                (socket.IPPROTO_TCP, "TCP_KEEPIDLE"),
                (socket.IPPROTO_TCP, "TCP_KEEPINTVL"),
                (socket.IPPROTO_TCP, "TCP_KEEPCNT"),
                (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT"),
            )
        }

    assert options == {
        "SO_KEEPALIVE": 1,
        "TCP_KEEPIDLE": 30,
        "TCP_KEEPINTVL": 10,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": 60_000,
    }


def test_a_way_that_swallows_everything_ends_with_the_age_of_the_image(long) -> None:
    options = {"max_snapshot_age_s": 1.5}
    with (
        wire(long.server.port) as way,
        closing(messages(long, connection={"port": way.port}, options=options)) as found,
    ):
        next(found)
        way.is_silent = True

        with pytest.raises(TimeoutError, match="was let go of"):
            list(found)


def test_reading_keeps_nobody_from_writing(long) -> None:
    with closing(messages(long)) as found:
        next(found)
        with long.server.connect(options=f"-c search_path={long.name} -c lock_timeout=2s") as writer:
            writer.execute("INSERT INTO long VALUES (7000, 'new')")
            writer.execute("UPDATE long SET filler = 'changed' WHERE id = 1")
            writer.execute("DELETE FROM long WHERE id = 2")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                writer.execute("TRUNCATE long")
        rest = list(found)

    assert ids(rest)[-1] == 6000


def test_the_servers_own_limits_of_idle_sessions_do_not_end_a_slow_read(long) -> None:
    server = long.server
    server.ask(f"ALTER ROLE {server.user} SET idle_in_transaction_session_timeout = '300ms'")
    server.ask(f"ALTER ROLE {server.user} SET idle_session_timeout = '300ms'")
    try:
        with closing(messages(long, parallelism=2)) as found:
            some = [next(found)]
            time.sleep(1.0)
            some += found
    finally:
        server.ask(f"ALTER ROLE {server.user} RESET ALL")

    assert ids(some) == list(range(1, 6001))


def test_a_transaction_timeout_of_the_role_is_told_with_what_to_do(long) -> None:
    server = long.server
    server.ask(f"ALTER ROLE {server.user} SET transaction_timeout = '400ms'")
    try:
        query = {"query": f"SELECT id, filler, pg_sleep(0.01)::text AS s FROM {long.name}.long"}
        with pytest.raises(TimeoutError) as caught:
            long.read("slow", options=query)
    finally:
        server.ask(f"ALTER ROLE {server.user} RESET ALL")

    assert "transaction_timeout" in caught.value.hint


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("08006", NetworkError),
        ("25P04", TimeoutError),
        ("40001", ConcurrencyError),
        ("53100", DiskFullError),
        ("53200", ResourceUnavailableError),
        ("53300", ServiceUnavailableError),
        ("55P03", DatabaseLockError),
        ("57014", TimeoutError),
        ("57P01", ServiceUnavailableError),
        ("57P02", ServiceUnavailableError),
        ("57P03", ServiceUnavailableError),
        ("57P04", ResourceNotFoundError),
        ("57P05", TimeoutError),
        ("58030", ServiceUnavailableError),
        ("XX001", ResourceError),
    ],
)
def test_what_the_server_says_has_a_class_of_its_own(state, kind) -> None:
    error = psycopg.errors.lookup(state)("as the server says")

    found = FAILURES.as_dativo_error(error, "orders")

    assert type(found) is kind
    assert found.hint
    assert str(found) == "orders: as the server says"
