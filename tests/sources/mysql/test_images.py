"""One image in several sessions, while others write."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from mariadb_service import MariaDB, running

from dativo_ingest.sources.mysql import images, key_ranges
from dativo_ingest.sources.mysql.images import views_of
from dativo_ingest.sources.mysql.reading import open_session

ACCOUNTS, EACH = 4000, 100


@pytest.fixture(scope="module")
def logging_server() -> Iterator[MariaDB]:
    """Start a server with a binary log."""
    with running(binlog=True) as server:
        yield server


@pytest.fixture(params=["binary log", "no binary log"])
def server(request) -> Any:
    return request.getfixturevalue("logging_server" if request.param == "binary log" else "mariadb")


@contextlib.contextmanager
def transfers(server: MariaDB, database: str, writers: int, pause_s: float) -> Iterator[list[int]]:
    """Move money between accounts: each transaction keeps the sum, adds an account and drops another."""
    stop = threading.Event()
    done = [0] * writers

    def write(number: int) -> None:
        rng = random.Random(number)
        with server.connect(database=database, autocommit=False) as session, session.cursor() as cursor:
            while not stop.wait(pause_s * rng.random()):
                first, second = sorted(rng.sample(range(1, ACCOUNTS), 2))
                try:
                    cursor.execute(f"UPDATE accounts SET amount = amount - 1 WHERE id = {first}")
                    cursor.execute(f"UPDATE accounts SET amount = amount + 1 WHERE id = {second}")
                    session.commit() if rng.random() < 0.8 else session.rollback()
                except Exception:  # noqa: BLE001  a deadlock
                    session.rollback()
                done[number] += 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def make_accounts(server: MariaDB, name: str) -> None:
    server.ask(
        f"CREATE OR REPLACE DATABASE {name}",
        f"CREATE TABLE {name}.accounts (id int PRIMARY KEY, amount int, filler char(200))",
        f"INSERT INTO {name}.accounts SELECT seq, {EACH}, 'f' FROM seq_1_to_{ACCOUNTS}",
        f"ANALYZE TABLE {name}.accounts",
    )


def test_ranges_that_are_read_side_by_side_are_one_image_while_others_write(server, read_from, monkeypatch) -> None:
    monkeypatch.setattr(key_ranges, "_LEAST_BYTES", 16384)
    make_accounts(server, "bank")
    together = 0

    with transfers(server, "bank", writers=3, pause_s=0.01) as done:
        for _ in range(8):
            found = read_from(server, "bank.accounts", parallelism=2)
            together += not found.warnings
            assert sum(row["amount"] for row in found.rows) == ACCOUNTS * EACH
            assert len(found.rows) == ACCOUNTS

    assert sum(done) > 50
    assert together >= 6


def test_images_that_were_not_taken_together_are_told_apart(server) -> None:
    """What proves that images are the same must say no where a transaction committed between them."""
    make_accounts(server, "apart")
    parameters = _parameters(server)
    one, other, writer = (open_session(parameters) for _ in range(3))
    taken = images._at_once
    with server.connect(database="apart") as session, session.cursor() as cursor:

        def one_after_the_other(sessions: Any, statement: str) -> None:
            for each in sessions:
                taken([each], statement)
                cursor.execute("UPDATE accounts SET amount = amount + 1 WHERE id = 1")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(images, "_at_once", one_after_the_other)
            patch.setattr(images, "_TRIES_S", 0.5)
            why = images.begin_image([one, other], "`apart`.`accounts`")

    for each in (one, other, writer):
        each.close()
    assert why is not None
    assert "came and went" in why


def test_who_may_not_see_transactions_reads_in_one_session_where_there_is_no_log(
    mariadb, read_from, monkeypatch
) -> None:
    monkeypatch.setattr(key_ranges, "_LEAST_BYTES", 16384)
    make_accounts(mariadb, "plain")
    mariadb.ask("CREATE OR REPLACE USER plain IDENTIFIED BY 'pw'", "GRANT SELECT ON plain.* TO plain")

    found = read_from(mariadb, "plain.accounts", parallelism=2, user="plain", password="pw")

    assert len(found.rows) == ACCOUNTS
    assert ["GRANT PROCESS" in each for each in found.warnings] == [True]


def test_who_may_not_see_transactions_reads_side_by_side_where_there_is_a_log(
    logging_server, read_from, monkeypatch
) -> None:
    monkeypatch.setattr(key_ranges, "_LEAST_BYTES", 16384)
    make_accounts(logging_server, "plain")
    logging_server.ask("CREATE OR REPLACE USER plain IDENTIFIED BY 'pw'", "GRANT SELECT ON plain.* TO plain")

    found = read_from(logging_server, "plain.accounts", parallelism=2, user="plain", password="pw")

    assert len(found.rows) == ACCOUNTS
    assert found.warnings == []


def test_writers_go_on_while_a_table_is_read(mariadb, read_from) -> None:
    make_accounts(mariadb, "busy")
    from dativo_plugin_sdk import StreamSpec

    reader = read_from.reader(mariadb)
    stream = StreamSpec("busy.accounts", parallelism=2)
    rows = reader.read(stream, reader.partitions(stream, None)[0], None)
    next(rows)

    mariadb.ask(
        "SET lock_wait_timeout = 1", "UPDATE busy.accounts SET amount = 0", "DELETE FROM busy.accounts WHERE id < 9"
    )

    rows.close()


def test_a_tables_definition_stays_as_it_is_while_it_is_read(mariadb) -> None:
    make_accounts(mariadb, "kept")
    session = open_session(_parameters(mariadb))

    assert images.begin_image([session], "`kept`.`accounts`") is None

    with pytest.raises(pymysql.OperationalError, match="Lock wait timeout"):
        mariadb.ask("SET lock_wait_timeout = 1", "TRUNCATE TABLE kept.accounts")
    session.close()
    mariadb.ask("SET lock_wait_timeout = 5", "TRUNCATE TABLE kept.accounts")


def test_what_a_status_says_of_images_is_found() -> None:
    status = """
LIST OF TRANSACTIONS FOR EACH SESSION:
---TRANSACTION 421, not started
0 lock struct(s), heap size 1128, 0 row lock(s)
---TRANSACTION (0x7fad2c175b80), ACTIVE 0 sec
0 lock struct(s), heap size 1128, 0 row lock(s)
MariaDB thread id 24, OS thread handle 140381409957568, query id 77 localhost root starting
show engine innodb status
Trx read view will not see trx with id >= 35, sees < 30
---TRANSACTION 422, ACTIVE 5 sec
MySQL thread id 25, OS thread handle 1, query id 7 127.0.0.1 app
Trx read view will not see trx with id >= 36, sees < 36
--------
FILE I/O
"""

    assert views_of(status) == {24: ("35", "30"), 25: ("36", "36")}


def _parameters(server: MariaDB) -> Any:
    from dativo_ingest.mysql.connection import parse_access

    return parse_access(server.connection, server.credentials, end="source").parameters
