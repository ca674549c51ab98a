from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, strategies
from mysql_rows import block

from dativo_ingest.sources.mysql.native_types import native_type
from dativo_ingest.sources.mysql.rows import ReadColumn, RowBlock, RowParser


def columns(*types: str) -> list[ReadColumn]:
    return [ReadColumn(f"c{number}", native_type(each)) for number, each in enumerate(types)]


def read(types: list[str], found: RowBlock) -> list[pa.RecordBatch]:
    return list(RowParser(columns(*types)).parse(found))


def test_values_become_what_their_types_are() -> None:
    (batch,) = read(
        ["int(11)", "decimal(5,2)", "date", "varchar(9)", "blob", "bit(1)", "timestamp(6)", "double"],
        block(
            [
                [b"-7", b"1.50", b"2024-02-29", b"a", b"\x00\n\xff", b"1", b"2024-02-29 01:02:03.000004", b"1e-7"],
                [None] * 8,
                [b"0", b"-0.01", b"0001-01-01", b"", b"", b"0", b"9999-12-31 23:59:59.999999", b"-0"],
            ]
        ),
    )

    assert batch.schema.types == [
        pa.int32(),
        pa.decimal128(5, 2),
        pa.date32(),
        pa.string(),
        pa.binary(),
        pa.bool_(),
        pa.timestamp("us", "UTC"),
        pa.float64(),
    ]
    assert [str(value) for value in batch.slice(0, 1).to_pylist()[0].values()] == [
        "-7",
        "1.50",
        "2024-02-29",
        "a",
        r"b'\x00\n\xff'",
        "True",
        "2024-02-29 01:02:03.000004+00:00",
        "1e-07",
    ]
    assert all(value is None for value in batch.slice(1, 1).to_pylist()[0].values())
    assert batch["c1"][2].as_py() == Decimal("-0.01")
    assert (batch["c3"][2].as_py(), batch["c4"][2].as_py()) == ("", b"")


@pytest.mark.parametrize(
    "text",
    ["a\nb", "a\r\nb", "\x01", "\t", "\n", "\n   \x01", '"', "\\N", "\x00", "a" * 250, "a" * 251, "é" * 70_000],
    ids=repr,
)
def test_text_of_any_kind_comes_as_it_is_and_so_do_its_neighbours(text: str) -> None:
    rows: list[list[bytes | None]] = [[b"1", text.encode(), b"2"], [b"3", None, b"4"], [b"5", b"plain", b"6"]]

    (batch,) = read(["int", "text", "int"], block(rows, before=b"before"))

    assert batch.to_pydict() == {"c0": [1, 3, 5], "c1": [text, None, "plain"], "c2": [2, 4, 6]}


cell = strategies.one_of(
    strategies.none(),
    strategies.text(max_size=20).map(str.encode),
    strategies.sampled_from([b"\n", b"\r", b"\x01", b"x" * 251, b"\n" * 300, b"\xf0\x9f\x98\x80" * 80]),
)


@given(
    strategies.integers(1, 4).flatmap(
        lambda width: strategies.lists(strategies.lists(cell, min_size=width, max_size=width), min_size=1, max_size=12)
    )
)
def test_any_rows_of_text_and_bytes_come_as_they_are(rows: list[list[bytes | None]]) -> None:
    types = ["text" if number % 2 == 0 else "blob" for number in range(len(rows[0]))]

    (batch,) = read(types, block(rows))

    assert batch.schema.types == [pa.string() if each == "text" else pa.binary() for each in types]
    given_back = [column.cast(pa.binary()).to_pylist() for column in batch.columns]
    assert [list(values) for values in zip(*given_back, strict=True)] == rows


def test_rows_with_what_is_no_day_come_apart_with_their_text() -> None:
    rows = [[b"1", b"2024-02-30"], [b"2", b"2024-02-29"], [b"3", None], [b"4", b"0000-00-00"], [b"5", b"2024-00-15"]]

    good, bad = read(["int", "date"], block(rows))

    assert good["c0"].to_pylist() == [2, 3]
    assert good["c1"].cast(pa.string()).to_pylist() == ["2024-02-29", None]
    assert bad["c0"].to_pylist() == [1, 4, 5]
    assert bad["c1"].to_pylist() == ["2024-02-30", "0000-00-00", "2024-00-15"]


def test_a_zero_moment_does_not_disturb_another_column_nor_the_next_block() -> None:
    parser = RowParser(columns("timestamp", "datetime(3)"))
    first: list[list[bytes | None]] = [[b"0000-00-00 00:00:00", b"2024-01-01 00:00:00.123"]]
    second: list[list[bytes | None]] = [[b"2024-01-01 00:00:00", b"2024-01-01 00:00:00.123"]]

    (bad,) = parser.parse(block(first))
    (good,) = parser.parse(block(second))

    assert bad.schema.types == [pa.string(), pa.timestamp("us")]
    assert good.schema.types == [pa.timestamp("us", "UTC"), pa.timestamp("us")]
    assert good["c0"].cast(pa.string()).to_pylist() == ["2024-01-01 00:00:00.000000Z"]


def test_text_that_is_no_utf8_comes_apart_as_bytes() -> None:
    good, bad = read(["text", "int"], block([[b"\xff", b"1"], [b"x", b"2"], [b"\xfe" * 300, b"3"], [None, b"4"]]))

    assert good.to_pydict() == {"c0": ["x", None], "c1": [2, 4]}
    assert bad.to_pydict() == {"c0": [b"\xff", b"\xfe" * 300], "c1": [1, 3]}


@pytest.mark.parametrize(
    "rows", [[[b"1"], [b"2"]], [[b"1", b"2", b"3"]], [[b"1", b"x"]]], ids=["fewer", "more", "other"]
)
def test_rows_that_are_not_as_the_columns_say_are_an_error(rows: list[Any]) -> None:
    with pytest.raises(pa.ArrowInvalid):
        read(["int", "int"], block(rows))
