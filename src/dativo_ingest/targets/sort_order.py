"""Sort orders as a job writes them: ``id``, ``id desc``, ``id asc nulls first``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

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
    names = schema.names
    match = _ORDER.fullmatch(text.strip())
    if text in names or match is None:
        key = SortKey(text)
    else:
        key = SortKey(
            match["column"],
            descending=(match["direction"] or "asc").lower() == "desc",
            nulls_first=(match["nulls"] or "last").lower() == "first",
        )
    if key.column not in names:
        raise InvalidConfigError(f"sort_by: no column {key.column!r}; there are: {', '.join(names)}")
    found = schema.field(key.column).type
    if pa.types.is_nested(found) or isinstance(found, pa.BaseExtensionType):
        raise InvalidConfigError(f"sort_by: column {key.column!r} is {found}, which has no order")
    return key
