"""MySQL and MariaDB types and the Arrow types that keep every one of their values.

==============================================  ====================  ============================================
MySQL, MariaDB                                  Arrow                 values that do not fit
==============================================  ====================  ============================================
tinyint, smallint, mediumint, int, bigint       int8 to int64         none
the same, unsigned                              the next larger;      none
                                                bigint decimal(20,0)
decimal(p, s), p up to 38                       decimal128            none
decimal of more digits                          string                none
float, double                                   float32, float64      none
bit(1)                                          bool                  none
bit(n)                                          int64; of 64 bits     none
                                                decimal(20,0)
char, varchar, text in every length, enum, set  string                none
json                                            string, marked JSON   none
binary, varbinary, blob in every length         binary                none
date                                            date32                ``0000-00-00``, ``2024-00-15``, ``2024-02-31``
datetime                                        timestamp in µs       the same
timestamp                                       timestamp in µs, UTC  ``0000-00-00 00:00:00``
time                                            string                none
year                                            int16                 none
geometry                                        binary: WKB           none
everything else                                 string                none
==============================================  ====================  ============================================

A time may be negative or of more than 24 hours, hence a string. tinyint(1) may hold any number from -128 to 127, so it
is a boolean only where a contract says so. Geometry with a spatial reference system is extended WKB, which has its
number. "Everything else" is as the server writes it: uuid, inet4, inet6, vector.
"""

from __future__ import annotations

import re

import pyarrow as pa

from dativo_ingest.databases.native_types import DECIMAL_DIGITS, DatabaseType

_LONGEST_BITS = 63  # that int64 holds

_TYPE = re.compile(r"^(?P<name>[a-z0-9]+)(?:\s*\((?P<first>\d+)(?:\s*,\s*(?P<second>\d+))?\))?(?P<rest>.*)$", re.DOTALL)
_UTC = pa.timestamp("us", tz="UTC")
_SIGNED: dict[str, pa.DataType] = {
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "mediumint": pa.int32(),
    "int": pa.int32(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
}
_UNSIGNED: dict[str, pa.DataType] = {
    "tinyint": pa.int16(),
    "smallint": pa.int32(),
    "mediumint": pa.int32(),
    "int": pa.int64(),
    "integer": pa.int64(),
    "bigint": pa.decimal128(20, 0),
}
_PLAIN: dict[str, pa.DataType] = {
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"), pa.string()),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), pa.binary()),
    "date": pa.date32(),
    "datetime": pa.timestamp("us"),
    "timestamp": _UTC,
    "year": pa.int16(),
}
_GEOMETRIES = frozenset(
    {
        "geometry",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geometrycollection",
        "geomcollection",
    }
)
# A server keeps a geometry as four bytes with the number of its reference system, and WKB, least byte first. Where the
# number is none, it is left out; else a bit of the type says that it follows, as extended WKB has it.
_WKB = (
    "IF(ST_SRID({0}) = 0, SUBSTR({0}, 5), CONCAT(SUBSTR({0}, 5, 4), CHAR(ORD(SUBSTR({0}, 9, 1)) | 32 USING binary),"
    " SUBSTR({0}, 1, 4), SUBSTR({0}, 10)))"
)
# The text of a float has six digits, that of a double as many as it takes; FLOAT(7,2) is written with two decimals.
_ALL_DIGITS = "{0} + 0e0"
_NUMBER = "{0} + 0"


_TEXT = DatabaseType(pa.string(), "text")
_JSON = DatabaseType(pa.string(), "exact", is_json=True)


def native_type(column_type: str, *, is_json: bool = False) -> DatabaseType:  # noqa: PLR0911  one line for each kind
    """Find how a type comes over.

    Args:
        column_type: As ``information_schema.columns`` has it: ``bigint(20) unsigned``.
        is_json: Whether it is text that holds JSON: MariaDB's json is longtext with a check.
    """
    found = _TYPE.match(column_type.strip().lower())
    if found is None:
        return _TEXT
    name, rest = found["name"], found["rest"]
    first = None if found["first"] is None else int(found["first"])
    if name in _SIGNED:
        # ZEROFILL makes a column unsigned.
        is_unsigned = "unsigned" in rest or "zerofill" in rest
        return DatabaseType(_UNSIGNED[name], "widened") if is_unsigned else DatabaseType(_SIGNED[name], "exact")
    if name in {"decimal", "numeric"}:
        return _decimal(10 if first is None else first, int(found["second"] or 0))
    if name in {"float", "double", "real"}:
        return _floating(pa.float32() if name == "float" else pa.float64(), is_rounded=first is not None)
    if name == "bit":
        return _bits(first or 1)
    if name == "json" or is_json:
        return _JSON
    if name in _PLAIN:
        return DatabaseType(_PLAIN[name], "exact")
    if name in _GEOMETRIES:
        return DatabaseType(pa.binary(), "exact", _WKB)
    return _TEXT


def _decimal(precision: int, scale: int) -> DatabaseType:
    if precision > DECIMAL_DIGITS:
        return _TEXT
    return DatabaseType(pa.decimal128(precision, scale), "exact")


def _floating(kind: pa.DataType, *, is_rounded: bool) -> DatabaseType:
    if pa.types.is_float64(kind) and not is_rounded:
        return DatabaseType(kind, "exact")
    return DatabaseType(kind, "exact", _ALL_DIGITS)


def _bits(count: int) -> DatabaseType:
    """Read bits as the number that they are; the server writes them as bytes."""
    if count == 1:
        return DatabaseType(pa.bool_(), "exact", _NUMBER)
    return DatabaseType(pa.int64() if count <= _LONGEST_BITS else pa.decimal128(20, 0), "widened", _NUMBER)
