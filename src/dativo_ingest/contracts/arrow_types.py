"""ODCS types and the Arrow types they stand for, in both directions.

``physicalType`` decides where it is given, ``logicalType`` otherwise:

===============  ======================================================================================================
string           ``string``; ``format: binary`` is binary
integer          ``int64``; ``format`` (i8 ... i64, u8 ... u64) says otherwise
number           ``float64``, as JSON has it; ``format: f32`` is float32; exact decimals need a ``physicalType``
boolean          ``bool``
date             ``date32``
time             ``time64[us]``
timestamp        ``timestamp[us, tz=UTC]``, an instant; with ``timezone: false`` a local time, ``timestamp[us]``
array            a list of ``items``
object           a struct of ``properties``; without any, JSON text
map              a map of ``map.key`` to ``map.value``
===============  ======================================================================================================

JSON is a string column whose field metadata says ``dativo.logical_type: json``. ``physicalType: timestamp`` is a local
time, as in SQL; ``timestamptz`` an instant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import pyarrow as pa

Field: TypeAlias = "pa.Field[Any]"

JSON_METADATA = {"dativo.logical_type": "json"}
MAX_DECIMAL_DIGITS = 38

_INSTANT = "UTC"
_JSON = object()
_NAMES: dict[str, Any] = {
    **dict.fromkeys(("tinyint", "byte"), pa.int8()),
    **dict.fromkeys(("smallint", "int2", "int16", "short", "smallserial"), pa.int16()),
    **dict.fromkeys(("integer", "int", "int4", "int32", "mediumint", "serial"), pa.int32()),
    **dict.fromkeys(("bigint", "int8", "int64", "long", "bigserial"), pa.int64()),
    **dict.fromkeys(("utinyint", "uint8", "tinyint unsigned"), pa.uint8()),
    **dict.fromkeys(("usmallint", "uint16", "smallint unsigned"), pa.uint16()),
    **dict.fromkeys(("uinteger", "uint32", "integer unsigned", "int unsigned"), pa.uint32()),
    **dict.fromkeys(("ubigint", "uint64", "bigint unsigned"), pa.uint64()),
    **dict.fromkeys(("half", "float16", "halffloat"), pa.float16()),
    **dict.fromkeys(("float", "real", "float4", "float32"), pa.float32()),
    **dict.fromkeys(("double", "double precision", "float8", "float64"), pa.float64()),
    **dict.fromkeys(("boolean", "bool"), pa.bool_()),
    **dict.fromkeys(
        ("string", "text", "varchar", "char", "character", "character varying", "nvarchar", "nchar", "bpchar", "clob"),
        pa.string(),
    ),
    **dict.fromkeys(("tinytext", "mediumtext", "longtext", "citext", "name", "enum", "xml"), pa.string()),
    **dict.fromkeys(("binary", "varbinary", "bytea", "bytes", "blob"), pa.binary()),
    **dict.fromkeys(("json", "jsonb", "variant", "super"), _JSON),
    "uuid": pa.uuid(),
    **dict.fromkeys(("date", "date32"), pa.date32()),
    **dict.fromkeys(("time", "time without time zone"), pa.time64("us")),
    **{f"time_{unit}": pa.time32(unit) for unit in ("s", "ms")},
    "time_ns": pa.time64("ns"),
    **dict.fromkeys(("timestamp", "timestamp_ntz", "timestamp without time zone", "datetime"), pa.timestamp("us")),
    **dict.fromkeys(
        ("timestamptz", "timestamp_tz", "timestamp_ltz", "timestamp with time zone", "datetimeoffset"),
        pa.timestamp("us", _INSTANT),
    ),
    **{f"timestamp_{unit}": pa.timestamp(unit) for unit in ("s", "ms", "ns")},
    **{f"timestamptz_{unit}": pa.timestamp(unit, _INSTANT) for unit in ("s", "ms", "ns")},
}
_REFUSED = {
    "money": "has as many digits after the point as the server's locale says; write decimal(19,2)",
    "timetz": "a time of day with an offset has no counterpart in any target; keep it as text",
    "time with time zone": "a time of day with an offset has no counterpart in any target; keep it as text",
    "interval": "has no counterpart in Iceberg or Parquet; keep it as text",
    "duration": "has no counterpart in Iceberg or Parquet; keep it as an integer of its unit",
    "null": "no target has columns that can only be null",
}
_SIMPLE = re.compile(r"([a-z][a-z0-9_]*(?: [a-z]+)*)\s*(?:\(([^()]*)\))?((?: [a-z]+)*)")
_NESTED = re.compile(r"(array|list|struct|row|map)\s*[<(](.*)[>)]", re.DOTALL | re.IGNORECASE)
_STRUCT_FIELD = re.compile(r'(?:"([^"]+)"|([^":\s]+))\s*(?::|\s)\s*(.+)', re.DOTALL)
_INTEGER_FORMATS = {f"{sign}{bits}" for sign in "iu" for bits in (8, 16, 32, 64)}
_KINDS = {
    "string": {"string", "binary", "uuid", "json"},
    "integer": {"integer", "decimal"},
    "number": {"number", "integer", "decimal"},
    "boolean": {"boolean"},
    "date": {"date"},
    "time": {"time"},
    "timestamp": {"timestamp"},
    "array": {"array", "json"},
    "object": {"object", "map", "json"},
    "map": {"map", "json"},
}


class UnknownTypeError(ValueError):
    """A type that stands for no Arrow type; the text says why. The caller knows where it is written."""


def from_physical(text: str, *, name: str, nullable: bool = True) -> Field:
    """Read a physical type such as ``decimal(15,2)`` or ``array<struct<a: int>>``.

    Raises:
        UnknownTypeError: It is no type, or one that no target holds without loss.
    """
    written = " ".join(text.split())
    lower = written.lower()
    if lower.endswith(" not null"):
        return from_physical(written[: -len(" not null")], name=name, nullable=False)
    if lower.endswith("[]"):
        return pa.field(name, pa.list_(from_physical(written[:-2], name="item")), nullable=nullable)
    nested = _NESTED.fullmatch(written)
    if nested:
        return pa.field(name, _nested(nested[1].lower(), nested[2], written), nullable=nullable)
    found = _flat(lower, written)
    if found is _JSON:
        return json_field(name, nullable=nullable)
    return pa.field(name, found, nullable=nullable)


def from_logical(logical: str, options: Mapping[str, Any], *, name: str, nullable: bool) -> Field:  # noqa: PLR0911
    """Give the field of a flat logical type; arrays, objects and maps are the caller's, who knows their parts.

    Raises:
        UnknownTypeError: The type or its ``format`` stands for nothing.
    """
    form = options.get("format")
    match logical:
        case "string":
            return pa.field(name, pa.binary() if form == "binary" else pa.string(), nullable=nullable)
        case "integer":
            return pa.field(name, _integer(form), nullable=nullable)
        case "number":
            if form not in {None, "f32", "f64"}:
                raise UnknownTypeError(f"number format {form!r}; there are f32 and f64, decimals say physicalType")
            return pa.field(name, pa.float32() if form == "f32" else pa.float64(), nullable=nullable)
        case "boolean":
            return pa.field(name, pa.bool_(), nullable=nullable)
        case "date":
            return pa.field(name, pa.date32(), nullable=nullable)
        case "time":
            return pa.field(name, pa.time64("us"), nullable=nullable)
        case "timestamp":
            zone = None if options.get("timezone") is False else _INSTANT
            return pa.field(name, pa.timestamp("us", zone), nullable=nullable)
    raise UnknownTypeError(f"unknown logicalType {logical!r}{_suggestion(logical, _KINDS)}")


def map_type(key: Field, value: Field) -> pa.DataType:
    """Give a map's type; keys are never null."""
    key, value = key.with_name("key").with_nullable(False), value.with_name("value")  # noqa: FBT003  not named
    built: pa.DataType = pa.map_(key, value)  # type: ignore[call-overload]  # the stubs know no fields here
    return built


def json_field(name: str, *, nullable: bool) -> Field:
    """Give the field of a column of JSON text."""
    return pa.field(name, pa.string(), nullable=nullable, metadata=JSON_METADATA)


def with_zone(field: Field, timezone: object) -> Field:
    """Apply the option ``timezone`` to a physical type.

    Raises:
        UnknownTypeError: The type says the contrary.
    """
    data_type: Any = field.type
    if timezone is True and pa.types.is_timestamp(data_type) and data_type.tz is None:
        return field.with_type(pa.timestamp(data_type.unit, _INSTANT))
    if timezone is False and pa.types.is_timestamp(data_type) and data_type.tz is not None:
        raise UnknownTypeError("physicalType has a time zone and logicalTypeOptions.timezone says that there is none")
    return field


def agree(logical: str, field: Field) -> bool:
    """Say whether a physical type is one of its logical type's kinds."""
    return kind(field) in _KINDS[logical]


def kind(field: Field) -> str:
    """Name what a field holds: a logical type of ODCS, or ``binary``, ``uuid``, ``decimal``, ``json``."""
    if (field.metadata or {}).get(b"dativo.logical_type") == b"json":
        return "json"
    types = pa.types
    tests = {
        "boolean": types.is_boolean,
        "integer": types.is_integer,
        "number": types.is_floating,
        "decimal": types.is_decimal,
        "date": types.is_date,
        "time": types.is_time,
        "timestamp": types.is_timestamp,
        "string": types.is_string,
        "object": types.is_struct,
        "map": types.is_map,
        "array": types.is_list,
        "uuid": pa.uuid().__eq__,
    }
    return next((name for name, test in tests.items() if test(field.type)), "binary")


def storable(data_type: Any) -> pa.DataType:  # noqa: C901, PLR0911, PLR0912  one line for each kind
    """Give the type in which contracts and targets hold such values: the same values in the plain layout.

    Large, view, dictionary and run-end layouts become the plain ones, time zones UTC (the instants stay), dates whole
    days, small and wide decimals decimal128, arrow.json its text.

    Raises:
        UnknownTypeError: No target holds such values without loss.
    """
    types = pa.types
    if types.is_large_string(data_type) or types.is_string_view(data_type):
        return pa.string()
    if types.is_large_binary(data_type) or types.is_binary_view(data_type):
        return pa.binary()
    if types.is_dictionary(data_type) or types.is_run_end_encoded(data_type):
        return storable(data_type.value_type)
    if types.is_timestamp(data_type) and data_type.tz is not None:
        return pa.timestamp(data_type.unit, _INSTANT)
    if types.is_date(data_type):
        return pa.date32()
    if types.is_decimal(data_type):
        if data_type.precision > MAX_DECIMAL_DIGITS or not 0 <= data_type.scale <= data_type.precision:
            raise UnknownTypeError(f"{data_type}: decimals have at most 38 digits, and a scale from 0 to their number")
        return pa.decimal128(data_type.precision, data_type.scale)
    if types.is_struct(data_type):
        if not data_type.num_fields:
            raise UnknownTypeError("a struct without fields")
        return pa.struct([_storable_field(data_type.field(index)) for index in range(data_type.num_fields)])
    if types.is_map(data_type):
        return map_type(_storable_field(data_type.key_field), _storable_field(data_type.item_field))
    if hasattr(data_type, "value_field"):  # any layout of lists
        return pa.list_(_storable_field(data_type.value_field).with_name("item"))
    if isinstance(data_type, pa.BaseExtensionType) and data_type.extension_name == "arrow.json":
        return pa.string()
    if data_type in _PHYSICAL or types.is_fixed_size_binary(data_type):
        plain: pa.DataType = data_type
        return plain
    raise UnknownTypeError(f"{data_type} has no counterpart that the targets hold without loss")


def storable_field(field: Field) -> Field:
    """Give the field with its `storable` type; arrow.json becomes text that is marked as JSON. Raises as `storable`."""
    stored = field.with_type(storable(field.type))
    if isinstance(field.type, pa.BaseExtensionType) and field.type.extension_name == "arrow.json":
        metadata: Any = {**(field.metadata or {}), b"dativo.logical_type": b"json"}  # the stubs' keys are invariant
        stored = stored.with_metadata(metadata)
    return stored


def physical_name(field: Field) -> str:  # noqa: PLR0911  one line for each kind
    """Write a `storable` field's type as `from_physical` reads it."""
    data_type: Any = field.type
    match kind(field):
        case "json":
            return "json"
        case "decimal":
            return f"decimal({data_type.precision},{data_type.scale})"
        case "array":
            return f"array<{_part_name(data_type.value_field)}>"
        case "map":
            return f"map<{_part_name(data_type.key_field.with_nullable(True))}, {_part_name(data_type.item_field)}>"  # noqa: FBT003
        case "object":
            fields = [data_type.field(index) for index in range(data_type.num_fields)]
            return f"struct<{', '.join(f'{_quoted(each.name)}: {_part_name(each)}' for each in fields)}>"
    if pa.types.is_fixed_size_binary(data_type):
        return f"binary({data_type.byte_width})"
    return _PHYSICAL[data_type]


def _part_name(field: Field) -> str:
    return physical_name(field) + ("" if field.nullable else " not null")


def _quoted(name: str) -> str:
    if not name or '"' in name:
        raise UnknownTypeError(f"a field inside a map is called {name!r}, which has no written form")
    return name if re.fullmatch(r"\w+", name) else f'"{name}"'


_PHYSICAL: dict[pa.DataType, str] = {
    pa.bool_(): "boolean",
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.uint8(): "utinyint",
    pa.uint16(): "usmallint",
    pa.uint32(): "uinteger",
    pa.uint64(): "ubigint",
    pa.float16(): "half",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
    pa.binary(): "binary",
    pa.uuid(): "uuid",
    pa.date32(): "date",
    pa.time32("s"): "time_s",
    pa.time32("ms"): "time_ms",
    pa.time64("us"): "time",
    pa.time64("ns"): "time_ns",
    pa.timestamp("s"): "timestamp_s",
    pa.timestamp("ms"): "timestamp_ms",
    pa.timestamp("us"): "timestamp",
    pa.timestamp("ns"): "timestamp_ns",
    pa.timestamp("s", _INSTANT): "timestamptz_s",
    pa.timestamp("ms", _INSTANT): "timestamptz_ms",
    pa.timestamp("us", _INSTANT): "timestamptz",
    pa.timestamp("ns", _INSTANT): "timestamptz_ns",
}


def _storable_field(field: Field) -> Field:
    return storable_field(field)


def _flat(lower: str, written: str) -> Any:
    match = _SIMPLE.fullmatch(lower)
    name = "" if match is None else (match[1] + match[3]).strip()
    arguments = [] if match is None or match[2] is None else [part.strip() for part in match[2].split(",")]
    if name in _REFUSED:
        raise UnknownTypeError(f"physicalType {written!r}: {_REFUSED[name]}")
    if name in {"decimal", "numeric", "number", "dec"}:
        return _decimal(arguments, written)
    if name not in _NAMES:
        raise UnknownTypeError(f"unknown physicalType {written!r}{_suggestion(name or lower, _NAMES)}")
    found = _NAMES[name]
    if found is _JSON or not arguments or not isinstance(found, pa.DataType):
        return found
    if name in {"varchar", "binary"} | _SIZED and not all(part.isdigit() or part == "max" for part in arguments):
        raise UnknownTypeError(f"physicalType {written!r}: the size is no whole number")
    if name == "binary" and arguments[0].isdigit():
        return pa.binary(int(arguments[0]))
    return _with_precision(found, arguments, written)


_SIZED = {"char", "character", "character varying", "nvarchar", "nchar", "bpchar", "varbinary"}


def _with_precision(found: Any, arguments: list[str], written: str) -> pa.DataType:
    """Apply the digits of a second: up to six are microseconds, up to nine nanoseconds."""
    if not pa.types.is_timestamp(found) and not pa.types.is_time(found):
        plain: pa.DataType = found
        return plain
    if len(arguments) != 1 or not arguments[0].isdigit() or int(arguments[0]) > 9:  # noqa: PLR2004  nanoseconds
        raise UnknownTypeError(f"physicalType {written!r}: a second has 0 to 9 digits")
    unit: Any = "us" if int(arguments[0]) <= 6 else "ns"  # noqa: PLR2004  microseconds
    return pa.timestamp(unit, found.tz) if pa.types.is_timestamp(found) else pa.time64(unit)


def _decimal(arguments: list[str], written: str) -> pa.DataType:
    if not arguments:
        raise UnknownTypeError(
            f"physicalType {written!r} does not say how many digits; write decimal(precision, scale)"
        )
    if not all(part.isdigit() for part in arguments) or len(arguments) > 2:  # noqa: PLR2004  precision and scale
        raise UnknownTypeError(f"physicalType {written!r}: expected decimal(precision, scale)")
    precision, scale = int(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 0
    if not 1 <= precision <= MAX_DECIMAL_DIGITS or scale > precision:
        raise UnknownTypeError(f"physicalType {written!r}: decimals have 1 to 38 digits, and no greater scale")
    return pa.decimal128(precision, scale)


def _integer(form: object) -> pa.DataType:
    if form is None:
        return pa.int64()
    if form not in _INTEGER_FORMATS:
        raise UnknownTypeError(f"integer format {form!r}; there are {', '.join(sorted(_INTEGER_FORMATS))}")
    text = str(form)
    found: pa.DataType = _NAMES[("uint" if text[0] == "u" else "int") + text[1:]] if text != "i8" else pa.int8()
    return found


def _nested(name: str, inside: str, written: str) -> pa.DataType:
    parts = [part.strip() for part in _split(inside)]
    if name in {"array", "list"} and len(parts) == 1 and parts[0]:
        return pa.list_(from_physical(parts[0], name="item"))
    if name == "map" and len(parts) == 2:  # noqa: PLR2004  a key and a value
        return map_type(from_physical(parts[0], name="key"), from_physical(parts[1], name="value"))
    if name in {"struct", "row"} and parts[0]:
        fields = [_STRUCT_FIELD.fullmatch(part) for part in parts]
        if all(fields):
            return pa.struct([from_physical(match[3], name=match[1] or match[2]) for match in fields if match])
    raise UnknownTypeError(f"physicalType {written!r}: expected array<type>, map<key, value> or struct<name: type>")


def _split(text: str) -> Iterator[str]:
    """Split at the commas that are not inside brackets or quotes."""
    depth, start, quoted = 0, 0, False
    for index, letter in enumerate(text):
        quoted ^= letter == '"'
        depth += 0 if quoted else (letter in "<(") - (letter in ">)")
        if letter == "," and depth == 0 and not quoted:
            yield text[start:index]
            start = index + 1
    yield text[start:]


def _suggestion(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]}?" if close else f"; there are: {', '.join(sorted(known))}"
