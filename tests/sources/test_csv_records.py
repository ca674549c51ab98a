"""Cutting a CSV into blocks: laws, judged by Python's csv module and by Arrow's parser."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pyarrow import csv as pacsv

from dativo_ingest.sources.csv_blocks import RecordBlocks, Start
from dativo_ingest.sources.csv_options import CsvOptions
from dativo_ingest.sources.csv_records import (
    Dialect,
    _all_quotes,
    _scan,
    cut,
    first_record_end,
    line_count,
    quote_marks,
    record_lines,
)
from dativo_ingest.sources.file_config import FileConnection, FileCredentials
from dativo_ingest.sources.file_listing import FileStore
from dativo_ingest.sources.file_opening import OpenedFile
from dativo_plugin_sdk import DataFormatError

PLAIN = Dialect()
DIALECTS = [
    pytest.param(PLAIN, id="RFC 4180"),
    pytest.param(Dialect(delimiter="\t", quote_char="'"), id="tabs and apostrophes"),
    pytest.param(Dialect(double_quote=False), id="no doubled quotes"),
    pytest.param(Dialect(quote_char=None), id="no quotes"),
    pytest.param(Dialect(escape_char="\\"), id="escapes"),
    pytest.param(Dialect(escape_char="\\", quote_char=None), id="escapes, no quotes"),
    pytest.param(Dialect(delimiter="]", quote_char="^"), id="signs that mean something to a pattern"),
]


def _texts(dialect: Dialect) -> st.SearchStrategy[bytes]:
    signs = [dialect.delimiter, dialect.quote_char, dialect.escape_char]
    letters = "".join(sign for sign in signs if sign) * 3 + "\n\n\r" + "ab\xe9"
    return st.text(st.sampled_from(letters), max_size=60).map(str.encode)


def _python(data: bytes, dialect: Dialect) -> list[list[str]]:
    rows = csv.reader(
        io.StringIO(data.decode("latin-1"), newline=""),
        delimiter=dialect.delimiter,
        quotechar=dialect.quote_char,
        quoting=csv.QUOTE_MINIMAL if dialect.quote_char else csv.QUOTE_NONE,
        doublequote=dialect.double_quote,
    )
    return [row for row in rows if row]


def _arrow(data: bytes, dialect: Dialect) -> list[str]:
    """Give every record's text as Arrow sees it: no record has 99 cells, so all of them are told of."""
    records: list[str] = []

    def keep(row: pacsv.InvalidRow) -> str:
        records.append(row.text)
        return "skip"

    if not data:
        return []
    pacsv.read_csv(
        pa.BufferReader(data),
        read_options=pacsv.ReadOptions(
            use_threads=False, block_size=len(data) + 1, column_names=[str(at) for at in range(99)]
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote_char or False,
            escape_char=dialect.escape_char or False,
            double_quote=dialect.double_quote,
            newlines_in_values=True,
            invalid_row_handler=keep,
        ),
    )
    return records


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_a_cut_parts_records_as_arrows_parser_does(dialect: Dialect, data: st.DataObject) -> None:
    text = data.draw(_texts(dialect))

    end = cut(text, dialect).end

    assert _arrow(text[:end], dialect) + _arrow(text[end:], dialect) == _arrow(text, dialect)


@pytest.mark.parametrize("dialect", [param for param in DIALECTS if param.values[0].escape_char is None])
@given(data=st.data())
def test_a_cut_parts_records_as_pythons_csv_module_does(dialect: Dialect, data: st.DataObject) -> None:
    text = data.draw(_texts(dialect))

    end = cut(text, dialect).end

    assert _python(text[:end], dialect) + _python(text[end:], dialect) == _python(text, dialect)


@given(text=_texts(PLAIN), more=_texts(PLAIN))
def test_what_follows_does_not_move_a_cut_into_a_record(text: bytes, more: bytes) -> None:
    end = cut(text, PLAIN).end

    assert _python(text[:end], PLAIN) + _python(text[end:] + more, PLAIN) == _python(text + more, PLAIN)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_every_record_has_the_line_it_begins_on(dialect: Dialect, data: st.DataObject) -> None:
    text = data.draw(_texts(dialect))

    lines = record_lines(text, dialect)

    starts = [text[sum(map(len, text.splitlines(keepends=True)[:line])) :] for line in lines]
    assert len(lines) == len(_arrow(text, dialect))
    assert all(not start.startswith((b"\r", b"\n")) for start in starts)
    assert [_arrow(start, dialect)[0] for start in starts] == _arrow(text, dialect)


@given(text=_texts(PLAIN))
def test_lines_are_counted_by_their_ends(text: bytes) -> None:
    count = line_count(text)

    assert count == len([line for line in text.splitlines(keepends=True) if line.endswith((b"\n", b"\r"))])


@given(text=_texts(PLAIN))
def test_the_first_record_ends_where_pythons_csv_module_ends_it(text: bytes) -> None:
    end = first_record_end(text, PLAIN)

    assert end == 0 or len(_python(text[:end], PLAIN)) == (0 if text[:end].strip(b"\r\n") == b"" else 1)
    assert _python(text[:end], PLAIN) + _python(text[end:], PLAIN) == _python(text, PLAIN)


@given(text=_texts(PLAIN).filter(len))
def test_counting_quotes_says_the_same_as_the_exact_scan_or_nothing(text: bytes) -> None:
    counted = _all_quotes(text, PLAIN)

    scanned = _scan(text, PLAIN)

    def outside(marks: object) -> list[int]:
        return [at for at, octet in enumerate(text) if octet in b"\r\n" and sum(1 for m in marks if m < at) % 2 == 0]  # type: ignore[attr-defined]  # a sequence

    assert counted is None or outside(counted) == outside(scanned)


@given(pattern=_texts(PLAIN).filter(lambda text: b'"' in text))
@settings(max_examples=25)
def test_large_data_is_cut_as_small_data_is(pattern: bytes) -> None:
    large = pattern * (300_000 // len(pattern) + 1)

    found = cut(pa.py_buffer(large), PLAIN)
    marks = _scan(large, PLAIN)

    assert found.in_quotes == (len(marks) % 2 == 1)
    assert len([mark for mark in quote_marks(large, PLAIN) if mark < found.end]) % 2 == 0
    assert found.end == 0 or large[found.end - 1 : found.end] in (b"\n", b"\r")
    assert line_count(pa.py_buffer(large)) == sum(
        line_count(large[at : at + 999]) for at in range(0, len(large), 999)
    ) or (b"\r\n" in large)


def test_quotes_within_cells_do_not_mislead_the_cut_of_large_data() -> None:
    record = b'5" ,"a\nb,",6"\n'
    large = record * 40_000

    end = cut(pa.py_buffer(large), PLAIN).end

    assert end == len(large)
    assert cut(pa.py_buffer(large[:-3]), PLAIN).end == len(large) - len(record)


@given(text=_texts(PLAIN), block_bytes=st.integers(1, 30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_are_the_file_cut_where_records_end(tmp_path: Path, text: bytes, block_bytes: int) -> None:
    blocks = list(_blocks(tmp_path, text, block_bytes))

    parts = [block.data.to_pybytes() for block in blocks]
    assert b"".join(parts) == text
    assert [row for part in parts for row in _python(part, PLAIN)] == _python(text, PLAIN)
    assert [block.is_open for block in blocks[:-1]] == [False] * len(blocks[:-1])


@given(data=st.binary(max_size=200), block_bytes=st.integers(1, 50))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_of_any_bytes_are_those_bytes(tmp_path: Path, data: bytes, block_bytes: int) -> None:
    parts = [block.data.to_pybytes() for block in _blocks(tmp_path, data, block_bytes)]

    assert b"".join(parts) == data.removeprefix(b"\xef\xbb\xbf")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252", "shift_jis"])
def test_text_of_any_encoding_becomes_utf8_across_block_borders(tmp_path: Path, encoding: str) -> None:
    text = "".join(f"{number},a£b\n" for number in range(500)).replace("£", "é" if encoding != "shift_jis" else "日")

    blocks = _blocks(tmp_path, text.encode(encoding), 37, encoding=encoding)

    assert b"".join(block.data.to_pybytes() for block in blocks) == text.encode()


def test_a_record_larger_than_a_block_makes_the_block_grow(tmp_path: Path) -> None:
    cell = b'"' + b"line\n" * 100_000 + b'"\n'

    blocks = list(_blocks(tmp_path, b"a\n" + cell + b"b\n", 64))

    assert max(block.data.size for block in blocks) >= len(cell)
    assert b"".join(block.data.to_pybytes() for block in blocks) == b"a\n" + cell + b"b\n"


def test_a_record_longer_than_allowed_is_a_format_error_with_its_line(tmp_path: Path) -> None:
    text = b'a\n"' + b"x\n" * 2**20

    with pytest.raises(DataFormatError, match="a record is longer than 1 MB") as caught:
        list(_blocks(tmp_path, text, 2**16, max_record_mb=1))

    assert "quote" in (caught.value.hint or "")


def _blocks(folder: Path, data: bytes, block_bytes: int, **options: object) -> RecordBlocks:
    path = folder / "data.csv"
    path.write_bytes(data)
    store = FileStore(FileConnection(), FileCredentials())
    file = store.look(str(path))
    assert file is not None
    opened = OpenedFile(store, file, "none")
    return RecordBlocks(opened, CsvOptions(**options), PLAIN, block_bytes=block_bytes, start=Start(0, 1))  # type: ignore[arg-type]  # plain values
