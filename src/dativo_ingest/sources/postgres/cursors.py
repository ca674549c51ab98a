"""Which columns new and changed rows can be found by; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from dativo_ingest.sources.postgres.relations import Column, Relation

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


def cursor_candidates(relation: Relation) -> list[str]:
    """Name the columns that rows can be followed by, the most telling first.

    First times of the last change, never null before nullable, then numbers and uuids that rise with each new row, then
    times of creation; both of the latter miss changes.
    """
    columns = relation.columns
    found = [
        *_times(columns, _CHANGED),
        *(column.name for column in columns if _rises(column)),
        *_times(columns, _CREATED),
    ]
    return list(dict.fromkeys(found))


def proposed_cursor(relation: Relation) -> str | None:
    """Choose the never null time of a row's last change, where there is one and a key to merge by."""
    required = [column for column in relation.columns if not column.nullable]
    return next(iter(_times(required, _CHANGED)), None) if relation.key else None


def _times(columns: Sequence[Column], name: re.Pattern[str]) -> list[str]:
    fit = [column for column in columns if pa.types.is_timestamp(column.native.arrow) and name.search(column.name)]
    return [column.name for column in sorted(fit, key=lambda column: column.nullable)]


def _rises(column: Column) -> bool:
    return not column.nullable and (column.is_uuid7 or (column.counts_up and pa.types.is_integer(column.native.arrow)))
