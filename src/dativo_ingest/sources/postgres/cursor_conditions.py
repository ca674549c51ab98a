"""The column that an incremental stream follows, and the conditions that say what is new of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyarrow as pa

from dativo_ingest.databases.selection import range_of
from dativo_ingest.databases.uuids import earlier
from dativo_ingest.postgres.names import quoted
from dativo_ingest.postgres.sessions import Session
from dativo_ingest.sources.postgres.relations import Column
from dativo_ingest.sources.postgres.selection import literal
from dativo_plugin_sdk import InvalidConfigError, StreamSpec

_FIRST_INFINITE_NUMERIC = 140000


def range_conditions(stream: StreamSpec, column: Column) -> list[str]:
    """Ask for the range of the cursor that a run is limited to.

    Raises:
        InvalidConfigError: An end is no value of the column's type, or there is nothing between them.
    """
    range_of(stream, column)
    return [
        f"{quoted(column.name)} {sign} {literal(text, column.source_type)}"
        for sign, text in ((">=", stream.cursor_from), ("<", stream.cursor_to))
        if text is not None
    ]


def going_back(stream: str, column: Column, cursor: Any, lookback: timedelta | int) -> str:
    """Ask for rows from so much before a value on.

    Raises:
        InvalidConfigError: Nothing of that kind can be taken from the column's values.
    """
    kind = column.native.arrow
    written = literal(cursor, column.source_type)
    is_number = pa.types.is_integer(kind) or pa.types.is_decimal(kind) or column.source_type.startswith("numeric")
    if isinstance(lookback, int) and is_number:
        return f"{quoted(column.name)} > {written} - {lookback}"
    if isinstance(lookback, timedelta) and column.source_type == "uuid":
        return f"{quoted(column.name)} >= {literal(earlier(str(cursor), lookback), 'uuid')}"
    if isinstance(lookback, timedelta) and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        back = f"{written} - interval '{lookback.total_seconds()} seconds'"
        return f"{quoted(column.name)} >= ({back}){'::date' if pa.types.is_date(kind) else ''}"
    wanted = "a number, such as 1000" if is_number else "a time, such as 1h"
    raise InvalidConfigError(
        f"stream {stream}: for the cursor {column.name} ({column.source_type}) lookback is {wanted}"
    )


def below_infinity(session: Session, column: Column) -> tuple[str, ...]:
    """Ask for numbers that others are higher than: were ``NaN`` the highest, nothing would be new after it."""
    if column.source_type in {"real", "double precision"}:
        return (f"{quoted(column.name)} < 'Infinity'",)
    if column.source_type.startswith("numeric"):
        end = "Infinity" if session.info.server_version >= _FIRST_INFINITE_NUMERIC else "NaN"
        return (f"{quoted(column.name)} < '{end}'",)
    return ()
