import math

import pytest
import yaml
from hypothesis import given, strategies as st

from dativo_ingest.job.files import MAX_BYTES
from dativo_ingest.job.problems import Loc, Position
from dativo_ingest.job.yaml_nodes import read_document
from dativo_plugin_sdk.errors import InvalidConfigError


def refused(text: str | bytes) -> str:
    with pytest.raises(InvalidConfigError) as caught:
        read_document(text if isinstance(text, bytes) else text.encode(), "job.yaml")
    return f"{caught.value.message} | {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("no", "no", id="no is text"),
        pytest.param("on", "on", id="on is text"),
        pytest.param("2024-01-01", "2024-01-01", id="a date is text"),
        pytest.param("12:30", "12:30", id="a time is text"),
        pytest.param("0123", "0123", id="leading zeros stay"),
        pytest.param("1_000", "1_000", id="underscores are text"),
        pytest.param("true", True, id="true"),
        pytest.param("False", False, id="False"),
        pytest.param("~", None, id="tilde"),
        pytest.param("", None, id="nothing"),
        pytest.param("12", 12, id="int"),
        pytest.param("-3", -3, id="negative"),
        pytest.param("0x1F", 31, id="hexadecimal"),
        pytest.param("0o17", 15, id="octal"),
        pytest.param("1e3", 1000.0, id="exponent"),
        pytest.param("1.50", 1.5, id="float"),
        pytest.param(".inf", math.inf, id="infinity"),
        pytest.param("-.inf", -math.inf, id="negative infinity"),
        pytest.param('"12"', "12", id="quoted"),
        pytest.param("!!str 12", "12", id="tagged text"),
        pytest.param("! 12", "12", id="non-specific tag"),
        pytest.param("!!float 3", 3.0, id="tagged float"),
        pytest.param("!!int '7'", 7, id="tagged int in quotes"),
        pytest.param("9" * 5000, "9" * 5000, id="more digits than an int takes"),
    ],
)
def test_scalars_follow_the_core_schema(text: str, expected: object) -> None:
    value = read_document(f"key: {text}\n".encode(), "job.yaml").data["key"]

    assert value == expected
    assert type(value) is type(expected)


def test_every_key_and_item_has_its_line_and_column() -> None:
    document = read_document(b"a: 1\nb:\n  c: [x, {d: y}]\n  e: z\n", "job.yaml")

    assert document.keys == {
        ("a",): Position(1, 1),
        ("b",): Position(2, 1),
        ("b", "c"): Position(3, 3),
        ("b", "c", 0): Position(3, 7),
        ("b", "c", 1): Position(3, 10),
        ("b", "c", 1, "d"): Position(3, 11),
        ("b", "e"): Position(4, 3),
    }
    assert document.values["b", "e"] == Position(4, 6)


def test_a_key_that_is_not_there_has_the_place_of_the_nearest_above_it() -> None:
    document = read_document(b"a:\n  b: 1\n", "job.yaml")

    assert document.position(("a", "x", "y")) == Position(1, 1)
    assert document.position(("a", "b", "y")) == Position(2, 3)
    assert document.position(("z",)) == Position(1, 1)


def test_columns_count_characters_and_a_byte_order_mark_is_no_character() -> None:
    document = read_document("\ufeffä: {ö: 1, ü: 2}\n".encode(), "job.yaml")

    assert document.keys["ä", "ü"] == Position(1, 11)


def test_keys_given_twice_are_all_listed_with_both_places() -> None:
    message = refused("a: 1\nb: {c: 2, c: 3}\na: 2\n")

    assert "job.yaml:2:11 b.c: the key is given twice, first at 2:5" in message
    assert "job.yaml:3:1 a: the key is given twice, first at 1:1" in message


def test_aliases_and_merge_keys_are_filled_in_and_own_keys_go_first() -> None:
    text = b"""
base: &base {mode: incremental, write: append}
more: &more {write: merge, cursor: at}
a: *base
b:
  <<: [*base, *more]
  mode: cdc
"""
    document = read_document(text, "job.yaml")

    assert document.data["a"] == {"mode": "incremental", "write": "append"}
    assert document.data["b"] == {"mode": "cdc", "write": "append", "cursor": "at"}
    assert document.keys["b", "mode"] == Position(7, 3)
    assert document.keys["b", "cursor"] == Position(3, 28)


def test_what_an_alias_brings_is_not_shared() -> None:
    data = read_document(b"a: &x {k: [1]}\nb: *x\n", "job.yaml").data

    assert data["a"] == data["b"]
    assert data["a"] is not data["b"]
    assert data["a"]["k"] is not data["b"]["k"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "job.yaml:1:1 the file is empty", id="empty"),
        pytest.param("# only this\n", "job.yaml:1:1 the file is empty", id="comment only"),
        pytest.param("- a\n", "job.yaml:1:1 the top level must be keys and values", id="a list"),
        pytest.param("text\n", "job.yaml:1:1 the top level must be keys and values", id="a text"),
        pytest.param("a: [1\nb: 2\n", "job.yaml:2:2 not YAML", id="syntax"),
        pytest.param("a: &x [*x]\n", "job.yaml:1:8 the alias *x stands inside its own anchor", id="recursion"),
        pytest.param("a: *x\n", "job.yaml:1:4 there is no anchor &x", id="no anchor"),
        pytest.param("a: 1\n---\nb: 2\n", "job.yaml:2:1 a second document", id="two documents"),
        pytest.param("? [a]\n: b\n", "job.yaml:1:3 a key must be plain text", id="a list as a key"),
        pytest.param("a: !!python/name:os.system x\n", "job.yaml:1:4 the tag !!python/name:os.system", id="python tag"),
        pytest.param("a: !own {b: 1}\n", "job.yaml:1:4 the tag !own is not allowed", id="own tag"),
        pytest.param("a: !!int x\n", "job.yaml:1:4 a: this is not what its tag !!int says", id="wrong tag"),
        pytest.param("<<: 3\n", "job.yaml:1:5 << merges keys and values", id="merging a number"),
        pytest.param("a: b\nc: \x00\n", "job.yaml:2:4 a control character", id="control character"),
        pytest.param(b"a: b\nc: d\xff\n", "job.yaml:2:5 not UTF-8: byte 0xff", id="not UTF-8"),
        pytest.param("a: 1".encode("utf-16"), "job.yaml:1:1 not UTF-8", id="UTF-16"),
        pytest.param("a:\n\t- b\n", "indent with spaces", id="tab"),
        pytest.param("a: {b: ${C}}\n", "in quotes", id="reference without quotes in a flow mapping"),
        pytest.param("[" * 100_000, "nested more than 64 deep", id="brackets without end"),
        pytest.param("- " * 100_000, "nested more than 64 deep", id="dashes without end"),
        pytest.param("{a: " * 100_000, "nested more than 64 deep", id="braces without end"),
        pytest.param(b" " * (MAX_BYTES + 1), "larger than 4 MiB", id="huge"),
    ],
)
def test_what_is_no_job_file_is_refused_with_its_place(text: str | bytes, expected: str) -> None:
    assert expected in refused(text)


def test_aliases_that_multiply_are_refused_in_bounded_time() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]

    assert "aliases filled in" in refused("\n".join(lines))


def test_merge_keys_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12)]

    assert "aliases filled in" in refused("\n".join(lines))


def test_aliases_that_nest_deeper_than_the_file_are_refused() -> None:
    deep = "[" * 40 + "x" + "]" * 40
    text = f"a: &a {deep}\nb: " + "[" * 40 + "*a" + "]" * 40 + "\n"

    assert "nested more than 64 deep, aliases filled in" in refused(text)


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]))
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)


def ways(data: object, loc: Loc = ()) -> list[Loc]:
    if isinstance(data, dict):
        return [way for key, value in data.items() for way in [(*loc, key), *ways(value, (*loc, key))]]
    if isinstance(data, list):
        return [way for index, value in enumerate(data) for way in [(*loc, index), *ways(value, (*loc, index))]]
    return []


@given(st.dictionaries(KEYS, TREES, min_size=1, max_size=4), st.booleans())
def test_what_was_written_is_read_back_and_each_key_stands_where_it_is_said_to(data: dict, flow: bool) -> None:
    text = yaml.safe_dump(data, allow_unicode=True, default_flow_style=flow, default_style='"', width=10**6)

    document = read_document(text.encode(), "job.yaml")

    assert document.data == data
    assert set(document.keys) == set(ways(data))
    lines = text.split("\n")
    for loc, position in document.keys.items():
        if isinstance(loc[-1], str) and loc[-1].isalnum() and loc[-1].isascii():
            assert lines[position.line - 1][position.column - 1 :].lstrip('?"! ').startswith(loc[-1])


@given(st.binary(max_size=60) | st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,? \n\t<~1.", max_size=60).map(str.encode))
def test_any_bytes_give_a_document_or_our_error(raw: bytes) -> None:
    caught: InvalidConfigError | None = None

    try:
        read_document(raw, "job.yaml")
    except InvalidConfigError as error:
        caught = error

    assert caught is None or caught.message.startswith("job.yaml:")


def test_two_thousand_streams_are_read_with_positions() -> None:
    text = "streams:\n" + "".join(f"  s{i}: {{mode: full_refresh, path: a/{i}}}\n" for i in range(2000))

    document = read_document(text.encode(), "job.yaml")

    assert document.keys["streams", "s1999", "path"].line == 2001
