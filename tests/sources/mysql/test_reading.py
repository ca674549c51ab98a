"""Reading tables, views and queries."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pymysql
import pytest
from database_reading import closed_while_asking

from dativo_ingest.databases.side_by_side import StoppedError
from dativo_ingest.mysql.sessions import Session
from dativo_ingest.sources.mysql import key_ranges, reading
from dativo_ingest.sources.mysql.result_stream import streamed
from dativo_plugin_sdk import (
    DatabaseLockError,
    DataNotFoundError,
    InvalidConfigError,
    NetworkError,
    Rows,
    StreamSpec,
    TimeoutError,
    Warned,
)

NUMBERS = "SELECT seq, REPEAT('x', 100) AS filler FROM seq_1_to_{}"


@pytest.fixture
def small_ranges(monkeypatch) -> None:
    """Cut tables of a few pages, too."""
    monkeypatch.setattr(key_ranges, "_LEAST_BYTES", 16384)


@pytest.fixture
def session(database) -> Any:
    opened = reading.open_session(database.reader()._access.parameters)
    yield opened
    if opened.open:
        opened.close()


def test_a_session_goes_on_after_all_rows_of_a_query_were_taken(session) -> None:
    blocks = list(streamed(session, NUMBERS.format(20000), threading.Event(), block_bytes=2**18))

    assert sum(len(block.starts) for block in blocks) == 20000
    assert len(blocks) > 5
    with session.cursor() as cursor:
        cursor.execute("SELECT 7")
        assert cursor.fetchall() == ((7,),)


def test_a_session_goes_on_after_the_server_says_in_the_midst_of_rows_that_something_failed(session) -> None:
    query = "SELECT seq, IF(seq = 20000, (SELECT 1 UNION SELECT 2), 1) FROM seq_1_to_30000"
    taken: list[int] = []

    with pytest.raises(pymysql.MySQLError, match="more than 1 row"):
        taken.extend(len(block.starts) for block in streamed(session, query, threading.Event(), block_bytes=2**18))

    assert sum(taken) == 19999
    with session.cursor() as cursor:
        cursor.execute("SELECT 7")
        assert cursor.fetchall() == ((7,),)


def test_nothing_but_rows_is_asked_for(session) -> None:
    with pytest.raises(pymysql.err.ProgrammingError, match="gives no rows"):
        next(streamed(session, "DO 1", threading.Event()))


def test_rows_of_any_size_come_over(database) -> None:
    database.run(
        "CREATE TABLE sizes (id int PRIMARY KEY, body longblob, tail text)",
        *(
            f"INSERT INTO sizes VALUES ({number}, REPEAT(CHAR({65 + number}), {size}), 'end')"
            for number, size in enumerate([0, 250, 251, 65535, 65536, 2**24 - 20, 2**24, 34_000_000, 3])
        ),
    )

    found = database.read("sizes", batch_bytes=2**20)

    rows = sorted(found.rows, key=lambda row: row["id"])
    assert [len(row["body"]) for row in rows] == [0, 250, 251, 65535, 65536, 2**24 - 20, 2**24, 34_000_000, 3]
    assert all(row["body"].count(65 + row["id"]) == len(row["body"]) for row in rows)
    assert {row["tail"] for row in rows} == {"end"}


def test_an_empty_table_has_a_schema_and_no_rows(database) -> None:
    database.run("CREATE TABLE empty (id int, name text)")

    found = database.read("empty")

    assert found.rows == []
    assert found.schema.names == ["id", "name"]


def test_a_view_and_a_table_without_a_key_are_read_whole(database) -> None:
    database.run(
        "CREATE TABLE bare (a int)",
        "INSERT INTO bare SELECT seq FROM seq_1_to_1000",
        "CREATE VIEW some AS SELECT a * 2 AS b FROM bare WHERE a <= 10",
    )

    bare, some = database.read("bare", parallelism=2), database.read("some", parallelism=2)

    assert sorted(row["a"] for row in bare.rows) == list(range(1, 1001))
    assert sorted(row["b"] for row in some.rows) == list(range(2, 21, 2))


def test_columns_a_filter_and_a_query_choose_what_is_read(database) -> None:
    database.run("CREATE TABLE t (a int, b int, c text)", "INSERT INTO t VALUES (1, 2, 'x'), (3, 4, 'y')")

    chosen = database.read("t", options={"columns": ["c", "a"], "filter": "a > 1 -- and no more"})
    asked = database.read("q", options={"query": f"SELECT a + b AS s FROM {database.name}.t ORDER BY 1 DESC"})

    assert chosen.rows == [{"c": "y", "a": 3}]
    assert asked.rows == [{"s": 7}, {"s": 3}]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"columns": ["nope"]}, InvalidConfigError, "no column nope; there are: a, b"),
        ({"filter": "nope = 1"}, InvalidConfigError, "nope"),
        ({"query": "SELECT 1 AS a, 2 AS a"}, InvalidConfigError, "more than one column a"),
        ({"query": "SELECT * FROM gone"}, DataNotFoundError, "gone"),
        ({"query": "SELEC 1"}, InvalidConfigError, "SQL syntax"),
    ],
    ids=["column", "filter", "twice", "table", "syntax"],
)
def test_what_cannot_be_asked_for_is_an_error_that_says_so(database, options, error, text) -> None:
    database.run("CREATE TABLE t (a int, b int)")

    with pytest.raises(error, match=text):
        database.read("t", options=options)


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("int", "seq"),
        ("bigint unsigned", "seq * 1000000007"),
        ("bigint", "IF(seq = 1, -9223372036854775808, IF(seq = 2, 9223372036854775807, seq))"),
        ("varchar(40)", "UUID()"),
        ("varchar(40)", "CONCAT('ORD-', LPAD(seq, 8, '0'))"),
        ("varchar(40) COLLATE utf8mb4_bin", "CONCAT(CHAR(65 + seq % 58), seq)"),
        ("varchar(40) COLLATE utf8mb4_unicode_ci", "CONCAT(CHAR(97 + seq % 26), seq, 'ß')"),
        ("binary(16)", "UNHEX(MD5(seq))"),
        ("varbinary(9)", "UNHEX(CONCAT('018', LPAD(HEX(seq), 9, '0')))"),
        ("datetime", "'2024-01-01' + INTERVAL seq SECOND"),
    ],
    ids=[
        "rising",
        "far apart",
        "extremes",
        "uuid",
        "prefixed",
        "binary letters",
        "letters",
        "bytes",
        "bytes alike",
        "no axis",
    ],
)
def test_a_table_is_cut_by_its_key_and_each_row_is_read_once(database, key, value) -> None:
    database.run(
        f"CREATE TABLE cut (k {key}, seq int, filler char(100), PRIMARY KEY (k, seq))",
        f"INSERT INTO cut SELECT {value}, seq, 'f' FROM seq_1_to_6000",
        "ANALYZE TABLE cut",
    )

    found = database.read("cut", parallelism=2)

    assert sorted(row["seq"] for row in found.rows) == list(range(1, 6001))
    assert found.warnings == []
    if key != "datetime":
        assert len(found.batches) >= 4
        assert max(batch.num_rows for batch in found.batches) < 4500


@pytest.mark.usefixtures("small_ranges")
def test_a_filter_is_read_side_by_side_unless_an_index_finds_what_it_wants(database) -> None:
    database.run(
        "CREATE TABLE cut (id int PRIMARY KEY, n int, filler char(100), KEY (n))",
        "INSERT INTO cut SELECT seq, seq, 'f' FROM seq_1_to_6000",
        "ANALYZE TABLE cut",
    )

    most = database.read("cut", parallelism=2, options={"filter": "id % 2 = 0"})
    few = database.read("cut", parallelism=2, options={"filter": "n = 7"})

    assert sorted(row["id"] for row in most.rows) == list(range(2, 6001, 2))
    assert len(most.batches) >= 4
    assert [row["id"] for row in few.rows] == [7]


@pytest.mark.usefixtures("small_ranges")
def test_a_range_whose_connection_drops_goes_on_where_it_was(database, mariadb, monkeypatch) -> None:
    database.run(
        "CREATE TABLE longer (id int PRIMARY KEY, filler text)",
        "INSERT INTO longer SELECT seq, REPEAT('z', 2000) FROM seq_1_to_6000",
        "ANALYZE TABLE longer",
    )
    drops: list[int] = []
    whole = reading.streamed

    def dropping(session: Session, *args: Any, **options: Any) -> Any:
        for number, block in enumerate(whole(session, *args, **{**options, "block_bytes": 2**18})):
            if number == 1 and not drops:
                drops.append(session.number)
                mariadb.ask(f"KILL {drops[-1]}")
                session.sever()
            yield block

    monkeypatch.setattr(reading, "streamed", dropping)

    found = database.read("longer", parallelism=2)

    assert found.warnings == []
    assert drops
    assert sorted(row["id"] for row in found.rows) == list(range(1, 6001))


def test_a_connection_that_drops_where_no_other_sees_the_image_is_an_error_to_try_again(
    database, mariadb, monkeypatch
) -> None:
    database.run(
        "CREATE TABLE longer (id int PRIMARY KEY, filler text)",
        "INSERT INTO longer SELECT seq, REPEAT('z', 2000) FROM seq_1_to_6000",
    )
    whole = reading.streamed

    def dropping(session: Session, *args: Any, **options: Any) -> Any:
        for number, block in enumerate(whole(session, *args, **{**options, "block_bytes": 2**18})):
            if number == 0:
                mariadb.ask(f"KILL {session.number}")
            yield block

    monkeypatch.setattr(reading, "streamed", dropping)

    with pytest.raises(NetworkError) as caught:
        database.read("longer")

    assert caught.value.retryable


def test_closing_the_reader_ends_a_query_that_goes_on(database, mariadb) -> None:
    stream = StreamSpec("slow", options={"query": "SELECT SLEEP(60) AS s FROM seq_1_to_9"})
    asked = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(60)%'"

    ended = closed_while_asking(database.reader(), stream, lambda: mariadb.ask(asked) == [(1,)])

    assert isinstance(ended, Exception)
    until_s = time.monotonic() + 10
    while mariadb.ask(asked) != [(0,)]:
        assert time.monotonic() < until_s
        time.sleep(0.05)


def test_reading_stops_while_the_server_is_silent(session) -> None:
    stop = threading.Event()
    blocks = streamed(
        session, "SELECT REPEAT('x', 9000), SLEEP(IF(seq < 20, 0, 30)) FROM seq_1_to_99", stop, block_bytes=2**20
    )
    threading.Timer(0.3, stop.set).start()

    with pytest.raises(StoppedError):
        list(blocks)

    assert not session.open


def test_time_outs_are_told_apart(database) -> None:
    database.run("CREATE TABLE held (id int)", "INSERT INTO held VALUES (1)")

    with pytest.raises(TimeoutError, match="max_statement_time"):
        database.read("q", options={"query": "SELECT SLEEP(30) AS s", "statement_timeout_s": 0.3})
    with database.server.connect(database=database.name) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLES held WRITE")
        with pytest.raises(DatabaseLockError, match="Lock wait timeout"):
            database.read("held", options={"lock_timeout_s": 1})


def test_a_table_of_an_engine_without_transactions_is_read_with_a_warning(database) -> None:
    database.run("CREATE TABLE old (id int PRIMARY KEY) ENGINE=MyISAM", "INSERT INTO old VALUES (1), (2)")

    found = database.read("old", parallelism=2)

    assert [row["id"] for row in found.rows] == [1, 2]
    assert any("engine without transactions" in each for each in found.warnings)


def test_memory_stays_flat_however_much_is_read(database) -> None:
    pool = pa.default_memory_pool()
    reader = database.reader()
    stream = StreamSpec("much", options={"query": "SELECT seq, REPEAT('abc', 60) AS t FROM seq_1_to_300000"})
    rows, held = 0, []

    for message in reader.read(stream, reader.partitions(stream, None)[0], None):
        rows += message.batch.num_rows
        held.append(pool.bytes_allocated())

    assert rows == 300_000
    assert max(held) < 40 * 2**20


def test_a_slow_target_keeps_no_image_open(database, mariadb) -> None:
    database.run(
        "CREATE TABLE longer (id int PRIMARY KEY, filler text)",
        "INSERT INTO longer SELECT seq, REPEAT(MD5(seq), 400) FROM seq_1_to_4000",
    )
    reader = database.reader(spill_after_s=0)
    stream = StreamSpec(f"{database.name}.longer", batch_bytes=2**18)
    messages = reader.read(stream, reader.partitions(stream, None)[0], None)
    found = [next(messages)]

    wait_until(lambda: not open_reads(mariadb, database.name))
    found += messages

    rows = [each for each in found if isinstance(each, Rows)]
    assert sum(each.batch.num_rows for each in rows) == 4000
    assert any("waited on local disk" in each.message for each in found if isinstance(each, Warned))


def test_an_image_is_let_go_of_when_it_is_too_old(database, mariadb) -> None:
    database.run(
        "CREATE TABLE longer (id int PRIMARY KEY, filler text)",
        "INSERT INTO longer SELECT seq, REPEAT(MD5(seq), 400) FROM seq_1_to_4000",
    )
    reader = database.reader(spill_mb=0, max_snapshot_age_s=0.5)
    stream = StreamSpec(f"{database.name}.longer", batch_bytes=2**18)
    messages = reader.read(stream, reader.partitions(stream, None)[0], None)
    next(messages)

    wait_until(lambda: not open_reads(mariadb, database.name))

    with pytest.raises(TimeoutError, match="let go of"):
        list(messages)


@pytest.mark.usefixtures("small_ranges")
def test_a_server_without_room_is_read_by_fewer_sessions(database, mariadb) -> None:
    database.run(
        "CREATE TABLE longer (id int PRIMARY KEY, filler text)",
        "INSERT INTO longer SELECT seq, REPEAT('z', 2000) FROM seq_1_to_3000",
        "ANALYZE TABLE longer",
        "GRANT ALL ON *.* TO few@'%' IDENTIFIED BY 'pw' WITH MAX_USER_CONNECTIONS 3",
    )

    found = database.read("longer", parallelism=4, connection={"user": "few", "credentials": {"password": "pw"}})

    mariadb.ask("DROP USER few")
    assert sorted(row["id"] for row in found.rows) == list(range(1, 3001))
    assert ["fewer sessions" in each for each in found.warnings] == [True]


def wait_until(is_so: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.05)


def open_reads(mariadb: Any, name: str) -> int:
    """Count the statements that read a database's tables."""
    running = f"info LIKE 'SELECT%{name}%' AND id <> CONNECTION_ID()"
    return int(mariadb.ask(f"SELECT COUNT(*) FROM information_schema.processlist WHERE {running}")[0][0])
