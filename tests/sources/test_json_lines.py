from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from dativo_ingest.sources.json import JsonLinesReader
from dativo_ingest.sources.json_blocks import Block
from dativo_ingest.sources.json_lines import line_blocks
from dativo_ingest.sources.json_parse import RecordParser
from dativo_plugin_sdk import DataFormatError, DataValidationError

JSON_TEXT = {"dativo.logical_type": "json"}
PAIR = pa.schema([("id", pa.int64()), ("name", pa.string())])


def write(folder: Path, *lines: str | bytes, end: bytes = b"\n") -> Path:
    path = folder / "people.jsonl"
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + end for line in lines))
    return path


def parse(*lines: str | bytes, schema: pa.Schema = PAIR) -> tuple[list[dict], list[dict]]:
    raw = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
    parsed = RecordParser(schema, "people.jsonl").parse(Block(raw, 1))
    return parsed.batch.to_pylist(), parsed.rejected


def test_each_line_is_a_row_with_its_line_number(tmp_path, read_files):
    path = write(tmp_path, '{"id": 1, "name": "Ann"}', '{"name": "Ben", "id": 2}')

    reading = read_files(JsonLinesReader, path, PAIR)

    assert reading.rows == [{"id": 1, "name": "Ann"}, {"id": 2, "name": "Ben"}]
    assert reading.lines == [1, 2]


def test_blank_lines_are_no_rows_and_count_as_lines(tmp_path, read_files):
    path = write(tmp_path, "", '{"id": 1}', "  \t", '{"id": 2}', "", "oops", '{"id": 3}')

    reading = read_files(JsonLinesReader, path, PAIR)

    assert [(row["id"], line) for row, line in zip(reading.rows, reading.lines, strict=True)] == [
        (1, 2),
        (2, 4),
        (3, 7),
    ]
    assert [row["line"] for row in reading.rejected] == [6]


@pytest.mark.parametrize("end", [pytest.param(b"\n", id="LF"), pytest.param(b"\r\n", id="CRLF")])
def test_a_byte_order_mark_and_carriage_returns_leave_no_trace(tmp_path, read_files, end):
    path = write(tmp_path, b'\xef\xbb\xbf{"id": 1, "name": "a"}', '{"id": 2, "name": "b"}', "oops", end=end)

    reading = read_files(JsonLinesReader, path, PAIR)

    assert reading.rows == [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    assert reading.rejected[0]["row"] == '"oops"'


def test_a_last_line_without_an_end_is_a_row(tmp_path, read_files):
    path = tmp_path / "people.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": 2}')

    reading = read_files(JsonLinesReader, path, PAIR)

    assert [row["id"] for row in reading.rows] == [1, 2]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param('{"id": 1', "not JSON", id="cut short"),
        pytest.param('{"id": 1}}', "not JSON", id="one brace too many"),
        pytest.param('{"id": 1} {"id": 2}', "not JSON", id="two objects"),
        pytest.param('{"id": 1,}', "not JSON", id="trailing comma"),
        pytest.param('{"id": 01}', "not JSON", id="leading zero"),
        pytest.param("{'id': 1}", "not JSON", id="single quotes"),
        pytest.param('{"name": "a\tb"}', "not JSON", id="raw tab in a string"),
        pytest.param(b'{"name": "a\x00b"}', "not JSON", id="NUL in a string"),
        pytest.param('{"name": "\\x"}', "not JSON", id="unknown escape"),
        pytest.param("plain text", "not JSON", id="no JSON at all"),
        pytest.param("null", "not a JSON object but null", id="null"),
        pytest.param("[1]", "not a JSON object but an array", id="an array"),
        pytest.param('"x"', "not a JSON object but a string", id="a string"),
        pytest.param("17", "not a JSON object but a number", id="a number"),
        pytest.param('{"id": 1, "id": 2}', 'the key "id" is given twice', id="a key twice"),
        pytest.param('{"id": 1, "x": {"a": 1, "a": 1}}', 'the key "a" is given twice', id="a key twice, inside"),
        pytest.param('{"id": NaN}', "NaN is no JSON number", id="NaN"),
        pytest.param('{"id": 1, "x": -Infinity}', "-Infinity is no JSON number", id="infinity"),
        pytest.param('{"name": "\\ud800"}', "half of a surrogate pair", id="half a surrogate pair"),
        pytest.param(b'{"name": "caf\xe9"}', "not UTF-8", id="latin-1"),
        pytest.param('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply", id="deep nesting"),
        pytest.param('{"id": 1' + "0" * 5000 + "}", "not JSON that can be read", id="5,001 digits"),
    ],
)
def test_a_malformed_line_is_set_aside_and_its_neighbours_land(tmp_path, read_files, line, reason):
    path = write(tmp_path, '{"id": 1, "name": "a"}', line, '{"id": 3, "name": "c"}')

    reading = read_files(JsonLinesReader, path, PAIR)

    assert [row["id"] for row in reading.rows] == [1, 3]
    assert reading.lines == [1, 3]
    [rejected] = reading.rejected
    assert reason in rejected["reason"]
    text = line if isinstance(line, str) else line.decode("utf-8", "backslashreplace")
    assert {**rejected, "reason": ""} == {
        "column": None,
        "rule": "malformed",
        "reason": "",
        "row": json.dumps(text, ensure_ascii=False),
        "source": str(path),
        "line": 2,
    }


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        pytest.param(pa.int64(), '"7"', '"7" is a string, int64 was expected', id="text for a number"),
        pytest.param(pa.int64(), "1.5", "1.5 is a number, int64 was expected", id="a fraction"),
        pytest.param(pa.int64(), "9223372036854775808", "beyond int64", id="2^63"),
        pytest.param(pa.int8(), "128", "128 is beyond int8", id="beyond 8 bits"),
        pytest.param(pa.uint16(), "-1", "-1 is beyond uint16", id="below zero"),
        pytest.param(pa.int64(), "true", "true is a boolean", id="a boolean for a number"),
        pytest.param(pa.bool_(), "1", "1 is a number, bool was expected", id="a number for a boolean"),
        pytest.param(pa.string(), "1", "1 is a number, string was expected", id="a number for text"),
        pytest.param(pa.float64(), "1e400", "beyond double", id="beyond a double"),
        pytest.param(pa.float32(), "1e39", "beyond float", id="beyond a float"),
        pytest.param(pa.decimal128(5, 2), "1.234", "more than 2 digits behind the point", id="too fine"),
        pytest.param(pa.decimal128(5, 2), "1234.5", "more than 3 digits before the point", id="too large"),
        pytest.param(pa.decimal128(5, 2), "1e999999999", "more than 3 digits before", id="far too large"),
        pytest.param(pa.decimal128(5, 2), '"x"', '"x" is a string', id="text for a decimal"),
        pytest.param(pa.struct([("a", pa.int64())]), "[1]", "is an array", id="an array for an object"),
        pytest.param(pa.struct([("a", pa.int64())]), '{"a": "x"}', '.a: "x" is a string', id="inside an object"),
        pytest.param(pa.list_(pa.int64()), '[1, "x"]', '[1]: "x" is a string', id="inside an array"),
        pytest.param(pa.map_(pa.string(), pa.int64()), '{"k": "x"}', '.k: "x" is a string', id="inside a map"),
    ],
)
def test_a_value_of_another_type_is_set_aside_with_its_column_and_the_whole_row(kind, value, reason):
    line = f'{{"ok": 1, "value": {value}}}'

    rows, [rejected] = parse('{"ok": 0}', line, '{"ok": 2}', schema=pa.schema([("ok", pa.int64()), ("value", kind)]))

    assert [row["ok"] for row in rows] == [0, 2]
    assert reason in rejected["reason"]
    assert (rejected["column"], rejected["rule"], rejected["row"], rejected["line"]) == ("value", "type", line, 2)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        pytest.param(pa.int64(), "9223372036854775807", 2**63 - 1, id="the largest integer"),
        pytest.param(pa.uint64(), "18446744073709551615", 2**64 - 1, id="the largest unsigned integer"),
        pytest.param(pa.int64(), "1.0", 1, id="a whole number written with a point"),
        pytest.param(pa.int64(), "1e3", 1000, id="a whole number written with an exponent"),
        pytest.param(pa.decimal128(38, 19), "1.1000000000000000001", Decimal("1.1000000000000000001"), id="20 digits"),
        pytest.param(pa.decimal128(38, 0), "1" * 38, Decimal("1" * 38), id="38 digits"),
        pytest.param(pa.decimal128(5, 2), "1.50000", Decimal("1.50"), id="zeros behind the scale"),
        pytest.param(pa.decimal128(5, 2), "1e2", Decimal("100.00"), id="a decimal with an exponent"),
        pytest.param(pa.decimal128(5, 2), '"1.5"', Decimal("1.50"), id="a decimal as text"),
        pytest.param(pa.float64(), "0.1", 0.1, id="a double"),
        pytest.param(pa.float64(), "7", 7.0, id="a whole number as a double"),
        pytest.param(pa.string(), '"\\ud83d\\ude00 \\u0000"', "\U0001f600 \0", id="escapes"),
        pytest.param(pa.string(), '"naïve 日本"', "naïve 日本", id="beyond ASCII"),
        pytest.param(pa.string(), '{"a": [1.10,  2]}', '{"a": [1.10,  2]}', id="an object as text"),
        pytest.param(pa.timestamp("us", "UTC"), '"2024-01-01T00:00:00Z"', "2024-01-01T00:00:00Z", id="an instant"),
        pytest.param(pa.date32(), '"2024-01-01"', "2024-01-01", id="a date"),
        pytest.param(pa.binary(), '"YWJj"', "YWJj", id="bytes"),
        pytest.param(pa.bool_(), "true", True, id="a boolean"),
        pytest.param(pa.list_(pa.int8()), "[1, null]", [1, None], id="a list"),
        pytest.param(
            pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))]),
            '{"b": ["x"]}',
            {"a": None, "b": ["x"]},
            id="an object",
        ),
        pytest.param(pa.map_(pa.string(), pa.int64()), '{"a": 1}', [("a", 1)], id="a map"),
        pytest.param(pa.dictionary(pa.int32(), pa.string()), '"x"', "x", id="a dictionary"),
        pytest.param(pa.int64(), "null", None, id="null"),
    ],
)
@pytest.mark.parametrize("company", [pytest.param([], id="alone"), pytest.param(["oops"], id="beside a bad line")])
def test_values_keep_their_meaning_whatever_stands_beside_them(kind, value, expected, company):
    rows, rejected = parse(f'{{"value": {value}}}', *company, schema=pa.schema([("value", kind)]))

    assert rows == [{"value": expected}]
    assert len(rejected) == len(company)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param('{"b": 1.10, "a" : [1e400]}', '{"b": 1.10, "a" : [1e400]}', id="an object, as written"),
        pytest.param("[ ]", "[ ]", id="an array"),
        pytest.param('"x\\n\\ud83d\\ude00"', '"x\\n\\ud83d\\ude00"', id="a string keeps its quotes"),
        pytest.param("0.10", "0.10", id="a number"),
        pytest.param("true", "true", id="a boolean"),
        pytest.param("null", None, id="null is null"),
    ],
)
def test_a_column_of_json_holds_the_text_of_any_value(value, text):
    schema = pa.schema([("id", pa.int64()), pa.field("payload", pa.string(), metadata=JSON_TEXT)])

    rows, rejected = parse(f'{{"x\\"": "payload", "payload": {value}, "id": 1}}', '{"id": 2}', schema=schema)

    assert rows == [{"id": 1, "payload": text}, {"id": 2, "payload": None}]
    assert rejected == []


def test_a_column_of_json_is_found_under_a_key_written_with_escapes_too():
    schema = pa.schema([pa.field("payload", pa.string(), metadata=JSON_TEXT)])

    rows, _ = parse('{"pay\\u006coad": {"a": 1}, "other": 1}', schema=schema)

    assert rows == [{"payload": '{"a": 1}'}]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param('{"payload": {"a": 01}}', id="a bad number in it"),
        pytest.param('{"payload": [NaN]}', id="NaN in it"),
        pytest.param('{"payload": "\\x"}', id="a bad escape"),
        pytest.param('{"payload": tru}', id="a bad word"),
        pytest.param('{"payload": {}', id="not closed"),
        pytest.param('{"payload": {} "id": 1}', id="a comma missing"),
    ],
)
def test_json_that_is_none_is_malformed_in_a_column_of_json_too(line):
    schema = pa.schema([("id", pa.int64()), pa.field("payload", pa.string(), metadata=JSON_TEXT)])

    rows, [rejected] = parse(line, '{"id": 2}', schema=schema)

    assert rows == [{"id": 2, "payload": None}]
    assert rejected["rule"] == "malformed"


def test_json_texts_inside_an_object_are_read_too():
    inner = pa.struct([pa.field("payload", pa.string(), metadata=JSON_TEXT), pa.field("n", pa.decimal128(4, 2))])

    rows, _ = parse(
        '{"it": {"payload": "x", "n": 1.5}}', '{"it": {"payload": [1.50]}}', schema=pa.schema([("it", inner)])
    )

    assert rows == [{"it": {"payload": '"x"', "n": Decimal("1.50")}}, {"it": {"payload": "[1.50]", "n": None}}]


def test_keys_beyond_the_schema_are_named_once_a_file(tmp_path, read_files):
    lines = [f'{{"id": {number}, "age": 3, "address": {{"zip": "1", "street": "x"}}}}' for number in range(5000)]
    path = write(tmp_path, *lines, '{"id": 7, "late": true}')
    schema = pa.schema([("id", pa.int64()), ("address", pa.struct([("zip", pa.string())]))])

    reading = read_files(JsonLinesReader, path, schema, batch_bytes=64 * 2**10)

    assert len(reading.rows) == 5001
    assert reading.rows[0] == {"id": 0, "address": {"zip": "1"}}
    assert [text.partition("schema: ")[2] for text in reading.warnings] == [
        "age, address.street; they are left out",
        "late; they are left out",
    ]


def test_keys_beyond_the_schema_may_hold_anything(tmp_path, read_files):
    lines = [f'{{"id": {number}, "extra": {"[1]" if number % 2 else "true"}}}' for number in range(9000)]
    path = write(tmp_path, *lines, '{"id": 1, "extra": NaN}')

    reading = read_files(JsonLinesReader, path, PAIR, batch_bytes=64 * 2**10)

    assert len(reading.rows) == 9000
    assert len(reading.warnings) == 1
    assert [row["line"] for row in reading.rejected] == [9001]


def test_keys_beyond_the_schema_fail_the_stream_that_forbids_them(tmp_path, read_files):
    path = write(tmp_path, '{"id": 1}', '{"id": 2, "age": 3}')

    with pytest.raises(DataValidationError, match="columns that are not in the schema: age"):
        read_files(JsonLinesReader, path, PAIR, extra_columns="fail")


def test_missing_keys_are_null():
    rows, rejected = parse("{}", '{"name": "x"}')

    assert rows == [{"id": None, "name": None}, {"id": None, "name": "x"}]
    assert rejected == []


def test_a_packed_file_is_read_and_a_truncated_one_is_a_format_error(tmp_path, read_files):
    whole = gzip.compress(b"".join(b'{"id": %d}\n' % number for number in range(10_000)))
    path = tmp_path / "people.jsonl.gz"
    path.write_bytes(whole)

    assert len(read_files(JsonLinesReader, path, PAIR).rows) == 10_000
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataFormatError, match="truncated gzip"):
        read_files(JsonLinesReader, path, PAIR)


@given(bad=st.sets(st.integers(0, 999), max_size=20), blank=st.sets(st.integers(0, 999), max_size=3))
def test_bad_lines_are_found_wherever_they_stand_in_a_large_block(bad, blank):
    lines = [f'{{"id": {number}}}' for number in range(1000)]
    for number in bad:
        lines[number] = ("oops", "null", '{"id": "x"}')[number % 3]
    for number in blank:
        lines[number] = ""
    raw = "\n".join(lines).encode()

    parsed = RecordParser(PAIR, "file").parse(Block(raw, 1))

    good = [number for number in range(1000) if number not in bad | blank]
    assert parsed.batch.column("id").to_pylist() == good
    assert [line - 1 for line in parsed.lines] == good
    assert [row["line"] - 1 for row in parsed.rejected] == sorted(bad - blank)


def test_an_empty_file_has_no_rows(tmp_path, read_files):
    path = write(tmp_path)

    assert read_files(JsonLinesReader, path, PAIR).rows == []


def test_a_file_in_utf_16_is_a_format_error_that_says_how_to_convert_it(tmp_path, read_files):
    path = tmp_path / "people.jsonl"
    path.write_bytes('{"id": 1}\n'.encode("utf-16"))

    with pytest.raises(DataFormatError, match="UTF-16") as caught:
        read_files(JsonLinesReader, path, PAIR)

    assert "iconv" in str(caught.value.hint)


def test_a_file_without_any_object_is_a_format_error_when_its_columns_are_asked_for(tmp_path, read_files):
    path = write(tmp_path, "id,name", "1,Ann")

    with pytest.raises(DataFormatError, match=r"people.jsonl:1: not JSON"):
        read_files(JsonLinesReader, path)


def test_a_file_that_grew_is_read_from_where_it_ended(tmp_path, read_files):
    path = write(tmp_path, '{"id": 1}', '{"id": 2}')
    state = read_files(JsonLinesReader, path, PAIR, mode="incremental").state
    with path.open("ab") as file:
        file.write(b'{"id": 3}\noops\n')

    reading = read_files(JsonLinesReader, path, PAIR, mode="incremental", state=state)

    assert [row["id"] for row in reading.rows] == [3]
    assert reading.lines == [3]
    assert [row["line"] for row in reading.rejected] == [4]


def test_threads_keep_the_order_and_all_bytes_are_counted(tmp_path, read_files):
    path = write(tmp_path, *(f'{{"id": {number}, "name": "{"x" * (number % 90)}"}}' for number in range(20_000)))

    reading = read_files(JsonLinesReader, path, PAIR, parallelism=3, batch_bytes=32 * 2**10)

    assert [row["id"] for row in reading.rows] == list(range(20_000))
    assert reading.lines == list(range(1, 20_001))
    assert len(reading.batches) > 10
    assert reading.source_bytes == path.stat().st_size


@given(
    data=st.lists(st.sampled_from([b"{", b"}", b"\n", b"\r\n", b"abc", b'"', "é".encode()]), max_size=60).map(b"".join),
    block_bytes=st.integers(1, 40),
)
def test_blocks_are_whole_lines_and_together_the_file(data, block_bytes):
    blocks = list(line_blocks(io.BytesIO(data), "file", block_bytes=block_bytes))

    assert b"".join(block.raw for block in blocks) == data
    assert all(block.raw.endswith(b"\n") for block in blocks[:-1])
    assert [block.line for block in blocks] == [
        1 + b"".join(block.raw for block in blocks[:number]).count(b"\n") for number in range(len(blocks))
    ]


def test_a_line_that_never_ends_is_a_format_error():
    with pytest.raises(DataFormatError, match="record at byte 3 is longer"):
        list(line_blocks(io.BytesIO(b"{}\n" + b"x" * 100), "file", block_bytes=10, max_record_bytes=50))


VALUES = st.sampled_from(
    [
        *("1", "-0", "1.0", "1e3", "1.5", "1e39", "1e400", "12345.6", "99999999999999999999", "01", "NaN"),
        *("true", "tru", "null", '"x"', '"1.5"', '"\\ud83d"', '"NaN"', '"é"'),
        *("{}", '{"b": 1}', '{"b": "x"}', '{"b": 1, "c": 2}', "[]", "[1]", '["x", null]'),
    ]
)
KINDS = st.sampled_from(
    [
        *(pa.int64(), pa.int8(), pa.float64(), pa.float32(), pa.decimal128(6, 2), pa.bool_(), pa.string()),
        *(pa.timestamp("us", "UTC"), pa.list_(pa.int64()), pa.list_(pa.decimal128(6, 2)), pa.list_(pa.float32())),
        *(pa.struct([("b", pa.int64())]), pa.struct([("b", pa.float64()), ("c", pa.string())])),
    ]
)


@given(lines=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6), kinds=st.tuples(KINDS, KINDS))
def test_what_becomes_of_a_line_does_not_depend_on_its_neighbours(lines, kinds):
    schema = pa.schema([("a", kinds[0]), pa.field("j", pa.string(), metadata=JSON_TEXT), ("z", kinds[1])])
    texts = [f'{{"a": {a}, "j": {z}, "z": {z}, "extra": {a}}}' for a, z in lines]

    together_rows, together_rejected = parse(*texts, schema=schema)
    alone = [parse(text, schema=schema) for text in texts]

    assert together_rows == [row for rows, _ in alone for row in rows]
    assert [{**row, "line": 1} for row in together_rejected] == [row for _, rejected in alone for row in rejected]


TEXTS = st.text(st.sampled_from([*'ab"\\/{}[]:, \n\t\0', "é", "日", "\U0001f600", "\u2028"]), max_size=6)
OBJECTS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "number": st.integers(-(2**63), 2**63 - 1),
            "name": TEXTS,
            "on": st.booleans(),
            "tags": st.lists(TEXTS, max_size=3),
            "ratio": st.floats(allow_nan=False, allow_infinity=False) | st.none(),
        },
    ),
    max_size=8,
)
SHAPE = pa.schema(
    [
        ("number", pa.int64()),
        ("name", pa.string()),
        ("on", pa.bool_()),
        ("tags", pa.list_(pa.string())),
        ("ratio", pa.float64()),
    ]
)


@given(objects=OBJECTS, ascii_only=st.booleans(), block_bytes=st.integers(1, 200))
def test_objects_written_as_lines_read_back_equal(objects, ascii_only, block_bytes):
    text = "".join(json.dumps(item, ensure_ascii=ascii_only) + "\n" for item in objects)
    parser = RecordParser(SHAPE, "file")

    parsed = [parser.parse(block) for block in line_blocks(io.BytesIO(text.encode()), "file", block_bytes=block_bytes)]

    assert [row for part in parsed for row in part.batch.to_pylist()] == [
        {name: item.get(name) for name in SHAPE.names} for item in objects
    ]
    assert not any(part.rejected for part in parsed)


_MEASURE = """
import re, sys
import pyarrow as pa
from dativo_ingest.sources.json import JsonLinesReader
from dativo_plugin_sdk import Rows, SourceConfig, StreamSpec
reader = JsonLinesReader(SourceConfig(type="jsonl", connection={"path": sys.argv[1]}))
schema = pa.schema([("id", pa.int64()), pa.field("payload", pa.string(), metadata={"dativo.logical_type": "json"})])
stream = StreamSpec("cells", schema=schema, batch_bytes=16 * 2**20, parallelism=2)
[partition] = reader.partitions(stream, None)
rows = sum(message.batch.num_rows for message in reader.read(stream, partition, None) if isinstance(message, Rows))
print(rows, int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) // 1024)
"""


def test_cells_of_five_megabytes_take_a_bounded_memory(tmp_path):
    cell = json.dumps([{"a": number, "b": "x" * 20} for number in range(120_000)])
    path = write(tmp_path, *(f'{{"id": {number}, "payload": {cell}}}' for number in range(16)))

    done = subprocess.run([sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, check=True)

    rows, peak_mb = map(int, done.stdout.split())
    assert rows == 16
    assert peak_mb < 400


def test_objects_of_a_thousand_keys_are_read(tmp_path, read_files):
    line = json.dumps({f"key_{number}": number for number in range(1000)})
    path = write(tmp_path, *[line] * 200)

    reading = read_files(JsonLinesReader, path)

    assert len(reading.rows) == 200
    assert reading.schema is not None
    assert len(reading.schema) == 1000
    assert reading.rows[0]["key_999"] == 999


def test_rows_of_a_stream_whose_beginning_shows_no_columns_are_an_error_and_not_lost(tmp_path, read_files):
    write(tmp_path, "{}", '{"id": 1}')

    with pytest.raises(DataFormatError, match=r"people\.jsonl:1: a row, and the stream has no columns"):
        read_files(JsonLinesReader, tmp_path, pa.schema([]))
