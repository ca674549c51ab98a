"""Every type of MariaDB with its extreme values, and how to ask MariaDB what they are.

What a target holds is brought into the same form by `zoo_values.spelt`: nothing of Dativo is in between.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_MANY = "9" * 35 + "." + "9" * 30
_TEXTS = (
    "''",
    "' '",
    "'NULL'",
    r"'\\N'",
    r"'tab\t line\n return\r back\\ zero\0 bell'",
    "'\"quoted\", ''single'' {braces}'",
    "'😀 ä日本'",
    "REPEAT('ä', 70000)",
)
ZOO: dict[str, tuple[str, list[str]]] = {
    "tiny": ("tinyint", ["-128", "127"]),
    "tiny_1": ("tinyint(1)", ["-128", "0", "2", "127"]),
    "flag": ("boolean", ["true", "false"]),
    "tiny_unsigned": ("tinyint unsigned", ["255", "0"]),
    "small": ("smallint", ["-32768"]),
    "small_unsigned": ("smallint unsigned", ["65535"]),
    "medium": ("mediumint", ["-8388608"]),
    "medium_unsigned": ("mediumint unsigned", ["16777215"]),
    "whole": ("int", ["-2147483648", "2147483647"]),
    "whole_unsigned": ("int unsigned", ["4294967295"]),
    "filled": ("int(8) zerofill", ["42"]),
    "big": ("bigint", ["-9223372036854775808", "9223372036854775807"]),
    "big_unsigned": ("bigint unsigned", ["18446744073709551615", "0"]),
    "decimal_5_2": ("decimal(5,2)", ["-999.99", "0"]),
    "decimal_38_38": ("decimal(38,38)", ["0." + "9" * 38, "-0." + "9" * 38]),
    "decimal_38_0": ("decimal(38,0)", ["-" + "9" * 38]),
    "decimal_39_0": ("decimal(39,0)", ["9" * 39]),
    "decimal_65_30": ("decimal(65,30)", [f"-{_MANY}", "0.1"]),
    "single": ("float", ["0.1", "3.4028234e38", "-1.17549435e-38", "16777217"]),
    "single_7_2": ("float(7,2)", ["12345.67"]),
    "twofold": ("double", ["0.1", "1.7976931348623157e308", "-5e-324", "-0e0"]),
    "bit_1": ("bit(1)", ["b'1'", "b'0'"]),
    "bit_8": ("bit(8)", ["b'11111111'", "b'0'"]),
    "bit_64": ("bit(64)", ["18446744073709551615"]),
    "char_5": ("char(5)", ["'ab'", "''", "'ab   '"]),
    "varchar_": ("varchar(80)", ["'ab  '", "''", r"'a\tb\nc\\\\d'"]),
    "latin": ("varchar(20) character set latin1", ["'Größe €'"]),
    "binary_text": ("varchar(20) character set utf8mb4 collate utf8mb4_bin", ["'Ä'"]),
    "ucs": ("varchar(20) character set utf16", ["'😀'"]),
    "text_": ("text", ["''", "REPEAT('x', 60000)"]),
    "long_text": ("longtext", list(_TEXTS)),
    "choice": ("enum('a','b''c','','ä,b')", ["'b''c'", "''", "'ä,b'"]),
    "choices": ("set('x','y','z')", ["'x,z'", "''"]),
    "document": ("json", ['\'{"a":  [1, null, "😀"], "a": 1e2}\'', "'null'", "'\"\"'"]),
    "fixed": ("binary(4)", ["'ab'", "x'00000000'"]),
    "octets": ("varbinary(9)", ["x'0001fffe0a0d09'", "''"]),
    "blob_": ("longblob", ["REPEAT(x'ff00', 70000)"]),
    "day": ("date", ["'1000-01-01'", "'9999-12-31'", "'0001-01-01'"]),
    "moment": ("datetime(6)", ["'1000-01-01'", "'9999-12-31 23:59:59.999999'", "'1969-12-31 23:59:59.999999'"]),
    "moment_0": ("datetime", ["'2024-02-29 12:00:00'"]),
    "instant": ("timestamp(6) null", ["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07.999999'"]),
    "of_day": ("time(6)", ["'-838:59:59.999999'", "'838:59:59.999999'", "'24:00:00'", "'00:00:00'"]),
    "of_day_0": ("time", ["'-00:00:01'", "'12:00'"]),
    "year_": ("year", ["1901", "2155", "0"]),
    "uuid_": ("uuid", ["'123E4567-e89b-12d3-a456-426655440000'"]),
    "inet4_": ("inet4", ["'192.0.2.1'"]),
    "inet6_": ("inet6", ["'2001:db8::ff'", "'::'"]),
    "shape": ("geometry", ["ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))')"]),
    "line": ("linestring", ["ST_GeomFromText('LINESTRING(0 0, 1e300 -1)')"]),
}
"""A column each, with its values as SQL; every one of them also is null."""


def statements(table: str = "zoo") -> list[str]:
    """Write what makes the zoo: as many rows as the longest column has values, and one of nulls."""
    columns = ", ".join(f"`{name}` {kind}" for name, (kind, _) in ZOO.items())
    rows = max(len(values) for _, values in ZOO.values()) + 1
    made = ["SET sql_mode = ''", f"CREATE TABLE {table} (number int PRIMARY KEY, {columns})"]
    for number in range(rows):
        written = [values[number] if number < len(values) else "NULL" for _, values in ZOO.values()]
        made.append(f"INSERT INTO {table} VALUES ({number}, {', '.join(written)})")
    return made


def asked(name: str, data_type: Any) -> str:
    """Write the query's column that makes MariaDB say what the values of a column are."""
    types = pa.types
    if types.is_binary(data_type):
        bare = f"ST_AsWKB({name})" if name in {"shape", "line"} else name
        return f"LOWER(HEX({bare}))"
    if types.is_date(data_type):
        return f"CAST(DATEDIFF({name}, '1970-01-01') AS CHAR)"
    if types.is_timestamp(data_type):
        return f"CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {name}) AS CHAR)"
    if types.is_floating(data_type):
        return f"CAST({name} + 0e0 AS CHAR)"  # a float alone is written with six digits
    if types.is_string(data_type):
        return f"CONVERT({name} USING utf8mb4)"
    return f"CAST({name} + 0 AS CHAR)"
