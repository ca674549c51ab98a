"""What the columns of a CSV are by the look of a sample: never a type that would lose what a cell says."""

from __future__ import annotations

import csv
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as pacsv

from dativo_ingest.sources.csv_broken import as_latin, is_utf8
from dativo_ingest.sources.csv_options import CsvOptions
from dativo_ingest.sources.csv_parse import convert_options, parse_options
from dativo_ingest.sources.csv_records import Dialect
from dativo_plugin_sdk import DataFormatError

_DELIMITERS = ",;\t|"
_SAFE_DIGITS = 17  # a float64 written out exactly has no more


def sniff_delimiter(sample: bytes, name: str) -> str:
    """Guess the delimiter from the first lines of a file.

    Raises:
        DataFormatError: None of the usual ones fits.
    """
    try:
        return csv.Sniffer().sniff(sample.decode(errors="replace"), _DELIMITERS).delimiter
    except csv.Error as error:
        raise DataFormatError(
            f"{name}: the delimiter cannot be told from the first lines",
            details={"path": name},
            hint="set `delimiter`",
        ) from error


def infer(sample: bytes, names: list[str], dialect: Dialect, options: CsvOptions) -> pa.Schema:
    """Infer the types of columns from whole records; a column without values is of type null."""
    if not sample.strip(b"\r\n"):
        return pa.schema([pa.field(name, pa.null()) for name in names])
    if not is_utf8(sample):
        sample = as_latin(sample)  # what is no text gets no type here, and is rejected when it is read

    def look(**more: Any) -> pa.Table:
        return pacsv.read_csv(
            cast("IO[Any]", pa.BufferReader(sample)),  # the stubs do not know that it is a file
            read_options=pacsv.ReadOptions(use_threads=False, block_size=len(sample) + 1, column_names=names),
            parse_options=parse_options(dialect, lambda _: "skip"),
            convert_options=convert_options(options, **more),
        )

    # Quoted nulls count as nulls, so that a file with quotes around everything has numbers too.
    table = look(quoted_strings_can_be_null=True)
    doubtful = [field.name for field in table.schema if _is_number(field.type)]
    texts = look(include_columns=doubtful, column_types=dict.fromkeys(doubtful, pa.string())) if doubtful else None
    fields = []
    for field in table.schema:
        kind = _widened(table[field.name])
        if texts is not None and _is_number(field.type) and _loses_digits(texts[field.name], field.type):
            kind = pa.string()
        fields.append(pa.field(field.name, kind))
    return pa.schema(fields)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _widened(column: pa.ChunkedArray[Any]) -> pa.DataType:
    """Give the type that also holds the values of the column's kind that the sample lacks."""
    kind = column.type
    if pa.types.is_time(kind):
        return pa.time64("us")
    if pa.types.is_timestamp(kind):
        try:
            column.cast(pa.timestamp("us", kind.tz))
        except pa.ArrowInvalid:
            return cast("pa.DataType", kind)
        return pa.timestamp("us", kind.tz)
    return cast("pa.DataType", kind)


def _loses_digits(texts: pa.ChunkedArray[Any], kind: pa.DataType) -> bool:
    """Say whether digits would be lost as a number: leading zeros, or more than a float64 holds."""
    if pc.any(pc.match_substring_regex(texts, r"^\s*[+-]?0[0-9xX]")).as_py():
        return True
    if not pa.types.is_floating(kind):
        return False
    mantissa = pc.replace_substring_regex(texts, r"[eE].*$", "")
    digits = pc.utf8_ltrim(pc.replace_substring_regex(mantissa, "[^0-9]", ""), characters="0")
    return bool((pc.max(pc.utf8_length(digits)).as_py() or 0) > _SAFE_DIGITS)
