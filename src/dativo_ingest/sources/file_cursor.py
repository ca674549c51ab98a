"""Following a file stream by its cursor column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dativo_ingest.sources.file_state import FilesState
from dativo_plugin_sdk import InvalidConfigError, Message, Rejected, Rows, Skipped, StreamSpec, rejected, row_json
from dativo_plugin_sdk.cursor import (
    cursor_bound,
    cursor_from_json,
    cursor_to_json,
    higher,
    rows_in_range,
    split_by_cursor,
)


class RangeFilter:
    """Lets the rows of a range of the cursor through; the state is left alone."""

    def __init__(
        self, column: str, kind: pa.DataType, first: pa.Scalar[Any] | None, end: pa.Scalar[Any] | None
    ) -> None:
        self._column = column
        self._kind = kind
        self._first = first
        self._end = end

    def split(self, rows: Rows | Rejected) -> Iterator[Message]:
        """Give the rows that are in the range, the others as skipped."""
        if isinstance(rows, Rejected):
            yield Skipped(rows.batch.num_rows, "what cannot be parsed is in no range")
            return
        found = rows_in_range(_values(rows, self._column), self._kind, self._first, self._end)
        others = rows.batch.num_rows - len(found)
        if others == 0:
            yield rows
            return
        yield Skipped(others, f"{self._column} is not in the range asked for")
        yield _taken(rows, found)

    def remember(self, state: FilesState) -> None:
        """Leave the state as it is."""


class CursorFilter:
    """Lets rows beyond the state's cursor through, and remembers the highest value there is."""

    def __init__(
        self, column: str, kind: pa.DataType, after: pa.Scalar[Any] | None, highest: pa.Scalar[Any] | None
    ) -> None:
        self._column = column
        self._kind = kind
        self._after = after
        self._highest = highest

    @classmethod
    def of(cls, stream: StreamSpec, start: FilesState, now: FilesState) -> CursorFilter | RangeFilter | None:
        """Make the filter that a stream asks for, None where it has no cursor.

        Raises:
            InvalidConfigError: The schema lacks the column, the state follows another one, or an end of the range is
                no value of the column's type.
        """
        column = stream.cursor
        if column is None or stream.mode != "incremental" or stream.schema is None:
            return None
        at = stream.schema.get_field_index(column)
        if at < 0:
            raise InvalidConfigError(
                f"stream {stream.name}: there is no column {column} to follow; there are: "
                f"{', '.join(stream.schema.names)}",
                hint="set `cursor` to a column of the stream",
            )
        if stream.cursor_from is not None or stream.cursor_to is not None:
            kind = stream.schema.field(at).type
            first, end = (cursor_bound(text, kind, column=column) for text in (stream.cursor_from, stream.cursor_to))
            if first is not None and end is not None and pc.greater_equal(first, end).as_py():
                raise InvalidConfigError(f"stream {stream.name}: no {column} is from {first} and below {end}")
            return RangeFilter(column, kind, first, end)
        if start.cursor_column not in (None, column):
            raise InvalidConfigError(
                f"stream {stream.name}: the state follows {start.cursor_column}, the job {column}",
                hint="reset the stream's state, run with --full-refresh, or set `cursor` back",
            )
        kind = stream.schema.field(at).type
        return cls(
            column,
            kind,
            cursor_from_json(start.cursor, kind, column=column),
            cursor_from_json(now.cursor, kind, column=column),
        )

    def split(self, rows: Rows | Rejected) -> Iterator[Message]:
        """Give the rows that are new, the others as skipped, those without a value as rejected."""
        if isinstance(rows, Rejected):
            yield rows
            return
        found = split_by_cursor(_values(rows, self._column), self._kind, self._after)
        self._highest = higher(self._highest, found.highest)
        if found.keeps_all:
            yield rows
            return
        if len(found.missing):
            yield self._without_value(rows, found.missing)
        if found.seen:
            yield Skipped(found.seen, f"{self._column} is not beyond the state's cursor, {self._after}")
        yield _taken(rows, found.new)

    def remember(self, state: FilesState) -> None:
        """Write the highest value into the state."""
        state.cursor = cursor_to_json(self._highest)
        state.cursor_column = self._column

    def _without_value(self, rows: Rows, indices: pa.Array[Any]) -> Rejected:
        taken = _taken(rows, indices)
        lines = _lines(taken)
        return Rejected(
            rejected(
                [
                    {
                        "column": self._column,
                        "rule": "cursor",
                        "reason": f"{self._column} is null, so nobody can say whether the row is new",
                        "row": row_json(row),
                        "source": rows.source,
                        "line": line,
                    }
                    for row, line in zip(taken.batch.to_pylist(), lines, strict=True)
                ]
            )
        )


def _values(rows: Rows, column: str) -> pa.Array[Any]:
    """Give a column's values, nulls where a file lacks it."""
    at = rows.batch.schema.get_field_index(column)
    return pa.nulls(rows.batch.num_rows) if at < 0 else rows.batch.column(at)


def _lines(rows: Rows) -> list[int | None]:
    if rows.lines is not None:
        return rows.lines.to_pylist()
    if rows.first_line is not None:
        return list(range(rows.first_line, rows.first_line + rows.batch.num_rows))
    return [None] * rows.batch.num_rows


def _taken(rows: Rows, indices: pa.Array[Any]) -> Rows:
    """Give some of the rows, with their lines; rows that follow each other are not copied."""
    count = len(indices)
    if count == 0:
        return replace(rows, batch=rows.batch.slice(0, 0), lines=None)
    first = indices[0].as_py()
    if indices[-1].as_py() - first + 1 == count:
        return replace(
            rows,
            batch=rows.batch.slice(first, count),
            first_line=None if rows.first_line is None else rows.first_line + first,
            lines=None if rows.lines is None else rows.lines.slice(first, count),
        )
    lines = rows.lines.take(indices) if rows.lines is not None else None
    if rows.first_line is not None:
        lines = pc.add(indices.cast(pa.int64()), rows.first_line)
    return replace(rows, batch=rows.batch.take(indices), first_line=None, lines=lines)
