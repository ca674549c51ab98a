"""What the columns of a query are, without running it."""

from __future__ import annotations

import struct
from typing import Any

from pymysql.constants import COMMAND, FIELD_TYPE, FLAG
from pymysql.protocol import FieldDescriptorPacket

from dativo_ingest.mysql.sessions import Session

_BINARY = 63  # the number of the character set of what is no text
_ANY_SCALE = 31  # of a floating point number that is not rounded
_LETTER_BYTES = 4  # of utf8mb4, in which sessions speak
_PREPARED = struct.Struct("<xIHH")

_NAMES = {
    FIELD_TYPE.TINY: "tinyint",
    FIELD_TYPE.SHORT: "smallint",
    FIELD_TYPE.INT24: "mediumint",
    FIELD_TYPE.LONG: "int",
    FIELD_TYPE.LONGLONG: "bigint",
    FIELD_TYPE.FLOAT: "float",
    FIELD_TYPE.DOUBLE: "double",
    FIELD_TYPE.DATE: "date",
    FIELD_TYPE.NEWDATE: "date",
    FIELD_TYPE.TIME: "time",
    FIELD_TYPE.DATETIME: "datetime",
    FIELD_TYPE.TIMESTAMP: "timestamp",
    FIELD_TYPE.YEAR: "year",
    FIELD_TYPE.JSON: "json",
    FIELD_TYPE.ENUM: "enum",
    FIELD_TYPE.SET: "set",
    FIELD_TYPE.GEOMETRY: "geometry",
}
_INTEGERS = frozenset({FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG})
_BLOBS = frozenset({FIELD_TYPE.TINY_BLOB, FIELD_TYPE.BLOB, FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.LONG_BLOB})
_STRINGS = frozenset({FIELD_TYPE.STRING, FIELD_TYPE.VAR_STRING, FIELD_TYPE.VARCHAR})


def fields_of(session: Session, query: str) -> list[Any]:
    """Give the columns of a query as PyMySQL reads them; the server prepares it, and no more ("COM_STMT_PREPARE").

    Raises:
        pymysql.Error: The server does not take the query.
    """
    inside: Any = session
    inside._execute_command(COMMAND.COM_STMT_PREPARE, query)  # noqa: SLF001  PyMySQL itself prepares nothing
    statement, columns, parameters = _PREPARED.unpack_from(inside._read_packet().get_all_data())  # noqa: SLF001
    for _ in range(parameters and parameters + 1):  # and what ends them
        inside._read_packet()  # noqa: SLF001
    fields = [inside._read_packet(FieldDescriptorPacket) for _ in range(columns)]  # noqa: SLF001
    if columns:
        inside._read_packet()  # noqa: SLF001
    inside._execute_command(COMMAND.COM_STMT_CLOSE, struct.pack("<I", statement))  # noqa: SLF001  has no answer
    return fields


def type_of(field: Any) -> str:  # noqa: PLR0911  one line for each kind
    """Write the type of a query's column as the catalog would."""
    is_unsigned = bool(field.flags & FLAG.UNSIGNED)
    sign = " unsigned" if is_unsigned else ""
    code = field.type_code
    if code in {FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL}:
        around = (0 if is_unsigned else 1) + (1 if field.scale else 0)
        return f"decimal({field.length - around},{field.scale}){sign}"
    if code == FIELD_TYPE.BIT:
        return f"bit({field.length})"
    if code == FIELD_TYPE.DOUBLE and field.scale < _ANY_SCALE:
        return f"double({field.length},{field.scale})"
    if code in _INTEGERS:
        return f"{_NAMES[code]}({field.length}){sign}"
    if code in _BLOBS:
        return "longblob" if field.charsetnr == _BINARY else "longtext"
    if code in _STRINGS and field.charsetnr == _BINARY:
        return f"varbinary({field.length})"
    return _NAMES.get(code) or f"varchar({field.length // _LETTER_BYTES})"
