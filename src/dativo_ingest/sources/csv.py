"""CSV and TSV files: typed by Arrow's parser, block by block, each row and malformed line with its line number."""

from __future__ import annotations

import csv  # the standard library's: imports are absolute
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from dativo_ingest.sources.csv_blocks import Block, RecordBlocks, Start
from dativo_ingest.sources.csv_infer import infer, sniff_delimiter
from dativo_ingest.sources.csv_malformed import MalformedRecords
from dativo_ingest.sources.csv_options import CsvOptions
from dativo_ingest.sources.csv_parse import BlockParser, Parsed
from dativo_ingest.sources.csv_pool import in_order
from dativo_ingest.sources.csv_records import Dialect, cut, line_count
from dativo_ingest.sources.file_listing import without_packing
from dativo_ingest.sources.file_opening import OpenedFile
from dativo_ingest.sources.file_reader import FileReader
from dativo_plugin_sdk import (
    DataFormatError,
    DataValidationError,
    Message,
    Rows,
    StreamSpec,
    Warned,
)

_BLOCK_BYTES = 4 * 2**20  # large enough that a block's fixed costs vanish, small enough for the processor's cache
_LEAST_BLOCK_BYTES = 64 * 1024
_SAMPLE_STEP_BYTES = 2**20
_MOST_SAMPLE_BYTES = 16 * 2**20
_SNIFF_BYTES = 16 * 1024
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PAR1": "Parquet",
    b"PK\x03\x04": "ZIP (or a spreadsheet)",
    b"ARROW1": "Arrow IPC",
    b"SQLite format 3": "SQLite",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


class CsvReader(FileReader[CsvOptions]):
    """Reads CSV; `CsvOptions` says what can be told about the files."""

    suffixes = (".csv", ".tsv")
    options_model = CsvOptions

    def infer_schema(self, file: OpenedFile, options: CsvOptions) -> pa.Schema:
        """Infer columns and types from the first ``infer_rows`` rows, or 16 MB of them."""
        dialect = self._dialect(file, options)
        blocks = RecordBlocks(file, options, dialect, block_bytes=_SAMPLE_STEP_BYTES)
        names = self._names(file, blocks, dialect, options)
        sample, size_bytes = b"", _SAMPLE_STEP_BYTES
        while True:
            ahead = blocks.peek(size_bytes).to_pybytes()
            is_all = len(ahead) < size_bytes
            sample = ahead if is_all else ahead[: cut(ahead, dialect).end]
            if is_all or sample.count(b"\n") >= options.infer_rows or size_bytes >= _MOST_SAMPLE_BYTES:
                break
            size_bytes *= 2
        return infer(sample, names, dialect, options)

    def read_file(self, file: OpenedFile, stream: StreamSpec, options: CsvOptions) -> Iterator[Message]:
        """Read one file; lines of another number of cells than the header are rejected as malformed.

        Raises:
            DataFormatError: The header names a column twice, a record is too long, the encoding is another.
            DataValidationError: The file has none of the schema's columns.
        """
        schema = stream.schema if stream.schema is not None else self.infer_schema(file, options)
        dialect = self._dialect(file, options)
        block_bytes = max(_LEAST_BLOCK_BYTES, min(_BLOCK_BYTES, stream.batch_bytes // 4))
        blocks = RecordBlocks(file, options, dialect, block_bytes=block_bytes)
        names = self._names(file, blocks, dialect, options)
        if file.start_byte:
            start = Start(file.start_byte, file.start_line)
            blocks = RecordBlocks(file, options, dialect, block_bytes=block_bytes, start=start)
        if names:
            parser = self._parser(file, names, schema, dialect, options)
            yield from self.note_extra_columns(file, [name for name in names if name not in schema.names], options)
            yield from self._rows(file, stream, blocks, parser, options)
        elif file.packing == "none" and options.can_be_tailed:
            file.lines = 0

    def _rows(
        self, file: OpenedFile, stream: StreamSpec, blocks: RecordBlocks, parser: BlockParser, options: CsvOptions
    ) -> Iterator[Message]:
        line = blocks.line
        ends_cleanly = True

        def work(block: Block) -> Parsed:
            return _never_closed(block, parser) if block.is_open else parser.parse(block.data)

        def watched() -> Iterator[Block]:
            nonlocal ends_cleanly
            for block in blocks:
                ends_cleanly = block.data[-1:].to_pybytes() == b"\n" and not block.is_open
                yield block

        for parsed in in_order(work, watched(), threads=stream.parallelism, window_bytes=stream.batch_bytes):
            rejected = parsed.malformed.rejected(file.name, line) if parsed.malformed else None
            if rejected is not None:
                yield rejected
            if parsed.batch.num_rows:
                yield Rows(
                    parsed.batch,
                    source=file.name,
                    first_line=line if parsed.lines is None else None,
                    lines=None if parsed.lines is None else pc.add(parsed.lines, line),
                    source_bytes=file.newly_read_bytes(),
                )
            if parsed.is_unclosed:
                yield Warned(
                    f"{file.name}:{line}: a quote that is opened here is never closed: all lines up to the end of the "
                    "file are one rejected row"
                )
            line += parsed.line_count
        if ends_cleanly and file.packing == "none" and options.can_be_tailed:
            file.lines = line - 1

    def _parser(
        self, file: OpenedFile, names: list[str], schema: pa.Schema, dialect: Dialect, options: CsvOptions
    ) -> BlockParser:
        parser = BlockParser(names, schema, dialect, options)
        if not parser.columns:
            raise DataValidationError(
                f"{file.name}: has none of the stream's columns; it has: {', '.join(names)}; "
                f"the schema has: {', '.join(schema.names)}",
                details={"path": file.name, "columns": names},
                hint="check `delimiter`, `header` and `skip_rows`, or the contract",
            )
        return parser

    def _dialect(self, file: OpenedFile, options: CsvOptions) -> Dialect:
        delimiter = options.delimiter
        if delimiter == "auto":
            blocks = RecordBlocks(file, options, options.dialect(","), block_bytes=_SNIFF_BYTES)
            blocks.skip_lines(options.skip_rows)
            delimiter = sniff_delimiter(blocks.peek(_SNIFF_BYTES).to_pybytes(), file.name)
        elif delimiter is None:
            delimiter = "\t" if without_packing(file.name.lower()).endswith(".tsv") else ","
        return options.dialect(delimiter)

    def _names(self, file: OpenedFile, blocks: RecordBlocks, dialect: Dialect, options: CsvOptions) -> list[str]:
        """Take the header and give the columns' names; none for a file without any line."""
        blocks.skip_lines(options.skip_rows)
        if isinstance(options.header, list):
            return options.header
        if not options.header:
            ahead = blocks.peek(_SAMPLE_STEP_BYTES).to_pybytes()
            return [f"column_{at}" for at, _ in enumerate(_first_cells(ahead, dialect, file.name), 1)]
        record = blocks.next_record()
        line = blocks.line - line_count(record or b"")
        if record is not None:
            _refuse_binary(record, file)
        names = [name or f"column_{at}" for at, name in enumerate(_first_cells(record or b"", dialect, file.name), 1)]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise DataFormatError(
                f"{file.name}:{line}: the header names columns more than once: {', '.join(twice)}",
                details={"path": file.name, "columns": twice},
                hint="name the columns with `header: [...]` and leave the file's own header out with `skip_rows: 1`",
            )
        return names


def _refuse_binary(header: bytes, file: OpenedFile) -> None:
    """Refuse a file that is no text, by its first line.

    Raises:
        DataFormatError: It is packed, Parquet or the like, or of an encoding other than it is read in.
    """
    kind = next((kind for magic, kind in _MAGIC.items() if header.startswith(magic)), None)
    if kind is None and b"\0" not in header:
        return
    raise DataFormatError(
        f"{file.name}: is not text" + (f": it begins as {kind} does" if kind else ": its header holds NUL bytes"),
        details={"path": file.name},
        hint="set `compression` if the file is packed, `encoding: utf-16` if it is UTF-16, or use the right connector",
    )


def _first_cells(data: bytes, dialect: Dialect, name: str) -> list[str]:
    """Give the cells of the first record."""
    text = data.decode(errors="replace").lstrip("\r\n")
    rows = csv.reader(
        _lines(text),
        delimiter=dialect.delimiter,
        quotechar=dialect.quote_char,
        quoting=csv.QUOTE_MINIMAL if dialect.quote_char else csv.QUOTE_NONE,
        escapechar=dialect.escape_char,
        doublequote=dialect.double_quote,
    )
    try:
        return next(rows, [])
    except csv.Error as error:
        raise DataFormatError(f"{name}: the header cannot be read: {error}", details={"path": name}) from error


def _lines(text: str) -> Iterator[str]:
    """Yield a text's lines with their ends, one at a time."""
    at = 0
    while at < len(text):
        found = text.find("\n", at)
        end = found + 1 if found >= 0 else len(text)
        yield text[at:end]
        at = end


def _never_closed(block: Block, parser: BlockParser) -> Parsed:
    malformed = MalformedRecords()
    text = block.data.to_pybytes().decode(errors="replace").rstrip("\r\n")
    malformed.add(0, "a quote is opened and never closed", text)
    empty = pa.RecordBatch.from_pylist([], schema=pa.schema([(name, pa.string()) for name in parser.columns]))
    return Parsed(empty, line_count(block.data), malformed=malformed, is_unclosed=True)
