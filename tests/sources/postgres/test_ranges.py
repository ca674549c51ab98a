"""Ranges that sessions read side by side: of pages, and of a column's values."""

from __future__ import annotations

from typing import Any

import pytest

from dativo_ingest.sources.postgres import key_ranges, page_ranges, ranges, reading
from dativo_ingest.sources.postgres.key_ranges import cuts
from dativo_plugin_sdk import InvalidConfigError


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch) -> None:
    """Cut what has a few pages or rows, too."""
    monkeypatch.setattr(ranges, "_LEAST_BYTES", 8192 * 4)
    monkeypatch.setattr(key_ranges, "_LEAST_ROWS", 10)


@pytest.fixture
def conditions(monkeypatch) -> list[str]:
    """Give the conditions of the ranges that are read."""
    seen: list[str] = []
    whole = reading.ranges_of

    def seeing(*arguments: Any) -> Any:
        found = whole(*arguments)
        seen.extend(found.conditions)
        return found

    monkeypatch.setattr(reading, "ranges_of", seeing)
    return seen


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("bigint", "g * 1000003 % 7919 - 4000"),
        ("int", "CASE WHEN g % 10 = 0 THEN g ELSE 7 END"),
        ("numeric(10,2)", "(CASE g % 50 WHEN 0 THEN 'NaN' ELSE (g % 97 / 7.0)::text END)::numeric(10,2)"),
        ("double precision", "CASE g % 3 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' ELSE g / 3.0 END"),
        ("timestamptz", "CASE WHEN g % 9 = 0 THEN 'infinity' ELSE '2024-01-01'::timestamptz + g * interval '1 s' END"),
        ("date", "'1850-03-15'::date + g"),
        ("uuid", "md5(g::text)::uuid"),
        ("text", "chr(65 + g % 60) || E'\\\\ \\'é' || g % 13"),
        ('text COLLATE "C"', "chr(65 + g % 60) || chr(200 + g % 40)"),
        ("char(5)", "chr(65 + g % 26)"),
        ("bytea", "decode(md5(g::text), 'hex')"),
        ("boolean", "g % 2 = 0"),
        ("interval", "g % 77 * interval '1 hour'"),
    ],
)
@pytest.mark.parametrize("analyzed", [True, False], ids=["statistics", "sample"])
def test_each_row_is_in_one_range_whatever_the_column_is(database, conditions, kind, values, analyzed) -> None:
    database.run(
        f"CREATE TABLE keyed (id int, key {kind})",
        f"INSERT INTO keyed SELECT g, CASE WHEN g % 11 > 0 THEN {values} END FROM generate_series(1, 600) g",
        *(["ANALYZE keyed"] if analyzed else []),
    )

    found = database.read("keyed", parallelism=2, options={"partition_column": "key"})

    assert sorted(row["id"] for row in found.rows) == list(range(1, 601))
    assert len(conditions) > 2
    assert conditions[-1] == '"key" IS NULL'


def test_views_and_queries_are_read_side_by_side_where_the_job_names_a_column(database, conditions) -> None:
    database.run(
        "CREATE TABLE orders (id int PRIMARY KEY, state text, note text)",
        "INSERT INTO orders SELECT g, 'open', 'n' FROM generate_series(1, 1000) g",
        "CREATE VIEW open_orders AS SELECT id, note FROM orders WHERE state = 'open'",
    )
    query = f"SELECT id * 2 AS twice, note FROM {database.name}.orders"

    whole = database.read("open_orders", parallelism=2)
    assert conditions == ["true"]
    view = database.read("open_orders", parallelism=2, options={"partition_column": "id", "columns": ["note"]})
    assert len(conditions) > 8
    asked = database.read("mine", parallelism=2, options={"query": query, "partition_column": "twice"})

    assert len(whole.rows) == len(view.rows) == len(asked.rows) == 1000
    assert whole.rows[0].keys() == {"id", "note"}
    assert view.rows[0].keys() == {"note"}
    assert {row["twice"] for row in asked.rows} == set(range(2, 2001, 2))


def test_ranges_of_a_view_are_one_image(database, monkeypatch) -> None:
    database.run(
        "CREATE TABLE accounts (id int PRIMARY KEY, amount int)",
        "INSERT INTO accounts SELECT g, 1 FROM generate_series(1, 2000) g",
        "CREATE VIEW seen AS SELECT * FROM accounts",
    )
    joined = reading.join
    changed: list[str] = []

    def join_late(session: Any, options: Any, snapshot: str) -> None:
        if not changed:
            changed.append(snapshot)
            database.run("UPDATE accounts SET amount = 2, id = id + 5000", "DELETE FROM accounts WHERE id % 2 = 0")
        joined(session, options, snapshot)

    monkeypatch.setattr(reading, "join", join_late)

    found = database.read("seen", parallelism=2, options={"partition_column": "id"})

    assert changed
    assert sorted(row["id"] for row in found.rows) == list(range(1, 2001))
    assert {row["amount"] for row in found.rows} == {1}


def test_a_foreign_table_is_read_in_ranges(database, conditions) -> None:
    server = database.server
    password = server.password.replace("'", "''")
    name = f"far_{database.name}"
    database.run(
        "CREATE TABLE near (id int PRIMARY KEY, note text)",
        "INSERT INTO near SELECT g, 'n' || g FROM generate_series(1, 500) g",
        "CREATE EXTENSION IF NOT EXISTS postgres_fdw",
        f"CREATE SERVER {name} FOREIGN DATA WRAPPER postgres_fdw"
        f" OPTIONS (host '{server.host}', port '{server.port}', dbname '{server.database}')",
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER {name} OPTIONS (user '{server.user}', password '{password}')",
        f"CREATE FOREIGN TABLE far (id int, note text) SERVER {name}"
        f" OPTIONS (schema_name '{database.name}', table_name 'near')",
    )
    try:
        found = database.read("far", parallelism=2, options={"partition_column": "id"})
    finally:
        database.run(f"DROP SERVER {name} CASCADE")

    assert len(conditions) > 2
    assert sorted(row["id"] for row in found.rows) == list(range(1, 501))


def test_a_table_that_is_no_heap_or_on_an_old_server_is_read_by_its_key(database, conditions, monkeypatch) -> None:
    database.run(
        "CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler",
        "CREATE TABLE odd (id int PRIMARY KEY, note text) USING other",
        "INSERT INTO odd SELECT g, repeat('x', 300) FROM generate_series(1, 2000) g",
        "CREATE TABLE plain AS SELECT * FROM odd",
        "ALTER TABLE plain ADD PRIMARY KEY (id)",
    )
    odd = database.read("odd", parallelism=2)
    assert conditions[-1].startswith('"id" >=')
    monkeypatch.setattr(page_ranges, "_FIRST_VERSION", 990000)
    database.run("ANALYZE plain")
    conditions.clear()

    plain = database.read("plain", parallelism=2)

    database.run("DROP TABLE odd", "DROP ACCESS METHOD other")
    assert len(conditions) > 2
    assert conditions[-1].startswith('"id" >=')
    assert len(odd.rows) == len(plain.rows) == 2000


def test_a_column_that_is_not_there_or_has_no_order_is_told(database) -> None:
    database.run(
        "CREATE TABLE things (id int, document json, tags int[])",
        "INSERT INTO things SELECT g, '{}', '{1}' FROM generate_series(1, 100) g",
    )

    for name, message in [("nmae", "no column nmae"), ("document", "has no order"), ("tags", "has no order")]:
        with pytest.raises(InvalidConfigError, match=message):
            database.read("things", parallelism=2, options={"partition_column": name})


def test_large_values_count_where_a_table_is_cut(database, conditions) -> None:
    database.run(
        "CREATE TABLE documents (id int, body text)",
        "ALTER TABLE documents ALTER body SET STORAGE EXTERNAL",
        "INSERT INTO documents SELECT g, repeat('x', 3000) FROM generate_series(1, 600) g",
    )

    found = database.read("documents", parallelism=2)

    assert len(conditions) > 2
    assert len(found.rows) == 600


def test_a_range_of_pages_reads_no_other_page_of_any_partition(database, conditions) -> None:
    database.run(
        "CREATE TABLE parts (id int, filler text) PARTITION BY RANGE (id)",
        *(
            f"CREATE TABLE parts_{n} PARTITION OF parts FOR VALUES FROM ({n * 1000}) TO ({n * 1000 + 1000})"
            for n in range(3)
        ),
        "INSERT INTO parts SELECT g, repeat('y', 300) FROM generate_series(0, 2999) g",
    )
    database.read("parts", parallelism=2)

    plan = database.server.ask(f"EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM {database.name}.parts WHERE {conditions[0]}")

    text = "\n".join(row[0] for row in plan)
    assert text.count("Tid Range Scan") == 3
    assert "Seq Scan" not in text


def test_new_rows_that_an_index_finds_are_read_in_one_session(database, conditions) -> None:
    database.run(
        "CREATE TABLE events (id int PRIMARY KEY, filler text)",
        "INSERT INTO events SELECT g, repeat('x', 400) FROM generate_series(1, 5000) g",
        "ANALYZE events",
    )
    first = database.read("events", mode="incremental", cursor="id", parallelism=2)
    database.run("INSERT INTO events SELECT g, 'new' FROM generate_series(5001, 5020) g")
    conditions.clear()

    second = database.read("events", mode="incremental", cursor="id", parallelism=2, state=first.state)

    assert conditions == ["true"]
    assert len(second.rows) == 20


@pytest.mark.parametrize(
    ("points", "ranges", "expected"),
    [
        pytest.param([("1", 0.25), ("2", 0.5), ("3", 0.75), ("4", 1.0)], 4, ["1", "2", "3"], id="even"),
        pytest.param([("1", 0.1), ("2", 0.9), ("3", 1.0)], 4, ["2", "3"], id="one value has most of the rows"),
        pytest.param([("7", 0.5), ("7", 1.0)], 2, ["7"], id="one value"),
        pytest.param([], 4, [], id="nothing"),
        pytest.param([("1", 1.0)], 1, [], id="one range"),
    ],
)
def test_values_are_chosen_by_the_rows_up_to_them(points, ranges, expected) -> None:
    assert cuts(points, ranges) == expected
