"""Every type of Postgres with its extreme values, and what Postgres itself says that they are.

A column is asked of Postgres in the form that `asked` has for its Arrow type, and what a target holds is brought into
the same form by `zoo_values.spelt`: nothing of Dativo is in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

BIG = "9" * 36
MADE = (
    "CREATE TYPE mood AS ENUM ('so so', 'sad', 'it''s, \"fine\"', 'ä€😀')",
    "CREATE DOMAIN price AS numeric(12,4) CHECK (VALUE > -1000)",
    "CREATE DOMAIN dear_price AS price CHECK (VALUE > 1)",
    "CREATE DOMAIN marks AS integer[]",
    "CREATE DOMAIN moment AS timestamptz(3)",
    "CREATE TYPE pair AS (x int, y text)",
    "CREATE TYPE nest AS (inside pair, many pair[], amounts numeric[], octets bytea, at timestamptz, document jsonb)",
    "CREATE DOMAIN checked_pair AS pair CHECK ((VALUE).x IS NULL OR (VALUE).x > 0)",
    "CREATE TYPE float_range AS RANGE (subtype = float8, subtype_diff = float8mi)",
)
EXTENSIONS = ("citext", "hstore", "ltree", "cube", "seg", "isn", "intarray")
POSTGIS_UNTIL = 15
STRINGS = (
    "''",
    "' '",
    "'NULL'",
    r"E'\\N'",
    r"E'\\.'",
    r"E'tab\t line\n return\r back\\ bell\x07 \b\f\x0b \\\\t \\n \x01\x7f'",
    "'\"quoted\", ''single'' {braces} (parens)'",
    "U&'\\FEFF bom \\+01F600 \\+10FFFF e\\0301 \\200B\\2028'",
    "repeat('ä', 3000)",
)


@dataclass(frozen=True)
class Kind:
    """A column of the zoo: its SQL type, and values as SQL."""

    sql: str
    values: Sequence[str]
    since: int = 0
    """The first version of Postgres that has it."""
    until: int = 99
    """The last version whose server in the tests has it: the wheel is built without XML and PostGIS."""


ZOO: dict[str, Kind] = {
    "boolean": Kind("boolean", ["true", "false"]),
    "smallint": Kind("smallint", ["-32768", "32767", "0"]),
    "integer": Kind("integer", ["'-2147483648'", "2147483647"]),
    "bigint": Kind("bigint", ["'-9223372036854775808'", "9223372036854775807", "9007199254740993"]),
    "oid": Kind("oid", ["4294967295", "0"]),
    "xid": Kind("xid", ["'4294967295'"]),
    "real": Kind(
        "real", ["'1e-45'", "'3.4028235e38'", "0.1", "'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "16777217"]
    ),
    "double_precision": Kind(
        "double precision",
        ["'5e-324'", "'1.7976931348623157e308'", "'-Infinity'", "'Infinity'", "'NaN'", "'-0'", "0.1", "1.0/3"],
    ),
    "numeric_10_2": Kind("numeric(10,2)", ["-99999999.99", "0", "0.005", "99999999.99"]),
    "numeric_38_2": Kind("numeric(38,2)", [f"{BIG}.99", f"-{BIG}.99"]),
    "numeric_38_38": Kind("numeric(38,38)", [f"0.{'9' * 38}", f"-0.{'9' * 38}", f"0.{'0' * 37}1"]),
    "numeric_38": Kind("numeric(38)", ["9" * 38, "-" + "9" * 38]),
    "numeric_3_minus_2": Kind("numeric(3,-2)", ["12345", "-99900"]),
    "numeric_2_5": Kind("numeric(2,5)", ["0.00012", "-0.00099"]),
    "numeric_39": Kind("numeric(39,0)", ["9" * 39, "'NaN'"]),
    "numeric_1000": Kind("numeric(1000,500)", ["9" * 500 + "." + "9" * 500]),
    "numeric_plain": Kind(
        "numeric",
        [
            "1.50",
            "1.500",
            "'NaN'",
            "'-Infinity'",
            "'Infinity'",
            "1e-20",
            "-0.0",
            "1e400",
            "10::numeric ^ 131071",
            "1e-16383",
        ],
    ),
    "money": Kind("money", ["'-92233720368547758.08'", "'92233720368547758.07'", "0", "0.01"]),
    "text_": Kind("text", STRINGS),
    "varchar_": Kind("varchar", STRINGS),
    "varchar_5": Kind("varchar(5)", ["'äöü€😀'", "''", "'a    '"]),
    "char_5": Kind("char(5)", ["'ab'", "''", "' a '", "'ä€😀'"]),
    "one_letter": Kind('"char"', ["'x'", "''", r"'\377'", r"E'\\'"]),
    "name_": Kind("name", ["'a name'", "repeat('n', 63)", "''"]),
    "json_": Kind("json", [r"""$${"a":  "\n\\", "a": 1}$$""", "'null'", "' 1e999 '", r"""$$"\u00e9\t"$$""", "'[]'"]),
    "jsonb_": Kind(
        "jsonb",
        [r"""$${"b": "é\"", "a": 1e2}$$""", "'null'", "'1e400'", "'{}'", "'\"\"'", "to_jsonb(repeat('x', 9000))"],
    ),
    "jsonpath_": Kind("jsonpath", ["'$.a[*] ? (@ > 1)'", "'strict $.\"b c\"'"]),
    "xml_": Kind(
        "xml", ["'<a b=\"1\">&amp; ä</a>'", "'text only'", "'<?xml version=\"1.0\"?><x/>'"], until=POSTGIS_UNTIL
    ),
    "xmls": Kind("xml[]", ["ARRAY['<a/>'::xml, NULL]"], until=POSTGIS_UNTIL),
    "geometry_": Kind(
        "geometry",
        [
            "ST_GeomFromText('POINT ZM (1 2 3 4)', 4326)",
            "ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))')",
            "ST_GeomFromText('POINT EMPTY')",
        ],
        until=POSTGIS_UNTIL,
    ),
    "geometry_of_type": Kind(
        "geometry(LineString, 3857)", ["ST_GeomFromText('LINESTRING(0 0, 1e300 -1)', 3857)"], until=POSTGIS_UNTIL
    ),
    "geography_": Kind("geography(Point)", ["'POINT(-71.06 42.36)'"], until=POSTGIS_UNTIL),
    "geometries": Kind("geometry[]", ["ARRAY[ST_Point(1, 2), NULL]"], until=POSTGIS_UNTIL),
    "bytea_": Kind(
        "bytea", ["''", r"'\x00ff0a5c09'", "decode(repeat('00', 3), 'hex')", "decode(repeat('c3a4', 4000), 'hex')"]
    ),
    "uuid_": Kind(
        "uuid",
        [
            "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    "date_": Kind(
        "date",
        [
            "'4713-01-01 BC'",
            "'0001-12-31 BC'",
            "'0001-01-01'",
            "'1582-10-10'",
            "'9999-12-31'",
            "'10000-01-01'",
            "'5874897-12-31'",
        ],
    ),
    "timestamp_": Kind(
        "timestamp",
        [
            "'4713-01-01 BC'",
            "'0001-12-31 23:59:59.999999 BC'",
            "'0001-01-01'",
            "'1969-12-31 23:59:59.999999'",
            "'9999-12-31 23:59:59.999999'",
            "'294246-12-31 23:59:59.999999'",
        ],
    ),
    "timestamp_3": Kind("timestamp(3)", ["'2024-02-29 00:00:00.1239'", "'1970-01-01 00:00:00.001'"]),
    "timestamptz_": Kind(
        "timestamptz",
        [
            "'4713-01-01 00:00:00+00 BC'",
            "'0001-01-01 00:00:00+00'",
            "'2024-01-01 00:00:00+05:30'",
            "'1883-11-18 12:03:57.5-04:56:02'",
            "'9999-12-31 23:59:59.999999+00'",
            "'294246-12-31 23:59:59.999999+00'",
        ],
    ),
    "time_": Kind("time", ["'00:00'", "'23:59:59.999999'", "'00:00:00.000001'"]),
    "time_0": Kind("time(0)", ["'12:00:00.4'"]),
    "timetz_": Kind("timetz", ["'24:00:00-12:30'", "'01:02:03.5+02'", "'00:00:00+15:59:59'"]),
    "interval_": Kind(
        "interval",
        [
            "'1 year -2 days 03:04:05.000006'",
            "'0'",
            "'-178000000 years'",
            "'178000000 years'",
            "'-1 mon +1 day -00:00:00.000001'",
            "'2147483647 days'",
            "'2562047788:00:54.775807'",
        ],
    ),
    "interval_infinite": Kind("interval", ["'infinity'", "'-infinity'"], since=17),
    "interval_day": Kind("interval day to second(3)", ["'1 12:00:00.1239'"]),
    "bit_": Kind("bit(3)", ["B'101'", "B'000'"]),
    "bit_varying": Kind("bit varying", ["B''", "B'0001'", "repeat('10', 100)::varbit"]),
    "inet_": Kind("inet", ["'192.168.0.1/24'", "'::1'", "'::ffff:1.2.3.4/128'", "'0.0.0.0/0'", "'10.1.2.3'"]),
    "cidr_": Kind("cidr", ["'10.0.0.0/8'", "'2001:db8::/32'"]),
    "macaddr_": Kind("macaddr", ["'08:00:2b:01:02:03'", "'ff:ff:ff:ff:ff:ff'"]),
    "macaddr8_": Kind("macaddr8", ["'08:00:2b:01:02:03:04:05'"]),
    "point_": Kind("point", ["'(0.1,-1e300)'", "'(NaN,Infinity)'"]),
    "line_": Kind("line", ["'{1,-2,3.5}'"]),
    "lseg_": Kind("lseg", ["'[(0,0),(1.5,2)]'"]),
    "box_": Kind("box", ["'(1,1),(0,0)'"]),
    "path_": Kind("path", ["'[(0,0),(1,1),(2,0)]'", "'((0,0),(1,1))'"]),
    "polygon_": Kind("polygon", ["'((0,0),(1,1),(2,0))'"]),
    "circle_": Kind("circle", ["'<(0.1,0.2),3>'"]),
    "int4range_": Kind("int4range", ["'empty'", "'[1,5]'", "'(,)'"]),
    "int8range_": Kind("int8range", ["'[-9223372036854775808,9223372036854775807)'"]),
    "numrange_": Kind("numrange", ["'(1.50,2]'", "'[NaN,NaN]'"]),
    "tsrange_": Kind("tsrange", ["'[0044-03-15 BC,infinity]'"]),
    "tstzrange_": Kind("tstzrange", ["'[2024-01-01 00:00:00+05:30,)'", "'empty'"]),
    "daterange_": Kind("daterange", ["'[2024-02-28,2024-02-29]'", "'[-infinity,5874897-12-31)'"]),
    "own_range": Kind("float_range", ["'[0.1,1e300)'"]),
    "int4multirange_": Kind("int4multirange", ["'{[1,3), [7,8)}'", "'{}'"]),
    "tstzmultirange_": Kind("tstzmultirange", ["'{[2024-01-01 00:00:00+00,2024-02-01 00:00:00+00)}'"]),
    "tsvector_": Kind("tsvector", ["'a:1A ''b c'':2,3'", "''"]),
    "tsquery_": Kind("tsquery", ["'a & !(b | c:*AB)'", "'''it''''s'' <2> x'", "''"]),
    "pg_lsn_": Kind("pg_lsn", ["'16/B374D848'", "'FFFFFFFF/FFFFFFFF'"]),
    "xid8_": Kind("xid8", ["'18446744073709551615'", "'0'"]),
    "txid_snapshot_": Kind("txid_snapshot", ["'10:20:10,14,15'"]),
    "pg_snapshot_": Kind("pg_snapshot", ["'10:20:10,14,15'"]),
    "tid_": Kind("tid", ["'(4294967295,65535)'"]),
    "regclass_": Kind("regclass", ["'pg_class'", "4294967295", "0"]),
    "regtype_": Kind("regtype", ["'timestamp with time zone'"]),
    "regprocedure_": Kind("regprocedure", ["'abs(integer)'"]),
    "int2vector_": Kind("int2vector", ["'1 2 3'", "''"]),
    "oidvector_": Kind("oidvector", ["'1 4294967295'"]),
    "enum_": Kind("mood", ["'so so'", "'it''s, \"fine\"'", "'ä€😀'"]),
    "domain_": Kind("price", ["1.5", "-999.9999"]),
    "domain_of_domain": Kind("dear_price", ["99999999.9999"]),
    "domain_of_array": Kind("marks", ["'{1,NULL,-3}'", "'{}'"]),
    "domain_of_moment": Kind("moment", ["'2024-01-01 00:00:00.1239+00'"]),
    "domain_of_composite": Kind("checked_pair", ["ROW(1, 'a')", "ROW(NULL, '')"]),
    "composite": Kind("pair", ["ROW(1, 'a \"b\"')", "ROW(NULL, NULL)", r"ROW(0, E'\\ \t')"]),
    "composite_nested": Kind(
        "nest",
        [
            (
                "ROW(ROW(1, 'x'), ARRAY[ROW(2, 'a,b')::pair, NULL], ARRAY[1.50, 'NaN'], decode('00ff', 'hex'),"
                """ '2024-01-01 00:00:00+00', '{"a": [1e2]}')"""
            ),
            "ROW(NULL, '{}', NULL, '', 'infinity', 'null')",
        ],
    ),
    "booleans": Kind("boolean[]", ["'{t,f,NULL}'", "'{}'"]),
    "integers": Kind("integer[]", ["'{}'", "'{1,NULL,-2147483648}'"]),
    "bigints": Kind("bigint[]", ["'{9223372036854775807,NULL}'"]),
    "reals": Kind("real[]", ["'{1e-45,NaN,-Infinity,NULL}'"]),
    "doubles": Kind("double precision[]", ["'{5e-324,NaN,Infinity,-0}'"]),
    "numerics": Kind("numeric[]", ["'{1.50,NaN,-Infinity,NULL,1e-20}'"]),
    "decimals": Kind("numeric(6,2)[]", ["'{1.5,-2,NULL,9999.99}'"]),
    "moneys": Kind("money[]", ["'{1.5,NULL,-92233720368547758.08}'"]),
    "texts": Kind(
        "text[]", ["ARRAY['', 'NULL', NULL, 'null', 'a,b', E'q\"\\\\\\n\\t{}', ' ', 'ä€😀']", "'{}'", "'{\"\"}'"]
    ),
    "chars": Kind("char(3)[]", ["'{a,NULL,\"\"}'"]),
    "binaries": Kind("bytea[]", [r"ARRAY['\x00ff', '', NULL]::bytea[]"]),
    "dates": Kind("date[]", ["'{2024-02-29,0044-03-15 BC,NULL,10000-01-01}'"]),
    "moments": Kind("timestamptz[]", ["'{2024-01-01 00:00:00+00,NULL,0044-03-15 00:00:00+00 BC}'"]),
    "times": Kind("time[]", ["'{00:00,23:59:59.999999,NULL}'"]),
    "intervals": Kind("interval[]", ["ARRAY['1 day', '-1 mon'::interval, NULL]"]),
    "uuids": Kind("uuid[]", ["'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}'"]),
    "jsons": Kind("jsonb[]", [r"""ARRAY[$${"a": "b, \"c\""}$$, 'null', NULL]::jsonb[]"""]),
    "enums": Kind("mood[]", ["ARRAY['it''s, \"fine\"', 'sad', NULL]::mood[]"]),
    "ranges": Kind("int4range[]", ["'{\"[1,5)\",empty}'"]),
    "points": Kind("point[]", ["'{\"(1,2)\",NULL}'"]),
    "inets": Kind("inet[]", ["'{10.0.0.1,::1}'"]),
    "domains": Kind("price[]", ["'{1.5,NULL}'"]),
    "composites": Kind("pair[]", ["ARRAY[ROW(1, 'a')::pair, NULL]", "'{}'"]),
    "matrix": Kind("integer[][]", ["'{{1,2},{3,NULL}}'", "'{}'", "'{1,2}'", "'[0:1]={7,8}'", "'[0:0][2:3]={{7,8}}'"]),
    "cube_of_texts": Kind("text[][][]", ["'{{{a,b},{c,\"d,e\"}}}'"]),
    "boxes": Kind("box[]", ["'{(1,1),(0,0);(2,2),(0,0)}'"]),
    "citext_": Kind("citext", STRINGS),
    "citexts": Kind("citext[]", ["'{A,b,NULL}'"]),
    "hstore_": Kind("hstore", ['\'a=>1, "b c"=>NULL, ""=>"\\"q\\\\\\\\"\'', "''"]),
    "ltree_": Kind("ltree", ["'Top.Science.Astronomy'", "''"]),
    "lquery_": Kind("lquery", ["'Top.*{0,2}.sport*@'"]),
    "cube_": Kind("cube", ["'(0.1,2),(3,4)'"]),
    "seg_": Kind("seg", ["'1.50 .. 2'", "'<5'"]),
    "isbn_": Kind("isbn13", ["'978-0-393-04002-9'"]),
}
"""A column each; every one of them also is null."""


def columns(version: int) -> dict[str, Kind]:
    """Give the kinds that a version of Postgres has."""
    return {name: kind for name, kind in ZOO.items() if kind.since <= version <= kind.until}


def statements(version: int, *, table: str = "zoo") -> list[str]:
    """Write what makes the zoo: as many rows as the longest column has values, and one of nulls."""
    kinds = columns(version)
    rows = max(len(kind.values) for kind in kinds.values()) + 1
    extensions = [*EXTENSIONS, *(["postgis"] if version <= POSTGIS_UNTIL else [])]
    made = [
        *(f"CREATE EXTENSION IF NOT EXISTS {name} SCHEMA public" for name in extensions),
        *MADE,
        f"CREATE TABLE {table} (number int, {', '.join(f'{name} {kind.sql}' for name, kind in kinds.items())})",
    ]
    for number in range(rows):
        written = [kind.values[number] if number < len(kind.values) else "NULL" for kind in kinds.values()]
        made.append(f"INSERT INTO {table} VALUES ({number}, {', '.join(written)})")
    return made


def asked(name: str, data_type: Any, *, is_json: bool) -> str:  # noqa: PLR0911  one line for each kind
    """Write the query's column that makes Postgres say what the values of a column are."""
    types = pa.types
    if types.is_list(data_type):
        inner = asked("e", data_type.value_type, is_json=False)
        texts = f"(SELECT json_agg({inner} ORDER BY n)::text FROM unnest({name}) WITH ORDINALITY AS u(e, n))"
        return f"CASE WHEN {name} IS NOT NULL THEN coalesce({texts}, '[]') END"
    if types.is_boolean(data_type):
        return f"{name}::int::text"
    if types.is_decimal(data_type):
        return f"{name}::numeric::text"
    if types.is_binary(data_type):
        return f"encode({name}, 'hex')"
    if types.is_date(data_type):
        return f"({name} - '1970-01-01'::date)::text"
    if types.is_timestamp(data_type) or types.is_time(data_type):
        return f"(extract(epoch FROM {name}) * 1000000)::numeric(40,0)::text"
    if is_json:
        is_bounded = f"pg_typeof({name})::text LIKE '%[]' AND {name}::text LIKE '[%'"
        value = f"CASE WHEN {is_bounded} THEN to_json({name}::text) ELSE to_json({name}) END"
        return f"CASE WHEN {name} IS DISTINCT FROM NULL THEN ({value})::text END"
    return f"CASE WHEN {name} IS NOT NULL THEN format('%s', {name}) END"  # unlike a cast, as its type is written
