"""One block of CSV records into Arrow: typed at once where every cell converts, else cell by cell as far as it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as pacsv

from dativo_ingest.sources.csv_broken import as_before, as_latin, is_utf8, restored
from dativo_ingest.sources.csv_malformed import MalformedRecords
from dativo_ingest.sources.csv_options import CsvOptions
from dativo_ingest.sources.csv_records import Dialect, Octets, line_count, record_lines

_TRUE = ("true", "1")
_FALSE = ("false", "0")
_DECIMAL_DIGITS = 28  # ten fewer than 128 bits hold
_BLANKS = " \t"  # what Arrow's parser leaves out around numbers, times and booleans


@dataclass
class Parsed:
    """What a block holds; ``lines`` is None where row and line go in step, else each row's line from 0.

    ``is_unclosed`` says that it is the rest of the file, which begins with a quote that is never closed.
    """

    batch: pa.RecordBatch
    line_count: int
    lines: pa.Array[Any] | None = None
    malformed: MalformedRecords | None = None
    is_unclosed: bool = False


class BlockParser:
    """Parses blocks of one file; may be used from several threads at once.

    Args:
        names: The file's columns, in its order.
        schema: What to read, and as what; fields that the file lacks are left out.
        dialect: The file's signs.
        options: How its cells are written.
    """

    def __init__(self, names: Sequence[str], schema: pa.Schema, dialect: Dialect, options: CsvOptions) -> None:
        self._names = list(names)
        self._dialect = dialect
        self._options = options
        self._nulls = ["", *options.null_values]
        here = set(names)
        self._kinds = {f.name: read_as(f.type) for f in schema if f.name in here}
        self._texts = {name: kind for name, kind in self._kinds.items() if is_text(kind)}
        self._others = {name: kind for name, kind in self._kinds.items() if not is_text(kind)}
        self._quoted_nulls = False  # set once a quoted null is met in a column that is not text

    @property
    def columns(self) -> list[str]:
        """Name the columns that are read, in the schema's order."""
        return list(self._kinds)

    def parse(self, data: pa.Buffer) -> Parsed:
        """Parse whole records of UTF-8."""
        try:
            return self._numbered(_batch(self._typed(data, None)), data, [])
        except pa.ArrowInvalid:  # a malformed record, or a cell that is not of its column's type or no UTF-8
            octets = data.to_pybytes()
        if is_utf8(octets):
            bad: list[pacsv.InvalidRow] = []
            try:
                return self._numbered(_batch(self._typed(data, bad)), data, bad)
            except pa.ArrowInvalid:  # a cell
                pass
        return self._cell_by_cell(octets)

    def _typed(self, data: pa.Buffer, bad: list[pacsv.InvalidRow] | None) -> pa.Table:
        if not (self._quoted_nulls and self._texts and self._others):
            return self._read(data, self._kinds, bad, quoted_nulls=self._quoted_nulls and not self._texts)
        # Arrow takes quoted nulls for nulls in all columns or in none.
        texts = self._read(data, self._texts, bad, quoted_nulls=False)
        others = self._read(data, self._others, None if bad is None else [], quoted_nulls=True)
        return pa.table({name: (texts if name in self._texts else others)[name] for name in self._kinds})

    def _read(
        self, data: Octets, kinds: dict[str, pa.DataType], bad: list[pacsv.InvalidRow] | None, *, quoted_nulls: bool
    ) -> pa.Table:
        """Let Arrow parse; malformed records go to ``bad``, or are an error where it is None.

        ``bad`` is only for valid UTF-8: Arrow cannot tell Python of another record.
        """

        def keep(row: pacsv.InvalidRow) -> str:
            assert bad is not None  # noqa: S101  it is not asked otherwise
            bad.append(row)
            return "skip"

        return pacsv.read_csv(
            cast("IO[Any]", pa.BufferReader(data)),  # the stubs do not know that it is a file
            read_options=pacsv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=self._names),
            parse_options=parse_options(self._dialect, None if bad is None else keep),
            convert_options=convert_options(
                self._options, column_types=kinds, include_columns=list(kinds), quoted_strings_can_be_null=quoted_nulls
            ),
        )

    def _cell_by_cell(self, data: bytes) -> Parsed:
        """Read every cell as text, then convert the columns that can be; in the others all cells stay text."""
        bad: list[pacsv.InvalidRow] = []
        texts: dict[str, pa.DataType] = {
            name: kind if pa.types.is_binary(kind) else pa.string() for name, kind in self._kinds.items()
        }
        if is_utf8(data):
            parsed = self._numbered(_batch(self._read(data, texts, bad, quoted_nulls=False)), data, bad)
        else:
            data = as_latin(data)  # so that the parser sees valid text, and the callback for malformed records
            table = self._read(data, dict.fromkeys(texts, pa.string()), bad, quoted_nulls=False)
            parsed = self._restored(self._numbered(_batch(table), data, bad, show=as_before))
        batch = parsed.batch
        columns = [
            column if name in self._texts else self._converted(column, self._kinds[name])
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        parsed.batch = pa.record_batch(columns, names=batch.schema.names)
        return parsed

    def _restored(self, parsed: Parsed) -> Parsed:
        malformed = parsed.malformed or MalformedRecords()
        lines = parsed.lines if parsed.lines is not None else pa.array(range(parsed.batch.num_rows), pa.int64())
        batch, lines = restored(parsed.batch, self._kinds, lines, malformed)
        return Parsed(batch, parsed.line_count, lines, malformed)

    def _converted(self, cells: pa.Array[Any], kind: pa.DataType) -> pa.Array[Any]:
        """Convert a column's text as Arrow's CSV parser would, or give it in the engine's own spelling to be cast."""
        cells = pc.utf8_trim(cells, characters=_BLANKS)
        spelt_null = pc.is_in(cells, value_set=pa.array(self._nulls, pa.string()))
        if spelt_null.true_count:
            self._quoted_nulls = True
            cells = pc.if_else(spelt_null, pa.scalar(None, pa.string()), cells)
        cells = _in_plain_spelling(cells, kind, self._options)
        if pa.types.is_decimal(kind):
            return cells  # Arrow's cast from text to decimal wraps around without a word; the engine's does not
        try:
            return cast("pa.Array[Any]", cells.cast(kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return cells

    def _numbered(
        self,
        batch: pa.RecordBatch,
        data: Octets,
        bad: Sequence[pacsv.InvalidRow],
        *,
        show: Callable[[str], str] = str,
    ) -> Parsed:
        """Work out lines: of malformed records always, of rows where they do not go in step with the lines."""
        ends = line_count(data)
        records = batch.num_rows + len(bad)
        if ends + (bytes(data[len(data) - 1 :]) not in (b"\n", b"\r")) == records and not bad:
            return Parsed(batch, ends)
        lines = record_lines(data, self._dialect)
        malformed, wrong = MalformedRecords(), set[int]()
        for row in bad:
            assert row.number is not None  # noqa: S101  Arrow knows it where it reads with one thread
            wrong.add(row.number - 1)
            reason = f"{row.actual_columns} cell(s), the header has {row.expected_columns}"
            malformed.add(int(lines[row.number - 1]), reason, show(row.text))
        kept = pa.array(lines, pa.int64())
        if wrong:
            kept = kept.take(pa.array([at for at in range(len(kept)) if at not in wrong], pa.int64()))
        return Parsed(batch, ends, kept, malformed)


def parse_options(dialect: Dialect, on_malformed: Any) -> pacsv.ParseOptions:
    """Give Arrow's options of a dialect."""
    return pacsv.ParseOptions(
        delimiter=dialect.delimiter,
        quote_char=dialect.quote_char or False,
        escape_char=dialect.escape_char or False,
        double_quote=dialect.double_quote,
        newlines_in_values=True,
        invalid_row_handler=on_malformed,
    )


def convert_options(options: CsvOptions, **more: Any) -> pacsv.ConvertOptions:
    """Give Arrow's options of how cells are written: an empty cell is null, in text columns too."""
    if options.true_values:
        more["true_values"] = options.true_values
    if options.false_values:
        more["false_values"] = options.false_values
    if options.timestamp_formats:
        more["timestamp_parsers"] = [*options.timestamp_formats, pacsv.ISO8601]
    return pacsv.ConvertOptions(
        null_values=["", *options.null_values],
        strings_can_be_null=True,
        decimal_point=options.decimal_point,
        **more,
    )


def is_text(kind: pa.DataType) -> bool:
    """Say whether a quoted empty cell is a value of this type: text and bytes."""
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def read_as(kind: pa.DataType) -> pa.DataType:
    """Give the type that Arrow's CSV parser can make on the way to ``kind`` without losing anything."""
    is_plain = (
        is_text(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_float64(kind)
        or _is_safe_decimal(kind)
        or pa.types.is_date(kind)
        or pa.types.is_time(kind)
        or pa.types.is_timestamp(kind)
    )
    if is_plain:
        return kind
    return pa.float64() if pa.types.is_float32(kind) else pa.string()  # as float32, 1e300 would become infinite


def _is_safe_decimal(kind: pa.DataType) -> bool:
    """Say whether what Arrow makes of a number that does not fit is seen not to fit.

    Beyond 38 digits Arrow's parser wraps around 128 bits without a word. Where the type takes far fewer, the result is
    out of its range and an error; elsewhere the cells stay text and the engine's own cast decides.
    """
    return pa.types.is_decimal128(kind) and kind.scale >= 0 and kind.precision + kind.scale <= _DECIMAL_DIGITS


def _in_plain_spelling(cells: pa.Array[Any], kind: pa.DataType, options: CsvOptions) -> pa.Array[Any]:
    """Rewrite cells in the spelling that a cast from text knows; those it cannot be told of stay as they are."""
    if options.decimal_point != "." and (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        cells = pc.replace_substring(cells, pattern=options.decimal_point, replacement=".")
    if pa.types.is_boolean(kind) and (options.true_values or options.false_values):
        yes = pc.is_in(cells, value_set=pa.array(options.true_values or _TRUE, pa.string()))
        no = pc.is_in(cells, value_set=pa.array(options.false_values or _FALSE, pa.string()))
        cells = pc.if_else(yes, "true", pc.if_else(no, "false", cells))
    if pa.types.is_timestamp(kind):
        for form in options.timestamp_formats:
            moments = pc.strptime(cells, format=form, unit=kind.unit, error_is_null=True)
            cells = pc.coalesce(moments.cast(pa.string()), cells)
    return cells


def _batch(table: pa.Table) -> pa.RecordBatch:
    """Give a table of one block as one batch."""
    batches = table.combine_chunks().to_batches() if table.num_rows else []
    if len(batches) == 1:
        return batches[0]
    return pa.RecordBatch.from_pylist([], schema=table.schema)
