"""Every type of MySQL and MariaDB with its extreme values, and what they are."""

from __future__ import annotations

import datetime as dt
import struct
from decimal import Decimal
from typing import Any

import pyarrow as pa

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


def statements() -> list[str]:
    """Make the table ``zoo``: a row for each value, and one of nulls."""
    columns = ", ".join(f"c{number} {kind}" for number, (kind, _, _) in enumerate(ZOO))
    return [
        f"CREATE TABLE zoo (id int PRIMARY KEY, {columns})",
        "SET sql_mode = ''",
        "INSERT INTO zoo (id) VALUES (0)",
        *(
            f"INSERT INTO zoo (id, c{number}) VALUES ({100 * (number + 1) + place}, {written})"
            for number, (_, _, values) in enumerate(ZOO)
            for place, written in enumerate(values)
        ),
    ]
