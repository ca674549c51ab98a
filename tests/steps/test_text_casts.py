"""Text becomes values exactly as pyarrow's CSV reader takes it: both paths of a file must give the same rows."""

import io
import string

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from hypothesis import given, strategies as st

from dativo_ingest.steps.casting import cast_lossless
from dativo_ingest.steps.conform import conform
from dativo_plugin_sdk import Rows

TYPES = [
    pa.int8(),
    pa.int32(),
    pa.int64(),
    pa.uint8(),
    pa.uint64(),
    pa.float32(),
    pa.float64(),
    pa.bool_(),
    pa.decimal128(5, 2),
    pa.decimal128(38, 0),
    pa.decimal128(30, 8),
    pa.date32(),
    pa.date64(),
    pa.time32("s"),
    pa.time32("ms"),
    pa.time64("us"),
    pa.time64("ns"),
    pa.timestamp("s"),
    pa.timestamp("ms"),
    pa.timestamp("us"),
    pa.timestamp("ns"),
    pa.timestamp("us", "UTC"),
    pa.timestamp("ns", "Europe/Berlin"),
    pa.duration("s"),
    pa.string(),
    pa.binary(),
    pa.binary(3),
]
NO_TEXT_OF_ANY_TYPE = "\x01"

SPELLINGS = (
    """
1|+1|-1|-0| 1|1 |\t1|007|0x1F|0X1f|-0x1|0x|0xFF|0x100|0x00FF|1_000|1.0|1e3||127|128|-128|-129|255|256
9223372036854775807|9223372036854775808|-9223372036854775808|-9223372036854775809|18446744073709551615
18446744073709551616|99999999999999999999999999999|000000000000000000000000000001|0xFFFFFFFFFFFFFFFF
.5|5.|1e5|1E+5|1e-400|1e400|-1e400|nan|NaN|-nan|inf|-inf|+inf|infinity|INFINITY|nan(1)|1e|1e+|infin|.|e5|1.5.2|1d5
true|True|TRUE|tRue|t|yes|false|FALSE|01
1.1|1.10|1.100|1.101|123.45|999.99|1000|1234.5|0001.10|1.5e1|1e-2|1e-3|100e-4|1.|-|-.5|+.5|0e10|0.00000000|1.0000000
99999999999999999999999999999999999999|999999999999999999999999999999999999999|99e37|9e37|1e38|1e300|1e-300|0e999999
0.11111111111111111111111111111111111111|0.111111111111111111111111111111111111111|1e99999999999|1e-99999999999
2024-01-01|2024-02-30|2024-02-29|2023-02-29|1900-02-29|2000-02-29|0000-02-29|0000-01-01|9999-12-31|10000-01-01
2024-1-1| 2024-01-01|20240101|2024/01/01|-001-01-01|2024-13-01|2024-00-01|2024-04-31|2024-01-01Z
2024-01-01T00:00:00|2024-01-01 00:00:00|2024-01-01T00:00|2024-01-01T00|2024-01-01T00:00:00.1|2024-01-01T00:00:00.123
2024-01-01T00:00:00.123456|2024-01-01T00:00:00.1234567|2024-01-01T00:00:00.123456000|2024-01-01T00:00:00.123456789
2024-01-01T24:00:00|2024-01-01T23:59:60|2024-01-01t00:00:00|2024-01-01T00:00:00.|1704067200|2024-01-01  00:00
2024-01-01T00:00:00Z|2024-01-01 00:00:00Z|2024-01-01T00:00:00z|2024-01-01T00:00:00+01:00|2024-01-01T00:00:00+0100
2024-01-01T00:00:00+01|2024-01-01T00:00:00 Z|2024-01-01T00Z|2024-01-01T00:00+01|2024-01-01+01:00|2024-01-01T00-05
2024-01-01T00:00:00+24:00|2024-01-01T00:00:00+23:59|2024-01-01T00:00:00+01:60|2024-01-01T00:00:00.123456789-01
1677-09-21T00:12:43|2262-04-11T23:47:16.854775807|2262-04-11T23:47:16.854775808|2262-04-11T23:47:16.854775807-01:00
00:00|00:00:00|23:59:59.999999|24:00:00|00:00:60|1:00|00| 00:00|00:00:00.1234567|00:00Z|00:00:00.|00:00:00.0|000000
abc|ab|a b|ä|٣|1\u00a0
""".strip("\n")
    .replace("\n", "|")
    .split("|")
)


def by_the_csv_reader(text: str, to: pa.DataType) -> object:
    """Give what pyarrow's CSV reader makes of one value: its text as Arrow prints it, None where it refuses."""
    data = ('"' + text.replace('"', '""') + '"\n').encode()
    try:
        table = pa_csv.read_csv(
            io.BytesIO(data),
            read_options=pa_csv.ReadOptions(column_names=["value"]),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types={"value": to}, null_values=[], strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None
    return shown(table["value"].combine_chunks())


def by_the_cast(text: str, to: pa.DataType, *beside: str) -> object:
    array, bad = cast_lossless(pa.array([text, *beside], pa.string()), to)
    return None if bad is not None and bad[0].as_py() else shown(array.slice(0, 1))


def shown(array: pa.Array) -> object:
    return (
        array[0].as_py()
        if pa.types.is_boolean(array.type)
        else array.cast(pa.binary() if pa.types.is_fixed_size_binary(array.type) else pa.string())[0].as_py()
    )


def holds(value: object, to: pa.DataType) -> bool:
    """Say whether the CSV reader's decimal fits its type: it makes some that do not."""
    if not pa.types.is_decimal(to) or value is None:
        return True
    return len(str(value).lstrip("-").replace(".", "").lstrip("0")) <= to.precision and "E" not in str(value)


def assert_agrees(text: str, to: pa.DataType) -> None:
    parsed = by_the_csv_reader(text, to)
    cast = by_the_cast(text, to)
    assert by_the_cast(text, to, NO_TEXT_OF_ANY_TYPE) == cast, "the neighbours decide"
    if parsed is not None and holds(parsed, to):
        assert cast == parsed


@pytest.mark.parametrize("to", TYPES, ids=str)
def test_each_spelling_that_the_csv_reader_takes_gives_the_same_value(to):
    for text in SPELLINGS:
        assert_agrees(text, to)


@given(st.sampled_from(TYPES), st.text(string.digits + " +-.:eExXTZ/_nabftrue\t", max_size=30))
def test_any_text_that_the_csv_reader_takes_gives_the_same_value(to, text):
    assert_agrees(text, to)


@given(
    st.sampled_from([to for to in TYPES if pa.types.is_temporal(to)]),
    st.from_regex(
        r"\A[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9](\.[0-9]{1,10})?)?"
        r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)?\Z"
    ),
)
def test_any_timestamp_that_the_csv_reader_takes_gives_the_same_value(to, text):
    assert_agrees(text, to)
    assert_agrees(text[:10], to)
    assert_agrees(text[11:], to)


@given(
    st.sampled_from([to for to in TYPES if pa.types.is_decimal(to)]),
    # the CSV reader reads 1e-41 as 0 in a decimal(15,2): its table of powers ends at 38
    st.decimals(allow_nan=False, allow_infinity=False).filter(lambda number: number.as_tuple().exponent > -38),
)
def test_any_decimal_that_the_csv_reader_takes_gives_the_same_value(to, number):
    assert_agrees(str(number), to)
    assert_agrees(f"{number:f}"[:200], to)


@pytest.mark.parametrize(
    ("to", "refused"),
    [
        pytest.param(pa.decimal128(5, 2), ["1000", "1234.5", "12345", "1e3"], id="decimal(5,2)"),
    ],
)
def test_what_the_csv_reader_takes_beyond_a_decimals_digits_is_rejected_on_both_paths(to, refused):
    schema = pa.schema([("value", to)])
    table = pa_csv.read_csv(
        io.BytesIO("\n".join(["value", *refused, "1.25"]).encode()),
        convert_options=pa_csv.ConvertOptions(column_types={"value": to}),
    )

    parsed = conform(Rows(table.to_batches()[0]), schema)
    cast = conform(Rows(pa.record_batch({"value": [*refused, "1.25"]})), schema)

    assert parsed.batch.equals(cast.batch)
    assert parsed.rejected.num_rows == cast.rejected.num_rows == len(refused)


@pytest.mark.parametrize("text", ["7", "225", "1e0", "-1.5"])
def test_digits_that_arrow_itself_would_let_overflow_do_not_fit(text):
    assert by_the_cast(text, pa.decimal128(38, 38)) is None
    assert by_the_cast("0." + "1" * 38, pa.decimal128(38, 38)) == "0." + "1" * 38


@pytest.mark.parametrize(
    ("text", "to", "expected"),
    [
        pytest.param("tRuE", pa.bool_(), True, id="a boolean in any case"),
        pytest.param("2024-01-01T00:00:00.1234560", pa.timestamp("us"), "2024-01-01 00:00:00.123456", id="zeros cut"),
        pytest.param("2024-01-01T00:00:00.000Z", pa.timestamp("s", "UTC"), "2024-01-01 00:00:00Z", id="all zeros cut"),
        pytest.param("12:00:00.000", pa.time32("s"), "12:00:00", id="zeros of a time cut"),
        pytest.param("1.0000000000000", pa.decimal128(5, 2), "1.00", id="zeros of a decimal cut"),
        pytest.param("1", pa.float16(), "1", id="half floats"),
        pytest.param("1.5", pa.decimal256(50, 5), "1.50000", id="wide decimals"),
    ],
)
def test_a_few_spellings_are_taken_that_the_csv_reader_hands_back_as_text(text, to, expected):
    assert by_the_csv_reader_or_none(text, to) is None
    assert by_the_cast(text, to) == expected


def by_the_csv_reader_or_none(text: str, to: pa.DataType) -> object:
    try:
        return by_the_csv_reader(text, to)
    except pa.ArrowNotImplementedError:
        return None
