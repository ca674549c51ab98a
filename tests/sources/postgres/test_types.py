"""Every type that Postgres has, with its extreme values: what is read is what is there."""

from __future__ import annotations

import json
import struct
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from dativo_plugin_sdk import StreamSpec

pytestmark = pytest.mark.each_postgres

BIG = "9" * 36
# A column's type, the Arrow type it comes as, how well, and its values as SQL with what they are in Arrow.
ZOO: dict[str, tuple[str, pa.DataType, str, list[tuple[str, Any]]]] = {
    "boolean": ("boolean", pa.bool_(), "exact", [("true", True), ("false", False)]),
    "smallint": ("smallint", pa.int16(), "exact", [("-32768", -32768), ("32767", 32767), ("0", 0)]),
    "integer": ("integer", pa.int32(), "exact", [("'-2147483648'", -(2**31)), ("2147483647", 2**31 - 1)]),
    "bigint": (
        "bigint",
        pa.int64(),
        "exact",
        [("'-9223372036854775808'", -(2**63)), ("9223372036854775807", 2**63 - 1)],
    ),
    "oid": ("oid", pa.int64(), "widened", [("4294967295", 2**32 - 1)]),
    "real": (
        "real",
        pa.float32(),
        "exact",
        [("'1e-45'", 1e-45), ("'3.4028235e38'", 3.4028234663852886e38), ("0.1", 0.1)],
    ),
    "double": (
        "double precision",
        pa.float64(),
        "exact",
        [("'5e-324'", 5e-324), ("'1.7976931348623157e308'", 1.7976931348623157e308), ("'-Infinity'", -float("inf"))],
    ),
    "numeric_10_2": ("numeric(10,2)", pa.decimal128(10, 2), "exact", [("-99999999.99", Decimal("-99999999.99"))]),
    "numeric_38_2": ("numeric(38,2)", pa.decimal128(38, 2), "exact", [(f"{BIG}.99", Decimal(f"{BIG}.99"))]),
    "numeric_3_minus_2": ("numeric(3,-2)", pa.decimal128(5, 0), "widened", [("12345", Decimal(12300))]),
    "numeric_2_5": ("numeric(2,5)", pa.decimal128(5, 5), "widened", [("0.00012", Decimal("0.00012"))]),
    "numeric_plain": (
        "numeric",
        pa.string(),
        "text",
        [("1.50", "1.50"), ("'NaN'", "NaN"), ("'-Infinity'", "-Infinity"), ("1e-20", "0.00000000000000000001")],
    ),
    "numeric_of_many_digits": ("numeric(50,10)", pa.string(), "text", [(f"{BIG}999.5", f"{BIG}999.5000000000")]),
    "money": (
        "money",
        pa.decimal128(19, 2),
        "widened",
        [("'-92233720368547758.08'", Decimal("-92233720368547758.08"))],
    ),
    "text": (
        "text",
        pa.string(),
        "exact",
        [
            ("''", ""),
            (r"E'\\N'", "\\N"),
            (r"E'\\.'", "\\."),
            (
                r"E'tab\t line\n return\r back\\ bell\x07 \b\f\x0b \\\\t \\n'",
                "tab\t line\n return\r back\\ bell\x07 \b\f\v \\\\t \\n",
            ),
            ('\'"quoted", "\'', '"quoted", "'),
            ("U&'\\FEFF a \\+01F600'", "\ufeff a \U0001f600"),
            ("'  NULL  '", "  NULL  "),
        ],
    ),
    "varchar": ("varchar(5)", pa.string(), "exact", [("'12345'", "12345")]),
    "char": ("char(5)", pa.string(), "exact", [("'ab'", "ab   "), ("''", "     ")]),
    "letter": ('"char"', pa.string(), "text", [("'x'", "x")]),
    "name": ("name", pa.string(), "exact", [("'a name'", "a name")]),
    "json": (
        "json",
        pa.string(),
        "exact",
        [('\'{"a":  "\\n\\\\", "a": 1}\'', '{"a":  "\\n\\\\", "a": 1}'), ("'null'", "null")],
    ),
    "jsonb": ("jsonb", pa.string(), "exact", [('\'{"b": "é\\"", "a": 1e2}\'', '{"a": 100, "b": "é\\""}')]),
    "xml": ("xml", pa.string(), "text", []),  # the server of the tests is built without
    "bytea": (
        "bytea",
        pa.binary(),
        "exact",
        [("''", b""), (r"'\x00ff0a5c'", b"\x00\xff\n\\"), ("decode(repeat('00', 3), 'hex')", b"\0\0\0")],
    ),
    "uuid": (
        "uuid",
        pa.string(),
        "text",
        [("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")],
    ),
    "date": ("date", pa.date32(), "exact", [("'0001-01-01'", date(1, 1, 1)), ("'9999-12-31'", date(9999, 12, 31))]),
    "timestamp": (
        "timestamp",
        pa.timestamp("us"),
        "exact",
        [
            ("'0001-01-01'", datetime.fromisoformat("0001-01-01")),
            ("'9999-12-31 23:59:59.999999'", datetime.fromisoformat("9999-12-31 23:59:59.999999")),
        ],
    ),
    "timestamp_3": (
        "timestamp(3)",
        pa.timestamp("us"),
        "exact",
        [("'2024-02-29 00:00:00.1239'", datetime.fromisoformat("2024-02-29 00:00:00.124"))],
    ),
    "timestamptz": (
        "timestamptz",
        pa.timestamp("us", tz="UTC"),
        "exact",
        [
            ("'2024-01-01 00:00:00+05:30'", datetime(2023, 12, 31, 18, 30, tzinfo=UTC)),
            ("'1883-11-18 12:03:57.5-04:56:02'", datetime(1883, 11, 18, 16, 59, 59, 500000, tzinfo=UTC)),
        ],
    ),
    "time": ("time", pa.time64("us"), "exact", [("'00:00'", time(0)), ("'23:59:59.999999'", time(23, 59, 59, 999999))]),
    "timetz": (
        "timetz",
        pa.string(),
        "text",
        [("'24:00:00-12:30'", "24:00:00-12:30"), ("'01:02:03.5+02'", "01:02:03.5+02")],
    ),
    "interval": (
        "interval",
        pa.string(),
        "text",
        [("'1 year -2 days 03:04:05.000006'", "P1Y-2DT3H4M5.000006S"), ("'0'", "PT0S")],
    ),
    "bit": ("bit(3)", pa.string(), "text", [("B'101'", "101")]),
    "varbit": ("bit varying", pa.string(), "text", [("B''", ""), ("B'0001'", "0001")]),
    "inet": ("inet", pa.string(), "text", [("'192.168.0.1/24'", "192.168.0.1/24"), ("'::1'", "::1")]),
    "cidr": ("cidr", pa.string(), "text", [("'10.0.0.0/8'", "10.0.0.0/8")]),
    "macaddr": ("macaddr", pa.string(), "text", [("'08:00:2b:01:02:03'", "08:00:2b:01:02:03")]),
    "point": ("point", pa.string(), "text", [("'(0.1,-1e300)'", "(0.1,-1e+300)")]),
    "int4range": ("int4range", pa.string(), "text", [("'empty'", "empty"), ("'[1,5]'", "[1,6)")]),
    "multirange": ("int4multirange", pa.string(), "text", [("'{[1,3), [7,8)}'", "{[1,3),[7,8)}")]),
    "tsvector": ("tsvector", pa.string(), "text", [("'a:1 ''b c'':2'", "'a':1 'b c':2")]),
    "pg_lsn": ("pg_lsn", pa.string(), "text", [("'16/B374D848'", "16/B374D848")]),
    "xid8": ("xid8", pa.string(), "text", [("'18446744073709551615'", "18446744073709551615")]),
    "enum": ("mood", pa.string(), "text", [("'so so'", "so so")]),
    "domain": ("price", pa.decimal128(12, 4), "exact", [("1.5", Decimal("1.5000"))]),
    "composite": (
        "pair",
        pa.string(),
        "json",
        [("ROW(1, 'a \"b\"')", {"x": 1, "y": 'a "b"'}), ("ROW(NULL, NULL)", {"x": None, "y": None})],
    ),
    "integers": ("integer[]", pa.list_(pa.int32()), "exact", [("'{}'", []), ("'{1,NULL,-3}'", [1, None, -3])]),
    "texts": (
        "text[]",
        pa.list_(pa.string()),
        "exact",
        [("ARRAY['', 'NULL', NULL, 'a,b', E'q\"\\\\\\n{}']", ["", "NULL", None, "a,b", 'q"\\\n{}'])],
    ),
    "times": (
        "timestamptz[]",
        pa.list_(pa.timestamp("us", tz="UTC")),
        "exact",
        [("'{2024-01-01 00:00:00+00,NULL}'", [datetime(2024, 1, 1, tzinfo=UTC), None])],
    ),
    "booleans": ("boolean[]", pa.list_(pa.bool_()), "exact", [("'{t,f}'", [True, False])]),
    "decimals": (
        "numeric(6,2)[]",
        pa.list_(pa.decimal128(6, 2)),
        "exact",
        [("'{1.5,-2}'", [Decimal("1.50"), Decimal("-2.00")])],
    ),
    "binaries": ("bytea[]", pa.list_(pa.binary()), "exact", [(r"ARRAY['\x00ff', '']::bytea[]", [b"\x00\xff", b""])]),
    "matrix": ("integer[][]", pa.string(), "json", [("'{{1,2},{3,NULL}}'", [[1, 2], [3, None]]), ("'{}'", [])]),
    "pairs": ("pair[]", pa.string(), "json", [("ARRAY[ROW(1, 'a')::pair]", [{"x": 1, "y": "a"}])]),
    "boxes": ("box[]", pa.string(), "text", [("'{(1,1),(0,0);(2,2),(0,0)}'", "{(1,1),(0,0);(2,2),(0,0)}")]),
    "vector": ("int2vector", pa.string(), "text", [("'1 2 3'", "1 2 3")]),
}
MADE = (
    "CREATE TYPE mood AS ENUM ('so so')",
    "CREATE DOMAIN price AS numeric(12,4)",
    "CREATE TYPE pair AS (x int, y text)",
)


def same(one: Any, other: Any) -> bool:
    return one == other or (isinstance(one, float) and one == pytest.approx(other, rel=1e-7))


def test_every_type_comes_over_without_loss(database) -> None:
    rows = max(len(values) for *_, values in ZOO.values()) + 1
    database.run(
        *MADE, f"CREATE TABLE zoo (number int, {', '.join(f'{name} {sql}' for name, (sql, *_) in ZOO.items())})"
    )
    for number in range(rows):
        written = [values[number][0] if number < len(values) else "NULL" for *_, values in ZOO.values()]
        database.run(f"INSERT INTO zoo VALUES ({number}, {', '.join(written)})")

    found = database.read("zoo")

    (batch,) = found.batches
    assert batch.schema.names == ["number", *ZOO]
    for name, (sql, arrow, fidelity, values) in ZOO.items():
        declared = found.schema.field(name)
        assert (declared.type, batch.schema.field(name).type) == (arrow, arrow), name
        assert declared.metadata[b"dativo.fidelity"].decode() == fidelity, name
        assert declared.metadata[b"dativo.source_type"], sql
        column = batch.column(name).to_pylist()
        if fidelity == "json":
            column = [None if value is None else json.loads(value) for value in column]
        expected = [value for _, value in values] + [None] * (rows - len(values))
        assert all(same(*pair) for pair in zip(column, expected, strict=True)), (name, column, expected)


def test_the_source_type_is_told_as_postgres_writes_it(database) -> None:
    database.run(*MADE, "CREATE TABLE told (a numeric(10,2), b price, c varchar(3)[], d timestamptz(3))")

    schema = database.read("told").schema

    types = [field.metadata[b"dativo.source_type"].decode().split(".")[-1] for field in schema]
    assert types == ["numeric(10,2)", "price", "character varying(3)[]", "timestamp(3) with time zone"]


@pytest.mark.parametrize(
    ("sql", "good", "bad"),
    [
        pytest.param("timestamptz", "2024-01-01 00:00:00+00", ["infinity", "-infinity"], id="timestamptz"),
        pytest.param("timestamp", "2024-01-01 00:00:00", ["infinity", "294276-12-31 23:59:59.999999"], id="timestamp"),
        pytest.param("date", "2024-01-01", ["infinity"], id="date"),
        pytest.param("time", "12:00:00", ["24:00:00"], id="time"),
        pytest.param("numeric(5,2)", "1.50", ["NaN"], id="numeric"),
        pytest.param(
            "numeric(5,2)[]", "{1.50}", ["{1.50,NaN}", "{{1.50,2.50},{3.50,4.50}}", "[0:0]={1.50}"], id="array"
        ),
    ],
)
def test_a_value_that_its_type_cannot_hold_comes_as_text_in_a_batch_of_its_own(database, sql, good, bad) -> None:
    database.run(f"CREATE TABLE odd (id int, value {sql})", f"INSERT INTO odd VALUES (1, '{good}'), (2, NULL)")
    for number, text in enumerate(bad):
        database.run(f"INSERT INTO odd VALUES ({number + 3}, '{text}')")

    found = database.read("odd")

    fits, others = found.batches
    assert fits.column("id").to_pylist() == [1, 2]
    assert fits.schema.field("value").type == found.schema.field("value").type
    assert others.column("value").to_pylist() == bad


def test_columns_come_as_text_only_in_the_rows_where_they_do_not_fit(database) -> None:
    database.run("CREATE TABLE odd (id int, day date, tags int[], price numeric(5,2))")
    database.run(
        "INSERT INTO odd VALUES (1, 'infinity', '{1}', 1), (2, '0044-03-15 BC', '{{1}}', 1),"
        " (3, 'infinity', '{2}', 'NaN'), (4, '2024-01-01', '{3}', 2), (5, '-infinity', '{4}', 3)"
    )

    found = database.read("odd")

    shown = {
        tuple(batch.column("id").to_pylist()): [name for name in ("day", "tags", "price") if as_text(batch, name)]
        for batch in found.batches
    }
    assert shown == {(4,): [], (1, 5): ["day"], (3,): ["day", "price"], (2,): ["tags"]}


def as_text(batch: pa.RecordBatch, name: str) -> bool:
    return pa.types.is_string(batch.schema.field(name).type)


def test_a_contract_that_wants_json_gets_json_of_whatever_there_is(database) -> None:
    database.run("CREATE TABLE odd (id int, tags int[], day date, mask bit(3), note text)")
    database.run(
        "INSERT INTO odd VALUES (1, '{{1,2},{3,NULL}}', 'infinity', B'101', '[\"JSON already\"]'),"
        " (2, '[0:1]={7,8}', '2024-01-01', NULL, NULL), (3, '{4}', NULL, B'000', '{}')"
    )
    mark = {"dativo.logical_type": "json"}
    names = ["tags", "day", "mask", "note"]
    wanted = pa.schema([pa.field("id", pa.int32()), *(pa.field(name, pa.string(), metadata=mark) for name in names)])

    found = database.read("odd", schema=wanted)

    (batch,) = found.batches
    assert {name: [each and json.loads(each) for each in batch.column(name).to_pylist()] for name in names} == {
        "tags": [[[1, 2], [3, None]], "[0:1]={7,8}", [4]],
        "day": ["infinity", "2024-01-01", None],
        "mask": ["101", None, "000"],
        "note": [["JSON already"], None, {}],
    }


def test_shapes_come_as_text_or_as_bytes_of_the_same(database_15) -> None:
    database_15.run("CREATE EXTENSION IF NOT EXISTS postgis SCHEMA public")
    database_15.run(
        "CREATE TABLE shapes (shape geometry(Point, 4326))",
        "INSERT INTO shapes VALUES (ST_SetSRID(ST_Point(1, -2), 4326)), (NULL)",
    )

    as_text = database_15.read("shapes").rows
    as_bytes = database_15.read("shapes", schema=pa.schema([("shape", pa.binary())])).rows

    point = struct.pack("<BIIdd", 1, 0x20000001, 4326, 1, -2)
    assert as_text == [{"shape": point.hex().upper()}, {"shape": None}]
    assert as_bytes == [{"shape": point}, {"shape": None}]


def test_money_of_a_query_is_the_same_as_of_a_table(database) -> None:
    database.run("CREATE TABLE paid (amount money)", "INSERT INTO paid VALUES ('12.34')")

    of_table = database.read("paid")
    of_query = database.read("paid", options={"query": f"SELECT amount FROM {database.name}.paid"})

    assert of_query.rows == of_table.rows == [{"amount": Decimal("12.34")}]
    assert of_query.schema.field("amount").type == of_table.schema.field("amount").type


def test_a_contract_that_wants_text_gets_such_values_as_they_are(database) -> None:
    database.run("CREATE TABLE odd (at timestamptz, of_day time, price numeric(5,2))")
    database.run("INSERT INTO odd VALUES ('infinity', '24:00', 'NaN'), ('2024-01-01 00:00:00+00', '12:00', 1)")
    wanted = pa.schema([("at", pa.string()), ("of_day", pa.string()), ("price", pa.string())])

    found = database.read("odd", schema=wanted)

    (batch,) = found.batches
    assert batch.to_pylist() == [
        {"at": "infinity", "of_day": "24:00:00", "price": "NaN"},
        {"at": "2024-01-01 00:00:00+00", "of_day": "12:00:00", "price": "1.00"},
    ]


def test_times_far_from_now_keep_their_place(database) -> None:
    texts = ["4713-01-01 BC", "0044-03-15 BC", "0001-12-31 BC", "0001-01-01", "10000-01-01", "12024-02-29"]
    rows = ", ".join(f"('{text}', '{text}', '{text}', '{text}'::date - '1970-01-01'::date)" for text in texts)
    database.run("CREATE TABLE far (day date, local timestamp, at timestamptz, number int)", "SET timezone = 'UTC'")
    database.run(f"SET timezone = 'UTC'; INSERT INTO far VALUES {rows}")

    (batch,) = database.read("far").batches

    numbers = batch.column("number").to_pylist()
    assert batch.column("day").cast(pa.int32()).to_pylist() == numbers
    for name in ("local", "at"):
        assert batch.column(name).cast(pa.int64()).to_pylist() == [number * 86_400_000_000 for number in numbers]


def test_a_database_in_latin_1_is_read_as_the_text_that_it_has(database, postgres, reading) -> None:
    name = database.name
    postgres.ask(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C'")
    with postgres.connect(dbname=name) as session:
        session.execute('CREATE TABLE public."Größe" ("ä" text)')
        session.execute("INSERT INTO public.\"Größe\" VALUES (convert_from('\\xe4f6fcdf', 'LATIN1'))")
    reader = database.reader({"database": name})

    found = reading(reader, StreamSpec("public.Größe"))
    reader.close()

    postgres.ask(f"DROP DATABASE {name}")
    assert found.rows == [{"ä": "äöüß"}]


def test_bytes_that_are_no_text_are_handed_over_as_bytes(database, postgres, reading) -> None:
    name = database.name
    postgres.ask(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C'")
    with postgres.connect(dbname=name) as session:
        session.execute("CREATE TABLE public.odd (id int, value text)")
        session.execute(r"INSERT INTO public.odd VALUES (1, 'fine'), (2, convert_from('\xff41', 'SQL_ASCII'))")
    reader = database.reader({"database": name})

    found = reading(reader, StreamSpec("public.odd"))
    reader.close()

    postgres.ask(f"DROP DATABASE {name}")
    assert [batch.to_pylist() for batch in found.batches] == [
        [{"id": 1, "value": "fine"}],
        [{"id": 2, "value": b"\xffA"}],
    ]
