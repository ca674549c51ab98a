r"""One block of COPY's text format into Arrow: typed at once where every value fits, else column by column.

A value in the text format has no quotes; ``\N`` is null, a tab stands between values, and a backslash begins one of
six escapes (documentation of COPY, "Text Format"). Arrow's CSV parser reads it as it is: numbers, dates and moments as
values, all else as text that still has its escapes, which are rare and taken out where there are any.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as pacsv

from dativo_ingest.databases.arrow import Array, Mask, buffer_of, lists_of, pc
from dativo_ingest.databases.misfits import apart
from dativo_ingest.databases.selection import DatabaseReadColumn
from dativo_ingest.sources.postgres.array_texts import split_arrays
from dativo_ingest.sources.postgres.far_dates import far_dates, far_moments
from dativo_ingest.sources.postgres.large_cells import large_bytes, large_text, without_large_cells
from dativo_ingest.sources.postgres.native_types import NativeType

_LEAD = "lead"
_NULL = r"\N"
_BACKSLASH = ord("\\")
_PIECE_BYTES = 2**16
_STAND_IN = "\0"  # for a backslash, while other escapes are taken out: text in Postgres has no zero bytes
_ESCAPES = (("b", "\b"), ("f", "\f"), ("n", "\n"), ("r", "\r"), ("t", "\t"), ("v", "\v"))
_PLAIN_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_PLAIN_MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]+(\+00)?$"
_NOT_NUMBERS = pa.array(["NaN", "Infinity", "-Infinity"])
_ANY_END = 2**31 - 1  # without an end, Arrow works out a wrong size
_HEX_PREFIX = r"\x"

_PARSING = pacsv.ParseOptions(
    delimiter="\t",
    quote_char=False,
    escape_char=False,
    double_quote=False,
    newlines_in_values=False,
    ignore_empty_lines=False,
)


@dataclass(frozen=True)
class ReadColumn(DatabaseReadColumn[NativeType]):
    """A column that is read: its name, how it is asked for, and what is made of it."""

    drop_bounds: bool = False
    """Leave out from where an array counts."""

    @property
    def spelling(self) -> Literal["value", "text", "bytes", "list"]:
        """Say what the parser is to make of it."""
        arrow = self.native.arrow
        if self.as_text or pa.types.is_string(arrow):
            return "text"
        if pa.types.is_list(arrow):
            return "list"
        return "bytes" if pa.types.is_binary(arrow) else "value"


class RowParser:
    """Parses the blocks of one query; used by one thread.

    Args:
        columns: What the query selects, in order.
    """

    def __init__(self, columns: Sequence[ReadColumn]) -> None:
        self._columns = columns
        self._keys = [f"c{number}" for number in range(len(columns))]  # names may be there twice, or be anything
        self._names = [column.name for column in columns]
        self._texts = {number for number, column in enumerate(columns) if column.spelling != "value"}
        self._may_be_large = frozenset(
            number for number, column in enumerate(columns) if column.spelling in {"text", "bytes"}
        )

    def parse(self, block: memoryview) -> Iterator[pa.RecordBatch]:
        """Give the rows of a block, which may be used again then.

        Rows with a value that its column's type cannot hold come in batches of their own, after the others: in each the
        same columns are at fault, and have the values as text.
        """
        for piece in without_large_cells(block, self._may_be_large):
            for batch in self._parse(piece.block):
                yield self._with(piece.cells, batch) if piece.cells else batch
            if piece.cells:
                pa.default_memory_pool().release_unused()

    def _with(self, cells: Mapping[int, memoryview], row: pa.RecordBatch) -> pa.RecordBatch:
        """Put the large cells of a row in their places."""
        columns = row.columns
        for number, cell in cells.items():
            is_bytes = self._columns[number].spelling == "bytes"
            columns[number] = large_bytes(cell) if is_bytes else large_text(cell)
        return pa.RecordBatch.from_arrays(columns, names=self._names)

    def _parse(self, block: memoryview) -> Iterator[pa.RecordBatch]:
        try:
            columns = self._read(block)
        except pa.ArrowInvalid:
            columns = self._read_as_text(block)
        escaped = _has_backslash(np.frombuffer(block, np.uint8))
        made: list[Array] = []
        misfits: dict[int, Mask] = {}
        for number, array in enumerate(columns):
            made_of, misfit = self._make(number, array, escaped=escaped)
            made.append(made_of)
            if misfit is not None and misfit.any():
                misfits[number] = misfit
        if not misfits:
            yield pa.RecordBatch.from_arrays(made, names=self._names)
            return
        texts = {number: _unescaped(columns[number]) if escaped else columns[number] for number in misfits}
        yield from apart(made, texts, misfits, self._names)

    def _read(self, block: memoryview) -> list[Array]:
        kinds = {
            key: pa.string() if number in self._texts else column.native.arrow
            for number, (key, column) in enumerate(zip(self._keys, self._columns, strict=True))
        }
        return _parsed(block, kinds, lead=True)

    def _read_as_text(self, block: memoryview) -> list[Array]:
        """Read text where a value does not fit, or is no UTF-8: a database in SQL_ASCII may have anything."""
        kinds = {
            key: pa.string() if number in self._texts or _may_not_fit(column.native.arrow) else column.native.arrow
            for number, (key, column) in enumerate(zip(self._keys, self._columns, strict=True))
        }
        try:
            columns = _parsed(block, kinds, lead=True)
        except pa.ArrowInvalid:
            kinds = {key: pa.binary() if pa.types.is_string(kind) else kind for key, kind in kinds.items()}
            columns = [_as_utf8(array) for array in _parsed(block, kinds, lead=True)]
        # What did not fit once is likely to come again.
        self._texts |= {
            number
            for number, (array, column) in enumerate(zip(columns, self._columns, strict=True))
            if column.spelling == "value" and pa.types.is_string(array.type) and _misfits(array, column.native.arrow)
        }
        return columns

    def _make(self, number: int, array: Array, *, escaped: bool) -> tuple[Array, Mask | None]:
        """Make a column's values of what was parsed; the mask marks those that its type cannot hold."""
        column = self._columns[number]
        broken: Mask | None = None
        if pa.types.is_binary(array.type):
            array, broken = _without_broken(array)
        match column.spelling:
            case "text":
                return (_unescaped(array) if escaped else array), broken
            case "bytes":
                return _bytes(array, prefix=len(_HEX_PREFIX) + 1), None
            case "list":
                assert column.native.element is not None  # noqa: S101  every list has elements
                texts = _unescaped(array) if escaped else array
                lists, misfits = _lists(texts, column.native.element, drop_bounds=column.drop_bounds)
                return lists, misfits if broken is None else misfits | broken
        return (array, None) if array.type == column.native.arrow else _values(array, column.native.arrow)


def _parsed(block: Any, kinds: dict[str, pa.DataType], *, lead: bool) -> list[Array]:
    """Let Arrow parse; a value that does not fit its type is an error."""
    table = pacsv.read_csv(
        cast("IO[Any]", pa.BufferReader(block)),  # the stubs do not know that it is a file
        read_options=pacsv.ReadOptions(
            use_threads=False, block_size=len(block) + 1, column_names=[*([_LEAD] if lead else []), *kinds]
        ),
        parse_options=_PARSING,
        convert_options=pacsv.ConvertOptions(
            column_types=kinds,
            include_columns=list(kinds),
            null_values=[_NULL],
            strings_can_be_null=True,
            true_values=["t"],
            false_values=["f"],
            timestamp_parsers=cast("Any", [pacsv.ISO8601]),
        ),
    )
    return [column.combine_chunks() if column.num_chunks != 1 else column.chunk(0) for column in table.columns]


def _has_backslash(octets: NDArray[np.uint8]) -> bool:
    """Look piece by piece: what is compared stays in the processor's cache."""
    starts = range(0, len(octets), _PIECE_BYTES)
    return any(bool((octets[start : start + _PIECE_BYTES] == _BACKSLASH).any()) for start in starts)


def _unescaped(texts: Array) -> Array:
    """Take escapes out."""
    data = texts.buffers()[2]
    if data is None or not _has_backslash(np.frombuffer(data, np.uint8)):
        return texts
    texts = pc.replace_substring(texts, pattern="\\\\", replacement=_STAND_IN)
    octets = texts.buffers()[2].to_pybytes()
    for letter, character in _ESCAPES:
        if b"\\" + letter.encode() in octets:
            texts = pc.replace_substring(texts, pattern="\\" + letter, replacement=character)
    return pc.replace_substring(texts, pattern=_STAND_IN, replacement="\\") if b"\0" in octets else texts


def _bytes(texts: Array, *, prefix: int) -> Array:
    """Read hexadecimal digits after a prefix of so many characters."""
    absent = texts.is_null() if texts.null_count else None
    if absent is not None:  # Arrow's slice wants that there is something to cut off
        texts = pc.fill_null(texts, " " * prefix)
    digits = pc.binary_slice(texts.cast(pa.binary()), start=prefix, stop=_ANY_END)
    _, offsets, data = digits.buffers()
    starts = np.frombuffer(offsets, np.int32)[digits.offset : digits.offset + len(digits) + 1]
    octets = binascii.unhexlify(memoryview(data)[starts[0] : starts[-1]]) if data is not None else b""
    halves = ((starts - starts[0]) // 2).astype(np.int32)
    found = pa.BinaryArray.from_buffers(pa.binary(), len(digits), [None, buffer_of(halves), buffer_of(octets)])
    return found if absent is None else pc.if_else(absent, pa.scalar(None, pa.binary()), found)


def _lists(texts: Array, element: NativeType, *, drop_bounds: bool) -> tuple[Array, Mask]:
    lists, misfits = split_arrays(texts, drop_bounds=drop_bounds)
    values = lists.values
    wrong: Mask | None = None
    if pa.types.is_binary(element.arrow):
        values = _bytes(values, prefix=len(_HEX_PREFIX))
    elif not pa.types.is_string(element.arrow):
        values, wrong = _values(values, element.arrow)
    if wrong is not None and wrong.any():
        rows = np.repeat(np.arange(len(lists)), np.diff(lists.offsets.to_numpy()))
        misfits = misfits.copy()
        misfits[rows[wrong]] = True
    return lists_of(lists.offsets, values, mask=lists.is_null()), misfits


def _values(texts: Array, kind: pa.DataType) -> tuple[Array, Mask | None]:
    """Read values of text without escapes; the mask marks what the type cannot hold, which becomes null."""
    odd = _misfits(texts, kind)
    if not odd:
        return _cast(texts, kind), None
    strange = _odd(texts, kind)
    values = _cast(pc.if_else(strange, pa.scalar(None, pa.string()), texts), kind)
    others = pc.if_else(strange, texts, pa.scalar(None, pa.string()))
    if pa.types.is_date(kind):
        values = pc.coalesce(values, far_dates(others))
    elif pa.types.is_timestamp(kind):
        values = pc.coalesce(values, far_moments(others, kind))
    return values, _valid(texts) & ~_valid(values)


def _cast(texts: Array, kind: pa.DataType) -> Array:
    """Read values as the parser of whole blocks reads them."""
    if not len(texts):
        return pa.array([], kind)
    lines = lists_of(pa.array([0, len(texts)], pa.int32()), pc.fill_null(texts, _NULL))
    (joined,) = pc.binary_join(lines, "\n").cast(pa.binary()).to_pylist()
    (values,) = _parsed(joined + b"\n", {"c0": kind}, lead=False)
    return values


def _may_not_fit(kind: pa.DataType) -> bool:
    return pa.types.is_decimal(kind) or pa.types.is_temporal(kind)


def _misfits(texts: Array, kind: pa.DataType) -> bool:
    return _may_not_fit(kind) and bool(pc.any(_odd(texts, kind)).as_py())


def _odd(texts: Array, kind: pa.DataType) -> Array:
    """Mark values that Arrow's parser does not take."""
    if pa.types.is_decimal(kind):
        odd = pc.is_in(texts, value_set=_NOT_NUMBERS)
    elif pa.types.is_time(kind):
        odd = pc.starts_with(texts, "24:")
    else:
        odd = pc.invert(pc.match_substring_regex(texts, _PLAIN_DATE if pa.types.is_date(kind) else _PLAIN_MOMENT))
    return pc.fill_null(odd, fill_value=False)


def _as_utf8(array: Array) -> Array:
    """Give text where all of it is UTF-8; else the bytes."""
    if not pa.types.is_binary(array.type):
        return array
    try:
        return array.cast(pa.string())
    except pa.ArrowInvalid:
        return array


def _without_broken(array: Array) -> tuple[Array, Mask]:
    """Give bytes as text, those that are no UTF-8 as null; the mask marks them."""
    broken = np.array([not _is_utf8(value) for value in array.to_pylist()], np.bool_)
    return pc.if_else(pa.array(broken), pa.scalar(None, pa.binary()), array).cast(pa.string()), broken


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _valid(array: Array) -> Mask:
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), np.bool_)
