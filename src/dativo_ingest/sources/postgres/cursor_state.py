"""Where an incremental stream stopped, and the conditions that say what is new since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dativo_ingest.postgres.names import quoted
from dativo_ingest.sources.postgres.arrow import pc
from dativo_ingest.sources.postgres.relations import Column
from dativo_ingest.sources.postgres.selection import Selection, literal
from dativo_plugin_sdk import DataError, InvalidConfigError, State, StreamSpec
from dativo_plugin_sdk.cursor import cursor_bound, cursor_to_json, higher

_VERSION = 1


@dataclass(frozen=True)
class CursorState:
    """The state of a stream that follows a column: rows beyond ``cursor`` are new."""

    column: str
    cursor: Any
    """As JSON has it: whole numbers and text as they are, all else as text that Postgres reads back."""

    @classmethod
    def of(cls, stream: StreamSpec, state: State | None) -> CursorState | None:
        """Read a state.

        Raises:
            DataError: A newer version of Dativo wrote it, or it is none.
            InvalidConfigError: It follows another column.
        """
        if not state:
            return None
        if state.get("version") != _VERSION or "cursor" not in state:
            raise DataError(
                f"stream {stream.name}: this version cannot read the state {state}",
                hint="update dativo-ingest, or reset the stream's state",
            )
        found = cls(str(state.get("column")), state["cursor"])
        if found.column != stream.cursor:
            raise InvalidConfigError(
                f"stream {stream.name}: the state follows {found.column}, the job {stream.cursor}",
                hint="reset the stream's state, run with --full-refresh, or set `cursor` back",
            )
        return found

    def to_json(self) -> State:
        """Write the state."""
        return {"version": _VERSION, "column": self.column, "cursor": self.cursor}


def cursor_column(stream: StreamSpec, selection: Selection) -> Column:
    """Find the column that the stream follows.

    Raises:
        InvalidConfigError: There is none, or it is not among those that are read.
    """
    if stream.cursor is None:
        raise InvalidConfigError(
            f"stream {stream.name}: mode: incremental needs a cursor, the column by which new rows are found",
            hint="dativo discover lists cursor candidates",
        )
    return selection.column(stream.cursor)


def range_conditions(stream: StreamSpec, column: Column) -> list[str]:
    """Ask for the range of the cursor that a run is limited to.

    Raises:
        InvalidConfigError: An end is no value of the column's type, or there is nothing between them.
    """
    kind = column.native.arrow
    first, end = (cursor_bound(text, kind, column=column.name) for text in (stream.cursor_from, stream.cursor_to))
    if first is not None and end is not None and column.fidelity != "text" and pc.greater_equal(first, end).as_py():
        raise InvalidConfigError(f"stream {stream.name}: no {column.name} is from {first} and below {end}")
    return [
        f"{quoted(column.name)} {sign} {literal(text, column.source_type)}"
        for sign, text in ((">=", stream.cursor_from), ("<", stream.cursor_to))
        if text is not None
    ]


def beyond(column: Column, cursor: Any) -> str:
    """Ask for rows beyond a value."""
    return f"{quoted(column.name)} > {literal(cursor, column.source_type)}"


def up_to(column: Column, cursor: Any) -> str:
    """Ask for rows up to a value and of it; for none where there is no value."""
    return "false" if cursor is None else f"{quoted(column.name)} <= {literal(cursor, column.source_type)}"


def follows_as_arrow(column: Column) -> bool:
    """Say whether Arrow orders the column's values as Postgres does: text has collations, and floats have NaN."""
    kind = column.native.arrow
    return pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_temporal(kind)


class Highest:
    """The highest value of the cursor among the rows that were read."""

    def __init__(self, column: Column) -> None:
        self._column = column
        self._value: pa.Scalar[Any] | None = None

    def see(self, batch: pa.RecordBatch) -> None:
        """Take note of a batch."""
        at = batch.schema.get_field_index(self._column.name)
        values = batch.column(at) if at >= 0 else None
        if values is None or values.null_count == len(values) or not follows_as_arrow(self._column):
            return
        if values.type == self._column.native.arrow or pa.types.is_integer(values.type):
            self._value = higher(self._value, pc.max(values))

    @property
    def as_json(self) -> Any:
        """The value as the state has it; None where there was none."""
        return cursor_to_json(self._value)
