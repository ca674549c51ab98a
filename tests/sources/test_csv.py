"""Reading CSV: what each cell becomes, what each line is, and what is wrong with the rest."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from file_reading import Reading, config, read_stream

from dativo_ingest.sources.csv import CsvReader
from dativo_plugin_sdk import (
    DataFormatError,
    DataValidationError,
    InvalidConfigError,
    Rows,
    StreamSpec,
    Warned,
)


def _read(
    folder: Path, data: bytes | str, schema: pa.Schema | None = None, name: str = "data.csv", **options: Any
) -> Reading:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_stream(CsvReader(config(path, **options)), schema=schema)


def _cells(reading: Reading) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in reading.rows]


def _bad(reading: Reading) -> list[tuple[int, str]]:
    return [(row["line"], json.loads(row["row"])) for row in reading.rejected]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"id,name\n1,a\n2,b\n", id="plain"),
        pytest.param(b"id,name\n1,a\n2,b", id="no newline at the end"),
        pytest.param(b"id,name\r\n1,a\r\n2,b\r\n", id="CRLF"),
        pytest.param(b"id,name\r1,a\r2,b\r", id="CR"),
        pytest.param(b"id,name\r\n1,a\n2,b\r", id="mixed line ends"),
        pytest.param(b"\xef\xbb\xbfid,name\n1,a\n2,b\n", id="byte order mark"),
        pytest.param(b'"id","name"\n"1","a"\n"2","b"\n', id="quotes around everything"),
        pytest.param(b"\n\nid,name\n\n1,a\n\n\n2,b\n\n", id="blank lines"),
    ],
)
def test_the_same_rows_come_out_of_every_way_to_write_them(tmp_path: Path, data: bytes) -> None:
    reading = _read(tmp_path, data)

    assert reading.schema == pa.schema([("id", pa.int64()), ("name", pa.string())])
    assert reading.rows == [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    assert reading.rejected == []


@pytest.mark.parametrize(
    ("options", "data"),
    [
        pytest.param({"encoding": "latin-1"}, "id;name\n1;é\n".encode("latin-1"), id="latin-1"),
        pytest.param({"encoding": "utf-16"}, "id;name\n1;é\n".encode("utf-16"), id="UTF-16"),
        pytest.param({"encoding": "utf-8-sig"}, "id;name\n1;é\n".encode("utf-8-sig"), id="UTF-8 with a mark"),
        pytest.param({"encoding": "cp1252", "delimiter": "\t"}, "id\tname\n1\té\n".encode("cp1252"), id="cp1252"),
        pytest.param({"delimiter": "auto"}, "id|name\n1|é\n2|x\n".encode()[:-4], id="delimiter found"),
        pytest.param({"skip_rows": 2}, 'made by "x\n\nid;name\n1;é\n'.encode(), id="lines left out"),
        pytest.param({"quote_char": "'"}, "id;name\n1;'é'\n".encode(), id="apostrophes"),
        pytest.param({"header": ["id", "name"]}, "1;é\n".encode(), id="named by the job"),
        pytest.param({"header": ["id", "name"], "skip_rows": 1}, "a;a\n1;é\n".encode(), id="named anew"),
    ],
)
def test_a_file_is_read_as_its_options_say(tmp_path: Path, options: dict[str, Any], data: bytes) -> None:
    reading = _read(tmp_path, data, **{"delimiter": ";", **options})

    assert reading.rows == [{"id": 1, "name": "é"}]


def test_a_tsv_file_has_tabs(tmp_path: Path) -> None:
    reading = _read(tmp_path, "id\tname\n1\ta,b\n", name="data.tsv")

    assert reading.rows == [{"id": 1, "name": "a,b"}]


def test_without_a_header_columns_are_numbered(tmp_path: Path) -> None:
    reading = _read(tmp_path, "1,a\n2,b\n", header=False)

    assert reading.rows == [{"column_1": 1, "column_2": "a"}, {"column_1": 2, "column_2": "b"}]
    assert reading.lines == [1, 2]


def test_an_unquoted_empty_cell_is_null_and_a_quoted_one_is_empty_text(tmp_path: Path) -> None:
    reading = _read(tmp_path, 'n,text\n,\n"",""\n1,x\n')

    assert _cells(reading) == [(None, None), (None, ""), (1, "x")]


def test_spellings_of_null_are_nulls_unless_quoted_in_text(tmp_path: Path) -> None:
    reading = _read(tmp_path, 'n,text\nNA,NA\n"NA","NA"\n1,\\N\n', null_values=["NA", "\\N"])

    assert _cells(reading) == [(None, None), (None, "NA"), (1, None)]


def test_without_being_told_so_no_word_is_null(tmp_path: Path) -> None:
    reading = _read(tmp_path, "text\nNULL\nNA\nnan\n-\n")

    assert _cells(reading) == [("NULL",), ("NA",), ("nan",), ("-",)]


def test_quotes_hold_delimiters_newlines_and_quotes(tmp_path: Path) -> None:
    reading = _read(tmp_path, 'a,b\n"x,y","line\nbreak"\n"say ""hi""",5" pipe\n')

    assert _cells(reading) == [("x,y", "line\nbreak"), ('say "hi"', '5" pipe')]
    assert reading.lines == [2, 4]


def test_escapes_make_the_next_character_ordinary(tmp_path: Path) -> None:
    reading = _read(tmp_path, 'a,b\n"x\\"y",c\\,d\ne\\\nf,g\n', escape_char="\\", double_quote=False)

    assert _cells(reading) == [('x"y', "c,d"), ("e\nf", "g")]
    assert reading.lines == [2, 3]


def test_nul_bytes_in_text_are_kept(tmp_path: Path) -> None:
    reading = _read(tmp_path, b"a,b\nx\0y,\0\n")

    assert _cells(reading) == [("x\0y", "\0")]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_has_no_rows(tmp_path: Path, data: bytes) -> None:
    reading = _read(tmp_path, data, pa.schema([("id", pa.int64())]))

    assert reading.rows == []
    assert reading.rejected == []


@pytest.mark.parametrize("data", ["id,name", "id,name\n", "id,name\r\n\r\n"])
def test_a_header_alone_has_columns_and_no_rows(tmp_path: Path, data: str) -> None:
    reading = _read(tmp_path, data)

    assert reading.schema is not None
    assert reading.schema.names == ["id", "name"]
    assert reading.rows == []


def test_an_empty_file_has_no_columns_to_find(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"")

    with pytest.raises(DataFormatError, match="no columns in"):
        CsvReader(config(tmp_path / "a.csv")).schema(StreamSpec("s"))


def test_lines_with_too_few_or_too_many_cells_are_malformed_with_their_number_and_text(tmp_path: Path) -> None:
    reading = _read(tmp_path, 'a,b\n1,x\n2\n3,"y\nz",w\n\n4,v\n5,"u",\n6,"t\nt"\n')

    assert _cells(reading) == [(1, "x"), (4, "v"), (6, "t\nt")]
    assert reading.lines == [2, 7, 9]
    assert _bad(reading) == [(3, "2"), (4, '3,"y\nz",w'), (8, '5,"u",')]
    assert {(row["column"], row["rule"], row["source"]) for row in reading.rejected} == {
        (None, "malformed", str(tmp_path / "data.csv"))
    }
    assert reading.rejected[0]["reason"] == "1 cell(s), the header has 2"


def test_a_quote_that_is_never_closed_is_malformed_and_hides_nothing_before_it(tmp_path: Path) -> None:
    reading = _read(tmp_path, 'a,b\n1,x\n2,"y\n3,z\n', pa.schema([("a", pa.int64()), ("b", pa.string())]))

    assert _cells(reading) == [(1, "x")]
    assert _bad(reading) == [(3, '2,"y\n3,z')]
    assert "never closed" in reading.rejected[0]["reason"]
    (warned,) = reading.of(Warned)
    assert warned.message.startswith(
        f"{tmp_path / 'data.csv'}:3: a quote that is opened here is never closed: all lines"
    )


def test_bytes_that_are_no_utf8_make_a_row_malformed_and_leave_the_others(tmp_path: Path) -> None:
    reading = _read(
        tmp_path, b"id,name\n1,\xc3\xa9\n2,\xe9\n3\xe9\n4,x\n", pa.schema([("id", pa.int64()), ("name", pa.string())])
    )

    assert _cells(reading) == [(1, "é"), (4, "x")]
    assert reading.lines == [2, 5]
    assert sorted((row["line"], row["column"], row["rule"]) for row in reading.rejected) == [
        (3, "name", "malformed"),
        (4, None, "malformed"),
    ]


def test_bytes_of_another_encoding_are_a_format_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"data\.csv: not cp1252, near byte 5") as caught:
        _read(tmp_path, b"a\nxyz\x81\n", encoding="cp1252")

    assert "encoding" in (caught.value.hint or "")


def test_a_header_that_names_a_column_twice_is_a_format_error(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"data\.csv:2: the header names columns more than once: a, b"):
        _read(tmp_path, "\na,b,c,b,a\n1,2,3,4,5\n")


def test_a_column_without_a_name_is_numbered(tmp_path: Path) -> None:
    reading = _read(tmp_path, ",name\n0,x\n")

    assert reading.rows == [{"column_1": 0, "name": "x"}]


def test_a_file_with_none_of_the_columns_is_an_error_that_lists_them(tmp_path: Path) -> None:
    with pytest.raises(DataValidationError, match="it has: id;name; the schema has: id, name") as caught:
        _read(tmp_path, "id;name\n1;a\n", pa.schema([("id", pa.int64()), ("name", pa.string())]))

    assert "delimiter" in (caught.value.hint or "")


def test_columns_beyond_the_schema_are_named_and_left_out(tmp_path: Path) -> None:
    reading = _read(tmp_path, "x,id,y\n1,2,3\n", pa.schema([("id", pa.int64())]))

    assert reading.rows == [{"id": 2}]
    assert [warned.message for warned in reading.of(Warned)] == [
        f"{tmp_path}/data.csv has columns that are not in the schema: x, y; they are left out"
    ]


def test_columns_beyond_the_schema_fail_the_stream_where_asked(tmp_path: Path) -> None:
    with pytest.raises(DataValidationError, match="not in the schema: x"):
        _read(tmp_path, "x,id\n1,2\n", pa.schema([("id", pa.int64())]), extra_columns="fail")


def test_a_column_that_the_file_lacks_is_left_to_the_engine(tmp_path: Path) -> None:
    reading = _read(
        tmp_path, "b,a\n1,2\n", pa.schema([("a", pa.int64()), ("missing", pa.string()), ("b", pa.string())])
    )

    assert reading.rows == [{"a": 2, "b": "1"}]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (pa.int8(), "-5", -5),
        (pa.uint64(), "18446744073709551615", 18446744073709551615),
        (pa.float64(), "1e-3", 0.001),
        (pa.float32(), "1.5", 1.5),
        (pa.bool_(), "true", True),
        (pa.decimal128(20, 3), "12345678901234567.125", Decimal("12345678901234567.125")),
        (pa.date32(), "2026-02-28", date(2026, 2, 28)),
        (pa.time64("us"), "23:59:59.5", time(23, 59, 59, 500000)),
        (pa.timestamp("us"), "2026-02-28 01:02:03.5", datetime(2026, 2, 28, 1, 2, 3, 500000)),  # noqa: DTZ001  naive
        (pa.timestamp("us", "UTC"), "2026-02-28T01:02:03+01:00", datetime(2026, 2, 28, 0, 2, 3, tzinfo=UTC)),
        (pa.binary(), "xyz", b"xyz"),
        (pa.large_string(), "x", "x"),
    ],
    ids=str,
)
def test_cells_become_what_the_schema_says(tmp_path: Path, kind: pa.DataType, text: str, value: object) -> None:
    reading = _read(tmp_path, f"v\n{text}\n", pa.schema([("v", kind)]))

    assert reading.rows == [{"v": value}]


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.int64()), pa.decimal256(50, 2), pa.uuid(), pa.struct([("a", pa.int64())])]
)
def test_cells_of_other_types_are_left_to_the_engine_as_text(tmp_path: Path, kind: pa.DataType) -> None:
    reading = _read(tmp_path, "v\nx\n", pa.schema([("v", kind)]))

    assert reading.rows == [{"v": "x"}]


def test_a_cell_that_does_not_convert_leaves_its_column_as_text_and_the_others_typed(tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.int64()), ("d", pa.date32()), ("s", pa.string())])

    reading = _read(tmp_path, 'n,d,s\n 1 ,2026-01-01,""\nx,2026-01-02,\n"", ,z\n', schema)

    (rows,) = reading.of(Rows)
    assert rows.batch.schema.types == [pa.string(), pa.date32(), pa.string()]
    assert _cells(reading) == [("1", date(2026, 1, 1), ""), ("x", date(2026, 1, 2), None), (None, None, "z")]
    assert rows.first_line == 2


def test_special_spellings_hold_beside_cells_that_do_not_convert(tmp_path: Path) -> None:
    schema = pa.schema([("f", pa.float64()), ("b", pa.bool_()), ("t", pa.timestamp("us")), ("n", pa.int64())])
    options = {
        "delimiter": ";",
        "decimal_point": ",",
        "true_values": ["ja"],
        "false_values": ["nein"],
        "timestamp_formats": ["%d.%m.%Y %H:%M"],
    }

    good = _read(tmp_path, "f;b;t;n\n1,5;ja;31.12.2026 10:00;1\n", schema, **options)
    bad = _read(tmp_path, "f;b;t;n\n1,5;ja;31.12.2026 10:00;1\n2,5;nein;2026-12-31;x\n", schema, **options)

    assert _cells(good) == [(1.5, True, datetime(2026, 12, 31, 10), 1)]  # noqa: DTZ001  naive
    assert _cells(bad) == [
        (1.5, True, datetime(2026, 12, 31, 10), "1"),  # noqa: DTZ001  naive
        (2.5, False, datetime(2026, 12, 31), "x"),  # noqa: DTZ001  naive
    ]


def test_a_number_too_large_for_float32_does_not_become_infinite(tmp_path: Path) -> None:
    reading = _read(tmp_path, "v\n1e300\n", pa.schema([("v", pa.float32())]))

    assert reading.rows == [{"v": 1e300}]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        pytest.param(["1", "-2"], pa.int64(), id="integers"),
        pytest.param(["1", "2.5"], pa.float64(), id="floats"),
        pytest.param(["true", "false"], pa.bool_(), id="booleans"),
        pytest.param(["2026-01-01"], pa.date32(), id="dates"),
        pytest.param(["2026-01-01 10:00:00"], pa.timestamp("us"), id="times have room for microseconds"),
        pytest.param(["2026-01-01T10:00:00Z"], pa.timestamp("us", "UTC"), id="times with a zone"),
        pytest.param(["2026-01-01 10:00:00.123456789"], pa.timestamp("ns"), id="nanoseconds"),
        pytest.param(["10:11:12"], pa.time64("us"), id="times of day"),
        pytest.param(["007", "1"], pa.string(), id="leading zeros"),
        pytest.param(["0", "0.5"], pa.float64(), id="zero itself"),
        pytest.param(["12345678901234567890"], pa.string(), id="more digits than a number holds"),
        pytest.param(["0.12345678901234567890"], pa.string(), id="more decimals than a number holds"),
        pytest.param(["1", "x"], pa.string(), id="mixed"),
        pytest.param(["", ""], pa.string(), id="nothing"),
    ],
)
def test_types_are_inferred_so_that_nothing_is_lost(tmp_path: Path, cells: list[str], kind: pa.DataType) -> None:
    reading = _read(tmp_path, "v,w\n" + "".join(f"{cell},x\n" for cell in cells))

    assert reading.schema is not None
    assert reading.schema.field("v").type == kind


def test_columns_of_several_files_are_put_together(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,amount,note\n1,2,\n")
    (tmp_path / "b.csv").write_text("id,amount,region\n2,2.5,eu\n")

    reading = read_stream(CsvReader(config(tmp_path)))

    assert reading.schema == pa.schema(
        [("id", pa.int64()), ("amount", pa.float64()), ("note", pa.string()), ("region", pa.string())]
    )
    assert reading.rows == [{"id": 1, "amount": 2.0, "note": None}, {"id": 2, "amount": 2.5, "region": "eu"}]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_packed_files_are_unpacked_on_the_way(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data.csv{suffix}"
    with pa.output_stream(str(path), compression="gzip" if suffix == ".gz" else "zstd") as stream:
        stream.write(b"id\n1\n2\n")

    reading = read_stream(CsvReader(config(path)))

    assert reading.rows == [{"id": 1}, {"id": 2}]
    assert sum(rows.source_bytes for rows in reading.of(Rows)) == path.stat().st_size


def test_packing_is_what_the_option_says_before_the_suffix(tmp_path: Path) -> None:
    reading = _read(tmp_path, gzip.compress(b"id\n1\n"), name="data.csv", compression="gzip")

    assert reading.rows == [{"id": 1}]


@pytest.mark.parametrize("kept", [0, 5, -1, -6])
def test_a_truncated_gzip_is_a_format_error_that_names_the_byte(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "data.csv.gz"
    whole = gzip.compress(b"id\n" + b"".join(b"%d\n" % number for number in range(1000)))
    path.write_bytes(whole[:kept])
    reader = CsvReader(config(path))
    stream = StreamSpec("s", schema=pa.schema([("id", pa.int64())]))
    (partition,) = reader.partitions(stream, None)

    with pytest.raises(DataFormatError, match="truncated gzip") as caught:
        list(reader.read(stream, partition, None))

    assert str(path) in str(caught.value)
    assert str(path.stat().st_size) in str(caught.value) or kept == 0


def test_a_file_that_is_not_packed_as_its_suffix_says_is_a_format_error(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="broken gzip"):
        _read(tmp_path, b"id\n1\n", name="data.csv.gz")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(gzip.compress(b"id\n"), "begins as gzip does", id="gzip"),
        pytest.param(b"PAR1\x15\x04\n", "begins as Parquet does", id="Parquet"),
        pytest.param("id,name\n".encode("utf-16"), "begins as UTF-16 does", id="UTF-16"),
        pytest.param(b"\0\1\2\n", "NUL bytes", id="binary"),
    ],
)
def test_a_file_that_is_no_text_is_a_format_error(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DataFormatError, match=message):
        _read(tmp_path, data)


@pytest.mark.parametrize(
    "options",
    [
        {"delimiter": ""},
        {"delimiter": "||"},
        {"delimiter": "§"},
        {"delimiter": '"'},
        {"quote_char": "\n"},
        {"encoding": "klingon"},
        {"header": []},
        {"header": ["a", "a"]},
        {"skip_rows": -1},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfigError, match=r"source\.options"):
        CsvReader(config("x.csv", **options))


@pytest.mark.parametrize("parallelism", [1, 4])
def test_many_blocks_in_threads_come_in_order_with_exact_lines(tmp_path: Path, parallelism: int) -> None:
    path = tmp_path / "data.csv"
    lines = ["id,name"]
    expected: list[tuple[int, int]] = []
    malformed: list[int] = []
    for number in range(60_000):
        if number % 7919 == 1:
            malformed.append(len(lines) + 1)
            lines.append("only one")
        if number % 5003 == 2:
            lines.append("")
        expected.append((number, len(lines) + 1))
        if number % 1009 == 3:
            lines += [f'{number},"name', f'of {number}"']
        else:
            lines.append(f"{number},name of {number}")
    path.write_text("\n".join(lines) + "\n")
    schema = pa.schema([("id", pa.int64()), ("name", pa.string())])

    reading = read_stream(CsvReader(config(path)), schema=schema, parallelism=parallelism, batch_bytes=2**18)

    assert len(reading.of(Rows)) > 5
    assert list(zip((row["id"] for row in reading.rows), reading.lines, strict=True)) == expected
    assert [row["line"] for row in reading.rejected] == malformed
    assert sum(rows.source_bytes for rows in reading.of(Rows)) == path.stat().st_size


def test_cells_of_5_mb_are_read_whole(tmp_path: Path) -> None:
    cell = json.dumps({"text": "x" * 5 * 2**20}).replace('"', '""')

    reading = _read(tmp_path, f'id,doc\n1,"{cell}"\n2,"{cell}"\n')

    assert [len(row["doc"]) for row in reading.rows] == [5 * 2**20 + 12] * 2


def test_reading_may_be_left_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("id\n" + "".join(f"{number}\n" for number in range(200_000)))
    reader = CsvReader(config(path))
    stream = StreamSpec("s", schema=pa.schema([("id", pa.int64())]), batch_bytes=2**16, parallelism=2)
    (partition,) = reader.partitions(stream, None)
    messages = reader.read(stream, partition, None)
    next(messages)

    messages.close()  # type: ignore[attr-defined]  # a generator

    assert list(messages) == []


def test_discover_lists_files_with_columns_and_types(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("id,amount,at,note\n1,2.5,2026-01-01 10:00:00,\n")
    (tmp_path / "users.csv").write_text("id\n1\n")

    result = CsvReader(config(tmp_path)).discover("ord*")

    (orders,) = result.objects
    assert {key: orders[key] for key in ("name", "type", "path", "size_bytes", "cursor_candidates", "sync_modes")} == {
        "name": "orders",
        "type": "file",
        "path": f"{tmp_path}/orders.csv",
        "size_bytes": (tmp_path / "orders.csv").stat().st_size,
        "cursor_candidates": ["id", "at"],
        "sync_modes": ["full_refresh", "incremental"],
    }
    assert [(column["name"], column["type"], column["arrow_type"]) for column in orders["columns"]] == [
        ("id", "integer", "int64"),
        ("amount", "number", "double"),
        ("at", "timestamp", "timestamp[us]"),
        ("note", "string", "string"),
    ]
    assert {column["fidelity"] for column in orders["columns"]} == {"inferred"}


def test_discover_warns_of_a_file_it_cannot_read_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"x"))
    (tmp_path / "b.csv").write_text("id\n1\n")

    result = CsvReader(config(tmp_path)).discover()

    assert [item["name"] for item in result.objects] == ["a", "b"]
    assert len(result.warnings) == 1
    assert "is not text" in result.warnings[0]


def test_check_lists_opens_and_parses_a_sample(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,name\n1,a\n2\n")

    results = {check.step: check.run() for check in CsvReader(config(tmp_path)).check([StreamSpec("s")])}

    assert list(results) == ["list", "open", "parse"]
    assert all(result.success for result in results.values())
    assert results["list"].details == {"files": 1, "bytes": 14, "first": f"{tmp_path}/a.csv"}
    assert results["parse"].details is not None
    assert results["parse"].details["rows"] == 1
    assert results["parse"].details["warning"] == "1 malformed line(s)"
    assert results["parse"].details["malformed"] == [f"{tmp_path}/a.csv:3: 1 cell(s), the header has 2"]
