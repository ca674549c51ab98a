"""Postgres types and the Arrow types that keep every one of their values.

=========================================  ====================  =====================================================
Postgres                                   Arrow                 values that do not fit
=========================================  ====================  =====================================================
boolean, smallint, integer, bigint         the same              none
real, double precision                     float32, float64      none
oid, xid, cid                              int64                 none
numeric(p, s), p and s up to 38            decimal128            NaN
numeric, and of more digits                string                none
money                                      decimal128(19, …)     none
text, varchar, char(n), name, citext, xml  string                none
json, jsonb                                string, marked JSON   none
bytea                                      binary                none
date                                       date32                infinity
timestamp, timestamptz                     timestamp in µs       infinity, and what is beyond 294,247
time                                       time64 in µs          24:00
a domain                                   as what it is made    as what it is made of
                                           of
an array                                   list                  those of the element, arrays of arrays, and those
                                                                 that do not count from 1
an array declared with more dimensions     string, marked JSON   none
a composite, and arrays of them            string, marked JSON   none
everything else                            string                none
=========================================  ====================  =====================================================

"Everything else" is as Postgres writes it: uuid, interval (ISO 8601), time with time zone, bit, inet and its family,
ranges, enums, hstore, tsvector, geometry, and whatever an extension brings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import pyarrow as pa

from dativo_ingest.databases.native_types import DECIMAL_DIGITS, DatabaseType, Fidelity
from dativo_ingest.postgres.sessions import Session, ask, value

_CENTS = 2
_DECIMALS = "SELECT coalesce(length(substring(0::money::numeric::text FROM '[.](.*)')), 0)"
_LIST_DELIMITER = ","
_MODIFIER_HEADER = 4  # what Postgres adds to a length before it keeps it as a modifier
_SCALE_BITS = 0x7FF  # eleven bits in two's complement
_SCALE_SIGN = 0x400

_UTC = pa.timestamp("us", tz="UTC")
_PLAIN: dict[str, tuple[pa.DataType, Fidelity]] = {
    "bool": (pa.bool_(), "exact"),
    "int2": (pa.int16(), "exact"),
    "int4": (pa.int32(), "exact"),
    "int8": (pa.int64(), "exact"),
    "float4": (pa.float32(), "exact"),
    "float8": (pa.float64(), "exact"),
    "oid": (pa.int64(), "widened"),
    "xid": (pa.int64(), "widened"),
    "cid": (pa.int64(), "widened"),
    "text": (pa.string(), "exact"),
    "varchar": (pa.string(), "exact"),
    "bpchar": (pa.string(), "exact"),
    "name": (pa.string(), "exact"),
    "json": (pa.string(), "exact"),
    "jsonb": (pa.string(), "exact"),
    "bytea": (pa.binary(), "exact"),
    "date": (pa.date32(), "exact"),
    "timestamp": (pa.timestamp("us"), "exact"),
    "timestamptz": (_UTC, "exact"),
    "time": (pa.time64("us"), "exact"),
}


@dataclass(frozen=True)
class CatalogType:
    """A row of ``pg_type``, as far as it says how values are written."""

    name: str
    kind: str
    """``typtype``: ``b`` for most, ``d`` for a domain, ``c`` for a composite."""
    is_builtin: bool
    """Whether it is one of Postgres's own and not another of the same name."""
    base: int = 0
    """What a domain is made of."""
    base_modifier: int = -1
    element: int = 0
    """What an array is made of, 0 where the type is none."""
    delimiter: str = _LIST_DELIMITER


@dataclass(frozen=True)
class NativeType(DatabaseType):
    """How the values of a Postgres type are asked for and what they become."""

    element: NativeType | None = None
    """Of an array that becomes a list."""
    is_hex: bool = False
    """Whether its text is bytes in hexadecimal digits: PostGIS's are."""


Catalog: TypeAlias = Mapping[int, CatalogType]

_TEXT = NativeType(pa.string(), "text")
_JSON = NativeType(pa.string(), "json", "pg_catalog.to_json({0})", is_json=True)
_OF_EXTENSIONS = {
    "citext": replace(_TEXT, fidelity="exact"),
    **dict.fromkeys(("geometry", "geography"), replace(_TEXT, is_hex=True)),
}
# JSON's arrays have no bounds either: an array that does not count from 1 is a text in JSON, as Postgres writes it.
_LOWER = ", ".join(f"pg_catalog.array_lower({{0}}, {dimension})" for dimension in range(1, 7))
_JSON_ARRAY = replace(
    _JSON,
    expression=f"CASE WHEN 1 <> ANY (ARRAY[{_LOWER}]) THEN pg_catalog.to_json({{0}}::text)"
    " ELSE pg_catalog.to_json({0}) END",
)


def catalog_types(session: Session, oids: Iterable[int]) -> dict[int, CatalogType]:
    """Look types up by their oids, with all that they are made of."""
    known: dict[int, CatalogType] = {}
    wanted = {oid for oid in oids if oid}
    while wanted:
        rows = ask(
            session,
            "SELECT t.oid::int8, t.typname, t.typtype::text, n.nspname = 'pg_catalog', t.typbasetype::int8,"
            " t.typtypmod, coalesce(e.oid, 0)::int8, coalesce(e.typdelim, ',')::text FROM pg_catalog.pg_type t"
            " JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace"
            " LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid"
            " WHERE t.oid = ANY ($1::int8[]::oid[])",
            sorted(wanted),
        )
        for oid, *fields in rows:
            known[oid] = CatalogType(*fields)
        wanted = {each for oid in wanted & known.keys() for each in (known[oid].base, known[oid].element) if each}
        wanted -= known.keys()
    return known


def money_decimals(session: Session, types: Catalog) -> int:
    """Ask how many decimals money has, where there is money."""
    if not any(each.name in {"money", "_money"} for each in types.values()):
        return _CENTS
    return int(value(session, _DECIMALS))


def native_type(  # noqa: PLR0911  one line for each kind of type
    oid: int, modifier: int, types: Catalog, *, dimensions: int = 1, cents: int = _CENTS
) -> NativeType:
    """Find how a type comes over.

    Args:
        oid: Its oid.
        modifier: The column's type modifier; -1 is none.
        types: What `catalog_types` found.
        dimensions: How many dimensions the arrays of the column are declared to have: Postgres does not hold them to
            it, but they may.
        cents: How many decimals money has, which the server's ``lc_monetary`` says.
    """
    found = types.get(oid)
    if found is None:
        return _TEXT
    if found.kind == "d":
        inner = found.base_modifier if found.base_modifier != -1 else modifier
        return native_type(found.base, inner, types, dimensions=dimensions, cents=cents)
    if found.kind == "c":
        return _JSON
    if found.element:
        return _array(found, native_type(found.element, modifier, types, cents=cents), dimensions)
    if not found.is_builtin:
        return _OF_EXTENSIONS.get(found.name, _TEXT)
    if found.name == "numeric":
        return _numeric(modifier)
    if found.name == "money":
        return NativeType(pa.decimal128(19, cents), "widened", "({0})::pg_catalog.numeric")
    if found.name in _PLAIN:
        arrow, fidelity = _PLAIN[found.name]
        return NativeType(arrow, fidelity, is_json=found.name in {"json", "jsonb"})
    return _TEXT


def as_json(native: NativeType) -> NativeType:
    """Give the type for a column that is wanted as JSON."""
    if native.is_json:
        return native
    return _JSON_ARRAY if native.element is not None else _JSON


def as_bytes(native: NativeType) -> NativeType:
    """Give the type for a column that is wanted as bytes."""
    if not native.is_hex:
        return native
    return NativeType(pa.binary(), native.fidelity, "pg_catalog.decode(({0})::text, 'hex')")


def _array(array: CatalogType, element: NativeType, dimensions: int) -> NativeType:
    if dimensions > 1 or element.fidelity == "json" or element.element is not None:
        return _JSON_ARRAY
    if array.delimiter != _LIST_DELIMITER:
        return _TEXT
    if not element.is_plain:  # money
        return NativeType(
            pa.list_(element.arrow),
            element.fidelity,
            "({0})::pg_catalog.numeric[]",
            element=replace(element, expression="{0}"),
        )
    return NativeType(pa.list_(element.arrow), element.fidelity, element=element)


def _numeric(modifier: int) -> NativeType:
    """Read precision and scale; a scale may be negative, or more than the precision, since Postgres 15."""
    if modifier < _MODIFIER_HEADER:
        return _TEXT
    bits = modifier - _MODIFIER_HEADER
    precision, scale = bits >> 16, ((bits & _SCALE_BITS) ^ _SCALE_SIGN) - _SCALE_SIGN
    digits = max(precision - min(scale, 0), scale)
    if digits > DECIMAL_DIGITS:
        return _TEXT
    fidelity: Fidelity = "exact" if digits == precision and scale >= 0 else "widened"
    return NativeType(pa.decimal128(digits, max(scale, 0)), fidelity)
