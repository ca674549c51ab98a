import math
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from dativo_ingest.steps.casting import cast_lossless, extra_fields

I64 = 2**63 - 1
NAN, INF = math.nan, math.inf
JUNE = datetime.fromisoformat("2024-06-01")


def case(name, values, source, to, expected, bad):  # noqa: PLR0917  a row of a table
    return pytest.param(values, source, to, expected, bad, id=name)


GOLDEN = [
    case("integers widen", [1, -(2**31)], pa.int32(), pa.int64(), [1, -(2**31)], []),
    case(
        "integers narrow in range",
        [127, 128, -128, -129, None],
        pa.int64(),
        pa.int8(),
        [127, None, -128, None, None],
        [1, 3],
    ),
    case("signed to unsigned", [0, -1, 255, 256], pa.int16(), pa.uint8(), [0, None, 255, None], [1, 3]),
    case("unsigned to signed", [I64, I64 + 1], pa.uint64(), pa.int64(), [I64, None], [1]),
    case(
        "integers to float",
        [2**53, -(2**53), 2**53 + 1, I64],
        pa.int64(),
        pa.float64(),
        [2.0**53, -(2.0**53), None, None],
        [2, 3],
    ),
    case("integers to a half float", [2048, 2049], pa.int32(), pa.float16(), [2048.0, None], [1]),
    case("small integers to float", [255], pa.uint8(), pa.float32(), [255.0], []),
    case(
        "integers to decimal",
        [999, 1000, -999, -1000],
        pa.int64(),
        pa.decimal128(5, 2),
        [Decimal("999.00"), None, Decimal("-999.00"), None],
        [1, 3],
    ),
    case("the largest integer to decimal", [2**64 - 1], pa.uint64(), pa.decimal128(20, 0), [Decimal(2**64 - 1)], []),
    case("integers to a decimal of fractions", [0, 1], pa.int64(), pa.decimal128(38, 38), [Decimal(0), None], [1]),
    case("integers to boolean", [0, 1, 2, -1, None], pa.int8(), pa.bool_(), [False, True, None, None, None], [2, 3]),
    case("integers are no text", [1, None], pa.int64(), pa.string(), [None, None], [0]),
    case("integers are no time", [1], pa.int64(), pa.timestamp("us"), [None], [0]),
    case("integers are no date", [1], pa.int32(), pa.date32(), [None], [0]),
    case(
        "floats to integers",
        [1.0, -0.0, 1.5, NAN, INF, 2.0**63, -(2.0**63)],
        pa.float64(),
        pa.int64(),
        [1, 0, None, None, None, None, -(2**63)],
        [2, 3, 4, 5],
    ),
    case("floats to small integers", [255.0, 256.0, -1.0], pa.float64(), pa.uint8(), [255, None, None], [1, 2]),
    case("a half float to an integer", [2048.0, 0.5], pa.float16(), pa.int64(), [2048, None], [1]),
    case("floats widen", [0.5, INF], pa.float32(), pa.float64(), [0.5, INF], []),
    case(
        "floats narrow",
        [0.1, 0.1 + 0.2, 1e300, 16777217.0, INF, 2.0**-149],
        pa.float64(),
        pa.float32(),
        [pytest.approx(0.1), None, None, None, INF, 2.0**-149],
        [1, 2, 3],
    ),
    case(
        "floats to decimal",
        [12.34, -0.1, 1e3, 0.1 + 0.2, 1e9, NAN, INF],
        pa.float64(),
        pa.decimal128(7, 2),
        [Decimal("12.34"), Decimal("-0.10"), Decimal("1000.00"), None, None, None, None],
        [3, 4, 5, 6],
    ),
    case(
        "large and small floats to decimal",
        [1e22, 1e-7],
        pa.float64(),
        pa.decimal128(38, 7),
        [Decimal("1e22"), Decimal("1e-7")],
        [],
    ),
    case("floats are no text", [1.5], pa.float64(), pa.string(), [None], [0]),
    case("floats are no boolean", [1.0], pa.float64(), pa.bool_(), [None], [0]),
    case(
        "decimals to integers",
        [Decimal("5.00"), Decimal("5.01"), Decimal(-129)],
        pa.decimal128(10, 2),
        pa.int8(),
        [5, None, None],
        [1, 2],
    ),
    case(
        "wide decimals to integers",
        [Decimal(I64), Decimal(I64 + 1)],
        pa.decimal256(76, 0),
        pa.int64(),
        [I64, None],
        [1],
    ),
    case(
        "decimals of fractions to integers",
        [Decimal(0), Decimal("0.5")],
        pa.decimal256(76, 70),
        pa.int64(),
        [0, None],
        [1],
    ),
    case(
        "decimals to float",
        [Decimal("12.34"), Decimal("0.12345678901234567890")],
        pa.decimal128(38, 20),
        pa.float64(),
        [12.34, None],
        [1],
    ),
    case(
        "decimals narrow",
        [Decimal("1.500"), Decimal("1.505"), Decimal("999.990"), Decimal("1000.000")],
        pa.decimal128(10, 3),
        pa.decimal128(5, 2),
        [Decimal("1.50"), None, Decimal("999.99"), None],
        [1, 3],
    ),
    case(
        "decimals get a scale",
        [Decimal(1), Decimal(10**36)],
        pa.decimal128(38, 0),
        pa.decimal128(38, 2),
        [Decimal(1), None],
        [1],
    ),
    case(
        "decimals lose a negative scale",
        [Decimal("1e3")],
        pa.decimal128(3, -3),
        pa.decimal128(5, 0),
        [Decimal(1000)],
        [],
    ),
    case("decimals are no text", [Decimal(1)], pa.decimal128(1, 0), pa.string(), [None], [0]),
    case("booleans are no numbers", [True, None], pa.bool_(), pa.int8(), [None, None], [0]),
    case("booleans are no text", [True], pa.bool_(), pa.string(), [None], [0]),
    case("text changes layout", ["a", None], pa.large_string(), pa.string(), ["a", None], []),
    case("a view of text", ["a" * 50, None], pa.string_view(), pa.string(), ["a" * 50, None], []),
    case("a view of text to a number", ["1", "x"], pa.string_view(), pa.int64(), [1, None], [1]),
    case("bytes that are text", [b"\xc3\xa4", b"\xff", None], pa.binary(), pa.string(), ["ä", None, None], [1]),
    case("bytes of one width", [b"abc", b"ab", b""], pa.binary(), pa.binary(3), [b"abc", None, None], [1, 2]),
    case("a view of bytes", [b"abc"], pa.binary_view(), pa.large_binary(), [b"abc"], []),
    case("text to bytes", ["ä"], pa.string(), pa.binary(), ["ä".encode()], []),
    case("a date to a timestamp", [date(2024, 6, 1)], pa.date32(), pa.timestamp("us"), [JUNE], []),
    case("a date is no instant", [date(2024, 6, 1)], pa.date32(), pa.timestamp("us", "UTC"), [None], [0]),
    case("dates in days", [date(2024, 6, 1)], pa.date64(), pa.date32(), [date(2024, 6, 1)], []),
    case(
        "midnights to dates",
        [JUNE, datetime.fromisoformat("2024-06-01T00:00:00.000001"), datetime.fromisoformat("1901-01-01")],
        pa.timestamp("us"),
        pa.date32(),
        [date(2024, 6, 1), None, date(1901, 1, 1)],
        [1],
    ),
    case("an instant is no date", [0], pa.timestamp("us", "UTC"), pa.date32(), [None], [0]),
    case("an instant is no local time", [0], pa.timestamp("us", "UTC"), pa.timestamp("us"), [None], [0]),
    case("a local time is no instant", [0], pa.timestamp("us"), pa.timestamp("us", "UTC"), [None], [0]),
    case(
        "times change unit",
        [1_000, 1_001, -1, -1_000],
        pa.timestamp("ns"),
        pa.timestamp("us"),
        [1, None, None, -1],
        [1, 2],
    ),
    case("times to a finer unit", [1, 2**62], pa.timestamp("s"), pa.timestamp("ns"), [10**9, None], [1]),
    case("times of day change unit", [1_000_000, 1_500_000], pa.time64("us"), pa.time32("s"), [1, None], [1]),
    case("times of day to a finer unit", [1], pa.time32("s"), pa.time64("ns"), [10**9], []),
    case("durations change unit", [1_000, 1_001], pa.duration("ms"), pa.duration("s"), [1, None], [1]),
    case(
        "dictionaries are decoded",
        ["7", "x", "7"],
        pa.dictionary(pa.int8(), pa.string()),
        pa.int64(),
        [7, None, 7],
        [1],
    ),
    case("nothing fits anything", [None, None], pa.int64(), pa.uuid(), [None, None], []),
    case("null", [None], pa.null(), pa.list_(pa.int8()), [None], []),
    case("lists", [[1, 300], [1], None, []], pa.list_(pa.int64()), pa.list_(pa.int8()), [None, [1], None, []], [0]),
    case("lists of any layout", [[1], None], pa.large_list(pa.int64()), pa.list_(pa.int64()), [[1], None], []),
    case(
        "lists of one length",
        [[1, 2], None, [1], [3, 4]],
        pa.list_(pa.int64()),
        pa.list_(pa.int8(), 2),
        [[1, 2], None, None, [3, 4]],
        [2],
    ),
    case(
        "lists of one length to lists", [[1, 2], None], pa.list_(pa.int64(), 2), pa.list_(pa.int8()), [[1, 2], None], []
    ),
    case(
        "structs",
        [{"a": 1, "b": "x"}, {"a": 300, "b": None}, None],
        pa.struct([("a", pa.int64()), ("b", pa.string())]),
        pa.struct([("b", pa.string()), ("a", pa.int8()), ("c", pa.int8())]),
        [{"b": "x", "a": 1, "c": None}, None, None],
        [1],
    ),
    case(
        "maps",
        [[("a", 1.0)], [("b", 1.5)], None],
        pa.map_(pa.string(), pa.float64()),
        pa.map_(pa.string(), pa.int64()),
        [[("a", 1)], None, None],
        [1],
    ),
    case(
        "maps with keys of another type",
        [[("1", 1)], [("x", 1)], []],
        pa.map_(pa.string(), pa.int64()),
        pa.map_(pa.int64(), pa.int64()),
        [[(1, 1)], None, []],
        [1],
    ),
    case("a list is no struct", [[1]], pa.list_(pa.int8()), pa.struct([("a", pa.int8())]), [None], [0]),
    case(
        "lists of structs of lists",
        [[{"a": ["1", "x"]}], [{"a": ["1"]}]],
        pa.list_(pa.struct([("a", pa.list_(pa.string()))])),
        pa.list_(pa.struct([("a", pa.list_(pa.int8()))])),
        [None, [{"a": [1]}]],
        [0],
    ),
]


@pytest.mark.parametrize(("values", "source", "to", "expected", "bad"), GOLDEN)
def test_values_that_lose_nothing_are_cast_and_the_others_marked(values, source, to, expected, bad):
    array = pa.array(values, source)

    cast, mask = cast_lossless(array, to)

    assert cast.type == to
    cast.validate(full=True)
    assert plain(cast) == expected
    assert [index for index, flag in enumerate(mask or []) if flag.as_py()] == bad
    assert mask is None or mask.null_count == 0


@pytest.mark.parametrize(("values", "source", "to", "expected", "bad"), GOLDEN)
def test_a_slice_is_cast_as_its_values_are(values, source, to, expected, bad):
    array = pa.concat_arrays([pa.array(values, source)] * 3).slice(len(values), len(values))

    cast, mask = cast_lossless(array, to)

    assert plain(cast) == expected
    assert [index for index, flag in enumerate(mask or []) if flag.as_py()] == bad


def plain(array: pa.Array) -> list:
    """Give numbers for times, so that units and values beyond Python's show."""
    if (pa.types.is_time(array.type) or pa.types.is_duration(array.type)) or (
        pa.types.is_timestamp(array.type) and array.type.unit != "us"
    ):
        width = pa.int32() if array.type.bit_width == 32 else pa.int64()
        return array.cast(width).to_pylist()
    if pa.types.is_timestamp(array.type):
        numbers = array.cast(pa.int64()).to_pylist()
        return [
            value.as_py() if number is not None and abs(number) > 10**9 else number
            for value, number in zip(array, numbers, strict=True)
        ]
    return array.to_pylist()


def test_a_column_of_the_right_type_is_not_copied():
    array = pa.array([1, None, 3])

    cast, bad = cast_lossless(array, pa.int64())

    assert cast is array
    assert bad is None


def test_a_time_of_24_hours_is_beyond_its_own_type():
    array = pa.array([0, 86_400_000_000, None, -1], pa.int64()).cast(pa.time64("us"))

    cast, bad = cast_lossless(array, pa.time64("us"))

    assert bad.to_pylist() == [False, True, False, True]
    assert cast.null_count == 3


def test_a_decimal_beyond_its_digits_inside_a_struct_is_found():
    wide = pa.array([Decimal("12345.00"), Decimal(1)], pa.decimal128(7, 2))
    forged = pa.Array.from_buffers(pa.decimal128(5, 2), 2, wide.buffers())
    array = pa.StructArray.from_arrays([forged], names=["a"])

    _, bad = cast_lossless(array, array.type)

    assert bad.to_pylist() == [True, False]


def test_uuids_are_read_from_text_and_bytes():
    text = ["00000000-0000-0000-0000-00000000000A", None, "0", "00000000-0000-0000-0000-00000000000b"]
    data = [b"\0" * 15 + b"\x0a", None, b"short", b"\0" * 15 + b"\x0b"]

    from_text, bad_text = cast_lossless(pa.array(text), pa.uuid())
    from_bytes, bad_bytes = cast_lossless(pa.array(data), pa.uuid())

    assert from_text.equals(from_bytes)
    assert bad_text.to_pylist() == bad_bytes.to_pylist() == [False, False, True, False]
    assert from_text.storage.to_pylist() == [data[0], None, None, data[3]]


def test_a_column_declared_json_takes_anything_as_json():
    array = pa.array([{"a": [1, None], "b": Decimal("1.50"), "c": NAN}, None])

    cast, bad = cast_lossless(array, pa.string(), as_json=True)

    assert bad is None
    assert cast.to_pylist() == ['{"a": [1, null], "b": "1.50", "c": "NaN"}', None]


def test_text_in_a_column_declared_json_stays():
    cast, _ = cast_lossless(pa.array(['{"a":1}']), pa.large_string(), as_json=True)

    assert cast.to_pylist() == ['{"a":1}']


def test_an_extension_type_that_only_its_maker_knows_is_refused():
    opaque = pa.ExtensionArray.from_storage(pa.opaque(pa.binary(), "point", "postgres"), pa.array([b"x", None]))

    _, bad = cast_lossless(opaque, pa.binary())

    assert bad.to_pylist() == [True, False]


def test_json_of_the_arrow_extension_is_text():
    array = pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}"]))

    cast, bad = cast_lossless(array, pa.string())

    assert (cast.to_pylist(), bad) == (["{}"], None)


def test_fields_that_have_no_place_are_named_by_their_path():
    source = pa.struct([("a", pa.list_(pa.struct([("x", pa.int8()), ("y", pa.int8())]))), ("b", pa.int8())])
    to = pa.struct([("a", pa.list_(pa.struct([("x", pa.int8())])))])

    assert list(extra_fields(source, to, "doc")) == ["doc.a[].y", "doc.b"]


NUMBERS = st.sampled_from(
    [
        *(pa.int8(), pa.int32(), pa.int64(), pa.uint8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()),
        *(pa.decimal128(38, 0), pa.decimal128(5, 2), pa.decimal128(20, 10), pa.decimal128(38, 38)),
    ]
)


@given(st.lists(st.none() | st.integers(-(2**63), I64), min_size=1), NUMBERS)
def test_an_integer_that_is_cast_keeps_its_value(values, to):
    cast, bad = cast_lossless(pa.array(values, pa.int64()), to)

    for value, result, flag in zip(values, cast.to_pylist(), bad or [False] * len(values), strict=True):
        refused = flag.as_py() if hasattr(flag, "as_py") else flag
        assert result == (None if refused else value)


@given(st.lists(st.none() | st.floats(), min_size=1), NUMBERS)
def test_a_float_that_is_cast_prints_the_same(values, to):
    cast, bad = cast_lossless(pa.array(values, pa.float64()), to)

    for value, result, flag in zip(
        values, cast.cast(pa.string()).to_pylist(), bad or [False] * len(values), strict=True
    ):
        refused = flag.as_py() if hasattr(flag, "as_py") else flag
        if refused or value is None:
            assert result is None
        else:
            exact = pa.scalar(value).cast(to, safe=False).as_py() if pa.types.is_floating(to) else None
            assert float(result) == value or math.isnan(value) or exact == value


@given(
    st.lists(st.decimals(-(10**20), 10**20, places=6, allow_nan=False), min_size=1),
    st.integers(1, 38).flatmap(lambda digits: st.tuples(st.just(digits), st.integers(0, digits))),
)
def test_a_decimal_is_taken_exactly_where_it_fits(values, digits):
    precision, scale = digits
    array = pa.array(values, pa.decimal128(38, 6))

    cast, bad = cast_lossless(array, pa.decimal128(precision, scale))

    for index, value in enumerate(values):
        fits = value * 10**6 % 10 ** max(6 - scale, 0) == 0 and abs(value) < 10 ** (precision - scale)
        assert cast[index].as_py() == (value if fits else None)
        assert (bad is not None and bad[index].as_py()) is not fits
