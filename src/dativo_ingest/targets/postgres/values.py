"""Arrow values as the text that Postgres reads: whole columns at a time, no value passes through Python.

`writable` gives a column that Arrow's CSV writer spells as Postgres expects it. Lists become array literals; structs,
maps and lists of lists become JSON, written as Postgres's own ``to_jsonb`` would.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as t

from dativo_ingest.targets.postgres.types import is_list
from dativo_plugin_sdk import DataValidationError

Array: TypeAlias = Any
"""A ``pa.Array`` of any type: its stubs keep apart kinds of arrays that are all alike here."""

NUL_HINT = "leave it out at the source, or set target.options.nul_characters: remove"

_HEX = np.array([int.from_bytes(f"{byte:02x}".encode(), "little") for byte in range(256)], "<u2")
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31: Arrow and Postgres spell these days alike
_PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000}
_YEAR = re.compile(r"(-?)(\d+)(.*)")
_CONTROLS = {chr(number): f"\\u{number:04x}" for number in range(1, 32)}
_TEXT = pa.large_string()
_run_end_decode: Any = pc.run_end_decode  # type: ignore[attr-defined]  # the stubs lack it


def writable(name: str, values: Array, sql_type: str, *, remove_nul: bool) -> Array:
    """Give a column that Arrow's CSV writer spells as Postgres reads ``sql_type``; nulls stay nulls.

    Raises:
        DataValidationError: A value has no such text; the column is named.
    """
    try:
        values = _decoded(values)
        if sql_type == "jsonb" and not _is_text(values.type):
            return _null_where_null(values, _json(values, remove_nul=remove_nul))
        if is_list(values.type):
            if sql_type == "double precision[]":
                values = values.cast(pa.large_list(pa.float64()))
            return _array_literal(values)
        if sql_type == "double precision" and t.is_floating(values.type):
            return values.cast(pa.float64())  # the text of a float32 is another number once it is read as a double
        return _scalar(values)
    except pa.ArrowInvalid as error:
        raise DataValidationError(
            f"column {name}: a value of {values.type} does not fit Postgres's {sql_type}: {error}",
            details={"column": name},
        ) from error
    except _NulError as error:
        raise nul_error(name) from error


def nul_error(name: str) -> DataValidationError:
    """Say that a column has what no text of Postgres may have."""
    return DataValidationError(
        f"column {name}: a text has the character NUL (U+0000), which Postgres cannot keep",
        details={"column": name},
        hint=NUL_HINT,
    )


def has_nul(values: Array) -> bool:
    """Say whether a column has a text with the character NUL."""
    return _is_text(values.type) and bool(pc.any(pc.match_substring(values, "\0")).as_py())


def without_nul(values: Array) -> Array:
    """Leave the character NUL out of texts."""
    return _replaced(values, "\0", "")


class _NulError(Exception):
    """A text within JSON has the character NUL."""


def _is_text(arrow_type: Any) -> bool:
    return bool(t.is_string(arrow_type) or t.is_large_string(arrow_type))


def _decoded(values: Array) -> Array:  # noqa: PLR0911  one line a kind of type
    """Give plain values: no dictionary, no extension but those whose storage spells otherwise, no views."""
    kind: Any = values.type
    if isinstance(values, pa.ExtensionArray):
        storage = values.storage
        if kind.extension_name == "arrow.uuid":
            return _hex(storage, prefix="")
        if kind.extension_name == "arrow.bool8":
            return pc.not_equal(storage, pa.scalar(0, pa.int8()))
        return _decoded(storage)
    if isinstance(values, pa.DictionaryArray):
        return _decoded(values.dictionary_decode())
    if t.is_run_end_encoded(kind):
        return _decoded(_run_end_decode(values))
    if t.is_string_view(kind):
        return values.cast(_TEXT)
    if t.is_float16(kind):
        return values.cast(pa.float32())
    if t.is_date64(kind):
        return values.cast(pa.date32())
    return values


def _scalar(values: Array) -> Array:
    """Give values that the CSV writer spells right, of a kind that `_decoded` gives."""
    kind: Any = values.type
    if t.is_date(kind) or t.is_timestamp(kind):
        return _moment(values)
    if t.is_time(kind) and kind.unit == "ns":
        return values.cast(pa.time64("us"))
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind) or t.is_fixed_size_binary(kind):
        return _hex(values, prefix="\\x")
    if t.is_duration(kind):
        return _duration(values)
    if t.is_interval(kind):
        return _interval(values)
    return values


def _moment(values: Array) -> Array:
    """Give dates and timestamps, in UTC: as they are where all spell alike, else as text."""
    kind: Any = values.type
    if t.is_date(kind):
        per_day = 1
        numbers = values.cast(pa.int32())
    else:
        unit: Any = "us" if kind.unit == "ns" else kind.unit
        if kind.unit == "ns":
            values = values.cast(pa.timestamp("us", kind.tz))  # refuses to lose a nanosecond
        values = values.view(pa.timestamp(unit))
        per_day = _PER_DAY[unit]
        numbers = values.view(pa.int64())
    found: Any = pc.min_max(numbers).as_py()
    if found["min"] is None or (_FIRST_DAY * per_day <= found["min"] and found["max"] < (_LAST_DAY + 1) * per_day):
        return values
    filled: Any = values.fill_null(pa.scalar(0, pa.int64()).cast(kind) if t.is_timestamp(kind) else 0)
    texts = np.datetime_as_string(filled.to_numpy(zero_copy_only=False))
    return _null_where_null(values, pa.array([_with_era(text) for text in texts.tolist()], _TEXT))


def _with_era(text: str) -> str:
    """Spell a year before the first as Postgres does: the year 0 is 1 BC."""
    found = _YEAR.fullmatch(text)
    assert found is not None  # noqa: S101  numpy spells it so
    year = int(found[1] + found[2])
    return text if year > 0 else f"{1 - year:04d}{found[3]} BC"


def _duration(values: Array) -> Array:
    micros = values.cast(pa.duration("us")).cast(pa.int64())
    seconds = pc.divide(micros, pa.scalar(1_000_000))
    rest = pc.subtract(micros, pc.multiply(seconds, pa.scalar(1_000_000)))
    return _joined(seconds.cast(_TEXT), " seconds ", rest.cast(_TEXT), " microseconds")


def _interval(values: Array) -> Array:
    layout = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanos", "<i8")])
    buffer = values.buffers()[1]
    assert buffer is not None  # noqa: S101  a column of nulls has one too
    parts = np.frombuffer(buffer, layout)[values.offset : values.offset + len(values)]
    micros, lost = np.divmod(parts["nanos"], 1000)
    if lost[values.is_valid().to_numpy(zero_copy_only=False)].any():
        raise pa.ArrowInvalid("an interval of nanoseconds would lose some")
    texts = [pa.array(numbers).cast(_TEXT) for numbers in (parts["months"], parts["days"], micros)]
    return _null_where_null(values, _joined(texts[0], " mons ", texts[1], " days ", texts[2], " microseconds"))


def _hex(values: Array, *, prefix: str) -> Array:
    kind: Any = values.type
    count = len(values)
    if t.is_fixed_size_binary(kind):
        values = values.cast(pa.binary())
    values = values.cast(pa.large_binary())
    _, offsets_buffer, data_buffer = values.buffers()
    assert offsets_buffer is not None  # noqa: S101  every array of texts has one
    offsets = np.frombuffer(offsets_buffer, np.int64)[values.offset : values.offset + count + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.empty(0, np.uint8)
    digits: Any = _HEX[data[offsets[0] : offsets[-1]]] if count else np.empty(0, "<u2")
    shifted: Any = (offsets - offsets[0]) * 2
    text = pa.LargeStringArray.from_buffers(count, pa.py_buffer(shifted), pa.py_buffer(digits))
    return _null_where_null(values, _joined(prefix, text) if prefix else text)


def _array_literal(values: Array) -> Array:
    """Give ``{1,NULL,3}``."""
    inner = _decoded(values.flatten())
    text = _scalar(inner)
    if not t.is_primitive(text.type) or t.is_temporal(text.type):
        text = text.cast(_TEXT)
        text = _joined('"', _replaced(_replaced(text, "\\", "\\\\"), '"', '\\"'), '"')
    return _null_where_null(values, _joined("{", _items(values, text.cast(_TEXT).fill_null("NULL")), "}"))


def _items(values: Array, texts: Array) -> Array:
    """Join the texts of the items of each list with commas; a list that is null is as one that is empty."""
    lengths = pc.list_value_length(values).fill_null(0).cast(pa.int64())
    ends = pc.cumulative_sum(lengths)
    offsets: Any = pa.concat_arrays([pa.array([0], pa.int64()), ends])
    return pc.binary_join(pa.LargeListArray.from_arrays(offsets, texts), pa.scalar(",", _TEXT))


def _json(values: Array, *, remove_nul: bool) -> Array:
    """Give JSON, in which nulls are ``null``."""
    kind: Any = values.type
    if isinstance(values, pa.ExtensionArray) and kind.extension_name == "arrow.json":
        return values.storage.cast(_TEXT).fill_null("null")
    values = _decoded(values)
    kind = values.type

    def inner(each: Array) -> Array:
        return _json(each, remove_nul=remove_nul)

    if t.is_struct(kind):
        text = _json_struct(values, inner)
    elif t.is_map(kind):
        text = _json_map(values, inner, remove_nul=remove_nul)
    elif is_list(kind):
        text = _joined("[", _items(values, inner(values.flatten())), "]")
    elif t.is_null(kind):
        text = pa.nulls(len(values), _TEXT)
    else:
        text = _json_scalar(_scalar(values), remove_nul=remove_nul)
    return _null_where_null(values, text).fill_null("null")


def _json_struct(values: Array, inner: Callable[[Array], Array]) -> Array:
    parts: list[Any] = []
    for field, child in zip(values.type, values.flatten(), strict=True):
        name = _json_text(pa.array([field.name], _TEXT), remove_nul=True)[0].as_py()
        parts += [f"{',' if parts else '{'}{name}:", inner(child)]
    return _joined(*parts, "}") if parts else pa.array(["{}"] * len(values), _TEXT)


def _json_map(values: Array, inner: Callable[[Array], Array], *, remove_nul: bool) -> Array:
    kind: Any = values.type
    values = values.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))
    pairs: Any = values.flatten()
    key, item = pairs.flatten()
    names = _json_text(_scalar(_decoded(key)).cast(_TEXT), remove_nul=remove_nul)
    return _joined("{", _items(values, _joined(names, ":", inner(item))), "}")


def _json_scalar(values: Array, *, remove_nul: bool) -> Array:
    kind: Any = values.type
    text = values.cast(_TEXT)
    if t.is_floating(kind):
        strange = _joined('"', _replaced(_replaced(text, "nan", "NaN"), "inf", "Infinity"), '"')
        return pc.if_else(pc.is_finite(values), text, strange)
    if t.is_boolean(kind) or t.is_integer(kind) or t.is_decimal(kind):
        return text
    if t.is_timestamp(kind):
        text = _replaced(text, " ", "T")
    return _json_text(text, remove_nul=remove_nul)


def _json_text(text: Array, *, remove_nul: bool) -> Array:
    """Give texts in quotes."""
    text = _replaced(_replaced(text, "\\", "\\\\"), '"', '\\"')
    if pc.any(pc.match_substring_regex(text, "[\\x00-\\x1f]")).as_py():
        if pc.any(pc.match_substring(text, "\0")).as_py():
            if not remove_nul:
                raise _NulError
            text = without_nul(text)
        for control, escape in _CONTROLS.items():
            text = _replaced(text, control, escape)
    return _joined('"', text, '"')


def _replaced(values: Array, pattern: str, replacement: str) -> Array:
    return pc.replace_substring(values, pattern, replacement)


def _joined(*parts: Array | str) -> Array:
    texts = [pa.scalar(part, _TEXT) if isinstance(part, str) else part.cast(_TEXT) for part in parts]
    return pc.binary_join_element_wise(*texts, pa.scalar("", _TEXT))


def _null_where_null(values: Array, text: Array) -> Array:
    return pc.if_else(values.is_valid(), text, pa.scalar(None, text.type))
