"""From the type that a source has to the type that the stream's schema asks for, without loss.

==================  =================================================================================================
to                  what is taken
==================  =================================================================================================
integer             integers in range; floats and decimals that are integral and in range; text (see `cast_text`)
float               integers up to 2^53 (2^24, 2^11); floats that are exact there or print the same; decimals that
                    the float prints back the same; text
decimal             integers, decimals that lose no digit; floats whose shortest text fits (12.34); text
boolean             integers 0 and 1; text
string              text in any layout; bytes that are UTF-8; JSON; anything as JSON where the column is declared JSON
binary              bytes in any layout, of the right width; text as UTF-8
date                dates; timestamps without zone at midnight; text
timestamp           timestamps of any unit where nothing is cut, both with or both without time zone; dates (into a
                    column without time zone); text
time, duration      the same in another unit where nothing is cut; times from text
uuid                sixteen bytes; text
struct, list, map   the same with elements that can be taken; fields that the target does not know are left out (and
                    named by `extra_fields`), fields that the source does not know are null
==================  =================================================================================================

Nulls are taken by every type, dictionaries and run-end encoded arrays are decoded. Everything else is refused: a number
is never turned into text in silence, nor true into 1, nor an instant into a local time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa

from dativo_ingest.steps import cast_decimals, cast_numbers, cast_text, cast_times
from dativo_ingest.steps.arrow import Array, DataType, Field, pc
from dativo_ingest.steps.json_text import json_texts
from dativo_ingest.steps.masks import Cast, cast_except, either, found, null_where, refuse
from dativo_ingest.steps.number_limits import over_precision

LOGICAL_TYPE = b"dativo.logical_type"
"""The field metadata that declares a string column to hold JSON (``json``)."""


def cast_lossless(array: Array, to: DataType, *, as_json: bool = False) -> Cast:  # noqa: PLR0911  one line for each kind
    """Cast what loses nothing; the rest becomes null and is marked in the mask.

    Args:
        array: Values of any type.
        to: The type wanted; the array itself comes back where it has this type already and all values are within it.
        as_json: Whether text is JSON, so that anything but text is written as JSON.

    Returns:
        The values, and a mask without nulls that is true where the original did not fit; None where all did.
    """
    source: DataType = array.type
    if source == to:
        bad = beyond_type(array)
        return null_where(array, bad), bad
    if array.null_count == len(array):
        return pa.nulls(len(array), to), None
    if pa.types.is_dictionary(source):
        return cast_lossless(pc.cast(array, source.value_type), to, as_json=as_json)
    if pa.types.is_run_end_encoded(source):
        return cast_lossless(pc.run_end_decode(array), to, as_json=as_json)
    if isinstance(source, pa.BaseExtensionType):
        if source.extension_name not in {"arrow.json", "arrow.uuid"}:
            return refuse(array, to)  # what its storage means is known to its maker only
        return cast_lossless(pc.cast(array, source.storage_type), to, as_json=as_json)
    if isinstance(to, pa.BaseExtensionType):
        return _to_extension(array, to)
    if pa.types.is_dictionary(to):
        values, bad = cast_lossless(array, to.value_type, as_json=as_json)
        return pc.cast(values.dictionary_encode(), to), bad
    if as_json and kind(to) == "text" and kind(source) != "text":
        return pc.cast(json_texts(array), to), None
    cast = _CASTS.get((kind(source), kind(to)), refuse)
    return cast(array, to)


def kind(to: DataType) -> str:  # noqa: PLR0911  one line for each kind
    """Name the family of types that are cast alike."""
    types = pa.types
    if types.is_integer(to):
        return "int"
    if types.is_floating(to):
        return "float"
    if types.is_decimal(to):
        return "decimal"
    if types.is_string(to) or types.is_large_string(to) or types.is_string_view(to):
        return "text"
    if types.is_binary(to) or types.is_large_binary(to) or types.is_fixed_size_binary(to) or types.is_binary_view(to):
        return "binary"
    if is_list_like(to):
        return "list"
    for name in ("boolean", "date", "timestamp", "time", "duration", "struct", "map"):
        if getattr(types, f"is_{name}")(to):
            return name
    return str(to)


def is_list_like(to: DataType) -> bool:
    """Say whether a type is a list in any layout."""
    types = pa.types
    return (
        types.is_list(to)
        or types.is_large_list(to)
        or types.is_fixed_size_list(to)
        or types.is_list_view(to)
        or types.is_large_list_view(to)
    )


def is_json(field: Field) -> bool:
    """Say whether a column is declared to hold JSON text."""
    return (field.metadata or {}).get(LOGICAL_TYPE) == b"json"


def extra_fields(source: DataType, to: DataType, path: str) -> Iterator[str]:
    """Name the fields inside ``source`` that ``to`` has no place for, as ``path.field``."""
    if source == to:
        return
    if kind(source) == kind(to) == "struct":
        for index in range(source.num_fields):
            field = source.field(index)
            if to.get_field_index(field.name) < 0:
                yield f"{path}.{field.name}"
            else:
                yield from extra_fields(field.type, to.field(field.name).type, f"{path}.{field.name}")
    elif kind(source) == kind(to) == "list":
        yield from extra_fields(source.value_type, to.value_type, f"{path}[]")
    elif kind(source) == kind(to) == "map":
        yield from extra_fields(source.item_type, to.item_type, f"{path}[]")


def beyond_type(array: Array) -> pa.BooleanArray | None:
    """Say which values their own type cannot hold: a decimal with too many digits, a time of 24:00.

    pyarrow's CSV reader makes such decimals, databases such times; files written with them cannot be read back.
    """
    if not _can_be_beyond(array.type):
        return None
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        pass
    else:
        return None
    if pa.types.is_decimal(array.type):
        return found(over_precision(array))
    if pa.types.is_time(array.type):
        units = pc.cast(pc.cast(array, pa.int32() if array.type.bit_width == 32 else pa.int64()), pa.int64())  # noqa: PLR2004
        day = 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[array.type.unit]
        return found(pc.or_(pc.less(units, 0), pc.greater_equal(units, day)))
    bad: pa.BooleanArray | None = None
    if pa.types.is_struct(array.type):
        for index in range(array.type.num_fields):
            bad = either(bad, beyond_type(pc.struct_field(array, [index])))
        return bad
    for _, elements in _elements(array):
        bad = either(bad, _by_parent(array, beyond_type(elements)))
    return bad


def nested_nulls(array: Array) -> pa.BooleanArray | None:
    """Say which values hold a null in a field inside that must not be null."""
    bad: pa.BooleanArray | None = None
    if pa.types.is_struct(array.type):
        valid = pc.is_valid(array)
        for index in range(array.type.num_fields):
            field = array.type.field(index)
            if field.nullable and not pa.types.is_nested(field.type):
                continue
            child = pc.struct_field(array, [index])
            if not field.nullable:
                bad = either(bad, found(pc.and_(valid, pc.is_null(child))))
            bad = either(bad, nested_nulls(child))
    elif kind(array.type) in {"list", "map"}:
        for field, child in _elements(array):
            inside = found(pc.is_null(child)) if not field.nullable else None
            bad = either(bad, _by_parent(array, either(inside, nested_nulls(child))))
    return bad


def _elements(array: Array) -> Iterator[tuple[Field, Array]]:
    if pa.types.is_map(array.type):
        flat = _map_entries(array)
        yield array.type.key_field, pc.struct_field(flat, [0])
        yield array.type.item_field, pc.struct_field(flat, [1])
    else:
        yield array.type.value_field, pc.list_flatten(array)


def _can_be_beyond(to: DataType) -> bool:
    if pa.types.is_nested(to):
        return any(_can_be_beyond(to.field(index).type) for index in range(to.num_fields))
    return pa.types.is_decimal(to) or pa.types.is_time(to)


def _to_extension(array: Array, to: DataType) -> Cast:
    if to.extension_name == "arrow.uuid":
        if kind(array.type) == "text":
            return cast_text.to_uuid(array, to)
        if kind(array.type) == "binary":
            storage, bad = cast_text.binary_to_binary(array, pa.binary(16))
            return pa.ExtensionArray.from_storage(to, storage), bad
    if to.extension_name == "arrow.json":
        storage, bad = cast_lossless(array, to.storage_type, as_json=True)
        return pa.ExtensionArray.from_storage(to, storage), bad
    return refuse(array, to)


def _text_to_text(array: Array, to: DataType) -> Cast:
    return pc.cast(array, to), None


def _struct(array: Array, to: DataType) -> Cast:
    fields = [to.field(index) for index in range(to.num_fields)]
    valid = pc.is_valid(array)
    children: list[Array] = []
    bad: pa.BooleanArray | None = None
    for field in fields:
        at = array.type.get_all_field_indices(field.name)
        if len(at) == 1:
            child, wrong = cast_lossless(pc.struct_field(array, at), field.type, as_json=is_json(field))
        else:  # missing, or there twice
            child, wrong = pa.nulls(len(array), field.type), found(valid) if at else None
        children.append(child)
        bad = either(bad, wrong)
    invalid = pc.invert(valid) if bad is None else pc.or_(pc.invert(valid), bad)
    return pa.StructArray.from_arrays(children, fields=fields, mask=invalid), bad


def _list(array: Array, to: DataType) -> Cast:
    field = to.value_field
    values, wrong = cast_lossless(pc.list_flatten(array), field.type, as_json=is_json(field))
    bad = _by_parent(array, wrong)
    offsets, absent = _offsets(array), pc.is_null(array)
    if pa.types.is_list(to):
        plain: Array = pa.ListArray.from_arrays(pc.cast(offsets, pa.int32()), values, type=to, mask=absent)
        return null_where(plain, bad), bad
    cast: Array = pa.LargeListArray.from_arrays(  # type: ignore[call-overload]  # the stubs know few element types
        offsets, values, type=pa.large_list(field), mask=absent
    )
    if pa.types.is_fixed_size_list(to):
        bad = either(bad, found(pc.not_equal(pc.list_value_length(array), to.list_size)))
    return cast_except(cast, to, bad)


def _map(array: Array, to: DataType) -> Cast:
    entries = _map_entries(array)
    keys, wrong_key = cast_lossless(pc.struct_field(entries, [0]), to.key_type)
    items, wrong_item = cast_lossless(pc.struct_field(entries, [1]), to.item_type, as_json=is_json(to.item_field))
    bad = _by_parent(array, either(wrong_key, wrong_item))
    if bad is not None:  # again without them: a key may not be null, not even where the whole map will be
        return _map(null_where(array, bad), to)[0], bad
    offsets = pc.cast(_offsets(array), pa.int32())
    return pa.MapArray.from_arrays(offsets, keys, items, type=to, mask=pc.is_null(array)), None


def _map_entries(array: Array) -> Array:
    """Give a map's entries as structs, without those of null maps."""
    plain = pa.list_(pa.struct([array.type.key_field, array.type.item_field]))
    entries: Array = pc.list_flatten(pc.cast(array, plain))
    return entries


def _offsets(array: Array) -> Array:
    """Give the offsets into the flattened values, with nothing in them for null lists."""
    if pa.types.is_map(array.type):
        array = pc.cast(array, pa.list_(pa.struct([array.type.key_field, array.type.item_field])))
    lengths = pc.cast(pc.fill_null(pc.list_value_length(array), 0), pa.int64())
    return pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])


def _by_parent(array: Array, wrong: pa.BooleanArray | None) -> pa.BooleanArray | None:
    """Say which lists hold a wrong element."""
    if wrong is None:
        return None
    counted = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(pc.cast(wrong, pa.int64()))])
    offsets = _offsets(array)
    before, after = counted.take(offsets.slice(0, len(array))), counted.take(offsets.slice(1))
    return found(pc.greater(after, before))


_CASTS: dict[tuple[str, str], Callable[[Array, DataType], Cast]] = {
    ("int", "int"): cast_numbers.int_to_int,
    ("int", "float"): cast_numbers.int_to_float,
    ("int", "decimal"): cast_numbers.int_to_decimal,
    ("int", "boolean"): cast_numbers.int_to_bool,
    ("float", "int"): cast_numbers.float_to_int,
    ("float", "float"): cast_numbers.float_to_float,
    ("float", "decimal"): cast_numbers.float_to_decimal,
    ("decimal", "int"): cast_decimals.decimal_to_int,
    ("decimal", "float"): cast_decimals.decimal_to_float,
    ("decimal", "decimal"): cast_decimals.decimal_to_decimal,
    ("text", "int"): cast_text.to_int,
    ("text", "float"): cast_text.to_float,
    ("text", "decimal"): cast_text.to_decimal,
    ("text", "boolean"): cast_text.to_bool,
    ("text", "date"): cast_text.to_date,
    ("text", "timestamp"): cast_text.to_timestamp,
    ("text", "time"): cast_text.to_time,
    ("text", "duration"): cast_text.to_duration,
    ("text", "text"): _text_to_text,
    ("text", "binary"): cast_text.to_binary,
    ("binary", "text"): cast_text.binary_to_text,
    ("binary", "binary"): cast_text.binary_to_binary,
    ("date", "date"): cast_times.exact,
    ("date", "timestamp"): cast_times.date_to_timestamp,
    ("timestamp", "timestamp"): cast_times.timestamp_to_timestamp,
    ("timestamp", "date"): cast_times.timestamp_to_date,
    ("time", "time"): cast_times.exact,
    ("duration", "duration"): cast_times.exact,
    ("struct", "struct"): _struct,
    ("list", "list"): _list,
    ("map", "map"): _map,
}
