"""Which columns new and changed rows can be found by; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from dativo_plugin_sdk import InvalidConfigError, StreamSpec

_CHANGED = re.compile(
    r"(^|_)(last_?)?(update|updated|modified|modification|modify|changed|change|edited|touched|synced)"
    r"(_?(at|on|ts|time|date|datetime|timestamp|utc))?($|_utc$|_at$)|^(mtime|last_update|row_?version_?at)$|^_?sys_?modif",
    re.IGNORECASE,
)
_CREATED = re.compile(
    r"(^|_)(created|creation|inserted|insert|added|occurred|happened|logged|recorded|ingested|event|log)"
    r"(_?(at|on|ts|time|date|datetime|timestamp|utc))?$|^(ts|timestamp|ctime)$",
    re.IGNORECASE,
)


class FollowedColumn(Protocol):
    """A column, as far as it matters to following rows."""

    @property
    def name(self) -> str:
        """Give its name."""

    @property
    def arrow(self) -> pa.DataType:
        """Give the type that it becomes."""

    @property
    def nullable(self) -> bool:
        """Say whether it may be null."""

    @property
    def counts_up(self) -> bool:
        """Say whether the database itself gives each new row a larger number."""

    @property
    def tells_changes(self) -> bool:
        """Say whether the database itself sets it to the time of each change of the row."""

    @property
    def is_uuid7(self) -> bool:
        """Say whether its values are uuids that rise with time."""


class FollowedRelation(Protocol):
    """A table or a view, as far as it matters to following its rows."""

    @property
    def columns(self) -> Sequence[FollowedColumn]:
        """Give the columns that can be read."""

    @property
    def key(self) -> Sequence[str]:
        """Name the columns that tell rows apart; empty where none do."""


def cursor_candidates(relation: FollowedRelation) -> list[str]:
    """Name the columns that rows can be followed by, the most telling first.

    First times of the last change: those that the database sets itself, then those of a telling name, never null before
    nullable. Then numbers and uuids that rise with each new row, then times of creation; both of them miss changes.
    """
    columns = relation.columns
    found = [
        *_times_of_change(columns),
        *(column.name for column in columns if _rises(column)),
        *_times(columns, _CREATED),
    ]
    return list(dict.fromkeys(found))


def require_known(
    stream: StreamSpec, title: str, columns: Sequence[FollowedColumn], relation: FollowedRelation | None
) -> None:
    """See that a stream's cursor is one of its columns, where it names one.

    Args:
        stream: The stream.
        title: What it reads.
        columns: What it selects.
        relation: The table or view that it reads; None for a query.

    Raises:
        InvalidConfigError: It is not; the hint names columns that would do.
    """
    if stream.cursor is None or stream.cursor in {column.name for column in columns}:
        return
    candidates = [] if relation is None else cursor_candidates(relation)
    raise InvalidConfigError(
        f"streams.{stream.name}.cursor: {title} has no column {stream.cursor}",
        hint=f"{', '.join(candidates)} would do" if candidates else "read it with mode: full_refresh",
    )


def proposed_cursor(relation: FollowedRelation) -> str | None:
    """Choose the never null time of a row's last change, where there is one and a key to merge by."""
    required = [column for column in relation.columns if not column.nullable]
    return next(iter(_times_of_change(required)), None) if relation.key else None


def _times(columns: Sequence[FollowedColumn], name: re.Pattern[str]) -> list[str]:
    fit = [column for column in columns if pa.types.is_timestamp(column.arrow) and name.search(column.name)]
    return [column.name for column in sorted(fit, key=lambda column: column.nullable)]


def _times_of_change(columns: Sequence[FollowedColumn]) -> list[str]:
    told = [column for column in columns if column.tells_changes and pa.types.is_timestamp(column.arrow)]
    return [*(column.name for column in sorted(told, key=lambda column: column.nullable)), *_times(columns, _CHANGED)]


def _rises(column: FollowedColumn) -> bool:
    return not column.nullable and (column.is_uuid7 or (column.counts_up and _is_whole(column.arrow)))


def _is_whole(kind: pa.DataType) -> bool:
    """Say whether it holds whole numbers alone; those of bigint unsigned take a decimal."""
    return pa.types.is_integer(kind) or (isinstance(kind, pa.Decimal128Type) and kind.scale == 0)
