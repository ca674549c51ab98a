from __future__ import annotations

import gzip
import io
import json
import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from dativo_ingest.sources.json import JsonReader
from dativo_ingest.sources.json_array import element_blocks
from dativo_ingest.sources.json_parse import RecordParser
from dativo_plugin_sdk import DataFormatError, InvalidConfigError

PAIR = pa.schema([("id", pa.int64()), ("name", pa.string())])


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "people.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def elements(text: bytes, *path: str, block_bytes: int = 7) -> list[bytes]:
    blocks = element_blocks(io.BytesIO(text), "file", path, block_bytes=block_bytes)
    return [record.text for block in blocks for record in block.records()]


def test_each_element_is_a_row(tmp_path, read_files):
    path = write(tmp_path, '[{"id": 1, "name": "Ann"}, {"id": 2, "name": "Ben"}]')

    reading = read_files(JsonReader, path, PAIR)

    assert reading.rows == [{"id": 1, "name": "Ann"}, {"id": 2, "name": "Ben"}]
    assert reading.rejected == []


def test_elements_may_be_written_over_several_lines_and_know_where_they_begin(tmp_path, read_files):
    path = write(tmp_path, json.dumps([{"id": 1, "name": "a"}, {"id": "x"}, {"id": 3, "name": "c"}], indent=2))

    reading = read_files(JsonReader, path, PAIR)

    assert [row["id"] for row in reading.rows] == [1, 3]
    assert reading.lines == [2, 9]
    [rejected] = reading.rejected
    assert (rejected["line"], rejected["column"], rejected["rule"]) == (6, "id", "type")
    assert rejected["reason"] == 'element 2: "x" is a string, int64 was expected'
    assert json.loads(rejected["row"]) == {"id": "x"}


@pytest.mark.parametrize(
    ("document", "records_path"),
    [
        pytest.param('{"data": {"items": [{"id": 1}, {"id": 2}]}}', "data.items", id="nested"),
        pytest.param('{"a.b": [{"id": 1}, {"id": 2}]}', ["a.b"], id="a key with a dot"),
        pytest.param('{"d\\u0061ta": [{"id": 1}, {"id": 2}]}', "data", id="a key written with escapes"),
        pytest.param(
            '{"meta": {"data": [{"id": 9}], "x": "}]\\\\\\""}, "n": -1.5e3, "t": true, "e": [], "data": [{"id": 1}\n'
            ',{"id": 2}], "after": {"data": [1]}}\n\n',
            "data",
            id="between other members",
        ),
        pytest.param('\ufeff \n{"data": [{"id": 1}, {"id": 2}]}', "data", id="behind a byte order mark"),
    ],
)
def test_the_array_may_stand_anywhere_in_the_document(tmp_path, read_files, document, records_path):
    path = write(tmp_path, document)

    reading = read_files(JsonReader, path, PAIR, records_path=records_path)

    assert [row["id"] for row in reading.rows] == [1, 2]


@pytest.mark.parametrize(
    ("document", "records_path", "ids"),
    [
        pytest.param('{"id": 1}', None, [1], id="the file is one object"),
        pytest.param('\n{\n"id": 1,\n"name": "}"\n}\n', None, [1], id="over several lines"),
        pytest.param('{"data": {"id": 1}, "x": 1}', "data", [1], id="one object at the path"),
        pytest.param('{"data": null, "x": 1}', "data", [], id="null at the path"),
        pytest.param("[]", None, [], id="an empty array"),
        pytest.param(" [ \n ] ", None, [], id="an empty array with spaces"),
        pytest.param('{"data": []}', "data", [], id="an empty array at the path"),
    ],
)
def test_a_lone_object_is_one_row_and_nothing_is_none(tmp_path, read_files, document, records_path, ids):
    path = write(tmp_path, document)

    reading = read_files(JsonReader, path, PAIR, records_path=records_path)

    assert [row["id"] for row in reading.rows] == ids


def test_elements_that_are_no_objects_are_set_aside_with_number_and_line(tmp_path, read_files):
    path = write(tmp_path, '[1, {"id": 1},\n"a, ]\\"b" , [{"id": 9}],\n null,{"id": 2}, {"id": 01}, true]')

    reading = read_files(JsonReader, path, PAIR)

    assert [row["id"] for row in reading.rows] == [1, 2]
    assert [(row["line"], row["reason"], json.loads(row["row"])) for row in reading.rejected] == [
        (1, "element 1: not a JSON object but a number", "1"),
        (2, "element 3: not a JSON object but a string", '"a, ]\\"b"'),
        (2, "element 4: not a JSON object but an array", '[{"id": 9}]'),
        (3, "element 5: not a JSON object but null", "null"),
        (3, "element 7: not JSON: Expecting ',' delimiter at character 9", '{"id": 01}'),
        (3, "element 8: not a JSON object but a boolean", "true"),
    ]


@pytest.mark.parametrize(
    ("text", "offset", "reason"),
    [
        pytest.param(b"", 0, "the file is empty", id="empty"),
        pytest.param(b" \n ", 3, "a value was expected", id="only spaces"),
        pytest.param(b'[{"id": 1}, {"id": 2', 20, "inside an element, after 1 whole", id="cut in an element"),
        pytest.param(b'[{"id": 1}, {"id": "2', 21, "inside a string, after 1 whole", id="cut in a string"),
        pytest.param(b'[{"id": 1}, {"id": "2\\', 22, "inside a string, after 1 whole", id="cut in an escape"),
        pytest.param(b'[{"id": 1}', 10, "inside the array, after 1 whole", id="cut behind an element"),
        pytest.param(b'{"id": 1', 8, "inside an element, after 0 whole", id="cut in the one object"),
        pytest.param(b'[{"id": 1}] x', 12, "more follows the end", id="more behind the array"),
        pytest.param(b'{"id": 1}\n{"id": 2}\n', 10, "more follows the end", id="one object a line"),
        pytest.param(b'[{"id": 1} {"id": 2}]', 11, "',' was expected", id="no comma"),
        pytest.param(b'[{"id": 1},]', 11, "expected behind ','", id="a comma before the end"),
        pytest.param(b'[,{"id": 1}]', 1, "',' stands where", id="a comma first"),
        pytest.param(b'[{"id": 1},,{"id": 2}]', 11, "',' stands where", id="two commas"),
        pytest.param(b'[{"id": 1}}', 10, "'}' stands where ']' was expected", id="another bracket"),
        pytest.param(b"[1 2]", 3, "',' was expected", id="no comma between numbers"),
        pytest.param(b'"text"', 0, "an array of objects or an object", id="a string"),
        pytest.param(b"id,name\n1,Ann\n", 0, "an array of objects or an object", id="CSV"),
        pytest.param(b"\x1f\x8b\x08\x00", 0, "an array of objects or an object", id="gzip without its suffix"),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 4, 1000])
def test_a_document_that_is_broken_around_its_elements_is_a_format_error_with_its_byte(
    text, offset, reason, block_bytes
):
    with pytest.raises(DataFormatError) as caught:
        elements(text, block_bytes=block_bytes)

    assert reason in str(caught.value)
    assert caught.value.details["offset"] == offset


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        pytest.param(b'{"meta": 1, "rows": []}', ["data"], "no key 'data'; there are meta, rows", id="no such key"),
        pytest.param(b"[]", ["data"], "the file is no object", id="an array"),
        pytest.param(b'{"data": [1]}', ["data", "items"], "data is no object", id="an array on the way"),
        pytest.param(b'{"data": 1}', ["data"], "an array of objects or an object", id="a number"),
        pytest.param(b'{"data": [{}], "data": []}', ["data"], "a second time", id="twice"),
        pytest.param(b'{"data": [{}]', ["data"], "cut short", id="cut behind the array"),
        pytest.param(b'{"data": [{}], "x": {"y": 1', ["data"], "ends inside a value", id="cut in a member behind"),
        pytest.param(b'{"data": [{}], "x": "abc', ["data"], "ends inside a string", id="cut in a string behind"),
        pytest.param(b'{"x": "abc\\', ["data"], "ends inside a string", id="cut in an escape before"),
        pytest.param(b'{"x', ["data"], "ends inside a key", id="cut in a key"),
        pytest.param(b'{"x": ', ["data"], "a value was expected", id="cut before a value"),
        pytest.param(b'{"x" 1}', ["data"], "'1' stands where ':' was expected", id="no colon"),
        pytest.param(b'{"x": 1 "y": 2}', ["data"], "where ',' was expected", id="no comma"),
        pytest.param(b'{"\\x": 1}', ["data"], "no JSON string", id="a bad escape in a key"),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 1000])
def test_a_records_path_that_cannot_be_followed_is_a_format_error(text, path, reason, block_bytes):
    with pytest.raises(DataFormatError) as caught:
        elements(text, *path, block_bytes=block_bytes)

    assert reason in str(caught.value)


def test_a_truncated_file_yields_no_state(tmp_path, read_files):
    whole = json.dumps([{"id": number, "name": "x"} for number in range(5000)])
    path = write(tmp_path, whole[:-20])

    with pytest.raises(DataFormatError, match=r"byte \d+, line 1: the file ends"):
        read_files(JsonReader, path, PAIR, batch_bytes=1000)


def test_an_element_that_never_ends_is_a_format_error():
    text = io.BytesIO(b'[{"id": 1}, {"items": [' + b"1, " * 100)

    with pytest.raises(DataFormatError, match="record at byte 10 is longer") as caught:
        list(element_blocks(text, "file", block_bytes=16, max_record_bytes=100))

    assert "records_path" in str(caught.value.hint)


def test_bad_elements_are_found_wherever_they_stand_in_a_large_block():
    texts = [json.dumps({"id": number}, indent=1) for number in range(1000)]
    texts[7] = texts[900] = "17"
    texts[500] = '{"id": "x"}'
    [block] = element_blocks(io.BytesIO(f"[{','.join(texts)}]".encode()), "file", block_bytes=10**6)

    parsed = RecordParser(PAIR, "file").parse(block)

    assert parsed.batch.column("id").to_pylist() == [number for number in range(1000) if number not in {7, 500, 900}]
    assert [row["reason"].partition(":")[0] for row in parsed.rejected] == ["element 8", "element 501", "element 901"]
    assert [row["line"] for row in parsed.rejected] == [15, 999, 1797]
    assert parsed.lines[-1] == 1993


def test_a_packed_array_is_read_in_bounded_blocks(tmp_path, read_files):
    objects = [{"id": number, "name": '\\"[{,}]' * (number % 40)} for number in range(20_000)]
    path = tmp_path / "people.json.gz"
    path.write_bytes(gzip.compress(json.dumps(objects).encode()))

    reading = read_files(JsonReader, path, batch_bytes=64 * 2**10, parallelism=2)

    assert reading.rows == objects
    assert max(batch.nbytes for batch in reading.batches) < 128 * 2**10
    assert reading.source_bytes == path.stat().st_size


def test_only_files_named_json_are_read_from_a_folder(tmp_path, read_files):
    write(tmp_path, '[{"id": 1}]')
    (tmp_path / "people.jsonl").write_text('{"id": 2}\n')

    reading = read_files(JsonReader, tmp_path, PAIR)

    assert [row["id"] for row in reading.rows] == [1]


def test_an_unknown_option_is_refused(tmp_path, read_files):
    with pytest.raises(InvalidConfigError, match="record_path: unknown key, did you mean records_path"):
        read_files(JsonReader, write(tmp_path, "[]"), PAIR, record_path="data")


TEXTS = st.text(st.sampled_from([*'ab"\\/{}[]:, \n\t\0', "é", "日", "\U0001f600"]), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=3) | VALUES, max_size=6)


def spaced(value: object, chance: random.Random) -> str:
    """Write JSON with white space wherever it may stand."""

    def gap() -> str:
        return chance.choice(["", "", " ", "\n", "\r\n", "\t "])

    if isinstance(value, dict):
        members = [f"{gap()}{json.dumps(key)}{gap()}:{spaced(member, chance)}" for key, member in value.items()]
        text = f"{{{','.join(members)}{gap()}}}"
    elif isinstance(value, list):
        text = f"[{','.join(spaced(item, chance) for item in value)}{gap()}]"
    else:
        text = json.dumps(value, ensure_ascii=chance.random() < 0.5)
    return f"{gap()}{text}{gap()}"


@given(document=DOCUMENTS, chance=st.randoms(use_true_random=False), block_bytes=st.integers(1, 60))
def test_whatever_stands_in_an_array_is_cut_out_whole(document, chance, block_bytes):
    text = spaced(document, chance).encode()

    found = elements(text, block_bytes=block_bytes)

    assert [json.loads(element) for element in found] == document


@given(document=DOCUMENTS, before=VALUES, after=VALUES, chance=st.randoms(use_true_random=False))
def test_an_array_is_found_between_any_other_members(document, before, after, chance):
    text = spaced({"before": before, "at": {"b": before, "rows": document, "a": after}, "after": after}, chance)

    found = elements(text.encode(), "at", "rows", block_bytes=5)

    assert [json.loads(element) for element in found] == document


@given(document=DOCUMENTS, chance=st.randoms(use_true_random=False), block_bytes=st.integers(1, 60), data=st.data())
def test_an_array_cut_anywhere_is_a_format_error(document, chance, block_bytes, data):
    text = spaced(document, chance).encode().rstrip()
    end = data.draw(st.integers(0, len(text) - 1))

    with pytest.raises(DataFormatError):
        elements(text[:end], block_bytes=block_bytes)


OBJECTS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "number": st.integers(-(2**63), 2**63 - 1),
            "name": TEXTS,
            "tags": st.lists(TEXTS, max_size=3),
            "ratio": st.floats(allow_nan=False, allow_infinity=False) | st.none(),
        },
    ),
    max_size=8,
)
SHAPE = pa.schema(
    [("number", pa.int64()), ("name", pa.string()), ("tags", pa.list_(pa.string())), ("ratio", pa.float64())]
)


@given(objects=OBJECTS, chance=st.randoms(use_true_random=False), block_bytes=st.integers(1, 200))
def test_objects_written_as_an_array_read_back_equal(objects, chance, block_bytes):
    text = spaced(objects, chance).encode()
    parser = RecordParser(SHAPE, "file")

    parsed = [parser.parse(block) for block in element_blocks(io.BytesIO(text), "file", block_bytes=block_bytes)]

    assert [row for part in parsed for row in part.batch.to_pylist()] == [
        {name: item.get(name) for name in SHAPE.names} for item in objects
    ]
    assert not any(part.rejected for part in parsed)
