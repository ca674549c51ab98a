"""The column that a stream follows, as MySQL and MariaDB see it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

from dativo_ingest.databases.following import FollowedCursor, Holders, UpperBound
from dativo_ingest.databases.uuids import earlier, follows_time, lowest_at
from dativo_ingest.mysql.names import quoted
from dativo_ingest.mysql.sessions import Session, value
from dativo_ingest.sources.mysql.cursor_conditions import as_sql
from dativo_ingest.sources.mysql.open_transactions import begun, still_open
from dativo_ingest.sources.mysql.options import MysqlSourceOptions
from dativo_ingest.sources.mysql.selection import Selection
from dativo_ingest.sources.mysql.watermark import cannot_see, elsewhere, local_text, server_time, upper_bound
from dativo_plugin_sdk import InvalidConfigError

_STEP = "SELECT @@auto_increment_increment"


class MysqlCursor(FollowedCursor[Session, Selection, MysqlSourceOptions]):
    """A column of a MySQL or MariaDB server."""

    def begins_with_time(self, highest: str) -> bool:
        """Say whether the column has uuids of version 7."""
        if not (pa.types.is_string(self.kind) or pa.types.is_binary(self.kind)):
            return False
        try:
            text = str(UUID(highest))
        except ValueError:
            return False
        return follows_time(self._stream.name, self.name, text)

    def upper_bound(self, lag: timedelta) -> UpperBound:
        """Find how far times may be read."""
        return upper_bound(self._session, lag)

    def holders(self) -> Holders:
        """List all that has written, or is about to."""
        told = list(elsewhere(self._session))
        if not self._column.counts_up:
            told.append(
                f"nothing counts {self.name} up: rows may be missed where a later transaction writes a lower value"
            )
        elif int(value(self._session, _STEP)) > 1:
            told.append(
                f"auto_increment_increment is more than 1: where several servers count {self.name} up, rows that come"
                " from the others may be missed"
            )
        found = begun(self._session, server_time(self._session))
        if found is None:
            return Holders(warnings=(*told, cannot_see(self._session)))
        return Holders(tuple(each.transaction for each in found), tuple(told))

    def still_open(self, ids: frozenset[str]) -> frozenset[str]:
        """Give those of the transactions that have not ended."""
        return still_open(self._session, ids, server_time(self._session))

    def highest(self, conditions: Sequence[str]) -> str | None:
        """Find the highest value, in the order that the database has."""
        name = self._quoted
        shown = f"LOWER(HEX({name}))" if pa.types.is_binary(self.kind) else f"CAST({name} AS CHAR)"
        rows = self._selection.rest(*conditions, f"{name} IS NOT NULL")
        found = value(self._session, f"SELECT {shown} {rows} ORDER BY {name} DESC LIMIT 1")
        return None if found is None else str(found)

    def from_earlier(self, cursor: Any, lookback: timedelta | int) -> str:
        """Ask for rows from so much before a value on."""
        column, name = self._column, self._quoted
        if isinstance(lookback, int) and (pa.types.is_integer(self.kind) or pa.types.is_decimal(self.kind)):
            return f"{name} >= {Decimal(str(cursor)) - lookback:f}"
        if isinstance(lookback, timedelta) and self.is_time:
            back = f"{self._literal(cursor)} - INTERVAL {lookback.total_seconds()} SECOND"
            return f"{name} >= {f'DATE({back})' if pa.types.is_date(self.kind) else back}"
        if (
            isinstance(lookback, timedelta)
            and not pa.types.is_integer(self.kind)
            and self.begins_with_time(str(cursor))
        ):
            return f"{name} >= {self._as_uuid(earlier(str(cursor), lookback))}"
        wanted = "a time, such as 1h" if self.is_time else "a number, such as 1000"
        raise InvalidConfigError(
            f"stream {self._stream.name}: for the cursor {self.name} ({column.source_type}) lookback is {wanted}"
        )

    def doubts(self, cursor: Any) -> Iterator[str]:
        """Tell of a clock that was set back."""
        if self.is_time and cursor is not None:
            now = self._written(server_time(self._session))
            if value(self._session, f"SELECT {self._literal(cursor)} > {now}"):
                yield (
                    f"the server's clock is before {cursor}, which was read already: it was set back, and rows that are"
                    " written until it gets there are missed; lookback reads them"
                )

    def unread(self) -> Iterator[str]:
        """Tell of rows that are never read."""
        absent = f"{self._quoted} IS NULL"
        if self._column.nullable and value(self._session, f"SELECT EXISTS (SELECT 1 {self._selection.rest(absent)})"):
            yield f"rows whose {self.name} is null are not read: nobody can say whether they are new"

    @property
    def _quoted(self) -> str:
        return quoted(self.name)

    def _literal(self, cursor: Any) -> str:
        return as_sql(cursor, self._column)

    def _written(self, at: datetime) -> str:
        if not self.is_time:
            return self._as_uuid(lowest_at(at))
        has_zone = pa.types.is_timestamp(self.kind) and getattr(self.kind, "tz", None) is not None
        written = local_text(self._session, at, has_zone=has_zone, zone=self._options.time_zone)
        return f"DATE({written})" if pa.types.is_date(self.kind) else written

    def _as_uuid(self, text: str) -> str:
        return as_sql(text.replace("-", "") if pa.types.is_binary(self.kind) else text, self._column)
