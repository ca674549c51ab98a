"""One incremental run of a stream: what is new, and where the run stops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from dativo_ingest.databases.cursor_state import CursorState, Highest, follows_as_arrow
from dativo_ingest.mysql.names import literal, quoted
from dativo_ingest.mysql.sessions import Session, value
from dativo_ingest.sources.mysql.cursor_conditions import beyond, up_to
from dativo_ingest.sources.mysql.relations import Column
from dativo_ingest.sources.mysql.rows import ReadColumn
from dativo_ingest.sources.mysql.selection import Selection
from dativo_ingest.sources.mysql.watermark import upper_bound
from dativo_plugin_sdk import State


class Following:
    """What a run reads of a stream that follows a cursor, and the state it comes to.

    Args:
        session: A session with no transaction under way, before the image that is read is taken.
        column: The cursor.
        selection: The stream.
        columns: What is read of it.
        state: Where the last run stopped.

    Attributes:
        selection: The stream's rows that are new.
        warnings: What the report must say.
    """

    def __init__(
        self,
        session: Session,
        column: Column,
        selection: Selection,
        columns: Sequence[ReadColumn],
        state: CursorState | None,
    ) -> None:
        self._column = column
        self.warnings = list(_without_cursor(session, column, selection) if state is None else ())
        if state is not None:
            selection = selection.where(beyond(column, state.cursor))
        bound = upper_bound(session, column)
        self.warnings += bound.warnings
        if bound.before is not None:
            selection = selection.where(f"{quoted(column.name)} < {literal(bound.before)}")
        self._highest: Highest | None = None
        self._asked: Any = None
        if follows_as_arrow(column.native.arrow) and any(
            each.name == column.name and not each.as_text for each in columns
        ):
            self._highest = Highest(column.name, column.native.arrow)
        else:
            self._asked = _highest(session, column, selection)
            selection = selection.where(up_to(column, self._asked))
        self.selection = selection

    def see(self, batch: pa.RecordBatch) -> None:
        """Take note of rows that were read."""
        if self._highest is not None:
            self._highest.see(batch)

    def reached(self) -> State | None:
        """Give the state after the last row; None where there was none."""
        cursor = self._asked if self._highest is None else self._highest.as_json
        return None if cursor is None else CursorState(self._column.name, cursor).to_json()


def _highest(session: Session, column: Column, selection: Selection) -> str | None:
    name = quoted(column.name)
    shown = f"LOWER(HEX({name}))" if pa.types.is_binary(column.native.arrow) else f"CAST({name} AS CHAR)"
    found = value(session, f"SELECT {shown} {selection.rest(f'{name} IS NOT NULL')} ORDER BY {name} DESC LIMIT 1")
    return None if found is None else str(found)


def _without_cursor(session: Session, column: Column, selection: Selection) -> list[str]:
    if not column.nullable:
        return []
    absent = f"{quoted(column.name)} IS NULL"
    if not value(session, f"SELECT EXISTS (SELECT 1 {selection.rest(absent)})"):
        return []
    return [f"rows whose {column.name} is null are not read: nobody can say whether they are new"]
