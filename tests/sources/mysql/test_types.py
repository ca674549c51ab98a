"""Every type, with extreme values, nulls and empties."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from mysql_zoo import UTC, ZOO, naive, statements


def test_every_type_keeps_every_value(database) -> None:
    database.run(*statements())

    found = database.read("zoo")

    rows = {row["id"]: row for row in found.rows}
    for number, (kind, arrow, values) in enumerate(ZOO):
        field = found.schema.field(f"c{number}")
        assert (kind, field.type) == (kind, arrow)
        assert rows[0][f"c{number}"] is None or "timestamp" in kind
        for place, expected in enumerate(values.values()):
            assert (kind, rows[100 * (number + 1) + place][f"c{number}"]) == (kind, expected)


def test_columns_say_what_they_were(database) -> None:
    database.run(
        "CREATE TABLE told (a bigint(20) unsigned, b decimal(65,30), c json, d datetime(3) NOT NULL, e enum('x','y'))"
    )

    schema = database.reader().schema(_stream(database, "told"))

    told = {field.name: {key.decode(): each.decode() for key, each in field.metadata.items()} for field in schema}
    assert told["a"] == {"dativo.source_type": "bigint(20) unsigned", "dativo.fidelity": "widened"}
    assert told["b"]["dativo.fidelity"] == "text"
    assert told["c"]["dativo.logical_type"] == "json"
    assert told["e"]["dativo.source_type"] == "enum('x','y')"
    assert [field.nullable for field in schema] == [True, True, True, False, True]


def test_rows_with_a_day_that_is_none_keep_what_was_written(database) -> None:
    database.run(
        "CREATE TABLE days (id int PRIMARY KEY, d date, m datetime(2), t timestamp NOT NULL DEFAULT 0)",
        "SET sql_mode = 'ALLOW_INVALID_DATES'",
        "INSERT INTO days VALUES (1, '2024-02-29', '2024-02-29 23:59:59.99', '2024-02-29 01:02:03'),"
        " (2, '0000-00-00', NULL, '2024-01-01 00:00:00'), (3, '2024-00-15', '2024-02-31 10:00:00', 0)",
    )

    found = database.read("days")

    good, *bad = found.batches
    assert good.schema.types == [pa.int32(), pa.date32(), pa.timestamp("us"), UTC]
    assert good.column("id").to_pylist() == [1]
    assert sorted((row for batch in bad for row in batch.to_pylist()), key=lambda row: row["id"]) == [
        {"id": 2, "d": "0000-00-00", "m": None, "t": dt.datetime(2024, 1, 1, tzinfo=dt.UTC)},
        {"id": 3, "d": "2024-00-15", "m": "2024-02-31 10:00:00.00", "t": "0000-00-00 00:00:00"},
    ]


def test_a_contract_may_have_days_that_are_none_as_text(database) -> None:
    database.run(
        "CREATE TABLE days (d date, t time)",
        "SET sql_mode = ''",
        "INSERT INTO days VALUES ('0000-00-00', '-01:00:00')",
    )

    found = database.read("days", schema=pa.schema([("d", pa.string()), ("t", pa.string())]))

    assert found.rows == [{"d": "0000-00-00", "t": "-01:00:00"}]


def test_moments_are_in_utc_whatever_the_server_is_set_to(database) -> None:
    database.run(
        "CREATE TABLE moments (t timestamp(3) NULL, d datetime)",
        "SET time_zone = '+05:30'",
        "INSERT INTO moments VALUES ('2024-07-01 12:00:00.5', '2024-07-01 12:00:00')",
    )

    (row,) = database.read("moments").rows

    assert row == {
        "t": dt.datetime(2024, 7, 1, 6, 30, 0, 500000, dt.UTC),
        "d": naive(2024, 7, 1, 12),
    }


def test_the_columns_of_a_query_have_the_types_of_its_values(database) -> None:
    database.run(
        "CREATE TABLE sold (id bigint unsigned, price decimal(12,3), at timestamp NULL, raw blob, note text, b bit(3))",
        "INSERT INTO sold VALUES (18446744073709551615, 1.5, '2024-01-01 00:00:00', x'ff', 'n', b'101')",
    )

    found = database.read(
        "query", options={"query": "SELECT *, price * 2 AS twice, COUNT(*) OVER () AS n, 1.5e0 AS f FROM sold; "}
    )

    assert {field.name: field.type for field in found.schema} == {
        "id": pa.decimal128(20, 0),
        "price": pa.decimal128(12, 3),
        "at": UTC,
        "raw": pa.binary(),
        "note": pa.string(),
        "b": pa.int64(),
        "twice": pa.decimal128(13, 3),
        "n": pa.int64(),
        "f": pa.float64(),
    }
    (row,) = found.rows
    assert (row["id"], row["raw"], row["b"], row["twice"]) == (Decimal(2**64 - 1), b"\xff", 5, Decimal(3))


def _stream(database: Any, table: str) -> Any:
    from dativo_plugin_sdk import StreamSpec

    return StreamSpec(f"{database.name}.{table}")


@pytest.mark.parametrize("mode", ["ANSI", "NO_BACKSLASH_ESCAPES", "PAD_CHAR_TO_FULL_LENGTH", "ANSI_QUOTES"])
def test_the_servers_sql_mode_does_not_matter(database, mariadb, mode) -> None:
    (before,) = mariadb.ask("SELECT @@global.sql_mode")[0]
    database.run(
        'CREATE TABLE `strange ``"\' näme` (`select` char(9), `a b` int, `ü"` varchar(9), PRIMARY KEY (`select`))',
        "INSERT INTO `strange ``\"' näme` VALUES ('x', 1, 'a\\\\b''c')",
    )
    mariadb.ask(f"SET GLOBAL sql_mode = '{mode}'")
    try:
        found = database.read("strange `\"' näme", mode="incremental", cursor="select")
        more = database.read("strange `\"' näme", mode="incremental", cursor="select", state=found.state)
    finally:
        mariadb.ask(f"SET GLOBAL sql_mode = '{before}'")

    assert found.rows == [{"select": "x", "a b": 1, 'ü"': "a\\b'c"}]
    assert more.rows == []
