"""Every type, with extreme values, nulls and empties."""

from __future__ import annotations

import datetime as dt
import struct
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

UTC = pa.timestamp("us", "UTC")
EDGE = "9" * 35 + "." + "9" * 30


def naive(*parts: int) -> dt.datetime:
    """Give a moment without a zone."""
    return dt.datetime(*parts)  # type: ignore[misc, arg-type]  # noqa: DTZ001


# type, what is written, what is read
ZOO: list[tuple[str, pa.DataType, dict[str, Any]]] = [
    ("tinyint", pa.int8(), {"-128": -128, "127": 127}),
    ("tinyint(1)", pa.int8(), {"2": 2, "0": 0, "-7": -7}),
    ("tinyint unsigned", pa.int16(), {"255": 255}),
    ("smallint", pa.int16(), {"-32768": -32768}),
    ("smallint unsigned", pa.int32(), {"65535": 65535}),
    ("mediumint", pa.int32(), {"-8388608": -8388608}),
    ("mediumint unsigned", pa.int32(), {"16777215": 16777215}),
    ("int", pa.int32(), {"-2147483648": -(2**31)}),
    ("int unsigned", pa.int64(), {"4294967295": 2**32 - 1}),
    ("int(8) zerofill", pa.int64(), {"42": 42}),
    ("bigint", pa.int64(), {"-9223372036854775808": -(2**63), "9223372036854775807": 2**63 - 1}),
    ("bigint unsigned", pa.decimal128(20, 0), {"18446744073709551615": Decimal(2**64 - 1)}),
    ("decimal(5,2)", pa.decimal128(5, 2), {"-999.99": Decimal("-999.99"), "0": Decimal("0.00")}),
    ("decimal(38,38)", pa.decimal128(38, 38), {"-0." + "9" * 38: Decimal("-0." + "9" * 38), "0.7": Decimal("0.7")}),
    ("decimal(38,0) unsigned", pa.decimal128(38, 0), {"9" * 38: Decimal("9" * 38)}),
    ("decimal(65,30)", pa.string(), {f"-{EDGE}": f"-{EDGE}", "0.1": "0.1" + "0" * 29}),
    ("float", pa.float32(), {"0.1": 0.10000000149011612, "3.4028234e38": 3.4028234663852886e38, "16777216": 2.0**24}),
    ("float(7,2)", pa.float32(), {"12345.67": struct.unpack("f", struct.pack("f", 12345.67))[0]}),
    ("double", pa.float64(), {"0.1": 0.1, "1.7976931348623157e308": 1.7976931348623157e308, "-5e-324": -5e-324}),
    ("double(30,3)", pa.float64(), {"1234567890123456.125": 1234567890123456.1}),
    ("bit(1)", pa.bool_(), {"b'1'": True, "b'0'": False}),
    ("bit(8)", pa.int64(), {"b'11111111'": 255}),
    ("bit(64)", pa.decimal128(20, 0), {"18446744073709551615": Decimal(2**64 - 1)}),
    ("char(5)", pa.string(), {"'ab'": "ab", "''": ""}),
    ("varchar(20)", pa.string(), {"'ab  '": "ab  ", "'日本 🦆'": "日本 🦆", "''": ""}),
    ("varchar(20) character set latin1", pa.string(), {"'Größe'": "Größe"}),
    ("text", pa.string(), {"'a\\tb\\nc\\rd\\\\e'": "a\tb\nc\rd\\e", "REPEAT('x', 60000)": "x" * 60000}),
    ("longtext", pa.string(), {"REPEAT('é', 100000)": "é" * 100000, "'NULL'": "NULL", "'\\\\N'": "\\N"}),
    ("enum('a','b''c','')", pa.string(), {"'b''c'": "b'c", "''": ""}),
    ("set('x','y','z')", pa.string(), {"'x,z'": "x,z", "''": ""}),
    ("json", pa.string(), {"'{\"a\": [1, null]}'": '{"a": [1, null]}'}),
    ("binary(4)", pa.binary(), {"'ab'": b"ab\0\0", "x'00000000'": b"\0\0\0\0"}),
    ("varbinary(9)", pa.binary(), {"x'0001fffe0a0d09'": b"\x00\x01\xff\xfe\x0a\x0d\x09", "''": b""}),
    ("blob", pa.binary(), {"REPEAT(x'ff', 300)": b"\xff" * 300}),
    ("date", pa.date32(), {"'1000-01-01'": dt.date(1000, 1, 1), "'9999-12-31'": dt.date(9999, 12, 31)}),
    ("datetime", pa.timestamp("us"), {"'1000-01-01 00:00:00'": naive(1000, 1, 1)}),
    (
        "datetime(6)",
        pa.timestamp("us"),
        {"'9999-12-31 23:59:59.999999'": naive(9999, 12, 31, 23, 59, 59, 999999)},
    ),
    ("timestamp(6) null", UTC, {"'2038-01-19 03:14:07.999999'": dt.datetime(2038, 1, 19, 3, 14, 7, 999999, dt.UTC)}),
    ("time", pa.string(), {"'-838:59:59'": "-838:59:59", "'24:00:00'": "24:00:00"}),
    ("time(6)", pa.string(), {"'838:59:59.999999'": "838:59:59.999999", "'00:00:00'": "00:00:00.000000"}),
    ("year", pa.int16(), {"1901": 1901, "2155": 2155, "0": 0}),
    ("uuid", pa.string(), {"'123E4567-e89b-12d3-a456-426655440000'": "123e4567-e89b-12d3-a456-426655440000"}),
    ("inet4", pa.string(), {"'192.0.2.1'": "192.0.2.1"}),
    ("inet6", pa.string(), {"'2001:db8::ff'": "2001:db8::ff"}),
    ("point", pa.binary(), {"POINT(1, 2)": struct.pack("<BIdd", 1, 1, 1, 2)}),
    (
        "geometry",
        pa.binary(),
        {
            "ST_GeomFromText('POINT(1 2)', 4326)": struct.pack("<BIIdd", 1, 0x20000001, 4326, 1, 2),
            "ST_GeomFromText('LINESTRING(0 0, 1 1)')": struct.pack("<BIIdddd", 1, 2, 2, 0, 0, 1, 1),
        },
    ),
]


def test_every_type_keeps_every_value(database) -> None:
    columns = ", ".join(f"c{number} {kind}" for number, (kind, _, _) in enumerate(ZOO))
    database.run(
        f"CREATE TABLE zoo (id int PRIMARY KEY, {columns})", "SET sql_mode = ''", "INSERT INTO zoo (id) VALUES (0)"
    )
    statements = [
        f"INSERT INTO zoo (id, c{number}) VALUES ({100 * (number + 1) + place}, {written})"
        for number, (_, _, values) in enumerate(ZOO)
        for place, written in enumerate(values)
    ]
    database.run("SET sql_mode = ''", *statements)

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
