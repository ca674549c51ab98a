"""Sort orders as a job writes them: ``id``, ``id desc``, ``id asc nulls first``."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from dativo_plugin_sdk import InvalidConfigError

_ORDER = re.compile(
    r"(?P<column>.+?)(?:\s+(?P<direction>asc|desc))?(?:\s+nulls\s+(?P<nulls>first|last))?", re.IGNORECASE
)


@dataclass(frozen=True)
class SortKey:
    """One column to sort by; nulls come last unless asked otherwise."""

    column: str
    descending: bool = False
    nulls_first: bool = False


def parse_sort_order(texts: Sequence[str], schema: pa.Schema) -> tuple[SortKey, ...]:
    """Read what ``sort_by`` says; a column whose name ends in such a word is meant when it exists.

    Raises:
        InvalidConfigError: A column is not in the schema, or its values have no order.
    """
    return tuple(_parse(text, schema) for text in texts)


def _parse(text: str, schema: pa.Schema) -> SortKey:
    asked = read_sort_key(text, schema.names)
    if asked.column not in schema.names:
        raise InvalidConfigError(f"sort_by: no column {asked.column!r}; there are: {', '.join(schema.names)}")
    found = schema.field(asked.column).type
    if pa.types.is_nested(found) or isinstance(found, pa.BaseExtensionType):
        raise InvalidConfigError(f"sort_by: column {asked.column!r} is {found}, which has no order")
    return SortKey(asked.column, asked.descending, nulls_first=asked.nulls == "first")


@dataclass(frozen=True)
class AskedOrder:
    """What one text of ``sort_by`` says; the column need not exist."""

    column: str
    descending: bool
    nulls: Literal["first", "last"] | None


def read_sort_key(text: str, columns: Collection[str]) -> AskedOrder:
    """Read ``id desc nulls first``; a text that is one of ``columns`` as a whole is that column, ascending."""
    name = text.strip()
    match = None if name in columns else _ORDER.fullmatch(name)
    if match is None:
        return AskedOrder(name, descending=False, nulls=None)
    nulls = (match["nulls"] or "").lower()
    return AskedOrder(
        match["column"],
        descending=(match["direction"] or "").lower() == "desc",
        nulls="first" if nulls == "first" else "last" if nulls else None,
    )
