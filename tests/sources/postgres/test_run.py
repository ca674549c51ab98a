"""Jobs that read Postgres, through the command line."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import pytest
from certificates import Authority
from click.testing import CliRunner
from tls_front import tls_front

from dativo_ingest.cli.program import dativo as program
from dativo_ingest.sources.postgres import ranges
from dativo_ingest.sources.postgres.copy_stream import carries_plain_bytes
from dativo_ingest.sources.postgres.snapshots import open_session

ZOO = """
CREATE TABLE zoo (
    id int PRIMARY KEY, flag boolean, price numeric(38,10), many numeric, ratio double precision, name text,
    document jsonb, octets bytea, day date, at timestamptz, of_day time, span interval, tags text[], pair int4range
)
"""
ROWS = r"""
INSERT INTO zoo VALUES
    (1, true, 9999999999999999999999999999.0123456789, 1e-30, '-Infinity', E'a\tb\\\n"é"', '{"a": ["\\", 1]}', '\x00ff',
     '0001-01-01', '2024-02-29 12:00:00.000001+00', '23:59:59.999999', '1 mon 2 days', ARRAY['', 'NULL', NULL, 'a,b'],
     '[1,5)'),
    (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (3, false, 0, 'NaN', 'NaN', '', '{}', '', '9999-12-31', '1970-01-01 00:00:00+00', '00:00', '0', '{}', 'empty')
"""
ODD = "INSERT INTO zoo (id, at, of_day) VALUES (4, 'infinity', '12:00'), (5, '2024-01-01 00:00:00+00', '24:00')"


@pytest.fixture
def dativo(tmp_path, database):
    """Run a command on a job with these streams; give its exit code and what it wrote."""

    def run(*arguments: str, target: dict[str, Any], connection: dict[str, Any] | None = None, **streams: Any):
        job = {
            "version": 1,
            "name": "from_postgres",
            "source": {
                "connector": "postgres",
                "connection": {**database.server.connection, **(connection or {})},
                "credentials": {"password": "${env:PG_PASSWORD}"},
            },
            "target": target,
            "limits": {"parallelism": 2},
            "defaults": {"on_bad_row": "quarantine", "write": "overwrite"},
            "streams": {f"{database.name}.{name}": spec for name, spec in streams.items()},
        }
        config = tmp_path / "job.json"
        config.write_text(json.dumps(job), encoding="utf-8")
        command = [*arguments, "--config", str(config)]
        return CliRunner().invoke(program, command, env={"PG_PASSWORD": database.server.password})

    return run


@pytest.mark.parametrize("kind", ["parquet", "duckdb", "iceberg"])
def test_a_zoo_of_types_lands_as_it_was(database, dativo, tmp_path, kind) -> None:
    database.run(ZOO, ROWS, ODD)
    connection = {
        "parquet": {"path": str(tmp_path / "out")},
        "duckdb": {"path": str(tmp_path / "out.duckdb")},
        "iceberg": {"warehouse": str(tmp_path / "out")},
    }[kind]

    ran = dativo("run", target={"connector": kind, "connection": connection}, zoo={})

    assert ran.exit_code == 0, ran.output
    if kind == "duckdb":
        lake = duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True)
        table, bad = "zoo", "zoo__quarantine"
    else:
        lake = duckdb.connect()
        table, bad = (
            f"read_parquet({[str(each) for each in tmp_path.rglob('*.parquet') if name in each.parts]})"
            for name in ("zoo", "zoo__quarantine")
        )
    lake.execute("SET TimeZone = 'UTC'")
    query = (
        'SELECT id, price::varchar, many, ratio, name, octets, day::varchar, epoch_us("at"), of_day::varchar,'
        f" span, tags, pair, document FROM {table} ORDER BY id"
    )
    one, two, three = lake.execute(query).fetchall()
    assert one[:4] == (1, "9999999999999999999999999999.0123456789", "0.000000000000000000000000000001", float("-inf"))
    assert one[4:9] == ('a\tb\\\n"é"', b"\x00\xff", "0001-01-01", 1709208000000001, "23:59:59.999999")
    assert one[9:12] == ("P1M2D", ["", "NULL", None, "a,b"], "[1,5)")
    assert json.loads(one[12]) == {"a": ["\\", 1]}
    assert two == (2, *[None] * 12)
    assert (three[2], str(three[3]), three[4:7]) == ("NaN", "nan", ("", b"", "9999-12-31"))
    assert three[7:12] == (0, "00:00:00", "PT0S", [], "empty")
    rules = lake.execute(f'SELECT "column", rule, reason FROM {bad} ORDER BY "column"').fetchall()
    assert [each[:2] for each in rules] == [("at", "type"), ("of_day", "type")]
    assert "infinity" in rules[0][2]
    assert "24:00:00" in rules[1][2]


def test_streams_after_one_that_was_cut_short_are_read_whole(database, dativo, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ranges, "_LEAST_BYTES", 8192 * 4)
    for name in ("first", "second"):
        database.run(
            f"CREATE TABLE {name} (id int, filler text)",
            f"INSERT INTO {name} SELECT g, repeat('x', 500) FROM generate_series(1, 3000) g",
        )
    target = {"connector": "duckdb", "connection": {"path": str(tmp_path / "out.duckdb")}}

    shown = dativo("run", "--limit", "10", target=target, first={}, second={})
    limited = duckdb.connect(str(tmp_path / "out.duckdb")).execute("SELECT count(*) FROM second").fetchall()
    ran = dativo("run", target=target, first={}, second={})

    assert (shown.exit_code, ran.exit_code) == (0, 0), shown.output + ran.output
    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as lake:
        counts = lake.execute("SELECT (SELECT count(DISTINCT id) FROM first), (SELECT count(*) FROM second)").fetchall()
    assert limited == [(10,)]
    assert counts == [(3000, 3000)]


def test_new_rows_are_merged_and_a_run_without_any_says_so(database, dativo, tmp_path) -> None:
    database.run(
        "CREATE TABLE orders (id int PRIMARY KEY, state text, updated_at timestamptz NOT NULL)",
        "INSERT INTO orders SELECT g, 'open', '2024-01-01 00:00:00+00' FROM generate_series(1, 5) g",
    )
    target = {"connector": "duckdb", "connection": {"path": str(tmp_path / "out.duckdb")}}
    stream = {"mode": "incremental", "cursor": "updated_at", "primary_key": ["id"], "write": "merge"}

    first = dativo("run", target=target, orders=stream)
    database.run("UPDATE orders SET state = 'paid', updated_at = '2024-01-02 00:00:00+00' WHERE id = 2")
    second = dativo("run", target=target, orders=stream)
    third = dativo("run", target=target, orders=stream)

    assert (first.exit_code, second.exit_code, third.exit_code) == (0, 0, 0), second.output
    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as lake:
        states = lake.execute("SELECT state, count(*) FROM orders GROUP BY state ORDER BY state").fetchall()
    assert states == [("open", 4), ("paid", 1)]
    assert "no_data" in third.output or "no new" in third.output


@pytest.mark.parametrize(
    ("options", "connection", "exit_code", "error"),
    [
        pytest.param({"lock_timeout_s": 0.1}, {}, 75, "DATABASE_LOCK", id="locked"),
        pytest.param({"query": "SELECT pg_sleep(9)", "statement_timeout_s": 0.1}, {}, 75, "TIMEOUT", id="statement"),
        pytest.param({"query": "SELECT pg_sleep(9)", "max_snapshot_age_s": 0.1}, {}, 75, "TIMEOUT", id="age"),
        pytest.param({}, {"port": 1}, 75, "NETWORK_ERROR", id="nobody there"),
        pytest.param({}, {"user": "nobody_here"}, 77, "INVALID_CREDENTIALS", id="user"),
        pytest.param({"query": "SELECT * FROM nowhere"}, {}, 66, "DATA_NOT_FOUND", id="table"),
        pytest.param({"query": "SELECT 1 / 0 AS n"}, {}, 65, "DATA_VALIDATION_ERROR", id="data"),
    ],
)
def test_the_exit_code_says_whether_to_try_again(database, dativo, tmp_path, options, connection, exit_code, error):  # noqa: PLR0917
    database.run("CREATE TABLE held (id int)")
    target = {"connector": "duckdb", "connection": {"path": str(tmp_path / "out.duckdb")}}
    with database.server.connect(autocommit=False) as other:
        other.execute(f"LOCK TABLE {database.name}.held")

        ran = dativo("run", target=target, connection=connection, held={"options": options})

        other.rollback()
    assert (ran.exit_code, error in ran.output) == (exit_code, True), ran.output


def test_rows_that_come_over_tls_are_the_same(database, tmp_path) -> None:
    database.run(ZOO, ROWS)
    certificate, key = Authority("Dativo tests").issue("127.0.0.1")

    with tls_front(database.server.port, certificate, key, tmp_path) as port:
        secured = {"port": port, "sslmode": "require"}
        session = open_session(database.reader(secured)._access.parameters())
        is_plain = carries_plain_bytes(session)
        session.close()
        over_tls = database.read("zoo", connection=secured)
    plain = database.read("zoo")

    assert not is_plain
    assert str(over_tls.rows) == str(plain.rows)
