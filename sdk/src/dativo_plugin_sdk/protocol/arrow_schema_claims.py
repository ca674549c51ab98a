"""What the bytes of a schema claim, looked at before Arrow makes a schema of them.

A flatbuffer may refer to the same text, field or list of fields any number of times, and Arrow copies it as often: one
MiB can stand for gigabytes. Types that do not pass between processes are refused here, too, so that no code of theirs
ever sees their metadata.
"""

from __future__ import annotations

import struct
from typing import Final

from dativo_plugin_sdk.protocol.arrow_message import schema_of
from dativo_plugin_sdk.protocol.breach import breach
from dativo_plugin_sdk.protocol.flatbuffer import Table

MAX_DEPTH: Final = 32
MAX_COLUMNS: Final = 20_000
MAX_SCHEMA_BYTES: Final = 2**25
"""About what a schema may take in memory."""
EXTENSION_KEYS: Final = b"ARROW:extension:"
"""How the keys begin of metadata that makes a field one of an extension type."""

TOO_DEEP: Final = f"is nested more than {MAX_DEPTH} deep"
NAME_IS_NO_TEXT: Final = "has a name that is not UTF-8"
EXTENSION_TYPE: Final = "has an extension type"
OTHER_TYPE: Final = "is dictionary or run-end encoded, a view or a union, which do not pass between processes"

_FIELD_BYTES, _PAIR_BYTES = 256, 256  # about what Arrow takes for a field, and for an entry of metadata
_ENDIANNESS, _FIELDS, _SCHEMA_METADATA = 0, 1, 2  # of Schema
_NAME, _TYPE_KIND, _TYPE, _DICTIONARY, _CHILDREN, _FIELD_METADATA = 0, 2, 3, 4, 5, 6  # of Field
_KEY, _VALUE = 0, 1  # of KeyValue
_TIMEZONE = 1  # of Timestamp
_TIMESTAMP, _UNION, _LARGE_LIST = 10, 14, 21  # of the union Type
_PASSING = frozenset(range(1, _LARGE_LIST + 1)) - {_UNION}


def see_schema(metadata: bytes) -> None:
    """See that a schema message holds a schema that may pass, and a small one.

    Raises:
        PluginExecutionError: It does not.
    """
    try:
        _Walk().schema(schema_of(metadata))
    except (struct.error, IndexError) as error:
        raise breach("the schema of a stream is damaged") from error


class _Walk:
    """Goes where Arrow would go, and counts what it would make."""

    def __init__(self) -> None:
        self._bytes = 0
        self._where = "the schema"

    def schema(self, schema: Table) -> None:
        if schema.scalar(_ENDIANNESS, "<h"):
            raise breach("the schema is of a big-endian machine, little-endian is expected")
        columns = schema.count(_FIELDS)
        if columns > MAX_COLUMNS:
            raise breach(f"a schema of {columns} columns, where {MAX_COLUMNS} are allowed")
        self._metadata(schema, _SCHEMA_METADATA)
        for number, field in enumerate(schema.tables(_FIELDS)):
            self._where = f"column {number} of the schema"
            self._field(field, 1)

    def _field(self, field: Table, depth: int) -> None:
        self._take(_FIELD_BYTES)
        if depth > MAX_DEPTH:
            raise self._refuse(TOO_DEEP)
        kind = field.scalar(_TYPE_KIND, "<B")
        if kind not in _PASSING or field.has(_DICTIONARY):
            raise self._refuse(OTHER_TYPE)
        self._text(field, _NAME, NAME_IS_NO_TEXT)
        if kind == _TIMESTAMP:
            self._text(field.table(_TYPE), _TIMEZONE, "has a time zone that is not UTF-8")
        self._metadata(field, _FIELD_METADATA)
        for child in field.tables(_CHILDREN):
            self._field(child, depth + 1)

    def _metadata(self, holder: Table, number: int) -> None:
        for pair in holder.tables(number):
            self._take(_PAIR_BYTES)
            if self._text(pair, _KEY, "has metadata that is not UTF-8").startswith(EXTENSION_KEYS):
                raise self._refuse(EXTENSION_TYPE)
            self._text(pair, _VALUE, "has metadata that is not UTF-8")

    def _text(self, holder: Table, number: int, what_else: str) -> bytes:
        text = holder.text(number)
        self._take(len(text))
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise self._refuse(what_else) from error
        return text

    def _take(self, count: int) -> None:
        self._bytes += count
        if self._bytes > MAX_SCHEMA_BYTES:
            raise breach(f"a schema that takes more than {MAX_SCHEMA_BYTES} bytes")

    def _refuse(self, why: str) -> Exception:
        return breach(f"{self._where} {why}")
