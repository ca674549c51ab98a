"""The column that an incremental stream follows, and the conditions that say what is new of it."""

from __future__ import annotations

from typing import Any

from dativo_ingest.postgres.names import quoted
from dativo_ingest.sources.postgres.arrow import pc
from dativo_ingest.sources.postgres.relations import Column
from dativo_ingest.sources.postgres.selection import Selection, literal
from dativo_plugin_sdk import InvalidConfigError, StreamSpec
from dativo_plugin_sdk.cursor import cursor_bound


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
