from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid

import pyarrow as pa
import pytest

from dativo_ingest.targets.postgres.types import wider, wider_or_text
from dativo_plugin_sdk import DataValidationError, SchemaValidationError

D = decimal.Decimal
NAIVE = dt.datetime(2024, 2, 29, 23, 59, 59, 999999)  # noqa: DTZ001  a moment without a zone is what is meant
UTC = dt.datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=dt.UTC)
HARD = "a\"b'c\\d,e\n\r\t\\N\\.{}é\U0001f4a1"
CASES = {
    "bool": (pa.array([True, None]), "boolean", True),
    "i8": (pa.array([-128, None], pa.int8()), "smallint", -128),
    "i16": (pa.array([2**15 - 1, None], pa.int16()), "smallint", 2**15 - 1),
    "i32": (pa.array([-(2**31), None], pa.int32()), "integer", -(2**31)),
    "i64": (pa.array([-(2**63), None]), "bigint", -(2**63)),
    "u8": (pa.array([255, None], pa.uint8()), "smallint", 255),
    "u16": (pa.array([2**16 - 1, None], pa.uint16()), "integer", 2**16 - 1),
    "u32": (pa.array([2**32 - 1, None], pa.uint32()), "bigint", 2**32 - 1),
    "u64": (pa.array([2**64 - 1, None], pa.uint64()), "numeric(20,0)", D(2**64 - 1)),
    "f16": (pa.array([1.5, None], pa.float16()), "real", 1.5),
    "f32": (pa.array([16777216.0, None], pa.float32()), "real", 16777216.0),
    "f64": (pa.array([5e-324, None]), "double precision", 5e-324),
    "inf": (pa.array([float("-inf"), None]), "double precision", float("-inf")),
    "dec": (pa.array([D("-1.05"), None], pa.decimal128(38, 9)), "numeric(38,9)", D("-1.050000000")),
    "tiny": (pa.array([D("1e-30"), None], pa.decimal128(38, 30)), "numeric(38,30)", D("1e-30")),
    "big": (pa.array([D("12E+5"), None], pa.decimal128(5, -2)), "numeric(7,0)", D(1200000)),
    "dec256": (pa.array([D("9" * 70), None], pa.decimal256(72, 2)), "numeric(72,2)", D("9" * 70)),
    "text": (pa.array([HARD, None]), "text", HARD),
    "empty": (pa.array(["", None]), "text", ""),
    "large": (pa.array(["NULL", None], pa.large_string()), "text", "NULL"),
    "view": (pa.array(["\\N", None], pa.string_view()), "text", "\\N"),
    "raw": (pa.array([bytes(range(256)), None]), "bytea", bytes(range(256))),
    "no_bytes": (pa.array([b"", None], pa.large_binary()), "bytea", b""),
    "fixed": (pa.array([b"a\0cd", None], pa.binary(4)), "bytea", b"a\0cd"),
    "day": (pa.array([dt.date(1, 1, 1), None]), "date", dt.date(1, 1, 1)),
    "day64": (pa.array([dt.date(9999, 12, 31), None], pa.date64()), "date", dt.date(9999, 12, 31)),
    "s": (pa.array([NAIVE, None], pa.timestamp("s")), "timestamp without time zone", NAIVE.replace(microsecond=0)),
    "us": (pa.array([NAIVE, None], pa.timestamp("us")), "timestamp without time zone", NAIVE),
    "ns": (pa.array([NAIVE, None], pa.timestamp("ns")), "timestamp without time zone", NAIVE),
    "utc": (pa.array([UTC, None], pa.timestamp("us", "UTC")), "timestamp with time zone", UTC),
    "zone": (pa.array([UTC, None], pa.timestamp("us", "Asia/Kolkata")), "timestamp with time zone", UTC),
    "time": (
        pa.array([dt.time(23, 59, 59, 999999), None]),
        "time without time zone",
        dt.time(23, 59, 59, 999999),
    ),
    "time_s": (pa.array([dt.time(1, 2, 3), None], pa.time32("s")), "time without time zone", dt.time(1, 2, 3)),
    "span": (
        pa.array([dt.timedelta(days=-200_000, microseconds=7), None]),
        "interval",
        dt.timedelta(days=-200_000, microseconds=7),
    ),
    "months": (
        pa.array([pa.MonthDayNano([0, 3, -7000]), None]),
        "interval",
        dt.timedelta(days=3, microseconds=-7),
    ),
    "list": (pa.array([[1, None], None], pa.list_(pa.int8())), "smallint[]", [1, None]),
    "texts": (pa.array([[HARD, "", None, "NULL"], None]), "text[]", [HARD, "", None, "NULL"]),
    "moments": (pa.array([[UTC], None], pa.list_(pa.timestamp("us", "UTC"))), "timestamp with time zone[]", [UTC]),
    "blobs": (pa.array([[b"\\\x00", None], None], pa.large_list(pa.binary())), "bytea[]", [b"\\\x00", None]),
    "none": (pa.array([[], None], pa.list_(pa.string())), "text[]", []),
    "pair": (pa.array([[1.5, 2.5], None], pa.list_(pa.float16(), 2)), "real[]", [1.5, 2.5]),
    "seen": (pa.array([["a"], None], pa.list_view(pa.string())), "text[]", ["a"]),
    "matrix": (pa.array([[[1, None], None, []], None]), "jsonb", [[1, None], None, []]),
    "nested": (
        pa.array([{'a "b"': [{"c": HARD}], "x": None}, None]),
        "jsonb",
        {'a "b"': [{"c": HARD}], "x": None},
    ),
    "strange": (
        pa.array([{"f": float("nan"), "g": float("-inf"), "d": D("1.20"), "t": UTC, "b": b"\xff"}, None]),
        "jsonb",
        {"f": "NaN", "g": "-Infinity", "d": 1.2, "t": "2024-02-29T23:59:59.999999", "b": "\\xff"},
    ),
    "map": (pa.array([[("k", 1), ('"', None)], None], pa.map_(pa.string(), pa.int32())), "jsonb", {"k": 1, '"': None}),
    "by_number": (pa.array([[(1, "x")], None], pa.map_(pa.int64(), pa.string())), "jsonb", {"1": "x"}),
    "nobody": (pa.array([{}, None], pa.struct([])), "jsonb", {}),
    "dict": (pa.array(["a", None], pa.dictionary(pa.int32(), pa.string())), "text", "a"),
    "runs": (pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), pa.array(["x", None])), "text", "x"),
    "nothing": (pa.nulls(2), "text", None),
    "json": (
        pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(['{"a": [1, "x"]}', None])),
        "jsonb",
        {"a": [1, "x"]},
    ),
    "uuid": (
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.UUID(int=7).bytes, None], pa.binary(16))),
        "uuid",
        uuid.UUID(int=7),
    ),
    "flag": (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([7, None], pa.int8())), "boolean", True),
}
TYPES = (
    "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'orders'::regclass"
    " AND attnum > 0 ORDER BY attnum"
)


@pytest.mark.parametrize("write", ["append", "merge"])
def test_every_type_is_kept_without_loss(load, ask, write):
    batch = pa.record_batch({"id": [1, 2], **{name: values for name, (values, _, _) in CASES.items()}})
    names = ", ".join(f'"{name}"' for name in CASES)

    load(batch.slice(0, 1), batch.slice(1), write=write, primary_key=("id",))

    assert dict(ask(TYPES)) == {"id": "bigint", **{name: sql_type for name, (_, sql_type, _) in CASES.items()}}
    first, second = ask(f"SELECT {names} FROM orders ORDER BY id")
    assert dict(zip(CASES, first, strict=True)) == {name: expected for name, (_, _, expected) in CASES.items()}
    assert set(second) == {None}


@pytest.mark.parametrize("name", ["text", "raw", "f64", "texts", "nested", "nothing"])
def test_a_single_column_keeps_its_nulls(load, ask, name):
    values, _, expected = CASES[name]

    load(pa.record_batch({"only": values}))

    found = [row[0] for row in ask("SELECT * FROM orders")]
    assert len(found) == 2
    assert expected in found
    assert None in found


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        pytest.param(pa.array([-1_000_000, None], pa.int32()).cast(pa.date32()), "0769-02-04 BC", id="day long ago"),
        pytest.param(pa.array([-719_163], pa.int32()).cast(pa.date32()), "0001-12-31 BC", id="before the first day"),
        pytest.param(pa.array([5_000_000], pa.int32()).cast(pa.date32()), "15659-07-15", id="day far ahead"),
        pytest.param(
            pa.array([-62_135_596_800_000_001], pa.timestamp("us")), "0001-12-31 23:59:59.999999 BC", id="moment"
        ),
        pytest.param(pa.array([253_402_300_800], pa.timestamp("s", "UTC")), "10000-01-01 00:00:00+00", id="far ahead"),
    ],
)
def test_days_and_moments_beyond_four_digits_of_a_year_are_kept(load, ask, values, shown):
    load(pa.record_batch({"at": values}))

    assert ask('SELECT "at"::text FROM orders WHERE "at" IS NOT NULL') == [(shown,)]


def test_a_text_marked_as_json_is_json(load, ask):
    field = pa.field("doc", pa.string(), metadata={"dativo.logical_type": "json"})

    load(pa.record_batch([['{"a": 1}', None]], schema=pa.schema([field])))

    assert ask("SELECT doc, pg_typeof(doc)::text FROM orders WHERE doc ->> 'a' = '1'") == [({"a": 1}, "jsonb")]


def test_json_is_what_postgres_itself_would_make_of_it(load, ask):
    load(pa.record_batch({"made": pa.array([{"b": b"\x01", "t": NAIVE, "f": float("nan"), "n": None, "s": HARD}])}))

    row = "SELECT '\\x01'::bytea b, '2024-02-29 23:59:59.999999'::timestamp t, 'nan'::float8 f, NULL n, made ->> 's' s"
    assert ask(f"SELECT (SELECT to_jsonb(x) FROM ({row}) x) = made FROM orders") == [(True,)]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(pa.array([1], pa.timestamp("ns")), id="moment"),
        pytest.param(pa.array([1], pa.duration("ns")), id="duration"),
        pytest.param(pa.array([1], pa.time64("ns")), id="time"),
        pytest.param(pa.array([pa.MonthDayNano([0, 0, 1])]), id="interval"),
        pytest.param(pa.array([{"t": 1}], pa.struct({"t": pa.timestamp("ns")})), id="within json"),
    ],
)
def test_a_nanosecond_that_would_be_lost_is_refused_with_its_column(table, values):
    made = table(buffer_bytes=1)
    made.open(pa.schema({"odd": values.type}))

    with pytest.raises(DataValidationError, match=r"column odd: .* lose"):
        made.write(pa.record_batch({"odd": values}))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(pa.array(["x", "a\0b"]), id="text"),
        pytest.param(pa.array([["a\0b"]]), id="list"),
        pytest.param(pa.array([{"x": "a\0b"}]), id="within json"),
        pytest.param(pa.array(["a\0b"], pa.dictionary(pa.int8(), pa.string())), id="dictionary"),
    ],
)
def test_a_nul_character_names_its_column_and_may_be_removed(load, ask, values):
    batch = pa.record_batch({"fine": ["y"] * len(values), "odd": values})

    with pytest.raises(DataValidationError, match=r"column odd: .* NUL") as caught:
        load(batch)
    load(batch, options={"nul_characters": "remove"})

    assert "nul_characters" in str(caught.value.hint)
    assert "ab" in json.dumps(ask("SELECT * FROM orders"))


def test_a_nul_character_within_a_json_text_names_its_column(load):
    odd = pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(['{"a": "\\u0000"}']))

    with pytest.raises(DataValidationError, match=r"column odd: .*escape"):
        load(pa.record_batch({"odd": odd}))


def test_text_that_is_no_json_names_its_column(load):
    odd = pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(["{"]))

    with pytest.raises(DataValidationError, match=r"column odd: .*json"):
        load(pa.record_batch({"odd": odd}))


@pytest.mark.parametrize(
    "arrow_type",
    [
        pa.map_(pa.struct({"a": pa.int8()}), pa.int8()),
        pa.struct([("a", pa.int8()), ("a", pa.int8())]),
        pa.list_(pa.dense_union([pa.field("a", pa.int8())])),
    ],
    ids=str,
)
def test_a_type_that_would_lose_something_is_named(table, arrow_type):
    with pytest.raises(SchemaValidationError, match="column odd: Postgres has no type"):
        table().open(pa.schema({"odd": arrow_type}))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("smallint", "bigint", "bigint"),
        ("bigint", "smallint", "bigint"),
        ("bigint", "numeric(20,0)", "numeric(20,0)"),
        ("numeric(10,2)", "integer", "numeric(12,2)"),
        ("numeric(12,2)", "integer", "numeric(12,2)"),
        ("numeric(5,2)", "numeric(12,4)", "numeric(12,4)"),
        ("numeric(38,2)", "numeric(38,30)", "numeric(66,30)"),
        ("numeric", "numeric(12,4)", "numeric"),
        ("numeric", "bigint", "numeric"),
        ("numeric", "double precision", None),
        ("real", "double precision", "double precision"),
        ("double precision", "real", "double precision"),
        ("double precision", "integer", None),
        ("character varying(20)", "text", "text"),
        ("character varying", "text", "character varying"),
        ("character(3)", "text", None),
        ("text", "jsonb", "text"),
        ("json", "jsonb", "json"),
        ("jsonb", "text", None),
        ("timestamp(3) without time zone", "timestamp without time zone", "timestamp without time zone"),
        ("timestamp(3) with time zone", "timestamp without time zone", None),
        ("timestamp without time zone", "timestamp with time zone", None),
        ("date", "timestamp without time zone", None),
        ("time(0) without time zone", "time without time zone", "time without time zone"),
        ("interval(3)", "interval", "interval"),
        ("smallint[]", "bigint[]", "bigint[]"),
        ("integer[]", "integer", None),
        ("integer", "boolean", None),
        ("mood", "text", None),
    ],
)
def test_a_type_widens_to_what_holds_both_or_not_at_all(old, new, expected):
    assert wider(old, new) == expected
    assert wider_or_text(old, new) == (expected or "text")
