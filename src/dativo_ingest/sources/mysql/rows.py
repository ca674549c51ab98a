"""One block of a result's rows into Arrow: typed at once where every value fits, else column by column.

The lengths that stand before values are overwritten with a delimiter, in place, and the block goes through Arrow's CSV
parser as it is: values in a result have no quotes and no escapes. Columns whose values a parser of lines cannot read,
which are bytes, long values and text with line feeds, are copied out of the block first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as pacsv

from dativo_ingest.databases.arrow import Array, Mask, Octets, Positions, booleans, buffer_of, integers, pc
from dativo_ingest.databases.misfits import apart
from dativo_ingest.databases.native_types import DatabaseType
from dativo_ingest.databases.selection import DatabaseReadColumn
from dativo_ingest.sources.mysql.calendar_texts import dates, moments
from dativo_ingest.sources.mysql.cells import Cells, find_cells
from dativo_ingest.sources.mysql.packets import HEADER_BYTES

_LEAD = "lead"
_LINE_FEED, _CARRIAGE_RETURN, _DELIMITER, _BLANK = 10, 13, 1, 32
_FIRST_LETTER = 32  # of those that print
_HEADER = np.frombuffer(b"\n   ", np.uint32)[0]
"""What stands before each row: the end of the line before, and a cell that nobody reads."""

_PARSING = pacsv.ParseOptions(
    delimiter=chr(_DELIMITER),
    quote_char=False,
    escape_char=False,
    double_quote=False,
    newlines_in_values=False,
    ignore_empty_lines=False,
)


@dataclass(frozen=True)
class ReadColumn(DatabaseReadColumn[DatabaseType]):
    """A column that is read: its name, how it is asked for, and what is made of it."""

    @property
    def spelling(self) -> Literal["value", "text", "bytes"]:
        """Say what the parser is to make of it."""
        arrow = self.native.arrow
        if pa.types.is_binary(arrow):
            return "bytes"
        return "text" if self.as_text or pa.types.is_string(arrow) else "value"


@dataclass(frozen=True)
class RowBlock:
    """Rows that follow each other, as the server sent them."""

    octets: Octets
    """Memory that the parser may overwrite."""
    starts: Positions
    """Where each row's packet begins."""
    end: int
    """Where the last row ends."""

    def from_row(self, number: int) -> RowBlock:
        """Leave out the first rows."""
        return RowBlock(self.octets, self.starts[number:], self.end)


class RowParser:
    """Parses the blocks of one query; used by one thread.

    Args:
        columns: What the query selects, in order.
    """

    def __init__(self, columns: Sequence[ReadColumn]) -> None:
        self._columns = columns
        self._keys = [f"c{number}" for number in range(len(columns))]  # names may be there twice, or be anything
        self._names = [column.name for column in columns]
        self._texts = {number for number, column in enumerate(columns) if column.spelling == "text"}

    def parse(self, block: RowBlock) -> Iterator[pa.RecordBatch]:
        """Give the rows of a block, which may be used again then.

        Rows with a value that its column's type cannot hold come in batches of their own, after the others: in each the
        same columns are at fault, and have the values as text.

        Raises:
            ArrowInvalid: A value is not of its column's type, or the rows are not as the columns say.
        """
        cells, ends = find_cells(block.octets, block.starts + HEADER_BYTES, len(self._columns))
        if not np.array_equal(ends, np.append(block.starts[1:], block.end)):
            raise pa.ArrowInvalid(f"rows have not the {len(self._columns)} values that were asked for")
        taken = self._take(block, cells)
        columns = self._read(block, taken)
        made: list[Array] = []
        misfits: dict[int, Mask] = {}
        for number, array in enumerate(columns):
            made_of, misfit = self._make(number, array)
            nulls = cells[number].nulls
            in_parser = self._columns[number].spelling == "value"  # which knows an empty one for null
            made.append(made_of if nulls is None or in_parser else _with_nulls(made_of, nulls))
            if misfit is not None and misfit.any():
                misfits[number] = misfit
        if not misfits:
            yield pa.RecordBatch.from_arrays(made, names=self._names)
            return
        texts: dict[int, Array] = {}
        for number in misfits:
            nulls = cells[number].nulls
            texts[number] = columns[number] if nulls is None else _with_nulls(columns[number], nulls)
        yield from apart(made, texts, misfits, self._names)

    def _take(self, block: RowBlock, cells: Sequence[Cells]) -> dict[int, Array]:
        """Copy out what a parser of lines cannot read, and make lines of the block."""
        octets = block.octets
        taken = {
            number: _copied(octets, each)
            for number, (each, column) in enumerate(zip(cells, self._columns, strict=True))
            if each.has_long or column.spelling == "bytes"
        }
        _draw_lines(block, cells, _HEADER, _DELIMITER)
        inside = octets[int(block.starts[0]) : block.end]
        marks = len(block.starts) * (len(cells) + 1)
        if np.count_nonzero(inside < _FIRST_LETTER) != marks and (
            np.count_nonzero((inside == _LINE_FEED) | (inside == _CARRIAGE_RETURN) | (inside == _DELIMITER)) != marks
        ):
            _draw_lines(block, cells, np.uint32(0x20202020), _BLANK)
            found = (inside == _LINE_FEED) | (inside == _CARRIAGE_RETURN) | (inside == _DELIMITER)
            places = np.flatnonzero(found) + int(block.starts[0])
            for number in _columns_of(places, block.starts, cells):
                if number not in taken:
                    taken[number] = _copied(octets, cells[number])
            octets[places] = _BLANK
            _draw_lines(block, cells, _HEADER, _DELIMITER)
        return taken

    def _read(self, block: RowBlock, taken: dict[int, Array]) -> list[Array]:
        lines = block.octets.data[int(block.starts[0]) + 1 : block.end]
        kinds = {number: self._kind(number) for number in range(len(self._columns)) if number not in taken}
        try:
            columns = self._parsed(lines, kinds)
        except pa.ArrowInvalid:
            columns = self._read_as_text(lines, kinds)
        return [taken[number] if number in taken else columns[number] for number in range(len(self._columns))]

    def _read_as_text(self, lines: memoryview, kinds: dict[int, pa.DataType]) -> dict[int, Array]:
        """Read text where a value does not fit, or is no UTF-8."""
        kinds = {number: pa.string() if pa.types.is_temporal(kind) else kind for number, kind in kinds.items()}
        try:
            columns = self._parsed(lines, kinds)
        except pa.ArrowInvalid:
            kinds = {number: pa.binary() if pa.types.is_string(kind) else kind for number, kind in kinds.items()}
            columns = self._parsed(lines, kinds)
        # What did not fit once is likely to come again.
        self._texts |= {number for number, kind in kinds.items() if pa.types.is_string(kind)}
        return columns

    def _kind(self, number: int) -> pa.DataType:
        if number in self._texts:
            return pa.string()
        kind: Any = self._columns[number].native.arrow
        return pa.timestamp(kind.unit) if pa.types.is_timestamp(kind) else kind  # the server writes no zone

    def _parsed(self, lines: memoryview, kinds: dict[int, pa.DataType]) -> dict[int, Array]:
        """Let Arrow parse; a value that does not fit its type is an error."""
        if not kinds:
            return {}
        wanted = {self._keys[number]: kind for number, kind in kinds.items()}
        table = pacsv.read_csv(
            cast("IO[Any]", pa.BufferReader(lines)),  # the stubs do not know that it is a file
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=len(lines) + 1, column_names=[_LEAD, *self._keys]
            ),
            parse_options=_PARSING,
            convert_options=pacsv.ConvertOptions(
                column_types=wanted,
                include_columns=list(wanted),
                null_values=[""],  # of numbers and times; what is null among texts is known from their lengths
                strings_can_be_null=False,
                true_values=["1"],
                false_values=["0"],
                timestamp_parsers=cast("Any", [pacsv.ISO8601]),
            ),
        )
        arrays = [column.combine_chunks() if column.num_chunks != 1 else column.chunk(0) for column in table.columns]
        return dict(zip(kinds, arrays, strict=True))

    def _make(self, number: int, array: Array) -> tuple[Array, Mask | None]:
        """Make a column's values of what was parsed; the mask marks those that its type cannot hold."""
        column = self._columns[number]
        kind: Any = column.native.arrow
        if column.spelling == "bytes":
            return array, None
        if pa.types.is_binary(array.type):
            array, broken = _without_broken(array)
            if column.spelling == "text":
                return array, broken
        if column.spelling == "text" or array.type == kind:
            return array, None
        if not pa.types.is_string(array.type):
            return array.cast(kind), None  # a moment, which is in UTC
        absent = pc.equal(array, "")
        texts = pc.if_else(absent, pa.scalar(None, pa.string()), array)
        if pa.types.is_date(kind):
            values = dates(texts)
        elif pa.types.is_timestamp(kind):
            values = moments(texts, kind)
        else:
            return texts.cast(kind), None
        return values, np.asarray(pc.and_(texts.is_valid(), values.is_null()).to_numpy(zero_copy_only=False), np.bool_)


def _draw_lines(block: RowBlock, cells: Sequence[Cells], header: np.uint32, mark: int) -> None:
    """Write over what stands before rows and before values."""
    headers: NDArray[np.uint32] = np.ndarray((len(block.octets) - 3,), np.uint32, block.octets, 0, (1,))
    headers[block.starts] = header
    for each in cells:
        block.octets[each.marks] = mark


def _columns_of(places: Positions, starts: Positions, cells: Sequence[Cells]) -> Iterator[int]:
    """Find the columns whose values hold the bytes at these places."""
    rows = np.searchsorted(starts, places, side="right") - 1
    for number, each in enumerate(cells):
        if not len(places):
            return
        held = (each.starts[rows] <= places) & (places < each.ends[rows])
        if held.any():
            yield number
            places, rows = places[~held], rows[~held]


def _copied(octets: Octets, cells: Cells) -> Array:
    """Copy a column's values out of the block, as bytes."""
    count = len(cells.starts)
    bounds = np.empty(2 * count, np.int32)
    bounds[0::2] = cells.starts
    bounds[1::2] = cells.ends
    whole: Array = pa.Array.from_buffers(
        pa.binary(), max(0, 2 * count - 1), [None, buffer_of(bounds), buffer_of(octets)]
    )
    return whole.take(integers(np.arange(0, 2 * count, 2)))


def _with_nulls(array: Array, nulls: Mask) -> Array:
    """Mark values as null; nothing is copied."""
    assert array.offset == 0  # noqa: S101  the parser and `take` make arrays that begin where their memory does
    bits = np.packbits(~nulls, bitorder="little")
    _, *buffers = array.buffers()
    return pa.Array.from_buffers(array.type, len(array), [buffer_of(bits), *buffers])


def _without_broken(array: Array) -> tuple[Array, Mask]:
    """Give bytes as text, those that are no UTF-8 as null; the mask marks them."""
    try:
        return array.cast(pa.string()), np.zeros(len(array), np.bool_)
    except pa.ArrowInvalid:
        broken = np.array([not _is_utf8(value) for value in array.to_pylist()], np.bool_)
        return pc.if_else(booleans(broken), pa.scalar(None, pa.binary()), array).cast(pa.string()), broken


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
