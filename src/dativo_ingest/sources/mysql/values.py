"""Values as SQL of MySQL, written so that they mean the same whatever a server's or a session's settings."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from dativo_ingest.mysql.names import literal
from dativo_plugin_sdk import DataError

_NUMBER = re.compile(r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$")
_ZONE = re.compile(r"(Z|[+-]00:?00)$")


def as_sql(value: Any, kind: pa.DataType) -> str:
    """Write a value of a cursor or a key.

    Args:
        value: As JSON has it: bytes are hexadecimal digits.
        kind: What its column becomes.

    Raises:
        DataError: It is none of this kind.
    """
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if pa.types.is_binary(kind):
        return f"X'{bytes.fromhex(text).hex()}'"
    if pa.types.is_temporal(kind):
        return literal(_ZONE.sub("", text).strip())  # sessions are in UTC
    if not (pa.types.is_string(kind) or _NUMBER.match(text)):
        raise DataError(f"{text!r} is no number")
    return literal(text) if pa.types.is_string(kind) else text
