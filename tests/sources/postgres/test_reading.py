"""Reading tables, views and queries."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from database_reading import closed_while_asking

from dativo_ingest.databases.side_by_side import StoppedError
from dativo_ingest.sources.postgres import ranges, reading
from dativo_ingest.sources.postgres.copy_stream import carries_plain_bytes, copied
from dativo_ingest.sources.postgres.page_ranges import conditions, cuts
from dativo_plugin_sdk import (
    DatabaseLockError,
    DataNotFoundError,
    DataValidationError,
    InvalidConfigError,
    StreamSpec,
    TimeoutError,
)

WIDE = (
    "SELECT g, repeat('é', g % 40) AS t, CASE WHEN g % 3 = 0 THEN NULL ELSE E'a\\\\b\\n' || g END AS u"
    " FROM generate_series(1, 30000) g"
)

pytestmark = pytest.mark.each_postgres


@pytest.fixture
def small_ranges(monkeypatch) -> None:
    """Cut tables of a few pages, too."""
    monkeypatch.setattr(ranges, "_LEAST_BYTES", 8192 * 4)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(WIDE, id="many rows"),
        pytest.param(
            "SELECT repeat('x', g % 700) FROM generate_series(1, 3000) g", id="lengths that look like line ends"
        ),
        pytest.param("SELECT repeat('ab', 400000 + g), g FROM generate_series(1, 4) g", id="rows larger than a block"),
        pytest.param("SELECT 1 WHERE false", id="no rows"),
    ],
)
def test_both_ways_to_read_a_stream_give_the_same_bytes(postgres, query) -> None:
    given = []
    with postgres.connect() as session:
        assert carries_plain_bytes(session)

        for direct in (True, False):
            blocks = [
                bytes(block) for block in copied(session, query, threading.Event(), block_bytes=2**18, direct=direct)
            ]
            given.append(hashlib.sha256(b"".join(blocks)).hexdigest())

        assert session.execute("SELECT 1").fetchone() == (1,)
    assert given[0] == given[1]


@pytest.mark.parametrize("direct", [True, False], ids=["socket", "libpq"])
def test_what_the_server_says_in_the_midst_of_rows_is_raised(postgres, direct) -> None:
    query = "SELECT 1 / (90000 - g) FROM generate_series(1, 100000) g"
    with postgres.connect() as session, pytest.raises(psycopg.errors.DivisionByZero, match="division by zero"):
        for _ in copied(session, query, threading.Event(), block_bytes=2**18, direct=direct):
            pass


def test_notices_between_rows_are_passed_over(database) -> None:
    database.run(
        "CREATE FUNCTION say(n int) RETURNS int LANGUAGE plpgsql AS"
        " $$BEGIN IF n % 100 = 0 THEN RAISE WARNING E'at\\n%', n; END IF; RETURN n; END$$"
    )

    found = database.read(
        "said", options={"query": f"SELECT {database.name}.say(g) AS n FROM generate_series(1, 1000) g"}
    )

    assert [row["n"] for row in found.rows] == list(range(1, 1001))


@pytest.mark.parametrize("direct", [True, False], ids=["socket", "libpq"])
def test_a_connection_that_drops_in_the_midst_of_rows_is_an_error(postgres, direct) -> None:
    query = "SELECT repeat('x', 1000) FROM generate_series(1, 200000) g"
    with postgres.connect() as session:
        blocks = copied(session, query, threading.Event(), block_bytes=2**18, direct=direct)
        next(blocks)
        postgres.ask(f"SELECT pg_terminate_backend({session.info.backend_pid})")

        with pytest.raises(psycopg.OperationalError):
            for _ in blocks:
                pass


def test_reading_stops_while_the_server_is_silent(postgres) -> None:
    stop = threading.Event()
    with postgres.connect() as session:
        timer = threading.Timer(0.3, stop.set)
        timer.start()

        with pytest.raises(StoppedError):
            next(copied(session, "SELECT pg_sleep(60)", stop))

        timer.join()
        postgres.ask(f"SELECT pg_terminate_backend({session.info.backend_pid})")


def test_closing_the_reader_ends_a_query_that_goes_on(database) -> None:
    stream = StreamSpec("slow", options={"query": "SELECT pg_sleep(60)"})
    asked = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COPY%pg_sleep(60)%'"

    ended = closed_while_asking(database.reader(), stream, lambda: database.server.ask(asked) == [(1,)])

    assert isinstance(ended, Exception)


@pytest.mark.usefixtures("small_ranges")
def test_a_table_that_is_read_in_ranges_is_one_image(database, monkeypatch) -> None:
    database.run(
        "CREATE TABLE accounts (id int PRIMARY KEY, amount int, filler text)",
        "INSERT INTO accounts SELECT g, 1, repeat('x', 500) FROM generate_series(1, 4000) g",
    )
    joined = reading.join
    changed: list[str] = []

    def join_late(session: Any, options: Any, snapshot: str) -> None:
        if not changed:  # after the image was taken, before the second session reads
            changed.append(snapshot)
            database.run("UPDATE accounts SET amount = 2", "DELETE FROM accounts WHERE id % 2 = 0")
        joined(session, options, snapshot)

    monkeypatch.setattr(reading, "join", join_late)

    found = database.read("accounts", parallelism=2)

    assert changed
    assert len(found.batches) > 2
    assert sorted(row["id"] for row in found.rows) == list(range(1, 4001))
    assert {row["amount"] for row in found.rows} == {1}


@pytest.mark.usefixtures("small_ranges")
def test_partitions_and_tables_that_inherit_are_read_whole_and_once(database) -> None:
    database.run(
        "CREATE TABLE parts (id int, filler text) PARTITION BY RANGE (id)",
        "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (3000)",
        "CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (3000) TO (100000)",
        "CREATE TABLE parts_3 PARTITION OF parts DEFAULT",
        "INSERT INTO parts SELECT g, repeat('y', 300) FROM generate_series(1, 5000) g",
        "CREATE TABLE parent (id int, filler text)",
        "CREATE TABLE child (more int) INHERITS (parent)",
        "INSERT INTO parent SELECT g, repeat('y', 300) FROM generate_series(1, 1000) g",
        "INSERT INTO child SELECT g, repeat('y', 300), 1 FROM generate_series(1001, 3000) g",
    )

    parts, parent = (database.read(table, parallelism=2) for table in ("parts", "parent"))

    assert len(parts.batches) > 2
    assert sorted(row["id"] for row in parts.rows) == list(range(1, 5001))
    assert sorted(row["id"] for row in parent.rows) == list(range(1, 3001))


@pytest.mark.usefixtures("small_ranges")
def test_a_range_whose_connection_drops_goes_on_where_it_was(database, postgres, monkeypatch) -> None:
    database.run(
        "CREATE TABLE long (id int, filler text)",
        "INSERT INTO long SELECT g, repeat('z', 2000) FROM generate_series(1, 6000) g",
    )
    drops: list[int] = []
    whole = reading.copied

    def dropping(session: Any, *args: Any, **options: Any) -> Any:
        for number, block in enumerate(whole(session, *args, **{**options, "block_bytes": 2**18})):
            if number == 1 and len(drops) < 2:
                drops.append(session.info.backend_pid)
                postgres.ask(f"SELECT pg_terminate_backend({drops[-1]})")
                raise psycopg.OperationalError("server closed the connection unexpectedly")
            yield block

    monkeypatch.setattr(reading, "copied", dropping)

    found = database.read("long", parallelism=2)

    assert len(drops) == 2
    assert sorted(row["id"] for row in found.rows) == list(range(1, 6001))


@pytest.mark.usefixtures("small_ranges")
def test_a_failure_in_one_range_ends_the_others(database) -> None:
    database.run(
        "CREATE TABLE broken (id int, filler text)",
        "INSERT INTO broken SELECT g, repeat('z', 500) FROM generate_series(1, 3000) g",
    )

    with pytest.raises(DataValidationError, match="division by zero"):
        database.read("broken", parallelism=2, options={"filter": "1 / (id - 2500) > -5"})


@pytest.mark.parametrize(
    ("pages", "ranges", "expected"),
    [
        pytest.param([100], 4, [25, 50, 75], id="one table"),
        pytest.param([100, 10], 2, [45], id="parts of several sizes"),
        pytest.param([2], 8, [1, 2], id="fewer pages than ranges"),
        pytest.param([0, 0], 4, [], id="nothing"),
    ],
)
def test_ranges_have_about_as_many_pages_each(pages, ranges, expected) -> None:
    assert cuts(pages, ranges) == expected


def test_the_first_range_begins_with_the_first_page_and_the_last_has_no_end() -> None:
    assert conditions([5]) == [
        "ctid >= '(0,0)'::pg_catalog.tid AND ctid < '(5,0)'::pg_catalog.tid",
        "ctid >= '(5,0)'::pg_catalog.tid",
    ]


def test_views_queries_and_columns_are_selected(database) -> None:
    database.run(
        "CREATE TABLE orders (id int PRIMARY KEY, state text, total numeric(8,2))",
        "INSERT INTO orders VALUES (1, 'open', 1.5), (2, 'draft', 2), (3, NULL, 3)",
        "CREATE VIEW open_orders AS SELECT id, total FROM orders WHERE state = 'open'",
        "CREATE MATERIALIZED VIEW all_orders AS SELECT * FROM orders",
    )
    query = f"SELECT count(*) AS n, sum(total) AS total FROM {database.name}.orders -- all of them\n;"

    assert [row["id"] for row in database.read("open_orders").rows] == [1]
    assert len(database.read("all_orders", parallelism=2).rows) == 3
    assert [row["n"] for row in database.read("sums", options={"query": query}).rows] == [3]
    some = database.read("orders", options={"columns": ["total", "id"], "filter": "state <> 'draft' -- or none"})
    assert some.schema.names == ["total", "id"]
    assert [row["id"] for row in some.rows] == [1]


def test_only_the_columns_of_the_contract_are_read(database) -> None:
    database.run("CREATE TABLE wide (id int, secret text, n smallint)", "INSERT INTO wide VALUES (1, 's', 2)")

    found = database.read("wide", schema=pa.schema([("n", pa.int64()), ("id", pa.int32())]))

    assert found.batches[0].schema == pa.schema([("id", pa.int32()), ("n", pa.int64())])
    assert found.warnings == [f"{database.name}.wide has columns that are not in the schema: secret; they are left out"]
    with pytest.raises(DataValidationError, match="secret"):
        database.read("wide", schema=found.batches[0].schema, options={"extra_columns": "fail"})


def test_names_may_be_anything(database) -> None:
    names = ["select", 'a "quoted" name', "ünï çødé 🎉", "with\ttab", "100%", "{}", "it's", "a.b"]
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    database.run(
        f'CREATE TABLE "Order ""x"" 日本" ({", ".join(f"{name} int" for name in quoted)})',
        f'INSERT INTO "Order ""x"" 日本" VALUES ({", ".join(map(str, range(len(names))))})',
    )

    found = database.read('Order "x" 日本')

    assert found.rows == [dict(zip(names, range(len(names)), strict=True))]


def test_an_empty_table_has_a_schema_and_no_rows(database) -> None:
    database.run("CREATE TABLE empty (id bigint NOT NULL, name text)")

    found = database.read("empty", parallelism=2)

    assert found.messages == []
    assert found.schema.field("id").nullable is False


def test_a_table_of_1600_columns_is_read(database) -> None:
    names = [f"c{number}" for number in range(1600)]
    database.run(
        f"CREATE TABLE broad ({', '.join(f'{name} smallint' for name in names)})",
        f"INSERT INTO broad SELECT {', '.join(['g'] * 1600)} FROM generate_series(1, 3) g",
    )

    (batch,) = database.read("broad").batches

    assert batch.num_columns == 1600
    assert batch.column(1599).to_pylist() == [1, 2, 3]


@pytest.mark.newest_postgres
def test_cells_larger_than_any_block_are_read(database) -> None:
    database.run(
        "CREATE TABLE large (id int, document jsonb, octets bytea)",
        "INSERT INTO large SELECT g, jsonb_build_object('k', repeat(E'a\"b\\n', 3000000)),"
        " decode(repeat('00ff', 4000000), 'hex') FROM generate_series(1, 2) g",
    )

    found = database.read("large")

    assert sum(batch.num_rows for batch in found.batches) == 2
    for batch in found.batches:
        assert set(pc.binary_length(batch.column("octets")).to_pylist()) == {8_000_000}
        assert set(pc.utf8_length(batch.column("document")).to_pylist()) == {18_000_009}


def test_what_cannot_be_read_is_told_apart(database) -> None:
    database.run("CREATE TABLE known (id int)")

    with pytest.raises(DataNotFoundError, match="unknown"):
        database.read("unknown")
    with pytest.raises(InvalidConfigError, match="no column nmae"):
        database.read("known", options={"columns": ["nmae"]})
    with pytest.raises(InvalidConfigError, match="syntax error"):
        database.read("broken", options={"query": "SELEKT 1"})
    with pytest.raises(InvalidConfigError, match="more than one column a"):
        database.read("twice", options={"query": "SELECT 1 AS a, 2 AS a"})
    with pytest.raises(InvalidConfigError, match="does not exist"):
        database.read("known", options={"filter": "nmae = 1"})


def test_a_statement_that_takes_too_long_and_a_table_that_is_locked_are_errors(database) -> None:
    database.run("CREATE TABLE held (id int)")

    with pytest.raises(TimeoutError, match="statement timeout"):
        database.read("slow", options={"query": "SELECT pg_sleep(20)", "statement_timeout_s": 0.2})
    with database.server.connect(autocommit=False) as session:
        session.execute(f"LOCK TABLE {database.name}.held")
        reader = database.reader()
        stream = StreamSpec(f"{database.name}.held", options={"lock_timeout_s": 0.2})
        with pytest.raises(DatabaseLockError):
            list(reader.read(stream, reader.partitions(stream, None)[0], None))


def test_the_server_sees_who_reads(database) -> None:
    query = (
        "SELECT application_name, current_setting('transaction_read_only') AS read_only"
        " FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    )

    found = database.read("who", options={"query": query}, connection={"application_name": "nightly"})

    assert found.rows == [{"application_name": "nightly", "read_only": "on"}]


@pytest.fixture
def orders(database) -> Any:
    database.run(
        "CREATE TABLE orders (id int PRIMARY KEY, updated_at timestamptz, day date NOT NULL DEFAULT '2024-01-01')",
        "INSERT INTO orders SELECT g, '2024-01-01 00:00:00+00'::timestamptz + g * interval '1 hour'"
        " FROM generate_series(1, 10) g",
    )
    return database


def ids(found: Any) -> list[int]:
    return sorted(row["id"] for row in found.rows)


@pytest.mark.parametrize("cursor", ["updated_at", "id"])
def test_only_rows_beyond_the_state_are_read(orders, cursor) -> None:
    first = orders.read("orders", mode="incremental", cursor=cursor)
    orders.run(
        "INSERT INTO orders VALUES (11, '2024-02-01 00:00:00.000001+00')",
        "UPDATE orders SET updated_at = '2024-03-01' WHERE id = 1",
    )

    second = orders.read("orders", mode="incremental", cursor=cursor, state=first.state)
    third = orders.read("orders", mode="incremental", cursor=cursor, state=second.state)

    assert ids(first) == list(range(1, 11))
    assert ids(second) == ([1, 11] if cursor == "updated_at" else [11])
    assert ids(third) == []
    assert third.state == second.state


def test_a_cursor_of_text_is_followed_in_the_order_of_the_database(database) -> None:
    database.run("CREATE TABLE named (id int, version uuid)")
    for number in (1, 2):
        database.run(f"INSERT INTO named VALUES ({number}, '0000000{number}-0000-7000-8000-000000000000')")
    first = database.read("named", mode="incremental", cursor="version")
    database.run("INSERT INTO named VALUES (3, '00000003-0000-7000-8000-000000000000')")

    second = database.read("named", mode="incremental", cursor="version", state=first.state)

    assert (ids(first), ids(second)) == ([1, 2], [3])


def test_rows_of_a_transaction_that_commits_late_are_not_lost(orders) -> None:
    with orders.server.connect(autocommit=False) as slow:
        slow.execute(f"INSERT INTO {orders.name}.orders VALUES (20, now())")
        time.sleep(0.1)
        orders.run("INSERT INTO orders VALUES (21, now())")
        first = orders.read("orders", mode="incremental", cursor="updated_at")
        slow.commit()
    time.sleep(1.2)

    second = orders.read("orders", mode="incremental", cursor="updated_at", state=first.state)

    assert ids(first) == list(range(1, 11))
    assert ids(second) == [20, 21]


def test_rows_without_a_cursor_are_told_of(orders) -> None:
    orders.run("INSERT INTO orders VALUES (30, NULL)")

    found = orders.read("orders", mode="incremental", cursor="updated_at")

    assert ids(found) == list(range(1, 11))
    assert any("updated_at is null" in text for text in found.warnings)


def test_a_range_of_the_cursor_is_read_without_state(orders) -> None:
    found = orders.read(
        "orders",
        mode="incremental",
        cursor="updated_at",
        cursor_from="2024-01-01 03:00:00",
        cursor_to="2024-01-01T05:00:00Z",
    )

    assert ids(found) == [3, 4]
    assert found.state is None
    with pytest.raises(InvalidConfigError, match="is no timestamp"):
        orders.read("orders", mode="incremental", cursor="updated_at", cursor_from="soon")


def test_a_state_that_follows_another_column_is_refused(orders) -> None:
    first = orders.read("orders", mode="incremental", cursor="id")

    with pytest.raises(InvalidConfigError, match="the state follows id"):
        orders.read("orders", mode="incremental", cursor="updated_at", state=first.state)


def test_a_database_is_known_whatever_its_address_is(database) -> None:
    stream = StreamSpec("public.any")
    by_name = database.reader({"host": "localhost"}).fingerprint(stream)

    assert database.reader().fingerprint(stream) == by_name
    assert database.reader({"database": "postgres"}).fingerprint(stream) != by_name
