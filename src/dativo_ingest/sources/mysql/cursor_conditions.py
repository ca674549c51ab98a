"""The conditions that say which rows of a stream are wanted, by its cursor."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from dativo_ingest.databases.selection import range_of
from dativo_ingest.mysql.names import literal, quoted
from dativo_ingest.sources.mysql.relations import Column
from dativo_plugin_sdk import DataError, StreamSpec

_NUMBER = re.compile(r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$")
_ZONE = re.compile(r"(Z|[+-]00(:?00)?)$")
_NUMBERS = ("decimal", "numeric", "bit")


def range_conditions(stream: StreamSpec, column: Column) -> list[str]:
    """Ask for the range of the cursor that a run is limited to.

    Raises:
        InvalidConfigError: An end is no value of the column's type, or there is nothing between them.
    """
    return [
        f"{quoted(column.name)} {sign} {as_sql(end.cast(pa.string()).as_py(), column)}"
        for sign, end in zip((">=", "<"), range_of(stream, column), strict=True)
        if end is not None
    ]


def as_sql(value: Any, column: Column) -> str:
    """Write a value of a column, as JSON has it: bytes are hexadecimal digits.

    Raises:
        DataError: It is none.
    """
    kind = column.native.arrow
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if pa.types.is_binary(kind):
        try:
            return f"X'{bytes.fromhex(text).hex()}'"
        except ValueError as error:
            raise DataError(f"cursor {column.name}: {text!r} is not written in hexadecimal digits") from error
    if pa.types.is_temporal(kind):
        return literal(_ZONE.sub("", text).strip())  # sessions are in UTC
    if pa.types.is_string(kind) and not column.source_type.startswith(_NUMBERS):
        return literal(text)
    if not _NUMBER.match(text):
        raise DataError(f"cursor {column.name}: {text!r} is no number")
    return text
